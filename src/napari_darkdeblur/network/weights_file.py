"""The weights file: a ``.safetensors`` file whose header rebuilds the network.

Nothing in such a file is ever executed: the header is JSON, the rest are numbers. The
header's entry ``darkdeblur`` holds a `ModelCard`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..atomic import atomic_write
from ..errors import DarkDeblurError
from .generator import current_name
from .peers import ARCHITECTURES, NetworkConfig, build_network
from .stages import RestorationNetwork

SCHEMA_VERSION = 4  # of networks of other architectures; DarkDeblurNet's files are of version 3
METADATA_KEY = "darkdeblur"


class WeightsError(DarkDeblurError, ValueError):
    """A weights file cannot be used; the message is one sentence for the user."""


class ModelCard(BaseModel):
    """What a weights file says about itself.

    Parameters
    ----------
    schema_version : int
        Version of this layout; a reader refuses versions it does not know.
    generator : GeneratorConfig, MultiScaleConfig or FeaturePyramidConfig
        The network that the tensors belong to.
    value_range : tuple of float
        Values of black and of white that the network was trained on.
    summary : str
        One line for lists of models.
    licence : str
        Licence of the weights.
    provenance : dict
        How they came to be (data, steps, losses, revision, validation, ...); JSON values.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1, 2, 3, 4] = 3
    generator: NetworkConfig
    value_range: tuple[float, float] = (0.0, 1.0)
    summary: str = Field(default="", max_length=500)
    licence: str = Field(default="", max_length=500)
    provenance: dict[str, JsonValue] = Field(default_factory=dict)


@dataclass(frozen=True)
class LoadedModel:
    """A network with its weights and everything a caller needs to know to run it.

    Parameters
    ----------
    name : str
        File name without its ending.
    path : pathlib.Path
        File that it was read from.
    sha256 : str
        SHA-256 of the file's bytes, in hexadecimal.
    network : RestorationNetwork
        Network, in evaluation mode, in fp32 and on the CPU.
    card : ModelCard
        Contents of the header.
    """

    name: str
    path: Path
    sha256: str
    network: RestorationNetwork
    card: ModelCard

    @property
    def config(self) -> NetworkConfig:
        """The network's configuration."""
        return self.card.generator

    @property
    def size_multiple(self) -> int:
        """Multiple that height and width are padded to."""
        return self.config.size_multiple

    @property
    def receptive_field_radius(self) -> int:
        """Distance in pixels within which the input can influence an output pixel."""
        return self.config.receptive_field_radius

    @property
    def value_range(self) -> tuple[float, float]:
        """Values of black and white the network expects."""
        return self.card.value_range

    @property
    def provenance(self) -> dict[str, JsonValue]:
        """How the weights came to be."""
        return self.card.provenance


def save_weights(
    path: str | os.PathLike[str],
    net: RestorationNetwork,
    provenance: dict[str, Any] | None = None,
    *,
    summary: str = "",
    licence: str = "",
    dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
) -> Path:
    """Write a network's weights and card to one file; return its path.

    Parameters
    ----------
    path : path-like
        Must end in ``.safetensors``.
    net : RestorationNetwork
        Network, on any device.
    provenance, summary, licence
        See `ModelCard`.
    dtype : torch.dtype
        How numbers are stored: ``torch.float32`` or ``torch.float16``.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    FileExistsError
        The file exists and ``overwrite`` is false.
    WeightsError
        The name, the storage type or a weight (not finite) cannot be stored.
    """
    target = Path(path)
    if target.suffix != ".safetensors":
        raise WeightsError(f"A weights file must end in .safetensors, {target.name!r} does not.")
    if dtype not in (torch.float32, torch.float16):
        raise WeightsError(f"Weights are stored as float32 or float16, not as {dtype}.")
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists; it is replaced only when asked to (overwrite).")
    card = ModelCard(
        schema_version=3 if net.config.architecture == "darkdeblurnet" else SCHEMA_VERSION,
        generator=net.config,
        summary=summary,
        licence=licence,
        provenance=provenance or {},
    )
    tensors = {
        name: value.detach().to("cpu", dtype).contiguous()
        for name, value in net.state_dict().items()
    }
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise WeightsError(f"Weight {name!r} is not finite as {dtype}; nothing was written.")
    if not target.parent.is_dir():
        raise WeightsError(f"{target} cannot be written: there is no folder {target.parent}.")
    try:
        with atomic_write(target) as part:
            # Not `save_file`, whose files only their owner may read.
            part.write_bytes(save(tensors, metadata={METADATA_KEY: card.model_dump_json()}))
    except (OSError, SafetensorError) as error:
        # The library wraps what the system says, such as that the disk is full.
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()).rstrip(".")
        raise WeightsError(f"{target} cannot be written: {reason}.") from error
    return target


