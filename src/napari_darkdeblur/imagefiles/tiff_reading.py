"""Reading TIFF files: photographs, stacks of ImageJ and OME, pyramids."""

from __future__ import annotations

import math
import re
import struct
import tempfile
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import PIL.Image
import tifffile
from numpy.typing import NDArray

from .arrays import FileArray, PagedArray
from .metadata import (
    ORIENTATION,
    ImageFile,
    ImageMetadata,
    ResolutionUnit,
    TiffHeader,
    TiffKind,
    distinct,
    listed,
)
from .problems import ImageFileError

TIFF_DTYPES = tuple(
    np.dtype(code) for code in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
)
TIFF_UNIT: dict[int, ResolutionUnit] = {1: "none", 2: "inch", 3: "centimetre"}
# Compressed pages up to this size are decoded in memory, larger ones into a temporary file.
PAGE_IN_MEMORY = 64 << 20  # bytes

_DESCRIPTION = 270
# Document and page name, make, model, software, date, artist, host, copyright.
_TEXT_TAGS = (269, 271, 272, 285, 305, 306, 315, 316, 33432)
# IPTC; GeoTIFF's scale, tie points, transformation, keys, numbers and texts; GDAL's texts.
_FURTHER_TAGS = (33723, 33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)
_XMP, _PHOTOSHOP = 700, 34377
EXIF_IFD, GPS_IFD = 34665, 34853
_IMAGEJ_TAGS = (50838, 50839)
_SEGMENT_BUFFER = 16 << 20  # compressed bytes read at once
# The luminance of a colour, for telling ramps from other colour tables.
_LUMA = np.array([0.299, 0.587, 0.114])


def open_tiff(path: Path, closing: ExitStack, series: int | None = None) -> ImageFile:
    """Open a TIFF file; pixels are read when they are asked for.

    Uncompressed pixels are read from where they are. Compressed ones are decoded a page at a
    time: in memory up to 64 MiB, else into an unnamed file in the folder for temporary files
    (TMPDIR). So are pages that have to be converted: colour tables to RGB, values that grow
    darker to such that grow lighter, grey with alpha to RGBA.

    Parameters
    ----------
    path : pathlib.Path
        TIFF file to open.
    closing : contextlib.ExitStack
        Closes the files at its end.
    series : int, optional
        Which image of several to read, from 0; see `open_image`.

    Returns
    -------
    ImageFile
        The image at full resolution.

    Raises
    ------
    ImageFileError
        The file holds what cannot be restored.
    """
    tiff = closing.enter_context(tifffile.TiffFile(path))
    chosen, notes = _choose_series(path, tiff, series)
    page = chosen.keyframe
    _check_storage(path, page)
    shape, axes = _shape_and_axes(path, chosen)
    white = _white(page)
    convert = _conversion(path, tiff, page, white)

    pixels: NDArray[Any] | FileArray | PagedArray
    if convert is not None and math.prod(shape) == math.prod(page.shape):
        pixels = convert(page.asarray())
        axes = "YX" if pixels.ndim == 2 else "YXS"
    elif convert is not None:
        pixels = _converted_pages(path, chosen, shape, convert)
        leading = len(shape) - len(page.shape)
        axes = axes[:leading] + "YXS"[: pixels.ndim - leading]
    else:
        pixels = _lazy_pixels(path, chosen, shape, closing)
    stored_axes = axes
    if "S" in axes and convert is None and _colours(page) != "RGB":
        # No colour model: these are channels, each of which is restored on its own. (C at the
        # end may be taken for a colour.)
        unused = [axis for axis in "CQIHJ" if axis not in axes]
        samples = shape[axes.index("S")]
        axes = axes.replace("S", unused[samples in (3, 4)])
        notes += (
            f"Each pixel has {samples} values and the file names no colours, so they were taken "
            "for channels, each of which is restored on its own.",
        )
    known = axes.count("Y") == axes.count("X") == 1 and axes.count("S") <= 1
    known = known and axes.isascii() and axes.isalpha() and axes.isupper()
    metadata = _metadata(tiff, chosen, pixels, stored_axes, white)
    return ImageFile(path, pixels, metadata, distinct(axes) if known else None, notes)


