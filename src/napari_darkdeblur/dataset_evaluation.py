"""Models and other people's results measured on data sets of pairs, as papers do.

Conventions, the same for all of them: images are compared as 8-bit RGB (or grey) files, in sRGB
values, over the whole frame, by the functions of `metrics`; docs/metrics.md has them in words.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .atomic import atomic_write, write_csv_rows
from .datasets import LAYOUTS, Dataset, DatasetPair, images_by_stem
from .errors import DarkDeblurError, sentence_of
from .evaluation import EvaluationError
from .text_tables import format_markdown

if TYPE_CHECKING:
    from PIL import Image

    from .metrics.lpips import LPIPS
    from .network import LoadedModel

Pixels = NDArray[Any]
# Maps a pair and its blurred image to what was restored, an image of the same shape and kind.
Restorer = Callable[[DatasetPair, Pixels], Pixels]

INPUT = "blurred"
# Added to the name of a model that searched each image's kernel.
FOUND_PSF = ", found PSF"
# By the key in files: what tables call it, its digits, and whether more is better.
COLUMNS: dict[str, tuple[str, int, bool]] = {
    "psnr": ("PSNR (dB)", 2, True),
    "ssim": ("SSIM", 4, True),
    "ms_ssim": ("MS-SSIM", 4, True),
    "ciede2000": ("CIEDE2000", 2, False),
    "cie76": ("CIE76", 2, False),
    "lpips": ("LPIPS", 4, False),
}
_RESAMPLES = 2000
_CONFIDENCE = 0.95
# Width in pixels of an image on the contact sheet.
_SHEET_WIDTH = 320


@dataclass(frozen=True)
class ImageScore:
    """Metrics of one method on one image.

    Parameters
    ----------
    dataset : str
        Name of the data set.
    image : str
        Name of the pair.
    method : str
        Name of the method; `INPUT` for the blurred image itself.
    metrics : dict of float
        Values by the keys of `COLUMNS`; MS-SSIM only where both sides have 161 pixels, LPIPS only
        if it was asked for.
    """

    dataset: str
    image: str
    method: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Failure:
    """An image that could not be measured, and why."""

    dataset: str
    image: str
    method: str
    problem: str


@dataclass(frozen=True)
class Interval:
    """Mean over images with a bootstrap interval.

    Parameters
    ----------
    mean : float
        Mean of the values.
    low, high : float
        Ends of the 95 % percentile interval of the mean over resamples of the images.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class DatasetSummary:
    """Metrics of one method over a data set.

    Parameters
    ----------
    dataset, method : str
        Names of the data set and of the method.
    images : int
        Number of images that were measured.
    metrics : dict of Interval
        Means by the keys of `COLUMNS`, and ``"gain"``, that of PSNR over the input in dB.
    """

    dataset: str
    method: str
    images: int
    metrics: dict[str, Interval]


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured how; results of other settings are not mixed.

    Parameters
    ----------
    methods : tuple of str
        Names of the methods, the input being the first.
    border : int
        Pixels that are left out at each border before anything is measured.
    shift : int or None
        Largest shift in pixels over which a result is compared with its reference; by default
        that of the layout.
    details : dict of str
        Whatever else results depend on, such as the SHA-256 of models.
    """

    methods: tuple[str, ...]
    border: int = 0
    shift: int | None = None
    details: dict[str, str] = field(default_factory=dict)

    def shift_of(self, layout: str) -> int:
        """Return the largest shift for a layout."""
        if self.shift is not None:
            return self.shift
        return LAYOUTS[layout].shift if layout in LAYOUTS else 0


@dataclass
class Results:
    """Scores and failures so far; with a file, they are kept there and read again.

    Parameters
    ----------
    path : pathlib.Path, optional
        File of lines of JSON.
    settings : EvaluationSettings
        EvaluationSettings of the evaluation.

    Raises
    ------
    EvaluationError
        The file holds results of other settings.
    """

    path: Path | None
    settings: EvaluationSettings
    scores: list[ImageScore] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.path is None:
            return
        settings = json.loads(json.dumps(asdict(self.settings)))
        if not self.path.exists():
            self.path.write_text(json.dumps({"settings": settings}) + "\n", encoding="utf-8")
            return
        lines = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:  # where an earlier call was killed
                continue
        if not lines or lines[0].get("settings") != settings:
            raise EvaluationError(
                f"{self.path} holds results of other methods or settings; choose another -o, or "
                "pass --overwrite to begin again."
            )
        scores = [ImageScore(**line) for line in lines[1:] if "metrics" in line]
        methods: dict[tuple[str, str], set[str]] = {}
        for score in scores:
            methods.setdefault((score.dataset, score.image), set()).add(score.method)
        # An image that is not complete is measured again with all methods.
        self.scores = [
            score
            for score in scores
            if methods[score.dataset, score.image] >= set(self.settings.methods)
        ]
        with atomic_write(self.path) as part:
            kept = [lines[0], *map(asdict, self.scores)]
            part.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def has(self, dataset: str, image: str) -> bool:
        """Whether an image was measured with all methods."""
        place = dataset, image
        done = {score.method for score in self.scores if (score.dataset, score.image) == place}
        return done >= set(self.settings.methods)

    def add(self, found: Sequence[ImageScore | Failure]) -> None:
        """Add what was measured of an image, and write it at once."""
        self.scores += [each for each in found if isinstance(each, ImageScore)]
        self.failures += [each for each in found if isinstance(each, Failure)]
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.writelines(json.dumps(asdict(each)) + "\n" for each in found)


def model_restorer(model: LoadedModel, psf: str, tiling: str) -> Restorer:
    """Return a restorer that uses a model as `deblur` does.

    Parameters
    ----------
    model : LoadedModel
        Model, on the device that it runs on.
    psf : str
        ``"none"``, or ``"auto"`` to search each image's kernel if the model takes one.
    tiling : str
        Tiling mode; see `deblur`.
    """
    from .restore import deblur, takes_guides

    device = str(next(model.network.parameters()).device)
    chosen = psf if psf != "none" and takes_guides(model.config) else None

    def restore(pair: DatasetPair, blurred: Pixels) -> Pixels:
        axes = "YXC" if blurred.ndim == 3 else "YX"
        restored: Pixels = deblur(
            blurred, model, device, axes=axes, value_range="dtype", tiling=tiling, psf=chosen
        )
        return restored

    return restore


def folder_restorer(folder: Path) -> Restorer:
    """Return a restorer that reads results from a folder, by the names of pairs or blurred files.

    Raises
    ------
    DataError
        There is no image in the folder.
    """
    by_name = images_by_stem(folder)
    by_file: dict[str, list[Path]] = {}
    for name, path in by_name.items():
        by_file.setdefault(name.rpartition("/")[2], []).append(path)

    def restore(pair: DatasetPair, blurred: Pixels) -> Pixels:
        found = by_name.get(pair.name)
        if found is None:
            candidates = by_file.get(pair.name.rpartition("/")[2], [])
            candidates = candidates or by_file.get(pair.blurred.stem, [])
            if len(candidates) != 1:
                what = "no result" if not candidates else f"{len(candidates)} results"
                raise EvaluationError(f"there is {what} for {pair.name!r} in {folder}.")
            found = candidates[0]
        return read_pixels(found)

    return restore


def read_pixels(path: Path) -> Pixels:
    """Read an image without its transparency, (H, W) or (H, W, 3), of its own dtype."""
    from .imagefiles import read_image

    pixels: Pixels = read_image(path).pixels
    if pixels.ndim == 2:
        return pixels
    colour: Pixels = pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels[:, :, 0]
    return colour


def as_unit_range(pixels: Pixels) -> NDArray[np.float64]:
    """Return an image in double precision, the greatest value of integers as 1, floats as is."""
    values = pixels.astype(np.float64)
    return values / np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else values


def as_eight_bit(pixels: Pixels) -> NDArray[np.float64]:
    """Return what an 8-bit file of an image would hold, in 0..1."""
    rounded: NDArray[np.float64] = np.rint(np.clip(as_unit_range(pixels), 0, 1) * 255) / 255
    return rounded


def best_shift(restored: Pixels, reference: Pixels, largest: int) -> tuple[int, int]:
    """Return the shift (rows, columns) of a reference at which it is nearest to an image.

    All whole shifts up to ``largest`` pixels are compared, over what lies inside for all of them.

    Parameters
    ----------
    restored, reference : ndarray
        Images of one shape, (H, W) or (H, W, 3).
    largest : int
        Largest shift in pixels in either direction.
    """
    from scipy.signal import fftconvolve

    if largest == 0:
        return 0, 0
    inner = np.atleast_3d(restored)[largest:-largest, largest:-largest]
    whole = np.atleast_3d(reference)
    error = np.zeros((2 * largest + 1,) * 2)
    ones = np.ones(inner.shape[:2])
    for channel in range(inner.shape[2]):
        turned = inner[::-1, ::-1, channel]
        error += fftconvolve(whole[:, :, channel] ** 2, ones, mode="valid")
        error -= 2 * fftconvolve(whole[:, :, channel], turned, mode="valid")
    row, column = np.unravel_index(int(error.argmin()), error.shape)
    return int(row) - largest, int(column) - largest


def measure_against(
    restored: Pixels,
    references: Sequence[Pixels],
    *,
    border: int = 0,
    shift: int = 0,
    lpips: LPIPS | None = None,
) -> dict[str, float]:
    """Measure an image against the reference that it is nearest to.

    Parameters
    ----------
    restored : ndarray
        Image (H, W) or (H, W, 3) of integers, or floats in 0..1.
    references : sequence of ndarray
        Sharp images of the same shape; the one of the highest PSNR counts (of Koehler's data
        set, the places on the trajectory).
    border : int
        Pixels that are left out at each border.
    shift : int
        Largest shift in pixels over which PSNR is maximised; the other metrics are measured
        at that shift. As many pixels are left out at each border.
    lpips : LPIPS, optional
        With it LPIPS is measured, too, where both sides have 31 pixels.

    Returns
    -------
    dict of float
        By the keys of `COLUMNS`.

    Raises
    ------
    EvaluationError
        Shapes differ, or too little is left.
    """
    from .metrics import ciede2000, ms_ssim, psnr, ssim
    from .metrics.with_reference import MS_SSIM_LEAST_SIDE, cie76

    for reference in references:
        if reference.shape != restored.shape:
            raise EvaluationError(
                f"the result is {_shape(restored)} and the reference {_shape(reference)}."
            )
    inside = slice(border, -border or None)
    first = as_eight_bit(restored)[inside, inside]
    if min(first.shape[:2], default=0) < 11 + 2 * shift:
        raise EvaluationError(
            f"{_shape(restored)} are too few for a border of {border} and shifts of {shift}."
        )
    height, width = (length - 2 * shift for length in first.shape[:2])
    image = first[shift : shift + height, shift : shift + width]
    candidates = []
    for whole in references:
        second = as_eight_bit(whole)[inside, inside]
        top, left = (shift + offset for offset in best_shift(first, second, shift))
        second = second[top : top + height, left : left + width]
        candidates.append((psnr(image, second), second))
    value, reference = max(candidates, key=lambda candidate: candidate[0])
    found = {"psnr": value, "ssim": ssim(image, reference)}
    if min(image.shape[:2]) >= MS_SSIM_LEAST_SIDE:
        found["ms_ssim"] = ms_ssim(image, reference)
    found["ciede2000"] = ciede2000(image, reference).mean
    found["cie76"] = cie76(image, reference)
    if lpips is not None and min(image.shape[:2]) >= lpips.least_side:
        found["lpips"] = lpips(image, reference)
    return found


def _shape(image: Pixels) -> str:
    kind = "RGB" if image.ndim == 3 else "grey"
    return f"{image.shape[1]} x {image.shape[0]} pixels, {kind}"


def measure_dataset_pair(
    dataset: Dataset, name: str, pair: DatasetPair, methods: Mapping[str, Restorer],
    settings: EvaluationSettings, lpips: LPIPS | None = None,
) -> list[ImageScore | Failure]:  # fmt: skip
    """Restore a pair by every method and measure the results and the input.

    Parameters
    ----------
    dataset : Dataset
        Data set of the pair, whose layout decides about shifts.
    name : str
        Name of the data set in tables.
    pair : DatasetPair
        Pair that is measured.
    methods : mapping of str to callable
        Restorers by name.
    settings : EvaluationSettings
        Border and shift.
    lpips : LPIPS, optional
        See `measure_against`.

    Returns
    -------
    list of ImageScore or Failure
        One for the input and one for each method; a single failure if the pair cannot be read.
    """
    try:
        blurred = read_pixels(pair.blurred)
        references = [read_pixels(path) for path in pair.references]
    except (DarkDeblurError, OSError) as error:
        return [Failure(name, pair.name, "", sentence_of(error))]
    shift = settings.shift_of(dataset.layout)
    found: list[ImageScore | Failure] = []
    for method in settings.methods:
        try:
            restored = blurred if method == INPUT else methods[method](pair, blurred)
            metrics = measure_against(
                restored, references, border=settings.border, shift=shift, lpips=lpips
            )
        except (DarkDeblurError, OSError) as error:
            found.append(Failure(name, pair.name, method, sentence_of(error)))
        else:
            found.append(ImageScore(name, pair.name, method, metrics))
    return found


def bootstrap(values: Sequence[float]) -> Interval:
    """Return the mean of values with its 95 % bootstrap interval, the same every time."""
    numbers = np.asarray(values, dtype=np.float64)
    mean = float(numbers.mean())
    if len(numbers) < 2 or not np.isfinite(numbers).all():
        return Interval(mean, math.nan, math.nan)
    rng = np.random.default_rng(0)
    means = np.array(
        [numbers[rng.integers(len(numbers), size=len(numbers))].mean() for _ in range(_RESAMPLES)]
    )
    tail = 50 * (1 - _CONFIDENCE)
    low, high = np.percentile(means, (tail, 100 - tail))
    return Interval(mean, float(low), float(high))


def summarize(scores: Sequence[ImageScore]) -> list[DatasetSummary]:
    """Return the means of every data set and method, in the order of their first appearance."""
    groups: dict[tuple[str, str], list[ImageScore]] = {}
    for score in scores:
        groups.setdefault((score.dataset, score.method), []).append(score)
    inputs = {
        (score.dataset, score.image): score.metrics["psnr"]
        for score in scores
        if score.method == INPUT
    }
    summaries = []
    for (dataset, method), some in groups.items():
        metrics = {
            key: bootstrap([score.metrics[key] for score in some])
            for key in COLUMNS
            if all(key in score.metrics for score in some)
        }
        if method != INPUT:
            gains = [
                score.metrics["psnr"] - inputs[dataset, score.image]
                for score in some
                if (dataset, score.image) in inputs
            ]
            if gains:
                metrics["gain"] = bootstrap(gains)
        summaries.append(DatasetSummary(dataset, method, len(some), metrics))
    return summaries


def table_cells(summaries: Sequence[DatasetSummary], *, intervals: bool) -> list[list[str]]:
    """Return the table as cells, the first line being the head.

    Parameters
    ----------
    summaries : sequence of DatasetSummary
        Lines of the table.
    intervals : bool
        Whether means are followed by their bootstrap intervals.
    """
    keys = [key for key in COLUMNS if any(key in each.metrics for each in summaries)]
    head = ["data set", "method", "images", "gain (dB)", *(COLUMNS[key][0] for key in keys)]
    lines = [head]
    for each in summaries:
        cells = [each.dataset, each.method, str(each.images)]
        for key in ("gain", *keys):
            value = each.metrics.get(key)
            digits, sign = (2, "+") if key == "gain" else (COLUMNS[key][1], "")
            if value is None:
                cells.append("" if key == "gain" else "–")
                continue
            text = f"{value.mean:{sign}.{digits}f}"
            if intervals and math.isfinite(value.low):
                text += f" [{value.low:{sign}.{digits}f}, {value.high:{sign}.{digits}f}]"
            cells.append(text)
        lines.append(cells)
    return lines


def write_results(folder: Path, results: Results, conventions: dict[str, Any]) -> list[Path]:
    """Write ``results.csv``, ``summary.json`` and ``table.md``; return their paths.

    Raises
    ------
    OSError
        A file cannot be written.
    """
    summaries = summarize(results.scores)
    paths = [folder / name for name in ("results.csv", "summary.json", "table.md")]
    measured = [key for key in COLUMNS if any(key in score.metrics for score in results.scores)]
    rows: list[list[Any]] = [
        ["data set", "image", "method", *(COLUMNS[key][0] for key in measured)]
    ]
    for score in results.scores:
        values = [score.metrics.get(key) for key in measured]
        rows.append([score.dataset, score.image, score.method, *values])
    write_csv_rows(paths[0], rows)
    content = {
        "conventions": conventions,
        "summaries": [asdict(each) for each in summaries],
        "failures": [asdict(each) for each in results.failures],
    }
    with atomic_write(paths[1]) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    with atomic_write(paths[2]) as part:
        text = format_markdown(table_cells(summaries, intervals=True))
        part.write_text(text + "\n", encoding="utf-8")
    return paths


def ranked(scores: Sequence[ImageScore], dataset: str, method: str) -> list[str]:
    """Return the images of a data set by a method's gain in PSNR, the largest first."""
    inputs = {
        s.image: s.metrics["psnr"] for s in scores if (s.dataset, s.method) == (dataset, INPUT)
    }
    gains = {
        s.image: s.metrics["psnr"] - inputs[s.image]
        for s in scores
        if (s.dataset, s.method) == (dataset, method) and s.image in inputs
    }
    return sorted(gains, key=lambda image: -gains[image])


