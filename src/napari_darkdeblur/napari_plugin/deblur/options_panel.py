"""The part of the Deblur widget that few need: device, tiles, memory, values, output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLineEdit, QSpinBox, QVBoxLayout, QWidget

from ..controls import button, choose, combo, form, named
from .machine import Machine, precisions_of
from .options import Options

if TYPE_CHECKING:
    from napari.layers import Image

    from ...restore.devices import Precision
    from ...restore.psfs import Light
    from ...restore.tiling.plan import Tiling
    from .job import OutputDtype
    from .options import Values


class OptionsPanel(QWidget):
    """Shows and changes `Options`.

    Signals
    -------
    changed :
        Something else is chosen.
    save_wanted :
        The user wants what is chosen to be the default from now on.
    """

    changed = Signal()
    save_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._machine = Machine()
        self.device_box = combo(
            "device",
            "Where the network runs. Automatic is a CUDA device if there is one, else the CPU, "
            "which also takes over if the device has too little memory.",
            [("Automatic", "auto")],
        )
        self.precision_box = combo(
            "precision",
            "fp32 is exact. The others are faster on a GPU and differ a little.",
            [("fp32", "fp32")],
        )
        self.tiling_box = combo(
            "tiling",
            "Exact tiles give the same result as the whole image. Local follows windows of 192 "
            "pixels, fast takes samples of the image.",
            [
                ("Automatic", "auto"),
                ("Whole", "whole"),
                ("Exact tiles", "exact"),
                ("Local tiles", "local"),
                ("Fast tiles", "fast"),
            ],
        )
        self.tile_spin = named(
            QSpinBox(), "tile", "Side of a tile in pixels. Smaller ones can be stopped sooner."
        )
        self.tile_spin.setRange(0, 8192)
        self.tile_spin.setSingleStep(64)
        self.tile_spin.setSpecialValueText("Automatic")
        self.memory_edit = named(
            QLineEdit(), "memory", "What restoring may take, such as 4 GB. Empty is automatic."
        )
        self.memory_edit.setPlaceholderText("Automatic")
        self.values_box = combo(
            "values",
            "Which values are black and white. One scale holds for the whole layer. Automatic is "
            "the range of the data type for 8 bits, colours and floats in 0..1, if it is used, "
            "else the percentiles.",
            [
                ("Automatic", "auto"),
                ("Range of the data type", "dtype"),
                ("0.1 and 99.9 percentiles", "percentile"),
                ("Least and greatest value", "data"),
                ("Contrast limits", "contrast"),
                ("Black and white:", "given"),
            ],
        )
        self.black_spin = _value_spin("black", "The value that is black.")
        self.white_spin = _value_spin("white", "The value that is white.")
        self.white_spin.setValue(1)
        self.light_box = combo(
            "light",
            "How values relate to light, in which a kernel is undone: by the sRGB curve, as in "
            "photographs, or in proportion, as in a microscope's images. Automatic takes colour "
            "and 8 bits for sRGB. It matters for the blur's kernel only.",
            [("Automatic", "auto"), ("sRGB photograph", "srgb"), ("Linear", "linear")],
        )
        self.output_box = combo(
            "output_dtype",
            "Data type of the result. The values keep their units.",
            [("As the image", "same"), ("float32", "float32")],
        )
        self.reset_button = button("reset", "Reset", "Go back to the settings' defaults.")
        self.save_button = button(
            "save_defaults", "Save as defaults", "Start with these options from now on."
        )

        self._given = QWidget()
        given = QHBoxLayout(self._given)
        given.setContentsMargins(0, 0, 0, 0)
        given.addWidget(self.black_spin, 1)
        given.addWidget(self.white_spin, 1)
        self._form = form()
        self._form.addRow("Device", self.device_box)
        self._form.addRow("Precision", self.precision_box)
        self._form.addRow("Tiling", self.tiling_box)
        self._form.addRow("Tile", self.tile_spin)
        self._form.addRow("Memory", self.memory_edit)
        self._form.addRow("Values", self.values_box)
        self._form.addRow("", self._given)
        self._form.addRow("Light", self.light_box)
        self._form.addRow("Result", self.output_box)
        buttons = QHBoxLayout()
        buttons.addWidget(self.reset_button)
        buttons.addWidget(self.save_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self._form)
        layout.addLayout(buttons)

        for box in self._boxes:
            box.currentIndexChanged.connect(self._tell)
        self.tile_spin.valueChanged.connect(self._tell)
        self.memory_edit.textChanged.connect(self._tell)
        self.black_spin.valueChanged.connect(self._tell)
        self.white_spin.valueChanged.connect(self._tell)
        self.save_button.clicked.connect(self.save_wanted)
        self._show_rows()

    @property
    def options(self) -> Options:
        """What is chosen."""
        return Options(
            device=self.device_box.currentData(),
            tiling=cast("Tiling", self.tiling_box.currentData()),
            tile=self.tile_spin.value(),
            memory=self.memory_edit.text(),
            precision=cast("Precision", self.precision_box.currentData()),
            values=cast("Values", self.values_box.currentData()),
            black=self.black_spin.value(),
            white=self.white_spin.value(),
            output_dtype=cast("OutputDtype", self.output_box.currentData()),
            light=cast("Light", self.light_box.currentData()),
        )

    def show_options(self, options: Options) -> None:
        """Choose; what is not offered here (a device that is not there) stays as it was."""
        device = options.device
        if device in ("cuda", "mps"):  # of the settings, which do not know how many there are
            device = f"{device}:0"
        choose(self.device_box, device)
        choose(self.precision_box, options.precision)
        choose(self.tiling_box, options.tiling)
        self.tile_spin.setValue(options.tile)
        self.memory_edit.setText(options.memory)
        choose(self.values_box, options.values)
        self.black_spin.setValue(options.black)
        self.white_spin.setValue(options.white)
        choose(self.output_box, options.output_dtype)
        choose(self.light_box, options.light)

    def show_machine(self, machine: Machine) -> None:
        """Offer the devices that work."""
        self._machine = machine
        _offer(
            self.device_box,
            [("Automatic", "auto"), *((_device_name(name), name) for name in machine.devices)],
        )
        self._tell()

    def show_layer(self, layer: Image | None) -> None:
        """Start black and white from a layer's contrast limits, unless they are given."""
        if layer is not None and self.values_box.currentData() != "given" and not layer.rgb:
            low, high = layer.contrast_limits
            for spin, value in ((self.black_spin, low), (self.white_spin, high)):
                spin.blockSignals(True)
                spin.setValue(float(value))
                spin.blockSignals(False)

    @property
    def _boxes(self) -> tuple[Any, ...]:
        return (
            self.device_box,
            self.precision_box,
            self.tiling_box,
            self.values_box,
            self.light_box,
            self.output_box,
        )

    def _tell(self, _: Any = None) -> None:
        self._show_rows()
        self.changed.emit()

    def _show_rows(self) -> None:
        """Show only what there is a choice of."""
        precisions = precisions_of(self.device_box.currentData(), self._machine.devices)
        _offer(self.precision_box, [(name, name) for name in precisions])
        self._form.setRowVisible(self.precision_box, len(precisions) > 1)
        self._form.setRowVisible(self._given, self.values_box.currentData() == "given")
        self._form.setRowVisible(self.tile_spin, self.tiling_box.currentData() != "whole")


def _value_spin(name: str, tooltip: str) -> QDoubleSpinBox:
    spin = named(QDoubleSpinBox(), name, tooltip)
    spin.setDecimals(4)
    spin.setRange(-1e12, 1e12)
    spin.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
    # As wide as its longest value otherwise.
    spin.setMinimumWidth(60)
    return spin


def _offer(box: Any, choices: list[tuple[str, Any]]) -> None:
    """Change what a combo box offers; what was chosen stays, if it is still offered."""
    if [box.itemData(index) for index in range(box.count())] == [value for _, value in choices]:
        return
    before = box.currentData()
    box.blockSignals(True)
    box.clear()
    for text, value in choices:
        box.addItem(text, value)
    choose(box, before)
    box.blockSignals(False)


def _device_name(device: str) -> str:
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return "CPU"
    return f"{kind.upper()} {number}" if number not in ("", "0") else kind.upper()
