"""Scoring several ways of restoring on the same pairs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from tqdm import tqdm

from napari_darkdeblur.metrics import ciede2000, ms_ssim, psnr, ssim
from napari_darkdeblur.metrics.with_reference import MS_SSIM_LEAST_SIDE

from ..validation import ValidationPair, as_saved
from .ways import Way

# What the tables call what was not restored, and a restored image that only lacks the noise.
INPUT, PERFECT_DENOISER = "blurred", "perfect denoiser"
# In dB: an image that comes out so much further from its reference has been harmed.
HARM = 0.5
METRICS = ("psnr", "ssim", "ms_ssim", "ciede2000_mean")


@dataclass(frozen=True)
class Score:
    """How near a restored image came to its reference.

    Parameters
    ----------
    group, image, way : str
        What the pair counts towards, the image's name, and how it was restored; `INPUT` if it
        was not.
    metrics : dict of float
        By the keys of `METRICS`; without MS-SSIM where the image is too small for it.
    psnr_to_input : float or None
        PSNR of the restored to the blurred image, in dB: how little was changed. None for the
        input itself.
    """

    group: str
    image: str
    way: str
    metrics: dict[str, float]
    psnr_to_input: float | None


def scores(
    pairs: Iterable[ValidationPair],
    ways: Mapping[str, Way],
    *,
    metrics: Sequence[str] = METRICS,
    workers: int = 1,
    total: int | None = None,
    progress: bool = False,
) -> list[Score]:
    """Score the input and every way of restoring on every pair.

    Images are compared as they would be saved, rounded to 8 bits.

    Parameters
    ----------
    pairs : iterable of ValidationPair
        Each is used and let go.
    ways : mapping of str to callable
        By name; each maps a pair to what it restores from ``pair.blurred``.
    metrics : sequence of str
        What is measured, of `METRICS`; PSNR always is.
    workers : int
        How many pairs are worked on at once, each in a thread of its own.
    total : int, optional
        How many pairs there are, for the progress bar.
    progress : bool
        Whether to show one.

    Raises
    ------
    ValueError
        What was restored is not finite.
    """

    def measured(pair: ValidationPair) -> list[Score]:
        restored = {name: way(pair).clamp(0, 1).cpu() for name, way in ways.items()}
        images = {INPUT: pair.blurred, **restored}
        return [_score(pair, name, image, metrics) for name, image in images.items()]

    found: list[Score] = []
    waiting: deque[Future[list[Score]]] = deque()
    hidden = None if progress else True  # None: hidden where there is no terminal
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(desc="validating", unit="image", total=total, disable=hidden) as bar,
    ):

        def take_first() -> None:
            found.extend(waiting.popleft().result())
            bar.update()

        try:
            for pair in pairs:
                waiting.append(pool.submit(measured, pair))
                if len(waiting) > workers:
                    take_first()
            while waiting:
                take_first()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return found


def _score(pair: ValidationPair, way: str, image: Tensor, wanted: Sequence[str]) -> Score:
    restored, reference = as_saved(image), as_saved(pair.sharp)
    metrics = {"psnr": psnr(restored, reference)}
    if "ssim" in wanted:
        metrics["ssim"] = ssim(restored, reference)
    if "ms_ssim" in wanted and min(reference.shape[:2]) >= MS_SSIM_LEAST_SIDE:
        metrics["ms_ssim"] = ms_ssim(restored, reference)
    if "ciede2000_mean" in wanted:
        metrics["ciede2000_mean"] = ciede2000(restored, reference).mean
    to_input = None if way == INPUT else psnr(restored, as_saved(pair.blurred))
    return Score(pair.group, pair.name, way, metrics, to_input)


@dataclass(frozen=True)
class Row:
    """One line of the table: what a way of restoring comes to over a group's images.

    Parameters
    ----------
    group, way : str
        See `Score`.
    metrics : dict of float
        Means over the images, by the keys of `METRICS`.
    psnr_to_input : float or None
        Mean of `Score.psnr_to_input`.
    count : int
        Number of images.
    gain : float or None
        Mean gain in PSNR over the input, in dB; None for the input itself.
    deblurring : float or None
        How much of the gain is above that of `PERFECT_DENOISER`, if that was measured.
    worst : float or None
        The smallest gain of an image: below zero, its largest loss.
    harmed : int
        How many images lost more than `HARM`.
    """

    group: str
    way: str
    metrics: dict[str, float]
    psnr_to_input: float | None
    count: int
    gain: float | None = None
    deblurring: float | None = None
    worst: float | None = None
    harmed: int = 0


def rows(found: Iterable[Score]) -> list[Row]:
    """Return what images come to by group and way, in the order in which they come."""
    together: dict[str, dict[str, list[Score]]] = {}
    for score in found:
        together.setdefault(score.group, {}).setdefault(score.way, []).append(score)
    return [
        _row(some, ways[INPUT], ways.get(PERFECT_DENOISER))
        for ways in together.values()
        for some in ways.values()
    ]


def _row(some: list[Score], inputs: list[Score], perfect: list[Score] | None) -> Row:
    group, way = some[0].group, some[0].way
    metrics = {
        key: float(np.mean([score.metrics[key] for score in some])) for key in some[0].metrics
    }
    if way == INPUT:
        return Row(group, way, metrics, None, len(some))
    gains = _gains(some, inputs)
    gain = float(np.mean(gains))
    bound = float(np.mean(_gains(perfect, inputs))) if perfect else math.inf
    # Of what is sharp already a perfect denoiser gives the reference itself.
    deblurring = gain - bound if math.isfinite(bound) else None
    return Row(
        group,
        way,
        metrics,
        float(np.mean([score.psnr_to_input for score in some])),
        len(some),
        gain,
        None if way == PERFECT_DENOISER else deblurring,
        min(gains),
        sum(gain < -HARM for gain in gains),
    )


def _gains(some: list[Score], inputs: list[Score]) -> list[float]:
    """Return the gains in PSNR over the input, image by image."""
    pairs = [
        (score.metrics["psnr"], start.metrics["psnr"])
        for score, start in zip(some, inputs, strict=True)
    ]
    # What was without error and still is has gained nothing.
    return [0.0 if end == start == math.inf else end - start for end, start in pairs]
