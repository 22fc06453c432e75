"""What photographs say about themselves is kept, and what people's cameras write is read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
import tifffile

from napari_darkdeblur.imagefiles import ImageFile, ImageFileError, read_image, write_image

from ..conftest import assert_sentence

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (30, 40, 3), np.uint8)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
# Photoshop's resource 0x0404 holds IPTC: here one text, the caption.
IPTC = b"8BIM\x04\x04\0\0\0\0\0\x0a\x1c\x02\x78\0\x05Ferry"
TAKEN, PLACE = "2026:11:26 01:02:03", (60.0, 10.0, 5.0)


def exif(orientation: int = 6) -> PIL.Image.Exif:
    tags = PIL.Image.Exif()
    tags[274], tags[271] = orientation, "Maker"
    tags.get_ifd(34665)[36867] = TAKEN
    tags.get_ifd(34853).update({1: "N", 2: PLACE})
    return tags


def png(path: Path, *chunks: tuple[bytes, bytes], pixels: np.ndarray = IMAGE) -> Path:
    """Write a PNG file with further chunks after its header."""
    write_image(path, pixels, overwrite=True)
    data = path.read_bytes()
    further = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    path.write_bytes(data[:33] + further + data[33:])
    return path


def chunks_of(path: Path) -> dict[bytes, bytes]:
    data, found, place = path.read_bytes(), {}, 8
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        found[kind] = data[place + 8 : place + 8 + length]
        place += length + 12
    return found


def copied(image: ImageFile, target: Path) -> ImageFile:
    write_image(target, image.pixels, like=image, overwrite=True)
    return read_image(target)


@pytest.fixture
def photograph(tmp_path: Path) -> ImageFile:
    """Return a JPEG file that says all that it can."""
    path = tmp_path / "photograph.jpg"
    PIL.Image.fromarray(IMAGE).save(
        path,
        exif=exif(),
        xmp=XMP,
        comment=b"a comment",
        dpi=(300, 300),
        icc_profile=PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes(),
        extra=b"\xff\xed" + struct.pack(">H", len(IPTC) + 16) + b"Photoshop 3.0\0" + IPTC,
    )
    return read_image(path)


def facts(image: ImageFile) -> dict[str, Any]:
    """Return what a file says, in words of no format."""
    tags = PIL.Image.Exif()
    tags.load(image.metadata.exif or b"")
    return {
        "orientation": image.metadata.orientation(),
        "taken": tags.get_ifd(34665).get(36867),
        "place": tags.get_ifd(34853).get(2),
        "xmp": image.metadata.xmp,
        "iptc": image.metadata.photoshop,
        "profile": image.metadata.icc_profile,
    }


def test_everything_goes_from_jpeg_to_jpeg_and_tiff_and_back(tmp_path, photograph: ImageFile):
    expected = facts(photograph)
    assert expected["taken"] == TAKEN
    assert (expected["place"], expected["iptc"], expected["xmp"]) == (PLACE, IPTC, XMP)
    jpeg = copied(photograph, tmp_path / "a.jpg")
    assert facts(jpeg) == expected
    assert jpeg.metadata.comment == b"a comment"
    tiff = copied(photograph, tmp_path / "a.tif")
    assert facts(tiff) == expected
    assert facts(copied(tiff, tmp_path / "b.tif")) == expected
    assert facts(copied(tiff, tmp_path / "b.jpg")) == expected
    # Other programs find it, too.
    with PIL.Image.open(tmp_path / "b.tif") as opened:
        assert opened.getexif().get_ifd(34665)[36867] == TAKEN
        assert opened.getexif()[271] == "Maker"
    with tifffile.TiffFile(tmp_path / "a.tif") as opened:
        assert opened.pages.first.description == "a comment"


def test_png_keeps_all_but_iptc_and_that_is_known(tmp_path, photograph: ImageFile):
    kept = copied(photograph, tmp_path / "a.png")
    assert facts(kept) == facts(photograph) | {"iptc": None}
    assert chunks_of(tmp_path / "a.png")[b"iTXt"].endswith((XMP, b"a comment"))
    assert photograph.metadata.not_kept_in("PNG") == ["IPTC"]
    assert photograph.metadata.not_kept_in("TIFF") == []
    assert photograph.metadata.not_kept_in("ZARR") == [
        "EXIF", "the colour profile", "XMP", "IPTC", "the comment"
    ]  # fmt: skip


def test_how_a_png_looks_stays_in_png(tmp_path: Path):
    said = {
        b"gAMA": struct.pack(">I", 100_000),
        b"cHRM": struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000),
        b"cICP": bytes([9, 16, 0, 1]),
        b"tEXt": b"Title\0hello",
    }
    image = read_image(png(tmp_path / "a.png", *said.items()))
    copied(image, tmp_path / "b.png")
    kept = chunks_of(tmp_path / "b.png")
    assert {kind: kept[kind] for kind in said} == said
    assert list(kept).index(b"gAMA") < list(kept).index(b"IDAT")
    assert image.metadata.not_kept_in("JPEG") == ["PNG's texts", "the video colour space (cICP)"]


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_how_a_png_looks_becomes_a_colour_profile_elsewhere(tmp_path: Path, suffix: str):
    image = read_image(png(tmp_path / "a.png", (b"gAMA", struct.pack(">I", 100_000))))
    profile = copied(image, tmp_path / f"b.{suffix}").metadata.icc_profile
    assert profile is not None
    # By which linear values become as bright as they are meant: 1/2 is 188 in sRGB.
    source = PIL.ImageCms.ImageCmsProfile(PIL.Image.io.BytesIO(profile))  # type: ignore[attr-defined]
    grey = PIL.Image.new("RGB", (1, 1), (128, 128, 128))
    shown = PIL.ImageCms.profileToProfile(grey, source, PIL.ImageCms.createProfile("sRGB"))
    assert shown.getpixel((0, 0)) == pytest.approx((188, 188, 188), abs=2)
    plain = read_image(png(tmp_path / "c.png", (b"sRGB", b"\0")))
    assert copied(plain, tmp_path / f"d.{suffix}").metadata.icc_profile is None


@pytest.mark.parametrize("compressed", [False, True])
def test_an_orientation_in_a_png_text_is_found(tmp_path: Path, compressed: bool):
    """ImageMagick and older programs put EXIF there."""
    data = b"Exif\0\0" + exif(3).tobytes().removeprefix(b"Exif\0\0")
    text = b"\nexif\n%8d\n%s\n" % (len(data), data.hex().encode())
    if compressed:
        chunk = b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)
    else:
        chunk = b"tEXt", b"Raw profile type exif\0" + text
    image = read_image(png(tmp_path / "a.png", chunk))
    for name in ("b.png", "b.jpg", "b.tif"):
        assert copied(image, tmp_path / name).metadata.orientation() == 3


def test_geotiff_is_kept_in_either_byte_order(tmp_path: Path):
    scale, keys = (0.5, 0.5, 0.0), (1, 1, 0, 1, 1024, 0, 1, 2)
    tifffile.imwrite(
        tmp_path / "a.tif",
        IMAGE,
        byteorder=">",
        metadata=None,
        extratags=[
            (33550, "d", 3, scale, True),
            (34735, "H", 8, keys, True),
            (34737, "s", 0, "WGS 84|", True),
        ],
    )
    image = read_image(tmp_path / "a.tif")
    copied(image, tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        tags = tiff.pages.first.tags
        assert tags.valueof(33550) == scale
        assert tags.valueof(34735) == keys
        assert tags.valueof(34737) == "WGS 84|"
    assert image.metadata.not_kept_in("PNG") == ["the position on Earth (GeoTIFF)"]


# --- other formats


@pytest.mark.parametrize(
    ("suffix", "options", "tolerance"),
    [
        ("webp", {"lossless": True}, 0),
        ("bmp", {}, 0),
        ("gif", {}, None),
        ("avif", {"quality": 95, "subsampling": "4:4:4"}, 25),
        ("jfif", {"format": "JPEG", "quality": 95, "subsampling": 0}, 40),
        ("jpe", {"format": "JPEG", "quality": 95, "subsampling": 0}, 40),
    ],
)
def test_other_formats_are_read(tmp_path: Path, suffix: str, options: Any, tolerance: int | None):
    if suffix == "avif":
        pytest.importorskip("PIL._avif")
    smooth = np.asarray(PIL.Image.fromarray(IMAGE[:6, :8]).resize((40, 30)))
    path = tmp_path / f"a.{suffix}"
    PIL.Image.fromarray(smooth).save(path, **options)
    image = read_image(path)
    assert (image.pixels.shape, image.pixels.dtype, image.axes) == ((30, 40, 3), np.uint8, "YXS")
    if tolerance is not None:
        assert np.abs(image.pixels.astype(int) - smooth).max() <= tolerance


def test_webp_s_metadata_are_kept(tmp_path: Path):
    PIL.Image.fromarray(IMAGE).save(tmp_path / "a.webp", lossless=True, exif=exif(8), xmp=XMP)
    kept = copied(read_image(tmp_path / "a.webp"), tmp_path / "b.png")
    assert (kept.metadata.orientation(), kept.metadata.xmp) == (8, XMP)


def test_heic_is_read_if_the_extra_is_installed(tmp_path: Path):
    pytest.importorskip("pi_heif")
    # Four fields of 24 × 32 pixels: red, green, blue and grey.
    image = read_image(Path(__file__).with_name("four.heic"))
    fields = [image.pixels[y, x].tolist() for y in (12, 36) for x in (16, 48)]
    expected = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 128, 128)]
    np.testing.assert_allclose(fields, expected, atol=3)
    # The decoder has turned it already.
    assert image.metadata.orientation() in (None, 1)
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(ImageFileError, match="damaged") as caught:
        read_image(path)
    assert_sentence(str(caught.value))


@pytest.mark.parametrize(
    ("module", "name", "data"),
    [("pi_heif", "a.heic", b"\0\0\0\x18ftypheic"), ("rawpy", "a.nef", b"MM\0*\0\0\0\x08")],
)
def test_a_missing_extra_is_named(tmp_path, monkeypatch, module: str, name: str, data: bytes):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ImageFileError, match=r"napari-darkdeblur\[photo\]") as caught:
        read_image(tmp_path / name)
    assert_sentence(str(caught.value))


def dng(path: Path, levels: np.ndarray) -> Path:
    """Write a raw file (DNG) with a preview, and a mosaic of 14 bits as it lies on the sensor."""
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            np.zeros((12, 16, 3), np.uint8),
            photometric="rgb",
            subfiletype=1,
            subifds=1,
            metadata=None,
            extratags=[
                (50706, "B", 4, (1, 4, 0, 0), True),  # DNGVersion
                (50708, "s", 0, "Test", True),  # UniqueCameraModel
                (50721, "2i", 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),
                (50778, "H", 1, 21, True),  # CalibrationIlluminant1
                (50728, "2I", 3, (1, 2, 1, 1, 1, 1), True),  # AsShotNeutral: red is half
            ],
        )
        writer.write(
            levels,
            photometric="cfa",
            subfiletype=0,
            metadata=None,
            extratags=[
                (33421, "H", 2, (2, 2), True),
                (33422, "B", 4, (0, 1, 1, 2), True),
                (50714, "H", 1, 0, True),  # BlackLevel
                (50717, "H", 1, 16383, True),  # WhiteLevel
            ],
        )
    return path


def test_a_raw_file_is_developed_linearly_in_16_bits(tmp_path: Path):
    pytest.importorskip("rawpy")
    mosaic = np.full((64, 96), 2000, np.uint16)
    one = read_image(dng(tmp_path / "a.dng", mosaic))
    assert (one.pixels.dtype, one.pixels.shape) == (np.uint16, (64, 96, 3))
    assert "linearly to 16 bits" in one.notes[0]
    assert one.as_options()["light"] == "linear"
    # Twice the light is twice the value.
    two = read_image(dng(tmp_path / "b.dng", mosaic * 2))
    inner = slice(8, -8)
    ratio = two.pixels[inner, inner].mean() / one.pixels[inner, inner].mean()
    assert ratio == pytest.approx(2, rel=0.01)
    copied(one, tmp_path / "c.tif")
    assert read_image(tmp_path / "c.tif").metadata.icc_profile == one.metadata.icc_profile
