"""Writing image files, never half of one."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..atomic import atomic_write
from .arrays import FileArray
from .metadata import FORMAT_OF_SUFFIX, FileFormat, ImageFile, ImageMetadata
from .photographs import profile_of_chunks, write_jpeg, write_png
from .problems import ImageFileError, not_written
from .tiff_reading import TIFF_DTYPES
from .tiff_writing import create_tiff
from .zarr_files import create_zarr, is_zarr


def check_writable(
    path: str | os.PathLike[str],
    *,
    dtype: np.dtype[Any] | None = None,
    channels: int | None = None,
    shape: tuple[int, ...] | None = None,
    axes: str | None = None,
    overwrite: bool = False,
) -> FileFormat:
    """Return the format of a file, if the image can be written, before the work for it is done.

    Parameters
    ----------
    path : path-like
        The file to write. Its ending decides the format.
    dtype : numpy.dtype, optional
        The pixels' dtype, where it is known already.
    channels : int, optional
        1, 3 or 4, where it is known already and the shape is not.
    shape : tuple of int, optional
        The pixels' shape, where it is known already.
    axes : str, optional
        A letter for each axis of the shape, see `ImageFile`; C at the end, after Y and X,
        is the same as S. The default follows from the shape: (H, W) and (H, W, 3 or 4) are
        images, all else is a stack of grey ones.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    ImageFileError
        The format does not exist or cannot hold such pixels, or there is no such folder.
    FileExistsError
        The file exists and ``overwrite`` is false.
    """
    path = Path(path)
    file_format = FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if file_format is None:
        raise ImageFileError(
            f"{path} has the ending {path.suffix!r}, from which no format follows; use "
            ".png, .jpg, .tif or .zarr."
        )
    if path.is_dir() and not is_zarr(path):
        raise ImageFileError(f"{path} is a folder; name the file to write.")
    if not path.parent.is_dir():
        raise ImageFileError(f"{path} cannot be written: there is no folder {path.parent}.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists, and is replaced only when asked to (overwrite).")
    if dtype is not None:
        _check_dtype(path, file_format, np.dtype(dtype))
    if shape is not None:
        channels = _check_shape(path, file_format, shape, _stored_axes(axes, shape))
    if file_format == "JPEG" and channels == 4:
        raise ImageFileError(
            f"{path}: a JPEG file has no transparency, the image has; write PNG or TIFF instead."
        )
    return file_format


def _check_dtype(path: Path, file_format: FileFormat, dtype: np.dtype[Any]) -> None:
    if dtype not in TIFF_DTYPES:
        raise ImageFileError(
            f"{path} cannot be written with {dtype} values; convert them to uint8, "
            "uint16 or float32."
        )
    if file_format == "JPEG" and dtype != np.uint8:
        instead = "PNG or TIFF" if dtype == np.uint16 else "TIFF"
        raise ImageFileError(
            f"{path}: a JPEG file holds 8-bit values, the image has {dtype}; write "
            f"{instead} instead."
        )
    if file_format == "PNG" and dtype not in (np.uint8, np.uint16):
        raise ImageFileError(
            f"{path}: a PNG file holds unsigned integers, the image has {dtype}; write TIFF "
            "instead."
        )


def _check_shape(path: Path, file_format: FileFormat, shape: tuple[int, ...], axes: str) -> int:
    """Return the number of samples of a pixel."""
    samples = shape[axes.index("S")] if "S" in axes else 1
    if (
        len(axes) != len(shape)
        or axes.count("Y") != 1
        or axes.count("X") != 1
        or axes.count("S") > 1
        or 0 in shape
        or samples not in (1, 3, 4)
        or not (axes.isascii() and axes.isalpha() and axes.isupper())
    ):
        raise ImageFileError(
            f"{path}: pixels of shape {shape} with the axes {axes!r} cannot be written; it "
            "takes one Y and one X, at most one S, which is 3 (RGB) or 4 (RGBA), a capital letter "
            "for each axis, and at least one pixel."
        )
    planes = math.prod(size for axis, size in zip(axes, shape, strict=True) if axis not in "YXS")
    if file_format not in ("TIFF", "ZARR") and planes > 1:
        raise ImageFileError(
            f"{path}: a {file_format} file holds one image, this is a stack of {planes} "
            f"(axes {axes}); write TIFF instead."
        )
    return samples


def _stored_axes(axes: str | None, shape: tuple[int, ...]) -> str:
    """Return axes as files know them."""
    if axes is None:
        colour = len(shape) == 3 and shape[2] in (3, 4)
        return "YXS" if colour else "Q" * (len(shape) - 2) + "YX"
    if axes.endswith("YXC") and "S" not in axes and shape[-1] in (1, 3, 4):
        return axes[:-1] + "S"  # a channel that is stored like this is a sample
    return axes


def write_image(
    path: str | os.PathLike[str],
    pixels: NDArray[Any],
    *,
    like: ImageFile | None = None,
    overwrite: bool = False,
) -> Path:
    """Write an image file, never half of one, and return its path.

    JPEG has quality 95 and full colour resolution (4:4:4). TIFF is compressed without loss.
    EXIF goes to PNG and JPEG, and of it the orientation to TIFF; the colour profile and the
    resolution go to all three.

    Parameters
    ----------
    path : path-like
        Where to write; ``.png``, ``.jpg``, ``.jpeg``, ``.tif`` or ``.tiff``.
    pixels : ndarray
        (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); uint8, uint16 (not in JPEG), or in TIFF
        only int16, float16, float32 or float64.
    like : ImageFile, optional
        Where the metadata come from.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    ImageFileError
        The file cannot be written.
    FileExistsError
        The file exists and ``overwrite`` is false.
    """
    path = Path(path)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.size == 0 or not (
        pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    ):
        raise ImageFileError(
            f"{path}: an image of shape {pixels.shape} cannot be written; it takes (H, W), "
            "(H, W, 3) or (H, W, 4)."
        )
    axes = "YX" if pixels.ndim == 2 else "YXS"
    dtype = pixels.dtype.newbyteorder("=")
    with create_image(
        path, pixels.shape, dtype, axes=axes, like=like, overwrite=overwrite
    ) as image:
        image[...] = pixels
    return path


@contextmanager
def create_image(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    dtype: DTypeLike,
    *,
    axes: str | None = None,
    like: ImageFile | None = None,
    overwrite: bool = False,
) -> Iterator[NDArray[Any] | FileArray]:
    """Create an image file and have its pixels assigned part by part.

    The file is there, and complete, at the end of the block; if the block raises, nothing is
    there, or what was there before. TIFF pixels go to the disk as they are assigned, see
    `create_tiff`; those of PNG and JPEG stay in memory and are encoded at the end. While the
    block runs, the folder needs room for the pixels, and for a compressed file once more.

    Parameters
    ----------
    path : path-like
        Where to write; ``.png``, ``.jpg``, ``.jpeg``, ``.tif`` or ``.tiff``.
    shape : tuple of int
        Shape of the pixels.
    dtype : numpy.dtype
        Dtype of the pixels; see `ImageFile`.
    axes : str, optional
        A letter for each axis of the shape, see `ImageFile`. The default are those of
        ``like`` if its shape is the same, else what `check_writable` assumes.
    like : ImageFile, optional
        Where the metadata come from.
    overwrite : bool
        Whether an existing file may be replaced.

    Yields
    ------
    ndarray or FileArray
        To be indexed by ints and slices, and assigned to; zeros at first.

    Raises
    ------
    ImageFileError
        The format cannot hold such pixels, or the file cannot be written, for instance since
        the disk is full: before the block, on an assignment, or after the block.
    FileExistsError
        The file exists and ``overwrite`` is false.
    """
    path = Path(path)
    shape = tuple(int(size) for size in shape)
    dtype = np.dtype(dtype).newbyteorder("=")
    as_stored = False
    if like is not None and tuple(like.pixels.shape) == shape:
        axes = axes or like.axes
        header = like.metadata.tiff
        if axes == like.axes and axes is not None and header is not None:
            as_stored = True
            axes = header.axes
    file_format = check_writable(path, dtype=dtype, overwrite=overwrite)
    if axes is None or not (as_stored and file_format == "TIFF"):
        axes = _stored_axes(axes, shape)
        check_writable(path, dtype=dtype, shape=shape, axes=axes, overwrite=overwrite)
    metadata = like.metadata if like is not None else ImageMetadata()
    if file_format != "PNG" and metadata.icc_profile is None:
        metadata = replace(metadata, icc_profile=profile_of_chunks(metadata))
    from_block: BaseException | None = None
    try:
        with atomic_write(path) as part:
            target: AbstractContextManager[NDArray[Any] | FileArray]
            if file_format == "ZARR":
                target = create_zarr(part, path, shape, dtype, axes, like)
            elif file_format == "TIFF":
                target = create_tiff(part, path, shape, dtype, axes, metadata)
            else:
                target = _in_memory(part, file_format, shape, dtype, axes, metadata)
            with target as pixels:
                try:
                    yield pixels
                except BaseException as error:
                    from_block = error
                    raise
    except OSError as error:
        if error is from_block:
            raise  # it may be about any other file
        raise not_written(path, error) from error


@contextmanager
def _in_memory(
    part: Path,
    file_format: FileFormat,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    axes: str,
    metadata: ImageMetadata,
) -> Iterator[NDArray[Any]]:
    """Yield an array and write it as a PNG or JPEG file at the end."""
    pixels = np.zeros(shape, dtype)
    yield pixels
    if metadata.white is not None and dtype.kind == "u":
        # These formats have no other white than the greatest value.
        scaled = pixels * (np.iinfo(dtype).max / metadata.white)
        pixels = np.rint(np.minimum(scaled, np.iinfo(dtype).max)).astype(dtype)
    order = [axes.index(axis) for axis in "YXS" if axis in axes]
    # All other axes have the length 1.
    order = [axis for axis in range(len(axes)) if axis not in order] + order
    image = pixels.transpose(order).reshape([shape[axis] for axis in order if axes[axis] in "YXS"])
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    write = write_png if file_format == "PNG" else write_jpeg
    write(part, np.ascontiguousarray(image), metadata)
