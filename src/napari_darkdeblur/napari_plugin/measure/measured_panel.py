"""The part of the Metrics widget that says what is measured, and what it is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QSpinBox, QVBoxLayout, QWidget

from ..controls import button, combo, form, named, note, say
from ..layer_choice import LayerChoice
from ..provenance import input_of
from ..regions import Area
from ..result_layers import reference_of
from .layer_checks import LayerChecks
from .matching import MatchError, known_axes
from .measuring_plan import MeasuringPlan, check_view, plan_all_planes, plan_measuring

if TYPE_CHECKING:
    import napari.viewer

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
    measure_wanted, cancel_wanted, all_wanted :
        A button was clicked.
    """

    changed = Signal()
    measure_wanted = Signal()
    cancel_wanted = Signal()
    all_wanted = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.checks = LayerChecks(viewer)
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
        self.reference_choice.changed.connect(self._tell)
        self.area_box.currentIndexChanged.connect(self._tell)
        self.border_spin.valueChanged.connect(self._tell)
        self.follow_box.toggled.connect(self._tell)
        self.measure_button.clicked.connect(self._on_measure_clicked)
        self._soon.timeout.connect(self._offer_to_cancel)
        self.all_button.clicked.connect(self.all_wanted)
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
        self._tell()

    def plan(self, layers: list[Image] | None = None) -> MeasuringPlan:
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
        return plan_measuring(
            layers or self.layers,
            self.reference,
            self._viewer.layers,
            self._viewer.dims.point,
            area=self.area,
            border=self.border,
        )

    def plan_of_all_planes(self) -> MeasuringPlan:
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

    def complain(self, problems: tuple[str, ...] | list[str]) -> None:
        """Show what could not be measured, or not as it was asked for."""
        say(self.problem, "\n".join(problems))

    def stop_following(self) -> None:
        """Let go of the viewer."""
        self.checks.stop_following()
        self.reference_choice.stop_following()

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
        (self.cancel_wanted if self._cancels else self.measure_wanted).emit()

    def _on_checked(self) -> None:
        if self.reference is None:
            self._choose_reference()
        self._tell()

    def _choose_reference(self) -> None:
        """Choose the reference that is known by its name."""
        for layer in self.checks.layers:
            for known in (layer, input_of(layer, self._viewer.layers)):
                reference = None if known is None else reference_of(known, self._viewer.layers)
                if isinstance(reference, Image):
                    self.reference_choice.value = reference
                    return

    def _tell(self, _: Any = None) -> None:
        self.changed.emit()
