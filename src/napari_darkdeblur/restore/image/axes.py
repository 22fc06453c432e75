"""What each axis of an array is, and where in the array a plane lies.

A plane is what the network restores at once: one grey, RGB or RGBA picture. All other axes
(channels that are not RGB, time, depth, ...) only count planes.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .pixels import ColourModel, PixelError

_COLOUR_OF_SAMPLES: dict[int, ColourModel] = {1: "grey", 3: "rgb", 4: "rgba"}
# Planes that are guessed are not narrower than this, if all else is so many times as long.
_NARROW = 32
_NARROW_RATIO = 4
# By the number of axes that are not colour.
_GUESS = {2: "YX", 3: "ZYX", 4: "TZYX", 5: "TCZYX"}
# With colour, C is taken, and time is what colour pictures are stacked along most.
_GUESS_COLOUR = {2: "YXC", 3: "TYXC", 4: "TZYXC"}


class AxesError(PixelError):
    """An array's axes are not given rightly or cannot be guessed; the message is one sentence."""


@dataclass(frozen=True)
class Axes:
    """The axes of an array, each named by a letter.

    Y and X are a picture's rows and columns. S (samples, as in tifffile), wherever it is, is
    the colour: its length is 1 (grey), 3 (RGB) or 4 (RGBA). So is C if there is no S and C is
    the last axis, right after Y and X, and its length is 1, 3 or 4. Every other letter, and C
    elsewhere or of another length, is an axis of planes.

    Parameters
    ----------
    letters : str
        One capital letter from A to Z for each axis, none of them twice, among them Y and X.
    shape : tuple of int
        The array's shape; all lengths are at least 1.

    Raises
    ------
    AxesError
        The letters are others, or as many as do not fit the shape, or S has another length,
        or a length is 0 or unknown.
    """

    letters: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        shape = _known(self.shape)
        object.__setattr__(self, "shape", shape)
        _check_letters(self.letters)
        if len(self.letters) != len(shape):
            raise AxesError(
                f"The axes {self.letters!r} name {len(self.letters)} axes, but the image has "
                f"shape {shape}, that is {len(shape)}; give one letter for each."
            )
        _check_not_empty(shape)
        if "S" in self.letters:
            samples = shape[self.letters.index("S")]
            if samples not in _COLOUR_OF_SAMPLES:
                raise AxesError(
                    f"Axis S of the image has length {samples}; samples are 1 (grey), 3 (RGB) or "
                    "4 (RGBA), so name the axis C to restore its channels one by one."
                )

    @classmethod
    def parse(cls, text: str, shape: Sequence[int]) -> Axes:
        """Return the axes that a text such as ``"TZYX"`` or ``"yxc"`` names.

        Parameters
        ----------
        text : str
            One letter for each axis, capital or small.
        shape : sequence of int
            Shape of the array.

        Raises
        ------
        AxesError
            See `Axes`.
        """
        return cls(text.strip().upper(), tuple(shape))

    @classmethod
    def guess(cls, shape: Sequence[int]) -> Axes:
        """Return the axes that an array of this shape most likely has.

        A last axis of length 1, 3 or 4 is taken for the colour, whatever the lengths of the
        others: pictures as narrow as that are rarer than colour. The rest is YX, ZYX, TZYX
        or TCZYX; with colour YXC, TYXC or TZYXC.

        Parameters
        ----------
        shape : sequence of int
            Shape of the array.

        Raises
        ------
        AxesError
            There are fewer than 2 axes or more than 5, or a length is 0 or unknown; or the
            planes would be so narrow that their short side is rather an axis of channels.
        """
        shape = _known(shape)
        if len(shape) < 2:
            raise AxesError(
                f"The image has shape {shape}; it takes at least two axes, rows and columns."
            )
        _check_not_empty(shape)
        colour = len(shape) > 2 and shape[-1] in _COLOUR_OF_SAMPLES
        letters = (_GUESS_COLOUR if colour else _GUESS).get(len(shape) - colour)
        if letters is None:
            raise AxesError(
                f"The image has shape {shape}, too many axes to guess what they are; name them, "
                "for instance axes='TCZYXS'."
            )
        guessed = cls(letters, shape)
        narrow = min(guessed.height, guessed.width)
        others = [max(guessed.height, guessed.width), *guessed.plane_shape[-1:]]
        if guessed.plane_shape and narrow < _NARROW and _NARROW_RATIO * narrow <= min(others):
            planes = f"{guessed.plane_count} planes of {guessed.width} × {guessed.height} pixels"
            example = letters[:-3] + ("YXC" if guessed.width == narrow else "YCX")
            raise AxesError(
                f"The image has shape {shape}, which would be {planes}; that is too narrow to be "
                f"guessed, so name the axes: axes={example!r} if the short one is channels, "
                f"axes={letters!r} if it is not."
            )
        return guessed

    @property
    def colour_letter(self) -> str | None:
        """The letter of the axis that is the colour, if one is."""
        if "S" in self.letters:
            return "S"
        after_picture = self.letters.endswith(("YXC", "XYC"))
        return "C" if after_picture and self.shape[-1] in _COLOUR_OF_SAMPLES else None

    @property
    def channels(self) -> int:
        """How many values a pixel has: 1, 3 or 4."""
        letter = self.colour_letter
        return 1 if letter is None else self._length(letter)

    @property
    def colour(self) -> ColourModel:
        """What a pixel's values are: ``"grey"``, ``"rgb"`` or ``"rgba"``."""
        return _COLOUR_OF_SAMPLES[self.channels]

    @property
    def height(self) -> int:
        """How many rows a plane has."""
        return self._length("Y")

    @property
    def width(self) -> int:
        """How many columns a plane has."""
        return self._length("X")

    @property
    def plane_letters(self) -> str:
        """The letters of the axes of planes, in the array's order."""
        picture = f"YX{self.colour_letter or ''}"
        return "".join(letter for letter in self.letters if letter not in picture)

    @property
    def plane_shape(self) -> tuple[int, ...]:
        """The lengths of the axes of planes, in the array's order."""
        return tuple(self._length(letter) for letter in self.plane_letters)

    @property
    def plane_count(self) -> int:
        """How many planes there are, at least 1."""
        return math.prod(self.plane_shape)

    @property
    def pixel_count(self) -> int:
        """How many pixels there are, over all planes."""
        return self.plane_count * self.height * self.width

    def coordinates(self, plane: int) -> dict[str, int]:
        """Return where a plane lies along each axis of planes, counted from 0.

        Parameters
        ----------
        plane : int
            From 0 to `plane_count` - 1; the last axis of planes changes fastest.

        Returns
        -------
        dict of str to int
            By the axes' letters, in the array's order.

        Raises
        ------
        IndexError
            There is no such plane.
        """
        if not 0 <= plane < self.plane_count:
            raise IndexError(f"there is no plane {plane} among {self.plane_count}")
        where = np.unravel_index(plane, self.plane_shape) if self.plane_shape else ()
        return {letter: int(index) for letter, index in zip(self.plane_letters, where, strict=True)}

    def describe(self, plane: int) -> str:
        """Return a plane's place for people, such as ``"T 3, Z 7"``, counted from 0.

        Axes of length 1 are left out; of the only plane nothing remains but ``""``.
        """
        return ", ".join(
            f"{letter} {index}"
            for letter, index in self.coordinates(plane).items()
            if self._length(letter) > 1
        )

    def index(
        self, plane: int, rows: slice = slice(None), columns: slice = slice(None)
    ) -> tuple[int | slice, ...]:
        """Return the index of a plane's region in the array.

        Parameters
        ----------
        plane : int
            Index of the plane, see `coordinates`.
        rows, columns : slice
            The region, without a step; all of the plane if not given.

        Returns
        -------
        tuple of int and slice
            Slices with non-negative ends and step 1 for Y, X and the colour, an int for each
            axis of planes: what numpy, dask and zarr understand alike.
        """
        where: dict[str, int | slice] = dict(self.coordinates(plane))
        where["Y"] = resolve(rows, self.height)
        where["X"] = resolve(columns, self.width)
        return tuple(where.get(letter, slice(0, self.channels, 1)) for letter in self.letters)

    def to_hwc(self, block: NDArray[Any]) -> NDArray[Any]:
        """Return a block that was read with `index` as (h, w, channels).

        Parameters
        ----------
        block : ndarray
            (h, w), (h, w, channels) or these in another order, as the letters say.

        Returns
        -------
        ndarray
            A view, (h, w, channels).
        """
        order = self._block_letters
        hwc = block.transpose([order.index(letter) for letter in f"YX{self.colour_letter or ''}"])
        return hwc if self.colour_letter else hwc[..., None]

    def to_picture(self, block: NDArray[Any]) -> NDArray[Any]:
        """Return a block as the metrics and the canvas take pictures: without alpha.

        Parameters
        ----------
        block : ndarray
            Block as `to_hwc` takes it.

        Returns
        -------
        ndarray
            A view, (h, w) for grey, else (h, w, 3).
        """
        pixels = self.to_hwc(block)
        return pixels[..., 0] if self.colour == "grey" else pixels[..., :3]

    @property
    def _block_letters(self) -> str:
        planes = self.plane_letters
        return "".join(letter for letter in self.letters if letter not in planes)

    def _length(self, letter: str) -> int:
        return self.shape[self.letters.index(letter)]


