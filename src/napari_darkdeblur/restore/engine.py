"""Running the network on an image."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import DarkDeblurError
from ..network import DEFAULT_MODEL, LoadedModel, find_weights, load_weights
from .devices import choose_device
from .pixels import PixelFormat, Planes


class RestoreError(DarkDeblurError, RuntimeError):
    """Restoring failed; the message is one sentence for the user."""


class OutOfMemoryError(RestoreError):
    """The device has too little memory for the image."""


class NonFiniteWarning(UserWarning):
    """The image has values that are NaN or infinite; they were left as they are."""


def deblur(
    image: NDArray[Any],
    model: str | os.PathLike[str] | LoadedModel = DEFAULT_MODEL,
    device: str = "auto",
    *,
    value_range: tuple[float, float] | None = None,
) -> NDArray[Any]:
    """Remove motion blur and noise from an image.

    The whole image is restored at once.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, 1) grey, (H, W, 3) RGB or (H, W, 4) RGBA, whose alpha is kept;
        uint8, uint16 or float32; any height and width from 1. It is not changed.
    model : str, path-like or LoadedModel
        A model's name or the path of a weights file (see `load_weights`), or a loaded
        model.
    device : str
        ``"auto"`` (a CUDA device if there is one, else the CPU), ``"cpu"``, ``"cuda"``,
        ``"cuda:1"``, ``"mps"``.
    value_range : tuple of float, optional
        The values of black and of white, for instance ``(0, 4095)`` for 12 bits in uint16.
        The default is the dtype's whole range for integers and ``(0, 1)`` for floats. It is
        never taken from the image, and results are limited to it.

    Returns
    -------
    ndarray
        Of the image's shape and dtype. Values that were NaN or infinite still are.

    Raises
    ------
    PixelError
        The image's shape, dtype or values cannot be restored.
    DeviceError
        There is no such device.
    FileNotFoundError, WeightsError
        The model cannot be loaded.
    OutOfMemoryError
        The device has too little memory.
    RestoreError
        The network's output is not finite.

    Warns
    -----
    NonFiniteWarning
        The image has values that are NaN or infinite.

    Examples
    --------
    >>> import napari_darkdeblur
    >>> restored = napari_darkdeblur.deblur(photograph)  # doctest: +SKIP
    """
    image = np.asarray(image)
    pixel_format = PixelFormat.of(image, value_range)
    loaded = load_model(model, device)
    if nonfinite := pixel_format.nonfinite(image):
        warnings.warn(
            f"{nonfinite} of the image's values are NaN or infinite; they were left as "
            "they are, and the network saw their nearest finite neighbours instead.",
            NonFiniteWarning,
            stacklevel=2,
        )
    planes = _run(loaded, pixel_format.to_planes(image))
    return pixel_format.from_planes(planes, image)


def load_model(
    model: str | os.PathLike[str] | LoadedModel = DEFAULT_MODEL, device: str = "auto"
) -> LoadedModel:
    """Load a model on a device; the last ones loaded by name or path are kept.

    Parameters
    ----------
    model : str, path-like or LoadedModel
        See `deblur`. A loaded model is copied to the device if it is on another one.
    device : str
        See `deblur`.

    Returns
    -------
    LoadedModel
        Its network is on the device, in evaluation mode.

    Raises
    ------
    DeviceError
        There is no such device.
    FileNotFoundError, WeightsError
        The model cannot be loaded.
    """
    where = choose_device(device)
    if isinstance(model, LoadedModel):
        if next(model.network.parameters()).device == where:
            return model
        # A copy: the caller's network stays where it is.
        return dataclasses.replace(model, network=copy.deepcopy(model.network).to(where))
    path = find_weights(model).absolute()
    # A file that was replaced is read again.
    modified = path.stat().st_mtime_ns if path.is_file() else None
    return _load_cached(path, modified, where)


@functools.lru_cache(maxsize=4)
def _load_cached(path: Path, modified: int | None, device: torch.device) -> LoadedModel:
    loaded = load_weights(path)
    loaded.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return loaded


def _run(loaded: LoadedModel, planes: Planes) -> Planes:
    """Run the network on (3, H, W) planes, black 0 and white 1."""
    black, white = loaded.value_range
    device = next(loaded.network.parameters()).device
    height, width = planes.shape[1:]
    try:
        with torch.inference_mode():
            batch = torch.from_numpy(planes)[None].to(device, memory_format=torch.channels_last)
            restored = loaded.network(batch * (white - black) + black)
            restored = (restored[0] - black) / (white - black)
            result: Planes = restored.contiguous().cpu().numpy()
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"{device} has too little memory to restore {width} × {height} pixels at once; "
            "restore parts of the image, or choose another device or a smaller model."
        ) from error
    if not np.isfinite(result).all():
        raise RestoreError(
            f"Model {loaded.name!r} gave values that are not finite on {device}; try "
            "another device or another model."
        )
    return result


def _is_out_of_memory(error: Exception) -> bool:
    # The CPU's and MPS's allocators raise a plain RuntimeError.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        text in str(error) for text in ("out of memory", "not enough memory", "allocate memory")
    )
