"""Where a network contradicts itself: the spread over flips and rotations.

The network has no reason to restore a scene in another way when the picture is turned by 90
degrees or mirrored. Where it does, its result rests on less than it seems to. Restoring all eight
versions of a picture and turning the results back gives eight opinions on each pixel; their
standard deviation is the spread, and their mean a result of its own, often slightly better than
each (the geometric self-ensemble of Lim et al. 2017; as a measure of uncertainty: Wang et al.
2019, test-time augmentation).

What the spread does not say: how large the error is. It finds what the network is unsure of, such
as the direction of a blur, texture made of noise, or the picture's border. A network that is
wrong in the same way in all eight versions has no spread at all, nor have places where all eight
results are cut off at black or at white. So much spread is a warning, little is no proof.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import DarkDeblurError, StoppedError
from ..psf.kernel import PSF
from .engine import restore
from .events import (
    Event,
    Finished,
    ModelReady,
    PlaneDone,
    PSFFound,
    PSFSearch,
    RemainingTime,
    Result,
    Retried,
    TileDone,
)
from .image.axes import Axes, resolve
from .image.pixels import PixelArray
from .image.ranges import depends_on_values
from .image.view import ImageView
from .options import RestoreOptions
from .psfs import AnyPSF, GivenPSF, Light, is_linear_light, psf_of_plane, turned_psf

_log = logging.getLogger(__name__)

_WHOLE = slice(None)


@dataclass(frozen=True)
class UncertaintyResult(Result):
    """How it ended, and the spread if it is done.

    Parameters
    ----------
    spread : ndarray of float32, optional
        (H, W): standard deviation over the eight restored versions (they are all there are, so
        it is divided by 8), the mean over the colours, in units of the value range: 0.01 is a
        hundredth of the way from black to white. NaN where the image is NaN or infinite.
    mean : ndarray, optional
        The mean of the eight, with dtype and axes of the region as it lies in the array. Alpha
        and what is not finite are as in the image.
    """

    spread: NDArray[np.float32] | None = field(default=None, compare=False)
    mean: NDArray[Any] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class _Orientation:
    """One of the eight ways to lay a picture."""

    quarter_turns: int
    mirrored: bool

    def of(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return a view of (H, W, C) that is laid like this."""
        return np.rot90(pixels[:, ::-1] if self.mirrored else pixels, self.quarter_turns)

    def undone(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return a view that is laid as before; the inverse of `of`."""
        upright = np.rot90(pixels, -self.quarter_turns)
        return upright[:, ::-1] if self.mirrored else upright

    def __str__(self) -> str:
        return f"{'mirrored, ' if self.mirrored else ''}turned by {90 * self.quarter_turns}°"


ORIENTATIONS = tuple(
    _Orientation(turns, mirrored) for mirrored in (False, True) for turns in range(4)
)


def uncertainty(
    array: PixelArray,
    options: RestoreOptions | None = None,
    *,
    plane: int = 0,
    rows: slice = _WHOLE,
    columns: slice = _WHOLE,
    stop: threading.Event | None = None,
) -> Generator[Event, None, UncertaintyResult]:
    """Restore the eight flips and rotations of a picture and tell how much they differ.

    Parameters
    ----------
    array : PixelArray
        As in `restore`. Only the region is read; all of the array if its value range is to be
        found.
    options : RestoreOptions, optional
        How. A value range that follows from the values is that of the whole array, so that
        planes can be compared with each other and with what `restore` makes of them; give
        (black, white) where it is known already.
    plane : int
        Which of the array's planes; see `Axes.coordinates`.
    rows, columns : slice
        The region of the plane, without a step. It is restored like an image of its own.
    stop : threading.Event, optional
        When it is set, the work ends after the tile at hand.

    Yields
    ------
    Event
        As in `restore`; the eight versions count as planes.

    Returns
    -------
    UncertaintyResult
        Done, cancelled, or failed with a sentence for the user. Nothing is raised. Memory in
        use besides what restoring takes: about six float32 values for each value of the region.
    """
    options = options or RestoreOptions()
    stop = stop or threading.Event()
    started = time.perf_counter()
    ended = Result("failed")
    spread = mean = None
    try:
        region = _SelfEnsemble(array, options, plane, rows, columns, stop)
        ended = yield from _restore_versions(region, options, stop)
        if ended.status == "done":
            spread, mean = region.spread(), region.mean()
    except StoppedError:
        ended = Result("cancelled", "Restoring was cancelled.")
    except DarkDeblurError as error:
        ended = Result("failed", str(error), error=error)
    except Exception as error:
        # Of the array, which may be a file or a computation, or for want of memory.
        _log.debug("Finding the uncertainty failed", exc_info=True)
        what = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".:")
        ended = Result("failed", f"The uncertainty was not found: {what}.", error=error)
    known = {each.name: getattr(ended, each.name) for each in dataclasses.fields(ended)}
    known |= {"seconds": time.perf_counter() - started, "planes_done": int(mean is not None)}
    result = UncertaintyResult(**known, spread=spread, mean=mean)
    yield Finished(result)
    return result


class _SelfEnsemble:
    """A region of a plane, and the mean and spread of its restored versions (Welford 1962).

    Parameters
    ----------
    array, options, plane, rows, columns, stop
        See `uncertainty`.
    """

    def __init__(
        self,
        array: PixelArray,
        options: RestoreOptions,
        plane: int,
        rows: slice,
        columns: slice,
        stop: threading.Event,
    ) -> None:
        if options.axes is None:
            self._axes = Axes.guess(array.shape)
        else:
            self._axes = Axes.parse(options.axes, array.shape)
        self._block = np.asarray(array[self._axes.index(plane, rows, columns)])
        colours = self._axes.to_hwc(self._block)[..., :3]
        # The range of the whole array, where it depends on that.
        whole = depends_on_values(options.value_range)
        view = ImageView(
            array if whole else colours,
            self._axes.letters if whole else "YXS",
            options.value_range,
            full_scale=options.full_scale,
            stop=stop,
        )
        self.black, self.white = view.black, view.white
        linear_light, _ = is_linear_light(options.light, self._axes.colour, self._block.dtype)
        self.light: Light = "srgb" if linear_light else "linear"
        self.psf = self._own_psf(options.known_psf, plane, rows, columns)
        # Floats, so that no result is rounded: of a dark image rounding could be all the spread.
        precise = np.float64 if self._block.dtype.itemsize == 8 else np.float32
        with np.errstate(invalid="ignore"):
            self.pixels = colours.astype(precise)
        self._count = 0
        self._mean = np.zeros_like(self.pixels)
        self._squares = np.zeros_like(self.pixels)

    def _own_psf(
        self, psf: GivenPSF, plane: int, rows: slice, columns: slice
    ) -> AnyPSF | Literal["auto", "auto-grid"] | None:
        """Return the region's blur, or how to find it."""
        if psf is None or isinstance(psf, PSF):
            return psf
        if isinstance(psf, str):
            return "auto-grid" if psf == "auto-grid" else "auto"  # of a single plane, once
        own = psf_of_plane(psf, plane, self._axes.plane_count)
        if isinstance(own, PSF):
            return own
        height, width = self._axes.height, self._axes.width
        down, across = resolve(rows, height), resolve(columns, width)
        return own.part(
            (down.start / height, down.stop / height), (across.start / width, across.stop / width)
        )

    def add(self, restored: NDArray[Any]) -> None:
        """Take in a restored version, (H, W, C); it is used up."""
        self._count += 1
        with np.errstate(invalid="ignore"):  # infinity less infinity is not a number
            difference = restored - self._mean
            self._mean += difference / self._count
            restored -= self._mean
            difference *= restored
        self._squares += difference

    def spread(self) -> NDArray[np.float32]:
        """Return the standard deviation, see `UncertaintyResult`."""
        deviation = np.sqrt(self._squares / self._count).mean(axis=2)
        result: NDArray[np.float32] = (deviation / (self.white - self.black)).astype(np.float32)
        return result

    def mean(self) -> NDArray[Any]:
        """Return the mean, see `UncertaintyResult`."""
        dtype = self._block.dtype
        limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
        values = self._mean if dtype.kind == "f" else np.rint(self._mean)
        result = self._block.copy()
        colours = self._axes.to_hwc(result)[..., :3]  # a view
        np.copyto(
            colours,
            np.clip(values, limits.min, limits.max),
            casting="unsafe",
            where=np.isfinite(self.pixels),
        )
        return result


def _restore_versions(
    region: _SelfEnsemble, options: RestoreOptions, stop: threading.Event
) -> Generator[Event, None, Result]:
    """Restore all versions, one after the other; return how the last one ended."""
    options = dataclasses.replace(
        options, axes="YXS", value_range=(region.black, region.white), light=region.light
    )
    psf = region.psf
    known = None if isinstance(psf, str) else psf
    clock = RemainingTime()
    count = len(ORIENTATIONS)
    ended = Result("failed")
    for number, version in enumerate(ORIENTATIONS):
        picture = version.of(region.pixels)
        output = np.empty(picture.shape, picture.dtype)
        if psf is not None and not isinstance(psf, str):
            options = dataclasses.replace(options, psf=turned_psf(psf, version.of))
        else:
            options = dataclasses.replace(options, psf=psf)
        for event in restore(picture, output, options, stop=stop):
            if isinstance(event, Finished):
                ended = event.result
            elif isinstance(event, ModelReady):
                if number == 0:
                    clock = RemainingTime()
                    yield dataclasses.replace(event, planes=count)
            elif isinstance(event, TileDone):
                fraction = (number + event.fraction) / count
                yield dataclasses.replace(
                    event,
                    plane=number,
                    planes=count,
                    fraction=fraction,
                    seconds_left=clock.seconds_left(fraction),
                )
            elif isinstance(event, (PSFSearch, PSFFound)):
                yield event
            elif isinstance(event, Retried):
                clock.restart()
                yield dataclasses.replace(event, plane=number)
            elif isinstance(event, PlaneDone):
                yield PlaneDone(number, count, str(version))
        if ended.status != "done":
            break
        if isinstance(psf, str):  # the other versions have the same blur, turned
            assert not isinstance(ended.psf, tuple)
            psf = known = ended.psf
        ended = dataclasses.replace(ended, psf=known)
        region.add(version.undone(output))
    return ended
