"""The Measure dock: how good a result is, in numbers and on the image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, get_args

from napari.layers import Image
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QGroupBox, QVBoxLayout, QWidget

from ...errors import DarkDeblurError
from ..background import Background
from ..controls import scroll_to, scrolled
from ..deblur.jobs import Preparing
from ..deblur.panels import progress_text
from ..docks import Dock
from ..provenance import input_of
from ..settings import read_settings
from .alignment import MatchError
from .canvas_text import CanvasText, keep_in_metadata, line_of
from .jobs import AllMeasured, Measured, NotMeasured, measure_job
from .overlays import (
    Overlay,
    OverlayResult,
    overlay_job,
    overlays_of,
    show_metric,
    show_overlay,
    why_no_overlay,
)
from .panels import MeasuredPanel, OverlaysPanel, ProgressPanel
from .plan import Measurement
from .tables import TablesPanel

if TYPE_CHECKING:
    import napari.viewer

_DEBOUNCE = 250  # milliseconds without a change, before it is measured again
MOST_AUTOMATIC = 12e6  # values of all images together: some seconds


class MeasureWidget(Dock):
    """Measures images side by side, against a reference or without one.

    The plane on screen is measured in a thread, again whenever something has changed; what was
    under way is abandoned. All planes, and overlays, are made on demand.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Viewer whose layers are shown.
    parent : QWidget, optional
        Parent widget, as in Qt.
    """

    title = "Measure"

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(viewer, parent)
        self.setObjectName("measure")
        self.measured = MeasuredPanel(viewer)
        self.tables = TablesPanel()
        self.overlays = OverlaysPanel()
        self.work = ProgressPanel()
        self._lay_out()

        self.on_demand = OnDemand(self, viewer, self.measured, self.overlays, self.work)
        self._measuring = Background(self)
        self._arriving: list[Measurement] = []
        self._problems: tuple[str, ...] = ()
        self._tiles_due = False
        self._text = CanvasText(viewer)
        self._written_of = ""  # identity of the layer whose numbers are on the canvas
        self._debounce = QTimer(self)
        self._debounce.setSingleShot(True)
        self._debounce.setInterval(_DEBOUNCE)
        self._attended: list[Image] = []  # whose pixels, if they change, are to be measured again
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
        return self._debounce.isActive() or self._measuring.busy or self.on_demand.busy

    def set_result(self, result: Image, reference: Image | None = None) -> None:
        """Choose a new result with what it was made of, and measure it.

        Parameters
        ----------
        result : napari.layers.Image
            Restored layer of the viewer.
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
        self._measure(MOST_AUTOMATIC)

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
        self._measuring.start(measure_job(plan.subjects))

    def _abandon(self) -> None:
        """Give up what is being measured, or about to be."""
        self._debounce.stop()
        self._measuring.abandon()
        self._arriving = []
        self.measured.end()

    def _lay_out(self) -> None:
        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.setContentsMargins(6, 6, 6, 6)
        overlays = QGroupBox("On the image")
        around = QVBoxLayout(overlays)
        around.setContentsMargins(6, 6, 6, 6)
        around.addWidget(self.overlays)
        for widget in (self.measured, self.tables, overlays, self.work.status):
            layout.addWidget(widget)
        layout.addStretch()
        # Below what scrolls: how far a map is, and its Cancel, are in sight in any window.
        area = scrolled(self, inner, self.work)
        self.work.ended.connect(lambda: scroll_to(area, self.work.status))

    def _connect(self) -> None:
        for emitter, callback in self._connections:
            emitter.connect(callback)
        self.measured.changed.connect(self._on_changed)
        self.measured.measure_requested.connect(self.measure)
        self.measured.cancel_requested.connect(self._measuring.stop)
        self.overlays.layer_changed.connect(self.on_demand.allow)
        self.overlays.text_toggled.connect(self._write)
        self.on_demand.measured_planes.connect(self._on_planes)
        self._debounce.timeout.connect(self._measure_by_itself)
        self._measuring.progressed.connect(self._on_progressed)
        self._measuring.finished.connect(self._on_measured)

    def disconnect_viewer(self) -> None:
        """Let go of the viewer: the dock was closed."""
        for emitter, callback in self._connections:
            emitter.disconnect(callback)
        self._connections.clear()
        self._attend([])
        self._abandon()
        self.measured.disconnect_viewer()
        self._text.take_away()

    def _on_changed(self, _: Any = None) -> None:
        """Something else is chosen, or is on screen."""
        self._abandon()
        self.overlays.offer_layers(self.measured.layers)
        self.on_demand.allow()
        reference = self.measured.reference
        self._attend([*self.measured.layers, *([] if reference is None else [reference])])
        if self.measured.follows:
            self._debounce.start()

    def _attend(self, layers: list[Image]) -> None:
        """Listen to changes of these layers' pixels, and of no others."""
        for layer in self._attended:
            layer.events.data.disconnect(self._on_pixels)
        self._attended = layers
        for layer in layers:
            layer.events.data.connect(self._on_pixels)

    def _on_pixels(self, event: Any) -> None:
        if self.measured.follows:
            self._on_changed()
        elif self.tables.comparison.measurements:
            self.measured.show_problems(
                [f"The pixels of “{event.source.name}” have changed since: click on Measure."]
            )

    def _on_selected(self, _: Any = None) -> None:
        active = self._viewer.layers.selection.active
        if active is not None:
            identity = str(active.unique_id)
            if any(one.layer_id == identity for one in self.tables.comparison.measurements):
                self._written_of = identity
                self._write()

    def _on_progressed(self, event: Measured) -> None:
        self._arriving.append(event.measurement)

    def _on_measured(self, result: AllMeasured | NotMeasured) -> None:
        self.measured.end()
        problems = [result.message] if isinstance(result, NotMeasured) else list(result.problems)
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
        self.measured.show_problems(list(dict.fromkeys([*problems, *notes])))
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


