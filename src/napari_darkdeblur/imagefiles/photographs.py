"""Photographs: PNG and JPEG read and written; WebP, BMP, GIF, AVIF, HEIC and raw files read.

By Pillow, but for PNG files of 16 bits, which it would reduce to 8 bits in RGB, and raw files,
which are developed with LibRaw.
"""

from __future__ import annotations

import binascii
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import PIL.features
import PIL.Image
import psutil
from numpy.typing import NDArray

from .metadata import CM_PER_INCH, ImageFile, ImageMetadata
from .problems import ImageFileError, one_line

JPEG_QUALITY = 95
# What a microscope's TIFF may say and a JPEG cannot is left out.
_SEGMENT = 65_000  # bytes of a JPEG's metadata of one kind
_JPEG_DENSITY = 65_535  # pixels per inch
_PNG_DENSITY = 2**31  # pixels per metre
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER = len(_PNG_SIGNATURE) + 4 + 4 + 13 + 4
_BIT_DEPTH = 24  # where it is in the header
# Chunks that are kept as they are: how the values look, who made them. Those that are written
# from other fields (iCCP, eXIf, pHYs) and those that hold for the old pixels only are not.
_PNG_LOOK = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI")
_PNG_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_PNG_XMP = b"XML:com.adobe.xmp"
_RAW_PROFILE = re.compile(rb"^Raw profile type (exif|APP1)\0", re.IGNORECASE)
# Room for the decoded pixels, a converted copy, and the result.
_COPIES = 3
_SRGB_PRIMARIES = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_D65 = (0.3127, 0.329)

# Pillow's limit on the number of pixels holds for the process.
_without_limit = threading.Lock()


def read_photograph(path: Path, kind: str) -> ImageFile:
    """Read a single image.

    Phones append a depth map or a preview as a second picture (MPO, HEIC): the first is meant.

    Parameters
    ----------
    path : pathlib.Path
        The file to read.
    kind : {"PNG", "JPEG", "WEBP", "BMP", "GIF", "AVIF", "HEIF"}
        Format of the file, as its first bytes tell.
    """
    if kind == "HEIF":
        _register_heif(path)
    with _opened(path, kind) as image:
        frames = getattr(image, "n_frames", 1)
        if kind in ("PNG", "WEBP", "GIF", "AVIF") and frames > 1:
            raise ImageFileError(
                f"{path} is an animation of {frames} pictures; a single image is needed, so "
                "save its frames as files of their own."
            )
        metadata = _metadata_of(image, kind)
        if kind == "PNG":
            metadata = _with_png_chunks(path, metadata)
        if kind == "PNG" and _png_bits(path) == 16:
            _check_memory(path, image.width * image.height * 8)
            pixels = imagecodecs.png_decode(path.read_bytes())
            if pixels.ndim == 3 and pixels.shape[2] == 2:
                pixels = pixels[:, :, [0, 0, 0, 1]]  # grey with alpha
        else:
            _check_memory(path, image.width * image.height * 4)
            pixels = _pixels_of(image, path)
    axes = "YX" if pixels.ndim == 2 else "YXS"
    return ImageFile(path, pixels, metadata, axes)


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[PIL.Image.Image]:
    """Open a file with Pillow, however many pixels it has."""
    with warnings.catch_warnings():
        # Of the size, and of damaged metadata, which are kept as they are.
        warnings.simplefilter("ignore")
        with _without_limit:
            limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
            try:
                image = PIL.Image.open(path, formats=(kind,))
            except PIL.UnidentifiedImageError:
                if kind == "AVIF" and not PIL.features.check("avif"):
                    raise ImageFileError(
                        f"{path} is an AVIF image, which this Pillow cannot read; install "
                        "napari-darkdeblur[photo]."
                    ) from None
                raise
            finally:
                PIL.Image.MAX_IMAGE_PIXELS = limit
        with image:
            yield image


def _check_memory(path: Path, nbytes: int) -> None:
    """Refuse a picture that would not fit, before it is decoded: these are not read in parts."""
    available = psutil.virtual_memory().available
    if nbytes * _COPIES > available:
        raise ImageFileError(
            f"{path} takes {nbytes * _COPIES / 1e9:.1f} GB of memory, of which "
            f"{available / 1e9:.1f} GB are free; save it as a TIFF file, which is read in parts."
        )


def _register_heif(path: Path) -> None:
    try:
        from pi_heif import register_heif_opener
    except ImportError:
        raise ImageFileError(
            f"{path} is a HEIC image, for which napari-darkdeblur[photo] must be installed."
        ) from None
    register_heif_opener()


