"""Reading and writing PNG, JPEG and TIFF files with the dtype and the metadata they have.

Pixels come as they are stored: neither turned by an EXIF orientation (whose tag is kept, so
that viewers go on turning the image) nor converted by a colour profile (which is kept,
too).
"""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
import PIL.Image
import tifffile
from numpy.typing import NDArray

from .atomic import atomic_write
from .errors import DarkDeblurError

FileFormat = Literal["PNG", "JPEG", "TIFF"]
ResolutionUnit = Literal["none", "inch", "centimetre"]

FORMAT_OF_SUFFIX: dict[str, FileFormat] = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
JPEG_QUALITY = 95
_ORIENTATION = 274  # the tag's number in EXIF and in TIFF, which are the same format
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TIFF_UNIT: dict[int, ResolutionUnit] = {1: "none", 2: "inch", 3: "centimetre"}
_CM_PER_INCH = 2.54
# What a microscope's TIFF may say and a JPEG or PNG cannot is left out there.
_JPEG_SEGMENT = 65_000  # bytes of EXIF
_JPEG_DENSITY = 65_535  # pixels per inch
_PNG_DENSITY = 2**31  # pixels per metre


class ImageFileError(DarkDeblurError, ValueError):
    """An image file cannot be read or written; the message is one sentence for the user."""


@dataclass(frozen=True)
class ImageMetadata:
    """What a file says about its pixels, to be kept in a file made from it.

    Parameters
    ----------
    exif : bytes, optional
        EXIF as a TIFF structure, without the ``Exif`` marker of JPEG files. A TIFF file's
        is its orientation only.
    icc_profile : bytes, optional
        ICC colour profile.
    resolution : tuple of float, optional
        Pixels per unit along x and y.
    resolution_unit : {"none", "inch", "centimetre"}
        What the unit is.
    """

    exif: bytes | None = None
    icc_profile: bytes | None = None
    resolution: tuple[float, float] | None = None
    resolution_unit: ResolutionUnit = "none"

    def dots_per_inch(self) -> tuple[float, float] | None:
        """Return the resolution per inch, if there is one and its unit is a length."""
        if self.resolution is None or self.resolution_unit == "none":
            return None
        scale = _CM_PER_INCH if self.resolution_unit == "centimetre" else 1.0
        return self.resolution[0] * scale, self.resolution[1] * scale

    def orientation(self) -> int | None:
        """Return the EXIF orientation (1 to 8), if there is one."""
        if self.exif is None:
            return None
        exif = PIL.Image.Exif()
        try:
            exif.load(self.exif)
            value = exif.get(_ORIENTATION)
        except (SyntaxError, ValueError, struct.error, OSError):
            return None  # kept as it is, but nothing to be read from it
        return value if value in range(1, 9) else None


@dataclass(frozen=True)
class ImageFile:
    """An image file's contents.

    Parameters
    ----------
    path : pathlib.Path
        Where it was read from.
    pixels : ndarray
        (H, W), (H, W, 3) or (H, W, 4); uint8, uint16 or float32 (TIFF only). Grey with
        alpha and palettes come as RGB(A).
    metadata : ImageMetadata
        What else is worth keeping.
    """

    path: Path
    pixels: NDArray[Any]
    metadata: ImageMetadata = field(default_factory=ImageMetadata)


def read_image(path: str | os.PathLike[str]) -> ImageFile:
    """Read a PNG, JPEG or TIFF file; its contents decide which it is, not its name.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    ImageFile
        Its pixels and metadata.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ImageFileError
        The file is damaged, of another kind, or holds what cannot be restored: animations
        and stacks, CMYK, 1-bit images, or TIFF values other than uint8, uint16 and float32.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not an image file" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {what}.")
    try:
        with path.open("rb") as stream:
            magic = stream.read(8)
    except OSError as error:
        raise ImageFileError(f"{path} cannot be read: {_one_line(error)}.") from error
    if magic == _PNG_SIGNATURE:
        read = _read_png
    elif magic.startswith(b"\xff\xd8\xff"):
        read = _read_jpeg
    elif magic[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        read = _read_tiff
    else:
        raise ImageFileError(f"{path} is not a PNG, JPEG or TIFF image.")
    try:
        return read(path)
    except ImageFileError:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise ImageFileError(
            f"{path} has more than {2 * (PIL.Image.MAX_IMAGE_PIXELS or 0) // 10**6} "
            "megapixels; such an image can be read from a TIFF file."
        ) from error
    except MemoryError as error:
        raise ImageFileError(f"{path} is too large for this machine's memory.") from error
    except Exception as error:
        # Decoders raise anything at all on damaged files.
        raise ImageFileError(
            f"{path} cannot be read, it is damaged or incomplete ({_one_line(error)})."
        ) from error


def check_writable(
    path: str | os.PathLike[str],
    *,
    dtype: np.dtype[Any] | None = None,
    channels: int | None = None,
    overwrite: bool = False,
) -> FileFormat:
    """Find out whether an image can be written, before the work for it is done.

    Parameters
    ----------
    path : path-like
        The file to write. Its ending decides the format.
    dtype : numpy.dtype, optional
        The pixels' dtype, where it is known already.
    channels : int, optional
        1, 3 or 4, where it is known already.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    {"PNG", "JPEG", "TIFF"}
        The format.

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
            ".png, .jpg or .tif."
        )
    if path.is_dir():
        raise ImageFileError(f"{path} is a folder; name the file to write.")
    if not path.parent.is_dir():
        raise ImageFileError(f"{path} cannot be written: there is no folder {path.parent}.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists, and is replaced only when asked to (overwrite).")
    if dtype is not None:
        if dtype not in (np.uint8, np.uint16, np.float32):
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
        if file_format == "PNG" and dtype == np.float32:
            raise ImageFileError(
                f"{path}: a PNG file holds integers, the image has {dtype}; write TIFF instead."
            )
    if file_format == "JPEG" and channels == 4:
        raise ImageFileError(
            f"{path}: a JPEG file has no transparency, the image has; write PNG or TIFF instead."
        )
    return file_format


