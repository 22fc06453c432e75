"""Numbers on the canvas: one line, as long as the user wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...metrics import METRICS
from ..changes import Changes
from .measurements import Measurement

if TYPE_CHECKING:
    import napari.viewer

# What a line has room for.
_WITH_REFERENCE = ("psnr", "ssim")
_WITHOUT_REFERENCE = ("sharpness", "noise")


class CanvasText:
    """Writes on the viewer's text overlay, and puts back what was there before.

    All plugins share the overlay: if somebody else has written on it meanwhile, that stays.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose canvas.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._overlay = viewer.canvas.overlays.text
        self._changes = Changes()
        self._written: str | None = None

    def write(self, text: str) -> None:
        """Show a line at the bottom of the canvas; with an empty one, show nothing."""
        if self._written is not None and self._overlay.text != self._written:
            # Somebody else's text, which is theirs to take away.
            self._changes = Changes()
        self._changes.set(self._overlay, "text", text)
        self._changes.set(self._overlay, "position", "bottom_center")
        self._changes.set(self._overlay, "visible", bool(text))
        self._written = text

    def take_away(self) -> None:
        """Put back what was there before the first line."""
        if self._written is not None and self._overlay.text == self._written:
            self._changes.undo()
        self._changes = Changes()
        self._written = None


def line_of(measurement: Measurement) -> str:
    """Return a measurement in one line, e.g. ``"night [darkdeblur] · T 3 · PSNR 31.25 dB"``."""
    parts = [measurement.layer]
    if measurement.where:
        parts.append(measurement.where)
    wanted = _WITH_REFERENCE if measurement.reference else _WITHOUT_REFERENCE
    for metric in METRICS:
        value = measurement.numbers.get(metric.label)
        if metric.key in wanted and value is not None:
            name, _, unit = metric.label.partition(" (")
            parts.append(f"{name} {metric.text(value)} {unit.rstrip(')')}".rstrip())
    return "  ·  ".join(parts)
