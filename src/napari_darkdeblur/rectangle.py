"""Rectangles of pixels: tiles, halos, and parts of an image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

_Array = TypeVar("_Array", bound=Any)


@dataclass(frozen=True, order=True)
class Rectangle:
    """A rectangle of an image's pixels.

    Parameters
    ----------
    top, left : int
        First row and first column.
    height, width : int
        Number of rows and of columns.
    """

    top: int
    left: int
    height: int
    width: int

    @staticmethod
    def grid(rows: Iterable[int], columns: Iterable[int]) -> list[Rectangle]:
        """Return the rectangles between edges, row by row.

        Parameters
        ----------
        rows, columns : iterable of int
            Where rectangles begin and end, ascending: n + 1 edges for n rectangles side by side.
        """
        across = list(pairwise(columns))
        return [
            Rectangle(top, left, bottom - top, right - left)
            for top, bottom in pairwise(rows)
            for left, right in across
        ]

    @property
    def bottom(self) -> int:
        """First row below."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """First column to the right."""
        return self.left + self.width

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index an array (H, W, ...) with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def expanded(self, margin: int, multiple: int, bounds: Rectangle) -> Rectangle:
        """Return the rectangle with pixels around it, as far as they lie inside of bounds.

        Parameters
        ----------
        margin : int
            Least number of pixels on each side.
        multiple : int
            What the margin is rounded up to a multiple of.
        bounds : Rectangle
            Rectangle that is not left.
        """
        margin += -margin % multiple
        top, left = max(self.top - margin, bounds.top), max(self.left - margin, bounds.left)
        bottom = min(self.bottom + margin, bounds.bottom)
        right = min(self.right + margin, bounds.right)
        return Rectangle(top, left, bottom - top, right - left)

    def relative_to(self, outer: Rectangle) -> Rectangle:
        """Return the rectangle in the coordinates of another one that it lies in."""
        return Rectangle(self.top - outer.top, self.left - outer.left, self.height, self.width)

    def crop(self, x: _Array, downscale: int = 1) -> _Array:
        """Return a view of what lies in the rectangle.

        Parameters
        ----------
        x : Tensor or ndarray
            Image or feature map (..., H, W).
        downscale : int
            Pixels of the image per side of one of the map's; the rectangle's sides are
            multiples of it.
        """
        rows = slice(self.top // downscale, self.bottom // downscale)
        columns = slice(self.left // downscale, self.right // downscale)
        cropped: _Array = x[..., rows, columns]
        return cropped
