"""Writing TIFF files part by part: photographs, and stacks as ImageJ and OME know them."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import struct
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import PIL.TiffImagePlugin
import tifffile
from numpy.typing import NDArray

from .arrays import FileArray
from .metadata import CM_PER_INCH, ORIENTATION, ImageMetadata, TiffHeader
from .tiff_reading import EXIF_IFD, GPS_IFD, TIFF_UNIT

_NATIVE: Literal["<", ">"] = "<" if sys.byteorder == "little" else ">"
_IMAGEJ_DTYPES = ("uint8", "uint16", "float32")
# Offsets in a classic TIFF file have 32 bits; the tags need room, too.
_CLASSIC_LIMIT = 2**32 - 2**25
_BYTES_PER_PAGE = 512  # of tags, at most
_TILE = 256  # pixels
_BUFFER = 16 << 20  # bytes that are compressed at once
_MAX_SAMPLE_VALUE = 281
_XMP, _PHOTOSHOP = 700, 34377
# Bytes of a number, by the type of the tag, where that is more than one.
_SIZES = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
# Maker, model, date, artist and copyright, in EXIF as in TIFF.
_EXIF_TEXTS = (271, 272, 306, 315, 33432)
_SOFTWARE = 305
# Tags of EXIF's own directories that hold for the original file only.
_NOT_COPIED = (40965,)
# Lengths that ImageJ's users write, in centimetres.
_IMAGEJ_UNITS = {
    "nm": 1e-7, "um": 1e-4, "µm": 1e-4, "\N{GREEK SMALL LETTER MU}m": 1e-4, "\\u00b5m": 1e-4,
    "micron": 1e-4, "microns": 1e-4, "mm": 0.1, "cm": 1.0, "inch": CM_PER_INCH,
}  # fmt: skip

# What OME calls numpy's types.
_OME_TYPES = {name: name for name in ("uint8", "uint16", "uint32", "int8", "int16", "int32")}
_OME_TYPES |= {"float32": "float", "float64": "double"}
_PIXELS = re.compile(r"<((?:[\w.-]+:)?)Pixels\b[^>]*>")
_TIFF_DATA = re.compile(
    r"<((?:[\w.-]+:)?)TiffData\b(?:[^>]*/>|[^>]*[^>/]>.*?</\1TiffData\s*>|>.*?</\1TiffData\s*>)",
    re.DOTALL,
)
_ROOT = re.compile(r"<(?:[\w.-]+:)?OME\b[^>]*>")


@dataclass(frozen=True)
class _Plan:
    """How a TIFF file is going to be written."""

    compress: bool
    bits: int | None  # into which samples are packed, if not all of their dtype
    resolution: tuple[float, float] | None
    unit: int
    description: bytes | None = None
    byteorder: Literal["<", ">"] = _NATIVE
    imagej: bool = False  # the description is the original's
    bigtiff: bool = False


@contextmanager
def create_tiff(
    part: Path,
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    axes: str,
    metadata: ImageMetadata,
) -> Iterator[FileArray]:
    """Create a TIFF file, whose pixels go to the disk as they are assigned.

    Single images are compressed without loss (deflate with a predictor, in tiles of 256
    pixels), and so are stacks whose original was. They are compressed at the end, and until
    then lie in an unnamed file in the same folder. Samples that the original packs into fewer
    bits than their dtype has are packed again instead. Other stacks are written where they
    belong at once. A copy of an ImageJ file is never compressed, since ImageJ opens such files
    plane by plane only when they are not.

    An ImageJ file or OME-TIFF stays one, with everything in its description, if axes and
    shape are those of the original and the format has the dtype. Otherwise the axes of a
    stack are noted as tifffile does (JSON in the description). Files above 4 GB are
    BigTIFF; ImageJ's are what ImageJ makes of them then: one page, followed by the pixels
    of all.

    Parameters
    ----------
    part : pathlib.Path
        Temporary path to write to.
    path : pathlib.Path
        What to call the file in errors.
    shape : tuple of int
        Shape of the pixels.
    dtype : numpy.dtype
        One of those that `ImageFile` names.
    axes : str
        A letter for each axis of the shape.
    metadata : ImageMetadata
        What is kept of the original.

    Yields
    ------
    FileArray
        To be assigned to; zeros at first.

    Raises
    ------
    OSError
        At the end: the file cannot be written.
    """
    full_shape = shape
    if "S" in axes and shape[axes.index("S")] == 1:  # grey, for which files have no axis
        shape = tuple(size for axis, size in zip(axes, shape, strict=True) if axis != "S")
        axes = axes.replace("S", "")
    pages, page_shape, samples = _pages(shape, axes)
    plan = _plan(shape, dtype, axes, pages, metadata)
    stored = dtype.newbyteorder(plan.byteorder)
    nbytes = math.prod(shape) * dtype.itemsize
    text = len(plan.description or b"") + sum(
        len(data) for *_, data in (metadata.tiff.tags if metadata.tiff else ())
    )
    # (EXIF's directories have another form there.)
    large = nbytes + pages * _BYTES_PER_PAGE + text > _CLASSIC_LIMIT
    bigtiff = large and (not plan.imagej or nbytes // pages > _CLASSIC_LIMIT)
    plan = replace(plan, bigtiff=bigtiff)
    arguments = _arguments(axes, dtype, samples, plan, metadata)

    with tifffile.TiffWriter(
        part,
        # Of an ImageJ file, only what its tags say must fit into 32 bits.
        bigtiff=bigtiff,
        byteorder=plan.byteorder,
        ome=False,
        imagej=False,
        shaped=False,
    ) as writer:
        if plan.compress:
            with tempfile.TemporaryFile(buffering=0, dir=part.parent) as file:
                raw = FileArray(path, cast(BinaryIO, file), shape, dtype)
                file.truncate(raw.nbytes)
                yield raw.reshape(full_shape)
                planes = _planes(raw, page_shape, axes)
                if plan.bits is not None:
                    white = dtype.type(2**plan.bits - 1)
                    per_page = planes.shape[0] // pages
                    data: Iterator[NDArray[Any]] = (
                        np.minimum(planes[i : i + per_page], white).reshape(page_shape)
                        for i in range(0, planes.shape[0], per_page)
                    )
                    how: dict[str, Any] = {"bitspersample": plan.bits}
                else:
                    # tifffile compresses in threads, and reads ahead no more than these.
                    tile = tuple(min(_TILE, -(-size // 16) * 16) for size in planes.shape[1:3])
                    data = _tiles(planes, tile)
                    how = {"tile": tile, "compression": "zlib",
                           "predictor": dtype.kind == "f" or dtype.itemsize <= 4,
                           "maxworkers": min(os.cpu_count() or 1, 8),
                           "buffersize": _BUFFER}  # fmt: skip
                writer.write(data, shape=(pages, *page_shape), dtype=dtype, **how, **arguments)
            writer.close()
            _append_directories(part, metadata, plan)
            return
        in_tags = 1 if large and plan.imagej else pages
        offset, _ = writer.write(
            None, shape=(in_tags, *page_shape), dtype=dtype, returnoffset=True, **arguments
        )
    with part.open("r+b", buffering=0) as file:
        # One page's worth may be all that tifffile has made room for.
        file.truncate(max(part.stat().st_size, offset + nbytes))
        yield FileArray(path, cast(BinaryIO, file), full_shape, stored, offset)
    _append_directories(part, metadata, plan)


def _pages(shape: tuple[int, ...], axes: str) -> tuple[int, tuple[int, ...], int]:
    """Return the number of pages, a page's shape, and its number of samples."""
    page_ndim = 3 if axes.endswith("S") or axes[-3:-2] == "S" else 2
    samples = shape[axes.index("S")] if page_ndim == 3 else 1
    return math.prod(shape[:-page_ndim]), shape[-page_ndim:], samples


