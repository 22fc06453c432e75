"""The ``darkdeblur`` command.

Exit codes: 0 all done; 1 some images of a folder failed, or nobody reads the output; 2 the
user made a mistake, or the image or model cannot be used; 130 interrupted. torch is
imported by what needs it, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import ArgumentParser, CommandError
from .errors import DarkDeblurError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .imagefiles import ImageFile
    from .metrics import Comparison
    from .network import LoadedModel

DEMO_FOLDER = Path("darkdeblur-demo")
DEMO_FILES = ("blurred.png", "restored.png", "reference.png", "comparison.png")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``darkdeblur`` command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; the default is those of the process.

    Returns
    -------
    int
        The exit code.

    Raises
    ------
    SystemExit
        After ``--help`` and ``--version``.
    """
    try:
        arguments = _parser().parse_args(argv)
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the output has seen enough (darkdeblur models | head). What is left in
        # the buffer must not fail again when the interpreter closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except DarkDeblurError as error:
        return _complain(str(error))
    except OSError as error:
        return _complain(_os_error(error))
    return code


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    parser = ArgumentParser(
        prog="darkdeblur",
        description="Remove motion blur from photographs and microscopy frames taken in "
        "too little light.",
    )
    parser.add_argument("--version", action="version", version=f"darkdeblur {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    deblur = commands.add_parser(
        "deblur",
        help="restore an image file, or all images in a folder",
        description="Restore an image file, or all PNG, JPEG and TIFF files of a folder "
        "(not of its subfolders). Size, bit depth, transparency and metadata stay as they "
        "are.",
    )
    deblur.add_argument("input", metavar="INPUT", type=Path, help="an image file or a folder")
    deblur.add_argument(
        "output",
        metavar="OUTPUT",
        type=Path,
        help="the file to write, whose ending decides the format; for a folder, a folder, "
        "in which the files have the same names",
    )
    _add_model_options(deblur)
    deblur.add_argument(
        "--range",
        nargs=2,
        type=float,
        metavar=("LO", "HI"),
        help="the values of black and of white, e.g. 0 4095 for 12 bits; by default 0 and "
        "the greatest value of the bit depth for integers, 0 and 1 for floats",
    )
    _add_overwrite(deblur)
    deblur.set_defaults(run=_deblur)

    models = commands.add_parser(
        "models",
        help="list the models",
        description="List the bundled models and those in your models folder.",
    )
    models.set_defaults(run=_models)

    demo = commands.add_parser(
        "demo",
        help="try it on a photograph that is spoilt on purpose",
        description="Darken, blur and add noise to a photograph that is installed already, "
        "restore it, and measure how near the result comes to the original.",
    )
    demo.add_argument(
        "--out",
        type=Path,
        default=DEMO_FOLDER,
        metavar="DIR",
        help="the folder to write to (default: %(default)s)",
    )
    _add_model_options(demo)
    _add_overwrite(demo)
    demo.set_defaults(run=_demo)
    return parser


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="a model's name (see darkdeblur models) or the path of a .safetensors file",
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="auto, cpu, cuda, cuda:1, mps, ... (default: %(default)s: a CUDA device if "
        "there is one, else the CPU)",
    )


def _add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")


# --- deblur


