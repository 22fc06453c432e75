"""``darkdeblur-train synth`` and ``kernels``: what the synthesis does, as files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from . import options


def add_to(commands: Any) -> None:
    """Add both commands to ``darkdeblur-train``'s."""
    synth = commands.add_parser(
        "synth",
        help="write blurred and sharp image pairs",
        description="Write OUT/blurred/NAME.png and OUT/sharp/NAME.png for every image in IN.",
    )
    synth.add_argument("input", type=Path, metavar="IN", help="folder of sharp images")
    synth.add_argument("output", type=Path, metavar="OUT", help="folder for the pairs")
    _add_synthesis(synth)
    synth.add_argument("--each", type=int, default=1, help="pairs to make of every image")
    options.add_cache(synth)
    synth.add_argument("--overwrite", action="store_true")
    synth.set_defaults(run=_synth)

    kernels = commands.add_parser("kernels", help="draw a sheet of blur kernels to look at")
    kernels.add_argument("output", type=Path, metavar="FILE", help="a PNG file")
    _add_synthesis(kernels)
    kernels.add_argument("--count", type=int, default=96, help="how many")
    kernels.add_argument("--overwrite", action="store_true")
    kernels.set_defaults(run=_kernels)


def _add_synthesis(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", default="night", help="paper, night (the default), ...")
    parser.add_argument("--seed", type=int, default=0)
    options.add_settings(parser, "the preset")


def _synth(arguments: argparse.Namespace) -> int:
    from ..synthesis.files import degradation_from_options, write_pairs

    degradation = degradation_from_options(arguments.preset, arguments.set)
    count, left_out = write_pairs(
        arguments.input,
        arguments.output,
        degradation,
        seed=arguments.seed,
        each=arguments.each,
        cache_folder=arguments.cache,
        overwrite=arguments.overwrite,
    )
    for path, why in left_out.items():
        print(f"Left out: {path}: {why}", file=sys.stderr)
    print(f"Wrote {count} pairs to {arguments.output}.")
    return 1 if left_out else 0


def _kernels(arguments: argparse.Namespace) -> int:
    from ..synthesis.files import degradation_from_options, write_kernel_sheet

    degradation = degradation_from_options(arguments.preset, arguments.set)
    write_kernel_sheet(
        arguments.output,
        degradation,
        count=arguments.count,
        seed=arguments.seed,
        overwrite=arguments.overwrite,
    )
    print(f"Wrote {arguments.output}.")
    return 0
