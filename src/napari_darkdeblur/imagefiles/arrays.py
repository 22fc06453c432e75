"""Arrays that lie in a file and are read and written in parts.

With ordinary reads and writes, not by mapping the file into memory: a full disk is then an
error that can be told, where a mapping would kill the process, and the file's pages do not
count as the process's memory.

tifffile's own `aszarr` does less well here. Read in tiles of 512 pixels with their halos, three
compressed pages of 2048 × 2048 uint16 take 0.12 s of processor time with `PagedArray` and 0.5 s
(in tiles) to 1.3 s (in one strip) through zarr, 1.5 s through dask: both decode a piece anew for
each tile that needs it. An uncompressed page is a single chunk there, so it would have to fit in
memory as a whole.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .problems import not_written, reading

# Rows that lie closer together than this are read in one piece with what is between them.
SPAN = 1 << 20  # bytes


def ranges_of(key: Any, shape: Sequence[int]) -> tuple[tuple[range, ...], tuple[int, ...]]:
    """Return what an index of ints and slices selects along each axis.

    Parameters
    ----------
    key : int, slice, ellipsis or tuple of these
        What stands between the brackets.
    shape : sequence of int
        Shape of the array that is indexed.

    Returns
    -------
    ranges : tuple of range
        The positions along each axis.
    result_shape : tuple of int
        What numpy would return: axes with an int are gone.

    Raises
    ------
    IndexError
        The index is outside the array, has too many items or negative steps, or is of
        another kind.
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    dots = [i for i, part in enumerate(parts) if part is Ellipsis]
    if not dots:
        dots = [len(parts)]
        parts.append(Ellipsis)
    missing = len(shape) - (len(parts) - 1)
    if len(dots) > 1 or missing < 0:
        raise IndexError(f"The index {key} has too many items for an array of shape {shape}.")
    parts[dots[0] : dots[0] + 1] = [slice(None)] * missing
    ranges = []
    result_shape = []
    for part, size in zip(parts, shape, strict=True):
        if isinstance(part, slice):
            selected = range(size)[part]
            if selected.step < 0:
                raise IndexError("Arrays in files cannot be indexed with negative steps.")
            result_shape.append(len(selected))
        else:
            if isinstance(part, (bool, np.bool_)) or not hasattr(part, "__index__"):
                raise IndexError(f"Arrays in files take ints and slices, not {part!r}.")
            position = operator.index(part)
            if not -size <= position < size:
                raise IndexError(f"The index {position} is outside an axis of {size}.")
            position %= size
            selected = range(position, position + 1)
        ranges.append(selected)
    return tuple(ranges), tuple(result_shape)


