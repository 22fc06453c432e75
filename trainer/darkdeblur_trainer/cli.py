"""``darkdeblur-train``: from a folder of sharp photographs to a weights file."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_darkdeblur import __version__
from napari_darkdeblur.arguments import ArgumentParser, CommandError
from napari_darkdeblur.errors import DarkDeblurError

if TYPE_CHECKING:
    import torch

    from napari_darkdeblur.network import LoadedModel

USER_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        Exit code: 0 done, 1 training failed, 2 a mistake in what was given, 128 + n stopped by
        signal n after saving.

    Raises
    ------
    SystemExit
        After ``--help`` and ``--version``.
    """
    try:
        arguments = parse_arguments(argv)
        code: int = arguments.run(arguments)
    except KeyboardInterrupt:
        return 130
    except CommandError as error:
        return _complain("error", error, USER_ERROR)
    except DarkDeblurError as error:
        # Imported late: torch takes seconds, and --help needs none of it.
        from .checkpoint import CheckpointError
        from .records import RecordError
        from .training import TrainingError

        if isinstance(error, (TrainingError, CheckpointError, RecordError)):
            return _complain("stopped", error, 1)
        return _complain("error", error, USER_ERROR)
    except OSError as error:
        return _complain("error", error, USER_ERROR)
    return code


