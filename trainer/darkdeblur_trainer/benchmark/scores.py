"""Metrics of several methods of restoring on the same pairs, and their summaries."""

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
from .methods import Method

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
    group : str
        Group that the pair belongs to, such as ``"1.5-3 px, little noise"``.
    image : str
        File name of the image.
    method : str
        Name of the method that restored it; `INPUT` for the blurred image itself.
    metrics : dict of float
        By the keys of `METRICS`; without MS-SSIM where the image is too small for it.
    psnr_to_input : float or None
        PSNR of the restored to the blurred image, in dB: how little was changed. None for the
        input itself.
    """

    group: str
    image: str
    method: str
    metrics: dict[str, float]
    psnr_to_input: float | None


def score_methods(
    pairs: Iterable[ValidationPair],
    methods: Mapping[str, Method],
    *,
    metrics: Sequence[str] = METRICS,
    workers: int = 1,
    total: int | None = None,
    progress: bool = False,
) -> list[Score]:
    """Score the input and every method of restoring on every pair.

    Images are compared as they would be saved, rounded to 8 bits.

    Parameters
    ----------
    pairs : iterable of ValidationPair
        Pairs to restore; only a few are kept in memory at a time.
    methods : mapping of str to callable
        Methods by name; each maps a pair to what it restores from ``pair.blurred``.
    metrics : sequence of str
        Metrics to measure, of `METRICS`; PSNR always is.
    workers : int
        Number of pairs that are worked on at once, each in a thread of its own.
    total : int, optional
        Number of pairs, for the progress bar.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    list of Score
        One for the input and one for each method, pair by pair.

    Raises
    ------
    ValueError
        What was restored is not finite.
    """

    def measured(pair: ValidationPair) -> list[Score]:
        restored = {name: method(pair).clamp(0, 1).cpu() for name, method in methods.items()}
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


def _score(pair: ValidationPair, method: str, image: Tensor, wanted: Sequence[str]) -> Score:
    restored, reference = as_saved(image), as_saved(pair.sharp)
    metrics = {"psnr": psnr(restored, reference)}
    if "ssim" in wanted:
        metrics["ssim"] = ssim(restored, reference)
    if "ms_ssim" in wanted and min(reference.shape[:2]) >= MS_SSIM_LEAST_SIDE:
        metrics["ms_ssim"] = ms_ssim(restored, reference)
    if "ciede2000_mean" in wanted:
        metrics["ciede2000_mean"] = ciede2000(restored, reference).mean
    to_input = None if method == INPUT else psnr(restored, as_saved(pair.blurred))
    return Score(pair.group, pair.name, method, metrics, to_input)


@dataclass(frozen=True)
class Summary:
    """One line of the table: a method's results, averaged over the images of a group.

    Parameters
    ----------
    group : str
        Group that the images belong to.
    method : str
        Name of the method that restored them; `INPUT` for the blurred images.
    metrics : dict of float
        Means over the images, by the keys of `METRICS`.
    psnr_to_input : float or None
        Mean of `Score.psnr_to_input`; None for the input itself.
    count : int
        Number of images of the group.
    gain : float or None
        Mean gain in PSNR over the input, in dB; None for the input itself.
    deblurring : float or None
        How much of the gain is above that of `PERFECT_DENOISER`, if that was measured.
    worst : float or None
        The smallest gain of an image: below zero, its largest loss.
    harmed : int
        Number of images that lost more than `HARM`.
    """

    group: str
    method: str
    metrics: dict[str, float]
    psnr_to_input: float | None
    count: int
    gain: float | None = None
    deblurring: float | None = None
    worst: float | None = None
    harmed: int = 0


def summarize(found: Iterable[Score]) -> list[Summary]:
    """Return scores averaged by group and method, in the order of their first appearance."""
    together: dict[str, dict[str, list[Score]]] = {}
    for score in found:
        together.setdefault(score.group, {}).setdefault(score.method, []).append(score)
    return [
        _summary(some, methods[INPUT], methods.get(PERFECT_DENOISER))
        for methods in together.values()
        for some in methods.values()
    ]


def _summary(some: list[Score], inputs: list[Score], perfect: list[Score] | None) -> Summary:
    group, method = some[0].group, some[0].method
    metrics = {
        key: float(np.mean([score.metrics[key] for score in some])) for key in some[0].metrics
    }
    if method == INPUT:
        return Summary(group, method, metrics, None, len(some))
    gains = _gains(some, inputs)
    gain = float(np.mean(gains))
    bound = float(np.mean(_gains(perfect, inputs))) if perfect else math.inf
    # Of what is sharp already a perfect denoiser gives the reference itself.
    deblurring = gain - bound if math.isfinite(bound) else None
    return Summary(
        group,
        method,
        metrics,
        float(np.mean([score.psnr_to_input for score in some])),
        len(some),
        gain,
        None if method == PERFECT_DENOISER else deblurring,
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
