"""How long jobs take: predicted, corrected while they run, shown as one share that only grows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ...restore.image.axes import Axes

if TYPE_CHECKING:
    from ...restore import Event
    from ...restore.tiling.plan import Plan
    from .jobs import JobSpec, Preparing

# Before any search was measured, one is taken to last as long as so many restorations of the part
# that is searched, whose side in pixels is at most this.
_RESTORATIONS_OF_SEARCH = 14
_LARGEST_SEARCHED = 384
# Seconds that all metrics of a pixel take, before any were measured.
_MEASURING = 1e-5
# What is measured counts in full from this share of the work on; before, also what was predicted.
_BELIEVED = 0.5
# Of what lasts longer than predicted, this share of the time so far is said to be left.
_OVERDUE = 0.1
# Load that jobs are believed to be slowed down, or sped up, by.
_MOST_LOAD = 4.0
# Between two reports the time left goes down with the clock, but for its last fifth.
_LAST = 0.2


@dataclass(frozen=True)
class Durations:
    """How long the parts of a job take.

    Parameters
    ----------
    search : float
        Seconds of looking for the kernel; 0 where it is not looked for.
    restoring : float
        Seconds of restoring all planes.
    measuring : float
        Seconds of measuring against the reference; 0 without one.
    """

    search: float = 0.0
    restoring: float = 0.0
    measuring: float = 0.0

    @property
    def total(self) -> float:
        """Seconds of the whole job."""
        return self.search + self.restoring + self.measuring


@dataclass(frozen=True)
class Progress:
    """How far a job is: the search for the kernel, restoring and measuring taken together.

    Parameters
    ----------
    fraction : float
        Share of the time that has passed, 0 to 1; it never goes back.
    seconds_left : float or None
        From what was measured in this job, and in earlier ones on this machine; None as long as
        nothing can be said.
    event : PSFSearch, TileDone, ModelReady or Preparing
        What was done last, or has begun.
    durations : Durations
        What the parts of the job are expected to take by now.
    seconds_after : float
        Seconds of those left that belong to parts of the job that have not begun.
    """

    fraction: float
    seconds_left: float | None
    event: Event | Preparing
    durations: Durations = Durations()
    seconds_after: float = 0.0


class Countdown:
    """The share of a task that is done, from the time that is left: it never goes back.

    Between two reports the time that is left goes down with the clock, but not that of what has
    not begun. After each it is what was reported, and the share grows on from where it was, so as
    to be 1 when no time is left.

    Parameters
    ----------
    now : callable
        Returns a time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._told = self._began = now()
        self._left: float | None = None
        self._after = 0.0
        self._fraction = 0.0

    def tell(self, seconds_left: float, after: float = 0.0) -> None:
        """Take in how much time is left, and how much of it is for what has not begun."""
        left = max(seconds_left, 0.0)
        if self._left is None:
            passed = self._now() - self._began
            self._fraction = passed / max(passed + left, 1e-9)
        else:
            self._fraction = self.fraction
        if left == 0:
            self._fraction = 1.0
        self._told, self._left, self._after = self._now(), left, min(after, left)

    @property
    def seconds_left(self) -> float | None:
        """Seconds that are left by now; None if nothing was told yet."""
        if not self._left:
            return self._left
        present = self._left - self._after
        passed, soon = self._now() - self._told, (1 - _LAST) * present
        if passed <= soon or not present:
            return self._left - min(passed, soon)
        # What is overdue is never said to be over.
        last = _LAST * present
        return self._after + last * math.exp(-(passed - soon) / last)

    @property
    def fraction(self) -> float:
        """Share that is done by now, 0 to 1."""
        left = self.seconds_left
        if not left or not self._left:
            return self._fraction
        return 1 - (1 - self._fraction) * left / self._left


