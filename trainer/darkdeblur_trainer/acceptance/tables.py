"""The acceptance table for people, for documents and for other programs."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from pathlib import Path

from napari_darkdeblur.atomic import atomic_write
from napari_darkdeblur.metrics import metric_of

from .scores import METRICS, Row, Score

TO_INPUT = "PSNR to input (dB)"


def table(rows: Sequence[Row], unblurred: Collection[str], *, markdown: bool) -> str:
    """Format the rows.

    Parameters
    ----------
    rows : sequence of Row
        See `scores.rows`.
    unblurred : collection of str
        Groups whose images were sharp to begin with; for these it is told, too, how far what
        was restored is from the input.
    markdown : bool
        As a table in Markdown, or with aligned columns.
    """
    metrics = [metric_of(key) for key in METRICS]
    head = ["blur", "image", *(metric.label for metric in metrics)]
    told = {row.group for row in rows} & set(unblurred)
    head += [TO_INPUT] if told else []
    lines = []
    for row in rows:
        cells = [row.group, row.way]
        for metric in metrics:
            known = metric.key in row.metrics
            cells.append(metric.text(row.metrics[metric.key]) if known else "–")
        if told:
            shown = row.psnr_to_input is not None and row.group in told
            cells.append(f"{row.psnr_to_input:.2f}" if shown else "")
        lines.append(cells)
    return _in_markdown(head, lines) if markdown else _aligned(head, lines)


def _in_markdown(head: list[str], lines: list[list[str]]) -> str:
    marks = ["---", "---", *["---:"] * (len(head) - 2)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, marks, *lines])


def _aligned(head: list[str], lines: list[list[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(head, *lines, strict=True)]
    text, last = [], head[0]
    for cells in [head, *lines]:
        if cells[0] != last:  # a gap between groups
            text.append("")
        last = cells[0]
        names = [cell.ljust(width) for cell, width in zip(cells[:2], widths[:2], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]
        text.append("  ".join([*names, *numbers]).rstrip())
    return "\n".join(text)


def write_csv(path: Path, found: Sequence[Score]) -> None:
    """Write every score, one image and way a row; nothing is rounded.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    labels = [metric_of(key).label for key in METRICS]
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["blur", "image", "restored by", *labels, TO_INPUT])
        for score in found:
            values = [score.metrics.get(key) for key in METRICS]
            writer.writerow([score.group, score.image, score.way, *values, score.psnr_to_input])
