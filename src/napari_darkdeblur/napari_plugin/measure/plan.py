"""What is measured, taken down before a thread reads its pixels, and what came out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DarkDeblurError
from ...metrics import METRICS
from ...rectangle import Rectangle
from ...restore.image.axes import Axes
from ..layer_pixels import current_plane, full_resolution
from ..provenance import input_of, provenance_of, results_of
from ..regions import Area, choose_region
from .alignment import Alignment, MatchError, align, known_axes

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Image

    from ...restore.image.pixels import PixelArray


_MEASURABLE = "uif"
_SOURCES = {"restored": "as restored", "preview": "as restored", "sample": "of the sample"}
_ROWS_AT_ONCE = 256
# Fewer values are always outside of a range that was taken from percentiles.
_WORTH_SAYING = 0.01


class PictureError(DarkDeblurError, ValueError):
    """A layer cannot be measured; the message is one sentence."""


@dataclass(frozen=True)
class ValueRange:
    """The values that count as black and white.

    Parameters
    ----------
    black, white : float
        Values of black and of white, in the layer's units.
    source : str
        Where they are known from, for people.
    """

    black: float
    white: float
    source: str = ""

    def describe(self) -> str:
        """Return the range for people, such as ``"0 to 255 (uint8)"``."""
        return f"{self.black:g} to {self.white:g} ({self.source})"


def value_range_of(layer: Image, layers: Iterable[Image]) -> ValueRange:
    """Return which values of a layer are black and white.

    Parameters
    ----------
    layer : napari.layers.Image
        Image layer of any kind.
    layers : iterable of napari.layers.Image
        All image layers of the viewer.

    Returns
    -------
    ValueRange
        Of a restored layer and of what it was made of, as it was restored; of samples as they
        were made; of others that of the dtype, which for floats is 0 to 1.

    Raises
    ------
    PictureError
        The layer has no values that can be measured.
    """
    dtype = _measurable(layer)
    for known in (layer, *reversed(results_of(layer, layers))):
        made = provenance_of(known)
        if made is not None and made.kind in _SOURCES and made.black < made.white:
            return ValueRange(made.black, made.white, _SOURCES[made.kind])
    return range_of_dtype(dtype)


def value_range_beside(layer: Image, other: Image, layers: Iterable[Image]) -> ValueRange:
    """Return which values of a layer are black and white when it is compared with another one.

    Parameters
    ----------
    layer, other : napari.layers.Image
        Two image layers of any kind.
    layers : iterable of napari.layers.Image
        All image layers of the viewer.

    Returns
    -------
    ValueRange
        The other layer's, if they hold the same kind of numbers: they are of one dtype, or one
        was made of the other, or both of a third. Else the layer's own.

    Raises
    ------
    PictureError
        See `value_range_of`.
    """
    layers = list(layers)
    sources = [input_of(one, layers) or one for one in (layer, other)]
    alike = sources[0] is sources[1] or _measurable(layer) == _measurable(other)
    return value_range_of(other if alike else layer, layers)


def range_of_dtype(dtype: np.dtype[Any]) -> ValueRange:
    """Return the range of a dtype: 0 to the greatest integer, or 0 to 1 for floats."""
    white = 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)
    return ValueRange(0.0, white, dtype.name)


def _measurable(layer: Image) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(full_resolution(layer).dtype)
    if dtype.kind not in _MEASURABLE:
        raise PictureError(
            f"{layer.name!r} holds {dtype.name}; only integers and floats can be measured."
        )
    return dtype


@dataclass(frozen=True)
class Picture:
    """A rectangle of a plane of a layer.

    Parameters
    ----------
    layer_id, name : str
        Identity and name of the layer.
    array : PixelArray
        Its full-resolution pixels, all of them.
    axes : Axes
        Axes of the array.
    plane : int
        As `Axes.index` takes it.
    area : Rectangle
        The rectangle, in the array's pixels.
    values : ValueRange
        Values that count as black and white.
    psf : str
        The blur kernel that was undone in it, in words; empty if there was none.
    """

    layer_id: str
    name: str
    array: PixelArray = field(repr=False)
    axes: Axes
    plane: int
    area: Rectangle
    values: ValueRange
    psf: str = ""

    @property
    def grey(self) -> bool:
        """Whether a pixel is one value."""
        return self.axes.colour == "grey"

    def read(self) -> NDArray[np.float32]:
        """Read the rectangle, and nothing else.

        Returns
        -------
        ndarray of float32
            (h, w) for grey, else (h, w, 3) without alpha; black is 0 and white is 1, and values
            may lie outside or be NaN.
        """
        index = self.axes.index(self.plane, *self.area.slices)
        pixels = self.axes.to_hwc(np.asarray(self.array[index]))
        pixels = pixels[..., 0] if self.grey else pixels[..., :3]
        black, white = self.values.black, self.values.white
        unit = np.empty(pixels.shape, np.float32)
        # Some NaNs make arithmetic a warning; what overflows is infinite.
        with np.errstate(invalid="ignore", over="ignore"):
            for top in range(0, len(pixels), _ROWS_AT_ONCE):
                rows = slice(top, top + _ROWS_AT_ONCE)
                # In double precision, so that a large offset takes nothing from the values.
                unit[rows] = (pixels[rows].astype(np.float64) - black) / (white - black)
        return unit


def read_together(
    pictures: Sequence[Picture | None],
) -> tuple[list[NDArray[np.float32] | None], list[str]]:
    """Read pictures of the same place, fit to be compared.

    Parameters
    ----------
    pictures : sequence of Picture or None
        All of the same height and width.

    Returns
    -------
    images : list of ndarray of float32, or None where there is no picture
        With values in 0..1. What is NaN or infinite in one of them is black in all, so that it
        is no difference.
    notes : list of str
        Sentences for the user about values that were changed for that.
    """
    images = [None if picture is None else picture.read() for picture in pictures]
    notes = []
    bad: NDArray[np.bool_] | None = None
    for image in images:
        if image is not None and not np.isfinite(image).all():
            here = np.any(~np.isfinite(np.atleast_3d(image)), axis=2)
            bad = here if bad is None else np.logical_or(bad, here)
    if bad is not None:
        count = int(bad.sum())
        one, it = ("pixel is", "it counts") if count == 1 else ("pixels are", "they count")
        notes.append(
            f"{count} {one} NaN or infinite in one of the images; {it} as black in all of them."
        )
    for picture, image in zip(pictures, images, strict=True):
        if picture is None or image is None:
            continue
        if bad is not None:
            image[bad] = 0
        outside = float(np.mean((image < 0) | (image > 1)))
        np.clip(image, 0, 1, out=image)
        if outside > _WORTH_SAYING:
            notes.append(
                f"{100 * outside:.2g} % of the values of {picture.name!r} lie outside of the "
                f"value range {picture.values.describe()}; they count as black or white."
            )
    return images, notes


@dataclass(frozen=True)
class Subject:
    """What is measured together: a picture, and what it is compared with.

    Parameters
    ----------
    picture : Picture
        Pixels that are measured, restored or not.
    where : str
        Its plane, for people; empty if it is the only one.
    reference : Picture, optional
        The sharp picture that it should be; of the same height and width.
    original : Picture, optional
        What it was made of; of the same height and width.
    notes : tuple of str
        Sentences for the user about how they were matched.
    """

    picture: Picture
    where: str = ""
    reference: Picture | None = None
    original: Picture | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measurement:
    """What came out: a row of the table.

    Parameters
    ----------
    layer_id, layer : str
        What was measured; the layer may be gone since.
    plane : int or None
        Which of its planes; None for the mean of several.
    where : str
        The plane, for people; empty if it is the only one.
    area : Rectangle
        The rectangle of the plane, in the layer's pixels.
    values : ValueRange
        What counted as black and white.
    reference : str
        The reference's name; empty if there was none.
    against : tuple
        The reference's pixels: the same for measurements that can be compared fairly.
    numbers : dict of str to float
        Metrics by their labels, as `napari_darkdeblur.metrics.measure` gives them.
    time : datetime.datetime
        Time of the measurement.
    notes : tuple of str
        Sentences that the user should read.
    psf : str
        The blur kernel that was undone, in words; empty if there was none.
    """

    layer_id: str
    layer: str
    plane: int | None
    where: str
    area: Rectangle
    values: ValueRange
    reference: str
    against: tuple[object, ...]
    numbers: dict[str, float]
    time: datetime
    notes: tuple[str, ...] = ()
    psf: str = ""


def record(subject: Subject, numbers: dict[str, float], notes: Sequence[str] = ()) -> Measurement:
    """Return a measurement of a subject, without the pixels."""
    picture, reference = subject.picture, subject.reference
    return Measurement(
        layer_id=picture.layer_id,
        layer=picture.name,
        plane=picture.plane,
        where=subject.where,
        area=picture.area,
        values=picture.values,
        reference="" if reference is None else reference.name,
        against=()
        if reference is None
        else (reference.layer_id, reference.plane, reference.area, reference.values),
        numbers=numbers,
        time=datetime.now().astimezone(),
        notes=(*subject.notes, *notes),
        psf=picture.psf,
    )


def mean_of(measurements: Sequence[Measurement]) -> Measurement:
    """Return the mean of the measurements of a layer's planes.

    Parameters
    ----------
    measurements : sequence of Measurement
        All of one layer; not empty. Planes that do not tell a metric are left out of its mean.
    """
    numbers = {}
    for metric in METRICS:
        told = [
            value
            for one in measurements
            if not math.isnan(value := one.numbers.get(metric.label, math.nan))
        ]
        if told:
            numbers[metric.label] = fmean(told)
    last = measurements[-1]
    return replace(
        last,
        plane=None,
        where=f"mean of {len(measurements)}",
        against=tuple(one.against for one in measurements) if last.against else (),
        numbers=numbers,
        notes=(),
    )


def best_of(measurements: Sequence[Measurement]) -> set[tuple[int, str]]:
    """Return which numbers are the best of those that can be compared fairly.

    Only numbers of one metric against the same pixels of one reference can, and only if the
    metric tells which is better.

    Returns
    -------
    set of (int, str)
        Indices of measurements and labels of metrics. Nothing is the best of equal numbers, nor
        of one alone.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, measurement in enumerate(measurements):
        if measurement.against:
            groups.setdefault(measurement.against, []).append(index)
    best: set[tuple[int, str]] = set()
    for group in groups.values():
        for metric in METRICS:
            if metric.better == "neither":
                continue
            told = {
                index: value
                for index in group
                if not math.isnan(value := measurements[index].numbers.get(metric.label, math.nan))
            }
            if len(set(told.values())) < 2:
                continue
            winner = (max if metric.better == "higher" else min)(told.values())
            best.update((index, metric.label) for index in told if told[index] == winner)
    return best


