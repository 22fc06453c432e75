"""Amounts of memory and time as people write them."""

from __future__ import annotations

import re

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY_UNITS = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_bytes(text: str) -> int:
    """Return the number of bytes that a text such as ``"4GB"``, ``"900 MiB"`` or ``"2e9"`` means.

    Raises
    ------
    ValueError
        It means none, or none above 0.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?(?:e\d{1,2})?)\s*([kmgt]i?|)b?\s*", text.lower())
    size = int(float(match[1]) * (_UNITS | _BINARY_UNITS)[match[2]]) if match else 0
    if size <= 0:
        raise ValueError(
            f"{text!r} is not an amount of memory; write for instance 4GB, 900MB or 2GiB."
        )
    return size


def format_bytes(size: float) -> str:
    """Return a number of bytes for people, e.g. ``"1.3 GB"`` or ``"240 MB"``."""
    if size >= 999.5e6:
        return f"{size / 1e9:.1f} GB"
    return f"{max(size / 1e6, 1):.0f} MB"


def format_duration(seconds: float) -> str:
    """Return a time for people, e.g. ``"40 s"``, ``"3 min"`` or ``"1.5 h"``; at least a second."""
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
