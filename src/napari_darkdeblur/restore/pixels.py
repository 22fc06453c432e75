"""From an image's pixels to what the network takes, and back to exactly the same format.

The network takes three colour planes, float32, black 0 and white 1. A `PixelFormat` says
how an image's values become that: one scale for the whole image, set by its dtype or by the
caller and never by its contents. So a dark image stays dark, and the planes of a stack stay
comparable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped, unused-ignore]

from ..errors import DarkDeblurError

Image = NDArray[Any]
Planes = NDArray[np.float32]
ColourModel = Literal["grey", "rgb", "rgba"]

_COLOUR_MODEL_OF: dict[int, ColourModel] = {1: "grey", 3: "rgb", 4: "rgba"}


class PixelError(DarkDeblurError, ValueError):
    """An image's shape, dtype or values cannot be restored; the message is one sentence."""


class ValueRangeError(PixelError):
    """An image has values outside its value range.

    Parameters
    ----------
    found : tuple of float
        The least and the greatest value found.
    allowed : tuple of float
        The value range.
    """

    def __init__(self, found: tuple[float, float], allowed: tuple[float, float]) -> None:
        self.found = found
        self.allowed = allowed
        low, high = (f"{value:.6g}" for value in found)
        super().__init__(
            f"The image has values from {low} to {high}, outside the value range "
            f"{allowed[0]:g} to {allowed[1]:g}; pass value_range=(black, white) with the "
            "values of black and of white, such that all of the image lies between."
        )


