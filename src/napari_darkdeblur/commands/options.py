"""What several commands share: options, how a model is loaded, how things are counted."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import CommandError
from ..weights import AUTO_MODEL, DEFAULT_MODEL

if TYPE_CHECKING:
    from ..network import LoadedModel
    from ..restore import Precision, PSFFound, RestoreOptions, ValueRange, ValueRangeError


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--model`` and ``--device``; see `chosen_model`."""
    parser.add_argument(
        "--model",
        default=AUTO_MODEL,
        metavar="NAME",
        help="a model's name (see darkdeblur models), the path of a .safetensors file, or auto "
        f"(the default): {DEFAULT_MODEL}",
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="auto, cpu, cuda, cuda:1, mps, ... (default: %(default)s: a CUDA device if "
        "there is one, else the CPU)",
    )


def add_light(parser: argparse.ArgumentParser) -> None:
    """Add ``--light``."""
    parser.add_argument(
        "--light",
        choices=["auto", "srgb", "linear"],
        default="auto",
        help="how values relate to light, which a kernel is undone in: srgb, as in photographs; "
        "linear, as in a microscope's images; auto (the default): srgb for colour and for 8-bit "
        "images, else linear",
    )


def add_range_and_axes(parser: argparse.ArgumentParser) -> None:
    """Add ``--range`` and ``--axes``, as the engine takes them."""
    parser.add_argument(
        "--range",
        type=_parse_range,
        default="auto",
        metavar="R",
        help="the values of black and of white: LO,HI such as 0,4095 for 12 bits "
        "(--range=-1,1 if LO is negative); auto (the default): dtype for 8-bit images, colour "
        "images and floats in 0..1, if they use at least 5 %% of it, else percentile; dtype: 0 and "
        "the greatest value of the bit depth for integers, 0 and 1 for floats; data: the least and "
        "the greatest value of the whole image; percentile: its 0.1 and 99.9 percentiles",
    )
    parser.add_argument(
        "--axes",
        metavar="A",
        help="a letter for each axis, such as TCYX; C at the end or S anywhere is RGB(A), "
        "everything but Y and X is restored plane by plane; by default what the file says",
    )


def _parse_range(text: str) -> ValueRange:
    if text in ("auto", "dtype", "data", "percentile"):
        return text  # type: ignore[return-value]
    return parse_limits(
        text, "; write two numbers, as in 0,4095, or auto, dtype, data or percentile"
    )


def complaint_about_range(source: Path, error: ValueRangeError) -> str:
    """Return what is wrong with a file's values, in terms of ``--range``."""
    low, high = error.found
    return (
        f"{source} has values from {low:.6g} to {high:.6g}, outside "
        f"{error.allowed[0]:g} to {error.allowed[1]:g}; give the values of black and of "
        "white with --range LO,HI, or take them from the image with --range data."
    )


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add ``--overwrite``."""
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")


def check_target(path: Path, *, overwrite: bool) -> None:
    """Refuse, before the work, a file that could not be written after it.

    Raises
    ------
    CommandError
        There is a file already, or no folder for it.
    """
    if path.is_dir():
        raise CommandError(f"{path} is a folder; name the file to write.")
    if not path.parent.is_dir():
        raise CommandError(f"There is no folder {path.parent} to write {path.name} to.")
    if path.exists() and not overwrite:
        raise CommandError(
            f"{path} would be overwritten; choose another place or pass --overwrite."
        )


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


def search_psf(
    image: Any, options: RestoreOptions, name: str, *, plane: int | None = None, leave: bool = False
) -> PSFFound:
    """Search the kernel of a plane, see `find_psf`, with a progress bar of this name.

    ``leave`` says whether the bar stays when the search is over.
    """
    from tqdm import tqdm

    from ..restore import PSFFound, find_psf

    layout = "{l_bar}{bar}| [{elapsed}<{remaining}]"
    with tqdm(total=1.0, desc=name, bar_format=layout, disable=None, leave=leave) as bar:
        for event in find_psf(image, options, plane=plane):
            if isinstance(event, PSFFound):
                found = event
            else:
                bar.update(event.fraction - bar.n)
    return found


def count(number: int, thing: str) -> str:
    """Return, for instance, ``"1 image"`` or ``"2 images"``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