def _complain(kind: str, error: Exception, code: int) -> int:
    # Of several processes that torchrun started, all know the error; one tells it.
    if os.environ.get("RANK", "0") == "0":
        print(f"darkdeblur-train: {kind}: {error}", file=sys.stderr)
    return code


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Divide the command line into its arguments, without carrying anything out.

    Raises
    ------
    CommandError
        There is no such command or option, or something is missing.
    SystemExit
        After ``--help`` and ``--version``.
    """
    parser = _parser()
    arguments, left = parser.parse_known_args(argv)
    # argparse takes positional arguments only where the first of them are; KEY=VALUE is as good
    # after the options.
    overrides = [text for text in left if "=" in text and not text.startswith("-")]
    takes_overrides = hasattr(arguments, "overrides")
    unknown = [text for text in left if not takes_overrides or text not in overrides]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if takes_overrides:
        arguments.overrides = [*arguments.overrides, *overrides]
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(
        prog="darkdeblur-train",
        description="Train the DarkDeblurNet generator and export its weights.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    fit = commands.add_parser(
        "fit",
        help="train, or continue a run that stopped",
        description="Train, or continue a run that stopped: the same command does both.",
    )
    fit.add_argument("config", help="a YAML file, or one of the bundled: paper, small, smoke")
    fit.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="such as optimizer.learning_rate=2e-4"
    )
    fit.add_argument("--data", type=Path, required=True, help="folder of training images")
    fit.add_argument("--out", type=Path, required=True, help="the run's folder")
    fit.add_argument("--validate", type=Path, metavar="DIR", help="folder of validation images")
    fit.add_argument("--vgg", type=Path, metavar="PATH", help="VGG-19 or VGG-16 weights")
    fit.add_argument("--init", metavar="WEIGHTS", help="start from a weights file (name or path)")
    fit.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    fit.add_argument("--max-minutes", type=_minutes, help="save and stop after so long")
    fit.add_argument("--cache", type=Path, metavar="DIR", help="where decoded images are kept")
    fit.add_argument("--quiet", action="store_true", help="show no progress")
    fit.set_defaults(run=_fit)

    export = commands.add_parser("export", help="write a run's weights for darkdeblur")
    export.add_argument("folder", type=Path, metavar="RUN", help="the run's folder")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    export.add_argument("--fp16", action="store_true", help="store half-precision numbers")
    export.add_argument("--summary", help="one line for lists of models")
    export.add_argument("--licence", default="", help="licence of the weights")
    export.add_argument("--overwrite", action="store_true")
    export.set_defaults(run=_export)

    check = commands.add_parser(
        "validate",
        help="measure weights on fixed synthesised pairs",
        description="Blur every image of DIR in ways that are the same each time, restore it, "
        "and compare with the original.",
    )
    check.add_argument("data", type=Path, metavar="DIR", help="folder of sharp images")
    check.add_argument(
        "--model", action="append", metavar="NAME", help="weights (name or path); may be repeated"
    )
    check.add_argument(
        "--tiling",
        action="append",
        choices=["whole", "exact", "local", "fast"],
        help="how to restore (default: whole); may be repeated",
    )
    check.add_argument("--preset", action="append", help="paper, night; may be repeated")
    check.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of the presets, such as kernel_length=[4,20]",
    )
    check.add_argument("--images", type=int, default=1000, help="use at most so many")
    check.add_argument("--crop", type=int, default=512, help="side of the central crop, pixels")
    check.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    check.add_argument("--cache", type=Path, metavar="DIR", help="where decoded images are kept")
    check.add_argument("--quiet", action="store_true", help="show no progress")
    check.set_defaults(run=_validate)

    prepare = commands.add_parser("prepare", help="decode training images into the cache")
    prepare.add_argument("data", type=Path)
    prepare.add_argument("--cache", type=Path, metavar="DIR", help="where decoded images are kept")
    prepare.set_defaults(run=_prepare)

    synth = commands.add_parser(
        "synth",
        help="write blurred and sharp image pairs",
        description="Write OUT/blurred/NAME.png and OUT/sharp/NAME.png for every image in IN.",
    )
    synth.add_argument("input", type=Path, metavar="IN", help="folder of sharp images")
    synth.add_argument("output", type=Path, metavar="OUT", help="folder for the pairs")
    _add_synthesis_options(synth)
    synth.add_argument("--each", type=int, default=1, help="pairs to make of every image")
    synth.add_argument("--overwrite", action="store_true")
    synth.set_defaults(run=_synth)

    kernels = commands.add_parser("kernels", help="draw a sheet of blur kernels to look at")
    kernels.add_argument("output", type=Path, metavar="FILE", help="a PNG file")
    _add_synthesis_options(kernels)
    kernels.add_argument("--count", type=int, default=96, help="how many")
    kernels.add_argument("--overwrite", action="store_true")
    kernels.set_defaults(run=_kernels)
    return parser


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 <= minutes < math.inf:
        raise ValueError
    return minutes


def _add_synthesis_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", default="night", help="paper or night (the default)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of the preset, such as kernel_length=[4,20]",
    )


def _fit(arguments: argparse.Namespace) -> int:
    from .config import load_config
    from .training import fit

    config = load_config(arguments.config, arguments.overrides)
    if arguments.validate is not None:
        # Asked here as well, because training images may take an hour to decode.
        config.blurred_for_validation()
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


def _export(arguments: argparse.Namespace) -> int:
    import torch

    from .export import export_run

    path = export_run(
        arguments.folder,
        arguments.output,
        dtype=torch.float16 if arguments.fp16 else torch.float32,
        summary=arguments.summary,
        licence=arguments.licence,
        overwrite=arguments.overwrite,
    )
    print(f"Wrote {path}. Use it with: darkdeblur deblur INPUT OUTPUT --model {path}")
    return 0


def _validate(arguments: argparse.Namespace) -> int:
    import torch

    from napari_darkdeblur.network import DEFAULT_MODEL
    from napari_darkdeblur.restore import deblur, load_model

    from .config import ValidationConfig, parse_section
    from .data import cache_images, default_cache_folder, find_images
    from .synthesis_files import degradation_from_options
    from .validation import measure, results_table, validation_pairs

    given = arguments.model or [DEFAULT_MODEL]
    models = [load_model(name, arguments.device) for name in given]
    names = [model.name for model in models]
    # Two files of the same name in different folders are told apart by what was typed.
    labels = [
        name if names.count(name) == 1 else text for name, text in zip(names, given, strict=True)
    ]
    tilings = arguments.tiling or ["whole"]
    degradations = [
        degradation_from_options(preset, arguments.set)
        for preset in arguments.preset or ["paper", "night"]
    ]
    config = parse_section(
        ValidationConfig,
        {"images": arguments.images, "crop": arguments.crop, "degradations": degradations},
    )
    folder = arguments.cache or default_cache_folder()
    show = not arguments.quiet
    cache = cache_images(find_images(arguments.data), folder, progress=show)
    pairs = validation_pairs(config, (cache,))
    results = {}
    for label, model in zip(labels, models, strict=True):
        for tiling in tilings:

            def restore(
                blurred: torch.Tensor, model: LoadedModel = model, tiling: str = tiling
            ) -> torch.Tensor:
                pixels = blurred.permute(1, 2, 0).numpy()
                restored = deblur(pixels, model, arguments.device, axes="YXC", tiling=tiling)
                return torch.from_numpy(restored).permute(2, 0, 1)

            name = label if len(tilings) == 1 else f"{label}, {tiling}"
            results[name] = measure(restore, pairs, progress=show)
    device = next(models[0].network.parameters()).device
    print(f"{min(config.images, len(cache))} images, {config.crop} pixels a side, {device}:")
    print(results_table(results))
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
    from .data import cache_images, default_cache_folder, find_images

    folder = arguments.cache or default_cache_folder()
    cache = cache_images(find_images(arguments.data), folder, progress=True)
    megapixels = float((cache.heights * cache.widths).sum()) / 1e6
    print(f"{len(cache)} images, {megapixels:.1f} megapixels, in {folder}.")
    return 0


def _synth(arguments: argparse.Namespace) -> int:
    from .synthesis_files import degradation_from_options, write_pairs

    degradation = degradation_from_options(arguments.preset, arguments.set)
    count = write_pairs(
        arguments.input,
        arguments.output,
        degradation,
        seed=arguments.seed,
        each=arguments.each,
        overwrite=arguments.overwrite,
    )
    print(f"Wrote {count} pairs to {arguments.output}.")
    return 0


def _kernels(arguments: argparse.Namespace) -> int:
    from .synthesis_files import degradation_from_options, write_kernel_sheet

    degradation = degradation_from_options(arguments.preset, arguments.set)
    write_kernel_sheet(
        arguments.output,
        degradation,
        count=arguments.count,
        seed=arguments.seed,
        overwrite=arguments.overwrite,
    )
    print(f"Wrote {arguments.output}.")
    return 0
