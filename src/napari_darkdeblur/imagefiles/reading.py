"""Reading image files."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from .jpeg import read_jpeg
from .metadata import ImageFile
from .png import PNG_SIGNATURE, read_png
from .problems import ImageFileError, one_line, reading
from .tiff_reading import open_tiff


def read_image(path: str | os.PathLike[str], series: int | None = None) -> ImageFile:
    """Read one image from a PNG, JPEG or TIFF file into memory.

    The file's contents decide which it is, not its name.

    Parameters
    ----------
    path : path-like
        The file.
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
    """Open a PNG, JPEG or TIFF file, whose pixels are read as they are asked for.

    The file's contents decide which it is, not its name. PNG and JPEG are decoded at once;
    of a TIFF file, only what is indexed is read: see `open_tiff`. Of a pyramid, the image at
    full resolution is meant. The pixels cannot be read after the block.

    Parameters
    ----------
    path : path-like
        The file.
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
    if not path.is_file():
        what = "is a folder, not an image file" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {what}.")
    try:
        with path.open("rb") as stream:
            magic = stream.read(8)
    except OSError as error:
        raise ImageFileError(f"{path} cannot be read: {one_line(error)}.") from error
    with ExitStack() as closing:
        with reading(path):
            if magic == PNG_SIGNATURE:
                image = read_png(path)
            elif magic.startswith(b"\xff\xd8\xff"):
                image = read_jpeg(path)
            elif magic[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
                image = open_tiff(path, closing, series)
            else:
                raise ImageFileError(f"{path} is not a PNG, JPEG or TIFF image.")
        yield image
