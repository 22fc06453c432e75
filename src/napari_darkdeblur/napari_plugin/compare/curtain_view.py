"""A curtain in the viewer: the joined layer, its edge, and how the edge is dragged."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components.overlays import TextOverlay
from napari.experimental import unlink_layers
from napari.layers import Image, Layer, Vectors
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from ..changes import Changes
from ..layer_pixels import full_resolution
from ..provenance import Provenance, record_input
from ..result_layers import appearance_of, link_appearance, placement_of, result_name
from .curtain import Edge, join

if TYPE_CHECKING:
    import napari.viewer
    from napari.components import Dims

    from ...restore.image.pixels import PixelArray
    from .pair import LayerPair, Nesting


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
    levels = join(levels_of(frame), levels_of(inset), offset, edge)
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
        Position of the edge.
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


def names_on_canvas(pair: LayerPair, stacked: bool) -> dict[str, TextOverlay]:
    """Return texts for ``viewer.canvas.overlays``: the layers' names, each on its side.

    Parameters
    ----------
    pair : LayerPair
        Layers that are compared.
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


def levels_of(layer: Image) -> list[PixelArray]:
    """Return a layer's levels of resolution, the finest first; one if it has no others."""
    return list(layer.data) if layer.multiscale else [layer.data]


def _metadata(frame: Image) -> dict[str, Any]:
    return Provenance(kind="curtain", input=record_input(frame)).as_metadata()


_Point = Sequence[float] | NDArray[np.float64]

_REACH = 8.0  # canvas pixels: how near to the edge the mouse takes hold of it
_PAUSE = 30  # milliseconds: the picture is made anew no more often while the edge moves


