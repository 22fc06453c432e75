"""The sRGB transfer curve (IEC 61966-2-1), for numpy arrays; for tensors see `network.guides`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def srgb_to_linear(values: NDArray[Any]) -> NDArray[Any]:
    """Map sRGB values in 0..1 to linear light in 0..1; float32 stays, else it is float64."""
    values = _floats(values)
    high = ((np.maximum(values, 0) + 0.055) / 1.055) ** 2.4
    return np.where(values <= 0.04045, values / 12.92, high)


def linear_to_srgb(light: NDArray[Any]) -> NDArray[Any]:
    """Map linear light, clipped to 0..1, to sRGB values; float32 stays, else it is float64."""
    light = np.clip(_floats(light), 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _floats(values: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(values, np.float32 if np.asarray(values).dtype == np.float32 else np.float64)
