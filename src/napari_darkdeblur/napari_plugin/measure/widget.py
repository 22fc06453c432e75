"""The Metrics widget: how good a result is, in numbers and on the image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QGroupBox, QVBoxLayout, QWidget

from ...errors import DarkDeblurError
from ..background import Background
from ..controls import scrolled
from ..settings import read_settings
from .matching import MatchError
from .measured_panel import MeasuredPanel
from .measurements import Measurement
from .measuring_job import AllMeasured, Measured, Stopped, measuring
from .metric_record import keep_in_metadata
from .metric_text import CanvasText, line_of
from .overlays_panel import OverlaysPanel
from .tables_panel import TablesPanel
from .work_on_demand import WorkOnDemand
from .work_panel import WorkPanel

if TYPE_CHECKING:
    import napari.viewer

_SETTLE = 250  # milliseconds without a change, before it is measured again
_MOST_BY_ITSELF = 12e6  # values of all images together: some seconds


class MetricsWidget(QWidget):
    """Measures images side by side, against a reference or without one.

    The plane on screen is measured in a thread, again whenever something has changed; what was
    under way is abandoned. All planes, and overlays, are made on demand.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers.
    parent : QWidget, optional
        See Qt.
    """

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("metrics")
        self._viewer = viewer
        self.measured = MeasuredPanel(viewer)
        self.tables = TablesPanel()
        self.overlays = OverlaysPanel()
        self.work = WorkPanel()
        self._lay_out()

        self.on_demand = WorkOnDemand(self, viewer, self.measured, self.overlays, self.work)
        self._measuring = Background(self)
        self._arriving: list[Measurement] = []
        self._problems: tuple[str, ...] = ()
        self._tiles_due = False
        self._text = CanvasText(viewer)
        self._written_of = ""  # identity of the layer whose numbers are on the canvas
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE)
        dims, selection = viewer.dims.events, viewer.layers.selection.events
        self._connections = [
            (dims.current_step, self._on_changed),
            (dims.ndisplay, self._on_changed),
            (dims.order, self._on_changed),
            (selection.active, self._on_selected),
        ]
        self._connect()
        self.overlays.text_box.setChecked(read_settings().text_overlay)
        self._on_changed()

    @property
    def busy(self) -> bool:
        """Whether anything is being measured, or about to be."""
        return self._settle.isActive() or self._measuring.busy or self.on_demand.busy

    def set_result(self, result: Image, reference: Image | None = None) -> None:
        """Choose a new result with what it was made of, and measure it.

        Parameters
        ----------
        result : napari.layers.Image
            A layer of the viewer.
        reference : napari.layers.Image, optional
            What it should look like; if not given, the one that was chosen before stays.
        """
        self._tiles_due = read_settings().tile_overlay
        self._written_of = str(result.unique_id)
        self.measured.choose(result, reference)
        self.overlays.choose_layer(result)
        self.measure()

    def measure(self) -> None:
        """Measure the plane on screen."""
        self._measure(math.inf)

    def _measure_by_itself(self) -> None:
        self._measure(_MOST_BY_ITSELF)

    def _measure(self, most_values: float) -> None:
        self._abandon()
        try:
            plan = self.measured.plan()
            if plan.value_count > most_values:
                raise MatchError(
                    f"Measuring {plan.value_count / 1e6:.0f} million values takes a while: click "
                    "on Measure, or choose the area that the canvas shows."
                )
        except DarkDeblurError as error:
            self._show([], [str(error)])
            return
        self._problems = plan.problems
        self.measured.begin()
        self._measuring.start(measuring(plan.subjects))

    def _abandon(self) -> None:
        """Give up what is being measured, or about to be."""
        self._settle.stop()
        self._measuring.abandon()
        self._arriving = []
        self.measured.end()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Let go of the viewer when the dock was closed, which takes the widget out of it."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self._let_go()

    def _lay_out(self) -> None:
        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.setContentsMargins(6, 6, 6, 6)
        overlays = QGroupBox("On the image")
        around = QVBoxLayout(overlays)
        around.setContentsMargins(6, 6, 6, 6)
        around.addWidget(self.overlays)
        for widget in (self.measured, self.tables, overlays, self.work):
            layout.addWidget(widget)
        layout.addStretch()
        scrolled(self, inner)

    def _connect(self) -> None:
        for emitter, callback in self._connections:
            emitter.connect(callback)
        self.measured.changed.connect(self._on_changed)
        self.measured.measure_wanted.connect(self.measure)
        self.measured.cancel_wanted.connect(self._measuring.stop)
        self.overlays.layer_changed.connect(self.on_demand.allow)
        self.overlays.text_toggled.connect(self._write)
        self.on_demand.measured_planes.connect(self._on_planes)
        self._settle.timeout.connect(self._measure_by_itself)
        self._measuring.told.connect(self._on_told)
        self._measuring.ended.connect(self._on_measured)

    def _let_go(self) -> None:
        for emitter, callback in self._connections:
            emitter.disconnect(callback)
        self._connections.clear()
        self._abandon()
        self.measured.stop_following()
        self._text.take_away()

    def _on_changed(self, _: Any = None) -> None:
        """Something else is chosen, or is on screen."""
        self._abandon()
        self.overlays.offer_layers(self.measured.layers)
        self.on_demand.allow()
        if self.measured.follows:
            self._settle.start()

    def _on_selected(self, _: Any = None) -> None:
        active = self._viewer.layers.selection.active
        if active is not None:
            identity = str(active.unique_id)
            if any(one.layer_id == identity for one in self.tables.comparison.measurements):
                self._written_of = identity
                self._write()

    def _on_told(self, event: Measured) -> None:
        self._arriving.append(event.measurement)

    def _on_measured(self, result: AllMeasured | Stopped) -> None:
        self.measured.end()
        problems = [result.message] if isinstance(result, Stopped) else list(result.problems)
        self._show(self._arriving, [*self._problems, *problems])
        self.tables.remember(self._arriving)
        self._keep(self._arriving)
        if self._tiles_due and self._arriving:
            self._tiles_due = False
            self.on_demand.make_overlay("tiles")

    def _on_planes(self, planes: list[Measurement], means: list[Measurement]) -> None:
        self.tables.remember([*planes, *means])
        self.tables.show_history()
        self._keep(planes)

    def _show(self, measurements: list[Measurement], problems: list[str]) -> None:
        notes = [note for one in measurements for note in one.notes]
        self.measured.complain(list(dict.fromkeys([*problems, *notes])))
        self.tables.show_comparison(measurements)
        self._write()

    def _keep(self, measurements: list[Measurement]) -> None:
        """Write what was measured into the layers, as far as they are still there."""
        layers = {str(layer.unique_id): layer for layer in self._viewer.layers}
        for one in measurements:
            if one.layer_id in layers:
                keep_in_metadata(layers[one.layer_id], one)

    def _write(self, _: Any = None) -> None:
        """Write on the canvas, if that is wanted: of the layer that was selected last."""
        if not self.overlays.text_box.isChecked():
            self._text.take_away()
            return
        shown = self.tables.comparison.measurements
        of_layer = [one for one in shown if one.layer_id == self._written_of]
        self._text.write(line_of((of_layer or shown)[-1]) if shown else "")
