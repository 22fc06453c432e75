"""Measurements as text: to be copied into a spreadsheet, or saved."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import astuple

from ...atomic import atomic_write
from ...metrics import METRICS
from .measurements import Measurement

_FIRST = (
    "time",
    "layer",
    "plane",
    "reference",
    "top",
    "left",
    "height",
    "width",
    "black",
    "white",
    "psf",
)


def as_text(measurements: Sequence[Measurement], delimiter: str = ",") -> str:
    """Return measurements as a table with a header.

    Parameters
    ----------
    measurements : sequence of Measurement
        The rows.
    delimiter : str
        Between columns; a tabulator is what spreadsheets paste.

    Returns
    -------
    str
        Numbers as precise as they are known, with a decimal point; what was not measured is
        empty. The columns are the same whatever was measured, so that files can be joined.
    """
    target = io.StringIO()
    writer = csv.writer(target, delimiter=delimiter, lineterminator="\n")
    writer.writerow([*_FIRST, *(metric.label for metric in METRICS), "notes"])
    for one in measurements:
        numbers = [one.numbers.get(metric.label, "") for metric in METRICS]
        writer.writerow(
            [
                one.time.isoformat(timespec="seconds"),
                one.layer,
                one.where,
                one.reference,
                *astuple(one.area),
                one.values.black,
                one.values.white,
                one.psf,
                *numbers,
                " ".join(one.notes),
            ]
        )
    return target.getvalue()


def save_csv(path: str | os.PathLike[str], measurements: Sequence[Measurement]) -> None:
    """Write measurements to a CSV file in UTF-8.

    Raises
    ------
    OSError
        It cannot be written.
    """
    with atomic_write(path) as part:
        part.write_text(as_text(measurements), encoding="utf-8", newline="")