class _LazyArray:
    """What arrays in files have in common: shape and dtype, and what numpy makes of them."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype.newbyteorder("=")
        self.ndim = len(shape)
        self.size = math.prod(shape)
        self.nbytes = self.size * dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        raise NotImplementedError


class FileArray(_LazyArray):
    """An array whose values lie one after the other in a file.

    It can be used from several threads.

    Parameters
    ----------
    path : pathlib.Path
        What to call the file in errors.
    file : binary file
        Open for reading, and for writing if values are assigned; unbuffered. Whoever opened
        it closes it.
    shape : tuple of int
        Shape of the array.
    dtype : numpy.dtype
        Of the values in the file, with their byte order.
    offset : int
        Where in the file they begin, in bytes.

    Raises
    ------
    ImageFileError
        On access: the file cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        file: BinaryIO,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        offset: int = 0,
    ) -> None:
        super().__init__(shape, dtype)
        self._path = path
        self._file = file
        self._stored = dtype
        self._offset = offset
        self._lock = Lock()

    def reshape(self, shape: tuple[int, ...]) -> FileArray:
        """Return the same values as an array of another shape."""
        return FileArray(self._path, self._file, shape, self._stored, self._offset)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        ranges, shape = ranges_of(key, self.shape)
        result = np.empty([len(selected) for selected in ranges], self._stored)
        with reading(self._path):
            for index, start, strides, length in self._blocks(ranges):
                part = result[(*index, ...)]
                if length == part.nbytes:  # without gaps: straight to where it belongs
                    self._read(start, part.reshape(-1).view(np.uint8))
                else:
                    span = np.empty(length, np.uint8)
                    self._read(start, span)
                    part[...] = np.ndarray(part.shape, self._stored, span.data, 0, strides)
        if not self._stored.isnative:
            result = result.byteswap(inplace=True).view(self.dtype)
        return result.reshape(shape)

    def __setitem__(self, key: Any, value: Any) -> None:
        ranges, shape = ranges_of(key, self.shape)
        # An int fits or is refused; of an array, the dtype must.
        value = np.asarray(value, self.dtype if isinstance(value, int) else None)
        if not np.can_cast(value.dtype, self.dtype, "same_kind"):
            raise TypeError(f"{value.dtype} values cannot be written as {self.dtype}.")
        value = np.broadcast_to(value, shape).reshape([len(selected) for selected in ranges])
        try:
            for index, start, strides, length in self._blocks(ranges):
                part = value[(*index, ...)]
                if length == part.size * self._stored.itemsize:
                    part = np.ascontiguousarray(part, self._stored)
                    self.write_bytes(start, part.reshape(-1).view(np.uint8))
                else:
                    # What lies between the values stays as it is.
                    span = np.zeros(length, np.uint8)
                    self._read(start, span)
                    np.ndarray(part.shape, self._stored, span.data, 0, strides)[...] = part
                    self.write_bytes(start, span)
        except OSError as error:
            raise not_written(self._path, error) from error

    def _blocks(
        self, ranges: tuple[range, ...]
    ) -> Iterator[tuple[tuple[Any, ...], int, tuple[int, ...], int]]:
        """Yield pieces of the file that are read or written at once: index, start, strides, length.

        The index says where along the result's first axes the piece belongs, start and length
        (bytes) where it is in the file, and strides how the result's other axes lie in it.
        """
        if not all(ranges):
            return
        itemsize = self._stored.itemsize
        steps = [itemsize * math.prod(self.shape[axis + 1 :]) for axis in range(self.ndim)]
        strides = [step * selected.step for step, selected in zip(steps, ranges, strict=True)]
        for leading in range(self.ndim + 1):
            inner = ranges[leading:]
            length = itemsize + sum(
                (len(selected) - 1) * stride
                for selected, stride in zip(inner, strides[leading:], strict=True)
            )
            if length <= SPAN or length == itemsize * math.prod(map(len, inner)):
                break
        first = self._offset + sum(
            selected.start * step for selected, step in zip(inner, steps[leading:], strict=True)
        )
        inner_strides = tuple(strides[leading:])
        for index in itertools.product(*(range(len(selected)) for selected in ranges[:leading])):
            start = first + sum(
                selected[i] * step
                for selected, i, step in zip(ranges[:leading], index, steps, strict=False)
            )
            yield index, start, inner_strides, length

    def _read(self, start: int, into: NDArray[np.uint8]) -> None:
        with self._lock:
            self._file.seek(start)
            done = 0
            while done < into.size:
                count = self._file.readinto(into[done:].data)  # type: ignore[attr-defined]
                if not count:
                    raise EOFError("the file ends within the image")
                done += count

    def write_bytes(self, start: int, data: NDArray[np.uint8]) -> None:
        """Write bytes from a place of the file on."""
        with self._lock:
            self._file.seek(start)
            done = 0
            while done < data.size:
                done += self._file.write(data[done:].data)


class PagedArray(_LazyArray):
    """An array of pages, each of which is decoded when something of it is wanted.

    The pages used last are kept: parts of an image are mostly wanted one after the other.
    It can be used from several threads.

    Parameters
    ----------
    path : pathlib.Path
        What to call the file in errors.
    shape : tuple of int
        Of the array: axes of pages first, then those of a page.
    page_ndim : int
        How many axes a page has.
    dtype : numpy.dtype
        Dtype of the values.
    decode : callable
        Gets a page's number and returns it as an ndarray or `FileArray`.
    keep : int
        Number of decoded pages that are kept.

    Raises
    ------
    ImageFileError
        On access: the file is damaged.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        page_ndim: int,
        dtype: np.dtype[Any],
        decode: Callable[[int], NDArray[Any] | FileArray],
        keep: int = 2,
    ) -> None:
        super().__init__(shape, dtype)
        self._path = path
        self._leading = len(shape) - page_ndim
        self._decode = decode
        self._keep = keep
        self._pages: dict[int, NDArray[Any] | FileArray] = {}
        self._lock = Lock()

    def __getitem__(self, key: Any) -> NDArray[Any]:
        ranges, shape = ranges_of(key, self.shape)
        result = np.empty([len(selected) for selected in ranges], self.dtype)
        leading, within = ranges[: self._leading], ranges[self._leading :]
        if result.size:
            inside = tuple(slice(part.start, part.stop, part.step) for part in within)
            sizes = self.shape[: self._leading]
            # Which page is at which place of the result.
            numbers = np.arange(math.prod(sizes)).reshape(sizes)[np.ix_(*leading)]
            for index, number in np.ndenumerate(numbers):
                with self._lock, reading(self._path):
                    place: tuple[Any, ...] = (*index, ...)
                    result[place] = self._page(int(number))[inside]
        return result.reshape(shape)

    def _page(self, number: int) -> NDArray[Any] | FileArray:
        if number not in self._pages:
            while len(self._pages) >= self._keep:
                # First, since the next one may use its place.
                del self._pages[next(iter(self._pages))]
            self._pages[number] = self._decode(number)
        return self._pages[number]