def _deblur(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    source: Path = arguments.input
    target: Path = arguments.output
    whole_folder = source.is_dir()
    if whole_folder:
        jobs = _plan_folder(source, target, arguments.overwrite)
    else:
        jobs = [_plan_file(source, target, arguments.overwrite)]
    model = _load(arguments)
    if whole_folder:
        target.mkdir(parents=True, exist_ok=True)
    value_range = tuple(arguments.range) if arguments.range else None

    failed = 0
    start = time.perf_counter()
    # tqdm shows nothing where standard error is not a terminal (disable=None).
    for path, out in tqdm(jobs, unit="image", disable=None, leave=False):
        try:
            _restore_file(path, out, model, value_range, arguments.overwrite)
        except (DarkDeblurError, OSError) as error:
            if not whole_folder:
                raise
            failed += 1
            text = _os_error(error) if isinstance(error, OSError) else str(error)
            tqdm.write(f"darkdeblur: error: {text}", file=sys.stderr)
    seconds = time.perf_counter() - start

    where = f"with {model.name} on {_device_of(model)}, {seconds:.1f} s"
    if whole_folder:
        done = f"Restored {len(jobs) - failed} of {_count(len(jobs), 'image')} into {target}"
        print(f"{done} ({where}){f'; {failed} failed' if failed else ''}.")
    else:
        print(f"Restored {source} to {target} ({where}).")
    return 1 if failed else 0


def _plan_file(source: Path, target: Path, overwrite: bool) -> tuple[Path, Path]:
    from .imagefiles import check_writable

    if not source.exists():
        raise CommandError(f"{source} does not exist.")
    if target.is_dir():
        raise CommandError(
            f"{target} is a folder and {source} is a file; name the file to write, for "
            f"instance {target / source.name}."
        )
    if not overwrite:
        _refuse_existing([target])
    check_writable(target, overwrite=overwrite)
    return source, target


def _plan_folder(source: Path, target: Path, overwrite: bool) -> list[tuple[Path, Path]]:
    from .imagefiles import FORMAT_OF_SUFFIX

    if target.exists() and not target.is_dir():
        raise CommandError(f"{source} is a folder and {target} is a file; name a folder.")
    jobs = [
        (path, target / path.name)
        for path in sorted(source.iterdir())
        if path.suffix.lower() in FORMAT_OF_SUFFIX
        and path.is_file()
        and not path.name.startswith(".")
    ]
    if not jobs:
        raise CommandError(f"There are no PNG, JPEG or TIFF files in {source}.")
    if not overwrite:
        _refuse_existing([out for _, out in jobs])
    return jobs


def _refuse_existing(paths: Sequence[Path]) -> None:
    existing = [path for path in paths if path.exists()]
    if existing:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise CommandError(
            f"{existing[0]}{more} would be overwritten; choose another place or pass --overwrite."
        )


def _restore_file(
    path: Path,
    out: Path,
    model: LoadedModel,
    value_range: tuple[float, ...] | None,
    overwrite: bool,
) -> None:
    from .imagefiles import check_writable, read_image, write_image

    image = read_image(path)
    pixels = image.pixels
    check_writable(
        out,
        dtype=pixels.dtype,
        channels=pixels.shape[2] if pixels.ndim == 3 else 1,
        overwrite=overwrite,
    )
    write_image(out, _restore(image, model, value_range), like=image, overwrite=overwrite)


def _restore(
    image: ImageFile, model: LoadedModel, value_range: tuple[float, ...] | None
) -> NDArray[np.generic]:
    from tqdm import tqdm

    from .restore import NonFiniteWarning, PixelError, RestoreError, ValueRangeError, deblur

    device = str(_device_of(model))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NonFiniteWarning)
        try:
            low_high = (value_range[0], value_range[1]) if value_range else None
            restored = deblur(image.pixels, model, device, value_range=low_high)
        except ValueRangeError as error:
            found, allowed = error.found, error.allowed
            raise CommandError(
                f"{image.path} has values from {found[0]:.6g} to {found[1]:.6g}, outside "
                f"{allowed[0]:g} to {allowed[1]:g}; give the values of black and of white "
                "with --range LO HI."
            ) from error
        except (PixelError, RestoreError) as error:
            raise CommandError(f"{image.path}: {error}") from error
    for warning in caught:
        tqdm.write(f"darkdeblur: note: {image.path}: {warning.message}", file=sys.stderr)
    return restored


# --- models


