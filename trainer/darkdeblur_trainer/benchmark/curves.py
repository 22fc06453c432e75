"""Gain against the size of the blur, the noise and the darkness, as numbers and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_darkdeblur.atomic import atomic_write, write_csv_rows
from napari_darkdeblur.errors import DarkDeblurError

from ..data import ImageCache
from ..synthesis import Degradation
from ..validation import ValidationPair, degraded
from .methods import Method
from .scores import INPUT, score_methods

# What stays as it is while another setting varies: a blur that is seen, a photograph taken two
# stops too dark, the noise of a phone at ISO 800. No lamps and no JPEG, which would hide the rest.
BLUR, NOISE, EXPOSURE = 3.0, 1e-3, 0.25


@dataclass(frozen=True)
class Axis:
    """What is varied.

    Parameters
    ----------
    name : str
        Name of the axis in files.
    label : str
        Label of the axis in the picture, with its unit.
    values : tuple of float
        Values at which the gain is measured, in order.
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
        Name of the axis; see `Axis.name`.
    value : float
        Value of the setting that is varied.
    method : str
        Name of the method that restored the images.
    psnr, gain : float
        Mean PSNR, and its gain over the input, in dB.
    """

    axis: str
    value: float
    method: str
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
    methods: Mapping[str, Method],
    *,
    workers: int = 1,
    progress: bool = False,
) -> list[Point]:
    """Measure the gain at every point.

    Parameters
    ----------
    cache : ImageCache
        Sharp images that are degraded.
    count : int
        How many of them are used, from the head; at most as many as there are.
    crop : int
        Side in pixels of the central crop.
    methods : mapping of str to callable
        Methods by name; see `score_methods`.
    workers : int
        Number of pairs that are worked on at once; see `score_methods`.
    progress : bool
        Whether to show a progress bar.
    """
    count = min(count, len(cache))
    places = [(axis, value) for axis in AXES for value in axis.values]

    def pairs() -> Iterator[ValidationPair]:
        for place, (axis, value) in enumerate(places):
            images = ((cache.names[index], cache.image(index)) for index in range(count))
            settings = degradation_at(axis, value)
            yield from degraded(str(place), images, settings, crop, clean=True)

    total = count * len(places)
    found = score_methods(
        pairs(), methods, metrics=("psnr",), workers=workers, total=total, progress=progress
    )
    points = []
    for place, (axis, value) in enumerate(places):
        here = [score for score in found if score.group == str(place)]
        psnr = {
            method: float(
                np.mean([score.metrics["psnr"] for score in here if score.method == method])
            )
            for method in (INPUT, *methods)
        }
        points += [
            Point(axis.name, value, method, psnr[method], psnr[method] - psnr[INPUT])
            for method in methods
        ]
    return points


def write_curves(path: Path, points: Sequence[Point]) -> None:
    """Write the points as a CSV file.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    head = ("varied", "value", "restored by", "PSNR (dB)", "gain (dB)")
    write_csv_rows(path, [head, *((p.axis, p.value, p.method, p.psnr, p.gain) for p in points)])


class PlotError(DarkDeblurError, RuntimeError):
    """The picture cannot be drawn; the message says what to do."""


def require_matplotlib() -> None:
    """Fail before anything is measured, if the picture could not be drawn in the end.

    Raises
    ------
    PlotError
        matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise PlotError(
            "Drawing curves needs matplotlib: pip install 'napari-darkdeblur[train]'."
        ) from error


def draw_curves(path: Path, points: Sequence[Point], caption: str) -> None:
    """Draw the gain over the input against what was varied, one panel each.

    Parameters
    ----------
    path : pathlib.Path
        PNG file to write.
    points : sequence of Point
        Points of the curves, as `curves` returned them.
    caption : str
        Stands below the panels: what was measured on.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    # Not pyplot, which would look for a display.
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator

    figure = Figure(figsize=(11, 4.2), dpi=130, layout="constrained")
    panels = figure.subplots(1, len(AXES), sharey=True)
    methods = list(dict.fromkeys(point.method for point in points))
    for axis, panel in zip(AXES, panels, strict=True):
        panel.axhline(0, color="0.3", linewidth=1)
        for number, method in enumerate(methods):
            here = [point for point in points if point.axis == axis.name and point.method == method]
            values, gains = [p.value for p in here], [p.gain for p in here]
            marker = "osD^v*"[number % 6]
            panel.plot(values, gains, marker=marker, markersize=4, linewidth=1.6, label=method)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(FixedLocator(axis.values))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xticks(axis.values, [f"{value:g}" for value in axis.values])
        panel.set_xlabel(axis.label)
        panel.grid(color="0.9")
        panel.spines[["top", "right"]].set_visible(False)
        if axis.name == "darkness":  # darker to the right
            panel.invert_xaxis()
    panels[0].set_ylabel("gain in PSNR over the input, dB")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(methods), frameon=False)
    figure.supxlabel(caption, fontsize=8, color="0.35")
    with atomic_write(path) as part:
        figure.savefig(part, format="png")