def read_card(path: str | os.PathLike[str]) -> ModelCard:
    """Read only the card of a weights file; no tensor is touched.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    WeightsError
        The file is not a weights file of this program.
    """
    with _open(Path(path)) as file:
        return _card_of(file, Path(path))


def load_weights_file(path: str | os.PathLike[str]) -> LoadedModel:
    """Rebuild the network that a weights file describes.

    Parameters
    ----------
    path : path-like
        A file that `save_weights` wrote.

    Returns
    -------
    LoadedModel
        Its network is in evaluation mode, fp32, on the CPU.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    WeightsError
        The file is truncated, foreign, of a newer version, or its tensors are not those of
        the network that its header describes.
    """
    path = Path(path)
    with _open(path) as file:
        card = _card_of(file, path)
        # Shapes are compared before anything of the described size is allocated: the
        # network is built without memory first.
        with torch.device("meta"):
            net = build_network(card.generator)
        expected = {name: tuple(value.shape) for name, value in net.state_dict().items()}
        stored = {current_name(name): name for name in file.keys()}  # noqa: SIM118
        found = {name: tuple(file.get_slice(old).get_shape()) for name, old in stored.items()}
        if expected != found:
            odd = sorted(
                name
                for name in expected.keys() | found.keys()
                if expected.get(name) != found.get(name)
            )
            raise WeightsError(
                f"{path}: the tensors do not fit the network that the header describes "
                f"({len(odd)} differ, the first is {odd[0]!r})."
            )
        state = {}
        for name in expected:
            value = file.get_tensor(stored[name])
            if not value.is_floating_point():
                raise WeightsError(f"{path}: tensor {name!r} holds {value.dtype}, not floats.")
            # A copy: the tensor must outlive the file it is mapped from.
            state[name] = value.to(torch.float32, copy=True)
            if not torch.isfinite(state[name]).all():
                raise WeightsError(f"{path}: tensor {name!r} holds values that are not finite.")
    net.load_state_dict(state, assign=True)
    net.eval().requires_grad_(False)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return LoadedModel(name=path.stem, path=path, sha256=digest, network=net, card=card)


def _open(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"There is no weights file {path}.")
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is not a complete .safetensors file ({error}); was the download cut short?"
        ) from error


def _card_of(file: Any, path: Path) -> ModelCard:
    entry = (file.metadata() or {}).get(METADATA_KEY)
    if entry is None:
        raise WeightsError(
            f"{path} is a .safetensors file of another program: its header has no "
            f"{METADATA_KEY!r} entry."
        )
    try:
        content = json.loads(entry)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: the {METADATA_KEY!r} header entry is not JSON.") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise WeightsError(
            f"{path} has schema version {version}, this napari-darkdeblur reads up to "
            f"{SCHEMA_VERSION}; a newer napari-darkdeblur is needed."
        )
    try:
        # Strict JSON semantics: tuples come as lists there.
        card = ModelCard.model_validate_json(entry)
    except ValidationError as error:
        first = error.errors()[0]
        parts = [str(part) for part in first["loc"] if part not in ARCHITECTURES]
        where = ".".join(parts) or "header"
        raise WeightsError(f"{path}: the header's {where} is wrong: {first['msg']}.") from error
    low, high = card.value_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise WeightsError(f"{path}: the header's value range {low}..{high} is empty.")
    return card
