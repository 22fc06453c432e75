"""What the Deblur dock does in a thread: restoring, finding a kernel, predicting what it takes.

Nothing here knows layers or widgets. The layer's pixels, and all else that could change or go
away meanwhile, are taken down in a `JobSpec` before the thread starts. No generator raises.
"""

from __future__ import annotations

import errno
import logging
import math
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...errors import DarkDeblurError, StoppedError, sentence_of
from ...restore.image.axes import Axes
from ...restore.units import format_bytes, format_duration
from ..background import load_torch, run_reporting
from ..regions import Region
from .clock import Durations, JobClock, Progress
from .results import Store, goes_to_disk, make_store, no_space_text

if TYPE_CHECKING:
    from ...psf import PSF
    from ...restore import Event, ImageView, PSFFound, RestoreOptions, Result
    from ...restore.image.pixels import PixelArray


OutputDtype = Literal["same", "float32"]
# As many values are looked at before anything is run: some tenths of a second.
_LOOKED_AT = 50_000_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobSpec:
    """What is to be restored, and how. Two are equal if they differ at most in the pixels.

    Parameters
    ----------
    name : str
        Name of the layer.
    array : PixelArray
        Its full-resolution pixels, all of them.
    region : Region
        Part of the array that is restored.
    options : RestoreOptions
        How it is restored, with the array's axes. A value range that follows from the values
        follows from those of the whole layer, so that parts of it can be compared.
    output_dtype : {"same", "float32"}
        Of the result; float32 holds the same units.
    reference : PixelArray, optional
        What the whole layer should look like; of the same shape.
    results_folder : pathlib.Path, optional
        For large results; see `make_store`.
    notes : tuple of str
        Sentences that the result shall keep.
    """

    name: str
    array: PixelArray = field(compare=False)
    region: Region
    options: RestoreOptions
    output_dtype: OutputDtype = "same"
    reference: PixelArray | None = field(default=None, compare=False)
    results_folder: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def axes(self) -> str:
        """The array's axes."""
        assert self.options.axes is not None
        return self.options.axes

    @property
    def shape(self) -> tuple[int, ...]:
        """The result's shape."""
        return (*self.region.shape, *self.array.shape[len(self.region.start) :])

    @property
    def pixel_count(self) -> int:
        """How many pixels are restored."""
        return Axes.parse(self.axes, self.shape).pixel_count

    @property
    def dtype(self) -> np.dtype[Any]:
        """The result's dtype."""
        return np.dtype(np.float32 if self.output_dtype == "float32" else self.array.dtype)


@dataclass(frozen=True)
class Preparing:
    """Something that takes long has begun before the first tile.

    Parameters
    ----------
    text : str
        What is being done, in words for the user.
    fraction : float, optional
        Share of it that is done, 0 to 1; None if nobody knows.
    """

    text: str
    fraction: float | None = None


