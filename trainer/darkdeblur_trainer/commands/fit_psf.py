"""``darkdeblur-train fit-psf``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from . import options

# Options that change a field of `psf_training.Settings`, which has their defaults.
_SETTINGS: dict[str, tuple[type, str]] = {
    "minutes": (float, "length of the run, which the learning rate follows (default: 3)"),
    "batch": (int, "samples in a step"),
    "crop": (int, "height and width of the training crops in pixels"),
    "learning_rate": (float, "peak learning rate"),
    "warmup": (float, "share of the run in which the learning rate rises"),
    "ema_decay": (float, "decay of the weights' moving average"),
    "clip_norm": (float, "largest norm of the gradient"),
    "held_out": (int, "hold out every so manyth photograph for validation"),
    "validation": (int, "samples of the validation at the end"),
    "seed": (int, "seed of everything random"),
}


def add_to(commands: Any) -> None:
    """Add the command to ``darkdeblur-train``'s."""
    parser = commands.add_parser(
        "fit-psf",
        help="train the network that estimates blur kernels",
        description="Train the network that estimates blur kernels, or continue a run that "
        "stopped: the same command does both.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of sharp photographs")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument(
        "--init", type=Path, metavar="WEIGHTS", help="start from these weights, of an earlier run"
    )
    options.add_device(parser)
    options.add_cache(parser)
    parser.add_argument("--compile", action="store_true", help="compile the network")
    parser.add_argument("--fp16", action="store_true", help="write 16-bit weights")
    for name, (kind, text) in _SETTINGS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from napari_darkdeblur.restore import choose_device

    from ..psf_training import Settings, fit

    given = {name: getattr(arguments, name) for name in _SETTINGS}
    fit(
        arguments.data,
        arguments.out,
        Settings(**{name: value for name, value in given.items() if value is not None}),
        device=choose_device(arguments.device),
        cache_folder=arguments.cache,
        init=arguments.init,
        compile=arguments.compile,
        half=arguments.fp16,
    )
    return 0
