"""``darkdeblur models``: list the models."""

from __future__ import annotations

import argparse
from typing import Any

from ..weights import DEFAULT_MODEL, THOROUGH_MODEL


def add_to(commands: Any) -> None:
    """Add the command to ``darkdeblur``'s."""
    parser = commands.add_parser(
        "models",
        help="list the models",
        description="List the bundled models and those in your models folder.",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from ..network import has_model, list_models, models_folder

    entries = list_models()
    # The user's model of the same name is the one that is loaded.
    default = {entry.name: entry for entry in entries}.get(DEFAULT_MODEL)
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        mark = "*" if entry is default else " "
        said = [entry.summary.rstrip("."), "takes a kernel"] if entry.guides else [entry.summary]
        summary = "; ".join(filter(None, said))
        print(f"{mark} {entry.name:<{width}}  {entry.origin:<7}  {summary}".rstrip())
    if not entries:
        print("There are no models.")
    if default is not None:
        if has_model(THOROUGH_MODEL):
            print(f"\n* is the default; on a GPU, and for small images, {THOROUGH_MODEL} is.")
        else:
            print("\n* is the default.")
    folder = models_folder()
    state = "" if folder.is_dir() else " (not there yet)"
    print(f"\nYour models folder, for .safetensors files: {folder}{state}")
    return 0