@dataclass(frozen=True)
class PixelFormat:
    """What an image's pixels are, and how their values map to black = 0 and white = 1.

    Parameters
    ----------
    dtype : numpy.dtype
        uint8, uint16 or float32, in either byte order.
    colour : {"grey", "rgb", "rgba"}
        What the last axis is.
    value_range : tuple of float
        The values of black and of white.
    """

    dtype: np.dtype[Any]
    colour: ColourModel
    value_range: tuple[float, float]

    @classmethod
    def of(cls, image: NDArray[Any], value_range: tuple[float, float] | None = None) -> PixelFormat:
        """Find out an image's format, and whether it can be restored.

        Parameters
        ----------
        image : ndarray
            (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); uint8, uint16 or float32.
        value_range : tuple of float, optional
            The values of black and of white. Without it they are 0 and the dtype's greatest
            value for integers (0 and 255, 0 and 65535), 0 and 1 for floats.

        Returns
        -------
        PixelFormat
            The format.

        Raises
        ------
        PixelError
            The image is empty or of another shape or dtype, or the value range is not two
            finite numbers in ascending order.
        ValueRangeError
            A finite value of the image (alpha aside) lies outside the value range.
        """
        colour = _colour_model(image)
        _check_dtype(image.dtype)
        if value_range is None:
            white = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
            value_range = (0.0, float(white))
        low, high = (float(value) for value in value_range)
        if image.dtype.kind == "f":
            # 0.3 in float32 is greater than 0.3: compare like with like.
            low, high = float(np.float32(low)), float(np.float32(high))
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise PixelError(
                f"The value range {low:g} to {high:g} is not one; it takes the value of "
                "black and a greater one of white."
            )
        pixel_format = cls(image.dtype, colour, (low, high))
        _check_values(pixel_format._colours(image), pixel_format.value_range)
        return pixel_format

    def nonfinite(self, image: NDArray[Any]) -> int:
        """Return how many of an image's values, alpha aside, are NaN or infinite."""
        return int(np.count_nonzero(~np.isfinite(self._colours(image))))

    def to_planes(self, image: NDArray[Any]) -> Planes:
        """Return an image of this format as the network takes it.

        Grey is replicated. NaN and infinity become the nearest finite value of the same
        channel, so that they do not spread, nor make an edge where there is none.

        Parameters
        ----------
        image : ndarray
            (H, W[, C]), of this format.

        Returns
        -------
        ndarray of float32
            (3, H, W), black 0 and white 1.
        """
        black, white = self.value_range
        colours = np.moveaxis(self._colours(image), -1, 0).astype(np.float32, order="C")
        for plane in colours:
            _fill_nonfinite(plane, black)
        # In place: the image may be as large as memory allows.
        colours -= np.float32(black)
        colours /= np.float32(white - black)
        return np.repeat(colours, 3, axis=0) if self.colour == "grey" else colours

    def from_planes(self, planes: Planes, image: NDArray[Any]) -> Image:
        """Return planes in this format.

        Values are limited to the value range; integers are rounded to the nearest. Grey is
        the mean of the three planes.

        Parameters
        ----------
        planes : ndarray of float32
            (3, H, W), black 0 and white 1, finite.
        image : ndarray
            The image that the planes were made from. Its alpha and its values that are not
            finite are taken over.

        Returns
        -------
        ndarray
            Of the image's shape and dtype.
        """
        black, white = self.value_range
        if self.colour == "grey":
            # In double precision the mean of three equal numbers is that number.
            planes = planes.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
        values = np.clip(planes, 0, 1)
        values *= np.float32(white - black)
        values += np.float32(black)
        if self.dtype.kind == "u":
            # The value range may be wider than the dtype, hence the second clip.
            np.rint(values, out=values)
            np.clip(values, 0, np.iinfo(self.dtype).max, out=values)
        else:
            # Scaling back may overshoot by a rounding error.
            np.clip(values, black, white, out=values)

        restored = np.array(image, copy=True, order="C", subok=False)
        colours = self._colours(restored)  # a view
        np.copyto(
            colours,
            np.moveaxis(values, 0, -1),
            casting="unsafe",
            where=np.isfinite(self._colours(image)),
        )
        return restored

    def _colours(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return a view (H, W, C) of the image's colour channels."""
        channels = image[..., None] if image.ndim == 2 else image
        return channels[..., :3] if self.colour == "rgba" else channels


def _colour_model(image: NDArray[Any]) -> ColourModel:
    takes = "(H, W), (H, W, 1), (H, W, 3) and (H, W, 4) can be restored"
    if image.size == 0:
        raise PixelError(f"The image has shape {image.shape}, so it has no pixels.")
    if image.ndim == 2:
        return "grey"
    if image.ndim == 3 and image.shape[2] in _COLOUR_MODEL_OF:
        return _COLOUR_MODEL_OF[image.shape[2]]
    if image.ndim == 3 and image.shape[0] in _COLOUR_MODEL_OF:
        raise PixelError(
            f"The image has shape {image.shape}; {takes}, so move the channels to the end "
            "(numpy.moveaxis(image, 0, -1))."
        )
    raise PixelError(f"The image has shape {image.shape}; {takes}.")


def _check_dtype(dtype: np.dtype[Any]) -> None:
    if (dtype.kind, dtype.itemsize) not in {("u", 1), ("u", 2), ("f", 4)}:
        hint = "a mask has no blur to remove" if dtype.kind == "b" else "convert it to one of them"
        raise PixelError(
            f"The image holds {dtype.name}; uint8, uint16 and float32 can be restored, {hint}."
        )


def _check_values(colours: NDArray[Any], value_range: tuple[float, float]) -> None:
    low, high = float(colours.min()), float(colours.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        finite = colours[np.isfinite(colours)]
        if finite.size == 0:
            return
        low, high = float(finite.min()), float(finite.max())
    if low < value_range[0] or high > value_range[1]:
        raise ValueRangeError((low, high), value_range)


def _fill_nonfinite(plane: Planes, fallback: float) -> None:
    """Replace NaN and infinity by the nearest finite value, or else by ``fallback``."""
    bad = ~np.isfinite(plane)
    if not bad.any():
        return
    if bad.all():
        plane[:] = fallback
        return
    nearest = ndimage.distance_transform_edt(bad, return_distances=False, return_indices=True)
    plane[bad] = plane[tuple(nearest)][bad]
