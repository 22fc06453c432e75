"""``darkdeblur-train prepare``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from . import options


def add_to(commands: Any) -> None:
    """Add the command to ``darkdeblur-train``'s."""
    parser = commands.add_parser("prepare", help="decode training images into the cache")
    parser.add_argument("data", type=Path)
    options.add_cache(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from ..batches import load_images
    from ..config import TrainConfig
    from ..data import default_cache_folder

    folder = arguments.cache or default_cache_folder()
    images = load_images(TrainConfig(), arguments.data, folder, progress=True)
    for line in images.describe():
        print(line, file=sys.stderr)
    (cache,) = images.caches
    print(f"{len(cache)} images, {cache.megapixels:.1f} megapixels, in {folder}.")
    return 1 if images.left_out else 0
