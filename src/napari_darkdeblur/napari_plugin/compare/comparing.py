"""Two layers are compared in a viewer, which afterwards is as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from qtpy.QtWidgets import QWidget

from ..changes import Changes
from .blink import Blink
from .curtain_view import CurtainView
from .pair import Nesting, Pair, nesting_of
from .shared_contrast import SharedContrast
from .side_by_side import SideBySide

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

Way = Literal["side by side", "curtain", "blink"]


class Comparing:
    """Shows two layers without a grid, and hides the others, until it is ended.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where.
    pair : Pair
        What; `why_not` has nothing against it.
    owner : QWidget
        Whose timers run.
    """

    def __init__(self, viewer: napari.viewer.Viewer, pair: Pair, owner: QWidget) -> None:
        self.pair = pair
        self.view: SideBySide | CurtainView | Blink | None = None
        self.nesting: Nesting | None = nesting_of(pair)
        self._viewer = viewer
        self._owner = owner
        self._contrast: SharedContrast | None = None
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
        own = self.view.layers if isinstance(self.view, CurtainView) else ()
        return (*self.pair, *own)

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
        self.view = SideBySide(self._viewer, self.pair, stacked)

    def show_curtain(self, stacked: bool) -> CurtainView:
        """Show the layers as one; `why_no_curtain` has nothing against it."""
        self._close_view()
        assert self.nesting is not None
        self.view = CurtainView(self._viewer, self.pair, self.nesting, stacked, self._owner)
        return self.view

    def show_in_turn(self, interval: float) -> Blink:
        """Show the layers in turn, each for some seconds."""
        self._close_view()
        self.view = Blink(self.pair, self._is_patch(), interval, self._owner)
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
        if isinstance(view, CurtainView):
            view.close(layers_change=layers_change)
        elif view is not None:
            view.close()
