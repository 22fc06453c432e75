"""What values an image has, found out in one pass over it: it need not fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The percentiles are 0.1 and 99.9: one value in so many may lie outside them at either end.
ONE_IN = 1000

# Gives each strip of an image as (plane, values); may be called again for another pass.
Strips = Callable[[], Iterator[tuple[int, NDArray[Any]]]]


@dataclass(frozen=True)
class ValueStatistics:
    """What values an image has.

    Parameters
    ----------
    extremes : tuple of float, optional
        The least and the greatest finite value; None if there is no finite value.
    percentiles : tuple of float, optional
        The 0.1 and 99.9 percentiles of the finite values; None if they were not asked for
        or there is no finite value.
    nonfinite : dict of int to int
        How many values are NaN or infinite, by plane, for the planes that have any.
    """

    extremes: tuple[float, float] | None
    percentiles: tuple[float, float] | None
    nonfinite: dict[int, int]


def value_statistics(
    strips: Iterable[tuple[int, NDArray[Any]]], count: int, *, percentiles: bool = False
) -> ValueStatistics:
    """Find the extremes of an image's values, and its percentiles if asked for.

    The lower percentile is the value that has a thousandth of the other values (rounded
    down) before it in a sorted list of all, the upper one that has so many after it; both
    are values of the image, and of less than 1001 values they are the extremes.

    Parameters
    ----------
    strips : iterable of (int, ndarray)
        Strips of the image: the plane that each is of, and its values, of any shape.
    count : int
        Number of values, all strips together.
    percentiles : bool
        Whether to find the percentiles; it takes memory for at most 1 % of the values, and for
        those of two strips.

    Returns
    -------
    ValueStatistics
        What was found. It is exact.
    """
    outside = (count - 1) // ONE_IN + 1 if percentiles else 1
    least, greatest = _Tail(outside, greatest=False), _Tail(outside, greatest=True)
    finite_count = 0
    nonfinite: dict[int, int] = {}
    for plane, values in strips:
        finite = _finite(values)
        finite_count += finite.size
        if finite.size < values.size:
            nonfinite[plane] = nonfinite.get(plane, 0) + values.size - finite.size
        least.add(finite)
        greatest.add(finite)
    if not finite_count:
        return ValueStatistics(None, None, nonfinite)
    place = (finite_count - 1) // ONE_IN
    return ValueStatistics(
        (least.value(0), greatest.value(0)),
        (least.value(place), greatest.value(place)) if percentiles else None,
        nonfinite,
    )


class _Tail:
    """The ``count`` least or greatest of many values; equal ones count."""

    def __init__(self, count: int, *, greatest: bool) -> None:
        self._count, self._greatest = count, greatest
        self._parts: list[NDArray[Any]] = []
        self._size = 0
        self._limit: Any = None  # of the values to come, only those beyond it matter

    def add(self, values: NDArray[Any]) -> None:
        """Take in a row of values."""
        if self._limit is not None:
            beyond = values > self._limit if self._greatest else values < self._limit
            values = values[beyond]
        self._parts.append(values)
        self._size += values.size
        if self._size >= 4 * self._count:
            self._forget_the_rest()

    def value(self, place: int) -> float:
        """Return the value that has so many beyond it."""
        self._forget_the_rest()
        (values,) = self._parts
        place = values.size - 1 - place if self._greatest else place
        return float(np.partition(values, place)[place])

    def _forget_the_rest(self) -> None:
        values = np.concatenate(self._parts)
        if values.size >= self._count:
            place = values.size - self._count if self._greatest else self._count - 1
            values = np.partition(values, place)
            self._limit = values[place]
            # A copy: a view would keep all of them.
            values = (values[place:] if self._greatest else values[: place + 1]).copy()
        self._parts, self._size = [values], values.size


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    """Return the values that are finite as one row, in the machine's byte order."""
    row = np.ascontiguousarray(values, values.dtype.newbyteorder("=")).reshape(-1)
    if row.dtype.kind != "f":
        return row
    finite = np.isfinite(row)
    return row if finite.all() else row[finite]
