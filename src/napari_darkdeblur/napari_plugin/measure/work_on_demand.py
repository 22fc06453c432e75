"""What takes longer than measuring a plane: all planes, and overlays; one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from ...errors import DarkDeblurError
from ..background import Background
from ..deblur.job import Preparing
from ..deblur.run_panel import progress_text
from ..provenance import input_of
from .matching import MatchError
from .measured_panel import MeasuredPanel
from .measurements import Measurement
from .measuring_job import AllMeasured, Measured, Stopped, measuring
from .metric_layers import Overlay, overlays_of, show_metric
from .overlay_work import OverlayResult, overlay_work, show_overlay, why_no_overlay
from .overlays_panel import OverlaysPanel
from .work_panel import WorkPanel

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image


class WorkOnDemand(QObject):
    """Does what the buttons ask for in a thread, and shows how it goes and what came of it.

    Parameters
    ----------
    owner : QWidget
        With it the work ends; see `Background`.
    viewer : napari.viewer.Viewer
        Whose layers.
    measured : MeasuredPanel
        What is measured.
    overlays : OverlaysPanel
        Of which layer overlays are made.
    panel : WorkPanel
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
        panel: WorkPanel,
    ) -> None:
        super().__init__(owner)
        self._viewer, self._measured = viewer, measured
        self._overlays, self._panel = overlays, panel
        self._planes: list[Measurement] = []
        self._layer_of_overlay: Image | None = None
        self._background = Background(owner)
        self._background.told.connect(self._on_told)
        self._background.ended.connect(self._on_ended)
        measured.all_wanted.connect(self.measure_all_planes)
        overlays.wanted.connect(self.make_overlay)
        overlays.metric_chosen.connect(self._recolour_tiles)
        panel.cancel_wanted.connect(self._background.stop)

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
        self._background.start(measuring(plan.subjects))
        self.allow()

    def make_overlay(self, kind: Overlay) -> None:
        """Show a measure on the image, in place of an earlier one of its kind.

        Parameters
        ----------
        kind : {"tiles", "error", "SSIM", "change", "uncertainty"}
            Which.
        """
        layer = self._layer
        try:
            problem = self._why_not(kind, layer)
            if problem or layer is None:
                raise MatchError(problem)
            plan = self._measured.plan([layer])
            if not plan.subjects:
                raise MatchError(" ".join(plan.problems))
            work = overlay_work(kind, layer, plan.subjects[0], self._overlays.tile)
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

    def _on_told(self, event: Any) -> None:
        if isinstance(event, Measured):
            self._planes.append(event.measurement)
            fraction = event.done / event.total
            self._panel.progress(f"Measured {event.done} of {event.total}", fraction)
        elif isinstance(event, Preparing | str):
            self._panel.progress(f"{getattr(event, 'text', event)}…")
        elif hasattr(event, "fraction"):  # an event of the engine, which would import torch
            # Only the uncertainty is restored here, where the turned versions count as planes.
            text = progress_text(event).replace("plane", "version")
            self._panel.progress(text, event.fraction)
        elif hasattr(event, "reason"):
            self._panel.progress(event.reason)

    def _on_ended(self, result: AllMeasured | OverlayResult | Stopped) -> None:
        layer, self._layer_of_overlay = self._layer_of_overlay, None
        if isinstance(result, Stopped):
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
