"""The part of the Deblur widget that chooses the weights, and shows what they say of themselves."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QVBoxLayout, QWidget

from ..controls import button, choose, combo, note, say
from .machine import Machine, ModelInfo


class ModelPicker(QWidget):
    """Chooses a bundled model, one of the models folder, or a file.

    Signals
    -------
    changed :
        Another model is chosen.
    opened : str
        The user has picked a file, which has to be looked at; see `add`.
    """

    changed = Signal()
    opened = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._models: list[ModelInfo] = []
        self.model_box = combo("model", "The weights of the network.", [])
        self.open_button = button(
            "open_model", "Open…", "Use a weights file (.safetensors) that darkdeblur-train wrote."
        )
        self.card = note("model_card")
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.model_box, 1)
        row.addWidget(self.open_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(row)
        layout.addWidget(self.card)
        self.model_box.currentIndexChanged.connect(self._show_card)
        self.open_button.clicked.connect(self._ask_for_file)

    @property
    def model(self) -> ModelInfo | None:
        """The chosen model."""
        index = self.model_box.currentIndex()
        return self._models[index] if 0 <= index < len(self._models) else None

    def show_models(self, machine: Machine) -> None:
        """Offer what there is; what was chosen stays, if it is still there."""
        before = self.model
        wanted = before.path if before is not None else None
        opened = [m for m in self._models if m not in machine.models and m is before]
        self._models = [*machine.models, *opened]
        self.model_box.blockSignals(True)
        self.model_box.clear()
        for model in self._models:
            self._add_item(model)
        self.model_box.blockSignals(False)
        if wanted is not None:
            choose(self.model_box, wanted)
        else:
            # The first that works; what chooses by itself stands on top.
            choose(self.model_box, next((m.path for m in self._models if m.usable), None))
        self._show_card()

    def add(self, model: ModelInfo) -> None:
        """Offer a model that was opened as a file, and choose it."""
        if model.path not in [known.path for known in self._models]:
            self._models.append(model)
            self._add_item(model)
        choose(self.model_box, model.path)
        self._show_card()

    def _add_item(self, model: ModelInfo) -> None:
        self.model_box.addItem(model.name if model.usable else f"{model.name} (unusable)")
        index = self.model_box.count() - 1
        self.model_box.setItemData(index, model.path)
        tooltip = "\n".join((model.summary, *model.details))
        self.model_box.setItemData(index, tooltip, Qt.ItemDataRole.ToolTipRole)

    def _show_card(self) -> None:
        model = self.model
        say(self.card, "" if model is None else model.summary)
        self.card.setToolTip("" if model is None else "\n".join(model.details))
        self.changed.emit()

    def _ask_for_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Open weights", str(Path.home()), "Weights (*.safetensors)"
        )
        if path:
            self.opened.emit(path)