def _white(page: Any) -> float | None:
    """Return the value of white, if the file says that it is less than its dtype's greatest."""
    dtype = np.dtype(page.dtype)
    if dtype.kind != "u" or _colours(page) == "PALETTE":
        return None
    white = 2 ** (_bits(page) or 8 * dtype.itemsize) - 1
    told = page.tags.valueof("MaxSampleValue")
    told = max(told) if isinstance(told, tuple) else told
    if told and 0 < int(told) < white:
        white = int(told)
    return float(white) if white < np.iinfo(dtype).max else None


def _bits(page: Any) -> int | None:
    """Return the bits of a sample that is packed into fewer than its dtype has."""
    dtype = np.dtype(page.dtype)
    bits = page.bitspersample
    bits = {int(each) for each in (bits if isinstance(bits, tuple) else (bits,))}
    if dtype.kind != "u" or len(bits) > 1 or _colours(page) == "PALETTE":
        return None
    (each,) = bits
    return each if each < 8 * dtype.itemsize else None


def _choose_series(path: Path, tiff: Any, number: int | None) -> tuple[Any, tuple[str, ...]]:
    """Return one of a file's images, see `open_image`, and a note.

    Of several the first is meant in OME-TIFF, else the largest: cameras put small previews first.
    """
    first = tiff.pages.first
    names = re.findall(r'FileName\s*=\s*"([^"]*)"', first.description or "")
    if tiff.is_ome and len(set(names)) > 1:
        # Before tifffile looks for the others, which it would take for black if missing.
        raise _several_files(path)
    _check_end(tiff)
    series = [one for one in tiff.series if not one.keyframe.is_reduced] or tiff.series[:1]
    if number is not None and not 0 <= number < len(series):
        raise ImageFileError(
            f"{path} has no image {number}; it holds {len(series)} images: {listed(series)}."
            if len(series) > 1
            else f"{path} has no image {number}; it holds a single one, number 0."
        )
    notes: tuple[str, ...] = ()
    if number is None:
        number = 0
        if not tiff.is_ome:
            number = max(range(len(series)), key=lambda i: (math.prod(series[i].shape), -i))
        if len(series) > 1:
            notes = (
                f"The file holds {len(series)} images: {listed(series)}; image {number} was taken, "
                "--series chooses another.",
            )
    if series[number].is_multifile:
        raise _several_files(path)
    return series[number], notes


def _several_files(path: Path) -> ImageFileError:
    return ImageFileError(
        f"{path} is a part of an image that is spread over several files; save the image as "
        "one file first."
    )