class CurtainView(QObject):
    """Shows two layers as one, with an edge between them that can be dragged.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where; no layers are visible but those of the pair.
    pair : LayerPair
        Layers that are compared.
    nesting : Nesting
        How the two lie on each other.
    stacked : bool
        Whether the layer before is above the edge; else it is left of it.
    parent : QObject
        Whose part it is: its timer ends with it.

    Signals
    -------
    changed :
        The edge is somewhere else, or divides another axis.
    """

    changed = Signal()

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        pair: LayerPair,
        nesting: Nesting,
        stacked: bool,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._pair = pair
        self._nesting = nesting
        self._stacked = stacked
        self._closed = False
        self._late = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._catch_up)

        self._selected = set(viewer.layers.selection)
        self._changes = Changes()
        for layer in pair:
            self._changes.set(layer, "visible", False)
        self._edge = Edge(axis=0, position=0, inset_first=False)
        self._lay_edge()
        self._bring_into_view()
        self._image, self._line = joined_layer(nesting, self._edge), edge_layer(nesting)
        for layer in self.layers:
            viewer.add_layer(layer)
        viewer.layers.selection.active = self._image
        link_appearance((nesting.frame, self._image))
        self._draw_edge()
        self._texts = names_on_canvas(pair, stacked)
        for key, text in self._texts.items():
            viewer.canvas.overlays[key] = text

        dims = viewer.dims.events
        self._connections = [
            (dims.order, self._turn),
            (dims.ndisplay, self._turn),
            (dims.point, self._draw_edge),
            (viewer.scene.camera.events.zoom, self._draw_edge),
            (viewer.layers.events.renamed, self._rename),
        ]
        for event, callback in self._connections:
            event.connect(callback)
        viewer.mouse_drag_callbacks.append(self._drag)
        viewer.mouse_move_callbacks.append(self._hover)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that it has added to the viewer."""
        return self._image, self._line

    @property
    def length(self) -> int:
        """Pixels along the axis that the edge divides."""
        return int(full_resolution(self._nesting.frame).shape[self._edge.axis])

    @property
    def position(self) -> int:
        """How many of them, from the left or from the top, are on the side of the layer before."""
        return self._turned(self._edge.position)

    def move(self, position: int) -> None:
        """Move the edge; see `position`."""
        position = min(max(position, 0), self.length)
        if position == self.position or self._closed:
            return
        self._edge.position = self._turned(position)
        self._late = True
        if not self._timer.isActive():
            self._catch_up()
        self.changed.emit()

    def move_into_view(self) -> None:
        """Move the edge to the middle of the canvas."""
        dims = self._viewer.dims
        point = np.array(dims.point)
        point[list(dims.displayed)] = self._viewer.scene.camera.center[-dims.ndisplay :]
        self._move_to(point)

    def close(self, *, layers_change: bool = False) -> None:
        """Take the curtain out of the viewer.

        Parameters
        ----------
        layers_change : bool
            Whether the layer list is being changed at this moment: then the curtain's layers are
            hidden now, and taken out afterwards.
        """
        self._closed = True
        self._timer.stop()
        for event, callback in self._connections:
            event.disconnect(callback)
        viewer = self._viewer
        viewer.mouse_drag_callbacks.remove(self._drag)
        viewer.mouse_move_callbacks.remove(self._hover)
        self._point(False)
        for key in self._texts:
            del viewer.canvas.overlays[key]
        unlink_layers([self._image])
        if viewer.layers.selection <= set(self.layers):
            viewer.layers.selection = self._selected.intersection(viewer.layers)
        self._changes.undo()
        take_out(viewer, self.layers, layers_change=layers_change)
        self.deleteLater()

    def _lay_edge(self) -> None:
        """Hang the curtain in the middle: on which axis, and on which side each layer is."""
        displayed = self._nesting.displayed(self._viewer.dims)
        # "Left" and "above" are meant on the canvas, whichever way the layer is turned on it.
        world = displayed[-2] if self._stacked else displayed[-1]
        steps = {axis: step_in_world(self._nesting.frame, axis)[world] for axis in displayed}
        axis = max(displayed, key=lambda axis: abs(steps[axis]))
        vertical, horizontal = self._viewer.scene.camera.orientation2d
        mirrored = str(vertical) == "up" if self._stacked else str(horizontal) == "left"
        self._forward = bool((steps[axis] > 0) != mirrored)
        self._edge.axis = axis
        self._edge.position = self.length // 2
        self._edge.inset_first = (self._nesting.inset is self._pair.before) == self._forward

    def _bring_into_view(self) -> None:
        """Hang the curtain in the middle of what is on screen, if the image is there."""
        dims = self._viewer.dims
        point = np.array(dims.point)
        point[list(dims.displayed)] = self._viewer.scene.camera.center[-dims.ndisplay :]
        along = float(self._nesting.frame.world_to_data(point)[self._edge.axis]) + 0.5
        if 0 < along < self.length:
            self._edge.position = round(along)

    def _turned(self, position: int) -> int:
        """Return a position counted on the canvas as the array counts it, and vice versa."""
        return position if self._forward else self.length - position

    def _turn(self, event: Any = None) -> None:
        self._lay_edge()
        self._late = True
        self._catch_up()
        self.changed.emit()

    def _catch_up(self) -> None:
        """Make the picture anew, if the edge has moved, and have a pause."""
        if self._late:
            self._late = False
            self._image.refresh(thumbnail=False, highlight=False, extent=False)
            self._draw_edge()
            self._timer.start(_PAUSE)

    def _draw_edge(self, event: Any = None) -> None:
        viewer = self._viewer
        draw_edge(self._line, self._nesting, self._edge, viewer.dims, viewer.scene.camera.zoom)

    def _rename(self, event: Any = None) -> None:
        for text, layer in zip(self._texts.values(), self._pair, strict=True):
            text.text = layer.name

    def _move_to(self, point: _Point) -> None:
        along = self._nesting.frame.world_to_data(point)[self._edge.axis]
        self.move(self._turned(round(float(along) + 0.5)))

    def _near(self, point: _Point) -> bool:
        """Whether the edge is within reach of a point of the canvas."""
        if self._viewer.dims.ndisplay != 2:
            return False
        frame = self._nesting.frame
        there = np.asarray(frame.world_to_data(point))
        on_edge = there.copy()
        on_edge[self._edge.axis] = self._edge.position - 0.5
        way = np.subtract(frame.data_to_world(there), frame.data_to_world(on_edge))
        return bool(np.linalg.norm(way) * self._viewer.scene.camera.zoom <= _REACH)

    def _hover(self, viewer: Any, event: Any) -> None:
        self._point(self._near(event.position))

    def _point(self, on: bool) -> None:
        """Tell by the cursor that the edge can be dragged; touch it only where that changes."""
        cursor = self._viewer.cursor
        if on != (cursor.style == "pointing"):
            cursor.style = "pointing" if on else "standard"

    def _drag(self, viewer: Any, event: Any) -> Generator[None, None, None]:
        if event.button != 1 or not self._near(event.position):
            return
        event.handled = True  # the camera stays where it is
        yield
        while event.type == "mouse_move" and not self._closed:
            event.handled = True
            self._move_to(event.position)
            yield


def take_out(viewer: napari.viewer.Viewer, layers: Sequence[Layer], *, layers_change: bool) -> None:
    """Remove layers from the viewer, if they are there.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Viewer that the layers were added to.
    layers : sequence of napari.layers.Layer
        Layers to remove.
    layers_change : bool
        Whether the layer list is being changed at this moment: then they are hidden now, and taken
        out afterwards.
    """

    def remove() -> None:
        for layer in layers:
            if layer in viewer.layers:
                viewer.layers.remove(layer)

    if not layers_change:
        remove()
        return
    for layer in layers:
        layer.visible = False
    QTimer.singleShot(0, remove)
