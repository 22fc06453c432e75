"""The command ``python -m benchmarks applications``: options, tables and files.

Exit codes: 0 all done; 2 a mistake on the command line, or an application that could not run.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, stdev

import torch
from tqdm import tqdm

from darkdeblur_trainer.benchmark.tables import in_markdown
from napari_darkdeblur.arguments import ArgumentParser, CommandError
from napari_darkdeblur.atomic import atomic_write, write_csv_rows
from napari_darkdeblur.errors import DarkDeblurError, sentence_of
from napari_darkdeblur.imagefiles import write_image
from napari_darkdeblur.restore import load_model
from napari_darkdeblur.weights import DEFAULT_MODEL

from .detection import DETECTION, check_inputs
from .images import AFTER_FOUND, IMAGES, Application, Metric, Sample, Settings, figure
from .nuclei import NUCLEI
from .text import TEXT

APPLICATIONS = {each.name: each for each in (TEXT, NUCLEI, DETECTION)}
TABLES, MEASUREMENTS = "applications.md", "applications.csv"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the applications that were asked for.

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
        After ``--help``.
    """
    try:
        return _run(_parser().parse_args(argv))
    except (DarkDeblurError, OSError) as error:
        _complain(error)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(
        prog="python -m benchmarks applications",
        description="Measure what other programs make of dark and blurred images, of the same "
        "restored, and of the sharp ones.",
    )
    parser.add_argument(
        "application",
        nargs="*",
        help=f"{', '.join(APPLICATIONS)}; default: all, detection only with --detector",
    )
    parser.add_argument("--quick", action="store_true", help="one small image of each kind")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="name or path of the weights (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="write the tables, every measurement as CSV, and a picture of each application",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    detection = parser.add_argument_group("detection")
    detection.add_argument(
        "--detector",
        metavar="MODULE:FUNCTION",
        help="takes an image, (H, W, 3) uint8, and returns a list of (box, label, score), the box "
        "being left, top, right and bottom; or a label mask, (H, W) integers",
    )
    detection.add_argument("--images", type=Path, metavar="FOLDER", help="sharp images")
    detection.add_argument(
        "--annotations",
        type=Path,
        metavar="FILE",
        help="COCO annotations (JSON) of the images; without, what the detector finds in the "
        "sharp image is the reference",
    )
    detection.add_argument(
        "--count", type=int, default=10, metavar="N", help="use at most N images (default: 10)"
    )
    detection.add_argument(
        "--kernels",
        type=int,
        default=1,
        metavar="N",
        help="blur each image with N kernels of each size (default: 1)",
    )
    return parser


def _run(arguments: argparse.Namespace) -> int:
    chosen = _chosen(arguments)
    _check_output(arguments, chosen)
    settings = Settings(
        load_model(arguments.model),
        arguments.quick,
        arguments.seed,
        arguments.detector,
        arguments.images,
        arguments.annotations,
        arguments.count,
        arguments.kernels,
    )
    if DETECTION in chosen:
        check_inputs(settings)  # before minutes of work
    started, cpu = time.perf_counter(), _cpu_seconds()
    measured: dict[str, list[Sample]] = {}
    texts = [
        f"{settings.model.name}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, {platform.system()}; seed {settings.seed}"
    ]
    print(texts[0])
    failed = False
    for application in chosen:
        try:
            bar = tqdm(desc=application.name, unit="image", disable=None, leave=False)
            found = []
            with bar, _no_guesses_told():
                for sample in application.samples(settings):
                    found.append(sample)
                    bar.update()
        except (DarkDeblurError, OSError) as error:
            failed = True
            _complain(error)
            continue
        measured[application.name] = found
        text = f"## {application.name}\n\n{table(application, found)}\n\n"
        text += f"{application.notes(settings)}"
        print(f"\n{text}", flush=True)
        texts.append(text)
    print(
        f"\nMeans ± standard deviations over n images. {time.perf_counter() - started:.0f} s, of "
        f"CPU time {_cpu_seconds() - cpu:.0f} s."
    )
    if arguments.out is not None and measured:
        _write(arguments.out, texts, measured)
    return 2 if failed else 0