def _check_end(tiff: Any) -> None:
    """Find out whether pages are missing at the end, about which tifffile is silent."""
    file, form = tiff.filehandle, tiff.tiff
    last = tiff.pages[-1]
    if not form.is_ndpi:  # which has more bits here
        file.seek(last.offset)
        (tags,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
        file.seek(last.offset + form.tagnosize + tags * form.tagsize)
        (following,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
        if following >= file.size:
            raise EOFError("the file ends before its last page")
    if tiff.is_imagej and last.index == 0:
        # Above 4 GB, ImageJ writes one page and the pixels of all.
        page = tiff.pages.first
        images = (tiff.imagej_metadata or {}).get("images", 1)
        nbytes = images * page.nbytes
        if nbytes >= 2**32 and page.is_final and page.dataoffsets[0] + nbytes > file.size:
            raise EOFError("the file ends before its last page")


def _check_storage(path: Path, page: Any) -> None:
    """Refuse colours and values that cannot be restored."""
    name = _colours(page)
    if name == "SEPARATED":
        raise ImageFileError(f"{path} has CMYK colours, for printing; convert it to RGB first.")
    if name not in ("MINISBLACK", "MINISWHITE", "RGB", "PALETTE"):
        raise ImageFileError(f"{path} has {name} colours; convert it to RGB first.")
    dtype = np.dtype(page.dtype) if page.dtype is not None else None
    if dtype not in TIFF_DTYPES:
        what = "1 bit a pixel" if dtype == np.bool_ else f"{dtype} values"
        raise ImageFileError(
            f"{path} holds {what}; convert it to integers of 8 bits or more, or to float32, first."
        )


def _colours(page: Any) -> str:
    name = str(page.photometric.name) if page.photometric is not None else "unknown"
    if name == "YCBCR" and page.compression.name.endswith("JPEG"):
        return "RGB"  # which the JPEG decoder makes of it
    return name


def _shape_and_axes(path: Path, series: Any) -> tuple[tuple[int, ...], str]:
    """Return the image's shape, which ends with that of a page, and its axes."""
    page_shape = tuple(series.keyframe.shape)
    sizes = list(zip(series.axes, series.shape, strict=True))
    # A single sample is no axis, and an axis of length 1 may be missing in the page.
    without_sample = [(axis, size) for axis, size in sizes if axis != "S" or size > 1]
    squeezed = [(axis, size) for axis, size in without_sample if axis in "YX" or size > 1]
    for kept in (without_sample, squeezed):
        shape = tuple(size for _, size in kept)
        if shape[-len(page_shape) :] == page_shape:
            return shape, "".join(axis for axis, _ in kept)
    raise ImageFileError(
        f"{path} describes an image of shape {tuple(series.shape)} and stores pages of shape "
        f"{page_shape}, which do not fit together; save it anew as an ImageJ or OME-TIFF file."
    )


def _conversion(
    path: Path, tiff: Any, page: Any, white: float | None
) -> Callable[[NDArray[Any]], NDArray[Any]] | None:
    """Return what makes a stored page grey that grows lighter, or RGB(A); None if it is that."""
    name = _colours(page)
    dtype = np.dtype(page.dtype)
    planar = page.axes == "SYX"
    samples = page.shape[page.axes.index("S")] if "S" in page.axes else 1
    if name == "PALETTE":
        if tiff.is_imagej and _is_ramp(page.colormap):
            # ImageJ's way of saying in which colour grey values are shown.
            return None
        table = (np.moveaxis(page.colormap, 0, -1) >> 8).astype(np.uint8)
        return lambda pixels: table[pixels]
    if name == "MINISWHITE" and dtype.kind != "u":
        raise ImageFileError(f"{path} has {dtype} values that grow darker; invert them first.")
    with_alpha = samples == 2 and page.extrasamples and int(page.extrasamples[0]) in (1, 2)
    if name != "MINISWHITE" and not with_alpha:
        return None
    limit = dtype.type(white if white is not None else np.iinfo(dtype).max) if white else None

    def convert(pixels: NDArray[Any]) -> NDArray[Any]:
        if planar:
            pixels = np.moveaxis(pixels, 0, -1)
        if with_alpha:
            grey, alpha = pixels[..., :1], pixels[..., 1:]
            grey = _inverted(grey, limit) if name == "MINISWHITE" else grey
            pixels = np.concatenate([grey, grey, grey, alpha], axis=-1)
        else:
            pixels = _inverted(pixels, limit)
        return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))

    return convert


def _inverted(pixels: NDArray[Any], white: np.unsignedinteger[Any] | None) -> NDArray[Any]:
    """Return values that grow lighter, from such that grow darker."""
    greatest = white if white is not None else pixels.dtype.type(np.iinfo(pixels.dtype).max)
    inverted: NDArray[Any] = greatest - np.minimum(pixels, greatest)
    return inverted


def _is_ramp(colour_table: NDArray[np.uint16]) -> bool:
    luminance = _LUMA @ colour_table.astype(np.float64)
    return bool(np.all(np.diff(luminance) >= -256))  # one step of the 8-bit colours in use


