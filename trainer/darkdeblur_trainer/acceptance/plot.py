"""The curves as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_darkdeblur.atomic import atomic_write
from napari_darkdeblur.errors import DarkDeblurError

from .curves import AXES, Point


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
        A PNG file.
    points : sequence of Point
        See `curves`.
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
    ways = list(dict.fromkeys(point.way for point in points))
    for axis, panel in zip(AXES, panels, strict=True):
        panel.axhline(0, color="0.3", linewidth=1)
        for number, way in enumerate(ways):
            here = [point for point in points if point.axis == axis.name and point.way == way]
            values, gains = [p.value for p in here], [p.gain for p in here]
            marker = "osD^v*"[number % 6]
            panel.plot(values, gains, marker=marker, markersize=4, linewidth=1.6, label=way)
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
    figure.legend(handles, labels, loc="outside upper center", ncols=len(ways), frameon=False)
    figure.supxlabel(caption, fontsize=8, color="0.35")
    with atomic_write(path) as part:
        figure.savefig(part, format="png")
