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
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import ArgumentParser, CommandError
from .errors import DarkDeblurError, sentence_of
from .weights import AUTO_MODEL, DEFAULT_MODEL, THOROUGH_MODEL

if TYPE_CHECKING:
    from .filejobs import FileJob
    from .metrics import Comparison
    from .network import LoadedModel
    from .restore import Precision, RestoreOptions, Result, ValueRange

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
    except (DarkDeblurError, OSError) as error:
        return _complain(sentence_of(error))
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
        type=_parse_range,
        default="dtype",
        metavar="R",
        help="the values of black and of white: LO,HI such as 0,4095 for 12 bits "
        "(--range=-1,1 if LO is negative); dtype (the default): 0 and the greatest value of "
        "the bit depth for integers, 0 and 1 for floats; data: the least and the greatest "
        "value of the whole image; percentile: its 0.1 and 99.9 percentiles",
    )
    deblur.add_argument(
        "--axes",
        metavar="A",
        help="a letter for each axis, such as TCYX; C at the end or S anywhere is RGB(A), "
        "everything but Y and X is restored plane by plane; by default what the file says",
    )
    deblur.add_argument(
        "--tiling",
        choices=["auto", "whole", "exact", "local", "fast"],
        default="auto",
        help="whole: at once; exact: the same in tiles; local: gates follow the surroundings; "
        "fast: gates from a sample; auto (the default): whole if it fits and is quick, "
        "else exact",
    )
    deblur.add_argument("--tile", type=int, metavar="N", help="side of a tile in pixels")
    deblur.add_argument(
        "--memory",
        type=_parse_memory,
        metavar="M",
        help="how much memory it may take, such as 4GB; by default a share of what is free",
    )
    deblur.add_argument(
        "--precision",
        choices=["fp32", "tf32", "bf16", "fp16"],
        default="fp32",
        help="fp32 (the default), or on a GPU tf32, bf16 or fp16, which are faster",
    )
    deblur.add_argument(
        "--scratch",
        type=Path,
        metavar="DIR",
        help="folder for scratch files, should memory not suffice",
    )
    _add_overwrite(deblur)
    deblur.set_defaults(run=_deblur)

    evaluate = commands.add_parser(
        "evaluate",
        help="measure restored images against sharp ones",
        description="Measure how near a restored image, or every image of a folder, comes to "
        "the sharp one that it should be: PSNR, SSIM, MS-SSIM, CIEDE2000, and measures that "
        "describe the image. Stacks are measured plane by plane.",
    )
    evaluate.add_argument(
        "restored", metavar="RESTORED", type=Path, help="an image file or a folder"
    )
    evaluate.add_argument(
        "reference",
        metavar="REFERENCE",
        type=Path,
        help="the sharp image, or a folder with sharp images of the same names",
    )
    evaluate.add_argument(
        "--range",
        type=_parse_limits,
        metavar="LO,HI",
        help="the values of black and of white, such as 0,4095 for 12 bits (--range=-1,1 if LO "
        "is negative); by default 0 and the greatest value of the bit depth, 0 and 1 for floats",
    )
    evaluate.add_argument(
        "--axes",
        metavar="A",
        help="a letter for each axis, such as TCYX, as in darkdeblur deblur; by default what "
        "the files say",
    )
    evaluate.add_argument(
        "--csv", type=Path, metavar="FILE", help="write the table, with a line for each plane"
    )
    _add_overwrite(evaluate)
    evaluate.set_defaults(run=_evaluate)

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


def _add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")


# --- deblur


