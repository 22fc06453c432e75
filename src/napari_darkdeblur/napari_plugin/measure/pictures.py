"""What is measured: rectangles of planes, as a thread may read them, on one scale from 0 to 1."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DarkDeblurError
from ...rectangle import Rectangle
from ...restore.image.axes import Axes
from ..layer_pixels import full_resolution
from ..provenance import input_of, provenance_of, results_of

if TYPE_CHECKING:
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
        In a layer's units.
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
        Of any kind.
    layers : iterable of napari.layers.Image
        All that there are.

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
        Of any kind.
    layers : iterable of napari.layers.Image
        All that there are.

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
        The layer's.
    array : PixelArray
        Its full-resolution pixels, all of them.
    axes : Axes
        Their axes.
    plane : int
        As `Axes.index` takes it.
    area : Rectangle
        The rectangle, in the array's pixels.
    values : ValueRange
        What is black and white.
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
