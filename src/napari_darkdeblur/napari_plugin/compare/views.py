"""Ways to show two layers: beside each other, one in place of the other, or on one layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.experimental import link_layers, unlink_layers
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from ..changes import Changes
from ..result_layers import LINKED
from .curtain_view import CurtainView
from .pair import LayerPair, Nesting, nesting_of
from .removed import RemovedView

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

    from .pair import LayerPair


_GAP = 4  # canvas pixels
# A picture up to so much larger than the canvas is not looked at closely.
_AS_A_WHOLE = 1.6
# napari 0.9.2 crashes in OpenGL when names on the canvas are hidden between a change of the layer
# list in grid mode and the next drawing.
_REDRAWN = 400  # milliseconds


class NameLabels:
    """Names of layers on the canvas, shown while layers are compared.

    One object serves all comparisons of a viewer: a name that is still to be hidden when the next
    one begins is hidden at its end.
    """

    def __init__(self) -> None:
        self._changes = Changes()
        self._timer = QTimer(singleShot=True, interval=_REDRAWN)
        self._timer.timeout.connect(self._changes.undo)

    def show(self, layer: Layer, visible: bool = True) -> None:
        """Show a layer's name on the canvas, or hide it for a while."""
        self._timer.stop()
        self._changes.set(layer.name_overlay, "visible", visible)

    def put_back(self, *, layers_change: bool = False) -> None:
        """Show no other names than before.

        Parameters
        ----------
        layers_change : bool
            Whether the layer list is being changed at this moment: then it is done once napari
            has drawn the layers that are left.
        """
        if layers_change:
            self._timer.start()
        elif not self._timer.isActive():
            self._changes.undo()


