"""The panels of the Deblur dock: image, model, advanced options, and running."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from napari.layers import Image, Shapes
from qtpy.QtCore import QEvent, Qt, QTimer, Signal
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from ..controls import LayerChoice, button, choose, combo, form, named, note, set_note, shortened
from ..layer_pixels import axes_of, full_resolution, guess_axes
from ..provenance import provenance_of
from ..regions import Area, Planes
from ..result_layers import reference_of
from .capabilities import Capabilities, ModelInfo, precisions_of
from .clock import Countdown, clock_text
from .request import Options

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

    from ...restore import TileDone
    from ...restore.devices import Precision
    from ...restore.psfs import Light
    from ...restore.tiling.plan import Tiling
    from .jobs import OutputDtype
    from .request import Values


class SourcePanel(QWidget):
    """Chooses a layer, how its axes are meant, which part, and a reference to compare with.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers are offered.

    Signals
    -------
    changed :
        Something else is chosen.
    """

    changed = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.layer_choice = LayerChoice(
            viewer, Image, name="layer", tooltip="The image layer to restore. It is not changed."
        )
        self.axes_edit = named(
            QLineEdit(),
            "axes",
            "What each axis is, slowest first. Y and X are the picture, S its colour; every "
            "other letter (T, Z, C, ...) counts planes, which are restored one by one.",
        )
        self.planes_box = combo(
            "planes",
            "Restore all planes of a stack, or the one on screen to try things out.",
            [("All planes", "all"), ("The plane on screen", "current")],
        )
        self.area_box = combo(
            "area",
            "Restore the whole image, what the canvas shows, or what shapes span.",
            [
                ("The whole image", "whole"),
                ("What the canvas shows", "visible"),
                ("Shapes of a layer", "shapes"),
            ],
        )
        self.shapes_choice = LayerChoice(
            viewer,
            Shapes,
            name="shapes",
            tooltip="The Shapes layer whose selected shapes (all, if none is selected) span the "
            "region to restore.",
        )
        self.reference_choice = LayerChoice(
            viewer,
            Image,
            name="reference",
            tooltip="What the image should look like, if you know it: the result is then "
            "measured against it. A layer named 'NAME (reference)' is chosen by itself.",
            none="(none)",
        )

        self._form = form()
        self._form.addRow("Image", self.layer_choice.native)
        self._form.addRow("Axes", self.axes_edit)
        self._form.addRow("Planes", self.planes_box)
        self._form.addRow("Area", self.area_box)
        self._form.addRow("Shapes", self.shapes_choice.native)
        self._form.addRow("Reference", self.reference_choice.native)
        self.setLayout(self._form)

        self._layers = viewer.layers
        self._shown: Image | None = None
        # What the user has chosen is not changed for them any more.
        self._chosen_by_user = False
        self.layer_choice.native.activated.connect(self._on_user_choice)
        self._layers.selection.events.active.connect(self._follow_selection)
        self.layer_choice.changed.connect(self._show_layer)
        self.axes_edit.textEdited.connect(self._notify)
        self.axes_edit.editingFinished.connect(self._fill_in_axes)
        for box in (self.planes_box, self.area_box):
            box.currentIndexChanged.connect(self._notify)
        for choice in (self.shapes_choice, self.reference_choice):
            choice.changed.connect(self._notify)
        self._follow_selection()
        self._show_layer()

    @property
    def layer(self) -> Image | None:
        """The layer to restore."""
        layer: Image | None = self.layer_choice.value
        return layer

    @property
    def axes(self) -> str:
        """The axes as they were typed or guessed."""
        return str(self.axes_edit.text()).strip().upper()

    @property
    def planes(self) -> Planes:
        """Which planes; ``"all"`` if there is only one."""
        planes: Planes = self.planes_box.currentData()
        return planes

    @property
    def area(self) -> Area:
        """Which area of each plane."""
        area: Area = self.area_box.currentData()
        return area

    @property
    def shapes(self) -> Shapes | None:
        """The Shapes layer for area ``"shapes"``."""
        shapes: Shapes | None = self.shapes_choice.value
        return shapes

    @property
    def reference(self) -> Image | None:
        """The layer to compare with, if one is chosen."""
        reference: Image | None = self.reference_choice.value
        return reference

    def reset(self) -> None:
        """Go back to the guessed axes, all planes and the whole image."""
        self.planes_box.setCurrentIndex(0)
        self.area_box.setCurrentIndex(0)
        self._chosen_by_user = False
        self._shown = None
        self._follow_selection()
        self._show_layer()

    def disconnect_viewer(self) -> None:
        """Let go of the viewer."""
        for choice in (self.layer_choice, self.shapes_choice, self.reference_choice):
            choice.disconnect_viewer()
        self._layers.selection.events.active.disconnect(self._follow_selection)

    def _on_user_choice(self, _: Any = None) -> None:
        self._chosen_by_user = True

    def _follow_selection(self, _: Any = None) -> None:
        """Choose the layer that is selected in the layer list; a result is not restored again."""
        layer = self._layers.selection.active
        if self._chosen_by_user or not isinstance(layer, Image):
            return
        made = provenance_of(layer)
        if made is None or made.kind == "sample":
            self.layer_choice.value = layer

    def _show_layer(self, _: Any = None) -> None:
        layer = self.layer
        if layer is not self._shown or layer is None:
            self._shown = layer
            self.axes_edit.setText(guess_axes(layer) if layer is not None else "")
            reference = reference_of(layer, self._layers) if layer is not None else None
            self.reference_choice.value = reference
        self._notify()

    def _fill_in_axes(self) -> None:
        if not self.axes and self.layer is not None:
            self.axes_edit.setText(guess_axes(self.layer))
            self._notify()

    def _notify(self, _: Any = None) -> None:
        """Show only what there is a choice of, and say that something has changed."""
        self._show_row(self.planes_box, self._is_stack())
        self._show_row(self.shapes_choice.native, self.area == "shapes")
        self.changed.emit()

    def _is_stack(self) -> bool:
        if self.layer is None:
            return False
        try:
            return axes_of(self.layer, self.axes).plane_count > 1
        except ValueError:
            # The axes make no sense yet; more than a picture's two can only be a stack.
            return len(full_resolution(self.layer).shape) > 2

    def _show_row(self, field: QComboBox | QWidget, visible: bool) -> None:
        assert isinstance(self._form, QFormLayout)
        self._form.setRowVisible(field, visible)


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

    def show_models(self, machine: Capabilities) -> None:
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
        set_note(self.card, "" if model is None else model.summary)
        self.card.setToolTip("" if model is None else "\n".join(model.details))
        self.changed.emit()

    def _ask_for_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Open weights", str(Path.home()), "Weights (*.safetensors)"
        )
        if path:
            self.opened.emit(path)


class OptionsPanel(QWidget):
    """Shows and changes `Options`.

    Signals
    -------
    changed :
        Something else is chosen.
    save_requested :
        The user wants what is chosen to be the default from now on.
    """

    changed = Signal()
    save_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._capabilities = Capabilities()
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
            box.currentIndexChanged.connect(self._notify)
        self.tile_spin.valueChanged.connect(self._notify)
        self.memory_edit.textChanged.connect(self._notify)
        self.black_spin.valueChanged.connect(self._notify)
        self.white_spin.valueChanged.connect(self._notify)
        self.save_button.clicked.connect(self.save_requested)
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

    def show_capabilities(self, machine: Capabilities) -> None:
        """Offer the devices that work."""
        self._capabilities = machine
        _offer(
            self.device_box,
            [("Automatic", "auto"), *((_device_name(name), name) for name in machine.devices)],
        )
        self._notify()

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

    def _notify(self, _: Any = None) -> None:
        self._show_rows()
        self.changed.emit()

    def _show_rows(self) -> None:
        """Show only what there is a choice of."""
        precisions = precisions_of(self.device_box.currentData(), self._capabilities.devices)
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


_STEPS = 1000  # of the progress bar
_TICK = 250  # milliseconds between two looks at the clock
_LINES = 2  # of the text above the button, whose place is kept
_LONGEST_NAME = 24  # of an image, in these lines


class RunPanel(QWidget):
    """What stays in sight below the options: one button that runs and cancels, and how it goes.

    The button and the bar never move: sentences are in `messages`, which has its place above.

    Signals
    -------
    run_requested, cancel_requested :
        The button was clicked.
    """

    run_requested = Signal()
    cancel_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._running = False
        self._image, self._images = 0, 1
        self._name = ""
        self._countdown = Countdown()
        self._text = ""
        self._label = "Run"
        self.estimate = note("estimate")
        self.run_button = button("run", "Run", "")
        self.run_button.setDefault(True)
        self.bar = named(QProgressBar(), "progress", "How much of the work is done.")
        self.bar.setRange(0, _STEPS)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(5)
        self.status = note("status")
        self.warning = note("warning")
        self.warning.setStyleSheet("color: #e0a030;")
        # It may be long: the dock shows it among what scrolls.
        self.result = note("result")
        self.messages = _Messages((self.estimate, self.status), self.warning)
        self._tick = QTimer(self)
        self._tick.setInterval(_TICK)
        self._tick.timeout.connect(self._show)

        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.run_button, self.bar):
            layout.addWidget(widget)
        self.run_button.clicked.connect(self._on_clicked)
        self.allow("Looking for models and devices…")

    def allow(self, reason: str = "") -> None:
        """Let the job be run, or say why it cannot be."""
        if self._running:
            return
        self.run_button.setEnabled(not reason)
        self.run_button.setToolTip(reason or "Restore. The image itself is not changed.")
        set_note(self.status, reason)

    def show_estimate(self, text: str) -> None:
        """Show what the job will take."""
        if not self._running:
            set_note(self.estimate, text)

    def show_count(self, images: int) -> None:
        """Show how many images will be restored one after the other."""
        self._label = "Run" if images < 2 else f"Run on {images} images"
        if not self._running:
            self.run_button.setText(self._label)

    def begin(self, image: int = 0, images: int = 1) -> None:
        """Show that a job is under way: the one of that many images, counted from 0."""
        self._running = True
        self._image, self._images = image, images
        self.run_button.setText("Cancel")
        self.run_button.setToolTip("Stop as soon as the tile at hand is done.")
        self.run_button.setEnabled(True)
        set_note(self.estimate, "")
        if image == 0:
            self._countdown = Countdown()
            self._tick.start()
            set_note(self.warning, "")
        self.prepare("Starting")

    def name_image(self, name: str) -> None:
        """Say which single image is being restored, if it is not the chosen one; else empty."""
        self._name = shortened(name, _LONGEST_NAME)
        if self._running:
            self._show()

    def prepare(self, text: str, fraction: float | None = None) -> None:
        """Show what is done that nobody knows the time of, and how far that is."""
        share = "…" if fraction is None else f"… {fraction:.0%}"
        self._text = f"{text}{share}"
        self._show()

    def show_progress(self, text: str, seconds_left: float | None, after: float = 0.0) -> None:
        """Show what is done now.

        Parameters
        ----------
        text : str
            What is done now.
        seconds_left : float or None
            How long all that is left will take, of all images; None if nobody knows.
        after : float
            Seconds of them that are for what has not begun.
        """
        if seconds_left is not None:
            self._countdown.tell(seconds_left, after)
        self._text = text
        self._show()

    def cancelling(self) -> None:
        """Show that the job has been told to stop."""
        self.run_button.setText("Cancelling…")
        self.run_button.setEnabled(False)
        set_note(self.status, "Stopping…")

    def warn(self, text: str) -> None:
        """Show a sentence that stays until the next run."""
        before = self.warning.text()
        if text not in before.splitlines():
            set_note(self.warning, f"{before}\n{text}" if before else text)

    def end(self, message: str = "") -> None:
        """Show that nothing is under way any more, and why if it did not come to a result."""
        self._running = False
        self._tick.stop()
        self.run_button.setText(self._label)
        self.bar.setRange(0, _STEPS)
        self.bar.setValue(0)
        self.allow()
        set_note(self.result, message)

    def _show(self) -> None:
        """Show how far all images together are by now."""
        left = self._countdown.seconds_left
        self.bar.setRange(0, 0 if left is None else _STEPS)
        if left is not None:
            self.bar.setValue(round(_STEPS * self._countdown.fraction))
        if self.run_button.isEnabled():  # else it is being cancelled, which is said
            which = f"image {self._image + 1} of {self._images}" if self._images > 1 else self._name
            parts = [which] if which else []
            parts.append(self._text if left is None else self._text.rstrip("…"))
            if left is not None:
                # What is still going on is never said to be over.
                parts.append(f"{clock_text(max(left, 1.0))} left")
            set_note(self.status, " · ".join(parts))

    def _on_clicked(self, _: Any = None) -> None:
        (self.cancel_requested if self._running else self.run_requested).emit()


class _Messages(QWidget):
    """Sentences, of which only the warning takes more room if it is long.

    Parameters
    ----------
    short : sequence of QLabel
        One of them is shown at a time; they have the place of two lines, whatever they say.
    warning : QLabel
        Shown above it, if it says anything.
    """

    def __init__(self, short: Sequence[QLabel], warning: QLabel) -> None:
        super().__init__()
        self._place = QWidget()
        layout = QVBoxLayout(self._place)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addStretch()
        for label in short:
            layout.addWidget(label)
        around = QVBoxLayout(self)
        around.setContentsMargins(0, 0, 0, 0)
        around.setSpacing(4)
        around.addWidget(warning)
        around.addWidget(self._place)
        self._first = short[0]
        self._keep_place()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow the font of napari's style sheet."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._keep_place()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Follow the font of the window that it came into."""
        super().showEvent(event)
        self._keep_place()

    def _keep_place(self) -> None:
        self._first.ensurePolished()
        lines = _LINES * self._first.fontMetrics().lineSpacing()
        if self._place.minimumHeight() < lines:
            self._place.setMinimumHeight(lines)


def progress_text(event: TileDone, seconds_left: float | None) -> str:
    """Return where a job is, e.g. ``"tile 7 of 12 · plane 3 of 40 · 0:41 left"``."""
    parts = [f"tile {event.done} of {event.total}"] if event.total > 1 else []
    if event.planes > 1:
        parts.append(f"plane {event.plane + 1} of {event.planes}")
    if seconds_left is not None:
        parts.append(f"{clock_text(seconds_left)} left")
    return " · ".join(parts) or "Restoring…"
