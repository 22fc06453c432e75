"""Restoring images of any size, dtype and number of axes.

`restore` is what the plugin, the command line and `deblur` have in common: an iterator of events
that ends with a result and does not raise.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DarkDeblurError, StoppedError
from ..imagefiles import open_image
from ..network import AUTO_MODEL, LoadedModel
from .events import Event, Finished, ModelReady, Result, Retried
from .image.axes import Axes
from .image.pixels import PixelArray, check_dtype
from .image.plane_io import Output
from .image.view import ImageView
from .job import Job, OutOfMemoryError, plan_for, planned_kernel
from .options import RestoreOptions
from .psfs import takes_guides
from .tiling.plan import Plan

_log = logging.getLogger(__name__)


class NonFiniteWarning(UserWarning):
    """The image has values that are NaN or infinite; they were left as they are."""


def restore(
    array: PixelArray | ImageView,
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
        ``dtype`` and slicing. Planes and tiles are read as they are needed. An `ImageView` has
        looked at the values already; axes and value range are then those of the view.
    output : Output
        Of the same shape and dtype; planes and tiles are written as they are done. It must not
        be the input.
    options : RestoreOptions, optional
        Restoration options; defaults if omitted.
    stop : threading.Event, optional
        When it is set, restoring ends after the tile at hand.

    Yields
    ------
    Event
        `PSFSearch` and `PSFFound` first, if a kernel is to be found, then `ModelReady`;
        `Finished` last.

    Returns
    -------
    Result
        Done, cancelled, or failed with a sentence for the user. Nothing is raised; unless it is
        done, the output is incomplete and should be thrown away.
    """
    job = Job(array, output, options or RestoreOptions(), stop or threading.Event())
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
    image: PixelArray | str | os.PathLike[str],
    model: str | os.PathLike[str] | LoadedModel = AUTO_MODEL,
    device: str = "auto",
    **options: Any,
) -> NDArray[Any]:
    """Remove motion blur and noise from an image or a stack of images.

    Which values were taken for black and white, and for which axes the array's were taken,
    goes to the logger ``napari_darkdeblur``: as a warning where it was guessed.

    Parameters
    ----------
    image : array-like, or str or path-like
        Grey, RGB or RGBA (alpha is kept), with any further axes, of which every plane is
        restored on its own; integers, float16, float32 or float64; any height and width from 1.
        It is not changed. A text or path names an image file, which is read; what it says
        about its axes and its full scale holds where nothing else is given.
    model, device
        See `RestoreOptions`.
    **options
        The other fields of `RestoreOptions`: ``axes="TYX"``, ``value_range=(0, 4095)``,
        ``psf="auto"``, ``light="linear"``, ``tiling="exact"`` and so on.

    Returns
    -------
    ndarray
        Of the image's shape and dtype. Values that were NaN or infinite still are.

    Raises
    ------
    PixelError
        The image's shape, axes, dtype or values cannot be restored.
    ImageFileError
        The file cannot be read.
    DeviceError
        There is no such device, or not with this precision.
    FileNotFoundError, WeightsError
        The model cannot be loaded.
    PSFError
        The PSF is none, or the model cannot use one.
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
    >>> restored = napari_darkdeblur.deblur(photograph, psf="auto")  # doctest: +SKIP
    >>> restored = napari_darkdeblur.deblur(scan, psf="motion:24,90")  # doctest: +SKIP
    """
    if isinstance(image, (str, os.PathLike)):
        with open_image(image) as file:
            for name, said in file.as_options().items():
                if options.get(name) is None:
                    options[name] = said
            return deblur(file.pixels, model, device, **options)
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
    job = Job(image, output, RestoreOptions(model, device, **options), threading.Event())
    try:
        for event in job.run():
            if isinstance(event, Retried):
                _log.warning(event.reason)
            elif isinstance(event, ModelReady):
                _tell_guesses(job)
    finally:
        job.free()
    view = job.view
    if view.nonfinite:
        warnings.warn(
            f"{view.nonfinite_count} of the image's values are NaN or infinite; they were left "
            "as they are, and the network saw their nearest finite neighbours instead.",
            NonFiniteWarning,
            stacklevel=2,
        )
    return output


def _tell_guesses(job: Job) -> None:
    """Log which values were taken for black and white, and which axes if they were guessed."""
    view = job.view
    if view.note_of_axes:
        _log.warning(view.note_of_axes)
    _log.log(logging.WARNING if view.range_guessed else logging.INFO, view.range_text)


def estimate(
    shape: tuple[int, ...], dtype: Any, options: RestoreOptions | None = None
) -> tuple[Plan, int]:
    """Return how an image would be restored, without doing it.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image.
    dtype : dtype-like
        Data type of the image's pixels.
    options : RestoreOptions, optional
        Restoration options; defaults if omitted.

    Returns
    -------
    plan : Plan
        For each plane, with the predicted peak of memory, output included, and time.
    planes : int
        Number of planes of the image.

    Raises
    ------
    AxesError, BudgetError, DeviceError, FileNotFoundError, WeightsError
        As in `deblur`.
    """
    options = options or RestoreOptions()
    axes = Axes.parse(options.axes, shape) if options.axes else Axes.guess(shape)
    loaded = options.load_model(axes.pixel_count)
    reserved = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    kernel = planned_kernel(options.known_psf) if takes_guides(loaded.config) else (None, 1)
    plan = plan_for(loaded, axes.height, axes.width, options, reserved, *kernel)
    return plan, axes.plane_count


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