class SideBySide:
    """Shows two layers in napari's grid.

    A picture that is seen as a whole is made to fit its cell; the camera is left as it is where
    one has zoomed in.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where; no layers are visible but those of the pair.
    pair : LayerPair
        Layers that are compared.
    stacked : bool
        Whether the layer before is above the other; else it is left of it.
    names : NameLabels
        Names on the canvas.
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, pair: LayerPair, stacked: bool, names: NameLabels
    ) -> None:
        self._viewer = viewer
        self._pair = pair
        self._names = names
        self._changes = Changes()
        for layer in pair:
            self._changes.set(layer, "visible", True)
            names.show(layer)
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

    def close(self, *, layers_change: bool = False) -> None:
        """Put the viewer back. The camera stays where it was moved to.

        Parameters
        ----------
        layers_change : bool
            Whether the layer list is being changed at this moment.
        """
        self._viewer.layers.events.reordered.disconnect(self._order)
        self._changes.undo()
        self._names.put_back(layers_change=layers_change)
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


class Blink(QObject):
    """Shows one of two layers, and changes to the other.

    Parameters
    ----------
    pair : LayerPair
        What; no other layers are visible.
    beneath : bool
        Whether the layer before stays visible beneath the other one, which is smaller.
    interval : float
        Seconds for which each is shown.
    names : NameLabels
        Names on the canvas.
    parent : QObject
        Whose part it is: its timer ends with it.

    Signals
    -------
    shown : bool
        Whether it is the layer after that is shown from now on.
    """

    shown = Signal(bool)

    def __init__(
        self,
        pair: LayerPair,
        beneath: bool,
        interval: float,
        names: NameLabels,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._pair = pair
        self._names = names
        self._beneath = beneath
        self._changes = Changes()
        for layer in pair:
            self._changes.keep(layer, "visible")
        self._after = True
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.flip)
        self.set_interval(interval)
        self.show(after=True)

    @property
    def playing(self) -> bool:
        """Whether the layers change by themselves."""
        return bool(self._timer.isActive())

    def set_interval(self, seconds: float) -> None:
        """Choose how long each layer is shown."""
        self._timer.setInterval(round(1000 * seconds))

    def play(self, on: bool) -> None:
        """Let the layers change by themselves, or stop that."""
        if on:
            self._timer.start()
        else:
            self._timer.stop()

    def flip(self) -> None:
        """Show the other layer."""
        self.show(after=not self._after)

    def show(self, after: bool) -> None:
        """Show one of the layers.

        Parameters
        ----------
        after : bool
            Whether it is the one after, else the one before.
        """
        self._after = after
        for layer, on in ((self._pair.after, after), (self._pair.before, not after)):
            self._names.show(layer, on)
            visible = on or (self._beneath and layer is self._pair.before)
            # A layer that becomes visible reads its pixels: not needlessly.
            if layer.visible != visible:
                layer.visible = visible
        self.shown.emit(after)

    def close(self, *, layers_change: bool = False) -> None:
        """Stop, and put the layers back; see `SideBySide.close`."""
        self._timer.stop()
        self._changes.undo()
        self._names.put_back(layers_change=layers_change)
        self.deleteLater()


class SharedContrast:
    """Shows the layer after as the one before, and lets both change together.

    With one in colour and one in grey nothing is done.

    Parameters
    ----------
    pair : LayerPair
        Layers that are compared.
    """

    def __init__(self, pair: LayerPair) -> None:
        self._pair = pair
        self._changes = Changes()
        self._linked: set[str] = set()
        before, after = pair
        if before.rgb != after.rgb:
            return
        for name in LINKED:
            # What is equal anyway is the user's, who may change it while comparing.
            if getattr(after, name) != getattr(before, name):
                if name == "contrast_limits":
                    self._changes.keep(after, "contrast_limits_range")
                self._changes.set(after, name, getattr(before, name))
        # Only links that are new: those that were there are others'.
        self._linked = {name for _, _, name in link_layers(pair, LINKED)}

    def close(self) -> None:
        """Let the layers go; the one after looks as it did."""
        if self._linked:
            unlink_layers(self._pair, self._linked)
        self._changes.undo()


class ComparisonView:
    """Shows two layers without a grid, and hides the others, until it is ended.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Viewer that the layers are added to.
    pair : LayerPair
        What; `why_not` has nothing against it.
    names : NameLabels
        Names on the canvas, of all comparisons in this viewer.
    owner : QWidget
        Widget that owns the timers.
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, pair: LayerPair, names: NameLabels, owner: QWidget
    ) -> None:
        self.pair = pair
        self.view: SideBySide | CurtainView | Blink | RemovedView | None = None
        self.nesting: Nesting | None = nesting_of(pair)
        self._viewer = viewer
        self._names = names
        self._owner = owner
        self._contrast: SharedContrast | None = None
        self._arrays = [layer.data for layer in pair]
        self._selected = set(viewer.layers.selection)
        if not self._selected <= set(pair):
            # The controls on screen are of a layer on screen.
            viewer.layers.selection.active = pair.after
        self._changes = Changes()
        self._changes.set(viewer.canvas.grid, "enabled", False)
        for layer in viewer.layers:
            self._changes.keep(layer, "visible")
            if layer not in pair:
                self._changes.set(layer, "visible", False)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers without which it cannot go on."""
        own = self.view.layers if isinstance(self.view, CurtainView | RemovedView) else ()
        return (*self.pair, *own)

    @property
    def outdated(self) -> bool:
        """Whether a layer was given another array."""
        return any(
            layer.data is not array for layer, array in zip(self.pair, self._arrays, strict=True)
        )

    def redraw(self) -> None:
        """Show arrays whose pixels have changed."""
        if isinstance(self.view, CurtainView | RemovedView):
            self.view.layers[0].refresh(extent=False)

    def share_contrast(self, on: bool) -> None:
        """Show both layers with the same contrast, or each with its own."""
        if on and self._contrast is None:
            self._contrast = SharedContrast(self.pair)
        elif not on and self._contrast is not None:
            self._contrast.close()
            self._contrast = None

    def show_side_by_side(self, stacked: bool) -> None:
        """Show the layers beside each other, or the one after below the other."""
        self._close_view()
        self.view = SideBySide(self._viewer, self.pair, stacked, self._names)

    def show_curtain(self, stacked: bool) -> CurtainView:
        """Show the layers as one; `why_no_curtain` has nothing against it."""
        self._close_view()
        assert self.nesting is not None
        self.view = CurtainView(self._viewer, self.pair, self.nesting, stacked, self._owner)
        return self.view

    def show_in_turn(self, interval: float) -> Blink:
        """Show the layers in turn, each for some seconds."""
        self._close_view()
        self.view = Blink(self.pair, self._is_patch(), interval, self._names, self._owner)
        return self.view

    def show_removed(self) -> RemovedView:
        """Show one minus the other; `why_no_curtain` has nothing against it."""
        self._close_view()
        assert self.nesting is not None
        self.view = RemovedView(self._viewer, self.pair, self.nesting)
        return self.view

    def end(self, *, layers_change: bool = False) -> None:
        """Put the viewer back.

        Parameters
        ----------
        layers_change : bool
            Whether the layer list is being changed at this moment.
        """
        self._close_view(layers_change=layers_change)
        self.share_contrast(False)
        self._changes.undo()
        self._viewer.layers.selection = self._selected.intersection(self._viewer.layers)

    def _is_patch(self) -> bool:
        """Whether the layer after is a part of the other one, and lies on top of it."""
        after, nesting = self.pair.after, self.nesting
        if nesting is None or nesting.inset is not after:
            return False
        layers = list(self._viewer.layers)
        return (
            not nesting.covers_field(nesting.displayed(self._viewer.dims))
            and layers.index(self.pair.before) < layers.index(after)
            and after.opacity == 1
            and after.blending in ("translucent", "translucent_no_depth", "opaque")
        )

    def _close_view(self, *, layers_change: bool = False) -> None:
        # First it is no more: that a curtain's layers go is then nobody's concern.
        view, self.view = self.view, None
        if view is not None:
            view.close(layers_change=layers_change)
