"""What this machine offers: models and devices. Finding out takes seconds, so it has a thread."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DarkDeblurError, sentence_of
from ...weights import AUTO_MODEL, DEFAULT_MODEL, THOROUGH_MODEL
from ..background import load_torch

if TYPE_CHECKING:
    from ...restore.devices import Precision

_GPU_PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "cuda": ("fp32", "tf32", "bf16", "fp16"),
    "mps": ("fp32", "bf16", "fp16"),
}


@dataclass(frozen=True)
class ModelInfo:
    """A model that can be chosen, or a file that cannot.

    Parameters
    ----------
    name : str
        File name without its ending.
    path : pathlib.Path
        Path of the weights file.
    summary : str
        One line about it, or why it cannot be used.
    details : tuple of str
        What else its card says, a line each.
    usable : bool
        Whether its header could be read.
    automatic : bool
        Whether it stands for whichever suits the image and the device; its path is no file.
    no_kernel : str
        Why it cannot be given the blur's kernel, a sentence; empty if it can.
    """

    name: str
    path: Path
    summary: str
    details: tuple[str, ...] = ()
    usable: bool = True
    automatic: bool = False
    no_kernel: str = ""


@dataclass(frozen=True)
class Capabilities:
    """What there is.

    Parameters
    ----------
    models : tuple of ModelInfo
        The choice by itself, the bundled ones, then those of the models folder.
    devices : tuple of str
        Those that work, the best first.
    problem : str
        Why nothing can be restored here; empty if it can.
    """

    models: tuple[ModelInfo, ...] = ()
    devices: tuple[str, ...] = ()
    problem: str = ""


def discover(
    models_folder: Path | None, stop: threading.Event
) -> Generator[None, None, Capabilities]:
    """Find out what there is; a generator for `Background`, which raises nothing."""
    try:
        load_torch()
        yield
        from ...network import list_models
        from ...restore import available_devices

        models = []
        for entry in list_models(models_folder):
            if stop.is_set():
                break
            if entry.usable:
                models.append(describe_model(entry.path))
            else:
                models.append(ModelInfo(entry.name, entry.path, entry.summary, usable=False))
            yield
        return Capabilities((_automatic(), *models), tuple(available_devices()))
    except (DarkDeblurError, OSError) as error:
        return Capabilities(problem=sentence_of(error))
    except Exception as error:
        return Capabilities(problem=f"Looking for models failed: {error}.")


def _automatic() -> ModelInfo:
    from ...network import find_weights, has_model, read_card
    from ...restore import takes_guides

    candidates = [name for name in (DEFAULT_MODEL, THOROUGH_MODEL) if has_model(name)]
    without = [
        name for name in candidates if not takes_guides(read_card(find_weights(name)).generator)
    ]
    no_kernel = ""
    if without:
        # It is known only when restoring begins which of them it will be.
        may = "would" if without == candidates else "may"
        no_kernel = (
            f"Automatic {may} choose {without[0]}, which takes no kernel; choose a model that does."
        )
    # Not of the models that are offered: a folder chosen in the preferences has no say in it.
    if has_model(THOROUGH_MODEL):
        summary = (
            f"{THOROUGH_MODEL} on a GPU and for small images, {DEFAULT_MODEL} for large ones on "
            "a CPU."
        )
    else:
        summary = f"Uses {DEFAULT_MODEL}"
        if has_model(DEFAULT_MODEL):
            said = read_card(find_weights(DEFAULT_MODEL)).summary.rstrip(".")
            summary += f": {said}" if said else ""
        summary += "."
    return ModelInfo(
        AUTO_MODEL,
        Path(AUTO_MODEL),
        summary,
        usable=has_model(DEFAULT_MODEL),
        automatic=True,
        no_kernel=no_kernel,
    )


def describe_model(path: Path) -> ModelInfo:
    """Return what a weights file says about itself; needs torch.

    A file that cannot be used is described as such.
    """
    import torch

    from ...network import WeightsError, build_network, describe_network, read_card
    from ...restore import takes_guides

    try:
        card = read_card(path)
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except (WeightsError, OSError) as error:
        return ModelInfo(path.stem, path, sentence_of(error), usable=False)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in build_network(card.generator).parameters())
    generator = card.generator
    guided = takes_guides(generator)
    low, high = card.value_range
    steps = card.provenance.get("steps")
    details = [
        f"{parameters / 1e6:.1f} M parameters: {describe_network(generator)}",
        f"reaches {generator.receptive_field_radius} pixels around each",
        f"trained on values {low:g} to {high:g}" + (f", {steps} steps" if steps else ""),
        "takes the blur's kernel" if guided else "takes no kernel",
        f"licence: {card.licence or 'not stated'}",
        f"SHA-256 {digest[:12]}…",
        str(path),
    ]
    return ModelInfo(
        path.stem,
        path,
        card.summary or "No description.",
        tuple(details),
        no_kernel="" if guided else f"{path.stem} takes no kernel; choose a model that does.",
    )


def precisions_of(device: str, devices: tuple[str, ...]) -> tuple[Precision, ...]:
    """Return the precisions that a device computes in without being slower for it.

    Parameters
    ----------
    device : str
        ``"auto"``, or one of ``devices``.
    devices : tuple of str
        Those that work, the best first.
    """
    if device == "auto":
        device = devices[0] if devices and devices[0].startswith("cuda") else "cpu"
    return _GPU_PRECISIONS.get(device.split(":")[0], ("fp32",))