def write_contact_sheet(
    path: Path,
    dataset: Dataset,
    name: str,
    methods: Mapping[str, Restorer],
    results: Results,
) -> None:
    """Draw the images of which the first method makes the most, the median and the least.

    Parameters
    ----------
    path : pathlib.Path
        PNG file to write.
    dataset : Dataset
        Data set of the images.
    name : str
        Name of the data set in the results.
    methods : mapping of str to callable
        Restorers by name; the first one decides about the order.
    results : Results
        Scores, which stand below the images.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    from PIL import Image

    order = ranked(results.scores, name, next(iter(methods)))
    if not order:
        return
    places = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    by_name = {pair.name: pair for pair in dataset.pairs}
    psnr = {(s.image, s.method): s.metrics["psnr"] for s in results.scores if s.dataset == name}
    rows = []
    for rank, image in places.items():
        try:
            shown = _shown(by_name[image], methods, {by for of, by in psnr if of == image})
        except (DarkDeblurError, OSError):  # gone since it was measured
            continue
        rows.append(
            [
                _cell(
                    pixels,
                    f"{rank}: {image}" if label == INPUT else label,
                    psnr.get((image, label)),
                )
                for label, pixels in shown.items()
            ]
        )
    if not rows:
        return
    width = max(sum(cell.width for cell in cells) for cells in rows)
    sheet = Image.new("RGB", (width, sum(cells[0].height for cells in rows)), "white")
    top = 0
    for cells in rows:
        left = 0
        for cell in cells:
            sheet.paste(cell, (left, top))
            left += cell.width
        top += cells[0].height
    with atomic_write(path) as part:
        sheet.save(part, format="PNG")


def _shown(
    pair: DatasetPair, methods: Mapping[str, Restorer], measured: set[str]
) -> dict[str, Pixels]:
    """Return the images of a row of the contact sheet by what stands below them."""
    blurred = read_pixels(pair.blurred)
    results = {
        name: restore(pair, blurred) for name, restore in methods.items() if name in measured
    }
    return {INPUT: blurred, **results, "reference": read_pixels(pair.references[0])}


def _cell(pixels: Pixels, text: str, value: float | None) -> Image.Image:
    """Return an image of the contact sheet, with a text and a PSNR in dB below it."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(np.rint(as_eight_bit(pixels) * 255).astype(np.uint8)).convert("RGB")
    height = max(1, round(picture.height * _SHEET_WIDTH / picture.width))
    cell = Image.new("RGB", (_SHEET_WIDTH + 8, height + 34), "white")
    cell.paste(picture.resize((_SHEET_WIDTH, height), Image.Resampling.LANCZOS), (4, 4))
    draw = ImageDraw.Draw(cell)
    draw.text((4, height + 6), text[:52], fill="black")
    draw.text((4, height + 19), "" if value is None else f"{value:.2f} dB", fill="black")
    return cell


def evaluate(
    datasets: Mapping[str, Dataset],
    methods: Mapping[str, Restorer],
    results: Results,
    lpips: LPIPS | None = None,
) -> Iterator[tuple[int, int]]:
    """Measure all pairs that are not yet in the results.

    Parameters
    ----------
    datasets : mapping of str to Dataset
        Data sets by name.
    methods : mapping of str to callable
        Restorers by name.
    results : Results
        Results, to which each image's are added at once.
    lpips : LPIPS, optional
        See `measure_against`.

    Yields
    ------
    done, total : int
        Number of images that are measured, and of all.
    """
    jobs = [(name, dataset, pair) for name, dataset in datasets.items() for pair in dataset.pairs]
    for done, (name, dataset, pair) in enumerate(jobs, start=1):
        if not results.has(name, pair.name):
            settings = results.settings
            results.add(measure_dataset_pair(dataset, name, pair, methods, settings, lpips))
        yield done, len(jobs)
