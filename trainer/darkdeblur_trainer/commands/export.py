"""``darkdeblur-train export``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_to(commands: Any) -> None:
    """Add the command to ``darkdeblur-train``'s."""
    parser = commands.add_parser("export", help="write a run's weights for darkdeblur")
    parser.add_argument("folder", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--fp16", action="store_true", help="store half-precision numbers")
    parser.add_argument("--summary", help="one line for lists of models")
    parser.add_argument("--licence", default="", help="licence of the weights")
    parser.add_argument("--overwrite", action="store_true")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import torch

    from ..export import export_run

    path = export_run(
        arguments.folder,
        arguments.output,
        dtype=torch.float16 if arguments.fp16 else torch.float32,
        summary=arguments.summary,
        licence=arguments.licence,
        overwrite=arguments.overwrite,
    )
    print(f"Wrote {path}. Use it with: darkdeblur deblur INPUT OUTPUT --model {path}")
    return 0