@dataclass(frozen=True)
class MeasurePlan:
    """What is measured, and what cannot be.

    Parameters
    ----------
    subjects : tuple of Subject
        One for each layer that can be measured; all are the same place.
    problems : tuple of str
        A sentence for each layer that cannot be measured, or not as it was asked for.
    """

    subjects: tuple[Subject, ...]
    problems: tuple[str, ...] = ()

    @property
    def value_count(self) -> int:
        """How many values are measured: three for each pixel of RGB."""
        pictures = [subject.picture for subject in self.subjects]
        return sum(one.area.height * one.area.width * (1 if one.grey else 3) for one in pictures)


def check_view(dims: Dims, layer: Image, axes: Axes) -> None:
    """Refuse a view that does not show planes.

    Parameters
    ----------
    dims : napari.components.Dims
        Dimensions of the viewer: what is on screen.
    layer, axes
        What is looked at.

    Raises
    ------
    MatchError
        The view is 3D, or shows other axes than rows and columns.
    """
    if dims.ndisplay != 2:
        raise MatchError("Metrics are those of a plane; switch the viewer to 2D.")
    first = dims.ndim - layer.ndim
    shown = {axis - first for axis in dims.displayed}
    if shown != {axes.letters.index(letter) for letter in "YX"}:
        raise MatchError(
            f"The viewer does not show rows and columns of {layer.name!r}, but other axes; roll "
            "its dimensions back."
        )