def _cpu_seconds() -> float:
    """Return the CPU time of this process and of those that it started."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@contextmanager
def _no_guesses_told() -> Iterator[None]:
    """Keep quiet about which black and white are guessed for each frame."""
    logger = logging.getLogger("napari_darkdeblur")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _chosen(arguments: argparse.Namespace) -> list[Application]:
    """Return the applications to run; detection only if it is asked for."""
    unknown = [name for name in arguments.application if name not in APPLICATIONS]
    if unknown:
        raise CommandError(
            f"There is no application {unknown[0]!r}; there are {', '.join(APPLICATIONS)}."
        )
    for option in ("count", "kernels"):
        if getattr(arguments, option) < 1:
            raise CommandError(f"--{option} must be at least 1, not {getattr(arguments, option)}.")
    if arguments.seed < 0:
        raise CommandError(f"--seed must not be negative, as {arguments.seed} is.")
    names = arguments.application or list(APPLICATIONS)
    asked = "detection" in arguments.application or any(
        value is not None for value in (arguments.detector, arguments.images, arguments.annotations)
    )
    if asked and "detection" not in names:
        raise CommandError(
            "--detector, --images and --annotations are for detection, which was not asked for; "
            "add the word detection."
        )
    return [
        application
        for name, application in APPLICATIONS.items()
        if name in names and (asked or name != "detection")
    ]


def _check_output(arguments: argparse.Namespace, chosen: Sequence[Application]) -> None:
    """Refuse what would only fail at the end of the work."""
    folder: Path | None = arguments.out
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"{folder} is a file; name a folder with --out.")
    names = [TABLES, MEASUREMENTS, *(f"{application.name}.png" for application in chosen)]
    existing = [name for name in names if (folder / name).exists()]
    if existing and not arguments.overwrite:
        raise CommandError(
            f"{folder} holds {', '.join(existing)} already; pass --overwrite to replace them, or "
            "choose another folder with --out."
        )


def table(application: Application, samples: Sequence[Sample]) -> str:
    """Format means and standard deviations over the samples of a kind and a blur, in Markdown.

    Parameters
    ----------
    application : Application
        Application whose metrics are columns.
    samples : sequence of Sample
        Its samples.
    """
    head = ["scene", "blur (px rms)", "n", "image", "PSF used"]
    head += [metric.heading for metric in application.metrics]
    lines = []
    for kind in dict.fromkeys(sample.kind for sample in samples):
        for blur in dict.fromkeys(sample.blur for sample in samples):
            some = [s for s in samples if (s.kind, s.blur) == (kind, blur)]
            for image in IMAGES if some else ():
                used = f"{sum(s.psf_used for s in some)} of {len(some)}"
                cells = [kind, f"{blur:g}", str(len(some)), image]
                cells.append(used if image == AFTER_FOUND else "")
                for metric in application.metrics:
                    values = [sample.measured[image][metric.key] for sample in some]
                    cells.append(mean_and_spread(values, metric))
                lines.append(cells)
    return in_markdown(head, lines, names=1)


def mean_and_spread(values: Sequence[float], metric: Metric) -> str:
    """Format the mean and the standard deviation (of a sample) of values that are not nan.

    Parameters
    ----------
    values : sequence of float
        At least one; without any that is a number, a dash is returned.
    metric : Metric
        Its format.
    """
    numbers = [value for value in values if not math.isnan(value)]
    if not numbers:
        return "–"
    mean = format(fmean(numbers), metric.form)
    if len(numbers) == 1:
        return mean
    return f"{mean} ± {stdev(numbers):{metric.form.lstrip('+')}}"


def _write(folder: Path, texts: Sequence[str], measured: dict[str, list[Sample]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[list[object]] = [
        ["application", "scene", "sample", "blur (px rms)", "image", "PSF used", "metric", "value"]
    ]
    for name, samples in measured.items():
        for s in samples:
            for image, values in s.measured.items():
                used = s.psf_used and image == AFTER_FOUND
                for metric, value in values.items():
                    number = "" if math.isnan(value) else value
                    rows.append([name, s.kind, s.name, s.blur, image, used, metric, number])
    write_csv_rows(folder / MEASUREMENTS, rows)
    with atomic_write(folder / TABLES) as part:
        part.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    written = [MEASUREMENTS, TABLES]
    for name, samples in measured.items():
        picture = write_image(folder / f"{name}.png", figure(_shown(samples)), overwrite=True)
        written.append(picture.name)
    print(f"\nWrote {', '.join(written)} to {folder}.")


def _shown(samples: Sequence[Sample]) -> list[Sample]:
    """Return the first sample of each kind with the blur in the middle."""
    blurs = sorted({sample.blur for sample in samples})
    middle = [sample for sample in samples if sample.blur == blurs[len(blurs) // 2]]
    return list({sample.kind: sample for sample in reversed(middle)}.values())[::-1]


def _complain(error: Exception) -> None:
    print(f"python -m benchmarks applications: error: {sentence_of(error)}", file=sys.stderr)