def _converted_pages(
    path: Path,
    series: Any,
    shape: tuple[int, ...],
    convert: Callable[[NDArray[Any]], NDArray[Any]],
) -> PagedArray:
    """Return a stack whose pages are converted as they are read."""
    page = series.keyframe
    pages = _pages_of(path, series, shape)
    # What a page becomes follows from a small one.
    small = convert(np.zeros([min(size, 4) for size in page.shape], page.dtype))
    height, width = (page.shape[page.axes.index(axis)] for axis in "YX")
    page_shape = (height, width, *small.shape[2:])

    def decode(number: int) -> NDArray[Any]:
        one = pages[number]
        return convert(np.zeros(page.shape, page.dtype) if one is None else one.asarray())

    leading = shape[: len(shape) - len(page.shape)]
    return PagedArray(path, (*leading, *page_shape), len(page_shape), small.dtype, decode)


def _pages_of(path: Path, series: Any, shape: tuple[int, ...]) -> list[Any]:
    """Return a stack's pages, with None for planes that were never recorded."""
    pages = list(series)
    if len(pages) * math.prod(series.keyframe.shape) != math.prod(shape):
        raise ImageFileError(
            f"{path} describes an image of shape {shape} and stores {len(pages)} pages; save "
            "it anew as an ImageJ or OME-TIFF file."
        )
    return pages


def _lazy_pixels(
    path: Path, series: Any, shape: tuple[int, ...], closing: ExitStack
) -> FileArray | PagedArray:
    page = series.keyframe
    stored = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    # A file of its own, since the decoder moves about in the other one.
    file = cast(BinaryIO, closing.enter_context(path.open("rb", buffering=0)))
    length = path.stat().st_size

    def in_file(shape: tuple[int, ...], offset: int) -> FileArray:
        array = FileArray(path, file, shape, stored, offset)
        if offset + array.nbytes > length:
            raise EOFError("the file ends within the image")
        return array

    if series.dataoffset is not None:
        return in_file(shape, series.dataoffset)
    pages = _pages_of(path, series, shape)
    spool: list[BinaryIO] = []

    def decode(number: int) -> NDArray[Any] | FileArray:
        one = pages[number]
        if one is None:
            return np.zeros(page.shape, page.dtype)  # a plane that was never recorded
        if page.is_final:
            return in_file(page.shape, one.dataoffsets[0])
        if page.nbytes <= PAGE_IN_MEMORY or page.is_contiguous:
            decoded: NDArray[Any] = one.asarray()
            return decoded
        if not spool:
            temporary = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            spool.append(cast(BinaryIO, closing.enter_context(temporary)))
        return _decoded_into(spool[0], one)

    in_memory = page.nbytes <= PAGE_IN_MEMORY
    return PagedArray(
        path, shape, len(page.shape), np.dtype(page.dtype), decode, keep=2 if in_memory else 1
    )


def _decoded_into(file: BinaryIO, page: Any) -> FileArray:
    """Decode a page strip by strip or tile by tile into a file."""
    keyframe = page.keyframe
    dtype = np.dtype(keyframe.dtype)
    samples, depth, height, width, _ = keyframe.shaped
    # If it cannot be written, it is that folder which is full.
    folder = Path(tempfile.gettempdir())
    whole = FileArray(folder, file, tuple(keyframe.shaped), dtype)
    file.truncate(0)  # what is missing in the page must not be of the page before
    file.truncate(whole.nbytes)

    def store(decoded: tuple[NDArray[Any] | None, tuple[int, ...], tuple[int, ...]]) -> None:
        segment, (s, d, h, w, _), (depths, rows, columns, _) = decoded
        if s >= samples or h >= height or w >= width:
            return  # more strips than the image needs
        place = (s, slice(d, d + depths), slice(h, h + rows), slice(w, w + columns))
        if segment is None:
            whole[place] = dtype.type(keyframe.nodata)
        else:
            whole[place] = segment[: depth - d, : height - h, : width - w]

    # Stored by the decoding threads themselves, so that they cannot run ahead and fill the
    # memory.
    for _ in page.segments(func=store, buffersize=_SEGMENT_BUFFER):
        pass
    return whole.reshape(tuple(keyframe.shape))


# --- metadata