def _plan(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    axes: str,
    pages: int,
    metadata: ImageMetadata,
) -> _Plan:
    header = metadata.tiff
    resolution = metadata.resolution
    unit = {text: number for number, text in TIFF_UNIT.items()}[metadata.resolution_unit]
    bits = header.bits if header is not None and header.dtype == dtype else None
    # tifffile does not compress what is packed.
    compress = pages == 1 or (header is not None and (header.compressed or bits is not None))
    single = pages == 1 and all(axis in "YXS" for axis in axes)

    plan = _Plan(compress, bits, resolution, unit)
    if header is not None and (header.shape, header.axes) == (shape, axes):
        if header.kind == "imagej" and (
            dtype == header.dtype or (dtype.name in _IMAGEJ_DTYPES and header.colour_table is None)
        ):
            # In its byte order, which is also that of the tags.
            return replace(
                plan,
                description=header.description,
                byteorder=header.byteorder,
                compress=False,
                imagej=True,
                unit=header.resolution_unit,
            )
        if header.kind == "ome" and header.description is not None:
            xml = ome_for_copy(header.description, dtype, pages, _NATIVE)
            if xml is not None:
                return replace(plan, description=xml)
        if header.kind == "plain" and (single or set(axes) - set("YXS") <= set("IQ")):
            return replace(plan, description=header.description)
    extra: dict[str, Any] = {}
    if header is not None and header.kind == "imagej":
        extra, centimetres = _imagej_calibration(header)
        if centimetres is not None and resolution is not None:
            per_centimetre = (resolution[0] / centimetres, resolution[1] / centimetres)
            plan = replace(plan, resolution=per_centimetre, unit=3)
    elif header is not None and header.kind == "shaped" and header.axes == axes:
        extra = _shaped_items(header)
    if single and not extra:
        # A photograph, whose description does not depend on the shape.
        plain = header is not None and header.kind == "plain"
        return replace(plan, description=header.description if header and plain else None)
    # The keys in this order, by which tifffile knows its own.
    text = json.dumps({"shape": shape, "axes": axes} | extra)
    return replace(plan, description=text.encode("ascii"))


