"""Restoring a layer: all that it takes, and the generator that does it in a thread.

Nothing here knows layers or widgets. The layer's pixels, and all else that could change or go
away meanwhile, are taken down in a `JobSpec` before the thread starts.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import DarkDeblurError, StoppedError, sentence_of
from ...restore.image.axes import Axes
from ..regions import Region
from ..torch_start import load_torch
from .result_store import Store, make_store

if TYPE_CHECKING:
    from ...restore import Event, RestoreOptions, Result
    from ...restore.image.pixels import PixelArray

OutputDtype = Literal["same", "float32"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobSpec:
    """What is to be restored, and how. Two are equal if they differ at most in the pixels.

    Parameters
    ----------
    name : str
        The layer's.
    array : PixelArray
        Its full-resolution pixels, all of them.
    region : Region
        Which part is restored.
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
        What, for the user.
    """

    text: str


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
    result: Result | None = None
    measures: dict[str, dict[str, float]] = field(default_factory=dict)


def run_job(spec: JobSpec, stop: threading.Event) -> Generator[Event | Preparing, None, Outcome]:
    """Restore, and tell how it goes.

    Parameters
    ----------
    spec : JobSpec
        What and how.
    stop : threading.Event
        When it is set, the job ends after the tile at hand.

    Yields
    ------
    Preparing or Event
        The engine's events but the last.

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
    except (DarkDeblurError, OSError) as error:
        outcome = Outcome("failed", sentence_of(error))
    except Exception as error:
        # Of the layer's array, which may be a file or a computation.
        _log.exception("Restoring %r failed", spec.name)
        text = " ".join(str(error).split()).rstrip(".")
        outcome = Outcome("failed", f"Restoring failed: {type(error).__name__}: {text}.")
    finally:
        # Also when the viewer closes and the generator is thrown away.
        if outcome.status != "done":
            for store in stores:
                store.discard()
    return outcome


def _run(
    spec: JobSpec, stop: threading.Event, stores: list[Store]
) -> Generator[Event | Preparing, None, Outcome]:
    source, options = yield from prepared(spec, stop)
    from ...restore import Finished, ModelReady, restore

    if source.dtype != spec.dtype:
        source = Converted(source, spec.dtype)
    store = make_store(spec.shape, spec.dtype, spec.name, spec.axes, spec.results_folder)
    stores.append(store)

    black, white = 0.0, 1.0
    result: Result | None = None
    for event in restore(source, store.array, options, stop=stop):
        if isinstance(event, Finished):
            result = event.result
            break
        if isinstance(event, ModelReady):
            black, white = event.black, event.white
        yield event
    assert result is not None
    if result.status != "done":
        return Outcome(result.status, result.message, result=result)
    measures = {}
    if spec.reference is not None:
        yield Preparing("Comparing with the reference")
        measures = _compare(spec, store.array, black, white)
    return Outcome("done", "", store, black, white, result, measures)


def prepared(
    spec: JobSpec, stop: threading.Event
) -> Generator[Preparing, None, tuple[PixelArray, RestoreOptions]]:
    """Return a job's pixels, and its options with the whole layer's black and white."""
    yield Preparing("Loading PyTorch and the model")
    load_torch()
    from ...restore import ImageView, depends_on_values

    options = spec.options
    source = spec.region.of(spec.array)
    part_of_range = source is not spec.array and depends_on_values(options.value_range)
    if part_of_range or spec.output_dtype == "float32":
        yield Preparing("Looking at the layer's values")
        whole = ImageView(spec.array, spec.axes, options.value_range, stop=stop)
        options = replace(options, value_range=(whole.black, whole.white))
    return source, options


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
