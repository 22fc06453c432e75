"""The part of the Metrics widget that shows measurements on the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QGridLayout, QHBoxLayout, QSpinBox, QVBoxLayout, QWidget

from ...metrics import METRICS
from ..controls import button, choose, combo, form, named
from .metric_layers import Overlay

if TYPE_CHECKING:
    from napari.layers import Image

_TOOLTIPS: dict[Overlay, str] = {
    "tiles": "Show the metric of each tile as a layer of rectangles; all metrics are features of "
    "them.",
    "error": "Show how far each pixel is from the reference.",
    "SSIM": "Show how much the surroundings of each pixel look like the reference.",
    "change": "Show what restoring made brighter and darker.",
    "uncertainty": "Show where the network guesses: restore the area turned and mirrored in all "
    "eight ways, and see how much the results differ. It takes eight times as long as restoring.",
}


class OverlaysPanel(QWidget):
    """Offers overlays of one of the measured layers.

    Signals
    -------
    wanted : str
        An overlay's button was clicked: an `Overlay`.
    metric_chosen : str
        Tiles are to show another metric: its label.
    text_toggled : bool
        Numbers are wanted on the canvas, or not any more.
    layer_changed :
        Another layer is chosen.
    """

    wanted = Signal(str)
    metric_chosen = Signal(str)
    text_toggled = Signal(bool)
    layer_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.layer_box = combo("overlay_layer", "The layer whose measures are shown on it.", [])
        self.tile_spin = named(QSpinBox(), "overlay_tile", "Side of a tile in pixels.")
        self.tile_spin.setRange(16, 1024)
        self.tile_spin.setSingleStep(16)
        self.tile_spin.setValue(64)
        self.tile_spin.setSuffix(" px")
        self.tile_spin.setMinimumWidth(76)
        self.metric_box = combo("overlay_metric", "The metric that colours the tiles.", [])
        self.metric_box.setMinimumContentsLength(5)  # beside the size of a tile
        self.buttons = {
            kind: button(f"overlay_{kind}", text, tooltip)
            for (kind, tooltip), text in zip(
                _TOOLTIPS.items(),
                ("Tiles", "Error map", "SSIM map", "Change map", "Uncertainty"),
                strict=True,
            )
        }
        self.text_box = named(
            QCheckBox("Numbers on the canvas"),
            "overlay_text",
            "Write the numbers of the selected layer's plane at the bottom of the canvas.",
        )
        self._lay_out()
        for kind, control in self.buttons.items():
            control.clicked.connect(lambda _=False, kind=kind: self.wanted.emit(kind))
        self.metric_box.activated.connect(self._on_metric)
        self.layer_box.currentIndexChanged.connect(self._on_layer)
        self.text_box.toggled.connect(self.text_toggled)

    @property
    def layer_id(self) -> str:
        """The identity of the layer whose measures are shown; empty if there is none."""
        return str(self.layer_box.currentData() or "")

    @property
    def tile(self) -> int:
        """Side of a tile in pixels."""
        return int(self.tile_spin.value())

    @property
    def metric_label(self) -> str:
        """The label of the metric that colours tiles."""
        return str(self.metric_box.currentData() or "")

    def offer_layers(self, layers: Sequence[Image]) -> None:
        """Offer these layers: the one that was chosen, else the last, which is the result."""
        before = self.layer_id
        self.layer_box.blockSignals(True)
        self.layer_box.clear()
        for layer in layers:
            self.layer_box.addItem(layer.name, str(layer.unique_id))
        self.layer_box.setCurrentIndex(len(layers) - 1)
        choose(self.layer_box, before)
        self.layer_box.blockSignals(False)

    def choose_layer(self, layer: Image) -> None:
        """Choose a layer, if it is offered."""
        choose(self.layer_box, str(layer.unique_id))

    def offer_metrics(self, with_reference: bool, with_original: bool) -> None:
        """Offer the metrics of tiles that there is something for."""
        needed = {"nothing": True, "reference": with_reference, "original": with_original}
        offered = [m.label for m in METRICS if m.of_tiles and needed[m.needs]]
        if [self.metric_box.itemData(i) for i in range(self.metric_box.count())] == offered:
            return
        before = self.metric_label
        self.metric_box.clear()
        for label in offered:
            self.metric_box.addItem(label, label)
        choose(self.metric_box, before)

    def allow(self, problems: dict[Overlay, str]) -> None:
        """Offer overlays, or say in their tooltips why not; an empty sentence offers."""
        for kind, control in self.buttons.items():
            control.setEnabled(not problems[kind])
            control.setToolTip(problems[kind] or _TOOLTIPS[kind])

    def _lay_out(self) -> None:
        top = form()
        top.addRow("On", self.layer_box)
        tiles = QHBoxLayout()
        tiles.addWidget(self.tile_spin)
        tiles.addWidget(self.metric_box, 1)
        top.addRow(self.buttons["tiles"], tiles)
        grid = QGridLayout()
        for number, control in enumerate(list(self.buttons.values())[1:]):
            grid.addWidget(control, number // 2, number % 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(top)
        layout.addLayout(grid)
        layout.addWidget(self.text_box)

    def _on_metric(self, _: Any = None) -> None:
        self.metric_chosen.emit(self.metric_label)

    def _on_layer(self, _: Any = None) -> None:
        self.layer_changed.emit()