def _models(arguments: argparse.Namespace) -> int:
    from .network import DEFAULT_MODEL, list_models, models_folder

    entries = list_models()
    # The user's model of the same name is the one that is loaded.
    default = {entry.name: entry for entry in entries}.get(DEFAULT_MODEL)
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        mark = "*" if entry is default else " "
        print(f"{mark} {entry.name:<{width}}  {entry.origin:<7}  {entry.summary}".rstrip())
    if not entries:
        print("There are no models.")
    if default is not None:
        print("\n* is the default.")
    folder = models_folder()
    state = "" if folder.is_dir() else " (not there yet)"
    print(f"\nYour models folder, for .safetensors files: {folder}{state}")
    return 0


# --- demo


def _demo(arguments: argparse.Namespace) -> int:
    from .comparison import comparison_figure
    from .demo import DETAILS, EXPOSURE, make_demo_pair
    from .imagefiles import write_image
    from .metrics import compare
    from .restore import deblur

    folder: Path = arguments.out
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"{folder} is a file; name a folder with --out.")
    if not arguments.overwrite:
        existing = [name for name in DEMO_FILES if (folder / name).exists()]
        if existing:
            raise CommandError(
                f"{folder} holds {', '.join(existing)} already; pass --overwrite to "
                "replace the files of the last demo, or choose another folder with --out."
            )
    model = _load(arguments)
    blurred, reference = make_demo_pair()
    start = time.perf_counter()
    restored = deblur(blurred, model, str(_device_of(model)))
    seconds = time.perf_counter() - start

    # Of the 8-bit values, which is what the files hold.
    before = compare(blurred / 255, reference / 255)
    after = compare(restored / 255, reference / 255)
    figure = comparison_figure(
        (blurred, restored, reference),
        (
            f"blurred: PSNR {before.psnr:.2f} dB",
            f"restored: PSNR {after.psnr:.2f} dB",
            "reference: no blur, no noise",
        ),
        DETAILS,
        gain=1 / EXPOSURE,
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in zip(DEMO_FILES, (blurred, restored, reference, figure), strict=True):
        write_image(folder / name, pixels, overwrite=True)

    height, width = blurred.shape[:2]
    print(_table(before, after))
    print(
        f"\n{width} × {height} pixels restored with {model.name} on {_device_of(model)} in "
        f"{seconds:.1f} s.\n"
    )
    for name in DEMO_FILES:
        print(folder / name)
    return 0


def _table(before: Comparison, after: Comparison) -> str:
    """Return PSNR, SSIM and CIEDE2000 of the blurred and of the restored image."""
    head = f"{'':<9}{'PSNR (dB)':>10}{'SSIM':>9}{'CIEDE2000 mean':>17}{'95 %':>8}"

    def row(name: str, values: Sequence[float], sign: str = "") -> str:
        psnr, ssim, mean, p95 = values
        return f"{name:<9}{psnr:>{sign}10.2f}{ssim:>{sign}9.4f}{mean:>{sign}17.2f}{p95:>{sign}8.2f}"

    # A colour difference is better the smaller it is.
    gain = (
        after.psnr - before.psnr,
        after.ssim - before.ssim,
        before.ciede2000_mean - after.ciede2000_mean,
        before.ciede2000_p95 - after.ciede2000_p95,
    )
    note = "(CIEDE2000 is a colour difference: less is better. Positive gains are better.)"
    return "\n".join(
        [head, row("blurred", before), row("restored", after), row("gain", gain, "+"), note]
    )


# --- common


def _load(arguments: argparse.Namespace) -> LoadedModel:
    from .network import DEFAULT_MODEL
    from .restore import load_model

    return load_model(arguments.model or DEFAULT_MODEL, arguments.device)


def _device_of(model: LoadedModel) -> str:
    return str(next(model.network.parameters()).device)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _os_error(error: OSError) -> str:
    if error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}."
    return str(error)


def _complain(sentence: str) -> int:
    print(f"darkdeblur: error: {sentence}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