def _metadata_of(image: PIL.Image.Image, kind: str) -> ImageMetadata:
    """Return EXIF, colour profile, XMP, IPTC, comments and resolution."""
    exif = image.info.get("exif")
    dpi = image.info.get("dpi")
    if dpi is not None and not all(0 < float(value) < np.inf for value in dpi):
        dpi = None  # some cameras write 0 / 0
    xmp = image.info.get("xmp")
    comment = image.info.get("comment")
    segments = getattr(image, "applist", ())
    return ImageMetadata(
        exif=exif.removeprefix(b"Exif\0\0") if exif else None,
        icc_profile=image.info.get("icc_profile") or None,
        resolution=(float(dpi[0]), float(dpi[1])) if dpi else None,
        resolution_unit="inch" if dpi else "none",
        xmp=(xmp.encode() if isinstance(xmp, str) else bytes(xmp)) if xmp else None,
        photoshop=next(
            (
                data.removeprefix(b"Photoshop 3.0\0")
                for name, data in segments
                if name == "APP13" and data.startswith(b"Photoshop 3.0\0")
            ),
            None,
        ),
        comment=(comment.encode() if isinstance(comment, str) else bytes(comment))
        if comment and kind in ("JPEG", "GIF")
        else None,
    )


def _pixels_of(image: PIL.Image.Image, path: Path) -> NDArray[Any]:
    """Return 8-bit pixels as grey, RGB or RGBA."""
    if image.mode == "1":
        raise ImageFileError(
            f"{path} is black and white (1 bit a pixel); convert it to 8-bit grey first."
        )
    if image.mode in ("CMYK", "YCCK"):
        raise ImageFileError(f"{path} has CMYK colours, for printing; convert it to RGB first.")
    if image.mode.startswith("I;16"):
        return np.asarray(image, np.uint16)
    if image.mode not in ("L", "RGB", "RGBA") or "transparency" in image.info:
        # Palettes, grey with alpha, and a single transparent colour.
        has_alpha = image.mode in ("LA", "PA") or "transparency" in image.info
        image = image.convert("RGBA" if has_alpha else "RGB")
    return np.asarray(image)


# --- PNG


