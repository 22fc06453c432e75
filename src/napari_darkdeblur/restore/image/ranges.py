"""Which values of an image are black and white: one rule for files, arrays and layers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from .pixels import PixelError, ValueRangeError
from .values import ONE_IN, Strips, ValueStatistics, value_statistics

Limits: TypeAlias = tuple[float, float]
ValueRange: TypeAlias = Literal["auto", "dtype", "data", "percentile"] | Limits

# An image that uses less of a range than this share would look black to the network, which
# would then darken it.
LEAST_USE = 0.05


@dataclass(frozen=True)
class ChosenRange:
    """The values of black and white, and what was found out about the image on the way.

    Parameters
    ----------
    black, white : float
        Values of black and of white, in units of the pixels.
    text : str
        A sentence that says which values they are, and why.
    extremes : tuple of float, optional
        The least and the greatest finite value of the image, if it was scanned.
    nonfinite : dict of int to int
        How many values are NaN or infinite, by plane, for the planes that have any; empty if
        the image was not scanned.
    notes : tuple of str
        Sentences about what is unusual, for the user.
    guessed : bool
        Whether ``"auto"`` took them from the values.
    """

    black: float
    white: float
    text: str
    extremes: Limits | None = None
    nonfinite: dict[int, int] | None = None
    notes: tuple[str, ...] = ()
    guessed: bool = False


def depends_on_values(value_range: ValueRange) -> bool:
    """Return whether a range follows from an image's values, so that a part has another one."""
    return value_range in ("auto", "data", "percentile")


def default_full_scale(dtype: np.dtype[Any], colour: str) -> Limits | None:
    """Return the full scale of an image whose file states none; None if that of its dtype.

    A colour image of 16 bits is a photograph, whose values follow a tone curve that begins at 0.
    """
    return (0.0, 65535.0) if dtype == np.uint16 and colour != "grey" else None


def choose_range(
    strips: Strips,
    dtype: np.dtype[Any],
    count: int,
    value_range: ValueRange = "auto",
    full_scale: Limits | None = None,
    whose: str = "the image",
) -> ChosenRange:
    """Choose the values of black and white of an image, or of several that belong together.

    Parameters
    ----------
    strips : callable
        Gives an iterator over the strips of the image, (plane, values).
    dtype : numpy.dtype
        Data type of the values.
    count : int
        How many values all strips have together.
    value_range : {"auto", "dtype", "data", "percentile"} or tuple of float
        See `ImageView`.
    full_scale : tuple of float, optional
        See `ImageView`.
    whose : str
        What to call the image in sentences.

    Raises
    ------
    ValueRangeError
        The value range is ``"dtype"`` and a finite value lies outside it.
    PixelError
        The value range is none, or wider than float64 can hold.
    """
    limits = _given(value_range)
    if limits is not None:
        # All that an integer can be is finite.
        scanned = value_statistics(strips(), count) if dtype.kind == "f" else None
        chosen = _within(limits, "as given", scanned, whose)
    elif value_range in ("auto", "dtype"):
        chosen = _full_scale(strips, dtype, count, value_range == "auto", full_scale, whose)
    else:
        scanned = value_statistics(strips(), count, percentiles=value_range == "percentile")
        chosen = _from_values(scanned, whose)
    if not math.isfinite(chosen.white - chosen.black):
        raise PixelError(
            f"The value range {chosen.black:g} to {chosen.white:g} is too wide; pass "
            "value_range=(black, white) with the values of black and of white."
        )
    return chosen


def _full_scale(
    strips: Strips,
    dtype: np.dtype[Any],
    count: int,
    auto: bool,
    full_scale: Limits | None,
    whose: str,
) -> ChosenRange:
    """Return the full scale, or the percentiles if it is no range for these values."""
    of_dtype = 0.0, 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)
    limits = full_scale or of_dtype
    # Floats in 0..1 are how scikit-image and others hold images; a camera's 12 bits in uint16 are
    # not what uint16 could hold.
    meant = full_scale is not None or dtype == np.uint8 or dtype.kind == "f"
    why = f"the range of {dtype.name}" if limits == of_dtype else "the range that the file states"
    if dtype.kind == "u" and dtype.itemsize <= 2 and limits == of_dtype and (meant or not auto):
        # Nothing can lie outside, so that mostly a few strips tell.
        if _uses(strips, dtype, count, LEAST_USE * (limits[1] - limits[0])):
            return ChosenRange(*limits, _sentence(limits, why))
    elif auto and not meant:
        scanned = value_statistics(strips(), count, percentiles=True)
        return replace(_from_values(scanned, whose), guessed=True)
    scanned = value_statistics(strips(), count, percentiles=auto)
    found = scanned.extremes
    if auto:
        inside = found is not None and not _reaches_beyond(found, limits)
        used = _share(scanned.percentiles, limits)
        # Of a single value nothing can be said: in 8 bits it may be any.
        single = dtype == np.uint8 and found is not None and found[0] == found[1]
        if inside and (used >= LEAST_USE or single):
            return _within(limits, why, scanned, whose)
        reason = f"it uses {_per_cent(used)} of {limits[0]:g} to {limits[1]:g}"
        if not inside:
            reason = f"it has values outside {limits[0]:g} to {limits[1]:g}"
        return replace(_from_values(scanned, whose, reason), guessed=True)
    if found is not None and _reaches_beyond(found, limits):
        raise ValueRangeError(found, limits)
    used = _share(found, limits)
    note = (
        f"{whose[0].upper()}{whose[1:]} uses only {_per_cent(used)} of the value range "
        f"{limits[0]:g} to {limits[1]:g}, so the network sees it almost black and may darken it; "
        "the range auto follows the values."
    )
    return ChosenRange(
        *limits,
        _sentence(limits, why),
        found,
        scanned.nonfinite,
        (note,) if 0 < used < LEAST_USE else (),
    )


