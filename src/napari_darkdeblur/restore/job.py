"""One image being restored: what is decided once, and what changes when memory runs out."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import traceback
from collections.abc import Generator, Iterator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import StoppedError
from ..network import LoadedModel
from ..network.stages import GUIDES
from ..psf.kernel import PSF, PSFError
from .devices import choose_device, float32_precision, free_unused
from .events import (
    Event,
    ModelReady,
    Note,
    PlaneDone,
    PlaneProgress,
    PSFFound,
    RemainingTime,
    Result,
    Retried,
)
from .guides import KEPT_AS, PlaneGuides, guides_feature
from .image.pixels import PixelArray, PixelError
from .image.plane_io import Output, PlaneIO, RestoreError
from .image.view import ImageView
from .options import RestoreOptions
from .psfs import (
    AnyPSF,
    GivenPSF,
    is_linear_light,
    kernel_count,
    kernel_side,
    psf_of_plane,
    takes_guides,
)
from .search import MAX_RADIUS, search_psf
from .tiling.executor import restore_plane
from .tiling.feature_store import make_feature_store
from .tiling.memory import default_budget, is_out_of_memory
from .tiling.plan import Plan, Tiling
from .tiling.planner import BudgetError, make_plan

# When memory runs out, the next try may take this share of what the last one was to take, in
# tiles of half the side, between these.
_RETRY_SHARE = 0.6
_LARGEST_RETRY = 1024
_SMALLEST_RETRY = 32


class OutOfMemoryError(RestoreError):
    """The device has too little memory for the image."""


def plan_for(
    loaded: LoadedModel,
    height: int,
    width: int,
    options: RestoreOptions,
    reserved: int,
    kernel: int | None = None,
    kernels: int = 1,
) -> Plan:
    """Decide how a plane is restored.

    Parameters
    ----------
    loaded : LoadedModel
        On the device that it will run on.
    height, width : int
        Size of the plane in pixels.
    options : RestoreOptions
        Restoration options.
    reserved : int
        Bytes of the computer's memory that are taken besides.
    kernel, kernels
        See `make_plan`.

    Raises
    ------
    BudgetError, ScratchError
        See `make_plan`.
    """
    device = next(loaded.network.parameters()).device
    if device.type != "cpu":
        reserved = 0  # it is in the computer's memory
    budget = options.memory if options.memory is not None else default_budget(device, reserved)
    with float32_precision(options.precision, device):
        return make_plan(
            loaded.network,
            height,
            width,
            budget,
            tiling=options.tiling,
            tile=options.tile,
            reserved=reserved,
            scratch=options.scratch,
            kernel=kernel,
            kernels=kernels,
        )


def planned_kernel(psf: GivenPSF | tuple[AnyPSF | None, ...]) -> tuple[int | None, int]:
    """Return width and number of kernels to plan for, before any is found; see `make_plan`."""
    if psf is None:
        return None, 1
    if isinstance(psf, str):
        return 2 * MAX_RADIUS + 1, 1
    known = [each for each in (psf if isinstance(psf, tuple) else (psf,)) if each is not None]
    if not known:
        return None, 1
    return max(map(kernel_side, known)), max(map(kernel_count, known))


class Job:
    """Restores one image; model and plan change when memory runs out.

    Parameters
    ----------
    array, output, options, stop
        See `restore.restore`.
    """

    def __init__(
        self,
        array: PixelArray | ImageView,
        output: Output,
        options: RestoreOptions,
        stop: threading.Event,
    ) -> None:
        self.output, self.stop = output, stop
        # Of a view the values have been read already.
        self.known_view = array if isinstance(array, ImageView) else None
        self.array = array.array if isinstance(array, ImageView) else array
        self.options = self.asked = options
        self._view: ImageView | None = None
        self._loaded: LoadedModel | None = None
        self._plan: Plan | None = None
        # One for all planes, or for each one or None; a text as long as it is to be found.
        self.psf: GivenPSF | tuple[AnyPSF | None, ...] = options.known_psf
        self.linear_light = True
        self.note_of_light = ""
        self.planes_done = 0
        self.started = time.perf_counter()
        self.clock = RemainingTime()

    @property
    def view(self) -> ImageView:
        """Image that is restored, from the beginning of `run` on."""
        assert self._view is not None
        return self._view

    @property
    def loaded(self) -> LoadedModel:
        """Model, from when `run` has loaded it."""
        assert self._loaded is not None
        return self._loaded

    @property
    def plan(self) -> Plan:
        """How each plane is restored, from when `run` has decided it."""
        assert self._plan is not None
        return self._plan

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.loaded.network.parameters()).device

    def run(self) -> Iterator[Event]:
        """Restore all planes; raise what goes wrong."""
        options = self.options
        if np.may_share_memory(_in_memory(self.array), _in_memory(self.output)):
            raise PixelError("The output is the image itself; it takes an array of its own.")
        view = self._view = self.known_view or ImageView(
            self.array,
            options.axes,
            options.value_range,
            full_scale=options.full_scale,
            stop=self.stop,
        )
        self._check_stop()
        if not self._prepare_where_asked():
            self._go_to_cpu()
        self._check_psf()
        if self.psf in ("auto", "auto-grid"):
            self.psf = yield from self._find_psf(view.plane_count // 2)
            self._plan = self._make_plan(self.options)
        each = self.psf == "auto-each"
        yield ModelReady(
            self.loaded.name,
            str(self.device),
            self.plan,
            view.plane_count,
            view.black,
            view.white,
            view.range_text,
            tuple(view.notes),
            self._psf_or_none(),
            self._light(),
        )
        self.clock = RemainingTime()
        for plane in range(view.plane_count):
            if each:
                found = yield from self._find_psf(plane)
                before = self.psf if isinstance(self.psf, tuple) else ()
                self.psf = (*before, found)
                self._plan = self._make_plan(self.options)
            while True:
                try:
                    yield from self._restore_plane(plane)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
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
        if self._loaded is not None:
            free_unused(self.device)

    def result(self, status: Any, message: str, error: Exception | None) -> Result:
        """Return how it ended."""
        loaded, view = self._loaded, self._view
        return Result(
            status=status,
            message=message,
            planes_done=self.planes_done,
            seconds=time.perf_counter() - self.started,
            model=loaded.name if loaded is not None else "",
            sha256=loaded.sha256 if loaded is not None else "",
            device=str(self.device) if loaded is not None else "",
            plan=self._plan,
            range_text=view.range_text if view is not None else "",
            notes=tuple(view.notes) if view is not None else (),
            psf=self._psf_or_none(),
            light=self._light(),
            error=error,
        )

    def _prepare_where_asked(self) -> bool:
        """Load the model and make a plan; return False if a GPU is too full even for that."""
        try:
            self._prepare()
        except Exception as error:
            too_full = is_out_of_memory(error) or isinstance(error, BudgetError)
            on_gpu = choose_device(self.options.device).type != "cpu"
            if not (too_full and on_gpu):
                raise
            why = _shortened(str(error))
            if self.options.device != "auto":
                raise OutOfMemoryError(
                    f"Device {self.options.device!r} has too little free memory ({why}); close "
                    "other programs, or choose the device 'cpu'."
                ) from error
            self.view.notes.append(
                f"The GPU has too little free memory, so the CPU is used ({why})."
            )
            return False
        return True

    def _prepare(self) -> None:
        view, options = self.view, self.options
        self._loaded = options.load_model(view.axes.pixel_count)
        self._plan = self._make_plan(options)

    def _go_to_cpu(self) -> None:
        self.options = dataclasses.replace(self.asked, device="cpu", precision="fp32")
        self._prepare()

    def _make_plan(self, options: RestoreOptions) -> Plan:
        view = self.view
        output: Any = self.output
        in_memory = isinstance(output, np.ndarray) and not isinstance(output, np.memmap)
        reserved = output.nbytes if in_memory else 0
        if view.nonfinite:
            # One plane is kept filled, and more is needed while it is being filled.
            reserved += view.height * view.width * (4 * view.axes.channels + 30)
        kernel = planned_kernel(self.psf) if takes_guides(self.loaded.config) else (None, 1)
        return plan_for(self.loaded, view.height, view.width, options, reserved, *kernel)

    def _check_psf(self) -> None:
        """Decide what is known about the blur before any is searched; refuse what cannot be."""
        view, psf, name = self.view, self.options.known_psf, self.loaded.name
        if psf is None:
            return
        if not takes_guides(self.loaded.config):
            if not isinstance(psf, str):
                raise PSFError(
                    f"Model {name!r} cannot use a kernel; choose one that takes guides, or give "
                    "no kernel."
                )
            text = f"Model {name!r} cannot use a kernel, so none was searched."
            view.notes.append(Note(text, "psf"))
            self.psf = None
            return
        if not isinstance(psf, str):
            psf_of_plane(psf, 0, view.plane_count)  # there are as many as planes
            if isinstance(psf, PSF) and psf.note:
                view.notes.append(Note(f"The kernel ({psf.origin}): {psf.note}", "psf"))
        self.linear_light, self.note_of_light = is_linear_light(
            self.options.light, view.axes.colour, view.dtype
        )
        if not isinstance(psf, str):
            self._tell_light()

    def _find_psf(self, plane: int) -> Generator[Event, None, AnyPSF | None]:
        """Search a plane's kernel; return it if it is to be used."""
        found: PSFFound | None = None
        for event in search_psf(
            self.view,
            plane,
            self.loaded,
            self.linear_light,
            self.options.precision,
            self.stop,
            in_parts=self.options.known_psf == "auto-grid",
        ):
            if isinstance(event, PSFFound):
                found = event
            yield event
        assert found is not None
        once = self.options.known_psf != "auto-each" and self.view.plane_count > 1
        for_all = " for all planes" if once else ""
        self.view.notes.append(Note(f"{found.description}; {found.consequence}{for_all}.", "psf"))
        if found.confident:
            self._tell_light()
        return found.to_use

    def _tell_light(self) -> None:
        """Note, once, what was decided about light: it matters only where a kernel is used."""
        if self.note_of_light:
            self.view.notes.append(Note(self.note_of_light, "light"))
            self.note_of_light = ""

    def _psf_or_none(self) -> AnyPSF | tuple[AnyPSF | None, ...] | None:
        return None if isinstance(self.psf, str) else self.psf

    def _light(self) -> Literal["srgb", "linear"]:
        return "srgb" if self.linear_light else "linear"

    def _guides(self, plane: int) -> PlaneGuides | None:
        """Return what makes and keeps the guides of a plane that has a kernel."""
        psf = self._psf_or_none()
        if isinstance(psf, tuple):
            psf = psf[plane]
        if psf is None:
            return None
        height, width = self.view.height, self.view.width
        storage, scratch = self.plan.storage[GUIDES], self.options.scratch
        count = self.loaded.config.guides
        feature = guides_feature(count)
        store = make_feature_store(feature, height, width, KEPT_AS, storage, scratch, self.device)
        return PlaneGuides(self.view, plane, psf, self.linear_light, count, store, self.device)

    def _restore_plane(self, plane: int) -> Iterator[Event]:
        view, plan, network = self.view, self.plan, self.loaded.network
        io = PlaneIO(view, plane, self.output, self.loaded, self._guides(plane))
        progress = PlaneProgress(plan, plane, view.plane_count, self.clock)
        steps = restore_plane(network, plan, io, io.bounds, self.options.scratch)
        with contextlib.ExitStack() as stack:
            stack.callback(io.release_guides)  # steps that never began do not
            stack.enter_context(contextlib.closing(steps))
            for _ in range(plan.tile_count):
                self._check_stop()
                # Set up anew for each step: between steps the caller's code runs.
                with torch.inference_mode(), float32_precision(self.options.precision, self.device):
                    step = next(steps)
                yield progress.done(*step)
        io.flush()

    def _check_stop(self) -> None:
        if self.stop.is_set():
            raise StoppedError

    def _with_less_memory(self, plane: int, reason: str) -> Retried:
        """Change the plan, or the device, after memory ran out."""
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
        failed = self.plan
        tiling: Tiling = "exact" if failed.mode == "whole" else failed.mode
        # Smaller tiles alone would leave their room to features that are kept.
        memory = failed.fixed_bytes + int(_RETRY_SHARE * (failed.peak_bytes - failed.fixed_bytes))
        tile = min(failed.tile // 2, _LARGEST_RETRY)
        while tile >= _SMALLEST_RETRY:
            smaller = dataclasses.replace(self.options, tiling=tiling, tile=tile, memory=memory)
            with contextlib.suppress(BudgetError):
                self._plan = self._make_plan(smaller)
                self.options = smaller
                return True
            tile //= 2
        return False


def _in_memory(array: Any) -> NDArray[Any]:
    """Return a numpy array itself, and an empty one for all that is not."""
    return array if isinstance(array, np.ndarray) else np.empty(0)


def _shortened(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= 120 else f"{text[:117]}..."
