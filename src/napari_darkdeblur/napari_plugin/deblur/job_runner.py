"""Running a job from beginning to end: thread, activity dock, result layer; one for each viewer."""

from __future__ import annotations

import functools
import weakref
from typing import TYPE_CHECKING, Any

from napari.utils import cancelable_progress
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from ...errors import DarkDeblurError
from ..background import Background
from ..controls import shortened
from .clock import clock_text
from .jobs import JobSpec, Outcome, Preparing, Restored, run_job
from .results import Destination

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

# Of the bar in the activity dock. That dock is narrow, and a long row hides its "Cancel".
_STEPS = 1000
_LONGEST_NAME = 20
REMOVED = "The image was removed while it was restored; its result is there."

# The one that was last started in a viewer, by the viewer's hash.
_last_started: weakref.WeakValueDictionary[int, JobRunner] = weakref.WeakValueDictionary()


class BusyError(DarkDeblurError):
    """Another job is under way in the same viewer."""


class JobRunner(QObject):
    """Runs jobs in a viewer, one at a time, and adds their results to it.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Viewer whose layers are restored.
    owner : QWidget, optional
        Widget with which the job ends; see `Background`.

    Signals
    -------
    progressed : object
        `Preparing`, `Progress` or an event of the engine.
    restored : object, object
        `Outcome` and the new layer, as soon as all pixels are there; measures may follow.
    finished : object, object
        `Outcome`, and the new layer if it is done.
    """

    progressed = Signal(object)
    restored = Signal(object, object)
    finished = Signal(object, object)

    def __init__(self, viewer: napari.viewer.Viewer, owner: QWidget | None = None) -> None:
        super().__init__(owner)
        self._viewer = viewer
        self._background = Background(owner)
        self._activity: Any = None
        self._spec: JobSpec | None = None
        self._destination: Destination | None = None
        self._layer: Image | None = None
        self._background.progressed.connect(self._on_event)
        self._background.finished.connect(self._on_outcome)

    @property
    def busy(self) -> bool:
        """Whether a job is under way."""
        return self._background.busy

    def start(self, layer: Image, spec: JobSpec) -> None:
        """Begin a job.

        Parameters
        ----------
        layer : napari.layers.Image
            Image layer that is restored; it may be changed or removed meanwhile.
        spec : JobSpec
            What exactly is restored, and how.

        Raises
        ------
        BusyError
            Another one is under way in this viewer.
        """
        key = hash(self._viewer)
        other = _last_started.get(key)
        if other is not None and other.busy:
            raise BusyError(
                "Another image is being restored in this viewer; wait for it, or cancel it."
            )
        _last_started[key] = self
        self._spec, self._destination = spec, Destination.of(layer, spec.region)
        self._layer = None
        name = shortened(layer.name, _LONGEST_NAME)
        self._activity = cancelable_progress(
            total=_STEPS, desc=f"Deblurring {name}", bar_format=_bar_format(None)
        )
        self._background.start(functools.partial(run_job, spec))

    def cancel(self) -> None:
        """Let the job end after the tile at hand."""
        self._background.stop()

    def leave(self) -> None:
        """Tell the job to stop, and hear no more of it: the widget goes away."""
        self._background.abandon()
        self._end_activity()

    def _on_event(self, event: Any) -> None:
        if isinstance(event, Restored):
            self._add(event.outcome)
            self.restored.emit(event.outcome, self._layer)
        else:
            self.progressed.emit(event)
        # Not of what is done before restoring: the bar would go back.
        fraction = None if isinstance(event, Preparing) else getattr(event, "fraction", None)
        # Last: napari's bar lets further events be heard, even the end of the job.
        if self._activity is not None and self._activity.is_canceled:
            self.cancel()
        elif fraction is not None and self._activity is not None:
            self._activity.bar_format = _bar_format(getattr(event, "seconds_left", None))
            self._activity.update(round(_STEPS * fraction) - self._activity.n)

    def _add(self, outcome: Outcome) -> None:
        assert self._spec is not None
        assert self._destination is not None
        self._layer = self._destination.add(self._viewer, self._spec, outcome)

    def _on_outcome(self, outcome: Outcome) -> None:
        self._end_activity()
        layer, spec, destination = self._layer, self._spec, self._destination
        if outcome.status == "done":
            assert spec is not None
            assert destination is not None
            if layer is None:
                self._add(outcome)
                layer = self._layer
            elif outcome.measures:
                record = destination.provenance(spec, outcome)
                layer.metadata = {**layer.metadata, **record.as_metadata()}
        self._spec = self._destination = self._layer = None
        self.finished.emit(outcome, layer)

    def _end_activity(self) -> None:
        if self._activity is not None:
            self._activity.close()
            self._activity = None


def _bar_format(seconds_left: float | None) -> str:
    """Return what the activity dock shows: the time left by the job's own clock, no step count."""
    # napari takes what stands behind the last "|".
    time = "" if seconds_left is None else f"{clock_text(seconds_left)} left"
    return f"{{desc}}|{{bar}}|{time}"
