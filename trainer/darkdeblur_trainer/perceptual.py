"""The perceptual feature loss: VGG features of the last ReLU (paper, eq. 14)."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from napari_darkdeblur.errors import DarkDeblurError

# Channels of the convolutions; 0 is a max-pooling (Simonyan and Zisserman 2015, nets D and E).
_LAYERS = {
    "VGG-16": (64, 64, 0, 128, 128, 0, *(256,) * 3, 0, *(512,) * 3, 0, *(512,) * 3),
    "VGG-19": (64, 64, 0, 128, 128, 0, *(256,) * 4, 0, *(512,) * 4, 0, *(512,) * 4),
}
# Where torchvision keeps what it downloaded, below torch.hub's folder.
_TORCHVISION_FILES = ("vgg19-dcbb9e9d.pth", "vgg16-397923af.pth")
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class VggError(DarkDeblurError, ValueError):
    """VGG weights are missing or unusable; the message says what to do."""


def find_vgg(path: Path | None) -> Path:
    """Return the VGG weights file to use: the given one, or torchvision's download.

    Raises
    ------
    VggError
        There is none.
    """
    if path is not None:
        if not path.is_file():
            raise VggError(f"There is no VGG weights file {path}.")
        return path
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for name in _TORCHVISION_FILES:
        if (folder / name).is_file():
            return folder / name
    raise VggError(
        "The perceptual feature loss needs ImageNet VGG weights, and torchvision's cache "
        f"({folder}) holds none. Give a file with --vgg PATH (VGG-19 or VGG-16, .pth or "
        ".safetensors, with torchvision's key names), put torchvision's "
        f"{_TORCHVISION_FILES[0]} into that folder, or switch the term off with "
        "losses.features.weight=0."
    )


class VggFeatures(nn.Module):
    """The convolutional part of VGG-16 or VGG-19 up to its last ReLU, frozen.

    Parameters
    ----------
    path : pathlib.Path
        Weights with torchvision's key names (``features.0.weight``, ...), ``.safetensors`` or
        a ``.pth`` that torch can load without unpickling code. Which of the two nets it is
        follows from its keys.

    Raises
    ------
    VggError
        The file cannot be read, or holds another network.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, path: Path) -> None:
        super().__init__()
        state = _read_state(path)
        # The last convolution of VGG-19 is its 35th feature layer, VGG-16 has 29.
        self.name = "VGG-19" if "features.34.weight" in state else "VGG-16"
        layers: list[nn.Module] = []
        inputs = 3
        for channels in _LAYERS[self.name]:
            if channels:
                layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = channels
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        wanted = self.state_dict()
        try:
            self.load_state_dict({name: state[name].float() for name in wanted})
        except (KeyError, RuntimeError) as error:
            raise VggError(
                f"{path} does not hold {self.name} weights with torchvision's key names ({error})."
            ) from error
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(1, 3, 1, 1))
        with path.open("rb") as stream:
            self.sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, 3, H, W) in 0..1 to (N, 512, H / 16, W / 16)."""
        features: Tensor = self.features((image - self.mean) / self.std)
        return features


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            found: dict[str, Tensor] = load_file(path)
            return found
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        raise VggError(f"{path} cannot be read as weights: {error}") from error
    if not isinstance(state, dict):
        raise VggError(f"{path} holds a {type(state).__name__}, not a dictionary of tensors.")
    return state
