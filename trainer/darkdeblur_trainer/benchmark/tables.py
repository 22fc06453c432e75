"""The tables of the benchmark for people, for documents and for other programs."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from napari_darkdeblur.atomic import write_csv_rows
from napari_darkdeblur.metrics import metric_of
from napari_darkdeblur.text_tables import format_aligned, format_markdown

from .baselines import BASELINES, BLIND
from .scores import HARM, INPUT, METRICS, Score, Summary

TO_INPUT = "PSNR to input (dB)"
_HEAD = ["blur", "restored by", "PSNR (dB)", "gain (dB)", "deblurring (dB)", "worst image (dB)"]


def gain_table(rows: Sequence[Summary], *, markdown: bool) -> str:
    """Format the mean gain in PSNR over the input: a line for each group, a column for each method.

    Parameters
    ----------
    rows : sequence of Summary
        Lines of the table, as `summarize` returned them.
    markdown : bool
        As a table in Markdown, or with aligned columns.
    """
    methods = [method for method in dict.fromkeys(row.method for row in rows) if method != INPUT]
    lines = []
    for group in dict.fromkeys(row.group for row in rows):
        found = {row.method: row for row in rows if row.group == group}
        start = found[INPUT]
        cells = [group, str(start.count), f"{start.metrics['psnr']:.2f}"]
        cells += [_signed(found[method].gain if method in found else None) for method in methods]
        lines.append(cells)
    head = ["blur", "images", "blurred: PSNR (dB)", *(f"{method}: gain (dB)" for method in methods)]
    return in_markdown(head, lines, names=1) if markdown else aligned(head, lines, names=1)


def of_models(rows: Sequence[Summary]) -> list[Summary]:
    """Return the rows of the input and of the models, without the baselines'."""
    others = {*BASELINES, *(name for name, _ in BLIND.values())}
    return [row for row in rows if row.method not in others]


def table(rows: Sequence[Summary], unblurred: Collection[str], *, markdown: bool) -> str:
    """Format the rows: everything that was measured.

    Parameters
    ----------
    rows : sequence of Summary
        Lines of the table, as `summarize` returned them.
    unblurred : collection of str
        Groups whose images were sharp to begin with; for these it is told, too, how far what
        was restored is from the input.
    markdown : bool
        As a table in Markdown, or with aligned columns.
    """
    others = [metric_of(key) for key in METRICS if key != "psnr"]
    head = [*_HEAD, f"lose > {HARM:g} dB", *(metric.label for metric in others)]
    told = {row.group for row in rows} & set(unblurred)
    head += [TO_INPUT] if told else []
    lines = []
    for row in rows:
        cells = [row.group, row.method, metric_of("psnr").text(row.metrics["psnr"])]
        if row.method == INPUT:
            cells += [""] * 4
        else:
            cells += [_signed(row.gain), _signed(row.deblurring), _signed(row.worst)]
            cells.append(f"{row.harmed} of {row.count}")
        for metric in others:
            known = metric.key in row.metrics
            cells.append(metric.text(row.metrics[metric.key]) if known else "–")
        if told:
            shown = row.psnr_to_input is not None and row.group in told
            cells.append(f"{row.psnr_to_input:.2f}" if shown else "")
        lines.append(cells)
    return in_markdown(head, lines) if markdown else aligned(head, lines)


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def in_markdown(head: Sequence[str], lines: Sequence[Sequence[str]], names: int = 2) -> str:
    """Format a table in Markdown, of which the first columns are ``names`` and not numbers."""
    return format_markdown([head, *lines], names)


def aligned(head: Sequence[str], lines: Sequence[Sequence[str]], names: int = 2) -> str:
    """Format a table with aligned columns, of which the first are ``names`` and not numbers.

    With several names, a gap is left between groups, which are lines of one first name.
    """
    text = format_aligned([head, *lines], names)
    if names == 1:
        return text
    first_names = (cells[0] for cells in [head, *lines])
    together = groupby(zip(first_names, text.split("\n"), strict=True), key=lambda each: each[0])
    return "\n\n".join("\n".join(row for _, row in group) for _, group in together)


def write_csv(path: Path, found: Sequence[Score]) -> None:
    """Write every score, one image and method a row; nothing is rounded.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    labels = [metric_of(key).label for key in METRICS]
    rows: list[list[Any]] = [["blur", "image", "restored by", *labels, TO_INPUT]]
    for score in found:
        values = [score.metrics.get(key) for key in METRICS]
        rows.append([score.group, score.image, score.method, *values, score.psnr_to_input])
    write_csv_rows(path, rows)


def read_csv(path: Path) -> list[Score]:
    """Read what `write_csv` wrote.

    Raises
    ------
    OSError
        The file cannot be read.
    KeyError, ValueError
        It is another kind of file.
    """
    labels = {key: metric_of(key).label for key in METRICS}
    found = []
    with path.open(newline="", encoding="utf-8") as stream:
        for line in csv.DictReader(stream):
            metrics = {key: float(line[label]) for key, label in labels.items() if line[label]}
            to_input = float(line[TO_INPUT]) if line[TO_INPUT] else None
            found.append(Score(line["blur"], line["image"], line["restored by"], metrics, to_input))
    return found