def _deblur(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from .filejobs import plan_file, plan_folder

    source: Path = arguments.input
    target: Path = arguments.output
    whole_folder = source.is_dir()
    if whole_folder:
        jobs = plan_folder(source, target, overwrite=arguments.overwrite)
    else:
        jobs = [plan_file(source, target, overwrite=arguments.overwrite)]
    # Before anything is written: a mistake in the options is one for all files.
    model = _load(arguments)
    options = _restore_options(arguments, model)
    if whole_folder:
        target.mkdir(parents=True, exist_ok=True)

    failed = 0
    start = time.perf_counter()
    # tqdm shows nothing where standard error is not a terminal (disable=None).
    hidden = None if whole_folder else True
    device = _device_of(model)
    models = set()
    for job in tqdm(jobs, unit="image", disable=hidden, leave=False):
        result = _restore_file(job, options, arguments.overwrite)
        if result.status == "done":
            device = result.device
            models.add(result.model)
            continue
        if not whole_folder:
            raise CommandError(_complaint(job, result)) from result.error
        failed += 1
        tqdm.write(f"darkdeblur: error: {_complaint(job, result)}", file=sys.stderr)
    seconds = time.perf_counter() - start

    where = f"with {' and '.join(sorted(models) or [model.name])} on {device}, {seconds:.1f} s"
    if whole_folder:
        done = f"Restored {len(jobs) - failed} of {_count(len(jobs), 'image')} into {target}"
        print(f"{done} ({where}){f'; {failed} failed' if failed else ''}.")
    else:
        print(f"Restored {source} to {target} ({where}).")
    return 1 if failed else 0


def _restore_options(arguments: argparse.Namespace, model: LoadedModel) -> RestoreOptions:
    from .restore import RestoreOptions

    if arguments.scratch is not None and not arguments.scratch.is_dir():
        raise CommandError(f"--scratch {arguments.scratch} is not a folder.")
    return RestoreOptions(
        # Each file's size decides anew.
        model=AUTO_MODEL if arguments.model == AUTO_MODEL else model,
        device=arguments.device,
        axes=arguments.axes,
        value_range=arguments.range,
        tiling=arguments.tiling,
        tile=arguments.tile,
        memory=arguments.memory,
        precision=arguments.precision,
        scratch=arguments.scratch,
    )


def _restore_file(job: FileJob, options: RestoreOptions, overwrite: bool) -> Result:
    import torch
    from tqdm import tqdm

    from .filejobs import restore_file
    from .restore import Finished, ModelReady, Plan, Result, Retried, TileDone
    from .restore.allocator import freed_memory_kept
    from .restore.memory import free_memory

    def note(text: str) -> None:
        tqdm.write(f"darkdeblur: note: {job.source}: {text}", file=sys.stderr)

    def note_shortage(plan: Plan) -> None:
        if plan.scratch_bytes or {"host", "recompute"} & set(plan.places.values()):
            note(f"Memory is short, so each plane is restored like this: {plan.describe()}.")

    result = Result("failed")
    layout = "{l_bar}{bar}| {postfix} [{elapsed}<{remaining}]"
    with ExitStack() as stack:
        bar = stack.enter_context(
            tqdm(total=1.0, desc=job.source.name, bar_format=layout, disable=None, leave=False)
        )
        for event in restore_file(job, options, overwrite=overwrite):
            if isinstance(event, ModelReady):
                # Faster, but it may take almost twice the memory: only where that is plenty.
                room = free_memory(torch.device("cpu"))
                if options.memory is None and 2 * event.plan.peak_bytes < room:
                    stack.enter_context(freed_memory_kept())
                for text in event.notes:
                    note(text)
                note_shortage(event.plan)
            elif isinstance(event, TileDone):
                plane = f"plane {event.plane + 1}/{event.planes}, " if event.planes > 1 else ""
                bar.set_postfix_str(f"{plane}tile {event.done}/{event.total}", refresh=False)
                bar.update(event.fraction - bar.n)
            elif isinstance(event, Retried):
                note(event.reason)
                note_shortage(event.plan)
            elif isinstance(event, Finished):
                result = event.result
    return result


def _complaint(job: FileJob, result: Result) -> str:
    """Return why a file was not restored, in terms of this command."""
    from .restore import ValueRangeError

    error = result.error
    if isinstance(error, ValueRangeError):
        low, high = error.found
        return (
            f"{job.source} has values from {low:.6g} to {high:.6g}, outside "
            f"{error.allowed[0]:g} to {error.allowed[1]:g}; give the values of black and of "
            "white with --range LO,HI, or take them from the image with --range data."
        )
    names_file = str(job.source) in result.message or str(job.target) in result.message
    return result.message if names_file else f"{job.source}: {result.message}"


def _parse_range(text: str) -> ValueRange:
    if text in ("dtype", "data", "percentile"):
        return text  # type: ignore[return-value]
    return _parse_limits(text, "; write two numbers, as in 0,4095, or dtype, data or percentile")


def _parse_limits(
    text: str, instead: str = "; write two numbers, as in 0,4095"
) -> tuple[float, float]:
    low, _, high = text.partition(",")
    try:
        return float(low), float(high)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no range{instead}") from None


def _parse_memory(text: str) -> int:
    from .restore.amounts import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None


# --- evaluate


def _evaluate(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from .evaluation import check_csv, format_table, measure_pair, plan_pairs, write_csv

    whole_folder = arguments.restored.is_dir()
    pairs = plan_pairs(arguments.restored, arguments.reference)
    if arguments.csv is not None:
        check_csv(arguments.csv, overwrite=arguments.overwrite)
    rows = []
    failed = 0
    with tqdm(unit="plane", disable=None, leave=False) as bar:
        for pair in pairs:
            measured = []
            try:
                for row in measure_pair(pair, arguments.axes, arguments.range):
                    measured.append(row)
                    bar.update()
            except (DarkDeblurError, OSError) as error:
                if not whole_folder:
                    raise
                failed += 1
                tqdm.write(f"darkdeblur: error: {sentence_of(error)}", file=sys.stderr)
            else:
                rows.extend(measured)
    if rows:
        print(format_table(rows))
        if arguments.csv is not None:
            write_csv(arguments.csv, rows)
            print(f"\nAll numbers are in {arguments.csv}.")
    if failed:
        print(f"{failed} of {_count(len(pairs), 'image')} could not be measured.", file=sys.stderr)
    return 1 if failed else 0


# --- models


def _models(arguments: argparse.Namespace) -> int:
    from .network import has_model, list_models, models_folder

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
        if has_model(THOROUGH_MODEL):
            print(f"\n* is the default; on a GPU, and for small images, {THOROUGH_MODEL} is.")
        else:
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
    blurred, reference = make_demo_pair()
    model = _load(arguments, blurred.shape[0] * blurred.shape[1])
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


def _load(arguments: argparse.Namespace, pixels: int | None = None) -> LoadedModel:
    from .restore import load_model

    precision: Precision = getattr(arguments, "precision", "fp32")
    return load_model(arguments.model, arguments.device, precision, pixels)


def _device_of(model: LoadedModel) -> str:
    return str(next(model.network.parameters()).device)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _complain(sentence: str) -> int:
    print(f"darkdeblur: error: {sentence}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
