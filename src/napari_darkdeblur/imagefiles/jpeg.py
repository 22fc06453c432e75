"""JPEG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import PIL.Image
from numpy.typing import NDArray

from .metadata import ImageFile, ImageMetadata
from .pillow import metadata_of, open_with_pillow, pixels_of

JPEG_QUALITY = 95
# What a microscope's TIFF may say and a JPEG cannot is left out.
_SEGMENT = 65_000  # bytes of EXIF
_DENSITY = 65_535  # pixels per inch


def read_jpeg(path: Path) -> ImageFile:
    """Read a JPEG file.

    Phones append a depth map or a preview as a second picture (MPO): the first is meant.
    """
    with open_with_pillow(path) as image:
        pixels = pixels_of(image, path)
        axes = "YX" if pixels.ndim == 2 else "YXS"
        return ImageFile(path, pixels, metadata_of(image), axes)


def write_jpeg(part: Path, pixels: NDArray[Any], metadata: ImageMetadata) -> None:
    """Write (H, W) or (H, W, 3) uint8 with quality 95 and full colour resolution."""
    kept: dict[str, Any] = {}
    if metadata.exif is not None and len(metadata.exif) < _SEGMENT:
        kept["exif"] = b"Exif\0\0" + metadata.exif
    if metadata.icc_profile is not None:
        kept["icc_profile"] = metadata.icc_profile
    dpi = metadata.dots_per_inch()
    if dpi is not None and max(dpi) < _DENSITY:
        kept["dpi"] = (round(dpi[0]), round(dpi[1]))
    PIL.Image.fromarray(pixels).save(
        part, format="JPEG", quality=JPEG_QUALITY, subsampling="4:4:4", **kept
    )