def plan_measurement(
    chosen: Sequence[Image],
    reference: Image | None,
    layers: Iterable[Image],
    point: Sequence[float],
    *,
    plane: int | None = None,
    area: Area = "whole",
    border: int = 0,
) -> MeasurePlan:
    """Find the place that layers have in common, and what each is to be compared with there.

    Parameters
    ----------
    chosen : sequence of napari.layers.Image
        What is measured, side by side; not empty. The first one says where.
    reference : napari.layers.Image, optional
        What they should look like.
    layers : iterable of napari.layers.Image
        All image layers of the viewer.
    point : sequence of float
        Position of the viewer's sliders: ``viewer.dims.point``.
    plane : int, optional
        Of the first layer; the one that the sliders show if not given.
    area : {"whole", "visible"}
        Part of the plane that is measured.
    border : int
        How many pixels are left out on each side.

    Raises
    ------
    DarkDeblurError
        Not even the first layer can be measured.
    """
    layers = list(layers)
    first = chosen[0]
    axes = known_axes(first, layers)
    if plane is None:
        plane = current_plane(first, axes, point)
    region = choose_region(first, point, axes.letters, "current", area)
    top, left = (region.start[axes.letters.index(letter)] for letter in "YX")
    height, width = (region.shape[axes.letters.index(letter)] for letter in "YX")
    common = Rectangle(top, left, height, width)

    # Numbers side by side are of one range: that of the newest result.
    results = [layer for layer in chosen if input_of(layer, layers) is not None]
    ranged = results[-1] if results else first
    problems = []
    found: dict[str, tuple[Image, Alignment, ValueRange]] = {}
    # The reference last: it must not decide which of the others can be measured.
    for layer in [*chosen, *([] if reference is None else [reference])]:
        try:
            place = align(layer, first, axes, plane, point, layers)
            values = value_range_beside(layer, ranged, layers)
            common = _common(common, place, layer, first)
        except DarkDeblurError as error:
            if layer is first:
                raise
            problems.append(str(error))
        else:
            found[layer.unique_id] = layer, place, values
    common = _without_border(common, border)

    sharp, notes = None, [place.note for _, place, _ in found.values()]
    if reference is not None and reference.unique_id in found:
        sharp = _picture(*found[reference.unique_id], common)
    subjects = []
    for layer in chosen:
        if layer.unique_id in found:
            picture = _picture(*found[layer.unique_id], common)
            subjects.append(_subject(layer, picture, sharp, layers, point, problems, notes))
    return MeasurePlan(tuple(subjects), tuple(dict.fromkeys(problems)))


