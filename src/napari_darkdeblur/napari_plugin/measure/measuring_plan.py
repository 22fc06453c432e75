"""What there is to measure, taken down from the layers before a thread reads their pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...errors import DarkDeblurError
from ...rectangle import Rectangle
from ...restore.image.axes import Axes
from ..layer_pixels import current_plane, full_resolution
from ..provenance import input_of, provenance_of
from ..regions import Area, choose_region
from .matching import MatchError, Place, known_axes, place_in
from .measurements import Subject
from .pictures import Picture, ValueRange, value_range_beside

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Image


@dataclass(frozen=True)
class MeasuringPlan:
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
        The viewer's.
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


def plan_measuring(
    chosen: Sequence[Image],
    reference: Image | None,
    layers: Iterable[Image],
    point: Sequence[float],
    *,
    plane: int | None = None,
    area: Area = "whole",
    border: int = 0,
) -> MeasuringPlan:
    """Find the place that layers have in common, and what each is to be compared with there.

    Parameters
    ----------
    chosen : sequence of napari.layers.Image
        What is measured, side by side; not empty. The first one says where.
    reference : napari.layers.Image, optional
        What they should look like.
    layers : iterable of napari.layers.Image
        All that there are.
    point : sequence of float
        ``viewer.dims.point``.
    plane : int, optional
        Of the first layer; the one that the sliders show if not given.
    area : {"whole", "visible"}
        Of the plane.
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
    found: dict[str, tuple[Image, Place, ValueRange]] = {}
    # The reference last: it must not decide which of the others can be measured.
    for layer in [*chosen, *([] if reference is None else [reference])]:
        try:
            place = place_in(layer, first, axes, plane, point, layers)
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
    return MeasuringPlan(tuple(subjects), tuple(dict.fromkeys(problems)))


def plan_all_planes(
    chosen: Sequence[Image],
    reference: Image | None,
    layers: Iterable[Image],
    point: Sequence[float],
    *,
    area: Area = "whole",
    border: int = 0,
) -> MeasuringPlan:
    """Find what there is to measure on all planes that the layers share; see `plan_measuring`."""
    layers = list(layers)
    # A result may have fewer planes than its input.
    counts = {layer.unique_id: known_axes(layer, layers).plane_count for layer in chosen}
    ordered = sorted(chosen, key=lambda layer: counts[layer.unique_id])
    rank = {str(layer.unique_id): number for number, layer in enumerate(chosen)}
    subjects: list[Subject] = []
    problems: list[str] = []
    for plane in range(counts[ordered[0].unique_id]):
        plan = plan_measuring(
            ordered, reference, layers, point, plane=plane, area=area, border=border
        )
        subjects += sorted(plan.subjects, key=lambda subject: rank[subject.picture.layer_id])
        problems += plan.problems
    return MeasuringPlan(tuple(subjects), tuple(dict.fromkeys(problems)))


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
            place = place_in(made_of, layer, picture.axes, picture.plane, point, layers)
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


def _picture(layer: Image, place: Place, values: ValueRange, area: Rectangle) -> Picture:
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


def _common(area: Rectangle, place: Place, layer: Image, first: Image) -> Rectangle:
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
