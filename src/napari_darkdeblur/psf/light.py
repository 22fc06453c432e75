"""From pixel values to light and back, as far as finding kernels needs it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..srgb import linear_to_srgb, srgb_to_linear

# From this share of the largest value on a pixel may have been cut off by the sensor, or be
# bent by a camera's shoulder: less than proportional to light.
SATURATED = 0.94


def to_light(values: NDArray[Any], linear_light: bool) -> NDArray[np.float32]:
    """Return light in 0..1 from values in 0..1.

    Parameters
    ----------
    values : ndarray
        Values in 0..1, of any shape.
    linear_light : bool
        Whether the values carry the sRGB curve, which is undone (photographs), so that the
        result is linear in light. False for values that are light already (microscopes).
    """
    values = np.asarray(values, dtype=np.float32)
    if not linear_light:
        return values
    return srgb_to_linear(values)


def to_values(light: NDArray[Any], linear_light: bool) -> NDArray[np.float32]:
    """Return values in 0..1 from light, which is cut to 0..1; the reverse of `to_light`."""
    light = np.asarray(light, dtype=np.float32)
    return linear_to_srgb(light) if linear_light else np.clip(light, 0, 1)


def saturated(image: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where any channel of an image (H, W, C) with values in 0..1 is saturated."""
    return np.asarray(image.max(axis=-1) >= SATURATED)
