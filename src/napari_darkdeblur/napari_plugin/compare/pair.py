"""Two layers to compare: which ones, whether they can be, and how they lie on each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from ..layer_pixels import full_resolution
from ..provenance import input_of, provenance_of

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Layer

# How far, in pixels, two pixel grids may be apart and still be one.
_TOLERANCE = 0.02


class LayerPair(NamedTuple):
    """The layers that are compared.

    Parameters
    ----------
    before, after : napari.layers.Image
        For instance an image and what was restored of it.
    """

    before: Image
    after: Image


class Nesting(NamedTuple):
    """How one layer lies on another one of the same pixel grid.

    Parameters
    ----------
    frame : napari.layers.Image
        Larger layer.
    inset : napari.layers.Image
        Layer that lies on the frame.
    offset : tuple of int
        The pixel of the frame, at full resolution, that the inset's first one lies on, along
        each of their dimensions.
    """

    frame: Image
    inset: Image
    offset: tuple[int, ...]

    def displayed(self, dims: Dims) -> tuple[int, ...]:
        """Return the layers' dimensions that are on screen, rows before columns.

        Parameters
        ----------
        dims : napari.components.Dims
            Of the viewer, which may have further dimensions before these.
        """
        further = dims.ndim - self.frame.ndim
        shown = tuple(axis - further for axis in dims.displayed if axis >= further)
        # A layer of fewer dimensions than are on screen is drawn along its last ones.
        return shown if len(shown) > 1 else (self.frame.ndim - 2, self.frame.ndim - 1)

    def covers_plane(self, point: Sequence[float], displayed: Sequence[int]) -> bool:
        """Whether the inset is part of the plane on screen.

        Parameters
        ----------
        point : sequence of float
            World coordinates of the plane, ``viewer.dims.point``.
        displayed : sequence of int
            The layers' dimensions that are on screen.
        """
        position = np.rint(self.inset.world_to_data(point))
        within = (position >= 0) & (position < _lengths(self.inset))
        return all(within[axis] for axis in range(len(within)) if axis not in displayed)

    def covers_field(self, displayed: Sequence[int]) -> bool:
        """Whether the inset covers all of the frame along the dimensions on screen."""
        ends = np.add(self.offset, _lengths(self.inset))
        return all(
            self.offset[axis] <= 0 and ends[axis] >= _lengths(self.frame)[axis]
            for axis in displayed
        )


def newest_pair(layers: Iterable[Layer]) -> LayerPair | None:
    """Return the newest restored layer with what it was made of; None if there are none."""
    layers = list(layers)
    for layer in reversed(layers):
        made = provenance_of(layer)
        if made is not None and made.kind == "restored":
            source = input_of(layer, layers)
            if isinstance(source, Image) and isinstance(layer, Image):
                return LayerPair(source, layer)
    return None


def why_not(before: Image | None, after: Image | None) -> str:
    """Return why two layers cannot be compared, in one sentence; empty if they can.

    Parameters
    ----------
    before, after : napari.layers.Image or None
        Layers that were chosen; None where none is.
    """
    if before is None or after is None:
        return "Choose two image layers to compare."
    if before is after:
        return f"Before and after are both “{before.name}”; choose another layer for one of them."
    if before.ndim != after.ndim:
        return (
            f"“{before.name}” has {before.ndim} dimensions and “{after.name}” has {after.ndim}; "
            "choose layers with as many dimensions."
        )
    if before.units != after.units:
        return (
            f"“{before.name}” is measured in {_units(before)} and “{after.name}” in "
            f"{_units(after)}; choose layers with the same units."
        )
    low, high = zip(before.extent.world, after.extent.world, strict=True)
    if np.any(np.max(low, axis=0) > np.min(high, axis=0)):
        return (
            f"“{before.name}” and “{after.name}” lie beside each other; choose layers that show "
            "the same place."
        )
    return ""


def why_no_curtain(pair: LayerPair) -> str:
    """Return why layers that can be compared cannot share a curtain; empty if they can."""
    before, after = pair
    if before.rgb != after.rgb:
        colour, grey = (before, after) if before.rgb else (after, before)
        return f"There is no curtain for “{colour.name}” in colour and “{grey.name}” in grey."
    if nesting_of(pair) is None:
        return (
            f"There is no curtain, because the pixels of “{before.name}” and “{after.name}” do "
            "not lie on each other."
        )
    return ""


def nesting_of(pair: LayerPair) -> Nesting | None:
    """Return how the smaller layer lies on the larger one; None if their pixels do not match.

    Of two layers of the same size the one before is the frame.
    """
    before, after = pair
    sizes = [math.prod(_lengths(layer)) for layer in pair]
    frame, inset = (after, before) if sizes[1] > sizes[0] else (before, after)

    def in_frame(pixel: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(frame.world_to_data(inset.data_to_world(pixel)))

    offset = in_frame(np.zeros(inset.ndim))
    if np.abs(offset - np.rint(offset)).max() > _TOLERANCE:
        return None
    # The far corners tell whether it is turned, or of another pixel size.
    for corner in np.diag(np.asarray(_lengths(inset), float) - 1):
        if np.abs(in_frame(corner) - offset - corner).max() > _TOLERANCE:
            return None
    return Nesting(frame, inset, tuple(int(index) for index in np.rint(offset)))


def _lengths(layer: Image) -> tuple[int, ...]:
    return tuple(full_resolution(layer).shape[: layer.ndim])


def _units(layer: Image) -> str:
    return " × ".join(str(unit) for unit in layer.units)
