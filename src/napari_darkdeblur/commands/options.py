"""What several commands share: options, how a model is loaded, how things are counted."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..weights import AUTO_MODEL, DEFAULT_MODEL, THOROUGH_MODEL

if TYPE_CHECKING:
    from ..network import LoadedModel
    from ..restore import Precision


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--model`` and ``--device``; see `chosen_model`."""
    parser.add_argument(
        "--model",
        default=AUTO_MODEL,
        metavar="NAME",
        help="a model's name (see darkdeblur models), the path of a .safetensors file, or auto "
        f"(the default): {THOROUGH_MODEL}, if it is there, on a GPU or for small images, else "
        f"{DEFAULT_MODEL}",
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="auto, cpu, cuda, cuda:1, mps, ... (default: %(default)s: a CUDA device if "
        "there is one, else the CPU)",
    )


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add ``--overwrite``."""
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")


def parse_limits(
    text: str, instead: str = "; write two numbers, as in 0,4095"
) -> tuple[float, float]:
    """Read the values of black and of white, ``"LO,HI"``.

    Raises
    ------
    argparse.ArgumentTypeError
        They are not two numbers; the message ends with what to do instead.
    """
    low, _, high = text.partition(",")
    try:
        return float(low), float(high)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no range{instead}") from None


def chosen_model(arguments: argparse.Namespace, pixels: int | None = None) -> LoadedModel:
    """Load the model of the options on their device, for so many pixels; see `load_model`."""
    from ..restore import load_model

    precision: Precision = getattr(arguments, "precision", "fp32")
    return load_model(arguments.model, arguments.device, precision, pixels)


def device_of(model: LoadedModel) -> str:
    """Return the name of the device that a model is on."""
    return str(next(model.network.parameters()).device)


def count(number: int, thing: str) -> str:
    """Return, for instance, ``"1 image"`` or ``"2 images"``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
