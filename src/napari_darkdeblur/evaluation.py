"""Measuring restored image files against the sharp ones that they should be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .atomic import write_csv_rows
from .errors import DarkDeblurError, sentence_of
from .filejobs import image_files, is_image_folder
from .text_tables import format_aligned

if TYPE_CHECKING:
    from .restore import ImageView

Limits = tuple[float, float]


class EvaluationError(DarkDeblurError, ValueError):
    """What is to be measured makes no sense; the message is one sentence."""


@dataclass(frozen=True)
class FilePair:
    """A file and the one it is measured against.

    Parameters
    ----------
    restored, reference : pathlib.Path
        Image file that was restored, and the sharp one that it should be.
    """

    restored: Path
    reference: Path

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return self.restored.name


@dataclass(frozen=True)
class PlaneMeasurement:
    """What was measured of a plane.

    Parameters
    ----------
    image : str
        Name of the pair that the plane belongs to.
    plane : str
        The plane's place, such as ``"T 3"``; empty if the image has only one.
    numbers : dict of str to float
        As `metrics.measure` gives them.
    """

    image: str
    plane: str
    numbers: dict[str, float]


def plan_pairs(restored: Path, reference: Path) -> list[FilePair]:
    """List what is to be measured: two files, or the files of two folders by their names.

    Every image in the folder ``restored`` (not in its subfolders) needs one of the same name in
    ``reference``, where there may be more.

    Raises
    ------
    EvaluationError
        There is no such pair, or an image lacks its reference.
    """
    for path in (restored, reference):
        if not path.exists():
            raise EvaluationError(f"{path} does not exist.")
    if is_image_folder(restored) != is_image_folder(reference):
        whole = is_image_folder(restored)
        folder, file = (restored, reference) if whole else (reference, restored)
        raise EvaluationError(
            f"{folder} is a folder and {file} is a file; name two files or two folders."
        )
    if not is_image_folder(restored):
        return [FilePair(restored, reference)]
    pairs = [FilePair(path, reference / path.name) for path in image_files(restored)]
    if not pairs:
        raise EvaluationError(f"There are no images in {restored}.")
    alone = [pair.name for pair in pairs if not pair.reference.exists()]
    if alone:
        more = f" nor for {len(alone) - 1} more" if len(alone) > 1 else ""
        raise EvaluationError(
            f"There is no reference for {restored / alone[0]}{more}; {reference} must have an "
            "image of the same name for each."
        )
    return pairs


def measure_pair(
    pair: FilePair, axes: str | None = None, limits: Limits | None = None
) -> Iterator[PlaneMeasurement]:
    """Measure an image against its reference, plane by plane.

    Parameters
    ----------
    pair : FilePair
        Files that are compared.
    axes : str, optional
        The axes of both, such as ``"TYX"``; the default is what the files tell.
    limits : tuple of float, optional
        The values of black and of white in both files, to which they are limited; the default
        is 0 and the greatest value of each file's bit depth, or 0 and 1 for floats.

    Yields
    ------
    PlaneMeasurement
        One for each plane.

    Raises
    ------
    EvaluationError, ImageFileError, FileNotFoundError
        One of them cannot be read or measured, or they cannot be compared.
    """
    from .metrics import measure

    with ExitStack() as closing:
        restored = _view(pair.restored, axes, limits, closing)
        reference = _view(pair.reference, axes, limits, closing)
        first, second = _describe(restored), _describe(reference)
        if first != second:
            raise EvaluationError(
                f"{pair.restored} is {first} and {pair.reference} is {second}; only images of "
                "the same size and kind can be compared."
            )
        for plane in range(restored.plane_count):
            numbers = measure(_pixels(restored, plane), _pixels(reference, plane))
            yield PlaneMeasurement(pair.name, restored.describe(plane), numbers)


def mean_of(numbers: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each measure; NaN if one of them lacks it."""
    return {
        label: float(np.mean([each.get(label, np.nan) for each in numbers]))
        for label in _labels(numbers)
    }


