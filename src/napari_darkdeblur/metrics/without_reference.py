"""Measures of an image to which no sharp reference exists.

None of them says how good an image is: they describe it. Whether sharper or less noisy is also
nearer to the truth, only a reference can tell (see `with_reference`, whose conventions hold
here, too).
"""

from __future__ import annotations

from typing import NamedTuple

from numpy.typing import ArrayLike

from . import pixelwise, summaries
from .bands import in_bands
from .images import checked, checked_pair, require_side

NOISE_WINDOW = 3  # pixels


class Clipped(NamedTuple):
    """How much of an image was cut off, as shares from 0 to 1.

    Parameters
    ----------
    black, white : float
        Share of the values (each channel counts) at 0 and at 1.
    """

    black: float
    white: float


class Change(NamedTuple):
    """How far an image differs from its original, in units of the value range.

    Parameters
    ----------
    mean : float
        Mean absolute difference, over all pixels and channels.
    largest : float
        Largest absolute difference of a value.
    """

    mean: float
    largest: float


def sharpness(image: ArrayLike) -> float:
    """Return the root mean square of the brightness gradient, relative to the mean brightness.

    This is Tenengrad (Tenenbaum 1970; Krotkov 1988): the mean square of the gradient by Sobel.
    Divided by the square of the mean luma it does not depend on the exposure, and its root is
    a share per pixel: how much brightness changes from one pixel to the next.

    It compares images of one scene in one framing. It says nothing across scenes, and it is no
    measure of quality: noise raises it, and so do ringing and invented detail.

    Parameters
    ----------
    image : array-like
        (H, W, 3) or (H, W), in 0..1; black is 0, since an offset counts as brightness.

    Returns
    -------
    float
        In 1/pixel; 0 for an even image, NaN for one that is all black.

    Raises
    ------
    ValueError
        The image cannot be measured; see `with_reference`.
    """
    pixels = in_bands(pixelwise.luma_and_gradient, [checked(image)], halo=1)
    return summaries.relative_gradient(pixels)


def noise(image: ArrayLike) -> float:
    """Return an estimate of the standard deviation of the noise.

    The image is filtered with Immerkær's mask (1996), which removes slopes and straight edges.
    The deviation follows from the median of the absolute response (as in Donoho and Johnstone
    1994), not from its mean: so edges and texture count little unless they are everywhere. Fine
    texture that is everywhere passes for noise; noise that is smooth over several pixels, as
    JPEG and demosaicing leave it, is underestimated. Places at black or white are left out.

    Parameters
    ----------
    image : array-like
        (H, W, 3) or (H, W), in 0..1, both sides at least 3 pixels.

    Returns
    -------
    float
        In units of the value range, the mean over the channels; NaN if the image is black or
        white nearly everywhere. Of an 8-bit image it comes in steps of a quarter of a level.

    Raises
    ------
    ValueError
        The image is too small or cannot be measured; see `with_reference`.
    """
    checked_image = checked(image)
    require_side(checked_image, NOISE_WINDOW, "noise estimation with a 3 pixel window")
    pixels = in_bands(pixelwise.noise_response, [checked_image], halo=1)
    return summaries.noise_deviation(pixels)


def clipped(image: ArrayLike) -> Clipped:
    """Return which share of an image lies at black and at white.

    Parameters
    ----------
    image : array-like
        (H, W, 3) or (H, W), in 0..1.

    Returns
    -------
    Clipped
        Shares of the values, each channel counted for itself.

    Raises
    ------
    ValueError
        The image cannot be measured; see `with_reference`.
    """
    pixels = checked(image)
    return Clipped(
        summaries.mean(in_bands(pixelwise.at_black, [pixels])),
        summaries.mean(in_bands(pixelwise.at_white, [pixels])),
    )


def change(restored: ArrayLike, original: ArrayLike) -> Change:
    """Return how much restoring changed.

    Parameters
    ----------
    restored, original : array-like
        (H, W, 3) or (H, W), in 0..1; the original is what was restored.

    Returns
    -------
    Change
        Mean and largest absolute difference; 0 if nothing changed.

    Raises
    ------
    ValueError
        The images are not comparable; see `with_reference`.
    """
    pair = checked_pair(restored, original, "original")
    difference = in_bands(pixelwise.absolute_error, pair)
    return Change(summaries.mean(difference), summaries.greatest(difference))