def _png_bits(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(_PNG_HEADER)[_BIT_DEPTH]


def _png_chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks before and after the pixels; damage ends it, which decoding will tell."""
    with path.open("rb") as file:
        file.seek(len(_PNG_SIGNATURE))
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind in (*_PNG_LOOK, *_PNG_TEXT):
                yield kind, file.read(length)
                file.seek(4, 1)
            else:
                file.seek(length + 4, 1)


def _with_png_chunks(path: Path, metadata: ImageMetadata) -> ImageMetadata:
    """Add what only PNG files say, and find EXIF where old programs put it."""
    kept = []
    for kind, data in _png_chunks(path):
        if kind == b"iTXt" and data.startswith(_PNG_XMP):
            continue  # Pillow has read it
        if kind in (b"tEXt", b"zTXt") and _RAW_PROFILE.match(data):
            if metadata.exif is None:
                metadata = replace(metadata, exif=_exif_of_text(kind, data))
            continue
        kept.append((kind, data))
    return replace(metadata, png_chunks=tuple(kept))


def _exif_of_text(kind: bytes, data: bytes) -> bytes | None:
    """Read EXIF as ImageMagick writes it: hexadecimal digits after a name and a length."""
    text = data.split(b"\0", 1)[1]
    try:
        if kind == b"zTXt":
            text = zlib.decompress(text[1:])
        digits = b"".join(text.split()[2:])
        return binascii.unhexlify(digits).removeprefix(b"Exif\0\0") or None
    except (ValueError, zlib.error):
        return None


def write_png(part: Path, pixels: NDArray[Any], metadata: ImageMetadata) -> None:
    """Write (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16."""
    # imagecodecs writes no metadata, so they are put where they belong: right after the
    # header.
    encoded = memoryview(imagecodecs.png_encode(pixels))
    with part.open("wb") as file:
        file.write(encoded[:_PNG_HEADER])
        for kind, data in metadata.png_chunks:
            if kind in _PNG_LOOK:
                file.write(_chunk(kind, data))
        if metadata.icc_profile is not None:
            profile = zlib.compress(metadata.icc_profile)
            file.write(_chunk(b"iCCP", b"ICC profile\0\0" + profile))
        dpi = metadata.dots_per_inch()
        if dpi is not None:
            x, y = (round(value * 100 / CM_PER_INCH) for value in dpi)  # pixels per metre
            if max(x, y) < _PNG_DENSITY:
                file.write(_chunk(b"pHYs", struct.pack(">IIB", x, y, 1)))
        if metadata.exif is not None:
            file.write(_chunk(b"eXIf", metadata.exif))
        if metadata.xmp is not None:
            file.write(_chunk(b"iTXt", _PNG_XMP + b"\0\0\0\0\0" + metadata.xmp))
        if metadata.comment is not None:
            text = metadata.comment.decode("utf-8", "replace").encode("utf-8")
            file.write(_chunk(b"iTXt", b"Comment\0\0\0\0\0" + text))
        for kind, data in metadata.png_chunks:
            if kind in _PNG_TEXT:
                file.write(_chunk(kind, data))
        file.write(encoded[_PNG_HEADER:])


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def profile_of_chunks(metadata: ImageMetadata) -> bytes | None:
    """Return an ICC profile that says what gAMA, cHRM and sRGB say, for other formats."""
    chunks = dict(metadata.png_chunks)
    if b"sRGB" in chunks or not {b"gAMA", b"cHRM"} & set(chunks):
        return None  # sRGB is what is assumed anyway
    white, primaries, gamma = _D65, _SRGB_PRIMARIES, 2.2
    if len(chunks.get(b"cHRM", b"")) == 32:
        values = [value / 1e5 for value in struct.unpack(">8I", chunks[b"cHRM"])]
        white, primaries = (values[0], values[1]), tuple(values[2:])
    if len(chunks.get(b"gAMA", b"")) == 4:
        (told,) = struct.unpack(">I", chunks[b"gAMA"])
        gamma = 1e5 / told if told else gamma
    return _icc_profile(white, primaries, gamma)


def _icc_profile(white: tuple[float, ...], primaries: tuple[float, ...], gamma: float) -> bytes:
    r_x, r_y, g_x, g_y, b_x, b_y = primaries
    profile = imagecodecs.cms_profile(
        "rgb",
        whitepoint=[*white, 1.0],
        primaries=[r_x, r_y, 1.0, g_x, g_y, 1.0, b_x, b_y, 1.0],
        gamma=gamma,
    )
    return bytes(profile)


# --- JPEG


def write_jpeg(part: Path, pixels: NDArray[Any], metadata: ImageMetadata) -> None:
    """Write (H, W) or (H, W, 3) uint8 with quality 95 and full colour resolution."""
    kept: dict[str, Any] = {}
    if metadata.exif is not None and len(metadata.exif) < _SEGMENT:
        kept["exif"] = b"Exif\0\0" + metadata.exif
    if metadata.icc_profile is not None:
        kept["icc_profile"] = metadata.icc_profile
    if metadata.xmp is not None and len(metadata.xmp) < _SEGMENT:
        kept["xmp"] = metadata.xmp
    if metadata.comment is not None and len(metadata.comment) < _SEGMENT:
        kept["comment"] = metadata.comment
    if metadata.photoshop is not None and len(metadata.photoshop) < _SEGMENT:
        data = b"Photoshop 3.0\0" + metadata.photoshop
        kept["extra"] = b"\xff\xed" + struct.pack(">H", len(data) + 2) + data
    dpi = metadata.dots_per_inch()
    if dpi is not None and max(dpi) < _JPEG_DENSITY:
        kept["dpi"] = (round(dpi[0]), round(dpi[1]))
    PIL.Image.fromarray(pixels).save(
        part, format="JPEG", quality=JPEG_QUALITY, subsampling="4:4:4", **kept
    )


# --- raw files


def read_raw(path: Path) -> ImageFile:
    """Develop a camera's raw file: linearly, to 16 bits, with the camera's white balance."""
    try:
        import rawpy
    except ImportError:
        raise ImageFileError(
            f"{path} is a camera's raw file, for which napari-darkdeblur[photo] must be installed."
        ) from None
    try:
        with rawpy.imread(str(path)) as raw:
            _check_memory(path, raw.sizes.raw_height * raw.sizes.raw_width * 6)
            pixels = raw.postprocess(
                output_bps=16,
                gamma=(1, 1),
                no_auto_bright=True,
                use_camera_wb=True,
                output_color=rawpy.ColorSpace.sRGB,
            )
    except rawpy.LibRawError as error:
        raise ImageFileError(f"{path} cannot be developed ({one_line(error)}).") from error
    # With it, the linear values are shown as they should look.
    profile = _icc_profile(_D65, _SRGB_PRIMARIES, 1.0)
    note = (
        "The raw file was developed linearly to 16 bits with the camera's white balance; its "
        "metadata are not kept."
    )
    metadata = ImageMetadata(icc_profile=profile, linear_light=True)
    return ImageFile(path, np.ascontiguousarray(pixels), metadata, "YXS", (note,))
