"""Finding the blur's kernel, in a picture or in the lights that are marked in it, in a thread.

As in `job`, nothing here knows layers or widgets.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...errors import DarkDeblurError, StoppedError, sentence_of
from .job import JobSpec, Preparing, prepared

if TYPE_CHECKING:
    from ...psf import PSF
    from ...restore import ImageView

_log = logging.getLogger(__name__)

# Rectangle of a light: top, left, bottom, right; see `napari_darkdeblur.psf.from_points`.
Rectangle = tuple[float, float, float, float]
# So many pixels with the greatest value of all are no chance: the camera cut them off.
_CUT_OFF = 4
# Share of white that the brightest light is taken for, if the camera did not cut it off.
_BRIGHTEST = 0.9


@dataclass(frozen=True)
class Searching:
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
    """

    status: Literal["done", "cancelled", "failed"]
    text: str
    psf: PSF | None = None
    used: bool = False


KernelJob = Generator[Preparing | Searching, None, KernelFound]


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
    Preparing or Searching
        How it goes.

    Returns
    -------
    KernelFound
        Nothing is raised.
    """

    def find() -> KernelJob:
        source, options = yield from prepared(spec, stop)
        from ...restore import PSFSearch, find_psf

        for event in find_psf(source, options, stop=stop):
            if isinstance(event, PSFSearch):
                yield Searching(event.fraction)
            else:
                found = event
        return found_text(found.psf, found.confident, found.description)

    return (yield from _guarded(find, spec.name))


def found_text(psf: PSF | None, confident: bool, description: str) -> KernelFound:
    """Return the outcome of a search, as the engine describes it, with what follows from it."""
    follows = "used" if confident else "restored without"
    return KernelFound("done", f"{description}; {follows}.", psf, confident)


def kernel_of_lights(
    spec: JobSpec, plane: int, rectangles: Sequence[Rectangle], stop: threading.Event
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
        _, options = yield from prepared(spec, stop)
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
    view: ImageView, spec: JobSpec, plane: int, rectangles: Sequence[Rectangle]
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