@dataclass(frozen=True)
class Restored:
    """All pixels are restored; measures may follow.

    Parameters
    ----------
    outcome : Outcome
        The result, without measures.
    """

    outcome: Outcome


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Parameters
    ----------
    status : {"done", "cancelled", "failed"}
        Whether there is a result.
    message : str
        One sentence for the user; empty if it is done.
    store : Store, optional
        The result, if it is done.
    black, white : float
        The values that the network was shown as black and white.
    range_text : str
        A sentence that says which values these are, and why.
    result : Result, optional
        What the engine says of it, if it came to that.
    measures : dict of str to dict
        Metrics by their keys, of ``"input"`` and ``"restored"``, if there was a reference.
    """

    status: Literal["done", "cancelled", "failed"]
    message: str = ""
    store: Store | None = None
    black: float = 0.0
    white: float = 1.0
    range_text: str = ""
    result: Result | None = None
    measures: dict[str, dict[str, float]] = field(default_factory=dict)


JobEvent: TypeAlias = "Event | Preparing | Progress | Restored"


def run_job(spec: JobSpec, stop: threading.Event) -> Generator[JobEvent, None, Outcome]:
    """Restore, and report how it goes.

    Parameters
    ----------
    spec : JobSpec
        What is restored, and how.
    stop : threading.Event
        When it is set, the job ends after the tile at hand.

    Yields
    ------
    Preparing, Progress, Restored or Event
        `Restored` when all pixels are there, before they are measured; the engine's events but
        those that `Progress` tells of, and the last.

    Returns
    -------
    Outcome
        Nothing is raised.
    """
    stores: list[Store] = []
    outcome = Outcome("failed")
    try:
        outcome = yield from _run(spec, stop, stores)
    except StoppedError:
        outcome = Outcome("cancelled", "Restoring was cancelled.")
    except MemoryError:
        outcome = Outcome("failed", "There is too little memory for the result.")
    except Exception as error:
        outcome = Outcome("failed", _sentence(error, spec))
    finally:
        # Also when the viewer closes and the generator is thrown away.
        for store in stores:
            store.discard()
    return outcome


def _sentence(error: Exception, spec: JobSpec) -> str:
    """Return what went wrong, in the words that the dock has."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return no_space_text(spec.shape, spec.dtype, spec.results_folder)
    if isinstance(error, DarkDeblurError) and type(error).__name__ == "ValueRangeError":
        return range_problem(spec.name)
    if isinstance(error, DarkDeblurError | OSError):
        return sentence_of(error)
    # Of the layer's array, which may be a file or a computation.
    _log.error("Restoring %r failed", spec.name, exc_info=error)
    text = " ".join(str(error).split()).rstrip(".")
    return f"Restoring failed: {type(error).__name__}: {text}."


def range_problem(name: str) -> str:
    """Return why a layer's values do not fit the range of its data type, and what to do."""
    return (
        f"Values of {name!r} lie outside the range of its data type, which for floats is 0 to 1; "
        "choose “Automatic” or “Least and greatest value” as Values under Advanced."
    )


def _run(
    spec: JobSpec, stop: threading.Event, stores: list[Store]
) -> Generator[JobEvent, None, Outcome]:
    ready = yield from prepared(spec, stop)
    from ...restore import Finished, ModelReady, restore

    store = make_store(spec.shape, spec.dtype, spec.name, spec.axes, spec.results_folder)
    stores.append(store)

    black, white, range_text = 0.0, 1.0, ready.range_text
    result: Result | None = None
    clock = JobClock(spec, _predicted(spec, ready.options))
    searched = spec.options.known_psf == "auto"
    yield clock.begin(Preparing("Looking for the shake" if searched else "Restoring"))
    for event in restore(ready.source, store.array, ready.options, stop=stop):
        if isinstance(event, Finished):
            result = event.result
            break
        if isinstance(event, ModelReady):
            black, white = event.black, event.white
        yield clock.tell(event)
    assert result is not None
    if result.status != "done":
        message = result.message
        if isinstance(result.error, OSError) or type(result.error).__name__ == "ValueRangeError":
            assert result.error is not None
            message = _sentence(result.error, spec)
        return Outcome(result.status, message, result=result)
    if spec.reference is None:
        clock.finish()
    outcome = Outcome("done", "", store, black, white, range_text or result.range_text, result)
    stores.remove(store)  # whoever hears of it keeps it
    yield Restored(outcome)
    if spec.reference is None:
        return outcome
    yield clock.measure(Preparing("Measuring against the reference"))
    try:
        measures = _compare(spec, store.array, black, white)
        clock.finish()
    except (MemoryError, DarkDeblurError, OSError, ValueError) as error:
        # The result is there all the same; a job that is stopped now has done its work, too.
        _log.warning("The result of %r was not measured: %s", spec.name, error)
        return outcome
    return replace(outcome, measures=measures)


def _predicted(spec: JobSpec, options: RestoreOptions) -> Durations:
    """Return how long a job will take; nothing if that cannot be said, of which the job tells."""
    from ...restore import estimate

    try:
        return JobClock.predict(spec, *estimate(spec.shape, spec.dtype, options))
    except (DarkDeblurError, OSError, RuntimeError):
        return Durations()


@dataclass(frozen=True)
class Prepared:
    """What the engine is given.

    Parameters
    ----------
    source : PixelArray or ImageView
        Pixels to restore; a view if their values have been looked at.
    options : RestoreOptions
        Options with the black and white of the whole layer.
    range_text : str
        A sentence that says which values are black and white; empty if the engine will say.
    """

    source: PixelArray | ImageView
    options: RestoreOptions
    range_text: str = ""


