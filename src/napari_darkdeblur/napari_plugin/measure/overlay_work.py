"""Overlays from beginning to end: whether there can be one, its work, and its layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ..background import Work
from ..provenance import input_of, provenance_of
from .matching import MatchError
from .measurements import Subject
from .measuring_job import MapMade, TilesMeasured, mapping, measuring_tiles
from .metric_layers import LOOKS, Overlay, add_map, add_tiles
from .uncertainty_job import UncertaintyFound, finding_uncertainty

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

OverlayResult = TilesMeasured | MapMade | UncertaintyFound


def why_no_overlay(
    kind: Overlay, layer: Image | None, reference: Image | None, layers: Iterable[Image]
) -> str:
    """Return why there can be no overlay of a kind, in one sentence; empty if there can.

    Parameters
    ----------
    kind : str
        Which overlay.
    layer : napari.layers.Image or None
        Of which layer.
    reference : napari.layers.Image or None
        What it is compared with.
    layers : iterable of napari.layers.Image
        All that there are.
    """
    if layer is None:
        return "Check an image to measure."
    if kind in ("error", "SSIM") and reference is None:
        return f"Choose a reference: the {kind} map compares with it."
    if kind == "change" and input_of(layer, layers) is None:
        return f"{layer.name!r} was not made of another layer that is still here."
    if kind == "uncertainty":
        made = provenance_of(layer)
        if made is None or made.kind != "restored" or made.model is None:
            return f"{layer.name!r} was not restored by a model."
        if input_of(layer, layers) is None:
            return f"What {layer.name!r} was restored from is not here any more."
    return ""


def overlay_work(kind: Overlay, layer: Image, subject: Subject, tile: int) -> Work:
    """Return the work that an overlay takes.

    Parameters
    ----------
    kind : str
        Which overlay.
    layer : napari.layers.Image
        Of which layer.
    subject : Subject
        What is measured of it.
    tile : int
        Side of a tile in pixels.

    Raises
    ------
    MatchError
        The subject lacks what the overlay needs.
    """
    if kind == "tiles":
        return measuring_tiles(subject, tile)
    needed = subject.reference if kind in ("error", "SSIM") else subject.original
    if needed is None:
        raise MatchError(f"There is nothing to compare {layer.name!r} with.")
    if kind == "uncertainty":
        made = provenance_of(layer)
        assert made is not None
        return finding_uncertainty(subject.picture, needed, made)
    return mapping(subject, kind)


def show_overlay(
    viewer: napari.viewer.Viewer, layer: Image, result: OverlayResult, label: str
) -> str:
    """Add the layer of an overlay.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where.
    layer : napari.layers.Image
        What was measured.
    result : TilesMeasured, MapMade or UncertaintyFound
        What came out.
    label : str
        The metric that colours tiles.

    Returns
    -------
    str
        How to read it, for the user.
    """
    if isinstance(result, MapMade):
        add_map(viewer, layer, result.subject.picture, result.kind, result.values)
        return " ".join([LOOKS[result.kind].reading, *result.notes])
    if isinstance(result, UncertaintyFound):
        add_map(viewer, layer, result.picture, "uncertainty", result.spread)
        largest = float(np.nanmax(result.spread)) if np.isfinite(result.spread).any() else 0.0
        mean = float(np.nanmean(result.spread)) if np.isfinite(result.spread).any() else 0.0
        return (
            f"{LOOKS['uncertainty'].reading} Here the mean is {100 * mean:.2f} % and the largest "
            f"{100 * largest:.1f} % of the value range."
        )
    if label not in result.columns:  # what was chosen cannot be measured here
        label = next(reversed(result.columns))
    add_tiles(viewer, layer, result, label)
    tile = result.tiles[0]
    reading = (
        f"{len(result.tiles)} tiles of about {tile.width} × {tile.height} pixels, coloured by "
        f"{label}: the brighter, the higher. All metrics are in the layer's features."
    )
    return " ".join([reading, *result.notes])
