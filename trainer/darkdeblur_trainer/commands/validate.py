"""``darkdeblur-train validate``: the acceptance tables."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_darkdeblur.arguments import CommandError

from . import options

if TYPE_CHECKING:
    from torch import Tensor

    from napari_darkdeblur.network import LoadedModel

    from ..acceptance.scores import Way
    from ..data import ImageCache
    from ..synthesis import Degradation
    from ..validation import ValidationPair

# What weights are accepted by. The last is of microscopy frames, the others of photographs.
PRESETS = ("paper", "night", "unblurred", "microscopy")
FRAMES_PRESET = "microscopy"
# Few frames there are; each is degraded in several ways.
FRAME_PAIRS = 16
CURVE_IMAGES = 8


def add_to(commands: Any) -> None:
    """Add the command to ``darkdeblur-train``'s."""
    parser = commands.add_parser(
        "validate",
        help="measure weights on fixed synthesised pairs",
        description="Degrade every image of DIR in ways that are the same each time, restore it, "
        "and compare with the original: the input, each model, and two methods that do not learn "
        "and are given the true blur kernel.",
    )
    parser.add_argument("data", type=Path, metavar="DIR", help="folder of sharp photographs")
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        help="weights (name or path; default: all that are bundled); may be repeated",
    )
    parser.add_argument(
        "--tiling",
        action="append",
        choices=["whole", "exact", "local", "fast"],
        help="how to restore (default: whole); may be repeated",
    )
    parser.add_argument(
        "--preset",
        action="append",
        metavar="NAME",
        help=f"{', '.join(PRESETS)} (default: all of them); may be repeated",
    )
    options.add_settings(parser, "the presets")
    parser.add_argument(
        "--frames",
        type=Path,
        metavar="DIR",
        help=f"grey frames for the preset {FRAMES_PRESET} (default: two of scikit-image's)",
    )
    parser.add_argument("--no-baselines", action="store_true", help="leave the two methods out")
    parser.add_argument("--images", type=int, default=1000, help="use at most so many")
    parser.add_argument("--crop", type=int, default=512, help="side of the central crop, pixels")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every image's numbers")
    parser.add_argument(
        "--curves",
        type=Path,
        metavar="FILE",
        help="draw the gain against blur, noise and darkness as a PNG file, and write its "
        "numbers beside it as a CSV file",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace these files")
    options.add_device(parser)
    options.add_cache(parser)
    options.add_quiet(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from napari_darkdeblur.restore import choose_device

    from ..acceptance.baselines import lucy, wiener
    from ..acceptance.curves import curves, write_curves
    from ..acceptance.plot import draw_curves, require_matplotlib
    from ..acceptance.scores import rows, scores
    from ..acceptance.tables import table, write_csv
    from ..config import ValidationConfig
    from ..config_files import parse_section
    from ..data import cache_images, default_cache_folder, find_images
    from ..synthesis_files import degradation_from_options

    outputs = _outputs(arguments)
    if arguments.curves is not None:
        require_matplotlib()
    device = choose_device(arguments.device)
    ways = _models(arguments.model, arguments.tiling or ["whole"], arguments.device)
    if not arguments.no_baselines:
        ways |= {"Wiener, true kernel": wiener, "Richardson-Lucy, true kernel": lucy}
    presets = arguments.preset or PRESETS
    groups = [
        (preset, degradation_from_options(preset, arguments.set))
        for preset in dict.fromkeys(presets)
    ]
    config = parse_section(ValidationConfig, {"images": arguments.images, "crop": arguments.crop})
    show = not arguments.quiet
    folder = arguments.cache or default_cache_folder()
    cache = cache_images(find_images(arguments.data), folder, progress=show)
    frames = None
    if arguments.frames is not None:
        frames = cache_images(find_images(arguments.frames), folder, progress=show)

    count = min(config.images, len(cache))
    frame_count = min(config.images, FRAME_PAIRS)
    pairs = _pairs(groups, cache, frames, (count, frame_count), config.crop)
    total = sum(frame_count if preset == FRAMES_PRESET else count for preset, _ in groups)
    found = scores(pairs, ways, total=total, progress=show)
    if arguments.csv is not None:
        write_csv(arguments.csv, found)
    print(f"{count} photographs, {config.crop} pixels a side, {device}:")
    unblurred = [preset for preset, degradation in groups if degradation.unblurred == 1]
    print(table(rows(found), unblurred, markdown=arguments.markdown))
    if arguments.curves is not None:
        few = min(count, CURVE_IMAGES)
        points = curves(cache, few, config.crop, ways, progress=show)
        write_curves(arguments.curves.with_suffix(".csv"), points)
        draw_curves(arguments.curves, points, _caption(few, config.crop))
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
    if len(set(outputs)) < len(outputs):
        raise CommandError(f"--csv and --curves would both write {arguments.csv}.")
    for path in outputs:
        if path.exists() and not arguments.overwrite:
            raise CommandError(f"{path} exists; give --overwrite to replace it.")
        if not path.parent.is_dir():
            raise CommandError(f"There is no folder {path.parent} to write {path.name} to.")
    return outputs


def _models(names: Sequence[str] | None, tilings: Sequence[str], device: str) -> dict[str, Way]:
    """Return ways of restoring, by what the table calls them."""
    from napari_darkdeblur.network import list_models
    from napari_darkdeblur.restore import load_model

    given = names or [str(entry.path) for entry in list_models() if entry.origin == "bundled"]
    models = [load_model(name, device) for name in given]
    found = [model.name for model in models]
    ways: dict[str, Way] = {}
    for model, text in zip(models, given, strict=True):
        # Two files of the same name in different folders are told apart by what was typed.
        label = model.name if found.count(model.name) == 1 else text
        for tiling in tilings:
            name = label if len(tilings) == 1 else f"{label}, {tiling}"
            ways[name] = _by_model(model, device, tiling)
    return ways


def _by_model(model: LoadedModel, device: str, tiling: str) -> Way:
    import torch

    from napari_darkdeblur.restore import deblur

    def restore(pair: ValidationPair) -> Tensor:
        grey = len(pair.blurred) == 1
        pixels = (pair.blurred[0] if grey else pair.blurred.permute(1, 2, 0)).numpy()
        axes = "YX" if grey else "YXC"
        restored = torch.from_numpy(deblur(pixels, model, device, axes=axes, tiling=tiling))
        return restored[None] if grey else restored.permute(2, 0, 1)

    return restore


def _pairs(
    groups: Sequence[tuple[str, Degradation]],
    photographs: ImageCache,
    frames: ImageCache | None,
    counts: tuple[int, int],
    crop: int,
) -> Iterator[ValidationPair]:
    """Yield the pairs of all groups; ``counts`` are those of photographs and of frames."""
    from ..acceptance.frames import grey_frames, microscopy_frames
    from ..validation import degraded

    for preset, degradation in groups:
        if preset != FRAMES_PRESET:
            images = ((photographs.names[i], photographs.image(i)) for i in range(counts[0]))
            yield from degraded(preset, images, degradation, crop)
            continue
        grey = microscopy_frames() if frames is None else grey_frames(frames)
        repeated = itertools.islice(itertools.cycle(grey), counts[1])
        for pair in degraded(preset, repeated, degradation, crop):
            # A grey camera has one noise, not three.
            yield replace(pair, blurred=pair.blurred[:1], sharp=pair.sharp[:1])


def _caption(count: int, crop: int) -> str:
    from ..acceptance.curves import BLUR, EXPOSURE, NOISE

    return (
        f"{count} photographs of {crop} pixels, camera shake in linear light. While one setting "
        f"varies, the others are: path {BLUR:g} pixels, noise {NOISE:g}, exposure {EXPOSURE:g}."
    )