def prepared(spec: JobSpec, stop: threading.Event) -> Generator[Preparing, None, Prepared]:
    """Return a job's pixels, and its options with the whole layer's black and white."""
    yield Preparing("Loading PyTorch and the model")
    load_torch()
    from ...restore import ImageView, depends_on_values

    options = spec.options
    part: PixelArray = spec.region.of(spec.array)
    floats = np.dtype(spec.array.dtype).kind == "f"
    source: PixelArray | ImageView = part
    range_text = ""
    if floats or depends_on_values(options.value_range) or spec.output_dtype == "float32":
        text = "Looking at the values"
        yield Preparing(text)
        counted = _Counted(spec.array)
        view = yield from _with_text(
            text,
            run_reporting(
                lambda: ImageView(counted, spec.axes, options.value_range, stop=stop),
                counted.fraction,
            ),
        )
        view.array = spec.array
        options = replace(options, value_range=(view.black, view.white))
        range_text = view.range_text
        if part is spec.array and part.dtype == spec.dtype:
            source = view
    if source is part and part.dtype != spec.dtype:
        source = Converted(part, spec.dtype)
    return Prepared(source, options, range_text)


def _with_text(
    text: str, fractions: Generator[float, None, ImageView]
) -> Generator[Preparing, None, ImageView]:
    """Pass fractions on as events."""
    while True:
        try:
            fraction = next(fractions)
        except StopIteration as end:
            view: ImageView = end.value
            return view
        yield Preparing(text, fraction)


class _Counted:
    """An array that counts how much of it has been read."""

    def __init__(self, array: PixelArray) -> None:
        self._array, self._count = array, 0
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, len(array.shape)

    def __getitem__(self, index: tuple[int | slice, ...], /) -> NDArray[Any]:
        part = np.asarray(self._array[index])
        self._count += part.size
        return part

    def fraction(self) -> float:
        """Return the share of the values that has been read."""
        return self._count / max(math.prod(self.shape), 1)


class Converted:
    """An array whose values are converted to another dtype as they are read.

    A tile of a memory map comes 100 times as fast as by a dask array's ``astype``, in a tenth of
    the memory; one of a zarr array five times as fast.
    """

    def __init__(self, array: PixelArray, dtype: np.dtype[Any]) -> None:
        self._array = array
        self.shape, self.dtype, self.ndim = array.shape, dtype, len(array.shape)

    def __getitem__(self, index: tuple[int | slice, ...], /) -> NDArray[Any]:
        """Return a part, converted."""
        return np.asarray(self._array[index]).astype(self.dtype)


def _compare(
    spec: JobSpec, restored: PixelArray, black: float, white: float
) -> dict[str, dict[str, float]]:
    """Measure the middle plane of the region, before and after, against the reference."""
    from ...metrics import measure

    assert spec.reference is not None
    axes = Axes.parse(spec.axes, spec.shape)
    plane = axes.plane_count // 2

    def image(array: PixelArray) -> NDArray[np.float64]:
        pixels = axes.to_picture(np.asarray(array[axes.index(plane)]).astype(np.float64))
        return np.clip(np.nan_to_num((pixels - black) / (white - black)), 0, 1)

    before = image(spec.region.of(spec.array))
    after, reference = image(restored), image(spec.region.of(spec.reference))
    return {
        "input": measure(before, reference),
        "restored": measure(after, reference, before),
    }


# LightBounds of a light: top, left, bottom, right; see `napari_darkdeblur.psf.from_points`.
LightBounds = tuple[float, float, float, float]
# So many pixels with the greatest value of all are no chance: the camera cut them off.
_CUT_OFF = 4
# Share of white that the brightest light is taken for, if the camera did not cut it off.
_BRIGHTEST = 0.9


@dataclass(frozen=True)
class SearchProgress:
    """A kernel is being looked for.

    Parameters
    ----------
    fraction : float
        Share of the search that is done, 0 to 1.
    """

    fraction: float


