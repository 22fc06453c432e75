"""How the pixels of two aligned images of different resolution and extent meet."""

from __future__ import annotations

import math
from typing import NamedTuple


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
            Pixels of the frame.

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
