"""``darkdeblur deblur``: restore an image file, or all images in a folder."""

from __future__ import annotations

import argparse
import re
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import CommandError
from ..weights import AUTO_MODEL
from .options import (
    add_light,
    add_model_options,
    add_overwrite,
    add_range_and_axes,
    chosen_model,
    complaint_about_range,
    count,
    device_of,
)

if TYPE_CHECKING:
    from ..filejobs import FileJob
    from ..network import LoadedModel
    from ..restore import RestoreOptions, Result

# What is done about blur where nobody says, if the model takes kernels.
DEFAULT_PSF = "auto"


def add_to(commands: Any) -> None:
    """Add the command to ``darkdeblur``'s."""
    parser = commands.add_parser(
        "deblur",
        help="restore an image file, or all images in a folder",
        description="Restore an image file, or all images of a folder. PNG, JPEG, TIFF and "
        "OME-Zarr are read and written; WebP, BMP, GIF, AVIF and, with napari-darkdeblur[photo], "
        "HEIC and cameras' raw files are read. Size, bit depth, transparency and metadata stay "
        "as they are. Exit code: 0 if all was restored, 1 if not all images of a folder were, 2 "
        "after a mistake.",
    )
    parser.add_argument("input", metavar="INPUT", type=Path, help="an image file or a folder")
    parser.add_argument(
        "output",
        metavar="OUTPUT",
        type=Path,
        help="the file to write, whose ending decides the format; for a folder, a folder, "
        "in which the files have the same names (what has no format to be written in becomes "
        ".png, raw files .tif)",
    )
    parser.add_argument(
        "--recursive", action="store_true", help="go into the subfolders of a folder, too"
    )
    parser.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave out the images of a folder whose result exists, to go on where it ended",
    )
    parser.add_argument(
        "--range-per-file",
        action="store_true",
        help="take each file's own values of black and white; by default all images of a folder "
        "have the same, so that a movie does not flicker",
    )
    parser.add_argument(
        "--series",
        type=int,
        metavar="N",
        help="which image of a file that holds several, from 0; by default the first of OME "
        "files, else the largest",
    )
    parser.add_argument(
        "--separate-channels",
        action="store_true",
        help="restore the three values of a pixel each on its own, where they are channels and "
        "not red, green and blue",
    )
    add_model_options(parser)
    parser.add_argument(
        "--psf",
        metavar="P",
        help="the blur to be undone: auto finds one kernel in each file and uses it if it is "
        "sure (of a stack in the middle plane, for all); auto-each finds one in each plane; "
        "auto-grid finds one in each of up to nine parts, for a camera that turned; "
        "motion:LENGTH,ANGLE, disc:RADIUS or gaussian:SIGMA in pixels and degrees; the name of "
        "an image file that holds the kernel (see darkdeblur psf); none: the network finds its "
        f"own way. By default {DEFAULT_PSF} if the model takes kernels, else none",
    )
    add_light(parser)
    add_range_and_axes(parser)
    parser.add_argument(
        "--tiling",
        choices=["auto", "whole", "exact", "local", "fast"],
        default="auto",
        help="whole: at once; exact: the same in tiles; local: channels are scaled by averages "
        "over the surroundings; fast: by averages over a sample; auto (the default): whole if it "
        "fits and is quick, else exact",
    )
    parser.add_argument("--tile", type=int, metavar="N", help="side of a tile in pixels")
    parser.add_argument(
        "--memory",
        type=_parse_memory,
        metavar="M",
        help="how much memory it may take, such as 4GB; by default a share of what is free",
    )
    parser.add_argument(
        "--precision",
        choices=["fp32", "tf32", "bf16", "fp16"],
        default="fp32",
        help="fp32 (the default), or on a GPU tf32, bf16 or fp16, which are faster",
    )
    parser.add_argument(
        "--scratch",
        type=Path,
        metavar="DIR",
        help="folder for scratch files, should memory not suffice",
    )
    add_overwrite(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from ..filejobs import is_image_folder, plan_file

    source: Path = arguments.input
    if is_image_folder(source):
        return _run_folder(arguments)
    if arguments.skip_existing and arguments.output.exists():
        print(f"{arguments.output} exists, so {source} was left out.")
        return 0
    job = plan_file(source, arguments.output, overwrite=arguments.overwrite)
    # Before anything is written: a mistake in the options is one for all files.
    model = chosen_model(arguments)
    options = _restore_options(arguments, model)
    start = time.perf_counter()
    result = _restore_file(job, options, arguments)
    if result.status != "done":
        raise CommandError(_complaint(job, result)) from result.error
    seconds = time.perf_counter() - start
    where = f"with {result.model} on {result.device}, {seconds:.1f} s"
    print(f"Restored {source} to {job.target} ({where}). {result.range_text}")
    return 0


def _run_folder(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..filejobs import common_ranges, plan_folder
    from ..restore import depends_on_values

    source: Path = arguments.input
    target: Path = arguments.output
    plan = plan_folder(
        source,
        target,
        overwrite=arguments.overwrite,
        skip_existing=arguments.skip_existing,
        recursive=arguments.recursive,
    )
    model = chosen_model(arguments)
    options = _restore_options(arguments, model)
    for path, reason in plan.left_out:
        print(f"darkdeblur: note: {path} is left out: {reason}.", file=sys.stderr)
    ranges = {}
    one_range = depends_on_values(options.value_range) and not arguments.range_per_file
    if one_range:
        # With those that are done already: they are frames of the same movie.
        sources = sorted((*plan.done, *(job.source for job in plan.jobs)))
        ranges = common_ranges(
            sources,
            options,
            series=arguments.series,
            separate_channels=arguments.separate_channels,
        )
    failed = 0
    start = time.perf_counter()
    device = device_of(model)
    models: set[str] = set()
    said: dict[str, int] = {}
    # tqdm shows nothing where standard error is not a terminal (disable=None).
    for job in tqdm(plan.jobs, unit="image", disable=None, leave=False):
        job.target.parent.mkdir(parents=True, exist_ok=True)
        chosen = ranges.get(job.source)
        if chosen is not None:
            own = replace(options, value_range=(chosen.black, chosen.white))
        else:
            own = options
        result = _restore_file(job, own, arguments)
        if result.status == "done":
            device = result.device
            models.add(result.model)
            text = chosen.text if chosen is not None else result.range_text
            said[text] = said.get(text, 0) + 1
            if not (one_range or text == next(iter(said))):
                tqdm.write(f"darkdeblur: note: {job.source}: {text}", file=sys.stderr)
            continue
        failed += 1
        tqdm.write(f"darkdeblur: error: {_complaint(job, result)}", file=sys.stderr)
    seconds = time.perf_counter() - start

    where = f"with {' and '.join(sorted(models) or [model.name])} on {device}, {seconds:.1f} s"
    done = f"Restored {len(plan.jobs) - failed} of {count(len(plan.jobs), 'image')} into {target}"
    skipped = f"; {len(plan.done)} existed already" if plan.done else ""
    print(f"{done} ({where}){f'; {failed} failed' if failed else ''}{skipped}.")
    if one_range:
        for text, images in said.items():
            print(f"{text} ({count(images, 'image')}, one range for all)")
    elif len(said) == 1:
        print(*said)
    elif said:
        print("Each image has its own values of black and white, see the notes.")
    return 1 if failed else 0


def _restore_options(arguments: argparse.Namespace, model: LoadedModel) -> RestoreOptions:
    from ..restore import RestoreOptions, takes_guides

    if arguments.scratch is not None and not arguments.scratch.is_dir():
        raise CommandError(f"--scratch {arguments.scratch} is not a folder.")
    psf = arguments.psf
    if psf is None:
        psf = DEFAULT_PSF if takes_guides(model.config) else "none"
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
        psf=psf,
        light=arguments.light,
    )


def _restore_file(job: FileJob, options: RestoreOptions, arguments: argparse.Namespace) -> Result:
    """Restore a file, with a progress bar and notes on standard error."""
    import torch
    from tqdm import tqdm

    from ..filejobs import restore_file
    from ..restore import Finished, ModelReady, Plan, PSFSearch, Result, Retried, TileDone
    from ..restore.tiling.memory import free_memory, freed_memory_kept

    def note(text: str) -> None:
        tqdm.write(f"darkdeblur: note: {job.source}: {text}", file=sys.stderr)

    def note_shortage(plan: Plan) -> None:
        if plan.scratch_bytes or {"host", "recompute"} & set(plan.storage.values()):
            note(f"Memory is short, so each plane is restored like this: {plan.describe()}.")

    events = restore_file(
        job,
        options,
        overwrite=arguments.overwrite,
        series=arguments.series,
        separate_channels=arguments.separate_channels,
    )
    told: int | None = None  # how many notes were; those of later planes come at the end
    result = Result("failed")
    layout = "{l_bar}{bar}| {postfix} [{elapsed}<{remaining}]"
    with ExitStack() as stack:
        bar = stack.enter_context(
            tqdm(total=1.0, desc=job.source.name, bar_format=layout, disable=None, leave=False)
        )
        for event in events:
            if isinstance(event, ModelReady):
                # Faster, but it may take almost twice the memory: only where that is plenty.
                room = free_memory(torch.device("cpu"))
                if options.memory is None and 2 * event.plan.peak_bytes < room:
                    stack.enter_context(freed_memory_kept())
                told = len(event.notes)
                for text in event.notes:
                    note(text)
                note_shortage(event.plan)
            elif isinstance(event, PSFSearch):
                bar.set_postfix_str(f"looking for the shake, {event.fraction:.0%}")
            elif isinstance(event, TileDone):
                plane = f"plane {event.plane + 1}/{event.planes}, " if event.planes > 1 else ""
                bar.set_postfix_str(f"{plane}tile {event.done}/{event.total}", refresh=False)
                bar.update(event.fraction - bar.n)
            elif isinstance(event, Retried):
                note(event.reason)
                note_shortage(event.plan)
            elif isinstance(event, Finished):
                result = event.result
                for text in () if told is None else result.notes[told:]:
                    note(text)
    return result


def _complaint(job: FileJob, result: Result) -> str:
    """Return why a file was not restored, in terms of this command."""
    from ..restore import ValueRangeError

    error = result.error
    if isinstance(error, ValueRangeError):
        return complaint_about_range(job.source, error)
    # The engine speaks of Python's arguments.
    message = re.sub(r"\baxes='(\w+)'", r"--axes \1", result.message)
    names_file = str(job.source) in message or str(job.target) in message
    return message if names_file else f"{job.source}: {message}"


def _parse_memory(text: str) -> int:
    from ..restore.units import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None
