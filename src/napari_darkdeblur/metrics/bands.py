"""Computing values of pixels in bands of rows, so that large images take little memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StoppedError
from .pixelwise import PixelValues

# Colour differences take some 300 bytes for each pixel while they are computed.
PIXELS_OF_BAND = 2**18


def in_bands(
    pixels: Callable[..., PixelValues],
    images: Sequence[NDArray[Any]],
    halo: int = 0,
    stop: threading.Event | None = None,
) -> PixelValues:
    """Return what a function of `pixelwise` returns for whole images.

    Parameters
    ----------
    pixels : callable
        Takes images in double precision; returns an array with the same rows and columns.
    images : sequence of ndarray
        Its arguments: (H, W, 3) or (H, W), of any float dtype.
    halo : int
        How many rows above and below a pixel it needs to see.
    stop : threading.Event, optional
        When it is set, computing ends after the band at hand.

    Raises
    ------
    StoppedError
        It was stopped.
    """
    height, width = images[0].shape[:2]
    result: PixelValues | None = None
    for top, bottom in _bands(height, width):
        if stop is not None and stop.is_set():
            raise StoppedError
        first, last = max(top - halo, 0), min(bottom + halo, height)
        band = pixels(*(image[first:last].astype(np.float64) for image in images))
        if result is None:
            result = np.empty((height, *band.shape[1:]))
        result[top:bottom] = band[top - first : bottom - first]
    assert result is not None  # images have pixels
    return result


def _bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    rows = max(1, PIXELS_OF_BAND // width)
    for top in range(0, height, rows):
        yield top, min(top + rows, height)
