"""What a curtain adds to a viewer: a joined layer, the lines of its edge, names on the canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components.overlays import TextOverlay
from napari.layers import Image, Vectors
from numpy.typing import NDArray

from ..layer_pixels import full_resolution
from ..provenance import Provenance, record_input
from ..result_layers import appearance_of, placement_of, result_name
from .curtain import Edge, join

if TYPE_CHECKING:
    from napari.components import Dims

    from ...restore.image.pixels import PixelArray
    from .pair import Nesting, Pair

# Of the lines that make an edge: one that is seen on dark, between two that are seen on light.
_COLOURS = ("black", "yellow", "black")
_WIDTH = 1.5  # canvas pixels, of each


def joined_layer(nesting: Nesting, edge: Edge) -> Image:
    """Return a layer that shows two layers, one on each side of an edge.

    Parameters
    ----------
    nesting : Nesting
        The layers; it lies and looks as the frame does.
    edge : Edge
        When it has been changed, the layer's ``refresh`` shows it.
    """
    frame, inset, offset = nesting
    levels = join(_levels(frame), _levels(inset), offset, edge)
    return Image(
        levels if len(levels) > 1 else levels[0],
        multiscale=len(levels) > 1,
        name=result_name(frame, "[curtain]"),
        metadata=_metadata(frame),
        **placement_of(frame),
        **appearance_of(frame),
    )


def edge_layer(nesting: Nesting) -> Vectors:
    """Return a layer for the lines of an edge; `draw_edge` draws them."""
    frame = nesting.frame
    return Vectors(
        np.zeros((len(_COLOURS), 2, frame.ndim)),
        vector_style="line",
        edge_color=list(_COLOURS),
        blending="translucent_no_depth",
        name=result_name(frame, "[edge]"),
        metadata=_metadata(frame),
        **placement_of(frame),
    )


def draw_edge(layer: Vectors, nesting: Nesting, edge: Edge, dims: Dims, zoom: float) -> None:
    """Draw the lines of an edge where it is, on the plane on screen.

    Parameters
    ----------
    layer : napari.layers.Vectors
        See `edge_layer`.
    nesting : Nesting
        The layers that the edge divides.
    edge : Edge
        Where it is.
    dims : napari.components.Dims
        What is on screen. The edge of a volume is not drawn.
    zoom : float
        Canvas pixels for one unit of the world.
    """
    if layer.visible != (dims.ndisplay == 2):
        layer.visible = dims.ndisplay == 2
    frame, axis = nesting.frame, edge.axis
    width = _WIDTH / (zoom * float(np.linalg.norm(step_in_world(frame, axis))))
    last = np.asarray(full_resolution(frame).shape[: frame.ndim]) - 1
    lines = np.zeros((len(_COLOURS), 2, frame.ndim))
    lines[:, 0] = np.clip(np.rint(frame.world_to_data(dims.point)), 0, last)
    for shown in nesting.displayed(dims):
        lines[:, 0, shown], lines[:, 1, shown] = 0, last[shown]
    # Pixels have their centres at whole numbers: the edge is between two. Beyond the outermost
    # centres it would widen the range of the viewer's sliders.
    beside = (np.arange(len(_COLOURS)) - len(_COLOURS) // 2) * width
    lines[:, 0, axis] = np.clip(edge.position - 0.5 + beside, 0, last[axis])
    lines[:, 1, axis] = 0
    layer.data = lines
    layer.edge_width = width


def names_on_canvas(pair: Pair, stacked: bool) -> dict[str, TextOverlay]:
    """Return texts for ``viewer.canvas.overlays``: the layers' names, each on its side.

    Parameters
    ----------
    pair : Pair
        The layers.
    stacked : bool
        Whether the sides are above and below; else they are left and right.
    """
    corners = ("top_left", "bottom_left") if stacked else ("top_left", "top_right")
    return {
        f"darkdeblur_{side}": TextOverlay(text=layer.name, position=corner, visible=True)
        for side, layer, corner in zip(pair._fields, pair, corners, strict=True)
    }


def step_in_world(layer: Image, axis: int) -> NDArray[np.float64]:
    """Return the way in the world from a pixel of a layer to the next one along an axis."""
    pixel = np.zeros(layer.ndim)
    start = layer.data_to_world(pixel)
    pixel[axis] = 1
    step: NDArray[np.float64] = np.subtract(layer.data_to_world(pixel), start)
    return step


def _levels(layer: Image) -> list[PixelArray]:
    return list(layer.data) if layer.multiscale else [layer.data]


def _metadata(frame: Image) -> dict[str, Any]:
    return Provenance(kind="curtain", input=record_input(frame)).as_metadata()
