"""``darkdeblur evaluate``: measure restored images against sharp ones."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ..errors import DarkDeblurError, sentence_of
from .options import add_overwrite, count, parse_limits


def add_to(commands: Any) -> None:
    """Add the command to ``darkdeblur``'s."""
    parser = commands.add_parser(
        "evaluate",
        help="measure restored images against sharp ones",
        description="Measure how near a restored image, or every image of a folder, comes to "
        "the sharp one that it should be: PSNR, SSIM, MS-SSIM, CIEDE2000, and measures that "
        "describe the image. Stacks are measured plane by plane.",
    )
    parser.add_argument("restored", metavar="RESTORED", type=Path, help="an image file or a folder")
    parser.add_argument(
        "reference",
        metavar="REFERENCE",
        type=Path,
        help="the sharp image, or a folder with sharp images of the same names",
    )
    parser.add_argument(
        "--range",
        type=parse_limits,
        metavar="LO,HI",
        help="the values of black and of white, such as 0,4095 for 12 bits (--range=-1,1 if LO "
        "is negative); by default 0 and the greatest value of the bit depth, 0 and 1 for floats",
    )
    parser.add_argument(
        "--axes",
        metavar="A",
        help="a letter for each axis, such as TCYX, as in darkdeblur deblur; by default what "
        "the files say",
    )
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="write the table, with a line for each plane"
    )
    add_overwrite(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..evaluation import check_csv, format_table, measure_pair, plan_pairs, write_csv

    whole_folder = arguments.restored.is_dir()
    pairs = plan_pairs(arguments.restored, arguments.reference)
    if arguments.csv is not None:
        check_csv(arguments.csv, overwrite=arguments.overwrite)
    rows = []
    failed = 0
    with tqdm(unit="plane", disable=None, leave=False) as bar:
        for pair in pairs:
            measured = []
            try:
                for row in measure_pair(pair, arguments.axes, arguments.range):
                    measured.append(row)
                    bar.update()
            except (DarkDeblurError, OSError) as error:
                if not whole_folder:
                    raise
                failed += 1
                tqdm.write(f"darkdeblur: error: {sentence_of(error)}", file=sys.stderr)
            else:
                rows.extend(measured)
    if rows:
        print(format_table(rows))
        if arguments.csv is not None:
            write_csv(arguments.csv, rows)
            print(f"\nAll numbers are in {arguments.csv}.")
    if failed:
        print(f"{failed} of {count(len(pairs), 'image')} could not be measured.", file=sys.stderr)
    return 1 if failed else 0
