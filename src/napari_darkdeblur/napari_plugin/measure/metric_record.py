"""What was measured of a result, kept in its metadata."""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from ...metrics import METRICS
from ..provenance import provenance_of
from .measurements import Measurement

if TYPE_CHECKING:
    from napari.layers import Image


def keep_in_metadata(layer: Image, measurement: Measurement) -> None:
    """Write a measurement of one of a layer's planes into ``metadata["darkdeblur"]["metrics"]``.

    Under ``"planes"`` it holds an entry for each plane that was measured, by its number: the
    metrics by their keys, and what they were measured on. Layers that this plugin has not
    restored are left alone.

    Parameters
    ----------
    layer : napari.layers.Image
        What was measured.
    measurement : Measurement
        Of one plane.
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