def _imagej_calibration(header: TiffHeader) -> tuple[dict[str, Any], float | None]:
    """Return what ImageJ says about planes, and its unit in centimetres."""
    text = (header.description or b"").decode("utf-8", "replace")
    items = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    extra: dict[str, Any] = {}
    if "unit" in items:
        extra["unit"] = items["unit"]
    for key in ("spacing", "finterval", "fps"):
        try:
            extra[key] = float(items[key])
        except (KeyError, ValueError):
            continue
    return extra, _IMAGEJ_UNITS.get(items.get("unit", "").strip().lower())


def _shaped_items(header: TiffHeader) -> dict[str, Any]:
    """Return what is in tifffile's description besides shape and axes."""
    try:
        items = json.loads(header.description or b"")
    except ValueError:
        return {}
    ours = ("shape", "axes", "truncated")
    return {key: value for key, value in items.items() if key not in ours}


def _arguments(
    axes: str, dtype: np.dtype[Any], samples: int, plan: _Plan, metadata: ImageMetadata
) -> dict[str, Any]:
    """Return what tifffile's writer is told in every case."""
    header = metadata.tiff
    colour = header is None or header.colour or header.axes != axes
    orientation = metadata.orientation()
    tags: list[tuple[int, Any, int, Any, bool]] = []
    if orientation:
        tags.append((ORIENTATION, "H", 1, orientation, True))
    for code, kind, count, data in header.tags if header is not None else ():
        if header is not None and header.byteorder != plan.byteorder:
            data = _swapped(kind, data)
        tags.append((code, kind, count, data, True))
    for code, block in ((_XMP, metadata.xmp), (_PHOTOSHOP, metadata.photoshop)):
        if block is not None:
            tags.append((code, 1 if code == _XMP else 7, len(block), block, True))
    for code in _directories(metadata, plan):
        # tifffile leaves these out: so under another number at first, of the same place.
        tags.append((code - 1, "I", 1, 0, True))
    known = {code for code, *_ in tags}
    for code, text in _texts_of_exif(metadata).items():
        if code not in known:
            tags.append((code, 2, 0, text, True))
    white = metadata.white if dtype.kind == "u" and plan.bits is None else None
    if white is not None and white < np.iinfo(dtype).max and white < 2**32:
        how = "I" if white >= 2**16 else "H"
        tags.append((_MAX_SAMPLE_VALUE, how, samples, (int(white),) * samples, True))
    if not any(code == _SOFTWARE for code, *_ in tags):
        tags.append((_SOFTWARE, 2, 0, b"napari-darkdeblur", True))
    colour_table = None
    if plan.imagej and header is not None and header.colour_table and dtype == np.uint8:
        colour_table = np.frombuffer(header.colour_table, np.uint16).reshape(3, -1)
    photometric = "rgb" if samples in (3, 4) and colour else "minisblack"
    extra = [header.extra_sample if header else 2] if samples == 4 and colour else None
    if samples > 1 and not colour:
        extra = [0] * (samples - 1)  # channels
    planarconfig = None
    if samples > 1:
        planarconfig = "contig" if axes.endswith("S") else "separate"
    return {
        "photometric": photometric if colour_table is None else "palette",
        "planarconfig": planarconfig,
        "extrasamples": extra,
        "colormap": colour_table,
        "resolution": plan.resolution,
        "resolutionunit": plan.unit if plan.resolution is not None else None,
        "iccprofile": metadata.icc_profile,
        "extratags": tags,
        "description": plan.description or metadata.comment,
        "metadata": None,
        "software": False,
    }


