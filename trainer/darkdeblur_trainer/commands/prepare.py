"""``darkdeblur-train prepare``."""

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
        "prepare",
        help="check and divide a data set, or decode training images into the cache",
        description="With one folder: decode its images into the cache, which fit does as well. "
        "With LAYOUT ROOT OUT: check a data set, count it, and write lists that divide it into "
        "images to train on and to validate or test on.",
    )
    parser.add_argument(
        "words",
        nargs="+",
        metavar="LAYOUT ROOT OUT",
        help="sharp, exdark, pairs, gopro, reds, koehler, lai, darkshake or realblur, the folder "
        "that it was unpacked into, and a folder for the lists; or only a folder of images",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of a random split (default: 0)")
    parser.add_argument(
        "--list", type=Path, metavar="FILE", help="list of the training images, or ExDark's own"
    )
    parser.add_argument(
        "--every",
        type=int,
        metavar="N",
        help="use every N-th frame of each sequence (default: 2 for gopro and reds, as the paper)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing lists")
    options.add_cache(parser)
    options.add_quiet(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if len(arguments.words) == 1:
        return _decode(arguments)
    if len(arguments.words) != 3:
        raise CommandError(
            "prepare takes one folder, or three words: LAYOUT ROOT OUT; not "
            f"{' '.join(arguments.words)!r}."
        )
    return _divide(arguments)


def _decode(arguments: argparse.Namespace) -> int:
    from ..batches import load_images
    from ..config import TrainConfig
    from ..data import default_cache_folder

    folder = arguments.cache or default_cache_folder()
    images = load_images(
        TrainConfig(), Path(arguments.words[0]), folder, progress=not arguments.quiet
    )
    for line in images.describe():
        print(line, file=sys.stderr)
    (cache,) = images.caches
    print(f"{len(cache)} images, {cache.megapixels:.1f} megapixels, in {folder}.")
    return 1 if images.left_out else 0


def _divide(arguments: argparse.Namespace) -> int:
    from ..data.preparation import prepare_dataset

    layout, root, out = arguments.words[0], Path(arguments.words[1]), Path(arguments.words[2])
    if arguments.every is not None and arguments.every < 1:
        raise CommandError(f"--every must be at least 1, not {arguments.every}.")
    prepared = prepare_dataset(
        layout,
        root,
        out,
        seed=arguments.seed,
        list_file=arguments.list,
        frame_step=arguments.every,
        progress=not arguments.quiet,
        overwrite=arguments.overwrite,
    )
    for path, why in prepared.unreadable.items():
        print(f"Left out: {path}: {why}", file=sys.stderr)
    for name in prepared.unpaired:
        print(f"Left out: {name}: it has no partner.", file=sys.stderr)
    for line in prepared.describe():
        print(line)
    lists = ", ".join(f"{name}.txt" for name in prepared.lists)
    print(f"Wrote {lists} and summary.json to {out}.")
    if "train" in prepared.lists:
        kind = "sharp" if layout == "exdark" else layout
        print(
            f"Train with: darkdeblur-train fit small --data {root} --out RUN data.layout={kind} "
            f"data.split={out / 'train.txt'}"
        )
    return 1 if prepared.unreadable or prepared.unpaired else 0
