"""``darkdeblur-train fit``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from . import options


def add_to(commands: Any) -> None:
    """Add the command to ``darkdeblur-train``'s."""
    parser = commands.add_parser(
        "fit",
        help="train, or continue a run that stopped",
        description="Train, or continue a run that stopped: the same command does both.",
    )
    parser.add_argument("config", help="a YAML file, or a bundled one: paper, small, smoke, ...")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="such as optimizer.learning_rate=2e-4"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of training images")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--validate", type=Path, metavar="DIR", help="folder of validation images")
    parser.add_argument("--vgg", type=Path, metavar="PATH", help="VGG-19 or VGG-16 weights")
    parser.add_argument("--init", metavar="WEIGHTS", help="start from these weights (name or path)")
    options.add_device(parser)
    parser.add_argument("--max-minutes", type=_minutes, help="save and stop after so long")
    options.add_cache(parser)
    options.add_quiet(parser)
    parser.set_defaults(run=_run)


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 <= minutes < math.inf:
        raise ValueError
    return minutes


def _run(arguments: argparse.Namespace) -> int:
    from napari_darkdeblur.restore.tiling.memory import freed_memory_kept

    from ..config_files import load_config
    from ..training import fit

    config = load_config(arguments.config, arguments.overrides)
    if arguments.validate is not None:
        # Asked here as well, because training images may take an hour to decode.
        config.blurred_for_validation()
    # Steps need the same memory again and again, which on a CPU is a tenth of their time.
    with freed_memory_kept():
        result = fit(
            config,
            arguments.data,
            arguments.out,
            validation_data=arguments.validate,
            vgg_path=arguments.vgg,
            init=arguments.init,
            device=arguments.device,
            max_minutes=arguments.max_minutes,
            cache_folder=arguments.cache,
            progress=not arguments.quiet,
        )
    if result.reason == "finished":
        print(
            f"All {result.step} steps are done. Export with: "
            f"darkdeblur-train export {arguments.out} -o NAME.safetensors"
        )
        return 0
    why = "the time is over" if result.reason == "time" else f"signal {result.signal_number}"
    print(f"Saved at step {result.step} ({why}). The same command continues.")
    return 128 + result.signal_number if result.reason == "signal" else 0
