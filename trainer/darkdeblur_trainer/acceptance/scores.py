"""Scoring several ways of restoring on the same pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from tqdm import tqdm

from napari_darkdeblur.metrics import ciede2000, ms_ssim, psnr, ssim
from napari_darkdeblur.metrics.with_reference import MS_SSIM_LEAST_SIDE

from ..validation import ValidationPair, as_saved

Way = Callable[[ValidationPair], Tensor]
INPUT = "blurred"
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
    total : int, optional
        How many pairs there are, for the progress bar.
    progress : bool
        Whether to show one.

    Raises
    ------
    ValueError
        What was restored is not finite.
    """
    found = []
    hidden = None if progress else True  # None: hidden where there is no terminal
    for pair in tqdm(pairs, desc="validating", unit="image", total=total, disable=hidden):
        found.append(_score(pair, INPUT, pair.blurred))
        found += [_score(pair, name, way(pair).clamp(0, 1).cpu()) for name, way in ways.items()]
    return found


def _score(pair: ValidationPair, way: str, image: Tensor) -> Score:
    restored, reference = as_saved(image), as_saved(pair.sharp)
    metrics = {"psnr": psnr(restored, reference), "ssim": ssim(restored, reference)}
    if min(reference.shape[:2]) >= MS_SSIM_LEAST_SIDE:
        metrics["ms_ssim"] = ms_ssim(restored, reference)
    metrics["ciede2000_mean"] = ciede2000(restored, reference).mean
    to_input = None if way == INPUT else psnr(restored, as_saved(pair.blurred))
    return Score(pair.group, pair.name, way, metrics, to_input)


@dataclass(frozen=True)
class Row:
    """One line of the table: the means over a group's images; see `Score`."""

    group: str
    way: str
    metrics: dict[str, float]
    psnr_to_input: float | None


def rows(found: Iterable[Score]) -> list[Row]:
    """Return the means over images by group and way, in the order in which they come."""
    together: dict[tuple[str, str], list[Score]] = {}
    for score in found:
        together.setdefault((score.group, score.way), []).append(score)
    lines = []
    for (group, way), some in together.items():
        metrics = {
            key: float(np.mean([score.metrics[key] for score in some])) for key in some[0].metrics
        }
        changes = [score.psnr_to_input for score in some if score.psnr_to_input is not None]
        lines.append(Row(group, way, metrics, float(np.mean(changes)) if changes else None))
    return lines
