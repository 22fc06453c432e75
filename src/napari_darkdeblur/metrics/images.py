"""What all metrics take: float images with values in 0..1.

Black is 0 and white is 1 whatever the image holds: the data range is never taken from the
pixels, which would give a dark image a range of its own. Values outside are an error, so clip
first; to compare files, divide their 8-bit values by 255.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

DATA_RANGE = 1.0

# Rounding in float32 may leave values this far outside 0..1.
_TOLERANCE = 1e-6


def checked_pair(
    restored: ArrayLike, other: ArrayLike, name: str = "reference"
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return two images, if they can be compared.

    Parameters
    ----------
    restored, other : array-like of float
        (H, W, 3) or (H, W), in 0..1.
    name : str
        What the other image is called in errors.

    Raises
    ------
    ValueError
        One of them is no such image, or their shapes differ.
    """
    first, second = checked(restored, "restored"), checked(other, name)
    if first.shape != second.shape:
        raise ValueError(
            f"The restored image has shape {first.shape} and the {name} "
            f"{second.shape}; only images of the same shape can be compared."
        )
    return first, second


def checked(image: ArrayLike, name: str = "restored") -> NDArray[Any]:
    """Return an image as an array, if it can be measured.

    Parameters
    ----------
    image : array-like of float
        (H, W, 3) or (H, W), in 0..1.
    name : str
        What it is called in errors.

    Raises
    ------
    ValueError
        It is no such image.
    """
    array: NDArray[Any] = np.asarray(image)
    if array.dtype.kind != "f":
        raise ValueError(
            f"The {name} image holds {array.dtype}; metrics take floats in 0..1 (8-bit "
            "values divided by 255)."
        )
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ValueError(
            f"The {name} image has shape {array.shape}; metrics take (H, W, 3) or (H, W)."
        )
    # Written so that NaN is out of range, too.
    low, high = float(array.min()), float(array.max())
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        raise ValueError(
            f"The {name} image has values in {low:g}..{high:g}; metrics take 0..1, so "
            "scale or clip it first."
        )
    return array


def require_side(image: NDArray[Any], least: int, what: str) -> None:
    """Refuse an image that is too small.

    Raises
    ------
    ValueError
        One of its sides is shorter than ``least`` pixels, which ``what`` needs.
    """
    if min(image.shape[:2]) < least:
        raise ValueError(
            f"The images are {image.shape[1]} × {image.shape[0]} pixels; {what} needs at "
            f"least {least} on both sides."
        )
