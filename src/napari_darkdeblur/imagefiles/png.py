"""PNG files: by Pillow but for 16-bit pixels, which it would reduce to 8 bits in RGB."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
from numpy.typing import NDArray

from .metadata import CM_PER_INCH, ImageFile, ImageMetadata
from .pillow import metadata_of, open_with_pillow, pixels_of
from .problems import ImageFileError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BIT_DEPTH = 24  # where it is in the header
_AFTER_HEADER = len(PNG_SIGNATURE) + 4 + 4 + 13 + 4
_DENSITY = 2**31  # pixels per metre


def read_png(path: Path) -> ImageFile:
    """Read a PNG file."""
    with open_with_pillow(path) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise ImageFileError(f"{path} is an animation; a single image is needed.")
        with path.open("rb") as file:
            header = file.read(_AFTER_HEADER)
        if header[_BIT_DEPTH] == 16:
            pixels = imagecodecs.png_decode(path.read_bytes())
            if pixels.ndim == 3 and pixels.shape[2] == 2:
                pixels = pixels[:, :, [0, 0, 0, 1]]  # grey with alpha
        else:
            pixels = pixels_of(image, path)
        axes = "YX" if pixels.ndim == 2 else "YXS"
        return ImageFile(path, pixels, metadata_of(image), axes)


def write_png(part: Path, pixels: NDArray[Any], metadata: ImageMetadata) -> None:
    """Write (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16."""
    # imagecodecs writes no metadata, so they are put where they belong: right after the
    # header.
    encoded = memoryview(imagecodecs.png_encode(pixels))
    with part.open("wb") as file:
        file.write(encoded[:_AFTER_HEADER])
        if metadata.icc_profile is not None:
            profile = zlib.compress(metadata.icc_profile)
            file.write(_chunk(b"iCCP", b"ICC profile\0\0" + profile))
        dpi = metadata.dots_per_inch()
        if dpi is not None:
            x, y = (round(value * 100 / CM_PER_INCH) for value in dpi)  # pixels per metre
            if max(x, y) < _DENSITY:
                file.write(_chunk(b"pHYs", struct.pack(">IIB", x, y, 1)))
        if metadata.exif is not None:
            file.write(_chunk(b"eXIf", metadata.exif))
        file.write(encoded[_AFTER_HEADER:])


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
