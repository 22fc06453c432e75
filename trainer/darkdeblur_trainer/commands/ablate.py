"""``darkdeblur-train ablate``: the paper's Table 4."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from napari_darkdeblur.arguments import CommandError

from . import options


def add_to(commands: Any) -> None:
    """Add the command to ``darkdeblur-train``'s."""
    parser = commands.add_parser(
        "ablate",
        help="train the network without some of its components, and compare",
        description="Train the baseline, the baseline with channel attention, with the "
        "contextual gate as well, and all of it with the multi-term loss, at the same budget and "
        "with several seeds, and print what each adds. The same command goes on where it was "
        "stopped.",
    )
    parser.add_argument(
        "config", help="a YAML file, or a bundled one, such as ablation, which two cores can pay"
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="such as steps=3000")
    parser.add_argument("--data", type=Path, required=True, help="folder of training images")
    parser.add_argument(
        "--validate", type=Path, required=True, metavar="DIR", help="folder of validation images"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: 3)")
    parser.add_argument(
        "--variant",
        action="append",
        metavar="NAME",
        help="base, CA, CG or full (default: all); may be repeated",
    )
    parser.add_argument("--vgg", type=Path, metavar="PATH", help="VGG-19 or VGG-16 weights")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    options.add_device(parser)
    options.add_cache(parser)
    options.add_quiet(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from ..ablation import VARIANTS, run_ablation, table, write_runs
    from ..config_files import load_config

    if arguments.seeds < 1:
        raise CommandError(f"--seeds must be at least 1, not {arguments.seeds}.")
    config = load_config(arguments.config, arguments.overrides)
    runs, stopped = run_ablation(
        config,
        arguments.data,
        arguments.validate,
        arguments.out,
        range(arguments.seeds),
        variants=arguments.variant or tuple(VARIANTS),
        vgg_path=arguments.vgg,
        device=arguments.device,
        cache_folder=arguments.cache,
        progress=not arguments.quiet,
    )
    if runs:
        write_runs(arguments.out / "ablation.json", runs)
        print(table(runs, markdown=arguments.markdown))
    if stopped is not None:
        print(f"Stopped at step {stopped.step} of a run. The same command continues.")
        return 128 + stopped.signal_number
    return 0
