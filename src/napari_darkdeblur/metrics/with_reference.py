"""Metrics that compare a restored image with the sharp image it should be.

Conventions, the same for every function here:

- Images are float arrays (H, W, 3) in sRGB or (H, W), with values in 0..1. Black is 0 and
  white is 1 whatever the image holds: the data range is never taken from the pixels, which
  would give a dark image a range of its own. Values outside 0..1 are an error, so clip
  first; to compare files, divide their 8-bit values by 255.
- Nothing is cropped and colours are not converted (PSNR and SSIM are those of RGB, not of a
  luma channel); the value for a set of images is the mean of the images' values.
- Numbers are computed in double precision.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage import color  # as modules, which load what they hold on first use
from skimage import metrics as skimage_metrics

from . import pixelwise
from .bands import in_bands
from .images import DATA_RANGE, checked_pair, require_side
from .pixelwise import SSIM_WINDOW

MS_SSIM_SCALES = 5
MS_SSIM_LEAST_SIDE = (SSIM_WINDOW - 1) * 2 ** (MS_SSIM_SCALES - 1) + 1


class ColourDifference(NamedTuple):
    """Colour difference in CIEDE2000 units; 1 is about the least that can be seen.

    Parameters
    ----------
    mean : float
        Mean over the pixels.
    p95 : float
        95th percentile over the pixels: how far off the worst twentieth is.
    """

    mean: float
    p95: float


class Comparison(NamedTuple):
    """The numbers of one line of a results table; see `compare`."""

    psnr: float
    ssim: float
    ciede2000_mean: float
    ciede2000_p95: float


def psnr(restored: ArrayLike, reference: ArrayLike) -> float:
    """Return the peak signal-to-noise ratio.

    Parameters
    ----------
    restored, reference : array-like
        (H, W, 3) or (H, W), in 0..1.

    Returns
    -------
    float
        In dB, from the mean squared error over all pixels and channels; ``inf`` if the
        images are the same.

    Raises
    ------
    ValueError
        The images are not comparable; see the module's conventions.
    """
    first, second = _double(restored, reference)
    with np.errstate(divide="ignore"):
        return float(skimage_metrics.peak_signal_noise_ratio(second, first, data_range=DATA_RANGE))


def ssim(restored: ArrayLike, reference: ArrayLike) -> float:
    """Return the mean structural similarity (Wang et al. 2004).

    Gaussian window of 11 × 11 pixels and standard deviation 1.5, covariances without
    Bessel's correction, as in the original; the mean over the channels of each channel's
    SSIM.

    Parameters
    ----------
    restored, reference : array-like
        (H, W, 3) or (H, W), in 0..1, both sides at least 11 pixels.

    Returns
    -------
    float
        At most 1, which is for the same image.

    Raises
    ------
    ValueError
        The images are too small or not comparable; see the module's conventions.
    """
    first, second = _double(restored, reference)
    require_side(first, SSIM_WINDOW, "SSIM with an 11 pixel window")
    return float(pixelwise.structural(first, second, full=False))


def ms_ssim(restored: ArrayLike, reference: ArrayLike) -> float:
    """Return the multi-scale structural similarity (Wang et al. 2003).

    Five scales with the published weights, window of 11 pixels. An image too small for that
    is an error: a smaller window would give a number that looks comparable and is not. (The
    training loss has a window of 7, because its patches are that small.)

    Parameters
    ----------
    restored, reference : array-like
        (H, W, 3) or (H, W), in 0..1, both sides at least 161 pixels.

    Returns
    -------
    float
        In 0..1; 1 is for the same image.

    Raises
    ------
    ValueError
        The images are too small or not comparable; see the module's conventions.
    """
    # Only here: torch takes seconds to import.
    import torch
    from pytorch_msssim import ms_ssim as torch_ms_ssim

    first, second = _double(restored, reference)
    require_side(first, MS_SSIM_LEAST_SIDE, "MS-SSIM with 5 scales and an 11 pixel window")

    def batch(image: NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy(np.atleast_3d(image).transpose(2, 0, 1)[None].copy())

    with torch.inference_mode():
        value = torch_ms_ssim(
            batch(first), batch(second), data_range=DATA_RANGE, win_size=SSIM_WINDOW
        )
    return float(value)


def ciede2000(restored: ArrayLike, reference: ArrayLike) -> ColourDifference:
    """Return the colour difference of two sRGB images, pixel by pixel.

    sRGB is taken to CIELAB by way of linear light, with the white of D65 and the 2 degree
    observer. A grey image counts as RGB with three equal channels.

    Parameters
    ----------
    restored, reference : array-like
        (H, W, 3) or (H, W), in 0..1.

    Returns
    -------
    ColourDifference
        Mean and 95th percentile over the pixels; 0 for the same image.

    Raises
    ------
    ValueError
        The images are not comparable; see the module's conventions.
    """
    difference = in_bands(pixelwise.colour_difference, checked_pair(restored, reference))
    return ColourDifference(float(difference.mean()), float(np.percentile(difference, 95)))


def cie76(restored: ArrayLike, reference: ArrayLike) -> float:
    """Return the mean CIE76 colour difference of two sRGB images, the distance in CIELAB.

    Older than `ciede2000`, and what many papers mean by "Delta E". Conversion, parameters and
    errors are those of `ciede2000`.
    """

    def distance(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
        lab = (
            color.rgb2lab(color.gray2rgb(image) if image.ndim == 2 else image)
            for image in (first, second)
        )
        found: NDArray[Any] = color.deltaE_cie76(*lab)
        return found

    return float(in_bands(distance, checked_pair(restored, reference)).mean())


def compare(restored: ArrayLike, reference: ArrayLike) -> Comparison:
    """Return PSNR, SSIM and CIEDE2000 of a restored image: one line of a results table.

    Parameters
    ----------
    restored, reference : array-like
        (H, W, 3) or (H, W), in 0..1, both sides at least 11 pixels.

    Returns
    -------
    Comparison
        See `psnr`, `ssim` and `ciede2000`.

    Raises
    ------
    ValueError
        The images are too small or not comparable; see the module's conventions.
    """
    colour = ciede2000(restored, reference)
    return Comparison(psnr(restored, reference), ssim(restored, reference), colour.mean, colour.p95)


def _double(
    restored: ArrayLike, reference: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = checked_pair(restored, reference)
    return first.astype(np.float64), second.astype(np.float64)
