"""Gain against the size of the blur, the noise and the darkness, one varied at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_darkdeblur.atomic import atomic_write

from ..data import ImageCache
from ..synthesis import Degradation
from ..validation import ValidationPair, degraded
from .scores import INPUT, scores
from .ways import Way

# What stays as it is while another setting varies: a blur that is seen, a photograph taken two
# stops too dark, the noise of a phone at ISO 800. No lamps and no JPEG, which would hide the rest.
BLUR, NOISE, EXPOSURE = 3.0, 1e-3, 0.25


@dataclass(frozen=True)
class Axis:
    """What is varied.

    Parameters
    ----------
    name : str
        What it is called in files.
    label : str
        What it is called in the picture, with its unit.
    values : tuple of float
        In order.
    """

    name: str
    label: str
    values: tuple[float, ...]


AXES = (
    Axis("blur", "blur, rms radius in pixels", (0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 12.0)),
    Axis("noise", "sensor gain and read noise, of white", (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
    Axis("darkness", "exposure, of the photograph's light", (1.0, 0.5, 0.25, 0.12, 0.06, 0.03)),
)


@dataclass(frozen=True)
class Point:
    """The mean gain over images for one value of one axis.

    Parameters
    ----------
    axis : str
        `Axis.name`.
    value : float
        Of the setting that is varied.
    way : str
        How was restored.
    psnr, gain : float
        In dB; the gain is that over the input.
    """

    axis: str
    value: float
    way: str
    psnr: float
    gain: float


def degradation_at(axis: Axis, value: float) -> Degradation:
    """Return what is done to photographs at a point: only the paths' shapes are random."""
    at = {"blur": BLUR, "noise": NOISE, "darkness": EXPOSURE, axis.name: value}
    settings: dict[str, Any] = {
        "preset": "night",
        "unblurred": 0.0,
        "blur_radius": (at["blur"],) * 2,
        "defocus_disc": 0.0,
        "defocus_radius": (0.0, 0.0),
        "camera_turn_probability": 0.0,
        "moving_object_probability": 0.0,
        "exposure": (at["darkness"],) * 2,
        "shot_gain": (at["noise"],) * 2,
        "read_noise": (at["noise"],) * 2,
        "highlight_probability": 0.0,
        "jpeg_probability": 0.0,
    }
    return Degradation.model_validate(settings)


def curves(
    cache: ImageCache,
    count: int,
    crop: int,
    ways: Mapping[str, Way],
    *,
    workers: int = 1,
    progress: bool = False,
) -> list[Point]:
    """Measure the gain at every point.

    Parameters
    ----------
    cache : ImageCache
        Sharp images.
    count : int
        How many of them are used, from the head; at most as many as there are.
    crop : int
        Side in pixels of the central crop.
    ways : mapping of str to callable
        See `scores`.
    workers : int
        See `scores`.
    progress : bool
        Whether to show a bar.
    """
    count = min(count, len(cache))
    places = [(axis, value) for axis in AXES for value in axis.values]

    def pairs() -> Iterator[ValidationPair]:
        for place, (axis, value) in enumerate(places):
            images = ((cache.names[index], cache.image(index)) for index in range(count))
            settings = degradation_at(axis, value)
            yield from degraded(str(place), images, settings, crop, clean=True)

    total = count * len(places)
    found = scores(
        pairs(), ways, metrics=("psnr",), workers=workers, total=total, progress=progress
    )
    points = []
    for place, (axis, value) in enumerate(places):
        here = [score for score in found if score.group == str(place)]
        psnr = {
            way: float(np.mean([score.metrics["psnr"] for score in here if score.way == way]))
            for way in (INPUT, *ways)
        }
        points += [Point(axis.name, value, way, psnr[way], psnr[way] - psnr[INPUT]) for way in ways]
    return points


def write_curves(path: Path, points: Sequence[Point]) -> None:
    """Write the points as a CSV file.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["varied", "value", "restored by", "PSNR (dB)", "gain (dB)"])
        writer.writerows((p.axis, p.value, p.way, p.psnr, p.gain) for p in points)
