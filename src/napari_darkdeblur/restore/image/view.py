"""An image as the network takes it, plane by plane and region by region, and the way back.

The network takes three colour planes, float32, black 0 and white 1. An `ImageView` gives any
region of any plane like that, and turns the network's output for the region into pixels of
the array's dtype and layout. It holds no pixels: the array may be larger than memory. One
scale holds for the whole image, never one for each plane or region; so the planes of a stack
stay comparable, and a pixel comes out the same whatever regions are asked for.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped, unused-ignore]

from ...errors import StoppedError
from .axes import Axes, resolve
from .pixels import (
    Image,
    PixelArray,
    Planes,
    check_dtype,
)
from .ranges import ValueRange, choose_range, default_full_scale

_WHOLE = slice(None)
# How many values are read at a time in a scan: 16 MiB in double precision.
SCANNED_AT_ONCE = 2**21
# How many are converted at a time: few enough to stay in the processor's cache.
CONVERTED_AT_ONCE = 2**17
_MOST_PLANES_NAMED = 5


class ImageView:
    """An image's pixels, ready for the network.

    Parameters
    ----------
    array : PixelArray or array-like
        The pixels. What has no shape, dtype or ``[]`` is made a numpy array of. It is indexed
        by tuples of ints and slices only, one plane or less at a time, and never changed. It
        must not change while the view is in use.
    axes : str, optional
        The axes, such as ``"TZYX"`` (see `Axes`). Guessed from the shape if not given.
    value_range : {"auto", "dtype", "data", "percentile"} or tuple of float
        Which values are black and white.

        - ``"auto"``: the full scale of uint8, of floats (0 to 1), of colour images, and of what
          has another ``full_scale`` than its dtype, if the image lies within and uses at least
          5 % of it (between the 0.1 and 99.9 percentiles); otherwise ``"percentile"``. For a
          12-bit camera's values in uint16, or for floats in other units, it means nothing.
        - ``"dtype"``: the full scale. Values outside are an error.
        - ``"data"``: the least and the greatest finite value of the whole image.
        - ``"percentile"``: its 0.1 and 99.9 percentiles (see `value_statistics`), or
          the least and the greatest value where the percentiles are equal.
        - (black, white): these values.

        Alpha counts nowhere. Where all values are equal, and the range comes from them, white
        is more than black by one, or by as much as black if that is less (or is the next
        number that differs). Where no value is finite, black is 0 and white 1.
    full_scale : tuple of float, optional
        The values of black and white in the pixels' format, such as (0, 4095) for 12 bits in
        uint16. The default is 0 and the dtype's greatest value for integers (32767 for int16),
        0 and 1 for floats.
    stop : threading.Event, optional
        When it is set, a scan under way ends with `StoppedError`.

    Attributes
    ----------
    array : PixelArray
        Pixels of the image.
    axes : Axes
        Axes of the array.
    axes_guessed : bool
        Whether the axes were guessed.
    note_of_axes : str
        A sentence about the guess; empty if there was nothing to guess.
    dtype : numpy.dtype
        The pixels' dtype, in their byte order.
    black, white : float
        The values of black and white, in units of the pixels.
    range_text : str
        A sentence that says which values are black and white, and why.
    range_guessed : bool
        Whether ``"auto"`` took them from the image's values.
    extremes : tuple of float, optional
        The least and the greatest finite value of the image, if it was scanned.
    nonfinite : dict of int to int
        How many values are NaN or infinite, by plane, for the planes that have any.
    notes : list of str
        Sentences about what was guessed or is unusual, for the user.

    Raises
    ------
    AxesError
        The axes do not fit the image or cannot be guessed, or it has no pixels.
    ValueRangeError
        The value range is ``"dtype"`` and a finite value lies outside it.
    PixelError
        The dtype cannot be restored, or the value range is none of the above or wider than
        float64 can hold.
    StoppedError
        A scan was stopped.

    Notes
    -----
    All values are read once, in strips of 16 MiB, if the dtype is float or signed, or the range
    is not known otherwise. Of unsigned integers, for which only the use of a range is in
    question, as many are read as it takes to know. What lies outside black and white, the network
    sees cut off; it is added back to the result. So bright spots stay, and nothing wraps around.

    Of planes with values that are not finite, the last one asked for is kept in memory,
    filled: 4 bytes for each value, and some 20 bytes for each pixel while it is being filled.
    """

    def __init__(
        self,
        array: PixelArray,
        axes: str | None = None,
        value_range: ValueRange = "dtype",
        *,
        full_scale: tuple[float, float] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        if not all(hasattr(array, name) for name in ("shape", "dtype", "__getitem__")):
            array = np.asarray(array)
        self.array = array
        self.axes_guessed = axes is None
        self.axes = Axes.guess(array.shape) if axes is None else Axes.parse(axes, array.shape)
        self.dtype = check_dtype(array.dtype)
        self.notes: list[str] = []
        self._filled: tuple[int, Planes] | None = None
        self._stop = stop
        # A picture's two axes leave nothing to guess.
        guessed = self.axes_guessed and len(self.axes.shape) > 2
        self.note_of_axes = self._describe_axes() if guessed else ""
        if guessed:
            self.notes.append(self.note_of_axes)

        colours = 1 if self.axes.colour == "grey" else 3
        count = self.axes.pixel_count * colours
        full_scale = full_scale or default_full_scale(self.dtype, self.axes.colour)
        chosen = choose_range(self.strips, self.dtype, count, value_range, full_scale)
        self.black, self.white, self.range_text = chosen.black, chosen.white, chosen.text
        self.range_guessed = chosen.guessed
        self.extremes, self.nonfinite = chosen.extremes, chosen.nonfinite or {}
        if self.nonfinite:
            self.notes.append(self._note_of_nonfinite())
        self.notes.extend(chosen.notes)
        self._scale = self.white - self.black

    @property
    def plane_count(self) -> int:
        """How many planes there are, at least 1."""
        return self.axes.plane_count

    @property
    def height(self) -> int:
        """How many rows a plane has."""
        return self.axes.height

    @property
    def width(self) -> int:
        """How many columns a plane has."""
        return self.axes.width

    @property
    def nonfinite_count(self) -> int:
        """How many of the image's values, alpha aside, are NaN or infinite."""
        return sum(self.nonfinite.values())

    def describe(self, plane: int) -> str:
        """Return a plane's place for people (see `Axes.describe`)."""
        return self.axes.describe(plane)

    def read(self, plane: int, rows: slice = _WHOLE, columns: slice = _WHOLE) -> Planes:
        """Return a region of a plane as the network takes it.

        Grey is replicated. Values outside black and white are limited to them. NaN and
        infinity become the nearest finite value of the same channel and plane, black if there
        is none, so that they do not spread, nor make an edge where there is none.

        Parameters
        ----------
        plane : int
            From 0 to `plane_count` - 1, in the order of the array's axes.
        rows, columns : slice
            The region, without a step.

        Returns
        -------
        ndarray of float32
            (3, h, w), contiguous, black 0 and white 1. A pixel's values do not depend on the
            region.

        Raises
        ------
        IndexError
            There is no such plane.
        """
        colours = self._colours(self.axes.to_hwc(self._block(plane, rows, columns)))
        if self.dtype.kind == "f" and not np.isfinite(colours).all():
            # The nearest finite value may lie outside the region: only the plane knows.
            region = resolve(rows, self.height), resolve(columns, self.width)
            # A copy: the caller may change it, but not the plane that is kept.
            values = self._filled_plane(plane)[:, *region].copy()
        else:
            values = self._to_network(colours)
        return np.repeat(values, 3, axis=0) if len(values) == 1 else values

    def restored_block(
        self, plane: int, rows: slice, columns: slice, restored: NDArray[np.float32]
    ) -> Image:
        """Return the network's output for a region as pixels of the array.

        To each pixel is added what the network changed, between black and white, in the
        pixel's own units. So a network that changes nothing gives back every pixel exactly,
        and so much of a value as lies outside black and white stays. A change is as precise
        as float32 is between 0 and 1, even if the dtype is more so. Grey is the mean of the
        three planes. Integers are rounded to the nearest; results are limited to what the
        dtype holds. Alpha and values that are not finite stay as they are.

        Parameters
        ----------
        plane, rows, columns
            See `read`.
        restored : ndarray of float32
            (3, h, w), black 0 and white 1, finite.

        Returns
        -------
        ndarray
            A new array of the image's dtype and byte order, of the shape that
            ``array[axes.index(plane, rows, columns)]`` has.

        Raises
        ------
        IndexError
            There is no such plane.
        """
        block = self._block(plane, rows, columns)
        result = np.array(block, self.dtype, copy=True, order="C", subok=False)
        original = self._colours(self.axes.to_hwc(block))
        target = self._colours(self.axes.to_hwc(result))  # a view
        if self.axes.colour == "grey":
            # In double precision the mean of three equal numbers is that number.
            restored = restored.mean(axis=0, keepdims=True, dtype=np.float64)
        for strip in _strips_of(original.shape, CONVERTED_AT_ONCE):
            wanted = np.moveaxis(restored[:, strip], 0, -1)
            pixels = self._from_network(original[strip], wanted)
            if self.dtype.kind != "f" and self.dtype.itemsize == 8:
                target[strip] = _added(original[strip], pixels, self.black, self.white)
                continue
            finite = np.isfinite(original[strip])
            np.copyto(target[strip], pixels, casting="unsafe", where=finite)
        return result

    def _block(self, plane: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Read a region as it lies in the array."""
        return np.asarray(self.array[self.axes.index(plane, rows, columns)])

    def _colours(self, hwc: NDArray[Any]) -> NDArray[Any]:
        """Return a view (h, w, 1 or 3) without alpha."""
        return hwc[..., :3] if self.axes.colour == "rgba" else hwc

    def strips(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Read all values but alpha strip by strip, each as (plane, values of (h, w, C))."""
        return read_strips(self.array, self.axes, self._stop)

    def _unit(self, values: NDArray[np.float64]) -> Planes:
        """Return values of the array as the network sees them; NaN stays."""
        unit = np.clip(values, self.black, self.white)
        unit -= self.black
        unit /= self._scale
        return unit.astype(np.float32)

    def _to_network(self, colours: NDArray[Any]) -> Planes:
        """Return (h, w, C) as the network sees it, (C, h, w); NaN stays."""
        height, width, channels = colours.shape
        planes = np.empty((channels, height, width), np.float32)
        for strip in _strips_of(colours.shape, CONVERTED_AT_ONCE):
            planes[:, strip] = np.moveaxis(self._unit(_double(colours[strip])), -1, 0)
        return planes

    def _from_network(self, original: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.float64]:
        """Return the pixels' new values, within the dtype's limits; what is NaN stays.

        ``wanted`` is what the network wants them to be, black 0 and white 1.
        """
        values = _double(original)
        change = np.clip(wanted, 0, 1).astype(np.float64)
        # To what the network really saw, hence not in double precision.
        change -= self._unit(values)
        change *= self._scale
        low = np.minimum(values, self.black)
        high = np.maximum(values, self.white)
        with np.errstate(over="ignore"):
            values += change
        # Adding may overshoot by a rounding error.
        np.clip(values, low, high, out=values)
        if self.dtype.kind == "f":
            greatest = float(np.finfo(self.dtype).max)
            return np.clip(values, -greatest, greatest, out=values)
        limits = np.iinfo(self.dtype)
        np.rint(values, out=values)
        return np.clip(values, limits.min, limits.max, out=values)

    def _filled_plane(self, plane: int) -> Planes:
        """Return a whole plane as the network sees it, (C, H, W), with all values finite."""
        # One reference, read and replaced as a whole: threads may at worst fill a plane twice.
        kept = self._filled
        if kept is not None and kept[0] == plane:
            return kept[1]
        self._filled = None  # before the next one takes memory
        colours = self._colours(self.axes.to_hwc(self._block(plane, _WHOLE, _WHOLE)))
        filled = self._to_network(colours)
        for channel, values in enumerate(filled):
            _fill(values, ~np.isfinite(colours[..., channel]))
        self._filled = plane, filled
        return filled

    def _describe_axes(self) -> str:
        axes = self.axes
        colour = {"grey": "grey", "rgb": "RGB", "rgba": "RGBA"}[axes.colour]
        planes = f"{axes.plane_count} {colour} plane{'s' if axes.plane_count > 1 else ''}"
        return (
            f"The axes were not given, so shape {axes.shape} was taken for {axes.letters}: "
            f"{planes} of {axes.width} × {axes.height} pixels."
        )

    def _note_of_nonfinite(self) -> str:
        count = self.nonfinite_count
        where = ""
        if self.plane_count > 1:
            named = [f"({self.describe(plane)})" for plane in self.nonfinite]
            more = len(named) - _MOST_PLANES_NAMED
            if more > 0:
                named = [*named[:_MOST_PLANES_NAMED], f"{more} more"]
            where = f" in plane{'s' if len(named) > 1 else ''} {', '.join(named)}"
        if count == 1:
            return (
                f"1 of the image's values{where} is NaN or infinite; it was left as it is, and "
                "the network saw its nearest finite neighbour instead."
            )
        return (
            f"{count} of the image's values{where} are NaN or infinite; they were left as they "
            "are, and the network saw their nearest finite neighbours instead."
        )


def read_strips(
    array: PixelArray, axes: Axes, stop: threading.Event | None = None
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Read all values of an array but alpha strip by strip.

    Parameters
    ----------
    array : PixelArray
        Pixels of the image.
    axes : Axes
        Axes of the array.
    stop : threading.Event, optional
        When it is set, reading ends with `StoppedError`.

    Yields
    ------
    plane : int
        Index of the plane that the strip is part of.
    values : ndarray
        (h, w, channels without alpha).
    """
    for plane in range(axes.plane_count):
        for strip in _strips_of((axes.height, axes.width, axes.channels), SCANNED_AT_ONCE):
            if stop is not None and stop.is_set():
                raise StoppedError
            block = axes.to_hwc(np.asarray(array[axes.index(plane, strip, _WHOLE)]))
            yield plane, block[..., :3] if axes.colour == "rgba" else block


def _strips_of(shape: tuple[int, ...], most_values: int) -> Iterator[slice]:
    """Cut rows (of shape (h, w, C)) into strips of at most so many values, or one row."""
    height, width, channels = shape
    rows = max(1, most_values // max(1, width * channels))
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))


def _double(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return a copy in double precision, whose NaNs are such that computing may go on."""
    with np.errstate(invalid="ignore"):
        double = values.astype(np.float64)
    if values.dtype.kind == "f":
        # Some bit patterns of NaN make any arithmetic with them a warning.
        double[np.isnan(double)] = np.nan
    return double


def _added(
    original: NDArray[Any], pixels: NDArray[np.float64], black: float, white: float
) -> NDArray[Any]:
    """Return 64-bit integers changed to these values: exact where nothing changes.

    Double precision does not hold them, but their changes.
    """
    limits = np.iinfo(original.dtype)
    change = pixels - original.astype(np.float64)
    native = original.astype(original.dtype.newbyteorder("="))
    # Unsigned, both the distance to a limit and the sum are right, whatever the sign.
    bits = native.view(np.uint64)
    up = np.minimum(np.maximum(change, 0), 2.0**63).astype(np.uint64)
    down = np.minimum(np.maximum(-change, 0), 2.0**63).astype(np.uint64)
    up = np.minimum(up, np.uint64(limits.max % 2**64) - bits)
    down = np.minimum(down, bits - np.uint64(limits.min % 2**64))
    changed = (bits + up - down).view(native.dtype)
    # A great value's change is rounded in double precision, and may lead past black or white.
    lowest, highest = (
        native.dtype.type(min(max(bound, limits.min), limits.max))
        for bound in (math.ceil(black), math.floor(white))
    )
    limited: NDArray[Any] = np.clip(
        changed, np.minimum(native, lowest), np.maximum(native, highest)
    )
    return limited


def _fill(values: Planes, bad: NDArray[np.bool_]) -> None:
    """Replace bad values of a plane (H, W) by the nearest others, or by 0 if there are none."""
    if bad.all():
        values[:] = 0
    elif bad.any():
        nearest = ndimage.distance_transform_edt(bad, return_distances=False, return_indices=True)
        values[bad] = values[tuple(index[bad] for index in nearest)]