@dataclass(frozen=True)
class KernelFound:
    """What came of looking for a kernel.

    Parameters
    ----------
    status : {"done", "cancelled", "failed"}
        Whether it has come to an end.
    text : str
        What was found, or why nothing was, a sentence for the user.
    psf : PSF, optional
        The kernel, or the best guess.
    used : bool
        Whether restoring uses it.
    description : str
        What was found, without what follows from it and without a full stop.
    to_use : PSF, optional
        What to restore with: the kernel that was found, a point if the picture is sharp, or none.
    """

    status: Literal["done", "cancelled", "failed"]
    text: str
    psf: PSF | None = None
    used: bool = False
    description: str = ""
    to_use: PSF | None = None


KernelJob = Generator[Preparing | SearchProgress, None, KernelFound]


def find_kernel(spec: JobSpec, stop: threading.Event) -> KernelJob:
    """Look for one kernel in the middle plane of what a job is to restore.

    Parameters
    ----------
    spec : JobSpec
        What is to be restored, and how; it is not restored.
    stop : threading.Event
        When it is set, the search ends soon.

    Yields
    ------
    Preparing or SearchProgress
        How it goes.

    Returns
    -------
    KernelFound
        Nothing is raised.
    """

    def find() -> KernelJob:
        ready = yield from prepared(spec, stop)
        from ...restore import PSFSearch, find_psf

        for event in find_psf(ready.source, ready.options, stop=stop):
            if isinstance(event, PSFSearch):
                yield SearchProgress(event.fraction)
            else:
                found = event
        return search_result(found)

    return (yield from _guarded(find, spec.name))


def search_result(found: PSFFound) -> KernelFound:
    """Return the outcome of a search, as the engine describes it, with what follows from it."""
    from ...psf import PSF

    text = f"{found.description}; {found.consequence}."
    to_use = found.to_use
    assert to_use is None or isinstance(to_use, PSF)  # a grid is found only where it is asked for
    return KernelFound("done", text, found.psf, found.confident, found.description, to_use)


def kernel_of_lights(
    spec: JobSpec, plane: int, rectangles: Sequence[LightBounds], stop: threading.Event
) -> KernelJob:
    """Take the kernel from lights or beads that are marked in a plane.

    Parameters
    ----------
    spec : JobSpec
        For its array, all of it, axes and options.
    plane : int
        Which of the array's planes.
    rectangles : sequence of tuple of float
        See `napari_darkdeblur.psf.from_points`.
    stop : threading.Event
        When it is set, reading values ends soon.

    Returns
    -------
    KernelFound
        Nothing is raised.
    """

    def take() -> KernelJob:
        options = (yield from prepared(spec, stop)).options
        from ...psf import from_points
        from ...restore import ImageView, describe_psf
        from ...restore.psfs import is_linear_light

        dtype = np.dtype(spec.array.dtype)
        view = ImageView(spec.array, spec.axes, "dtype", stop=stop)
        linear_light, _ = is_linear_light(options.light, view.axes.colour, dtype)
        value_range = options.value_range
        if not linear_light:
            # Lights are brighter than the rest: a range of percentiles would cut them off.
            value_range = _range_of_lights(view, spec, plane, rectangles)
        view = ImageView(spec.array, spec.axes, value_range, stop=stop)
        pixels = np.ascontiguousarray(np.moveaxis(view.read(plane), 0, -1))
        psf = from_points(pixels, rectangles, linear_light=linear_light)
        count = len(rectangles)
        lights = "a light" if count == 1 else f"{count} lights"
        text = f"{lights[0].upper()}{lights[1:]} drew {describe_psf(psf)}; used."
        if psf.note:  # too long for the dock, where the kernel's tooltip has it
            saturated = "It is" if count == 1 else "All are"
            text += f" {saturated} saturated; a fainter one would draw it better."
        return KernelFound("done", text, psf, used=True)

    return (yield from _guarded(take, spec.name))


