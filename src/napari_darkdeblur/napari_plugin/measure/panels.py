"""Controls of the Measure dock: what is measured, what is shown on the image, how it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QProgressBar,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from ...metrics import METRICS
from ..controls import (
    ElidedLabel,
    LayerChoice,
    button,
    choose,
    combo,
    form,
    named,
    note,
    set_note,
)
from ..provenance import input_of
from ..regions import Area
from ..result_layers import reference_of
from .alignment import MatchError, known_axes
from .layer_list import LayerList
from .overlays import Overlay
from .plan import MeasurePlan, check_view, plan_all_planes, plan_measurement
from .tables import short_label

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image


_MOST_BORDER = 1024
_LONG = 1000  # milliseconds of measuring, after which it can be cancelled


class MeasuredPanel(QWidget):
    """Chooses layers, a reference and the area, and has the buttons that measure.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers are offered.

    Signals
    -------
    changed :
        Something else is chosen.
    measure_requested, cancel_requested, all_requested :
        A button was clicked.
    """

    changed = Signal()
    measure_requested = Signal()
    cancel_requested = Signal()
    all_requested = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.checks = LayerList(viewer)
        self.reference_choice = LayerChoice(
            viewer,
            Image,
            name="metrics_reference",
            tooltip="The sharp image that the others should look like. Without one there is no "
            "PSNR or SSIM. A layer named 'NAME (reference)' is chosen by itself.",
            none="(none)",
        )
        self.area_box = combo(
            "metrics_area",
            "Measure the whole plane, or the part of it that the canvas shows.",
            [("The whole plane", "whole"), ("What the canvas shows", "visible")],
        )
        self.border_spin = named(
            QSpinBox(),
            "metrics_border",
            "How many pixels to leave out on each side, where nobody knows what lies beyond.",
        )
        self.border_spin.setRange(0, _MOST_BORDER)
        self.border_spin.setSuffix(" px")
        self.follow_box = named(
            QCheckBox("Follow"),
            "metrics_follow",
            "Measure again by itself when a slider or a choice is changed.",
        )
        self.follow_box.setChecked(True)
        self.measure_button = button("measure", "Measure", "")
        self.all_button = button("measure_all", "All planes", "")
        self.problem = note("metrics_problem")
        self.problem.setStyleSheet("color: #e0a030;")
        self._lay_out()
        self._cancels = False
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_LONG)

        self.checks.changed.connect(self._on_checked)
        self.reference_choice.changed.connect(self._notify)
        self.area_box.currentIndexChanged.connect(self._notify)
        self.border_spin.valueChanged.connect(self._notify)
        self.follow_box.toggled.connect(self._notify)
        self.measure_button.clicked.connect(self._on_measure_clicked)
        self._soon.timeout.connect(self._offer_to_cancel)
        self.all_button.clicked.connect(self.all_requested)
        self._choose_reference()

    @property
    def layers(self) -> list[Image]:
        """The layers to measure; the reference is none of them."""
        return [layer for layer in self.checks.layers if layer is not self.reference]

    @property
    def reference(self) -> Image | None:
        """What they are compared with."""
        reference: Image | None = self.reference_choice.value
        return reference

    @property
    def area(self) -> Area:
        """Which part of the plane."""
        area: Area = self.area_box.currentData()
        return area

    @property
    def border(self) -> int:
        """How many pixels are left out on each side."""
        return int(self.border_spin.value())

    @property
    def follows(self) -> bool:
        """Whether to measure again by itself."""
        return bool(self.follow_box.isChecked())

    def choose(self, result: Image, reference: Image | None) -> None:
        """Choose a result with its relatives, and a reference if one is given."""
        self.blockSignals(True)
        self.checks.check_family(result)
        if reference is not None:
            self.reference_choice.value = reference
        self.blockSignals(False)
        self._notify()

    def plan(self, layers: list[Image] | None = None) -> MeasurePlan:
        """Return what there is to measure on the plane on screen.

        Parameters
        ----------
        layers : list of napari.layers.Image, optional
            Of which layers; of those that are chosen if not given.

        Raises
        ------
        DarkDeblurError
            Nothing; the message says why.
        """
        self.check_view()
        return plan_measurement(
            layers or self.layers,
            self.reference,
            self._viewer.layers,
            self._viewer.dims.point,
            area=self.area,
            border=self.border,
        )

    def plan_of_all_planes(self) -> MeasurePlan:
        """Return what there is to measure on all planes of the first layer; see `plan`."""
        self.check_view()
        return plan_all_planes(
            self.layers,
            self.reference,
            self._viewer.layers,
            self._viewer.dims.point,
            area=self.area,
            border=self.border,
        )

    def check_view(self) -> int:
        """Return how many planes there are, if one of them is on screen.

        Raises
        ------
        DarkDeblurError
            No layer is chosen, or the viewer does not show a plane of it.
        """
        if not self.layers:
            raise MatchError("Check an image to measure.")
        axes = known_axes(self.layers[0], self._viewer.layers)
        check_view(self._viewer.dims, self.layers[0], axes)
        return axes.plane_count

    def allow(self, problem: str, planes: int, *, busy: bool) -> None:
        """Let it be measured, or say why it cannot be.

        Parameters
        ----------
        problem : str
            A sentence; empty if it can.
        planes : int
            How many planes there are.
        busy : bool
            Whether other work is under way.
        """
        self.measure_button.setEnabled(not problem)
        self.measure_button.setToolTip(problem or "Measure the plane on screen.")
        if not problem and busy:
            problem = "Wait for what is under way, or cancel it."
        elif not problem and planes == 1:
            problem = "There is only one plane."
        self.all_button.setEnabled(not problem)
        self.all_button.setToolTip(
            problem or f"Measure all {planes} planes, and their mean, for the history."
        )

    def begin(self) -> None:
        """Show that the plane is being measured, if it takes long."""
        self._soon.start()

    def end(self) -> None:
        """Show that it is not being measured any more."""
        self._soon.stop()
        self._cancels = False
        self.measure_button.setText("Measure")

    def show_problems(self, problems: tuple[str, ...] | list[str]) -> None:
        """Show what could not be measured, or not as it was asked for."""
        set_note(self.problem, "\n".join(problems))

    def disconnect_viewer(self) -> None:
        """Let go of the viewer."""
        self.checks.disconnect_viewer()
        self.reference_choice.disconnect_viewer()

    def _lay_out(self) -> None:
        inner = form()
        inner.addRow("Images", self.checks)
        inner.addRow("Reference", self.reference_choice.native)
        inner.addRow("Area", self.area_box)
        border = QHBoxLayout()
        border.addWidget(self.border_spin)
        border.addWidget(self.follow_box)
        inner.addRow("Border", border)
        buttons = QHBoxLayout()
        for control in (self.measure_button, self.all_button):
            buttons.addWidget(control, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(inner)
        layout.addLayout(buttons)
        layout.addWidget(self.problem)

    def _offer_to_cancel(self) -> None:
        self._cancels = True
        self.measure_button.setText("Cancel")

    def _on_measure_clicked(self, _: Any = None) -> None:
        (self.cancel_requested if self._cancels else self.measure_requested).emit()

    def _on_checked(self) -> None:
        if self.reference is None:
            self._choose_reference()
        self._notify()

    def _choose_reference(self) -> None:
        """Choose the reference that is known by its name."""
        for layer in self.checks.layers:
            for known in (layer, input_of(layer, self._viewer.layers)):
                reference = None if known is None else reference_of(known, self._viewer.layers)
                if isinstance(reference, Image):
                    self.reference_choice.value = reference
                    return

    def _notify(self, _: Any = None) -> None:
        self.changed.emit()


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
        self.metric_box = combo("overlay_metric", "The metric that colours the tiles.", [])
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
            last = self.layer_box.count() - 1
            self.layer_box.setItemData(last, layer.name, Qt.ItemDataRole.ToolTipRole)
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
            self.metric_box.addItem(short_label(label), label)
            self.metric_box.setItemData(
                self.metric_box.count() - 1, label, Qt.ItemDataRole.ToolTipRole
            )
        choose(self.metric_box, before)

    def allow(self, problems: dict[Overlay, str]) -> None:
        """Offer overlays, or say in their tooltips why not; an empty sentence offers."""
        for kind, control in self.buttons.items():
            control.setEnabled(not problems[kind])
            control.setToolTip(problems[kind] or _TOOLTIPS[kind])

    def _lay_out(self) -> None:
        top = form()
        top.addRow("On", self.layer_box)
        top.addRow(self.buttons["tiles"], self.tile_spin)
        top.addRow("Coloured by", self.metric_box)
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


_STEPS = 1000


class ProgressPanel(QWidget):
    """A progress bar with a Cancel button while something is under way.

    How it ended is said by a sentence of any length, `status`, whose place is elsewhere: among what
    scrolls.

    Signals
    -------
    cancel_requested :
        The button was clicked.
    ended :
        What was under way has ended; `status` may say how.
    """

    cancel_requested = Signal()
    ended = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.bar = named(QProgressBar(), "metrics_progress", "How much of the work is done.")
        self.bar.setTextVisible(False)
        self.cancel_button = button("metrics_cancel", "Cancel", "Stop as soon as possible.")
        self.doing = ElidedLabel("metrics_doing")
        self.status = note("metrics_status")
        layout = QGridLayout(self)
        layout.setContentsMargins(6, 0, 6, 4)
        layout.addWidget(self.doing, 0, 0, 1, 2)
        layout.addWidget(self.bar, 1, 0)
        layout.addWidget(self.cancel_button, 1, 1)
        self.hide()
        self.cancel_button.clicked.connect(self._on_cancel)

    def begin(self, text: str) -> None:
        """Show that work is under way."""
        self.cancel_button.setEnabled(True)
        set_note(self.status, "")
        self.show()
        self.progress(text)

    def progress(self, text: str, fraction: float | None = None) -> None:
        """Show how far it is; None if nobody knows."""
        self.bar.setRange(0, 0 if fraction is None else _STEPS)
        if fraction is not None:
            self.bar.setValue(round(_STEPS * fraction))
        if self.cancel_button.isEnabled():
            self.doing.setText(text)

    def end(self, text: str) -> None:
        """Show how it ended."""
        self.hide()
        set_note(self.status, text)
        self.ended.emit()

    def _on_cancel(self) -> None:
        self.cancel_button.setEnabled(False)
        self.doing.setText("Stopping…")
        self.cancel_requested.emit()
