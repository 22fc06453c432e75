"""Which pixels of one layer are the same place as those of another one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DarkDeblurError
from ...restore.image.axes import Axes, AxesError
from ..layer_pixels import axes_of, data_position, full_resolution
from ..provenance import input_of, provenance_of

if TYPE_CHECKING:
    from napari.layers import Image

# Pixels that lie as near as this count as the same: world coordinates are rounded.
_SAME_PIXEL = 0.05


class MatchError(DarkDeblurError, ValueError):
    """Two layers cannot be compared pixel by pixel; the message is one sentence."""


@dataclass(frozen=True)
class Alignment:
    """Where the first pixel of a plane lies in another layer.

    Parameters
    ----------
    axes : Axes
        Axes of the other layer.
    plane : int
        Index of the plane of the other layer.
    row, column : int
        In the other layer's pixels; negative if it lies before the first one.
    note : str
        A sentence for the user if the layers do not lie on each other; else empty.
    """

    axes: Axes
    plane: int
    row: int
    column: int
    note: str = ""


def known_axes(layer: Image, layers: Iterable[Image]) -> Axes:
    """Return a layer's axes: those it was restored by, else those that its names tell.

    Parameters
    ----------
    layer : napari.layers.Image
        Image layer of any kind.
    layers : iterable of napari.layers.Image
        All that there are: what was restored of this one tells its axes, too.

    Raises
    ------
    AxesError
        It has none that make sense.
    """
    made = provenance_of(layer)
    told = [made.axes] if made is not None else []
    layers = list(layers)
    for other in reversed(layers):
        record = provenance_of(other)
        if record is not None and record.kind == "restored" and input_of(other, layers) == layer:
            told.append(record.axes)
    for letters in told:
        try:
            return axes_of(layer, letters)
        except AxesError:
            continue
    return axes_of(layer)


def first_pixel(layer: Image, axes: Axes, plane: int, point: Sequence[float]) -> list[int]:
    """Return the index of the upper left pixel of a plane.

    Parameters
    ----------
    layer : napari.layers.Image
        Image layer of any kind.
    axes : Axes
        Axes of the layer's array.
    plane : int
        As `Axes.index` takes it.
    point : sequence of float
        ``viewer.dims.point``: where the slider is if colour is one of the layer's dimensions.

    Returns
    -------
    list of int
        One for each of the layer's dimensions.
    """
    where = {**axes.coordinates(plane), "Y": 0, "X": 0}
    shown = data_position(layer, point)
    return [where.get(letter, index) for letter, index in zip(axes.letters, shown, strict=False)]


def align(
    other: Image,
    layer: Image,
    axes: Axes,
    plane: int,
    point: Sequence[float],
    layers: Iterable[Image],
) -> Alignment:
    """Return where the first pixel of a layer's plane lies in another layer.

    What was made of a layer knows its place in it. All others are matched by where they lie in
    the world; if their pixels have different sizes there, then by their shapes.

    Parameters
    ----------
    other, layer : napari.layers.Image
        The other layer, and the one whose plane it is.
    axes, plane
        Of the layer.
    point : sequence of float
        Position of the viewer's sliders: ``viewer.dims.point``.
    layers : iterable of napari.layers.Image
        All image layers of the viewer.

    Raises
    ------
    MatchError, AxesError
        The layers' pixels do not lie on each other.
    """
    if other == layer:
        return Alignment(axes, plane, 0, 0)
    layers = list(layers)
    other_axes = known_axes(other, layers)
    first = np.array(first_pixel(layer, axes, plane, point), float)
    start = _start(layer, other, layers)
    if start is not None:
        return _place(first + start, layer, other, other_axes)
    start = _start(other, layer, layers)
    if start is not None:
        return _place(first - start, layer, other, other_axes)
    found = _by_world(first, layer, axes, other, other_axes, point)
    if found is not None:
        return _place(found, layer, other, other_axes)
    return _by_shape(layer, axes, plane, other, other_axes)


def _start(result: Image, other: Image, layers: list[Image]) -> NDArray[Any] | None:
    """Return where a result begins in the layer it was made of, if that is the other one."""
    made = provenance_of(result)
    source = input_of(result, layers)
    if made is None or made.input is None or source is None or source is not other:
        return None
    if made.input.shape != tuple(full_resolution(other).shape) or result.ndim != other.ndim:
        return None  # it was changed meanwhile
    return np.array(made.region.start or (0,) * other.ndim)


def _by_world(
    first: NDArray[Any],
    layer: Image,
    axes: Axes,
    other: Image,
    other_axes: Axes,
    point: Sequence[float],
) -> NDArray[Any] | None:
    """Return the other layer's index there; None if its pixels have another size or direction."""
    if [str(unit) for unit in layer.units[-2:]] != [str(unit) for unit in other.units[-2:]]:
        return None

    def there(index: NDArray[Any]) -> NDArray[Any]:
        world = list(point)
        own = list(layer.data_to_world(index))
        world = [*([0.0] * max(len(own) - len(world), 0)), *world]
        world[-len(own) :] = own
        return np.asarray(other.world_to_data(world), float)

    found = there(first)
    for letter, length in (("Y", axes.height), ("X", axes.width)):
        # The far end tells most of how the pixels differ.
        far, expected = first.copy(), found.copy()
        far[axes.letters.index(letter)] += length
        expected[other_axes.letters.index(letter)] += length
        if np.abs(there(far) - expected).max() > _SAME_PIXEL:
            return None
    return found


