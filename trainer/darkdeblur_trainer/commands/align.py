"""``darkdeblur-train align``: real pairs from photographs of the same scene."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from napari_darkdeblur.arguments import CommandError

from . import options


def add_to(commands: Any) -> None:
    """Add the command to ``darkdeblur-train``'s."""
    parser = commands.add_parser(
        "align",
        help="align blurred photographs with sharp ones of the same scene",
        description="Bring sharp photographs into the frame and exposure of blurred ones of the "
        "same scene, and write the common part of both to OUT/blurred and OUT/sharp, which "
        "fit (data.layout=pairs) and darkdeblur evaluate take as they are.",
    )
    parser.add_argument("blurred", type=Path, metavar="BLURRED", help="an image, or a folder")
    parser.add_argument(
        "reference",
        type=Path,
        metavar="REFERENCE",
        help="the sharp image, or a folder with sharp images of the same names",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    options.add_quiet(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..alignment import align_files, table_lines, write_table
    from ..benchmark.tables import aligned
    from ..data import find_pairs, images_by_stem

    blurred, reference, output = arguments.blurred, arguments.reference, arguments.output
    for path in (blurred, reference):
        if not path.exists():
            raise CommandError(f"{path} does not exist.")
    if blurred.is_dir() != reference.is_dir():
        raise CommandError(f"{blurred} and {reference} must be two images or two folders.")
    table = output / "alignment.csv"
    if table.exists() and not arguments.overwrite:
        raise CommandError(f"{table} exists; give --overwrite to replace it.")
    unpaired: list[Path] = []
    if blurred.is_dir():
        unpaired = find_pairs("folders", reference, blurred).unpaired
        first, second = images_by_stem(blurred), images_by_stem(reference)
        jobs = [(name, first[name], second[name]) for name in sorted(first.keys() & second.keys())]
    else:
        jobs = [(blurred.stem, blurred, reference)]
    hidden = True if arguments.quiet else None
    rows = [
        align_files(one, other, output, name, overwrite=arguments.overwrite)
        for name, one, other in tqdm(jobs, desc="aligning", unit="pair", disable=hidden)
    ]
    output.mkdir(parents=True, exist_ok=True)
    write_table(table, rows)
    head, *lines = table_lines([row for row in rows if row.alignment is not None])
    if lines:
        print(aligned(head[:-1], [line[:-1] for line in lines], names=1))
    for path in unpaired:
        print(f"Left out: {path}: it has no partner of the same name.", file=sys.stderr)
    refused = [row for row in rows if row.alignment is None]
    for row in refused:
        print(f"Refused: {row.name}: {row.problem}", file=sys.stderr)
    print(f"Aligned {len(lines)} of {len(rows)} pairs; the table is {table}.")
    return 1 if refused or unpaired else 0
