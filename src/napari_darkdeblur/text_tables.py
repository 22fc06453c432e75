"""Tables of cells as text, for a terminal or in Markdown; the first line is the head."""

from __future__ import annotations

from collections.abc import Sequence


def format_aligned(cells: Sequence[Sequence[str]], names: int = 2) -> str:
    """Return a table with aligned columns, of which the first ``names`` are not numbers."""
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < names else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def format_markdown(cells: Sequence[Sequence[str]], names: int = 2) -> str:
    """Return a table in Markdown, of which the first ``names`` columns are not numbers."""
    head, *lines = cells
    marks = [*["---"] * names, *["---:"] * (len(head) - names)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, marks, *lines))
