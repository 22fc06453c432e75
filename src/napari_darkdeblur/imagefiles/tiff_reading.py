"""Reading TIFF files: photographs, stacks of ImageJ and OME, pyramids."""

from __future__ import annotations

import math
import re
import struct
import tempfile
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
)
from .problems import ImageFileError

TIFF_DTYPES = tuple(
    np.dtype(name) for name in ("uint8", "uint16", "int16", "float16", "float32", "float64")
)
TIFF_UNIT: dict[int, ResolutionUnit] = {1: "none", 2: "inch", 3: "centimetre"}
# Compressed pages up to this size are decoded in memory, larger ones into a temporary file.
PAGE_IN_MEMORY = 64 << 20  # bytes

_DESCRIPTION = 270
# Document and page name, make, model, software, date, artist, host, copyright.
_TEXT_TAGS = (269, 271, 272, 285, 305, 306, 315, 316, 33432)
_IMAGEJ_TAGS = (50838, 50839)
_SEGMENT_BUFFER = 16 << 20  # compressed bytes read at once
# The luminance of a colour, for telling ramps from other colour tables.
_LUMA = np.array([0.299, 0.587, 0.114])


def open_tiff(path: Path, closing: ExitStack) -> ImageFile:
    """Open a TIFF file; pixels are read when they are asked for.

    Uncompressed pixels are read from where they are. Compressed ones are decoded a page at a
    time: in memory up to 64 MiB, else into an unnamed file in the folder for temporary files
    (TMPDIR). Only single images with a colour table, with values that grow darker, or with
    grey and alpha are read at once, since they have to be converted.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    closing : contextlib.ExitStack
        Closes the files at its end.

    Returns
    -------
    ImageFile
        Its first image, at full resolution.

    Raises
    ------
    ImageFileError
        The file holds what cannot be restored.
    """
    tiff = closing.enter_context(tifffile.TiffFile(path))
    series = _only_series(path, tiff)
    page = series.keyframe
    _check_storage(path, page)
    shape, axes = _shape_and_axes(path, series)
    single = math.prod(shape) == math.prod(page.shape)

    pixels: NDArray[Any] | FileArray | PagedArray
    if _must_be_converted(path, tiff, page, single):
        pixels = _converted(path, page)
        axes = "YX" if pixels.ndim == 2 else "YXS"
    else:
        samples = shape[axes.index("S")] if "S" in axes else 1
        if samples not in (1, 3, 4):
            raise ImageFileError(
                f"{path} has pixels of {samples} samples (shape {shape}, axes {axes}); grey, "
                "RGB or RGBA images are needed."
            )
        pixels = _lazy_pixels(path, series, shape, closing)
    known = axes.count("Y") == axes.count("X") == 1 and axes.count("S") <= 1
    known = known and axes.isascii() and axes.isalpha() and axes.isupper()
    metadata = _metadata(tiff, series, pixels, axes)
    return ImageFile(path, pixels, metadata, distinct(axes) if known else None)


def _only_series(path: Path, tiff: Any) -> Any:
    """Return the image, which may have many pages; refuse a file of several ones."""
    first = tiff.pages.first
    names = re.findall(r'FileName\s*=\s*"([^"]*)"', first.description or "")
    if tiff.is_ome and len(set(names)) > 1:
        # Before tifffile looks for the others, which it would take for black if missing.
        raise _several_files(path)
    _check_end(tiff)
    # Thumbnails, and the smaller images of a pyramid that is not marked as one.
    series = [one for one in tiff.series if not one.keyframe.is_reduced] or tiff.series[:1]
    if len(series) > 1:
        raise ImageFileError(
            f"{path} holds {len(series)} images of different sizes or kinds; save each as a "
            "file of its own."
        )
    if series[0].is_multifile:
        raise _several_files(path)
    return series[0]


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
            f"{path} holds {what}; convert it to uint8, uint16, int16 or float32 first."
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


def _must_be_converted(path: Path, tiff: Any, page: Any, single: bool) -> bool:
    """Return whether the values stored are not those to be restored; refuse such stacks."""
    name = _colours(page)
    if name == "PALETTE" and tiff.is_imagej and _is_ramp(page.colormap):
        # ImageJ's way of saying in which colour grey values are shown.
        return False
    reason = {
        "PALETTE": "has a colour table that is not a ramp from dark to light",
        "MINISWHITE": "has values that grow darker",
    }.get(name)
    if reason is None and "S" in page.axes and page.shape[page.axes.index("S")] == 2:
        reason = "is grey with transparency"
    if reason is not None and not single:
        raise ImageFileError(
            f"{path} is a stack and {reason}; convert it to grey or RGB values first."
        )
    return reason is not None


def _is_ramp(colour_table: NDArray[np.uint16]) -> bool:
    luminance = _LUMA @ colour_table.astype(np.float64)
    return bool(np.all(np.diff(luminance) >= -256))  # one step of the 8-bit colours in use


def _converted(path: Path, page: Any) -> NDArray[Any]:
    """Read a single image and return it as grey values that grow lighter, or RGB(A)."""
    pixels = page.asarray()
    name = _colours(page)
    if name == "PALETTE":
        pixels = np.moveaxis(page.colormap[:, pixels] >> 8, 0, -1).astype(np.uint8)
    elif name == "MINISWHITE":
        if pixels.dtype.kind != "u":
            raise ImageFileError(
                f"{path} has {pixels.dtype} values that grow darker; invert them first."
            )
        pixels = np.iinfo(pixels.dtype).max - pixels
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and pixels.shape[2] == 2:
        pixels = pixels[:, :, [0, 0, 0, 1]]  # grey with alpha
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] in (3, 4)):
        raise ImageFileError(
            f"{path} has pixels of shape {pixels.shape}; one grey, RGB or RGBA image is needed."
        )
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))


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
    pages = list(series)
    if len(pages) * math.prod(page.shape) != math.prod(shape):
        raise ImageFileError(
            f"{path} describes an image of shape {shape} and stores {len(pages)} pages; save "
            "it anew as an ImageJ or OME-TIFF file."
        )
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


def _metadata(tiff: Any, series: Any, pixels: Any, axes: str) -> ImageMetadata:
    page = series.keyframe

    def value_of(tag: str) -> Any:
        return page.tags[tag].value if tag in page.tags else None

    exif = None
    orientation = value_of("Orientation")
    if orientation is not None and int(orientation) in range(2, 9):
        tags = PIL.Image.Exif()
        tags[ORIENTATION] = int(orientation)
        exif = tags.tobytes().removeprefix(b"Exif\0\0")
    resolution = None
    x, y = value_of("XResolution"), value_of("YResolution")
    if x is not None and y is not None and 0 not in (*x, *y):
        resolution = (x[0] / x[1], y[0] / y[1])
    profile = value_of("InterColorProfile")
    unit = value_of("ResolutionUnit")
    unit = 2 if unit is None else int(unit)  # tifffile's own 1 counts as false
    kind = _kind(tiff, series)
    first = tiff.pages.first
    kept = _TEXT_TAGS + (_IMAGEJ_TAGS if kind == "imagej" else ())
    extra = page.extrasamples
    return ImageMetadata(
        exif=exif,
        icc_profile=bytes(profile) if profile is not None else None,
        resolution=resolution,
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
                for code in (kept if kind else ())
                if code in first.tags
            ),
            byteorder=tiff.byteorder,
            compressed=page.compression != 1,
            resolution_unit=unit if unit in TIFF_UNIT else 1,
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
