"""Restoring images of any size, dtype and number of axes.

`restore` is what the plugin, the command line and `deblur` have in common: an iterator of events
that ends with a result and does not raise.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import logging
import os
import threading
import time
import traceback
import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DarkDeblurError
from ..network import DEFAULT_MODEL, LoadedModel, find_weights, load_weights
from ..network.stages import Region
from .axes import Axes
from .devices import Precision, choose_device, choose_dtype, free_unused, numerics
from .events import Event, Finished, ModelReady, PlaneDone, Result, Retried, TileDone
from .image_view import ImageView, ValueRange
from .memory import default_budget
from .pixels import PixelArray, PixelError, StoppedError, check_dtype
from .plan import BudgetError, Plan, Tiling, make_plan
from .plane import restore_plane

_log = logging.getLogger(__name__)

# When memory runs out, the next try may take this share of what the last one was to take, in
# tiles of half the side, between these.
_RETRY_SHARE = 0.6
_LARGEST_RETRY = 1024
_SMALLEST_RETRY = 32


class RestoreError(DarkDeblurError, RuntimeError):
    """Restoring failed; the message is one sentence for the user."""


class OutOfMemoryError(RestoreError):
    """The device has too little memory for the image."""


class NonFiniteWarning(UserWarning):
    """The image has values that are NaN or infinite; they were left as they are."""


class Output(Protocol):
    """What takes restored pixels: a numpy, zarr or memory-mapped array."""

    def __setitem__(self, index: Any, values: Any, /) -> None:
        """Take in a block; indices are tuples of ints and slices."""
        ...


@dataclass(frozen=True)
class RestoreOptions:
    """How to restore.

    Parameters
    ----------
    model : str, path-like or LoadedModel
        A model's name or the path of a weights file (see `load_weights`), or a loaded model.
    device : str
        ``"auto"`` (a CUDA device if there is one, else the CPU), ``"cpu"``, ``"cuda"``,
        ``"cuda:1"``, ``"mps"``. If ``"auto"`` chose a device that turns out to have too little
        memory, the CPU takes over.
    axes : str, optional
        The axes, such as ``"TZYX"``; guessed from the shape if not given (see `Axes`).
    value_range : {"dtype", "data", "percentile"} or tuple of float
        Which values are black and white (see `ImageView`).
    tiling : {"auto", "whole", "exact", "local", "fast"}
        See `make_plan`.
    tile : int, optional
        Side of a tile in pixels; the default is what fits.
    memory : int, optional
        Bytes that restoring may take on the device; the default is a share of what is free.
    precision : {"fp32", "tf32", "bf16", "fp16"}
        See `choose_dtype`.
    scratch : pathlib.Path, optional
        Folder for scratch files; the default is the system's for temporary files.
    """

    model: str | os.PathLike[str] | LoadedModel = DEFAULT_MODEL
    device: str = "auto"
    axes: str | None = None
    value_range: ValueRange = "dtype"
    tiling: Tiling = "auto"
    tile: int | None = None
    memory: int | None = None
    precision: Precision = "fp32"
    scratch: Path | None = None


def restore(
    array: PixelArray,
    output: Output,
    options: RestoreOptions | None = None,
    *,
    stop: threading.Event | None = None,
) -> Generator[Event, None, Result]:
    """Restore an image, plane by plane and tile by tile, and tell how it goes.

    Parameters
    ----------
    array : PixelArray
        The pixels: a numpy, dask, zarr or memory-mapped array, or anything with ``shape``,
        ``dtype`` and slicing. Planes and tiles are read as they are needed.
    output : Output
        Of the same shape and dtype; planes and tiles are written as they are done. It must not
        be the input.
    options : RestoreOptions, optional
        How.
    stop : threading.Event, optional
        When it is set, restoring ends after the tile at hand.

    Yields
    ------
    Event
        `ModelReady` first, `Finished` last.

    Returns
    -------
    Result
        Done, cancelled, or failed with a sentence for the user. Nothing is raised; unless it is
        done, the output is incomplete and should be thrown away.
    """
    job = _Job(array, output, options or RestoreOptions(), stop or threading.Event())
    status, message = "done", ""
    problem: Exception | None = None
    try:
        yield from job.run()
    except StoppedError:
        status, message = "cancelled", "Restoring was cancelled."
    except DarkDeblurError as error:
        status, message, problem = "failed", str(error), error
    except Exception as error:
        # Of the array, which may be a file or a computation, or of a device's driver.
        _log.debug("Restoring failed", exc_info=True)
        status, message, problem = "failed", f"Restoring failed: {_one_line(error)}.", error
    finally:
        job.free(problem)
    result = job.result(status, message, problem)
    yield Finished(result)
    return result


def deblur(
    image: PixelArray,
    model: str | os.PathLike[str] | LoadedModel = DEFAULT_MODEL,
    device: str = "auto",
    **options: Any,
) -> NDArray[Any]:
    """Remove motion blur and noise from an image or a stack of images.

    Parameters
    ----------
    image : array-like
        Grey, RGB or RGBA (alpha is kept), with any further axes, of which every plane is
        restored on its own; uint8, uint16, int16, float16, float32 or float64; any height and
        width from 1. It is not changed.
    model, device
        See `RestoreOptions`.
    **options
        The other fields of `RestoreOptions`: ``axes="TYX"``, ``value_range=(0, 4095)``,
        ``tiling="exact"`` and so on.

    Returns
    -------
    ndarray
        Of the image's shape and dtype. Values that were NaN or infinite still are.

    Raises
    ------
    PixelError
        The image's shape, axes, dtype or values cannot be restored.
    DeviceError
        There is no such device, or not with this precision.
    FileNotFoundError, WeightsError
        The model cannot be loaded.
    BudgetError, OutOfMemoryError
        It takes more memory than there is, or than was allowed.
    RestoreError
        The network's output is not finite.

    Warns
    -----
    NonFiniteWarning
        The image has values that are NaN or infinite.

    Examples
    --------
    >>> import napari_darkdeblur
    >>> restored = napari_darkdeblur.deblur(photograph)  # doctest: +SKIP
    >>> restored = napari_darkdeblur.deblur(movie, axes="TYX")  # doctest: +SKIP
    """
    if not hasattr(image, "shape"):
        image = np.asarray(image)
    check_dtype(image.dtype)
    try:
        output = np.empty(image.shape, image.dtype)
    except MemoryError as error:
        raise OutOfMemoryError(
            f"There is too little memory for a result of the image's shape, {image.shape}; use "
            "restore() with an output on the disk."
        ) from error
    job = _Job(image, output, RestoreOptions(model, device, **options), threading.Event())
    try:
        for event in job.run():
            if isinstance(event, Retried):
                _log.warning(event.reason)
    finally:
        job.free()
    view = job.view
    assert view is not None
    if view.nonfinite:
        warnings.warn(
            f"{view.nonfinite_count} of the image's values are NaN or infinite; they were left "
            "as they are, and the network saw their nearest finite neighbours instead.",
            NonFiniteWarning,
            stacklevel=2,
        )
    return output


def estimate(
    shape: tuple[int, ...], dtype: Any, options: RestoreOptions | None = None
) -> tuple[Plan, int]:
    """Return how an image would be restored, without doing it.

    Parameters
    ----------
    shape : tuple of int
        Of the image.
    dtype : dtype-like
        Of the image.
    options : RestoreOptions, optional
        How.

    Returns
    -------
    plan : Plan
        For each plane, with the predicted peak of memory, output included, and time.
    planes : int
        Number of planes.

    Raises
    ------
    AxesError, BudgetError, DeviceError, FileNotFoundError, WeightsError
        As in `deblur`.
    """
    options = options or RestoreOptions()
    axes = Axes.parse(options.axes, shape) if options.axes else Axes.guess(shape)
    loaded = load_model(options.model, options.device, options.precision)
    held = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    return _plan(loaded, axes.height, axes.width, options, held), axes.plane_count


def load_model(
    model: str | os.PathLike[str] | LoadedModel = DEFAULT_MODEL,
    device: str = "auto",
    precision: Precision = "fp32",
) -> LoadedModel:
    """Load a model on a device; the last ones loaded by name or path are kept.

    Parameters
    ----------
    model : str, path-like or LoadedModel
        See `RestoreOptions`. A loaded model is copied to the device if it is on another one.
    device : str
        See `RestoreOptions`.
    precision : {"fp32", "tf32", "bf16", "fp16"}
        See `choose_dtype`.

    Returns
    -------
    LoadedModel
        Its network is on the device, in evaluation mode.

    Raises
    ------
    DeviceError
        There is no such device, or not with this precision.
    FileNotFoundError, WeightsError
        The model cannot be loaded.
    """
    where = choose_device(device)
    dtype = choose_dtype(precision, where)
    if isinstance(model, LoadedModel):
        weight = next(model.network.parameters())
        if (weight.device, weight.dtype) == (where, dtype):
            return model
        # A copy: the caller's network stays where it is.
        network = copy.deepcopy(model.network).to(where, dtype)
        return dataclasses.replace(model, network=network)
    path = find_weights(model).absolute()
    # A file that was replaced is read again.
    modified = path.stat().st_mtime_ns if path.is_file() else None
    return _load_cached(path, modified, where, dtype)


@functools.lru_cache(maxsize=4)
def _load_cached(
    path: Path, modified: int | None, device: torch.device, dtype: torch.dtype
) -> LoadedModel:
    loaded = load_weights(path)
    loaded.network.to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return loaded


def _plan(loaded: LoadedModel, height: int, width: int, options: RestoreOptions, held: int) -> Plan:
    device = next(loaded.network.parameters()).device
    if device.type != "cpu":
        held = 0  # it is in the computer's memory
    budget = options.memory if options.memory is not None else default_budget(device, held)
    with numerics(options.precision, device):
        return make_plan(
            loaded.network,
            height,
            width,
            budget,
            tiling=options.tiling,
            tile=options.tile,
            held=held,
            scratch=options.scratch,
        )


class _Job:
    """One image being restored: what is decided once, and what changes when memory runs out."""

    def __init__(
        self, array: PixelArray, output: Output, options: RestoreOptions, stop: threading.Event
    ) -> None:
        self.array, self.output, self.stop = array, output, stop
        self.options = self.asked = options
        self.view: ImageView | None = None
        self.loaded: LoadedModel | None = None
        self.plan: Plan | None = None
        self.planes_done = 0
        self.started = time.perf_counter()
        self.clock = _Clock()

    @property
    def device(self) -> torch.device:
        assert self.loaded is not None
        return next(self.loaded.network.parameters()).device

    def run(self) -> Iterator[Event]:
        options = self.options
        if np.may_share_memory(_in_memory(self.array), _in_memory(self.output)):
            raise PixelError("The output is the image itself; it takes an array of its own.")
        view = self.view = ImageView(self.array, options.axes, options.value_range, stop=self.stop)
        self._check_stop()
        if not self._prepare_where_asked():
            self._go_to_cpu()
        assert self.loaded is not None
        assert self.plan is not None
        yield ModelReady(
            self.loaded.name, str(self.device), self.plan, view.plane_count, tuple(view.notes)
        )
        self.clock = _Clock()
        for plane in range(view.plane_count):
            while True:
                try:
                    yield from self._restore_plane(plane)
                except (RuntimeError, MemoryError) as error:
                    if not _is_out_of_memory(error):
                        raise
                    reason = str(error)
                else:
                    break
                # Outside of the except clause: there the traceback would keep the tensors.
                yield self._with_less_memory(plane, reason)
            self.planes_done += 1
            yield PlaneDone(plane, view.plane_count, view.describe(plane))

    def free(self, error: Exception | None = None) -> None:
        """Give back the device's memory, also what an error's traceback holds."""
        if error is not None:
            traceback.clear_frames(error.__traceback__)
        if self.loaded is not None:
            free_unused(self.device)

    def result(self, status: Any, message: str, error: Exception | None) -> Result:
        loaded, view = self.loaded, self.view
        return Result(
            status=status,
            message=message,
            planes_done=self.planes_done,
            seconds=time.perf_counter() - self.started,
            model=loaded.name if loaded is not None else "",
            sha256=loaded.sha256 if loaded is not None else "",
            device=str(self.device) if loaded is not None else "",
            plan=self.plan,
            notes=tuple(view.notes) if view is not None else (),
            error=error,
        )

    def _prepare_where_asked(self) -> bool:
        """Load the model and make a plan; return False if a GPU is too full even for that."""
        try:
            self._prepare()
        except Exception as error:
            too_full = _is_out_of_memory(error) or isinstance(error, BudgetError)
            on_gpu = choose_device(self.options.device).type != "cpu"
            if not (too_full and on_gpu):
                raise
            if self.options.device != "auto":
                raise OutOfMemoryError(
                    f"Device {self.options.device!r} has too little free memory "
                    f"({_shortened(str(error))}); close other programs, or choose the device "
                    "'cpu'."
                ) from error
            assert self.view is not None
            why = _shortened(str(error))
            self.view.notes.append(
                f"The GPU has too little free memory, so the CPU is used ({why})."
            )
            return False
        return True

    def _prepare(self) -> None:
        options = self.options
        self.loaded = load_model(options.model, options.device, options.precision)
        self.plan = self._make_plan(options)

    def _go_to_cpu(self) -> None:
        self.options = dataclasses.replace(self.asked, device="cpu", precision="fp32")
        self._prepare()

    def _make_plan(self, options: RestoreOptions) -> Plan:
        assert self.loaded is not None
        assert self.view is not None
        view = self.view
        output: Any = self.output
        in_memory = isinstance(output, np.ndarray) and not isinstance(output, np.memmap)
        held = output.nbytes if in_memory else 0
        if view.nonfinite:
            # One plane is kept filled, and more is needed while it is being filled.
            held += view.height * view.width * (4 * view.axes.channels + 30)
        return _plan(self.loaded, view.height, view.width, options, held)

    def _restore_plane(self, plane: int) -> Iterator[Event]:
        assert self.loaded is not None
        assert self.view is not None
        assert self.plan is not None
        view, plan, network = self.view, self.plan, self.loaded.network
        io = _Plane(view, plane, self.output, self.loaded)
        work = _Work(plan, plane, view.plane_count, self.clock)
        steps = restore_plane(network, plan, io, io.bounds, self.options.scratch)
        with contextlib.closing(steps):
            for _ in range(plan.tile_count):
                self._check_stop()
                # Set up anew for each step: between steps the caller's code runs.
                with torch.inference_mode(), numerics(self.options.precision, self.device):
                    step = next(steps)
                yield work.done(*step)

    def _check_stop(self) -> None:
        if self.stop.is_set():
            raise StoppedError

    def _with_less_memory(self, plane: int, reason: str) -> Retried:
        """Change the plan, or the device, after memory ran out."""
        assert self.plan is not None
        device = str(self.device)
        self.free()
        self.clock.restart()
        failed = self.plan
        if self._use_smaller_plan():
            return Retried(
                plane,
                self.plan,
                device,
                f"{device} ran out of memory; going on in tiles of {self.plan.tile} pixels.",
            )
        if self.device.type != "cpu" and self.options.device == "auto":
            self._go_to_cpu()
            return Retried(
                plane, self.plan, "cpu", f"{device} has too little memory; going on on the CPU."
            )
        instead = "choose another device or a smaller model"
        if self.device.type != "cpu":
            instead = "choose the device 'cpu' or a smaller model"
        raise OutOfMemoryError(
            f"{device} has too little memory, even in tiles of {failed.tile} pixels; close "
            f"other programs, or {instead} ({_shortened(reason)})."
        )

    def _use_smaller_plan(self) -> bool:
        """Halve the tile, and cut what may be taken; return whether that goes."""
        assert self.plan is not None
        whole = self.plan.mode == "whole"
        tiling: Tiling = "exact" if whole else self.plan.mode
        # Smaller tiles alone would leave their room to features that are kept.
        failed = self.plan
        memory = failed.fixed_bytes + int(_RETRY_SHARE * (failed.peak_bytes - failed.fixed_bytes))
        tile = min(self.plan.tile // 2, _LARGEST_RETRY)
        while tile >= _SMALLEST_RETRY:
            smaller = dataclasses.replace(self.options, tiling=tiling, tile=tile, memory=memory)
            with contextlib.suppress(BudgetError):
                self.plan = self._make_plan(smaller)
                self.options = smaller
                return True
            tile //= 2
        return False


class _Plane:
    """A plane of the image as `restore_plane` takes it."""

    def __init__(self, view: ImageView, plane: int, output: Output, loaded: LoadedModel) -> None:
        self._view, self._plane, self._output, self._loaded = view, plane, output, loaded
        weight = next(loaded.network.parameters())
        self._device, self._dtype = weight.device, weight.dtype
        stride = loaded.stride
        self.bounds = Region(
            0, 0, view.height + -view.height % stride, view.width + -view.width % stride
        )

    def read(self, region: Region) -> Tensor:
        """Return (1, 3, h, w); beyond the lower and right border the last pixels repeat."""
        rows, columns = self._real(region)
        image = torch.from_numpy(self._view.read(self._plane, rows, columns))[None]
        below = region.height - image.shape[2]
        right = region.width - image.shape[3]
        if below or right:
            image = F.pad(image, (0, right, 0, below), mode="replicate")
        black, white = self._loaded.value_range
        if (black, white) != (0, 1):
            image = image * (white - black) + black
        return image.to(self._device, self._dtype, memory_format=torch.channels_last)

    def write(self, region: Region, correction: Tensor) -> None:
        """Add the correction to the image and put the result where it belongs."""
        rows, columns = self._real(region)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        black, white = self._loaded.value_range
        restored = self._view.read(self._plane, rows, columns)
        change = correction[0, :, :height, :width].to("cpu", torch.float32)
        restored += change.numpy() / np.float32(white - black)
        if not np.isfinite(restored).all():
            raise RestoreError(
                f"Model {self._loaded.name!r} gave values that are not finite on {self._device}; "
                "try another device, precision fp32, or another model."
            )
        block = self._view.restored_block(self._plane, rows, columns, restored)
        self._output[self._view.axes.index(self._plane, rows, columns)] = block

    def _real(self, region: Region) -> tuple[slice, slice]:
        """Return the part of a region that is not padding."""
        return (
            slice(region.top, min(region.bottom, self._view.height)),
            slice(region.left, min(region.right, self._view.width)),
        )


class _Clock:
    """Tells how long the rest will take, from what was done since it was started."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._from = 0.0
        self._fraction = 0.0

    def restart(self) -> None:
        """Forget the time so far: things go on in another way."""
        self._since, self._from = time.perf_counter(), self._fraction

    def seconds_left(self, fraction: float) -> float | None:
        """Take in how much is done, 0 to 1, and return how long the rest takes."""
        self._from = min(self._from, fraction)  # a plane may begin anew
        self._fraction = fraction
        done = fraction - self._from
        if done <= 0:
            return None
        return (time.perf_counter() - self._since) * (1 - fraction) / done


