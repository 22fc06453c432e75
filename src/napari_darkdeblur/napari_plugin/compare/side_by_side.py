"""Two layers beside each other, with one camera for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..changes import Changes

if TYPE_CHECKING:
    import napari.viewer

    from .pair import Pair

_GAP = 4  # canvas pixels
# A picture up to so much larger than the canvas is not looked at closely.
_AS_A_WHOLE = 1.6


class SideBySide:
    """Shows two layers in napari's grid.

    A picture that is seen as a whole is made to fit its cell; the camera is left as it is where
    one has zoomed in.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where; no layers are visible but those of the pair.
    pair : Pair
        What.
    stacked : bool
        Whether the layer before is above the other; else it is left of it.
    """

    def __init__(self, viewer: napari.viewer.Viewer, pair: Pair, stacked: bool) -> None:
        self._viewer = viewer
        self._pair = pair
        self._changes = Changes()
        for layer in pair:
            self._changes.set(layer, "visible", True)
            self._changes.set(layer.name_overlay, "visible", True)
        self._camera = self._camera_now()
        as_a_whole = self._is_seen_as_a_whole()
        grid = viewer.canvas.grid
        # Further layers that are shown meanwhile get cells of their own.
        self._changes.set(grid, "shape", (-1, 1) if stacked else (1, -1))
        self._changes.set(grid, "spacing", _GAP)
        self._changes.keep(grid, "stride")
        self._order()
        self._changes.set(grid, "enabled", True)
        if as_a_whole:
            viewer.fit_to_view(layers=list(pair))
        self._fitted = self._camera_now()
        viewer.layers.events.reordered.connect(self._order)

    def close(self) -> None:
        """Put the viewer back. The camera stays where it was moved to."""
        self._viewer.layers.events.reordered.disconnect(self._order)
        self._changes.undo()
        if self._camera_now() == self._fitted:
            camera = self._viewer.scene.camera
            camera.zoom, camera.center = self._camera

    def _order(self, event: Any = None) -> None:
        # A negative stride fills the grid from the top of the layer list.
        layers = list(self._viewer.layers)
        before, after = (layers.index(layer) for layer in self._pair)
        self._viewer.canvas.grid.stride = 1 if before < after else -1

    def _camera_now(self) -> tuple[float, tuple[float, ...]]:
        camera = self._viewer.scene.camera
        return float(camera.zoom), tuple(camera.center)

    def _is_seen_as_a_whole(self) -> bool:
        dims = self._viewer.dims
        if dims.ndisplay != 2:
            return False
        corners = np.concatenate([layer.extent.world for layer in self._pair])
        displayed = [axis - dims.ndim for axis in dims.displayed]
        size = np.ptp(corners, axis=0)[displayed] * self._viewer.scene.camera.zoom
        return bool(np.all(size <= np.multiply(self._viewer.canvas.size, _AS_A_WHOLE)))