def plan_all_planes(
    chosen: Sequence[Image],
    reference: Image | None,
    layers: Iterable[Image],
    point: Sequence[float],
    *,
    area: Area = "whole",
    border: int = 0,
) -> MeasurePlan:
    """Find what there is to measure on all planes that the layers share; see `plan_measurement`."""
    layers = list(layers)
    # A result may have fewer planes than its input.
    counts = {layer.unique_id: known_axes(layer, layers).plane_count for layer in chosen}
    ordered = sorted(chosen, key=lambda layer: counts[layer.unique_id])
    rank = {str(layer.unique_id): number for number, layer in enumerate(chosen)}
    subjects: list[Subject] = []
    problems: list[str] = []
    for plane in range(counts[ordered[0].unique_id]):
        plan = plan_measurement(
            ordered, reference, layers, point, plane=plane, area=area, border=border
        )
        subjects += sorted(plan.subjects, key=lambda subject: rank[subject.picture.layer_id])
        problems += plan.problems
    return MeasurePlan(tuple(subjects), tuple(dict.fromkeys(problems)))


def _subject(
    layer: Image,
    picture: Picture,
    reference: Picture | None,
    layers: list[Image],
    point: Sequence[float],
    problems: list[str],
    notes: Iterable[str],
) -> Subject:
    """Return what a picture is compared with; add to the problems why not."""
    if reference is not None and reference.grey != picture.grey:
        problems.append(_of_other_kind(reference, picture))
        reference = None
    original = None
    made_of = input_of(layer, layers)
    if made_of is not None:
        try:
            place = align(made_of, layer, picture.axes, picture.plane, point, layers)
            original = _picture(made_of, place, picture.values, picture.area)
            _check_inside(original)
            if original.grey != picture.grey:
                raise MatchError(_of_other_kind(original, picture))
        except DarkDeblurError as error:
            original = None
            problems.append(str(error))
        else:
            notes = [*notes, place.note]
    where = picture.axes.describe(picture.plane)
    return Subject(picture, where, reference, original, tuple(dict.fromkeys(filter(None, notes))))


def _picture(layer: Image, place: Alignment, values: ValueRange, area: Rectangle) -> Picture:
    """Return a layer's pixels in an area of the layer that the place is relative to."""
    made = provenance_of(layer)
    return Picture(
        layer_id=str(layer.unique_id),
        name=str(layer.name),
        array=full_resolution(layer),
        axes=place.axes,
        plane=place.plane,
        area=replace(area, top=area.top + place.row, left=area.left + place.column),
        values=values,
        psf=made.psf.summary if made is not None and made.psf is not None else "",
    )


def _common(area: Rectangle, place: Alignment, layer: Image, first: Image) -> Rectangle:
    """Return the part of an area of the first layer that another layer has, too."""
    top, left = max(area.top, -place.row), max(area.left, -place.column)
    bottom = min(area.top + area.height, place.axes.height - place.row)
    right = min(area.left + area.width, place.axes.width - place.column)
    if top >= bottom or left >= right:
        raise MatchError(
            f"{layer.name!r} does not lie where {first.name!r} does; move one onto the other "
            "(Layers > Transform), or choose another layer."
        )
    return Rectangle(top, left, bottom - top, right - left)


def _without_border(area: Rectangle, border: int) -> Rectangle:
    if min(area.height, area.width) <= 2 * border:
        raise MatchError(
            f"A border of {border} pixels leaves nothing of {area.width} × {area.height}; choose "
            "a smaller one."
        )
    return Rectangle(
        area.top + border, area.left + border, area.height - 2 * border, area.width - 2 * border
    )


def _check_inside(picture: Picture) -> None:
    area, axes = picture.area, picture.axes
    inside = area.top + area.height <= axes.height and area.left + area.width <= axes.width
    if min(area.top, area.left) < 0 or not inside:
        raise MatchError(
            f"{picture.name!r} does not cover what was restored of it; was it changed meanwhile?"
        )


def _of_other_kind(picture: Picture, other: Picture) -> str:
    kinds = {True: "grey", False: "RGB"}
    return (
        f"{picture.name!r} is {kinds[picture.grey]} and {other.name!r} is {kinds[other.grey]}; "
        "only images of one kind can be compared, so convert one of them."
    )