class _Work:
    """How much of the work is done."""

    def __init__(self, plan: Plan, plane: int, planes: int, clock: _Clock) -> None:
        self._plan, self._plane, self._planes, self._clock = plan, plane, planes, clock
        self._tiles = 0
        self._seconds = 0.0
        self._total = sum(
            self._weight(stage, tile) for stage, tiles in plan.tiles.items() for tile in tiles
        )

    def done(self, stage: str, tile: Region) -> TileDone:
        self._tiles += 1
        self._seconds += self._weight(stage, tile)
        fraction = min((self._plane + self._seconds / self._total) / self._planes, 1.0)
        return TileDone(
            self._tiles,
            self._plan.tile_count,
            self._plane,
            self._planes,
            stage,
            fraction,
            self._clock.seconds_left(fraction),
        )

    def _weight(self, stage: str, tile: Region) -> float:
        return self._plan.seconds_per_pixel[stage] * tile.height * tile.width


# What devices say of too little memory. The last two are cuDNN's, when there is too little for
# any way of computing a convolution.
_OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "allocate memory",
    "ALLOC_FAILED",
    "Invalid buffer size",
    "unable to find an engine",
    "Unable to find a valid cuDNN algorithm",
)


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, DarkDeblurError):
        return False
    # Most raise a plain RuntimeError.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)
    )


def _in_memory(array: Any) -> NDArray[Any]:
    """Return a numpy array itself, and an empty one for all that is not."""
    return array if isinstance(array, np.ndarray) else np.empty(0)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _shortened(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= 120 else f"{text[:117]}..."