def write_image(
    path: str | os.PathLike[str],
    pixels: NDArray[Any],
    *,
    like: ImageFile | None = None,
    overwrite: bool = False,
) -> Path:
    """Write an image file; there is never half of one.

    JPEG has quality 95 and full colour resolution (4:4:4). TIFF is compressed without loss.
    EXIF goes to PNG and JPEG, and of it the orientation to TIFF; the colour profile and the
    resolution go to all three.

    Parameters
    ----------
    path : path-like
        Where to write; ``.png``, ``.jpg``, ``.jpeg``, ``.tif`` or ``.tiff``.
    pixels : ndarray
        (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); uint8, uint16 (not in JPEG) or float32
        (TIFF only).
    like : ImageFile, optional
        Where the metadata come from.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    pathlib.Path
        The file.

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
    pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    file_format = check_writable(
        path,
        dtype=pixels.dtype,
        channels=pixels.shape[2] if pixels.ndim == 3 else 1,
        overwrite=overwrite,
    )
    metadata = like.metadata if like is not None else ImageMetadata()
    write = {"PNG": _write_png, "JPEG": _write_jpeg, "TIFF": _write_tiff}[file_format]
    try:
        with atomic_write(path) as part:
            write(part, pixels, metadata)
    except OSError as error:
        raise ImageFileError(f"{path} cannot be written: {_one_line(error)}.") from error
    return path


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


# --- Pillow: JPEG, and PNG but for its 16-bit pixels


@contextmanager
def _open_with_pillow(path: Path) -> Iterator[PIL.Image.Image]:
    with warnings.catch_warnings():
        # Photographs may well have 90 megapixels; at twice that, Pillow raises.
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        with PIL.Image.open(path, formats=("PNG", "JPEG")) as image:
            yield image


def _metadata_of(image: PIL.Image.Image) -> ImageMetadata:
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


def _pixels_of(image: PIL.Image.Image, path: Path) -> NDArray[Any]:
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


def _read_jpeg(path: Path) -> ImageFile:
    # Phones append a depth map or a preview as a second picture (MPO): the first is meant.
    with _open_with_pillow(path) as image:
        return ImageFile(path, _pixels_of(image, path), _metadata_of(image))


def _write_jpeg(part: Path, pixels: NDArray[Any], metadata: ImageMetadata) -> None:
    kept: dict[str, Any] = {}
    if metadata.exif is not None and len(metadata.exif) < _JPEG_SEGMENT:
        kept["exif"] = b"Exif\0\0" + metadata.exif
    if metadata.icc_profile is not None:
        kept["icc_profile"] = metadata.icc_profile
    dpi = metadata.dots_per_inch()
    if dpi is not None and max(dpi) < _JPEG_DENSITY:
        kept["dpi"] = (round(dpi[0]), round(dpi[1]))
    PIL.Image.fromarray(pixels).save(
        part, format="JPEG", quality=JPEG_QUALITY, subsampling="4:4:4", **kept
    )


# --- PNG


def _read_png(path: Path) -> ImageFile:
    with _open_with_pillow(path) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise ImageFileError(f"{path} is an animation; a single image is needed.")
        data = path.read_bytes()
        if data[24] == 16:  # bit depth in the header
            # Pillow would reduce RGB to 8 bits.
            pixels = imagecodecs.png_decode(data)
            if pixels.ndim == 3 and pixels.shape[2] == 2:
                pixels = pixels[:, :, [0, 0, 0, 1]]  # grey with alpha
        else:
            pixels = _pixels_of(image, path)
        return ImageFile(path, pixels, _metadata_of(image))


def _write_png(part: Path, pixels: NDArray[Any], metadata: ImageMetadata) -> None:
    # By imagecodecs, since Pillow has no 16-bit RGB. It writes no metadata, so they are put
    # where they belong: right after the header.
    encoded = imagecodecs.png_encode(pixels)
    chunks = b""
    if metadata.icc_profile is not None:
        chunks += _png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc_profile))
    dpi = metadata.dots_per_inch()
    if dpi is not None:
        x, y = (round(value * 100 / _CM_PER_INCH) for value in dpi)  # pixels per metre
        if max(x, y) < _PNG_DENSITY:
            chunks += _png_chunk(b"pHYs", struct.pack(">IIB", x, y, 1))
    if metadata.exif is not None:
        chunks += _png_chunk(b"eXIf", metadata.exif)
    after_header = len(_PNG_SIGNATURE) + 4 + 4 + 13 + 4
    part.write_bytes(encoded[:after_header] + chunks + encoded[after_header:])


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


# --- TIFF


def _read_tiff(path: Path) -> ImageFile:
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        page = tiff.pages[0]
        if len(tiff.series) != 1 or len(tiff.pages) != 1 or series.shape != page.shape:
            raise ImageFileError(
                f"{path} holds {max(len(tiff.pages), len(tiff.series), 2)} or more images; "
                "stacks cannot be restored yet, so save one as a file of its own."
            )
        name = page.photometric.name if page.photometric is not None else "unknown"
        if name == "SEPARATED":
            raise ImageFileError(f"{path} has CMYK colours, for printing; convert it to RGB first.")
        if name == "YCBCR" and page.compression.name.endswith("JPEG"):
            name = "RGB"  # which the JPEG decoder makes of it
        if name not in ("MINISBLACK", "MINISWHITE", "RGB", "PALETTE"):
            raise ImageFileError(f"{path} has {name} colours; convert it to RGB first.")
        dtype = np.dtype(page.dtype) if page.dtype is not None else None
        if dtype not in (np.uint8, np.uint16, np.float32):
            what = "1 bit a pixel" if dtype == np.bool_ else f"{dtype} values"
            raise ImageFileError(
                f"{path} holds {what}; convert it to uint8, uint16 or float32 first."
            )
        pixels = page.asarray()
        if name == "PALETTE":
            pixels = np.moveaxis(page.colormap[:, pixels] >> 8, 0, -1).astype(np.uint8)
        elif name == "MINISWHITE":
            if dtype.kind == "f":
                raise ImageFileError(f"{path} has floats that grow darker; invert them first.")
            pixels = np.iinfo(dtype).max - pixels
        if page.axes == "SYX":
            pixels = np.moveaxis(pixels, 0, -1)
        if pixels.ndim == 3 and pixels.shape[2] == 2:
            pixels = pixels[:, :, [0, 0, 0, 1]]  # grey with alpha
        if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] in (3, 4)):
            raise ImageFileError(
                f"{path} has pixels of shape {pixels.shape}; one grey, RGB or RGBA image is needed."
            )
        pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
        return ImageFile(path, pixels, _tiff_metadata(page))


def _tiff_metadata(page: Any) -> ImageMetadata:
    def value_of(tag: str) -> Any:
        return page.tags[tag].value if tag in page.tags else None

    exif = None
    orientation = value_of("Orientation")
    if orientation is not None and int(orientation) in range(2, 9):
        tags = PIL.Image.Exif()
        tags[_ORIENTATION] = int(orientation)
        exif = tags.tobytes().removeprefix(b"Exif\0\0")
    resolution = None
    x, y = value_of("XResolution"), value_of("YResolution")
    if x is not None and y is not None and 0 not in (*x, *y):
        resolution = (x[0] / x[1], y[0] / y[1])
    profile = value_of("InterColorProfile")
    # ImageJ writes its unit, if any, elsewhere.
    unit = 1 if page.parent.is_imagej else int(value_of("ResolutionUnit") or 2)
    return ImageMetadata(
        exif=exif,
        icc_profile=bytes(profile) if profile is not None else None,
        resolution=resolution,
        resolution_unit=_TIFF_UNIT.get(unit, "none"),
    )


def _write_tiff(part: Path, pixels: NDArray[Any], metadata: ImageMetadata) -> None:
    orientation = metadata.orientation()
    has_alpha = pixels.ndim == 3 and pixels.shape[2] == 4
    unit = {text: number for number, text in _TIFF_UNIT.items()}[metadata.resolution_unit]
    tifffile.imwrite(
        part,
        pixels,
        photometric="rgb" if pixels.ndim == 3 else "minisblack",
        extrasamples=["unassalpha"] if has_alpha else None,
        compression="zlib",
        predictor=True,
        resolution=metadata.resolution,
        resolutionunit=unit if metadata.resolution is not None else None,
        iccprofile=metadata.icc_profile,
        extratags=[(_ORIENTATION, "H", 1, orientation, True)] if orientation else (),
        metadata=None,
        software="napari-darkdeblur",
    )
