"""What an image layer's pixels are: the array, its axes, the plane on screen.

Everything is read through slices of the full-resolution array. A lazy layer (dask, zarr) is
never loaded as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..restore.image.axes import Axes

if TYPE_CHECKING:
    from napari.layers import Image

    from ..restore.image.pixels import PixelArray

# What people call axes, by the letter that is meant.
_NAMES = {
    "T": ("t", "time", "frame", "frames", "timepoint"),
    "Z": ("z", "depth", "slice", "plane"),
    "C": ("c", "ch", "channel", "channels"),
    "Y": ("y", "row", "rows", "height"),
    "X": ("x", "column", "columns", "width"),
}
_LETTER_OF = {name: letter for letter, names in _NAMES.items() for name in names}
# What axes before Y and X are taken for if nothing tells, the last one first: as `Axes.guess`.
_USUAL = "ZTPQRUVW"
_USUAL_OF_MANY = "ZCTPQRUVW"
_USUAL_OF_COLOUR = "TZPQRUVW"


def full_resolution(layer: Image) -> PixelArray:
    """Return a layer's array; of a multiscale layer the finest level.

    Parameters
    ----------
    layer : napari.layers.Image
        Image layer of any kind.

    Returns
    -------
    PixelArray
        Whatever the layer was made of: numpy, dask, zarr and so on. Nothing is read.
    """
    # numpy.asarray(layer.data) of a multiscale layer would be its coarsest level.
    array: PixelArray = layer.data[0] if layer.multiscale else layer.data
    return array


def guess_axes(layer: Image) -> str:
    """Return a layer's axes as letters, one for each axis of its array.

    Names that the layer gives its axes count where they are clear (``"t"``, ``"time"``,
    ``"channel"``, ...) and name no axis twice; colour is an axis if the layer says it is RGB.

    Parameters
    ----------
    layer : napari.layers.Image
        Image layer of any kind.

    Returns
    -------
    str
        For instance ``"TYX"``, or ``"YXS"`` for an RGB picture; see `Axes`.
    """
    colour = "S" if layer.rgb else ""
    named = [_LETTER_OF.get(label.strip().lower()) for label in layer.axis_labels]
    known = [letter for letter in named if letter is not None]
    if len(set(known)) < len(known) or (known and not {"Y", "X"} <= set(known)):
        named = [None] * layer.ndim
    if not any(named):
        named[-2:] = "Y", "X"
    usual = _USUAL_OF_COLOUR if colour else _USUAL if named.count(None) < 3 else _USUAL_OF_MANY
    free = iter(letter for letter in usual if letter not in named)
    letters = [letter or next(free, "?") for letter in reversed(named)]
    return "".join(reversed(letters)) + colour


def axes_of(layer: Image, letters: str | None = None) -> Axes:
    """Return a layer's axes.

    Parameters
    ----------
    layer : napari.layers.Image
        Image layer of any kind.
    letters : str, optional
        What they are; guessed if not given.

    Returns
    -------
    Axes
        Of the full-resolution array.

    Raises
    ------
    AxesError
        The letters do not fit the layer.
    """
    return Axes.parse(letters or guess_axes(layer), full_resolution(layer).shape)


def data_position(layer: Image, point: Sequence[float]) -> tuple[int, ...]:
    """Return the index of the pixel of a layer that lies at a point of the world.

    Parameters
    ----------
    layer : napari.layers.Image
        Image layer of any kind.
    point : sequence of float
        World coordinates, such as ``viewer.dims.point``; the layer has the last ones.

    Returns
    -------
    tuple of int
        One for each of the layer's dimensions (colour is none), within the array.
    """
    shape = full_resolution(layer).shape[: layer.ndim]
    point = [0.0] * max(layer.ndim - len(point), 0) + list(point)[-layer.ndim :]
    position = np.rint(layer.world_to_data(point))
    return tuple(
        int(np.clip(index, 0, length - 1)) for index, length in zip(position, shape, strict=True)
    )


def current_plane(layer: Image, axes: Axes, point: Sequence[float]) -> int:
    """Return the plane that a viewer's sliders show.

    Parameters
    ----------
    layer : napari.layers.Image
        Image layer of any kind.
    axes : Axes
        Axes of the layer's array.
    point : sequence of float
        Position of the viewer's sliders: ``viewer.dims.point``.

    Returns
    -------
    int
        From 0 to ``axes.plane_count - 1``, as `Axes.index` takes it.
    """
    position = dict(zip(axes.letters, data_position(layer, point), strict=False))
    where = [position[letter] for letter in axes.plane_letters]
    return int(np.ravel_multi_index(where, axes.plane_shape)) if where else 0


def read_plane(
    layer: Image,
    axes: Axes,
    plane: int,
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> NDArray[Any]:
    """Read a region of a plane; nothing else of the layer is read.

    Parameters
    ----------
    layer : napari.layers.Image
        Image layer of any kind.
    axes : Axes
        Axes of the layer's array.
    plane : int
        Index of the plane, as `current_plane` returns it.
    rows, columns : slice
        The region, without a step.

    Returns
    -------
    ndarray
        (h, w) for grey, else (h, w, 3), of the layer's dtype; alpha is left out.
    """
    return axes.to_picture(np.asarray(full_resolution(layer)[axes.index(plane, rows, columns)]))
