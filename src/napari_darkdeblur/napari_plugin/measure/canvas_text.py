"""A measurement as one line on the canvas, and in the metadata of the layer that was measured."""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from ...metrics import METRICS
from ..changes import Changes
from ..provenance import provenance_of
from .plan import Measurement

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image


# What a line has room for.
_WITH_REFERENCE = ("psnr", "ssim")
_WITHOUT_REFERENCE = ("sharpness", "noise")


class CanvasText:
    """Writes on the viewer's text overlay, and puts back what was there before.

    All plugins share the overlay: if somebody else has written on it meanwhile, that stays.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Viewer on whose canvas the line is written.
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


def keep_in_metadata(layer: Image, measurement: Measurement) -> None:
    """Write a measurement of one of a layer's planes into ``metadata["darkdeblur"]["metrics"]``.

    Under ``"planes"`` it holds an entry for each plane that was measured, by its number: the
    metrics by their keys, and what they were measured on. Layers that this plugin has not
    restored are left alone.

    Parameters
    ----------
    layer : napari.layers.Image
        Layer that was measured.
    measurement : Measurement
        Measurement of one plane of the layer.
    """
    made = provenance_of(layer)
    if made is None or made.kind != "restored" or measurement.plane is None:
        return
    planes: Any = made.metrics.get("planes", {})
    planes = dict(planes) if isinstance(planes, dict) else {}
    planes[str(measurement.plane)] = {
        "plane": measurement.where,
        "reference": measurement.reference,
        "area": list(astuple(measurement.area)),
        "time": measurement.time.isoformat(timespec="seconds"),
        **{
            metric.key: _json_safe(measurement.numbers[metric.label])
            for metric in METRICS
            if metric.label in measurement.numbers
        },
    }
    kept = made.model_copy(update={"metrics": {**made.metrics, "planes": planes}})
    layer.metadata = {**layer.metadata, **kept.as_metadata()}


def _json_safe(value: float) -> float | str:
    """Return a number, or the name of what JSON has no number for."""
    return float(value) if math.isfinite(value) else str(value)
