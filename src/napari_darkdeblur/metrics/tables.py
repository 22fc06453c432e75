"""The one list of metrics: what they are called, what they mean, how they are measured.

Tables, tooltips and number formats everywhere follow from `METRICS`. To add a metric, add an
entry: it appears in the command line, the widgets, and for each tile.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import StoppedError
from . import pixelwise, summaries
from .bands import in_bands
from .images import checked, checked_pair
from .pixelwise import NOISE_WINDOW, SSIM_HALO, SSIM_WINDOW, PixelValues
from .with_reference import MS_SSIM_LEAST_SIDE, ms_ssim


@dataclass(frozen=True)
class Metric:
    """A metric.

    Parameters
    ----------
    key : str
        Name in code.
    label : str
        Name in tables and files, with its unit.
    description : str
        Sentence that says what the metric means.
    digits : int
        How many digits to show after the point.
    needs : {"nothing", "reference", "original"}
        What it takes besides the restored image.
    pixels : callable
        Takes the restored image, and what is needed besides; returns an array with a value or
        more for each pixel: its first two axes are rows and columns.
    summary : callable
        Takes these values for the whole image or any rectangle of it, and returns the number.
    better : {"higher", "lower", "neither"}
        Which values are better, if that can be said at all.
    halo : int
        How many rows above and below a pixel its value depends on.
    least_side : int
        An image whose shorter side has fewer pixels does not have it.
    of_tiles : bool
        Whether rectangles of an image have it, too.
    """

    key: str
    label: str
    description: str
    digits: int
    needs: Literal["nothing", "reference", "original"]
    pixels: Callable[..., PixelValues]
    summary: Callable[[PixelValues], float]
    better: Literal["higher", "lower", "neither"] = "neither"
    halo: int = 0
    least_side: int = 1
    of_tiles: bool = True

    def text(self, value: float) -> str:
        """Return a value as it is shown, without the unit; a dash if it is not known."""
        return "–" if math.isnan(value) else f"{value:.{self.digits}f}"


def _percent(summary: Callable[[PixelValues], float]) -> Callable[[PixelValues], float]:
    return lambda values: 100 * summary(values)


METRICS: tuple[Metric, ...] = (
    Metric(
        key="psnr",
        label="PSNR (dB)",
        description="Peak signal-to-noise ratio: how small the squared error is against the "
        "reference; every 6 dB more halve the error.",
        better="higher",
        digits=2,
        needs="reference",
        pixels=pixelwise.squared_error,
        summary=summaries.decibels,
    ),
    Metric(
        key="ssim",
        label="SSIM",
        description="Structural similarity to the reference in windows of 11 pixels; 1 is the "
        "same image.",
        better="higher",
        digits=4,
        needs="reference",
        pixels=pixelwise.inner_similarity,
        summary=summaries.mean,
        halo=SSIM_HALO,
        least_side=SSIM_WINDOW,
    ),
    Metric(
        key="ms_ssim",
        label="MS-SSIM",
        description="Structural similarity to the reference at five scales; 1 is the same image.",
        better="higher",
        digits=4,
        needs="reference",
        pixels=lambda restored, reference: np.stack([restored, reference], axis=-1),
        summary=lambda pair: ms_ssim(pair[..., 0], pair[..., 1]),
        least_side=MS_SSIM_LEAST_SIDE,
        of_tiles=False,
    ),
    Metric(
        key="ciede2000_mean",
        label="CIEDE2000 mean",
        description="Mean colour difference to the reference; 1 is about the least that can be "
        "seen.",
        better="lower",
        digits=2,
        needs="reference",
        pixels=pixelwise.colour_difference,
        summary=summaries.mean,
    ),
    Metric(
        key="ciede2000_p95",
        label="CIEDE2000 95 %",
        description="Colour difference to the reference that 95 % of the pixels stay below.",
        better="lower",
        digits=2,
        needs="reference",
        pixels=pixelwise.colour_difference,
        summary=summaries.percentile_95,
    ),
    Metric(
        key="sharpness",
        label="Sharpness (%/px)",
        description="How much brightness changes from pixel to pixel, in per cent of the mean "
        "brightness; compares images of one scene only, and noise and ringing raise it.",
        digits=2,
        needs="nothing",
        pixels=pixelwise.luma_and_gradient,
        summary=_percent(summaries.relative_gradient),
        halo=1,
    ),
    Metric(
        key="noise",
        label="Noise (%)",
        description="Estimated standard deviation of the noise, in per cent of the value range; "
        "fine texture counts as noise.",
        digits=2,
        needs="nothing",
        pixels=pixelwise.noise_response,
        summary=_percent(summaries.noise_deviation),
        halo=1,
        least_side=NOISE_WINDOW,
    ),
    Metric(
        key="black",
        label="At black (%)",
        description="Share of the values that are cut off at black.",
        digits=2,
        needs="nothing",
        pixels=pixelwise.at_black,
        summary=_percent(summaries.mean),
    ),
    Metric(
        key="white",
        label="At white (%)",
        description="Share of the values that are cut off at white.",
        digits=2,
        needs="nothing",
        pixels=pixelwise.at_white,
        summary=_percent(summaries.mean),
    ),
    Metric(
        key="change_mean",
        label="Mean change (%)",
        description="Mean absolute difference to the original, in per cent of the value range.",
        digits=2,
        needs="original",
        pixels=pixelwise.absolute_error,
        summary=_percent(summaries.mean),
    ),
    Metric(
        key="change_largest",
        label="Largest change (%)",
        description="Largest absolute difference of a value to the original, in per cent of the "
        "value range.",
        digits=1,
        needs="original",
        pixels=pixelwise.absolute_error,
        summary=_percent(summaries.greatest),
    ),
)


def metric_of(name: str) -> Metric:
    """Return a metric by its key or its label.

    Raises
    ------
    KeyError
        There is none.
    """
    for metric in METRICS:
        if name in (metric.key, metric.label):
            return metric
    raise KeyError(name)


def measure(
    restored: ArrayLike,
    reference: ArrayLike | None = None,
    original: ArrayLike | None = None,
    stop: threading.Event | None = None,
) -> dict[str, float]:
    """Return all metrics of an image that can be measured.

    Parameters
    ----------
    restored : array-like
        (H, W, 3) or (H, W), in 0..1.
    reference : array-like, optional
        The sharp image that it should be.
    original : array-like, optional
        Image that was restored.
    stop : threading.Event, optional
        When it is set, no further metric is measured.

    Returns
    -------
    dict of str to float
        By label, in the order of `METRICS`. Metrics that need what is not given, or a larger
        image, are left out. Infinite (a PSNR) if the images are the same; NaN where the image
        does not tell (the noise of a black image).

    Raises
    ------
    ValueError
        The images are not comparable; see `with_reference`.
    """
    numbers = {}
    for metrics, pixels in pixels_of_metrics(METRICS, restored, reference, original, stop):
        for metric in metrics:
            numbers[metric.label] = metric.summary(pixels)
    return numbers


def pixels_of_metrics(
    metrics: Sequence[Metric],
    restored: ArrayLike,
    reference: ArrayLike | None,
    original: ArrayLike | None,
    stop: threading.Event | None = None,
) -> Iterator[tuple[list[Metric], PixelValues]]:
    """Compute what metrics are summed up from, one after the other.

    Parameters
    ----------
    metrics : sequence of Metric
        Which, where the images allow it.
    restored, reference, original, stop
        See `measure`.

    Yields
    ------
    metrics : list of Metric
        Neighbours in the list that are computed from the same values.
    pixels : ndarray
        The values, in double precision.

    Raises
    ------
    ValueError
        See `measure`.
    """
    images: dict[str, tuple[NDArray[Any], ...]] = {}
    if reference is not None:
        images["reference"] = checked_pair(restored, reference)
    if original is not None:
        images["original"] = checked_pair(restored, original, "original")
    image = next(iter(images.values()))[0] if images else checked(restored)
    images["nothing"] = (image,)
    possible = (
        metric
        for metric in metrics
        if metric.needs in images and min(image.shape[:2]) >= metric.least_side
    )
    for _, group in groupby(possible, key=lambda metric: metric.pixels):
        same = list(group)
        one = same[0]
        try:
            pixels = in_bands(one.pixels, images[one.needs], one.halo, stop)
        except StoppedError:
            return
        yield same, pixels
