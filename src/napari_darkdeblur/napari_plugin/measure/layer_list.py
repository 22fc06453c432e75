"""A list of image layers of which several can be checked; it follows the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QSizePolicy

from ..controls import named
from ..provenance import input_of, provenance_of, results_of

if TYPE_CHECKING:
    import napari.viewer

_MOST_ROWS = 4  # more are scrolled to
# Measures of images, not images.
_NOT_OFFERED = ("map", "uncertainty", "tiles", "curtain", "preview")


class LayerList(QListWidget):
    """Offers a viewer's image layers, the uppermost first as in the layer list.

    A new result is checked by itself, together with its input and the input's other results;
    the other layers are not any more.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Viewer whose layers are shown.

    Signals
    -------
    changed :
        Other layers are checked, or one of them has another name.
    """

    changed = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        named(self, "measured_layers", "The images to measure, side by side.")
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSelectionMode(QListWidget.SelectionMode.NoSelection)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self._layers = viewer.layers
        self._checked: set[str] = set()
        self._shown: list[tuple[str, str]] = []
        events = self._layers.events
        self._connections = [
            (events.inserted, self._on_inserted),
            (events.removed, self._follow),
            (events.reordered, self._follow),
            (events.renamed, self._follow),
        ]
        for event, callback in self._connections:
            event.connect(callback)
        self.itemChanged.connect(self._on_item_changed)
        newest = next((layer for layer in self._offered() if _is_result(layer)), None)
        active = self._layers.selection.active
        if newest is not None:
            self._checked = self._family(newest)
        elif active is not None:
            self._checked = {_id(active)}
        self._follow()

    def disconnect_viewer(self) -> None:
        """Let go of the viewer; to be called when the widget goes away."""
        for event, callback in self._connections:
            event.disconnect(callback)
        self._connections.clear()

    @property
    def layers(self) -> list[Image]:
        """The layers that are checked, inputs before their results."""
        return [layer for layer in reversed(self._offered()) if _id(layer) in self._checked]

    def check(self, layers: list[Image]) -> None:
        """Check these layers, and no others."""
        self._checked = {_id(layer) for layer in layers}
        self._show()
        self.changed.emit()

    def check_family(self, result: Image) -> None:
        """Check a result, what it was made of, and what else was made of that."""
        offered = {_id(layer): layer for layer in self._offered()}
        self.check([offered[one] for one in self._family(result) if one in offered])

    def _family(self, result: Image) -> set[str]:
        source = input_of(result, self._layers)
        relatives = [] if source is None else [source, *results_of(source, self._layers)]
        return {_id(layer) for layer in (result, *relatives)}

    def _offered(self) -> list[Image]:
        """Return the image layers, the uppermost first."""
        offered = []
        for layer in reversed(list(self._layers)):
            made = provenance_of(layer)
            hidden = made is not None and made.kind in _NOT_OFFERED
            if isinstance(layer, Image) and not hidden:
                offered.append(layer)
        return offered

    def _on_inserted(self, event: Any) -> None:
        if _is_result(event.value):
            self._checked = self._family(event.value)
        self._follow()

    def _follow(self, event: Any = None) -> None:
        """Show the layers as they are now; tell if that makes a difference."""
        shown = self._shown
        self._checked &= {_id(layer) for layer in self._offered()}
        self._show()
        if shown != self._shown:
            self.changed.emit()

    def _show(self) -> None:
        self.blockSignals(True)
        self.clear()
        offered = self._offered()
        for layer in offered:
            item = QListWidgetItem(layer.name)
            item.setToolTip(layer.name)
            item.setData(Qt.ItemDataRole.UserRole, _id(layer))
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
            checked = _id(layer) in self._checked
            item.setCheckState(Qt.CheckState.Checked if checked else Qt.CheckState.Unchecked)
            self.addItem(item)
        self.blockSignals(False)
        self._shown = [(_id(layer), layer.name) for layer in self.layers]
        rows = min(max(len(offered), 1), _MOST_ROWS)
        self.setFixedHeight(rows * max(self.sizeHintForRow(0), 16) + 2 * self.frameWidth() + 4)

    def _on_item_changed(self, item: QListWidgetItem) -> None:
        identity = item.data(Qt.ItemDataRole.UserRole)
        if item.checkState() == Qt.CheckState.Checked:
            self._checked.add(identity)
        else:
            self._checked.discard(identity)
        self._shown = [(_id(layer), layer.name) for layer in self.layers]
        self.changed.emit()


def _id(layer: Any) -> str:
    return str(layer.unique_id)


def _is_result(layer: Any) -> bool:
    made = provenance_of(layer)
    return made is not None and made.kind == "restored"
