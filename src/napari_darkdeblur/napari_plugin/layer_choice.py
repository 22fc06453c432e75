"""A combo box of layers that follows the viewer: layers added, removed, renamed, moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox

from .provenance import provenance_of

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

# Made for looking only.
_NOT_OFFERED = ("preview", "curtain", "psf")


class LayerChoice(ComboBox):
    """A combo box of some of a viewer's layers, in the order of the layer list.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers.
    layer_type : type
        Which kind, such as `napari.layers.Image`.
    name : str
        Object name of the control.
    tooltip : str
        What the layer is for.
    none : str, optional
        What "no layer" is called, if that is a choice, too. Without it, the first layer is
        chosen as long as the user chooses none.
    accepts : callable, optional
        Takes a layer, and returns whether it is offered.
    """

    value: Any  # magicgui's, whose types are unknown here

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        layer_type: type[Layer],
        *,
        name: str,
        tooltip: str,
        none: str | None = None,
        accepts: Callable[[Layer], bool] = lambda layer: True,
    ) -> None:
        self._layers = viewer.layers
        self._type, self._accepts = layer_type, accepts
        if none is not None:
            self.null_string = none
        super().__init__(
            name=name, tooltip=tooltip, choices=self._offered, nullable=none is not None
        )
        self.native.setObjectName(name)
        self.native.setToolTip(tooltip)
        # A long name must not make the dock wide.
        self.native.setMinimumContentsLength(12)
        events = self._layers.events
        self._events = (events.inserted, events.removed, events.reordered, events.renamed)
        for event in self._events:
            event.connect(self._follow)

    def reset_choices(self, *_: Any) -> None:
        """Offer the viewer's layers anew; tell only if another one is chosen now."""
        # magicgui knows choices by their texts: a layer that is renamed would be dropped.
        kept = self.value
        with self.changed.blocked():
            super().reset_choices()
            if kept in self.choices:
                self.value = kept
        if self.value is not kept:
            self.changed.emit(self.value)

    def stop_following(self) -> None:
        """Let go of the viewer; to be called when the widget goes away."""
        for event in self._events:
            event.disconnect(self._follow)

    def _follow(self, event: Any = None) -> None:
        self.reset_choices()

    def _offered(self, widget: Any = None) -> list[tuple[str, Layer]]:
        offered = []
        for layer in self._layers:
            made = provenance_of(layer)
            hidden = made is not None and made.kind in _NOT_OFFERED
            if isinstance(layer, self._type) and not hidden and self._accepts(layer):
                offered.append((layer.name, layer))
        return offered