class OnDemand(QObject):
    """Does what the buttons ask for in a thread, and shows how it goes and what came of it.

    Parameters
    ----------
    owner : QWidget
        With it the work ends; see `Background`.
    viewer : napari.viewer.Viewer
        Viewer whose layers are shown.
    measured : MeasuredPanel
        Panel that says what is measured.
    overlays : OverlaysPanel
        Of which layer overlays are made.
    panel : ProgressPanel
        Where it is told how it goes.

    Signals
    -------
    measured_planes : list of Measurement, list of Measurement
        All planes were measured; and their means.
    """

    measured_planes = Signal(list, list)

    def __init__(
        self,
        owner: QWidget,
        viewer: napari.viewer.Viewer,
        measured: MeasuredPanel,
        overlays: OverlaysPanel,
        panel: ProgressPanel,
    ) -> None:
        super().__init__(owner)
        self._viewer, self._measured = viewer, measured
        self._overlays, self._panel = overlays, panel
        self._planes: list[Measurement] = []
        self._layer_of_overlay: Image | None = None
        self._background = Background(owner)
        self._background.progressed.connect(self._on_progressed)
        self._background.finished.connect(self._on_ended)
        measured.all_requested.connect(self.measure_all_planes)
        overlays.wanted.connect(self.make_overlay)
        overlays.metric_chosen.connect(self._recolour_tiles)
        panel.cancel_requested.connect(self._background.stop)

    @property
    def busy(self) -> bool:
        """Whether something is under way."""
        return self._background.busy

    def measure_all_planes(self) -> None:
        """Measure all planes of the layers that are chosen."""
        try:
            plan = self._measured.plan_of_all_planes()
        except DarkDeblurError as error:
            self._panel.end(str(error))
            return
        self._planes = []
        self._panel.begin("Measuring all planes…")
        self._background.start(measure_job(plan.subjects))
        self.allow()

    def make_overlay(self, kind: Overlay) -> None:
        """Show a measure on the image, in place of an earlier one of its kind.

        Parameters
        ----------
        kind : {"tiles", "error", "SSIM", "change", "uncertainty"}
            Kind of the map or overlay.
        """
        layer = self._layer
        try:
            problem = self._why_not(kind, layer)
            if problem or layer is None:
                raise MatchError(problem)
            plan = self._measured.plan([layer])
            if not plan.subjects:
                raise MatchError(" ".join(plan.problems))
            work = overlay_job(kind, layer, plan.subjects[0], self._overlays.tile)
        except DarkDeblurError as error:
            self._panel.end(str(error))
            return
        self._layer_of_overlay = layer
        self._panel.begin("Starting…")
        self._background.start(work)
        self.allow()

    def allow(self) -> None:
        """Offer what is possible, and say why something is not."""
        problem, planes = "", 1
        try:
            planes = self._measured.check_view()
        except DarkDeblurError as error:
            problem = str(error)
        self._measured.allow(problem, planes, busy=self.busy)
        busy = "Wait for what is under way, or cancel it." if self.busy else ""
        layer = self._layer
        self._overlays.allow(
            {kind: problem or busy or self._why_not(kind, layer) for kind in get_args(Overlay)}
        )
        original = None if layer is None else input_of(layer, self._viewer.layers)
        self._overlays.offer_metrics(self._measured.reference is not None, original is not None)

    @property
    def _layer(self) -> Image | None:
        """The layer that overlays are made of."""
        chosen = self._overlays.layer_id
        return next((one for one in self._viewer.layers if str(one.unique_id) == chosen), None)

    def _why_not(self, kind: Overlay, layer: Image | None) -> str:
        return why_no_overlay(kind, layer, self._measured.reference, self._viewer.layers)

    def _on_progressed(self, event: Any) -> None:
        if isinstance(event, Measured):
            self._planes.append(event.measurement)
            fraction = event.done / event.total
            self._panel.progress(f"Measured {event.done} of {event.total}", fraction)
        elif isinstance(event, Preparing | str):
            self._panel.progress(f"{getattr(event, 'text', event)}…")
        elif hasattr(event, "fraction"):  # an event of the engine, which would import torch
            # Only the uncertainty is restored here, where the turned versions count as planes.
            text = progress_text(event, event.seconds_left).replace("plane", "version")
            self._panel.progress(text, event.fraction)
        elif hasattr(event, "reason"):
            self._panel.progress(event.reason)

    def _on_ended(self, result: AllMeasured | OverlayResult | NotMeasured) -> None:
        layer, self._layer_of_overlay = self._layer_of_overlay, None
        if isinstance(result, NotMeasured):
            self._panel.end(result.message)
        elif isinstance(result, AllMeasured):
            self.measured_planes.emit(self._planes, list(result.means))
            self._panel.end(" ".join(result.problems))
        elif layer in self._viewer.layers:
            self._panel.end(show_overlay(self._viewer, layer, result, self._overlays.metric_label))
        else:
            self._panel.end("The layer was removed meanwhile.")
        self.allow()

    def _recolour_tiles(self, label: str) -> None:
        layer = self._layer
        if layer is not None:
            for tiles in overlays_of(layer, "tiles", self._viewer.layers):
                if label in tiles.features:
                    show_metric(tiles, layer, label)