def _by_shape(layer: Image, axes: Axes, plane: int, other: Image, other_axes: Axes) -> Alignment:
    """Match layers whose pixels have different sizes in the world, if their shapes are the same."""
    made = provenance_of(layer)
    start: Sequence[int] = (0,) * layer.ndim
    size = axes.height, axes.width
    if made is not None and made.input is not None and made.region.start:
        letters = axes.letters[: layer.ndim]
        whole = dict(zip(letters, made.input.shape, strict=False))
        if (other_axes.height, other_axes.width) == (whole.get("Y"), whole.get("X")):
            start, size = made.region.start, (other_axes.height, other_axes.width)
    if (other_axes.height, other_axes.width) != size:
        raise MatchError(
            f"{other.name!r} has pixels of another size or direction than {layer.name!r}, and is "
            f"{other_axes.width} × {other_axes.height} pixels instead of {size[1]} × {size[0]}; "
            "give both layers the same scale, rotation and units."
        )
    begin = dict(zip(axes.letters, start, strict=False))
    where = {letter: index + begin[letter] for letter, index in axes.coordinates(plane).items()}
    lengths = dict(zip(other_axes.plane_letters, other_axes.plane_shape, strict=True))
    if any(where.get(letter, 0) >= length for letter, length in lengths.items()):
        raise MatchError(_no_plane(layer, other))
    index = [where.get(letter, 0) for letter in other_axes.plane_letters]
    return Alignment(
        other_axes,
        int(np.ravel_multi_index(index, other_axes.plane_shape)) if index else 0,
        begin["Y"],
        begin["X"],
        f"{other.name!r} lies elsewhere than {layer.name!r} or has pixels of another size, but is "
        "of the same shape, so it was compared pixel by pixel.",
    )


def _place(index: NDArray[Any], layer: Image, other: Image, axes: Axes) -> Alignment:
    """Return the place of an index that may not be whole, nor inside of the layer."""
    at = dict(zip(axes.letters, index, strict=False))
    row, column = round(at["Y"]), round(at["X"])
    if max(abs(at["Y"] - row), abs(at["X"] - column)) > _SAME_PIXEL:
        raise MatchError(
            f"The pixels of {other.name!r} lie {at['Y'] - row:+.2f} rows and "
            f"{at['X'] - column:+.2f} columns beside those of {layer.name!r}; they can only be "
            "compared if they lie on each other, so shift one layer by that."
        )
    where = [round(at[letter]) for letter in axes.plane_letters]
    if any(not 0 <= i < length for i, length in zip(where, axes.plane_shape, strict=True)):
        raise MatchError(_no_plane(layer, other))
    plane = int(np.ravel_multi_index(where, axes.plane_shape)) if where else 0
    return Alignment(axes, plane, row, column)


def _no_plane(layer: Image, other: Image) -> str:
    return f"{other.name!r} has no plane where this plane of {layer.name!r} lies."