def resolve(region: slice, length: int) -> slice:
    """Return the same slice with ends from 0 to ``length`` and step 1.

    Raises
    ------
    ValueError
        The slice has another step.
    """
    start, stop, step = region.indices(length)
    if step != 1:
        raise ValueError(f"a region has no step, but {region} has")
    return slice(start, stop, 1)


def _known(shape: Sequence[int]) -> tuple[int, ...]:
    try:
        return tuple(operator.index(length) for length in shape)
    except TypeError:
        # Dask's NaN for a length that only computing the array would tell.
        raise AxesError(
            f"The image's shape {tuple(shape)} is not known in all axes; compute the chunk "
            "sizes first."
        ) from None


def _check_letters(letters: str) -> None:
    if not all("A" <= letter <= "Z" for letter in letters):
        raise AxesError(
            f"The axes {letters!r} are not letters only; name each axis by one letter, for "
            "instance 'TZYX'."
        )
    twice = sorted({letter for letter in letters if letters.count(letter) > 1})
    if twice:
        raise AxesError(
            f"The axes {letters!r} name {' and '.join(twice)} more than once; give each axis a "
            "letter of its own."
        )
    missing = [letter for letter in "YX" if letter not in letters]
    if missing:
        raise AxesError(
            f"The axes {letters!r} lack {' and '.join(missing)}; Y names the rows and X the "
            "columns."
        )


def _check_not_empty(shape: tuple[int, ...]) -> None:
    if 0 in shape:
        raise AxesError(f"The image has shape {shape}, so it has no pixels.")