def _uses(strips: Strips, dtype: np.dtype[Any], count: int, least: float) -> bool:
    """Return whether 0.1 and 99.9 percentiles lie so far apart, as soon as it is certain.

    With the values seen so far, the lower percentile can only be smaller than this bound and
    the upper one only greater.
    """
    counts = np.zeros(2 ** (8 * dtype.itemsize), np.int64)
    outside = (count - 1) // ONE_IN + 1
    for _, values in strips():
        counts += np.bincount(np.ravel(values), minlength=counts.size)
        ends = np.cumsum(counts)
        if ends[-1] >= outside:
            low = int(np.searchsorted(ends, outside))
            high = int(np.searchsorted(ends, ends[-1] - outside, side="right"))
            if high - low >= least:
                return True
    return False


def _share(part: Limits | None, limits: Limits) -> float:
    """Return how much of a range another one covers; 0 if there is none."""
    return 0.0 if part is None else (part[1] - part[0]) / (limits[1] - limits[0])


def _reaches_beyond(found: Limits, limits: Limits) -> bool:
    return found[0] < limits[0] or found[1] > limits[1]


def _within(limits: Limits, why: str, scanned: ValueStatistics | None, whose: str) -> ChosenRange:
    """Return a range that does not follow from the values; note what lies outside."""
    notes = []
    found = scanned.extremes if scanned is not None else None
    if found is not None and _reaches_beyond(found, limits):
        notes.append(
            f"{whose[0].upper()}{whose[1:]} has values from {found[0]:.6g} to {found[1]:.6g}; "
            f"the network saw them limited to the value range {limits[0]:g} to {limits[1]:g}, "
            "and what is beyond was added back."
        )
    nonfinite = scanned.nonfinite if scanned is not None else None
    return ChosenRange(*limits, _sentence(limits, why), found, nonfinite, tuple(notes))


def _from_values(scanned: ValueStatistics, whose: str, reason: str = "") -> ChosenRange:
    """Return the percentiles, if there are any, else the extremes."""
    notes = []
    found = scanned.extremes
    reason = f" ({reason})" if reason else ""
    if found is None:
        limits, why = (0.0, 1.0), "since no value is finite"
        notes.append(f"None of {whose}'s values is finite, so the value range 0 to 1 was taken.")
    elif found[0] == found[1]:
        # As far from black as it is from 0: a change then stays small beside the value.
        step = max(min(1.0, abs(found[0])) or 1.0, math.ulp(found[0]))
        limits, why = (found[0], found[0] + step), "since all values are black's"
        notes.append(
            f"All finite values of {whose} are {found[0]:.6g}, so that was taken for black."
        )
    elif scanned.percentiles is None:
        limits, why = found, f"{whose}'s least and greatest value"
    elif scanned.percentiles[0] == scanned.percentiles[1]:
        limits, why = found, f"{whose}'s least and greatest value"
        notes.append(
            f"Nearly all values of {whose} are {scanned.percentiles[0]:.6g}, so the value range "
            f"is that of all values, {found[0]:.6g} to {found[1]:.6g}."
        )
    else:
        limits, why = scanned.percentiles, f"{whose}'s 0.1 and 99.9 percentiles"
    text = _sentence(limits, why + reason)
    return ChosenRange(*limits, text, found, scanned.nonfinite, tuple(notes))


def _sentence(limits: Limits, why: str) -> str:
    return f"Black is {limits[0]:.6g} and white {limits[1]:.6g}, {why}."


def _per_cent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _given(value_range: ValueRange) -> Limits | None:
    """Return black and white where they are given; refuse what is no range."""
    if isinstance(value_range, str):
        if value_range in ("auto", "dtype", "data", "percentile"):
            return None
    else:
        try:
            black, white = (float(value) for value in value_range)
        except (TypeError, ValueError, OverflowError):
            pass
        else:
            if math.isfinite(black) and math.isfinite(white) and black < white:
                return black, white
            raise PixelError(
                f"The value range {black:g} to {white:g} is not one; it takes the value of "
                "black and a greater one of white."
            )
    raise PixelError(
        f"The value range {value_range!r} is not one; it takes 'auto', 'dtype', 'data', "
        "'percentile' or the value of black and a greater one of white."
    )
