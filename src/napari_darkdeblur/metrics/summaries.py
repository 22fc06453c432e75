"""From values of pixels to one number, for an image or any rectangle of it.

All take values of `pixelwise`: arrays whose first two axes are rows and columns. Where no pixel
has a value, the number is NaN: nothing is known.
"""

from __future__ import annotations

import math

import numpy as np

from .images import DATA_RANGE
from .pixelwise import PixelValues


def mean(values: PixelValues) -> float:
    """Return the mean of the values that are not NaN."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def percentile_95(values: PixelValues) -> float:
    """Return the 95th percentile."""
    return float(np.percentile(values, 95))


def greatest(values: PixelValues) -> float:
    """Return the greatest value."""
    return float(values.max())


def decibels(squared_error: PixelValues) -> float:
    """Return the PSNR that squared errors come to; ``inf`` where there are none."""
    error = float(squared_error.mean())
    return 10 * math.log10(DATA_RANGE**2 / error) if error > 0 else math.inf


def relative_gradient(luma_and_gradient: PixelValues) -> float:
    """Return the root mean square of the gradient as a share of the mean luma."""
    luma, squared_gradient = luma_and_gradient[..., 0].mean(), luma_and_gradient[..., 1].mean()
    return float(np.sqrt(squared_gradient) / luma) if luma > 0 else math.nan


def noise_deviation(response: PixelValues) -> float:
    """Return the median of the responses of each channel, the mean over the channels."""
    channels = np.atleast_3d(response)
    medians = [
        np.median(known)
        for channel in np.moveaxis(channels, 2, 0)
        if (known := channel[~np.isnan(channel)]).size
    ]
    return float(np.mean(medians)) if medians else math.nan