def _range_of_lights(
    view: ImageView, spec: JobSpec, plane: int, rectangles: Sequence[LightBounds]
) -> tuple[float, float]:
    """Return black and white between which marked lights are whole, in the array's units."""
    pixels = view.axes.to_picture(np.asarray(spec.array[view.axes.index(plane)]))
    patches: list[Any] = []
    for top, left, bottom, right in rectangles:
        rows = slice(max(math.floor(top), 0), max(math.ceil(bottom), 0))
        columns = slice(max(math.floor(left), 0), max(math.ceil(right), 0))
        patches.append(pixels[rows, columns].astype(np.float64).ravel())
    values = np.concatenate(patches)
    values = values[np.isfinite(values)]
    if not values.size or values.max() <= values.min():
        return 0.0, 1.0  # there is no light, which `from_points` says
    low, high = float(values.min()), float(values.max())
    cut_off = int((values == high).sum()) >= _CUT_OFF
    return low, high if cut_off else low + (high - low) / _BRIGHTEST


def _guarded(job: Callable[[], KernelJob], name: str) -> KernelJob:
    """Run a job that may raise, and return that as an outcome."""
    try:
        return (yield from job())
    except StoppedError:
        return KernelFound("cancelled", "The search was cancelled.")
    except MemoryError:
        return KernelFound("failed", "There is too little memory to look for a kernel.")
    except (DarkDeblurError, OSError) as error:
        return KernelFound("failed", sentence_of(error))
    except Exception as error:
        _log.exception("Looking for the kernel of %r failed", name)
        text = " ".join(str(error).split()).rstrip(".")
        return KernelFound(
            "failed", f"Looking for a kernel failed: {type(error).__name__}: {text}."
        )


@dataclass(frozen=True)
class Estimate:
    """What a job will take.

    Parameters
    ----------
    text : str
        Prediction in words for the user.
    problem : str
        Why it cannot be run; empty if it can.
    """

    text: str = ""
    problem: str = ""


def estimate_job(
    spec: JobSpec, stop: threading.Event, others: Sequence[JobSpec] = ()
) -> Generator[None, None, Estimate]:
    """Predict tiles, memory and time; a generator for `Background`, which raises nothing.

    Parameters
    ----------
    spec : JobSpec
        What is to be restored, and how.
    stop : threading.Event
        When it is set, looking at the values ends soon.
    others : sequence of JobSpec
        What is to be restored after it; they count in the time.
    """
    try:
        load_torch()
        yield
        from ...restore import estimate

        plan, planes = estimate(spec.shape, spec.dtype, spec.options)
        durations = [JobClock.predict(spec, plan, planes)]
        for other in others:
            predicted = estimate(other.shape, other.dtype, other.options)
            durations.append(JobClock.predict(other, *predicted))
        problem = _value_problem(spec, stop)
        if problem:
            return Estimate(problem=problem)
    except (DarkDeblurError, OSError) as error:
        return Estimate(problem=sentence_of(error))
    except Exception as error:
        return Estimate(problem=f"Nothing can be said about this job: {error}.")
    tiles = plan.tile_count * planes
    parts = [f"{len(durations)} images"] if others else []
    parts += [f"{planes} planes"] if planes > 1 else []
    parts.append("in one piece" if tiles == planes else f"{tiles} tiles")
    if others:
        parts[1] = f"the first: {parts[1]}"
    parts.append(f"about {format_bytes(plan.peak_bytes)}")
    took = f"about {format_duration(sum(one.total for one in durations))}"
    if others:
        took += " in all"
    if any(one.search for one in durations):
        took += " with the search for the shake"
    parts.append(took)
    if goes_to_disk(spec.shape, spec.dtype):
        size = math.prod(spec.shape) * spec.dtype.itemsize
        parts.append(f"result of {format_bytes(size)} on the disk")
    text = ", ".join(parts)
    return Estimate(f"{text[0].upper()}{text[1:]}")


def _value_problem(spec: JobSpec, stop: threading.Event) -> str:
    """Return why the values do not fit the chosen range, if that can be seen at once."""
    from ...restore import ImageView, ValueRangeError

    dtype = np.dtype(spec.array.dtype)
    looked_at = isinstance(spec.array, np.ndarray) and spec.array.size <= _LOOKED_AT
    if spec.options.value_range != "dtype" or dtype.kind not in "fi" or not looked_at:
        return ""
    try:
        ImageView(spec.array, spec.axes, "dtype", stop=stop)
    except ValueRangeError:
        return range_problem(spec.name)
    return ""
