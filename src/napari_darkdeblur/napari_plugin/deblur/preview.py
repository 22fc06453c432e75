"""Live preview: what the canvas shows, restored again whenever something changes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from ...errors import DarkDeblurError
from ..background import Background
from .job import JobSpec, Outcome, run_job
from .request import Blur, Request
from .restored_layers import Destination

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

SUFFIX = "[preview]"
_SETTLE = 400  # milliseconds without a change, before it is restored again
# Pixels; an outdated preview is given up between two tiles.
_TILE = 256


class Preview(QObject):
    """Keeps one layer up to date with what the canvas shows of another one.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        What is looked at.
    owner : QWidget
        With it the preview ends.
    request : callable
        Returns what is chosen in the widget. Its planes and area do not count.

    Signals
    -------
    told : str
        A sentence about the preview; empty if it is up to date.
    """

    told = Signal(str)

    def __init__(
        self, viewer: napari.viewer.Viewer, owner: QWidget, request: Callable[[], Request]
    ) -> None:
        super().__init__(owner)
        self._viewer = viewer
        self._request = request
        self._active = self._paused = self._kernel_unknown = False
        self._layer: Image | None = None
        self._spec: JobSpec | None = None  # of what is shown, or being made
        self._destination: Destination | None = None
        self._background = Background(owner)
        self._background.ended.connect(self._on_outcome)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE)
        self._settle.timeout.connect(self._start)

    def set_active(self, active: bool) -> None:
        """Begin, or end and take the layer away."""
        self._active = active
        self._spec = None
        if active:
            self.refresh_soon()
            return
        self._settle.stop()
        self._background.abandon()
        if self._layer is not None and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
        self._layer = None
        self.told.emit("")

    def pause(self) -> None:
        """Do nothing while a job is under way."""
        self._paused = True
        self._settle.stop()
        self._background.abandon()
        self._spec = None

    def resume(self) -> None:
        """Go on after a job."""
        self._paused = False
        self.refresh_soon()

    def refresh_soon(self) -> None:
        """Restore again once nothing has changed for a moment."""
        if self._active and not self._paused:
            self._settle.start()

    def _start(self) -> None:
        request = self._request()
        self._kernel_unknown = request.blur.psf == "auto"
        try:
            spec = self._spec_of(request)
        except DarkDeblurError as error:
            self.told.emit(f"No preview: {error}")
            return
        shown = self._spec
        if shown is not None and spec == shown and spec.array is shown.array:
            return
        assert request.layer is not None
        self._spec = spec
        self._destination = Destination.of(request.layer, spec.region, SUFFIX)
        self.told.emit("Restoring what the canvas shows…")
        self._background.start(functools.partial(run_job, spec))

    def _spec_of(self, request: Request) -> JobSpec:
        """Return the job of the preview: what the canvas shows, as the request would restore it."""
        point, ndisplay = self._viewer.dims.point, self._viewer.dims.ndisplay
        request = replace(request, reference=None)
        if request.blur.psf == "auto":  # looking for it takes longer than a preview may
            request = replace(request, blur=Blur())
        tiles = replace(request.options, tiling="exact", tile=_TILE)
        shown = replace(request, planes="current", area="visible", options=tiles)
        spec = shown.spec(point, ndisplay)
        # It may ask for an area that is not drawn yet, while there is something to show already.
        with contextlib.suppress(DarkDeblurError):
            whole = request.spec(point, ndisplay)
            options = replace(spec.options, auto_pixels=whole.pixel_count)
            return replace(spec, options=options)
        return spec

    def _on_outcome(self, outcome: Outcome) -> None:
        if outcome.status != "done":
            self.told.emit(f"No preview: {outcome.message}")
            return
        assert self._spec is not None
        assert self._destination is not None
        # One layer after the other, not the same one changed: size, place and type may differ.
        before, selected = self._layer, self._viewer.layers.selection.active
        visible = before is None or before.visible
        if before is not None and before in self._viewer.layers:
            self._viewer.layers.remove(before)
        self._layer = self._destination.add(self._viewer, self._spec, outcome, "preview")
        self._layer.visible = visible
        if selected is not None and selected in self._viewer.layers:
            self._viewer.layers.selection.active = selected
        self.told.emit(
            "The preview does without a kernel until one is found." if self._kernel_unknown else ""
        )
