"""What an image file says about its pixels."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL.Image

FileFormat = Literal["PNG", "JPEG", "TIFF", "ZARR"]
ResolutionUnit = Literal["none", "inch", "centimetre"]
TiffKind = Literal["plain", "shaped", "imagej", "ome"]

# What can be written, by the file's ending.
FORMAT_OF_SUFFIX: dict[str, FileFormat] = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".zarr": "ZARR",
}
RAW_SUFFIXES = frozenset(
    {".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".srf", ".sr2"}
    | {".raf", ".orf", ".rw2", ".pef", ".srw", ".iiq", ".3fr", ".erf", ".mrw"}
)
# What can be read besides.
STILL_SUFFIXES = RAW_SUFFIXES.union(
    (".webp", ".bmp", ".dib", ".gif", ".avif", ".heic", ".heif", ".hif")
)
ORIENTATION = 274  # the tag's number in EXIF and in TIFF, which are the same format
CM_PER_INCH = 2.54
_MOST_LISTED = 6


def distinct(axes: str) -> str:
    """Return axes with each letter once: tifffile calls all unknown ones Q (QQYX)."""
    spare = (letter for letter in "IJKLMNOPUVW" if letter not in axes)
    result = ""
    for axis in axes:
        result += next(spare) if axis in result else axis
    return result


def listed(arrays: Sequence[Any]) -> str:
    """Return images in words, such as ``"0 (70 × 90 uint16), 1 (40 × 40 uint8)"``; at most six."""
    each = [
        f"{number} ({' × '.join(map(str, array.shape))} {np.dtype(array.dtype or 'V').name})"
        for number, array in enumerate(arrays[:_MOST_LISTED])
    ]
    more = f" and {len(arrays) - len(each)} more" if len(arrays) > len(each) else ""
    return ", ".join(each) + more


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
        Shape of the pixels as they were read.
    dtype : numpy.dtype
        Dtype of the pixels.
    axes : str
        A letter for each axis of the shape, as in the file, where a letter may occur twice.
    description : bytes, optional
        Text of the ImageDescription tag.
    tags : tuple of (int, int, int, bytes)
        Further tags of the first page: number, type, count, and the values in the file's
        byte order.
    byteorder : {"<", ">"}
        Byte order of the file.
    compressed : bool
        Whether the pixels were compressed.
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
class ZarrHeader:
    """What a Zarr folder says beyond its pixels, to be kept in one made from it.

    Parameters
    ----------
    zarr_format : {2, 3}
        Version of the Zarr format.
    attributes : dict, optional
        Attributes of the image's group.
    multiscale : dict, optional
        What OME-Zarr says of the image; None for a plain array.
    levels : tuple of (str, tuple of int)
        Name and shape of each level of resolution, the finest first.
    chunks : tuple of int
        The finest level's chunks.
    """

    zarr_format: int
    attributes: dict[str, Any] | None = None
    multiscale: dict[str, Any] | None = None
    levels: tuple[tuple[str, tuple[int, ...]], ...] = ()
    chunks: tuple[int, ...] = ()


@dataclass(frozen=True)
class ImageMetadata:
    """What a file says about its pixels, to be kept in a file made from it.

    Parameters
    ----------
    exif : bytes, optional
        EXIF as a TIFF structure, without the ``Exif`` marker of JPEG files. A TIFF file's
        is its orientation only.
    icc_profile : bytes, optional
        ICC profile, which says what colours the values are.
    resolution : tuple of float, optional
        Pixels per unit along x and y.
    resolution_unit : {"none", "inch", "centimetre"}
        Length that the resolution is given per.
    white : float, optional
        The value of white, where the file says that it is less than the dtype's greatest
        value: 4095 for 12 bits in uint16.
    linear_light : bool
        Whether values are in proportion to light, although the image is in colour.
    xmp : bytes, optional
        XMP as the XML text that it is.
    photoshop : bytes, optional
        Photoshop's image resources, in which IPTC texts are kept.
    comment : bytes, optional
        A JPEG or GIF file's comment.
    png_chunks : tuple of (bytes, bytes)
        Type and data of PNG chunks that say how the values look, and of texts.
    tiff : TiffHeader, optional
        What only a TIFF file says, and only a TIFF file can keep.
    zarr : ZarrHeader, optional
        What only a Zarr folder says.
    """

    exif: bytes | None = None
    icc_profile: bytes | None = None
    resolution: tuple[float, float] | None = None
    resolution_unit: ResolutionUnit = "none"
    white: float | None = None
    linear_light: bool = False
    xmp: bytes | None = None
    photoshop: bytes | None = None
    comment: bytes | None = None
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()
    tiff: TiffHeader | None = None
    zarr: ZarrHeader | None = None

    def dots_per_inch(self) -> tuple[float, float] | None:
        """Return the resolution per inch, if there is one and its unit is a length."""
        if self.resolution is None or self.resolution_unit == "none":
            return None
        scale = CM_PER_INCH if self.resolution_unit == "centimetre" else 1.0
        return self.resolution[0] * scale, self.resolution[1] * scale

    def not_kept_in(self, file_format: FileFormat) -> list[str]:
        """Return in words what a file of this format cannot keep."""
        tiff = self.tiff
        written_by = {"imagej": "ImageJ's description", "ome": "OME's description"}
        geo = tiff is not None and any(33550 <= code <= 34737 for code, *_ in tiff.tags)
        texts = any(kind in (b"tEXt", b"zTXt", b"iTXt") for kind, _ in self.png_chunks)
        video = any(kind in (b"cICP", b"mDCV", b"cLLI") for kind, _ in self.png_chunks)
        long_exif = self.exif is not None and len(self.exif) >= 65_000
        everything = {
            "EXIF": (self.exif, file_format == "ZARR" or (file_format == "JPEG" and long_exif)),
            "the colour profile": (self.icc_profile, file_format == "ZARR"),
            "XMP": (self.xmp, file_format == "ZARR"),
            "IPTC": (self.photoshop, file_format in ("PNG", "ZARR")),
            "the comment": (self.comment, file_format == "ZARR"),
            "PNG's texts": (texts, file_format != "PNG"),
            "the video colour space (cICP)": (video, file_format != "PNG"),
            "the position on Earth (GeoTIFF)": (geo, file_format != "TIFF"),
            written_by.get(tiff.kind if tiff else "", ""): (
                tiff is not None and tiff.kind in written_by, file_format != "TIFF"
            ),
            "Zarr's attributes": (
                self.zarr is not None and self.zarr.attributes, file_format != "ZARR"
            ),
        }  # fmt: skip
        return [name for name, (there, lost) in everything.items() if there and lost]

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
        File that it was read from.
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
        if self.metadata.linear_light:
            said["light"] = "linear"
        return said