def _swapped(kind: int, data: bytes) -> bytes:
    """Return a tag's values in the other byte order."""
    size = _SIZES.get(int(kind), 1)
    return np.frombuffer(data, f"u{size}").byteswap().tobytes() if size > 1 else data


def _loaded_exif(metadata: ImageMetadata) -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    with (
        warnings.catch_warnings(action="ignore"),
        contextlib.suppress(SyntaxError, ValueError, struct.error, OSError),
    ):
        exif.load(metadata.exif or b"")
    return exif


def _texts_of_exif(metadata: ImageMetadata) -> dict[int, bytes]:
    """Return the texts of EXIF's main directory that have their place in a TIFF file's."""
    exif = _loaded_exif(metadata) if metadata.exif else {}
    texts = {code: exif.get(code) for code in _EXIF_TEXTS}
    return {
        code: text.encode("ascii", "replace") + b"\0"
        for code, text in texts.items()
        if isinstance(text, str) and text
    }


def _directories(metadata: ImageMetadata, plan: _Plan) -> dict[int, dict[int, Any]]:
    """Return EXIF's directories of the exposure and the place, if the file can have them."""
    if metadata.exif is None or plan.bigtiff or plan.imagej:
        return {}
    exif = _loaded_exif(metadata)
    found = {}
    for code in (EXIF_IFD, GPS_IFD):
        with (
            warnings.catch_warnings(action="ignore"),
            contextlib.suppress(SyntaxError, ValueError, struct.error, OSError, KeyError),
        ):
            if values := exif.get_ifd(code):
                found[code] = dict(values)
    return found


def _append_directories(part: Path, metadata: ImageMetadata, plan: _Plan) -> None:
    """Put EXIF's directories at the end of a file, and where they lie into its tags."""
    directories = _directories(metadata, plan)
    if not directories:
        return
    places = {}
    with part.open("r+b") as file:
        for code, values in directories.items():
            directory = PIL.TiffImagePlugin.ImageFileDirectory_v2(
                prefix=b"MM" if plan.byteorder == ">" else b"II"
            )
            for tag, value in values.items():
                if tag not in _NOT_COPIED:
                    directory[tag] = value
            places[code] = file.seek(0, os.SEEK_END)
            if places[code] % 2:
                file.write(b"\0")
                places[code] += 1
            file.write(directory.tobytes(places[code]))
    with tifffile.TiffFile(part) as tiff:
        entries = {code: tiff.pages.first.tags[code - 1].offset for code in places}
    with part.open("r+b") as file:
        for code, offset in entries.items():
            file.seek(offset)
            file.write(struct.pack(f"{plan.byteorder}HHII", code, 4, 1, places[code]))


