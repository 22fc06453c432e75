"""Two aligned images as one: up to an edge the one, from it on the other.

Nothing is copied but what is asked for. napari indexes a layer's array with the plane (and, of a
multiscale layer, the level and the field) that is on screen; a `CurtainArray` reads just that of
both images and joins it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ...restore.image.pixels import PixelArray


class Lattice(NamedTuple):
    """How the pixels of the inset meet those of the frame, along one axis.

    The frame's pixel ``start + k`` shows the inset's pixel ``first + k * step``, for ``k`` from 0
    up to ``length``.
    """

    start: int
    first: int
    step: int
    length: int

    @classmethod
    def of(cls, offset: int, length: int, frame_factor: float, inset_factor: float) -> Lattice:
        """Return how two levels of resolution meet.

        Parameters
        ----------
        offset : int
            Where the inset's first pixel lies in the frame, at full resolution.
        length : int
            Pixels of the inset's level.
        frame_factor, inset_factor : float
            Pixels of full resolution in one of the level's.
        """
        step = max(1, round(frame_factor / inset_factor))
        start = math.ceil(offset / frame_factor)
        first = max(0, round((start * frame_factor - offset) / inset_factor))
        return cls(start, first, step, max(0, -(-(length - first) // step)))

    def meet(self, part: int | range) -> tuple[range, int | slice] | None:
        """Return what of a part of the frame's axis shows which part of the inset's.

        Parameters
        ----------
        part : int or range
            Pixels of the frame's axis.

        Returns
        -------
        shown : range
            Which of them, counted from the part's first.
        read : int or slice
            The inset's pixels; None in place of the pair if there are none.
        """
        if isinstance(part, int):
            met = self.meet(range(part, part + 1))
            return met and (met[0], self.first + (part - self.start) * self.step)
        shown = range(
            max(0, first_from(self.start, part)),
            min(len(part), first_from(self.start + self.length, part)),
        )
        if not shown:
            return None
        step = part.step * self.step
        first = self.first + (part[shown.start] - self.start) * self.step
        return shown, slice(first, first + (len(shown) - 1) * step + 1, step)


def first_from(position: int, part: range) -> int:
    """Return which element of a range is the first from a position on."""
    return -((part.start - position) // part.step)


# The most that is kept of what was read of one lazy array, and in how many blocks: the field on
# screen and the thumbnail. Larger fields are read again whenever the edge moves.
_KEPT_BYTES = 512 * 2**20
_KEPT_BLOCKS = 2
# A 2D multiscale layer keeps what it first read of its coarsest level: the edge would stand still
# there. So a coarsest level is added that is too small, in pixels, to be looked at.
_THUMBNAIL = 64


@dataclass
class Edge:
    """Where the one image ends and the other begins. All levels of a curtain share it.

    Parameters
    ----------
    axis : int
        The axis that it divides.
    position : int
        The first pixel along that axis, at full resolution, that is behind the edge.
    inset_first : bool
        Whether the inset is shown before the edge; else it is shown behind it.
    """

    axis: int
    position: int
    inset_first: bool


class CachedArray:
    """Reads an array, and keeps what it last read if that may have been costly.

    Parameters
    ----------
    array : PixelArray
        Array of any kind: numpy, dask, zarr. One whose pixels may change has a ``strength``, as
        `MixedArray` has: what was read at another one is not taken for it.
    """

    def __init__(self, array: PixelArray) -> None:
        self.array = array
        self._kept: OrderedDict[tuple[Any, ...], NDArray[Any]] = OrderedDict()

    def read(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Return a part of the array, which is not to be written to."""
        if isinstance(self.array, np.ndarray):
            return np.asarray(self.array[index])
        parts = (
            (part.start, part.stop, part.step) if isinstance(part, slice) else part
            for part in index
        )
        key = (getattr(self.array, "strength", None), *parts)
        block = self._kept.pop(key, None)
        if block is None:
            block = np.asarray(self.array[index])
        if block.nbytes <= _KEPT_BYTES:
            self._kept[key] = block
            if len(self._kept) > _KEPT_BLOCKS:
                self._kept.popitem(last=False)
        return block


