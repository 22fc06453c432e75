"""Reading and writing image files with the dtype and the metadata they have.

PNG, JPEG, TIFF and (OME-)Zarr are read and written; WebP, BMP, GIF, AVIF, HEIC and cameras' raw
files are read.

Pixels come as they are stored: neither turned by an EXIF orientation (whose tag is kept, so
that viewers go on turning the image) nor converted by a colour profile (which is kept,
too). `read_image` and `write_image` are for single images in memory; `open_image` and
`create_image` for stacks and for images of any size, of which only parts are in memory.
"""

from __future__ import annotations

from .metadata import (
    FORMAT_OF_SUFFIX,
    RAW_SUFFIXES,
    STILL_SUFFIXES,
    FileFormat,
    ImageFile,
    ImageMetadata,
    ResolutionUnit,
    TiffHeader,
)
from .photographs import JPEG_QUALITY
from .problems import ImageFileError
from .reading import open_image, read_image
from .writing import check_writable, create_image, write_image
from .zarr_files import is_zarr

__all__ = [
    "FORMAT_OF_SUFFIX",
    "JPEG_QUALITY",
    "RAW_SUFFIXES",
    "STILL_SUFFIXES",
    "FileFormat",
    "ImageFile",
    "ImageFileError",
    "ImageMetadata",
    "ResolutionUnit",
    "TiffHeader",
    "check_writable",
    "create_image",
    "is_zarr",
    "open_image",
    "read_image",
    "write_image",
]
