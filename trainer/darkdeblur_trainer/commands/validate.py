"""``darkdeblur-train validate``: the benchmark on synthesised pairs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_darkdeblur.arguments import CommandError

from . import options

if TYPE_CHECKING:
    import torch

    from ..benchmark.baselines import BlindDeconvolution
    from ..benchmark.methods import Method

PSFS = ("none", "true", "auto")
GROUPS = ("sizes", "varying", "smooth-shake", "paper", "unblurred", "microscopy")
CURVE_IMAGES = 8


def add_to(commands: Any) -> None:
    """Add the command to ``darkdeblur-train``'s."""
    parser = commands.add_parser(
        "validate",
        help="measure weights on fixed synthesised pairs",
        description="Degrade the images of DIR in ways that are the same each time, restore them, "
        "and compare with the originals: the input, each model without and with a PSF, what a "
        "perfect denoiser would gain, a plain denoiser, and two methods that do not learn and "
        "are given the true PSF.",
    )
    parser.add_argument("data", type=Path, metavar="DIR", help="folder of sharp photographs")
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        help="weights (name or path; default: all that are bundled); may be repeated",
    )
    parser.add_argument(
        "--psf",
        default="none,true",
        metavar="WAYS",
        help="how models that take a PSF are used, separated by commas: none, true (the kernel "
        "that was blurred with), auto (the kernel that they find themselves, which takes about "
        "a minute a photograph); default: none,true",
    )
    parser.add_argument(
        "--tiling",
        action="append",
        choices=["whole", "exact", "local", "fast"],
        help="how to restore (default: whole); may be repeated",
    )
    parser.add_argument(
        "--group",
        action="append",
        metavar="NAME",
        help=f"{', '.join(GROUPS)} (default: all of these), a preset, or none (no table); may "
        "be repeated",
    )
    options.add_settings(parser, "the groups")
    parser.add_argument(
        "--frames",
        type=Path,
        metavar="DIR",
        help="grey frames for the group microscopy (default: two of scikit-image's)",
    )
    parser.add_argument(
        "--denoiser",
        choices=["nl-means", "bm3d"],
        default="nl-means",
        help="the plain denoiser (default: nl-means); bm3d takes half a minute a photograph and "
        "the package of that name, which is for non-commercial use only",
    )
    parser.add_argument(
        "--blind",
        metavar="METHODS",
        help="also the classical methods that find the kernel themselves, separated by commas: "
        "dark-channel (minutes a photograph), light-streaks",
    )
    parser.add_argument(
        "--kernels",
        type=Path,
        metavar="DIR",
        help="write the kernels that these methods found as pictures, with a table",
    )
    parser.add_argument(
        "--no-baselines", action="store_true", help="leave out all that is not a model"
    )
    parser.add_argument(
        "--images", type=int, default=20, help="use at most so many photographs (default: 20)"
    )
    parser.add_argument(
        "--crop", type=int, default=512, help="side of the central crop in pixels (default: 512)"
    )
    parser.add_argument("--markdown", action="store_true", help="print the tables in Markdown")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every image's numbers")
    parser.add_argument(
        "--curves",
        type=Path,
        metavar="FILE",
        help="draw the gain against blur, noise and darkness as a PNG file, and write its "
        "numbers beside it as a CSV file",
    )
    parser.add_argument(
        "--measurements",
        type=Path,
        metavar="FILE",
        help="measure number, area and brightness of objects (nuclei, lamps) before and after "
        "restoring, and write every frame's numbers as a CSV file",
    )
    parser.add_argument(
        "--nuclei",
        type=Path,
        metavar="DIR",
        help="sharp frames of bright objects to measure beside the rendered ones",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace these files")
    options.add_device(parser)
    options.add_cache(parser)
    options.add_quiet(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from napari_darkdeblur.restore import choose_device

    from ..batches import load_images
    from ..benchmark.baselines import write_kernels
    from ..benchmark.curves import curves, draw_curves, require_matplotlib, write_curves
    from ..benchmark.groups import benchmark_groups, grey_frames, group_pairs
    from ..benchmark.objects import object_pairs, object_scores, object_table, write_objects
    from ..benchmark.scores import score_methods, summarize
    from ..benchmark.tables import gain_table, of_models, table, write_csv
    from ..config import TrainConfig, ValidationConfig
    from ..config_files import parse_section
    from ..data import ImageCache, default_cache_folder

    outputs = _outputs(arguments)
    if arguments.curves is not None:
        require_matplotlib()
    names = arguments.group or list(GROUPS)
    groups = benchmark_groups([name for name in names if name != "none"], arguments.set)
    config = parse_section(ValidationConfig, {"images": arguments.images, "crop": arguments.crop})
    device = choose_device(arguments.device)
    models = _models(arguments)
    methods = dict(models)
    if not arguments.no_baselines:
        methods |= _baselines(arguments.denoiser)
    blind = _blind_methods(arguments)
    methods |= {method.name: method for method in blind}
    show = not arguments.quiet
    folder = arguments.cache or default_cache_folder()

    def load(given: Path) -> ImageCache:
        images = load_images(TrainConfig(), given, folder, show)
        for line in images.describe():
            print(line, file=sys.stderr)
        return images.caches[0]

    cache = load(arguments.data)
    frames, nuclei = (
        None if given is None else load(given) for given in (arguments.frames, arguments.nuclei)
    )

    count = min(config.images, len(cache))
    with _one_thread_a_worker(device) as workers:
        if groups:
            found = score_methods(
                group_pairs(groups, cache, frames, config.images, config.crop),
                methods,
                workers=workers,
                total=sum(group.count(config.images, len(cache)) for group in groups),
                progress=show,
            )
            if arguments.csv is not None:
                write_csv(arguments.csv, found)
            if arguments.kernels is not None:
                write_kernels(
                    arguments.kernels, [kernel for each in blind for kernel in each.found]
                )
            lines = summarize(found)
            unblurred = [group.name for group in groups if group.degradation.unblurred == 1]
            print(f"{count} photographs, {config.crop} pixels a side, {device}:\n")
            print(gain_table(lines, markdown=arguments.markdown))
            print()
            print(table(of_models(lines), unblurred, markdown=arguments.markdown))
        if arguments.curves is not None:
            few = min(count, CURVE_IMAGES)
            points = curves(cache, few, config.crop, methods, workers=workers, progress=show)
            write_curves(arguments.curves.with_suffix(".csv"), points)
            draw_curves(arguments.curves, points, _caption(few, config.crop))
        if arguments.measurements is not None:
            own = grey_frames(nuclei) if nuclei is not None else ()
            measured = object_scores(object_pairs(config.crop, own), models, progress=show)
            write_objects(arguments.measurements, measured)
            print(f"\nObjects, bias against the noise-free sharp frame, {config.crop} pixels:\n")
            print(object_table(measured, markdown=arguments.markdown))
    for path in outputs:
        print(f"Wrote {path}.")
    return 0


def _outputs(arguments: argparse.Namespace) -> list[Path]:
    """Return the files that will be written; refused now if that cannot be."""
    outputs = [] if arguments.csv is None else [arguments.csv]
    if arguments.curves is not None:
        if arguments.curves.suffix.lower() != ".png":
            raise CommandError(f"--curves draws a PNG file, {arguments.curves} does not end so.")
        outputs += [arguments.curves, arguments.curves.with_suffix(".csv")]
    if arguments.measurements is not None:
        outputs.append(arguments.measurements)
    elif arguments.nuclei is not None:
        raise CommandError("--nuclei names frames for --measurements FILE, which is not given.")
    for path in outputs:
        if outputs.count(path) > 1:
            raise CommandError(f"--csv, --curves and --measurements would write {path} twice.")
    for path in outputs:
        if path.exists() and not arguments.overwrite:
            raise CommandError(f"{path} exists; give --overwrite to replace it.")
        if not path.parent.is_dir():
            raise CommandError(f"There is no folder {path.parent} to write {path.name} to.")
    return outputs


def _models(arguments: argparse.Namespace) -> dict[str, Method]:
    """Return methods of restoring by models, by what the table calls them."""
    from napari_darkdeblur.network import list_models
    from napari_darkdeblur.restore import load_model, takes_guides

    from ..benchmark.methods import PSF_LABELS, model_method

    psfs = list(dict.fromkeys(arguments.psf.split(",")))
    for psf in psfs:
        if psf not in PSFS:
            raise CommandError(f"--psf takes {', '.join(PSFS)}, separated by commas; not {psf!r}.")
    bundled = [str(entry.path) for entry in list_models() if entry.origin == "bundled"]
    given = arguments.model or bundled
    models = [load_model(name, arguments.device) for name in given]
    if "none" not in psfs and not any(takes_guides(model.config) for model in models):
        raise CommandError(f"--psf {arguments.psf} measures nothing: none of the models takes one.")
    found = [model.name for model in models]
    tilings = arguments.tiling or ["whole"]
    methods: dict[str, Method] = {}
    for model, text in zip(models, given, strict=True):
        # Two files of the same name in different folders are told apart by what was typed.
        label = model.name if found.count(model.name) == 1 else text
        for psf in psfs:
            if psf != "none" and not takes_guides(model.config):
                continue
            for tiling in tilings:
                name = label + PSF_LABELS[psf]
                name += "" if len(tilings) == 1 else f", {tiling}"
                methods[name] = model_method(model, psf, tiling)
    return methods


def _baselines(denoiser: str) -> dict[str, Method]:
    """Return all that is not a model, with one of the plain denoisers."""
    from ..benchmark.baselines import BASELINES, require_bm3d, require_wavelets

    require_wavelets()
    if denoiser == "bm3d":
        require_bm3d()
    other = "BM3D" if denoiser == "nl-means" else "NL-means"
    return {name: method for name, method in BASELINES.items() if name != other}


def _blind_methods(arguments: argparse.Namespace) -> list[BlindDeconvolution]:
    """Return the methods that find the kernel themselves."""
    from ..benchmark.baselines import BLIND

    names = [] if arguments.blind is None else list(dict.fromkeys(arguments.blind.split(",")))
    for name in names:
        if name not in BLIND:
            raise CommandError(f"--blind takes {', '.join(BLIND)}, not {name!r}.")
    if arguments.kernels is not None:
        if not names:
            raise CommandError("--kernels writes what --blind METHODS finds, which is not given.")
        if arguments.kernels.exists() and not arguments.overwrite:
            raise CommandError(f"{arguments.kernels} exists; give --overwrite to write into it.")
    return [make(label) for label, make in (BLIND[name] for name in names)]


@contextmanager
def _one_thread_a_worker(device: torch.device) -> Iterator[int]:
    """Yield how many images to work on at once: on a CPU one for each of torch's threads.

    Much of the work is in methods that use one core; two images at once use both.
    """
    import torch

    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield 1
        return
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _caption(count: int, crop: int) -> str:
    from ..benchmark.curves import BLUR, EXPOSURE, NOISE

    return (
        f"{count} photographs of {crop} pixels, camera shake in linear light. While one setting "
        f"varies, the others are: blur of {BLUR:g} pixels, noise {NOISE:g}, exposure {EXPOSURE:g}."
    )