def _planes(raw: FileArray, page_shape: tuple[int, ...], axes: str) -> FileArray:
    """Return the pixels as (planes, height, width, samples that lie together)."""
    contiguous = axes.endswith("S")
    height, width = page_shape[:2] if contiguous else page_shape[-2:]
    together = page_shape[2] if contiguous else 1
    return raw.reshape((raw.size // (height * width * together), height, width, together))


def _tiles(planes: FileArray, tile: tuple[int, ...]) -> Iterator[NDArray[Any]]:
    """Yield the tiles in the order of the file."""
    count, height, width, _ = planes.shape
    for plane in range(count):
        for top in range(0, height, tile[0]):
            # A row of tiles is read in one piece.
            row = planes[plane, top : top + tile[0]]
            for left in range(0, width, tile[1]):
                yield row[:, left : left + tile[1]]


# --- OME-XML, the description in OME-TIFF files, made true for a file written anew


def ome_for_copy(
    description: bytes, dtype: np.dtype[Any], pages: int, byteorder: str
) -> bytes | None:
    """Return the OME-XML of a file that has the same axes as the original.

    Everything stays but for where the pages are, their dtype and byte order, and the names
    by which files refer to each other. The text is changed in these places only, so that
    elements and name spaces which nobody here knows stay what they are.

    Parameters
    ----------
    description : bytes
        OME-XML of the original.
    dtype : numpy.dtype
        Dtype of the new pixels.
    pages : int
        Number of pages of the new file.
    byteorder : {"<", ">"}
        Byte order of the new file.

    Returns
    -------
    bytes or None
        UTF-8; None if OME-TIFF has no such dtype or the XML is not what it should be.
    """
    ome_type = _OME_TYPES.get(dtype.name)
    try:
        text = description.decode("utf-8")
        ElementTree.fromstring(description)
    except (UnicodeDecodeError, ElementTree.ParseError):
        return None
    pixels = _PIXELS.findall(text)
    if ome_type is None or len(pixels) != 1 or not _TIFF_DATA.search(text):
        return None

    def pixels_tag(match: re.Match[str]) -> str:
        tag = match[0]
        if _attribute(tag, "Type") != ome_type:
            tag = _with_attribute(tag, "Type", ome_type)
            # It was that of the other type.
            tag = re.sub(r"\s+SignificantBits\s*=\s*(\"[^\"]*\"|'[^']*')", "", tag)
        return _with_attribute(tag, "BigEndian", "true" if byteorder == ">" else "false")

    text = _PIXELS.sub(pixels_tag, text)
    data = [f'<{pixels[0]}TiffData IFD="0" PlaneCount="{pages}"/>']
    text = _TIFF_DATA.sub(lambda _: data.pop() if data else "", text)
    # The name of the original, which is another file.
    text = _ROOT.sub(
        lambda match: re.sub(r"\s+UUID\s*=\s*(\"[^\"]*\"|'[^']*')", "", match[0]), text, count=1
    )
    result = text.encode("utf-8")
    try:
        ElementTree.fromstring(result)
    except ElementTree.ParseError:
        return None
    return result


def _attribute(tag: str, name: str) -> str | None:
    found = re.search(rf"\s{name}\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", tag)
    return (found[1] or found[2]) if found else None


def _with_attribute(tag: str, name: str, value: str) -> str:
    """Return the tag with an attribute changed, if it has it."""
    return re.sub(rf"(\s{name}\s*=\s*)(?:\"[^\"]*\"|'[^']*')", rf'\g<1>"{value}"', tag)
