"""What an image file says about its pixels."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL.Image

FileFormat = Literal["PNG", "JPEG", "TIFF"]
ResolutionUnit = Literal["none", "inch", "centimetre"]
TiffKind = Literal["plain", "shaped", "imagej", "ome"]

FORMAT_OF_SUFFIX: dict[str, FileFormat] = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
ORIENTATION = 274  # the tag's number in EXIF and in TIFF, which are the same format
CM_PER_INCH = 2.54


def distinct(axes: str) -> str:
    """Return axes with each letter once: tifffile calls all unknown ones Q (QQYX)."""
    spare = (letter for letter in "IJKLMNOPUVW" if letter not in axes)
    result = ""
    for axis in axes:
        result += next(spare) if axis in result else axis
    return result


@dataclass(frozen=True)
class TiffHeader:
    """What a TIFF file says beyond its pixels, to be kept in a TIFF file made from it.

    The description and the ImageJ tags are kept as the bytes they are, so that nothing in
    them is lost that we do not know of. They hold for pixels of this shape only.

    Parameters
    ----------
    kind : {"plain", "shaped", "imagej", "ome"}
        Who defined what the description says: nobody, tifffile (JSON), ImageJ
        (``key=value``) or the Open Microscopy Environment (XML).
    shape : tuple of int
        Of the pixels as they were read.
    dtype : numpy.dtype
        Of the pixels.
    axes : str
        A letter for each axis of the shape, as in the file, where a letter may occur twice.
    description : bytes, optional
        The ImageDescription.
    tags : tuple of (int, int, int, bytes)
        Further tags of the first page: number, type, count, and the values in the file's
        byte order.
    byteorder : {"<", ">"}
        The file's.
    compressed : bool
        Whether the pixels were.
    resolution_unit : int
        The ResolutionUnit as it is. ImageJ writes its unit elsewhere, too.
    colour : bool
        Whether several samples of a pixel are RGB; otherwise they are channels.
    bits : int, optional
        Bits of a sample, where they are packed into fewer than the dtype has.
    extra_sample : int
        What the fourth sample is: 0 unknown, 1 colours multiplied by it, 2 transparency.
    colour_table : bytes, optional
        3 x 256 uint16 in the machine's byte order: how ImageJ displays the values.
    """

    kind: TiffKind
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: str
    description: bytes | None = None
    tags: tuple[tuple[int, int, int, bytes], ...] = ()
    byteorder: Literal["<", ">"] = "<"
    compressed: bool = False
    resolution_unit: int = 1
    colour: bool = True
    bits: int | None = None
    extra_sample: int = 2
    colour_table: bytes | None = None


@dataclass(frozen=True)
class ImageMetadata:
    """What a file says about its pixels, to be kept in a file made from it.

    Parameters
    ----------
    exif : bytes, optional
        EXIF as a TIFF structure, without the ``Exif`` marker of JPEG files. A TIFF file's
        is its orientation only.
    icc_profile : bytes, optional
        ICC colour profile.
    resolution : tuple of float, optional
        Pixels per unit along x and y.
    resolution_unit : {"none", "inch", "centimetre"}
        What the unit is.
    white : float, optional
        The value of white, where the file says that it is less than the dtype's greatest
        value: 4095 for 12 bits in uint16.
    tiff : TiffHeader, optional
        What only a TIFF file says, and only a TIFF file can keep.
    """

    exif: bytes | None = None
    icc_profile: bytes | None = None
    resolution: tuple[float, float] | None = None
    resolution_unit: ResolutionUnit = "none"
    white: float | None = None
    tiff: TiffHeader | None = None

    def dots_per_inch(self) -> tuple[float, float] | None:
        """Return the resolution per inch, if there is one and its unit is a length."""
        if self.resolution is None or self.resolution_unit == "none":
            return None
        scale = CM_PER_INCH if self.resolution_unit == "centimetre" else 1.0
        return self.resolution[0] * scale, self.resolution[1] * scale

    def orientation(self) -> int | None:
        """Return the EXIF orientation (1 to 8), if there is one."""
        if self.exif is None:
            return None
        exif = PIL.Image.Exif()
        try:
            exif.load(self.exif)
            value = exif.get(ORIENTATION)
        except (SyntaxError, ValueError, struct.error, OSError):
            return None  # kept as it is, but nothing to be read from it
        return value if value in range(1, 9) else None


@dataclass(frozen=True)
class ImageFile:
    """An image file's contents.

    Parameters
    ----------
    path : pathlib.Path
        Where it was read from.
    pixels : ndarray or array-like
        From `read_image` an ndarray of one image: (H, W), (H, W, 3) or (H, W, 4). From
        `open_image` whatever the file holds, as an ndarray or as an object with ``shape``,
        ``dtype``, ``ndim`` and ``array[ints and slices]``, which reads that part only.
        uint8 or uint16, and in TIFF also int16, float16, float32 or float64, always in the
        machine's byte order. Grey with alpha and palettes come as RGB(A).
    metadata : ImageMetadata
        What else is worth keeping.
    axes : str, optional
        A letter for each axis of the pixels, as the file says: Y and X, S for the samples
        of a pixel (RGB, RGBA), any other for an axis of planes; T is time, Z depth, C
        channel, and Q or I unknown. Each letter occurs once. None where nothing is known.
    notes : tuple of str
        Sentences about what was chosen in the file or is left out, for the user.
    """

    path: Path
    # Any: an ndarray has many more methods than what reads a file, and most callers have one.
    pixels: Any
    metadata: ImageMetadata = field(default_factory=ImageMetadata)
    axes: str | None = None
    notes: tuple[str, ...] = ()

    def as_options(self) -> dict[str, Any]:
        """Return what the file says as fields of `RestoreOptions`; what is unknown is left out."""
        said: dict[str, Any] = {}
        if self.axes is not None:
            said["axes"] = self.axes
        if self.metadata.white is not None:
            said["full_scale"] = (0.0, self.metadata.white)
        return said