class JobClock:
    """Measures a job, predicts its end, and remembers how long such jobs take here.

    Parameters
    ----------
    spec : JobSpec
        Job that is about to begin.
    predicted : Durations
        What `predict` says of it.
    now : callable
        Returns a time in seconds.
    """

    # By model, device and precision: measured seconds per predicted one.
    _paces: ClassVar[dict[tuple[str, str, str], Durations]] = {}

    def __init__(
        self, spec: JobSpec, predicted: Durations, now: Callable[[], float] = time.perf_counter
    ) -> None:
        self._key, self._predicted, self._now = _key_of(spec), predicted, now
        self._countdown = Countdown(now)
        self._part, self._since = "search" if predicted.search else "restoring", now()
        # How much longer everything takes than predicted, by what was measured in this job.
        self._load = 1.0
        self._took: dict[str, float] = {}
        self._as_planned = True
        self._searched = 0.0  # share of the search that is done

    @classmethod
    def predict(cls, spec: JobSpec, plan: Plan, planes: int) -> Durations:
        """Return how long a job will take, by what such jobs took before.

        Parameters
        ----------
        spec : JobSpec
            What is to be restored, and how.
        plan : Plan
            How each plane is restored.
        planes : int
            Number of planes.
        """
        from ...network.stages import GUIDES

        axes = Axes.parse(spec.axes, spec.shape)
        pixels = axes.height * axes.width
        pace = cls._paces.get(_key_of(spec), _AS_PREDICTED)
        search = measuring = 0.0
        if spec.options.known_psf == "auto" and GUIDES in plan.storage:
            share = min(axes.height, _LARGEST_SEARCHED) * min(axes.width, _LARGEST_SEARCHED)
            search = _RESTORATIONS_OF_SEARCH * plan.seconds * share / max(pixels, 1)
        if spec.reference is not None:
            measuring = 2 * pixels * _MEASURING
        return Durations(
            search * pace.search, plan.seconds * planes * pace.restoring, measuring * pace.measuring
        )

    def begin(self, event: Preparing) -> Progress:
        """Tell how long the job will take before anything is done."""
        if not self._predicted.total:
            return Progress(0.0, None, event)
        return self._progress(0.0, event)

    def tell(self, event: Event) -> Event | Progress:
        """Take in an event of the engine; return what is told of it."""
        from ...restore import ModelReady, PSFSearch, Retried, TileDone

        if isinstance(event, PSFSearch) and self._part == "search":
            self._searched = event.fraction
            return self._progress(event.fraction, event)
        if isinstance(event, ModelReady):
            self._end_part("restoring")
            if not self._predicted.restoring:
                seconds = event.plan.seconds * event.planes
                self._predicted = replace(self._predicted, restoring=seconds)
            return self._progress(0.0, event)
        if isinstance(event, Retried):
            self._as_planned = False
        elif isinstance(event, TileDone):
            return self._progress(event.fraction, event, event.seconds_left)
        return event

    def measure(self, event: Preparing) -> Progress:
        """Tell that all is restored, and is being measured."""
        self._end_part("measuring")
        return self._progress(0.0, event)

    def finish(self) -> None:
        """Remember how long the last part took."""
        self._end_part("")

    def _progress(
        self, fraction: float, event: Event | Preparing, left: float | None = None
    ) -> Progress:
        """Return how far the job is when a share of its present part is done."""
        passed = self._now() - self._since
        now = self._expected
        predicted = float(getattr(now, self._part)) if self._part else 0.0
        if left is None or self._as_planned:
            left = _left(passed, fraction, predicted)
        if self._part == "search" and predicted:
            # A machine that is slow now will be slow soon, too.
            load = (passed + left) / predicted
            now = _times(now, min(max(load, 1 / _MOST_LOAD), _MOST_LOAD))
        now = replace(now, **{self._part: passed + left}) if self._part else now
        after = 0.0
        if self._part == "search":
            after = now.restoring + now.measuring
        elif self._part == "restoring":
            after = now.measuring
        self._countdown.tell(left + after, after)
        return Progress(self._countdown.fraction, left + after, event, now, after)

    @property
    def _expected(self) -> Durations:
        """What the parts are expected to take, or have taken."""
        return replace(_times(self._predicted, self._load), **self._took)

    def _end_part(self, following: str) -> None:
        """Remember how long a part took, and go on to another."""
        part, seconds = self._part, self._now() - self._since
        self._part, self._since = following, self._now()
        predicted = float(getattr(self._predicted, part)) if part else 0.0
        if part == following or not predicted:
            return
        # A search that gives up, or restoring that begins anew, says nothing about the others.
        if not {"search": self._searched == 1, "restoring": self._as_planned}.get(part, True):
            return
        self._took[part] = seconds
        if part != "measuring":
            self._load = min(max(seconds / predicted, 1 / _MOST_LOAD), _MOST_LOAD)
        pace = self._paces.get(self._key, _AS_PREDICTED)
        before = float(getattr(pace, part))
        # Of what takes no second, hardly anything is learnt.
        measured = before * (seconds + 1) / (predicted + 1)
        self._paces[self._key] = replace(pace, **{part: measured})


_AS_PREDICTED = Durations(1.0, 1.0, 1.0)


def _left(passed: float, fraction: float, predicted: float) -> float:
    """Return the seconds left of what has lasted some time and is done in part."""
    weight = min(fraction / _BELIEVED, 1.0)
    measured = passed / fraction if fraction > 0 else 0.0
    total = (1 - weight) * predicted + weight * measured
    return max(total - passed, _OVERDUE * passed * (1 - fraction))


def _times(durations: Durations, factor: float) -> Durations:
    one = durations
    return Durations(one.search * factor, one.restoring * factor, one.measuring * factor)


def _key_of(spec: JobSpec) -> tuple[str, str, str]:
    options = spec.options
    return str(options.model), options.device, options.precision


def clock_text(seconds: float) -> str:
    """Return a time as a clock shows it, e.g. ``"0:41"`` or ``"1:02:41"``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
