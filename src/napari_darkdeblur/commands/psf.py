"""``darkdeblur psf``: find the blur kernel of an image."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import CommandError
from .options import (
    add_light,
    add_model_options,
    add_overwrite,
    add_range_and_axes,
    check_target,
    complaint_about_range,
    search_psf,
)

if TYPE_CHECKING:
    from ..imagefiles import ImageFile
    from ..psf import PSF
    from ..restore import ImageView


def add_to(commands: Any) -> None:
    """Add the command to ``darkdeblur``'s."""
    parser = commands.add_parser(
        "psf",
        help="find the blur kernel of an image",
        description="Find the one kernel that an image is blurred with, or take it from small "
        "lights or beads in the image; print its size, direction and confidence, and write it to "
        "a file, which darkdeblur deblur takes with --psf.",
    )
    parser.add_argument("image", metavar="IMAGE", type=Path, help="an image file")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write the kernel: .tif or .npy, or .png in 16 bits",
    )
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="where to draw the image with the kernel enlarged beside it, a .png file",
    )
    parser.add_argument(
        "--from-points",
        type=_parse_rectangle,
        action="append",
        metavar="X,Y,W,H",
        help="a rectangle around a light or bead that should be a point, with some dark "
        "background: its left and upper edge, width and height in pixels; may be given several "
        "times. The kernel is what these have drawn; nothing is searched",
    )
    parser.add_argument(
        "--plane",
        type=int,
        metavar="N",
        help="which plane of a stack, from 0; by default the one in the middle",
    )
    add_light(parser)
    add_range_and_axes(parser)
    add_model_options(parser)
    add_overwrite(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from ..imagefiles import open_image, write_image
    from ..psf import write_psf
    from ..restore import ImageView, ValueRangeError

    _check_targets(arguments)
    with open_image(arguments.image) as image:
        try:
            said = image.as_options()
            if arguments.light == "auto":
                arguments.light = said.get("light", "auto")
            view = ImageView(
                image.pixels,
                arguments.axes or image.axes,
                arguments.range,
                full_scale=said.get("full_scale"),
            )
        except ValueRangeError as error:
            raise CommandError(complaint_about_range(arguments.image, error)) from error
        plane = view.plane_count // 2 if arguments.plane is None else arguments.plane
        if not 0 <= plane < view.plane_count:
            raise CommandError(
                f"{arguments.image} has no plane {plane}; its planes are 0 to "
                f"{view.plane_count - 1}."
            )
        if arguments.from_points:
            psf = _from_points(arguments, view, plane)
        else:
            psf = _found(arguments, image, view, plane)
        figure = _figure(arguments, view, plane, psf) if arguments.picture is not None else None
    print(_report(psf, view.range_text))
    if arguments.output is not None:
        write_psf(arguments.output, psf, overwrite=arguments.overwrite)
        print(f"\nThe kernel is in {arguments.output}.")
    if figure is not None:
        write_image(arguments.picture, figure, overwrite=arguments.overwrite)
        print(f"The picture is in {arguments.picture}.")
    return 0


def _check_targets(arguments: argparse.Namespace) -> None:
    """Refuse, before the work, what could not be written after it."""
    for path, endings in (
        (arguments.output, (".tif", ".tiff", ".npy", ".png")),
        (arguments.picture, (".png",)),
    ):
        if path is None:
            continue
        if path.suffix.lower() not in endings:
            raise CommandError(f"{path} must end in {' or '.join(endings)}.")
        check_target(path, overwrite=arguments.overwrite)
        if path.exists() and path.samefile(arguments.image):
            raise CommandError(f"{path} is the image itself; choose another place.")
    if arguments.output is not None and arguments.output == arguments.picture:
        raise CommandError("The kernel and the picture need a file each; name two.")


def _found(arguments: argparse.Namespace, image: ImageFile, view: ImageView, plane: int) -> PSF:
    """Search the kernel with a model, and say on standard error what to think of it."""
    from ..restore import RestoreOptions

    options = RestoreOptions(
        model=arguments.model,
        device=arguments.device,
        axes=view.axes.letters,
        value_range=(view.black, view.white),
        light=arguments.light,
    )
    found = search_psf(image.pixels, options, arguments.image.name, plane=plane)
    if found.psf is None:
        raise CommandError(f"{arguments.image}: {found.description}.")
    if not found.confident:
        guess = "this is the best guess, which darkdeblur deblur --psf auto would not use"
        if found.psf.is_point:
            guess = f"with --psf auto it is {found.consequence}"
        print(
            f"darkdeblur: note: {arguments.image}: {found.description}; {guess}.", file=sys.stderr
        )
    return found.psf


def _from_points(arguments: argparse.Namespace, view: ImageView, plane: int) -> PSF:
    import numpy as np

    from ..psf import from_points

    rectangles = [(y, x, y + height, x + width) for x, y, width, height in arguments.from_points]
    for top, left, bottom, right in rectangles:
        if top < 0 or left < 0 or bottom > view.height or right > view.width:
            raise CommandError(
                f"The rectangle {left:g},{top:g},{right - left:g},{bottom - top:g} lies outside "
                f"{arguments.image}, which is {view.width} × {view.height} pixels."
            )
    pixels = np.moveaxis(view.read(plane), 0, -1)
    return from_points(pixels, rectangles, linear_light=_undoes_srgb(arguments, view))


def _undoes_srgb(arguments: argparse.Namespace, view: ImageView) -> bool:
    from ..restore.psfs import is_linear_light

    return is_linear_light(arguments.light, view.axes.colour, view.dtype)[0]


def _figure(arguments: argparse.Namespace, view: ImageView, plane: int, psf: PSF) -> Any:
    import numpy as np

    from ..psf_picture import psf_figure
    from ..restore import describe_psf
    from ..srgb import linear_to_srgb

    values = np.moveaxis(view.read(plane), 0, -1)
    shown = values if _undoes_srgb(arguments, view) else linear_to_srgb(values)
    caption = describe_psf(psf)
    if psf.confidence is not None:
        caption += f", confidence {psf.confidence:.2f}"
    return psf_figure(np.rint(255 * np.clip(shown, 0, 1)).astype(np.uint8), psf, caption)


def _report(psf: PSF, range_text: str) -> str:
    """Return what there is to say about a kernel, a line each."""
    from ..restore import describe_psf

    lines = [
        ("kernel", f"{describe_psf(psf)} ({psf.kernel.shape[0]} pixels wide)"),
        ("size", f"{psf.extent:.1f} px along, RMS radius {psf.rms_radius:.1f} px"),
        ("direction", f"{psf.direction:.0f}° from the right towards the top"),
        ("confidence", "not judged" if psf.confidence is None else f"{psf.confidence:.2f}"),
        ("origin", psf.origin),
        ("values", range_text),
    ]
    if psf.note:
        lines.append(("note", psf.note))
    return "\n".join(f"{name:<10}  {text}" for name, text in lines)


def _parse_rectangle(text: str) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = (float(part) for part in text.split(","))
        if not (width > 0 and height > 0):
            raise ValueError  # noqa: TRY301
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no rectangle; write left, top, width and height, as in 120,80,40,40"
        ) from None
    return x, y, width, height
