"""Reading image files."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from .metadata import RAW_SUFFIXES, ImageFile
from .photographs import read_photograph, read_raw
from .problems import ImageFileError, one_line, reading
from .tiff_reading import open_tiff
from .zarr_files import is_zarr, open_zarr


def read_image(path: str | os.PathLike[str], series: int | None = None) -> ImageFile:
    """Read one image from a file into memory.

    The file's contents decide which it is, not its name.

    Parameters
    ----------
    path : path-like
        File to read.
    series : int, optional
        Which image of a file with several to read, see `open_image`.

    Returns
    -------
    ImageFile
        Its pixels, (H, W), (H, W, 3) or (H, W, 4), and its metadata.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ImageFileError
        The file is damaged, of another kind, or holds what cannot be restored: animations,
        CMYK, 1-bit images, TIFF values other than those of `ImageFile`; or a stack, for
        which there is `open_image`.
    """
    with open_image(path, series) as image:
        axes = image.axes or ""
        shape = image.pixels.shape
        kept = {axis: size for axis, size in zip(axes, shape, strict=False) if axis in "YXS"}
        if len(axes) != len(shape) or math.prod(kept.values()) != math.prod(shape):
            raise ImageFileError(
                f"{image.path} is a stack of shape {shape} ({axes or 'unknown axes'}); one "
                "image is needed here, and stacks cannot be used, so save one of its planes as "
                "a file of its own."
            )
        pixels = np.asarray(image.pixels[...]).reshape(tuple(kept.values()))
        order = "YXS" if "S" in kept else "YX"
        pixels = np.ascontiguousarray(pixels.transpose(["".join(kept).index(a) for a in order]))
        return replace(image, pixels=pixels, axes=order)


@contextmanager
def open_image(path: str | os.PathLike[str], series: int | None = None) -> Iterator[ImageFile]:
    """Open an image file or a Zarr folder, whose pixels are read as they are asked for.

    The file's contents decide which it is, not its name. PNG and JPEG are decoded at once;
    of a TIFF file, only what is indexed is read: see `open_tiff`. Of a pyramid, the image at
    full resolution is meant. The pixels cannot be read after the block.

    Parameters
    ----------
    path : path-like
        File to read.
    series : int, optional
        Which image of a file with several to read, from 0; thumbnails and the smaller images
        of a pyramid do not count. By default it is the first in OME-TIFF, else the largest,
        and a note says so.

    Yields
    ------
    ImageFile
        Its pixels, axes and metadata. Axes are those of the file: planar RGB is SYX.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ImageFileError
        The file is damaged, of another kind, or holds what cannot be restored: animations,
        CMYK, 1-bit images, TIFF values other than those of `ImageFile`, several images of
        different sizes, parts of an image in several files, or stacks with colour tables.
        Damage may be found only when pixels are read.
    """
    path = Path(path)
    if is_zarr(path):
        with reading(path):
            image = open_zarr(path, series)
        yield image
        return
    if not path.is_file():
        what = "is a folder, not an image file" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {what}.")
    try:
        with path.open("rb") as stream:
            magic = stream.read(16)
    except OSError as error:
        raise ImageFileError(f"{path} cannot be read: {one_line(error)}.") from error
    with ExitStack() as closing:
        with reading(path):
            kind = _kind(path, magic)
            if kind == "TIFF":
                image = open_tiff(path, closing, series)
            elif series:
                raise ImageFileError(f"{path} holds a single image, so there is no image {series}.")
            elif kind == "RAW":
                image = read_raw(path)
            else:
                image = read_photograph(path, kind)
        yield image


def _kind(path: Path, magic: bytes) -> str:
    """Return a file's format, which its first bytes tell."""
    starts = {
        b"\x89PNG\r\n\x1a\n": "PNG",
        b"\xff\xd8\xff": "JPEG",
        b"GIF87a": "GIF",
        b"GIF89a": "GIF",
        b"BM": "BMP",
    }
    for start, kind in starts.items():
        if magic.startswith(start):
            return kind
    if magic[:4] == b"RIFF" and magic[8:12] == b"WEBP":
        return "WEBP"
    if path.suffix.lower() in RAW_SUFFIXES:
        return "RAW"  # of which many are TIFF files of another kind
    if magic[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if magic[4:8] == b"ftyp":
        brand = magic[8:12]
        if brand in (b"avif", b"avis"):
            return "AVIF"
        if brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"):
            return "HEIF"
        if brand == b"crx ":
            return "RAW"
        raise ImageFileError(f"{path} is a video; save its frames as image files first.")
    raise ImageFileError(
        f"{path} is no image of a kind that can be read: PNG, JPEG, TIFF, WebP, BMP, GIF, AVIF, "
        "HEIC, a camera's raw file or OME-Zarr."
    )
