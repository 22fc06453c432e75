"""Maps: what a metric finds at each pixel, to look at.

Images are as in `with_reference`. Maps are (H, W), whether the image is grey or RGB.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import pixelwise
from .bands import in_bands
from .images import checked_pair, require_side
from .pixelwise import SSIM_HALO, SSIM_WINDOW, PixelValues

Map = NDArray[np.float32]


def error_map(restored: ArrayLike, reference: ArrayLike) -> Map:
    """Return how far each pixel is from the reference.

    Parameters
    ----------
    restored, reference : array-like
        (H, W, 3) or (H, W), in 0..1.

    Returns
    -------
    ndarray of float32
        (H, W): absolute difference, the mean over the channels, 0..1.

    Raises
    ------
    ValueError
        The images are not comparable; see `with_reference`.
    """
    pair = checked_pair(restored, reference)
    return in_bands(_mean_error, pair).astype(np.float32)


def ssim_map(restored: ArrayLike, reference: ArrayLike) -> Map:
    """Return the structural similarity of the window around each pixel; see `ssim`.

    `ssim` is the mean of this map without its outermost 5 pixels, where windows are filled up
    by reflection.

    Parameters
    ----------
    restored, reference : array-like
        (H, W, 3) or (H, W), in 0..1, both sides at least 11 pixels.

    Returns
    -------
    ndarray of float32
        (H, W): the mean over the channels, -1..1; 1 where the images are the same.

    Raises
    ------
    ValueError
        The images are too small or not comparable; see `with_reference`.
    """
    pair = checked_pair(restored, reference)
    require_side(pair[0], SSIM_WINDOW, "SSIM with an 11 pixel window")
    return in_bands(pixelwise.similarity, pair, SSIM_HALO).astype(np.float32)


def change_map(restored: ArrayLike, original: ArrayLike) -> Map:
    """Return what restoring added to each pixel, or took from it.

    Parameters
    ----------
    restored, original : array-like
        (H, W, 3) or (H, W), in 0..1; the original is what was restored.

    Returns
    -------
    ndarray of float32
        (H, W): restored - original, the mean over the channels, -1..1; positive where it
        became brighter.

    Raises
    ------
    ValueError
        The images are not comparable; see `with_reference`.
    """
    pair = checked_pair(restored, original, "original")
    return in_bands(_mean_change, pair).astype(np.float32)


def _mean_error(first: PixelValues, second: PixelValues) -> PixelValues:
    return _over_channels(pixelwise.absolute_error(first, second))


def _mean_change(first: PixelValues, second: PixelValues) -> PixelValues:
    return _over_channels(first - second)


def _over_channels(values: PixelValues) -> PixelValues:
    mean: PixelValues = np.atleast_3d(values).mean(axis=2)
    return mean
