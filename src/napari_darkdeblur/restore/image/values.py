"""What values an image has, found out strip by strip: it need not fit in memory.

Percentiles are found as a sort by digits would find them: values are mapped to unsigned
integers of the same order, and these are counted 16 bits at a time, from the highest on. So
one value far from the others costs no precision, as it would in a histogram of equal bins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The percentiles are 0.1 and 99.9: one value in so many may lie outside them at either end.
ONE_IN = 1000
_DIGIT = 16  # bits
# The search for percentiles ends when they are known as well as this part of their distance.
_PRECISION = 2.0**-16

# Gives each strip of an image as (plane, values); may be called again for another pass.
Strips = Callable[[], Iterator[tuple[int, NDArray[Any]]]]


@dataclass(frozen=True)
class Scan:
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


def scan(strips: Strips, dtype: np.dtype[Any], *, percentiles: bool = False) -> Scan:
    """Find the extremes of an image's values, and its percentiles if asked for.

    The lower percentile is the value that has a thousandth of the other values (rounded
    down) before it in a sorted list of all, the upper one that has so many after it; both
    are values of the image, and of less than 1001 values they are the extremes. For integers,
    float16 and float32 they are exact; for float64 they are off, outwards, by at most 1/65536
    of their distance. Integers and float16 take one pass over the image, float32 two, float64
    usually two and at most four.

    Parameters
    ----------
    strips : callable
        Gives an iterator over the strips, (plane, values); values of any shape.
    dtype : numpy.dtype
        The values' dtype (see `check_dtype`).
    percentiles : bool
        Whether to find the percentiles.

    Returns
    -------
    Scan
        What was found.
    """
    # Below 8 bits there is nothing: the first digit of uint8 is all of it.
    shift = max(8 * dtype.itemsize - _DIGIT, 0)
    counts = np.zeros(2 ** min(8 * dtype.itemsize, _DIGIT), np.int64)
    low, high = np.inf, -np.inf
    nonfinite: dict[int, int] = {}
    for plane, values in strips():
        finite = _finite(values)
        if finite.size < values.size:
            nonfinite[plane] = nonfinite.get(plane, 0) + values.size - finite.size
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            if percentiles:
                counts += _count(_sort_keys(finite), shift, counts.size)
    if low > high:
        return Scan(None, None, nonfinite)
    found = _search(strips, dtype, counts, shift) if percentiles else None
    if found is not None:
        found = max(found[0], low), min(found[1], high)
    return Scan((low, high), found, nonfinite)


def _search(
    strips: Strips, dtype: np.dtype[Any], counts: NDArray[np.int64], shift: int
) -> tuple[float, float]:
    """Return the percentiles, given how often each first digit occurs."""
    last = int(counts.sum()) - 1
    # Of each: the digits known so far, and its place among the values that begin with them.
    below = _next_digit(0, last // ONE_IN, counts)
    above = _next_digit(0, last - last // ONE_IN, counts)
    while True:
        low = [_value_of_key(edge, dtype) for edge in _bucket(below[0], shift)]
        high = [_value_of_key(edge, dtype) for edge in _bucket(above[0], shift)]
        # Halves, lest the difference of the greatest float64 values overflow.
        allowed = _PRECISION * (high[0] / 2 - low[1] / 2)
        if not shift or max(low[1] / 2 - low[0] / 2, high[1] / 2 - high[0] / 2) <= allowed:
            # The outer edges, so that no more values are outside than is promised.
            return low[0], high[1]
        finer = max(shift - _DIGIT, 0)
        counts_below = np.zeros(2**_DIGIT, np.int64)
        counts_above = np.zeros(2**_DIGIT, np.int64)
        for _, values in strips():
            keys = _sort_keys(_finite(values))
            digits = keys >> keys.dtype.type(shift)
            counts_below += _count(keys[digits == below[0]], finer, counts_below.size)
            counts_above += _count(keys[digits == above[0]], finer, counts_above.size)
        below = _next_digit(*below, counts_below)
        above = _next_digit(*above, counts_above)
        shift = finer


def _next_digit(digits: int, place: int, counts: NDArray[np.int64]) -> tuple[int, int]:
    """Return the digits with the next one found, and the place among what begins with them."""
    ends = np.cumsum(counts)
    digit = int(np.searchsorted(ends, place, side="right"))
    return (digits << _DIGIT) + digit, place - int(ends[digit] - counts[digit])


def _bucket(digits: int, shift: int) -> tuple[int, int]:
    """Return the least and the greatest key that begins with these digits."""
    return digits << shift, ((digits + 1) << shift) - 1


def _count(keys: NDArray[Any], shift: int, length: int) -> NDArray[np.int64]:
    """Count how often each digit occurs, from bit ``shift`` on."""
    digits = (keys >> keys.dtype.type(shift)) & keys.dtype.type(length - 1)
    return np.bincount(digits.astype(np.intp), minlength=length).astype(np.int64)


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    """Return the values that are finite as one row, in the machine's byte order."""
    row = np.ascontiguousarray(values, values.dtype.newbyteorder("=")).reshape(-1)
    if row.dtype.kind != "f":
        return row
    finite = np.isfinite(row)
    return row if finite.all() else row[finite]


def _sort_keys(values: NDArray[Any]) -> NDArray[Any]:
    """Map values to unsigned integers of the same size and order."""
    keys: NDArray[Any] = values.view(f"u{values.dtype.itemsize}")
    sign = _sign_bit(keys.dtype)
    if values.dtype.kind == "i":
        keys = keys ^ sign  # not in place: they are the caller's values
    elif values.dtype.kind == "f":
        # Of negative floats the greater is the one of the smaller bits.
        keys = np.where(keys & sign, ~keys, keys | sign)
    return keys


def _value_of_key(key: int, dtype: np.dtype[Any]) -> float:
    """Return the value that `_sort_keys` maps to this key."""
    keys = np.array([key], f"u{dtype.itemsize}")
    sign = _sign_bit(keys.dtype)
    if dtype.kind == "i":
        keys ^= sign
    elif dtype.kind == "f":
        keys = np.where(keys & sign, keys ^ sign, ~keys)
    return float(keys.view(dtype.newbyteorder("="))[0])


def _sign_bit(dtype: np.dtype[Any]) -> Any:
    """Return the highest bit of an unsigned dtype, as a number of it."""
    return dtype.type(1 << (8 * dtype.itemsize - 1))