def format_table(rows: Sequence[PlaneMeasurement]) -> str:
    """Return a table for people.

    Parameters
    ----------
    rows : sequence of PlaneMeasurement
        Of one image or more, at least one row.

    Returns
    -------
    str
        A line for each image with the mean of its planes, or for each plane of the only image,
        and a line with the mean of these. First the measures that need a reference, then the
        others, so that lines stay short.
    """
    from .metrics import metric_of

    by_image = {image: list(planes) for image, planes in groupby(rows, key=lambda each: each.image)}
    if len(by_image) == 1:
        lines = [(row.plane or row.image, row.numbers) for row in rows]
    else:
        lines = [
            (image, mean_of([row.numbers for row in planes])) for image, planes in by_image.items()
        ]
    if len(lines) > 1:
        lines.append((f"mean of {len(lines)}", mean_of([numbers for _, numbers in lines])))
    labels = _labels([numbers for _, numbers in lines])
    judged = [label for label in labels if metric_of(label).needs == "reference"]
    described = [label for label in labels if label not in judged]
    more, less = (
        ", ".join(label for label in judged if metric_of(label).better == better)
        for better in ("higher", "lower")
    )
    note = (
        f"More is better: {more}.\nLess is better: {less}.\n"
        "The others describe an image and do not judge it."
    )
    return "\n\n".join([_block(lines, judged), _block(lines, described), note])


def write_csv(path: Path, rows: Sequence[PlaneMeasurement]) -> None:
    """Write a table for programs: a line for each plane, all digits, no means.

    What an image is too small for is left empty; what it does not tell is ``nan``, and the PSNR
    of the same image is ``inf``.
    """
    labels = _labels([row.numbers for row in rows])
    lines = ([row.image, row.plane, *(row.numbers.get(each) for each in labels)] for row in rows)
    write_csv_rows(path, [["image", "plane", *labels], *lines])


def _labels(numbers: Sequence[dict[str, float]]) -> list[str]:
    """Return the measures that any of them has, in the usual order."""
    from .metrics import METRICS

    return [metric.label for metric in METRICS if any(metric.label in each for each in numbers)]


def _block(lines: Sequence[tuple[str, dict[str, float]]], labels: Sequence[str]) -> str:
    """Return lines with a name and some of the measures."""
    from .metrics import metric_of

    cells = [["", *labels]]
    for name, numbers in lines:
        values = (metric_of(label).text(numbers.get(label, np.nan)) for label in labels)
        cells.append([name, *values])
    return format_aligned(cells, names=1)


def _view(path: Path, axes: str | None, limits: Limits | None, closing: ExitStack) -> ImageView:
    """Open a file whose pixels are read as values from 0 to 1."""
    from .imagefiles import open_image
    from .restore import ImageView, ValueRangeError

    image = closing.enter_context(open_image(path))
    try:
        said = image.as_options()
        view = ImageView(
            image.pixels,
            axes or image.axes,
            limits or "dtype",
            full_scale=said.get("full_scale"),
        )
    except ValueRangeError as error:
        low, high = error.found
        raise EvaluationError(
            f"{path} has values from {low:.6g} to {high:.6g}, outside {error.allowed[0]:g} to "
            f"{error.allowed[1]:g}; give the values of black and of white with --range LO,HI."
        ) from error
    except DarkDeblurError as error:
        sentence = sentence_of(error)
        raise EvaluationError(
            sentence if str(path) in sentence else f"{path}: {sentence}"
        ) from error
    if view.nonfinite_count:
        raise EvaluationError(
            f"{path} has {view.nonfinite_count} values that are NaN or infinite; what is not a "
            "number cannot be measured, so replace them first."
        )
    return view


def _describe(view: ImageView) -> str:
    """Return what must be the same for two images to be compared. Alpha does not count."""
    kind = "grey" if view.axes.colour == "grey" else "colour"
    planes = " × ".join(map(str, view.axes.plane_shape))
    return f"{view.width} × {view.height} pixels, {kind}" + (f", {planes} planes" if planes else "")


def _pixels(view: ImageView, plane: int) -> NDArray[np.float32]:
    """Return a plane as metrics take it."""
    colours = view.read(plane)
    return colours[0] if view.axes.colour == "grey" else np.moveaxis(colours, 0, -1)
