"""What PNG and JPEG files have in common, read with Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from .metadata import ImageMetadata
from .problems import ImageFileError


@contextmanager
def open_with_pillow(path: Path) -> Iterator[PIL.Image.Image]:
    """Open a PNG or JPEG file; Pillow's limit on the number of pixels is an error."""
    with warnings.catch_warnings():
        # Photographs may well have 90 megapixels; at twice that, Pillow raises.
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        with PIL.Image.open(path, formats=("PNG", "JPEG")) as image:
            yield image


def metadata_of(image: PIL.Image.Image) -> ImageMetadata:
    """Return EXIF, colour profile and resolution."""
    exif = image.info.get("exif")
    dpi = image.info.get("dpi")
    if dpi is not None and not all(0 < float(value) < np.inf for value in dpi):
        dpi = None  # some cameras write 0 / 0
    return ImageMetadata(
        exif=exif.removeprefix(b"Exif\0\0") if exif else None,
        icc_profile=image.info.get("icc_profile") or None,
        resolution=(float(dpi[0]), float(dpi[1])) if dpi else None,
        resolution_unit="inch" if dpi else "none",
    )


def pixels_of(image: PIL.Image.Image, path: Path) -> NDArray[Any]:
    """Return 8-bit pixels as grey, RGB or RGBA."""
    if image.mode == "1":
        raise ImageFileError(
            f"{path} is black and white (1 bit a pixel); convert it to 8-bit grey first."
        )
    if image.mode in ("CMYK", "YCCK"):
        raise ImageFileError(f"{path} has CMYK colours, for printing; convert it to RGB first.")
    if image.mode not in ("L", "RGB", "RGBA") or "transparency" in image.info:
        # Palettes, grey with alpha, and a single transparent colour.
        has_alpha = image.mode in ("LA", "PA") or "transparency" in image.info
        image = image.convert("RGBA" if has_alpha else "RGB")
    return np.asarray(image)