class CurtainArray:
    """An array that is joined of two when it is read.

    The frame gives the shape; the inset is shown where it has pixels, on its side of the edge.
    Indexing gives another such array, as lazy as the first; ``numpy.asarray`` reads it.

    Parameters
    ----------
    frame : CachedArray
        The image that is shown wherever the inset is not.
    inset : CachedArray
        The other image, with as many axes.
    lattices : sequence of Lattice
        How the inset lies in the frame, along each axis but colour.
    factors : sequence of float
        Pixels of full resolution in one of the frame's, along each axis but colour.
    edge : Edge
        Where the curtain hangs. It may be changed at any time.
    """

    def __init__(
        self,
        frame: CachedArray,
        inset: CachedArray,
        lattices: Sequence[Lattice],
        factors: Sequence[float],
        edge: Edge,
    ) -> None:
        self._frame = frame
        self._inset = inset
        self._lattices = tuple(lattices)
        self._factors = factors
        self._edge = edge
        lengths = list(frame.array.shape)
        dtypes = [np.dtype(source.array.dtype) for source in (frame, inset)]
        self.dtype: np.dtype[Any] = np.result_type(*dtypes)
        # Colours of different types are joined as they are shown: black is 0 and white is 1.
        self._as_shown = len(lengths) > len(lattices) and dtypes[0] != dtypes[1]
        if self._as_shown:
            self.dtype = np.dtype(np.float32)
        if len(lengths) > len(lattices):
            channels = min(lengths[-1], inset.array.shape[-1])  # alpha only if both have it
            self._lattices += (Lattice(0, 0, 1, channels),)
            lengths[-1] = channels
        self._index: tuple[int | range, ...] = tuple(range(length) for length in lengths)

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return tuple(len(part) for part in self._index if isinstance(part, range))

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    def __getitem__(self, index: Any) -> CurtainArray:
        """Return a part; nothing is read. Takes integers, and slices with positive steps."""
        asked = list(index) if isinstance(index, tuple) else [index]
        if Ellipsis in asked:
            where = asked.index(Ellipsis)
            asked[where : where + 1] = [slice(None)] * (self.ndim - len(asked) + 1)
        wanted = iter(asked + [slice(None)] * (self.ndim - len(asked)))
        part = object.__new__(type(self))
        part.__dict__.update(self.__dict__)
        part._index = tuple(
            have[next(wanted)] if isinstance(have, range) else have for have in self._index
        )
        return part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read both images and join them."""
        joined = self._converted(self._read_frame())
        met = self._met()
        if met is not None:
            self._show_inset(joined, met)
        return joined if dtype is None else joined.astype(dtype, copy=False)

    def _read_frame(self) -> NDArray[Any]:
        """Read what the frame has of this part."""
        return self._frame.read(
            tuple(
                part if isinstance(part, int) else slice(part.start, part.stop, part.step)
                for part in self._index
            )
        )

    def _met(self) -> list[tuple[range, int | slice]] | None:
        """Return where the inset is shown in this part, and what of it; None if nowhere."""
        met = [
            lattice.meet(part) for lattice, part in zip(self._lattices, self._index, strict=True)
        ]
        pairs = [pair for pair in met if pair]
        return pairs if len(pairs) == len(met) else None

    def _show_inset(self, joined: NDArray[Any], met: list[tuple[range, int | slice]]) -> None:
        """Write what the inset shows on its side of the edge."""
        # All of it is read, so that it need not be read again when the edge has moved.
        block = self._inset.read(tuple(read for _, read in met))
        position = round(self._edge.position / self._factors[self._edge.axis])
        here: list[slice] = []
        there: list[slice] = []
        for axis, (part, (shown, _)) in enumerate(zip(self._index, met, strict=True)):
            side = shown
            if axis == self._edge.axis:
                along = range(part, part + 1) if isinstance(part, int) else part
                count = min(max(first_from(position, along), shown.start), shown.stop)
                first = self._edge.inset_first
                side = range(shown.start, count) if first else range(count, shown.stop)
                if not side:
                    return
            if isinstance(part, range):
                here.append(slice(side.start, side.stop))
                there.append(slice(side.start - shown.start, side.stop - shown.start))
        joined[tuple(here)] = self._converted(block[tuple(there)])

    def _converted(self, block: NDArray[Any]) -> NDArray[Any]:
        """Return a copy in the dtype of both."""
        scale = 1.0
        if self._as_shown and block.dtype.kind in "ui":
            scale = 1.0 / np.iinfo(block.dtype).max
        converted = block.astype(self.dtype)
        return converted if scale == 1.0 else converted * np.float32(scale)


def join(
    frame: Sequence[PixelArray],
    inset: Sequence[PixelArray],
    offset: Sequence[int],
    edge: Edge,
    array_type: Callable[..., CurtainArray] = CurtainArray,
) -> list[CurtainArray]:
    """Return the levels of resolution of two images that hang on one edge.

    Parameters
    ----------
    frame, inset : sequence of PixelArray
        The levels of each image, the finest first; one for an image without levels.
    offset : sequence of int
        The frame's pixel of full resolution that the inset's first one lies on, along each axis
        but colour.
    edge : Edge
        Position of the edge, which may be changed later.
    array_type : callable
        Makes the array of each level, as `CurtainArray` does.

    Returns
    -------
    list of CurtainArray
        The frame's levels, the finest first. A level of the inset that is too fine is thinned
        out; a level of the frame that no level of the inset fits is left out.
    """
    insets = [(CachedArray(array), _factors(inset, array, len(offset))) for array in inset]
    levels = []
    for array in frame:
        factors = _factors(frame, array, len(offset))
        for source, finer in reversed(insets):
            if _fits(array.shape, factors, finer):
                lattices = [
                    Lattice.of(*along)
                    for along in zip(offset, source.array.shape, factors, finer, strict=False)
                ]
                levels.append(array_type(CachedArray(array), source, lattices, factors, edge))
                break
    if len(levels) > 1 and len(offset) == 2:
        # The frame alone: an inset without levels would be read from end to end for it.
        nowhere = [Lattice(0, 0, 1, 0)] * 2
        thumbnail = array_type(CachedArray(frame[-1]), insets[0][0], nowhere, (1, 1), edge)
        step = -(-max(thumbnail.shape[:2]) // _THUMBNAIL)
        levels.append(thumbnail[::step, ::step])
    return levels


def _factors(levels: Sequence[PixelArray], array: PixelArray, ndim: int) -> tuple[float, ...]:
    """Return how many pixels of the finest level one of a level's spans along each axis."""
    lengths = zip(levels[0].shape[:ndim], array.shape[:ndim], strict=True)
    return tuple(finest / length for finest, length in lengths)


def _fits(shape: Sequence[int], factors: Sequence[float], finer: Sequence[float]) -> bool:
    """Whether the pixels of a level are every second (third, ...) one of a finer level.

    Sizes that do not divide evenly make up to one pixel of difference at the far end.
    """
    for length, factor, fine in zip(shape, factors, finer, strict=False):
        step = round(factor / fine)
        if step < 1 or abs(factor / fine - step) * length > step:
            return False
    return True
