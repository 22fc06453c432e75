"""``darkdeblur-train prepare``."""

from __future__ import annotations

import argparse
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
    from ..data import cache_images, default_cache_folder, find_images

    folder = arguments.cache or default_cache_folder()
    cache = cache_images(find_images(arguments.data), folder, progress=True)
    megapixels = float((cache.heights * cache.widths).sum()) / 1e6
    print(f"{len(cache)} images, {megapixels:.1f} megapixels, in {folder}.")
    return 0
