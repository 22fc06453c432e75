"""Which pixels can be restored, and what is said of those that cannot."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import DarkDeblurError

Image = NDArray[Any]
Planes = NDArray[np.float32]
ColourModel = Literal["grey", "rgb", "rgba"]

_RESTORABLE = {(kind, size) for kind in "ui" for size in (1, 2, 4, 8)}
_RESTORABLE |= {("f", 2), ("f", 4), ("f", 8)}


class PixelArray(Protocol):
    """What holds an image's pixels: a numpy array, or one that reads them as needed.

    Indexed by a tuple with an int or a slice without step for each axis, it gives what
    `numpy.asarray` makes an array of: numpy.memmap, dask and zarr arrays do.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""

    @property
    def dtype(self) -> Any:
        """What the pixels are; anything that `numpy.dtype` takes."""

    def __getitem__(self, index: tuple[int | slice, ...], /) -> Any:
        """Return a part of the pixels."""


class PixelError(DarkDeblurError, ValueError):
    """An image's shape, dtype or values cannot be restored; the message is one sentence."""


class ValueRangeError(PixelError):
    """An image has values outside its value range.

    Parameters
    ----------
    found : tuple of float
        The least and the greatest value found.
    allowed : tuple of float
        Values of black and of white.
    """

    def __init__(self, found: tuple[float, float], allowed: tuple[float, float]) -> None:
        self.found = found
        self.allowed = allowed
        low, high = (f"{value:.6g}" for value in found)
        super().__init__(
            f"The image has values from {low} to {high}, outside the value range "
            f"{allowed[0]:g} to {allowed[1]:g}; pass value_range=(black, white) with the "
            "values of black and of white, or 'data' or 'percentile' to have them taken from "
            "the image."
        )


def check_dtype(dtype: Any) -> np.dtype[Any]:
    """Return an array's dtype if such pixels can be restored.

    Parameters
    ----------
    dtype : numpy.dtype or what it takes
        An integer of 8 to 64 bits, float16, float32 or float64, in either byte order.

    Raises
    ------
    PixelError
        It is another one.
    """
    try:
        known: np.dtype[Any] = np.dtype(dtype)
    except TypeError:  # of a library of its own, as a PyTorch tensor's is
        raise PixelError(
            f"The image holds {dtype}, which is no dtype of numpy; convert it to a numpy array."
        ) from None
    if (known.kind, known.itemsize) in _RESTORABLE:
        return known
    hints = {
        "b": "a mask has no blur to remove",
        "c": "take its magnitude (numpy.abs) or its real part",
        "f": "convert it to float64",
    }
    raise PixelError(
        f"The image holds {known.name}; integers, float16, float32 and float64 can be restored, "
        f"{hints.get(known.kind, 'convert it to one of them')}."
    )
