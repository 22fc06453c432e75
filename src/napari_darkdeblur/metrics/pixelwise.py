"""What metrics compute for each pixel, before it is summed up over an image or a tile.

All functions take and return double precision, and check nothing: see `images` for that. Where
a pixel has no value (beside the border, say) it is NaN. Images of any size go through `bands`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import scipy  # type: ignore[import-untyped, unused-ignore]
from numpy.typing import NDArray

# As modules, which load what they hold on first use: it takes a second or so, for which whoever
# only lists the metrics, such as a widget that is opened, would have to wait.
from skimage import color
from skimage import metrics as skimage_metrics

from .images import DATA_RANGE

PixelValues: TypeAlias = NDArray[np.float64]

SSIM_SIGMA = 1.5
SSIM_WINDOW = 11  # pixels: what sigma 1.5 truncated at 3.5 sigma comes to
SSIM_HALO = SSIM_WINDOW - 1  # half would do, but scikit-image wants a whole window
NOISE_WINDOW = 3  # pixels

# The difference of two Laplacians: it answers neither to slopes nor to edges along the axes.
_NOISE_MASK = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
_MEDIAN_OF_NORMAL = 0.6744897501960817  # of the absolute value, at standard deviation 1


def absolute_error(first: PixelValues, second: PixelValues) -> PixelValues:
    """Return the absolute difference of each value, in the images' shape."""
    return np.abs(first - second)


def squared_error(first: PixelValues, second: PixelValues) -> PixelValues:
    """Return the squared difference of each value, in the images' shape."""
    return np.square(first - second)


def structural(first: PixelValues, second: PixelValues, *, full: bool) -> Any:
    """Return scikit-image's SSIM with the parameters of Wang et al. (2004); see `ssim`."""
    return skimage_metrics.structural_similarity(
        second,
        first,
        data_range=DATA_RANGE,
        channel_axis=2 if first.ndim == 3 else None,
        gaussian_weights=True,
        sigma=SSIM_SIGMA,
        use_sample_covariance=False,
        full=full,
    )


def similarity(first: PixelValues, second: PixelValues) -> PixelValues:
    """Return the SSIM of the window around each pixel, the mean over the channels, (H, W).

    At the border windows are filled up by reflection; see `inner_similarity`.
    """
    _, values = structural(first, second, full=True)
    pixels: PixelValues = values.mean(axis=2) if values.ndim == 3 else values
    return pixels


def inner_similarity(first: PixelValues, second: PixelValues) -> PixelValues:
    """Return `similarity` where the window lies inside of the image, NaN elsewhere.

    The mean of these is the SSIM of the image.
    """
    margin = SSIM_WINDOW // 2
    inner = np.full(first.shape[:2], np.nan)
    inside = (slice(margin, -margin), slice(margin, -margin))
    inner[inside] = similarity(first, second)[inside]
    return inner


def colour_difference(first: PixelValues, second: PixelValues) -> PixelValues:
    """Return the CIEDE2000 difference of each pixel, (H, W); grey counts as RGB."""
    lab = (
        color.rgb2lab(color.gray2rgb(image) if image.ndim == 2 else image)
        for image in (first, second)
    )
    difference: PixelValues = color.deltaE_ciede2000(*lab)
    return difference


def luma_and_gradient(image: PixelValues) -> PixelValues:
    """Return the luma of each pixel and the square of its gradient by Sobel, (H, W, 2).

    Luma is in 0..1, weighted as in Rec. 709; the gradient is its change per pixel. The mean square
    of the gradient is Tenengrad (Tenenbaum 1970; Krotkov 1988). Its root as a share of the mean
    luma does not depend on the exposure. It compares images of one scene in one framing, says
    nothing across scenes, and is no measure of quality: noise raises it, and so do ringing and
    invented detail.
    """
    luma = color.rgb2gray(image) if image.ndim == 3 else image
    # Sobel's weights: half the difference of the neighbours on both sides, averaged with 1, 2, 1.
    slopes = (scipy.ndimage.sobel(luma, axis, mode="nearest") / 8 for axis in (0, 1))
    return np.stack([luma, sum(np.square(slope) for slope in slopes)], axis=2)


def noise_response(image: PixelValues) -> PixelValues:
    """Return the absolute response of each value to Immerkær's mask, (H, W) or (H, W, 3).

    The mask (Immerkær 1996) removes slopes and straight edges. The response is scaled such that
    its median over normally distributed noise is the noise's standard deviation (as in Donoho and
    Johnstone 1994): unlike the mean, the median counts edges and texture little unless they are
    everywhere. Fine texture that is everywhere passes for noise; noise that is smooth over several
    pixels, as JPEG and demosaicing leave it, is underestimated. Windows across the border, or with
    a value at black or white, have no response: noise that was cut off there would pass for little
    noise.
    """
    mask = _NOISE_MASK if image.ndim == 2 else _NOISE_MASK[:, :, None]
    response: PixelValues = np.abs(scipy.ndimage.correlate(image, mask, mode="nearest"))
    response /= np.sqrt(np.square(_NOISE_MASK).sum()) * _MEDIAN_OF_NORMAL
    usable = (image > 0) & (image < 1)
    size = (3, 3, 1)[: image.ndim]
    # What lies beyond the border counts as not usable.
    usable = scipy.ndimage.minimum_filter(usable, size=size, mode="constant", cval=False)
    response[~usable] = np.nan
    return response


def at_black(image: PixelValues) -> PixelValues:
    """Return 1 for each value at black, 0 for others, in the image's shape."""
    return (image <= 0).astype(np.float64)


def at_white(image: PixelValues) -> PixelValues:
    """Return 1 for each value at white, 0 for others, in the image's shape."""
    return (image >= 1).astype(np.float64)