def _metadata(tiff: Any, series: Any, pixels: Any, axes: str, white: float | None) -> ImageMetadata:
    page = series.keyframe

    def value_of(tag: str) -> Any:
        return page.tags[tag].value if tag in page.tags else None

    first = tiff.pages.first
    exif = _exif(first)
    resolution = None
    x, y = value_of("XResolution"), value_of("YResolution")
    if x is not None and y is not None and 0 not in (*x, *y):
        resolution = (x[0] / x[1], y[0] / y[1])
    profile = value_of("InterColorProfile")
    unit = value_of("ResolutionUnit")
    unit = 2 if unit is None else int(unit)  # tifffile's own 1 counts as false
    kind = _kind(tiff, series)
    kept = _FURTHER_TAGS + (_TEXT_TAGS if kind else ())
    kept += _IMAGEJ_TAGS if kind == "imagej" else ()
    extra = page.extrasamples
    return ImageMetadata(
        exif=exif,
        icc_profile=bytes(profile) if profile is not None else None,
        resolution=resolution,
        white=white,
        xmp=_raw(page, _XMP).rstrip(b"\0") or None,
        photoshop=_raw(page, _PHOTOSHOP) or None,
        # ImageJ writes its unit, if any, elsewhere.
        resolution_unit="none" if tiff.is_imagej else TIFF_UNIT.get(unit, "none"),
        tiff=TiffHeader(
            kind=kind or "plain",
            shape=tuple(pixels.shape),
            dtype=np.dtype(pixels.dtype),
            axes=axes,
            # What other programs' descriptions say holds for files of theirs only.
            description=_raw(first, _DESCRIPTION).rstrip(b"\0") or None if kind else None,
            tags=tuple(
                (code, int(first.tags[code].dtype), int(first.tags[code].count), _raw(first, code))
                for code in kept
                if code in first.tags
            ),
            byteorder=tiff.byteorder,
            compressed=page.compression != 1,
            resolution_unit=unit if unit in TIFF_UNIT else 1,
            colour=_colours(page) != "MINISBLACK",
            bits=_bits(page),
            extra_sample=int(extra[0]) if extra and int(extra[0]) in (0, 1, 2) else 2,
            colour_table=(
                np.ascontiguousarray(page.colormap, np.uint16).tobytes()
                if _colours(page) == "PALETTE"
                and kind == "imagej"
                and pixels.dtype == np.uint8
                and axes.count("S") == 0
                else None
            ),
        ),
    )


def _exif(page: Any) -> bytes | None:
    """Return a page's orientation, and what it says of the exposure and the place."""
    exif = PIL.Image.Exif()
    orientation = page.tags.valueof(ORIENTATION)
    if orientation is not None and int(orientation) in range(2, 9):
        exif[ORIENTATION] = int(orientation)
    if not page.parent.is_bigtiff and {EXIF_IFD, GPS_IFD} & {tag.code for tag in page.tags}:
        stored = PIL.Image.Exif()
        with Path(page.parent.filehandle.path).open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                stored.load_from_fp(file)
                for code in (EXIF_IFD, GPS_IFD):
                    if values := stored.get_ifd(code):
                        exif.get_ifd(code).update(values)
            except (SyntaxError, ValueError, struct.error, OSError, KeyError, TypeError):
                pass  # damaged: of no use to anybody
    try:
        found = exif.tobytes().removeprefix(b"Exif\0\0")
    except (ValueError, struct.error, TypeError, KeyError):
        return None
    has_any = len(exif) or any(exif.get_ifd(code) for code in (EXIF_IFD, GPS_IFD))
    return found if has_any else None


def _kind(tiff: Any, series: Any) -> TiffKind | None:
    """Return who defined the description, None if that is another program."""
    if series.kind in ("imagej", "ome", "shaped"):
        return cast(TiffKind, series.kind)
    # A description that its own reader did not understand is not worth keeping.
    foreign = tiff.is_imagej or tiff.is_ome or tiff.is_shaped
    return "plain" if series.kind in ("uniform", "generic") and not foreign else None


def _raw(page: Any, code: int) -> bytes:
    """Return a tag's value as the bytes it is."""
    if code not in page.tags:
        return b""
    tag = page.tags[code]
    file = page.parent.filehandle
    file.seek(tag.valueoffset)
    return bytes(file.read(tag.valuebytecount))
