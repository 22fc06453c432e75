"""The model that restores: chosen by name, path or device, loaded, and kept."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
from pathlib import Path

import torch

from ..network import (
    AUTO_MODEL,
    DEFAULT_MODEL,
    THOROUGH_MODEL,
    LoadedModel,
    find_weights,
    has_model,
    load_weights,
)
from .devices import Precision, choose_device, choose_dtype


def load_model(
    model: str | os.PathLike[str] | LoadedModel = AUTO_MODEL,
    device: str = "auto",
    precision: Precision = "fp32",
    pixels: int | None = None,
) -> LoadedModel:
    """Load a model on a device; the last ones loaded by name or path are kept.

    Parameters
    ----------
    model : str, path-like or LoadedModel
        See `RestoreOptions`. A loaded model is copied to the device if it is on another one.
    device : str
        See `RestoreOptions`.
    precision : {"fp32", "tf32", "bf16", "fp16"}
        See `choose_dtype`.
    pixels : int, optional
        How many it will restore, which ``"auto"`` goes by; if not given, many.

    Returns
    -------
    LoadedModel
        Its network is on the device, in evaluation mode.

    Raises
    ------
    DeviceError
        There is no such device, or not with this precision.
    FileNotFoundError, WeightsError
        The model cannot be loaded.
    """
    where = choose_device(device)
    dtype = choose_dtype(precision, where)
    if isinstance(model, LoadedModel):
        weight = next(model.network.parameters())
        if (weight.device, weight.dtype) == (where, dtype):
            return model
        # A copy: the caller's network stays where it is.
        network = copy.deepcopy(model.network).to(where, dtype)
        return dataclasses.replace(model, network=network)
    if model == AUTO_MODEL:
        model = choose_model(where, pixels)
    path = find_weights(model).absolute()
    # A file that was replaced is read again.
    modified = path.stat().st_mtime_ns if path.is_file() else None
    return _load_cached(path, modified, where, dtype)


@functools.lru_cache(maxsize=4)
def _load_cached(
    path: Path, modified: int | None, device: torch.device, dtype: torch.dtype
) -> LoadedModel:
    loaded = load_weights(path)
    loaded.network.to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return loaded


# The thorough model is 16 times the work: on a CPU more than that keeps people waiting.
SMALL_IMAGE = 512 * 512


def choose_model(device: torch.device, pixels: int | None = None) -> str:
    """Choose the model that ``"auto"`` stands for.

    Parameters
    ----------
    device : torch.device
        Device that the model will run on.
    pixels : int, optional
        How many it will restore, over all planes; not known if not given.

    Returns
    -------
    str
        `THOROUGH_MODEL` on a GPU, or for at most `SMALL_IMAGE` pixels; else, or if it is neither
        bundled nor in the models folder, `DEFAULT_MODEL`.
    """
    quick = device.type != "cpu" or (pixels is not None and pixels <= SMALL_IMAGE)
    return THOROUGH_MODEL if quick and has_model(THOROUGH_MODEL) else DEFAULT_MODEL
