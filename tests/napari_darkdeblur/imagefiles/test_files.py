"""Image files keep their dtype and metadata, and bad ones are refused in one sentence."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
import PIL.ImageCms
import psutil
import pytest
import tifffile

from napari_darkdeblur.imagefiles import (
    ImageFile,
    ImageFileError,
    ImageMetadata,
    check_writable,
    read_image,
    write_image,
    writing,
)

from ..conftest import assert_sentence

SHAPES = [(5, 7), (5, 7, 3), (5, 7, 4), (1, 1), (1, 3, 3), (4, 3), (3, 4)]
LOSSLESS = [
    (".png", np.uint8),
    (".png", np.uint16),
    (".tif", np.uint8),
    (".tiff", np.uint16),
    (".tif", np.float32),
    (".tif", np.int16),
    (".tif", np.float16),
    (".tif", np.float64),
]


def random_image(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    rng = np.random.default_rng(0)
    if np.issubdtype(dtype, np.floating):
        return rng.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def smooth_image() -> np.ndarray:
    """Return an image that JPEG can hold well, of saturated colours."""
    y, x = np.mgrid[0:48, 0:64]
    image = np.stack([4 * x, 5 * y, 255 - 4 * x], axis=-1)
    return image.astype(np.uint8)


@pytest.fixture
def metadata() -> ImageMetadata:
    exif = PIL.Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees
    exif[271] = "A camera"
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    return ImageMetadata(
        exif=exif.tobytes().removeprefix(b"Exif\0\0"),
        icc_profile=profile,
        resolution=(300.0, 150.0),
        resolution_unit="inch",
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("suffix", "dtype"), LOSSLESS)
def test_pixels_come_back_exactly(tmp_path: Path, suffix: str, dtype: type, shape):
    image = random_image(shape, dtype)
    found = read_image(write_image(tmp_path / f"a{suffix}", image)).pixels
    assert found.dtype == image.dtype
    np.testing.assert_array_equal(found, image)


def test_other_programs_read_the_same_pixels(tmp_path: Path):
    """A check against itself would not see swapped bytes or channels."""
    eight = random_image((5, 7, 4), np.uint8)
    write_image(tmp_path / "a.png", eight)
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(tmp_path / "a.png")), eight)
    write_image(tmp_path / "a.tif", eight)
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(tmp_path / "a.tif")), eight)
    sixteen = random_image((5, 7), np.uint16)
    write_image(tmp_path / "b.png", sixteen)
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(tmp_path / "b.png")), sixteen)
    # Pillow gives 16-bit RGB as the upper eight bits: enough to see the byte order.
    sixteen = random_image((5, 7, 3), np.uint16)
    write_image(tmp_path / "c.png", sixteen)
    reduced = np.asarray(PIL.Image.open(tmp_path / "c.png"))
    np.testing.assert_array_equal(reduced, sixteen >> 8)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG"])
def test_jpeg_keeps_size_colours_and_its_colour_resolution(tmp_path: Path, suffix: str):
    image = smooth_image()
    path = write_image(tmp_path / f"a{suffix}", image)
    found = read_image(path).pixels
    assert found.shape == image.shape
    assert np.abs(found.astype(int) - image).max() <= 8
    with PIL.Image.open(path) as opened:
        assert {sampling[1:3] for sampling in opened.layer} == {(1, 1)}  # 4:4:4


def test_one_channel_is_written_as_grey(tmp_path: Path):
    image = random_image((4, 5, 1), np.uint8)
    found = read_image(write_image(tmp_path / "a.png", image)).pixels
    np.testing.assert_array_equal(found, image[:, :, 0])


@pytest.mark.parametrize("first", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("second", [".png", ".jpg", ".tif"])
def test_metadata_survive_every_change_of_format(
    tmp_path: Path, metadata: ImageMetadata, first: str, second: str
):
    image = smooth_image()
    source = ImageFile(Path("source"), image, metadata)
    once = read_image(write_image(tmp_path / f"a{first}", image, like=source))
    twice = read_image(write_image(tmp_path / f"b{second}", image, like=once))
    found = twice.metadata
    assert found.orientation() == 6
    assert found.icc_profile == metadata.icc_profile
    assert found.dots_per_inch() == pytest.approx((300, 150), rel=1e-3)
    if ".tif" not in (first, second):
        assert found.exif == metadata.exif
    # Other programs see them, too.
    with PIL.Image.open(twice.path) as opened:
        assert opened.getexif()[274] == 6
        assert opened.info["icc_profile"] == metadata.icc_profile
        assert opened.info["dpi"] == pytest.approx((300, 150), rel=1e-3)


def test_metadata_survive_in_16_bit_png(tmp_path: Path, metadata: ImageMetadata):
    image = random_image((5, 7, 3), np.uint16)
    like = ImageFile(Path("source"), image, metadata)
    found = read_image(write_image(tmp_path / "a.png", image, like=like))
    np.testing.assert_array_equal(found.pixels, image)
    assert found.metadata.exif == metadata.exif
    assert found.metadata.icc_profile == metadata.icc_profile


def test_pixels_are_not_turned_by_the_orientation(tmp_path: Path, metadata: ImageMetadata):
    image = smooth_image()
    path = write_image(tmp_path / "a.jpg", image, like=ImageFile(Path(), image, metadata))
    assert read_image(path).pixels.shape == image.shape


def test_a_microscope_s_resolution_survives_where_it_can(tmp_path: Path):
    image = random_image((6, 8), np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", image, resolution=(1.6e5, 1.6e5), resolutionunit="CENTIMETER"
    )
    source = read_image(tmp_path / "a.tif")
    found = read_image(write_image(tmp_path / "b.tif", image, like=source)).metadata
    assert found.resolution == pytest.approx((1.6e5, 1.6e5))
    assert found.resolution_unit == "centimetre"
    # 406 400 pixels per inch are more than a JPEG file can say.
    assert read_image(write_image(tmp_path / "c.jpg", image, like=source)).pixels.size == 48


def test_exif_that_is_too_long_for_jpeg_is_left_out(tmp_path: Path):
    image = smooth_image()
    like = ImageFile(Path(), image, ImageMetadata(exif=b"II*\0" + bytes(70_000)))
    assert read_image(write_image(tmp_path / "a.jpg", image, like=like)).metadata.exif is None


Writer = Callable[[Path], object]


def rgb() -> PIL.Image.Image:
    return PIL.Image.fromarray(smooth_image())


def transparent_palette() -> PIL.Image.Image:
    image = PIL.Image.new("P", (4, 3), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((0, 0), 1)
    return image


@pytest.mark.parametrize(
    ("name", "write", "pixel", "shape"),
    [
        (
            "palette.png",
            lambda path: transparent_palette().save(path),
            (200, 100, 50),
            (3, 4, 3),
        ),
        (
            "clear.png",
            lambda path: transparent_palette().save(path, transparency=1),
            (200, 100, 50, 0),
            (3, 4, 4),
        ),
        (
            "key.png",
            lambda path: PIL.Image.new("RGB", (4, 3), (1, 2, 3)).save(path, transparency=(1, 2, 3)),
            (1, 2, 3, 0),
            (3, 4, 4),
        ),
        (
            "greyalpha.png",
            lambda path: PIL.Image.new("LA", (4, 3), (9, 77)).save(path),
            (9, 9, 9, 77),
            (3, 4, 4),
        ),
        (
            "greyalpha16.png",
            lambda path: path.write_bytes(
                imagecodecs.png_encode(np.full((3, 4, 2), [900, 7700], np.uint16))
            ),
            (900, 900, 900, 7700),
            (3, 4, 4),
        ),
        (
            "greyalpha.tif",
            lambda path: tifffile.imwrite(
                path,
                np.full((3, 4, 2), [9, 77], np.uint8),
                photometric="minisblack",
                planarconfig="contig",
                extrasamples=["unassalpha"],
            ),
            (9, 9, 9, 77),
            (3, 4, 4),
        ),
        (
            "two.jpg",
            lambda path: PIL.Image.new("L", (4, 3), 9).save(
                path, "MPO", save_all=True, append_images=[PIL.Image.new("L", (4, 3), 99)]
            ),
            9,
            (3, 4),
        ),
        (
            "planes.tif",
            lambda path: tifffile.imwrite(
                path,
                np.broadcast_to(np.uint8([[[1]], [[2]], [[3]]]), (3, 5, 4)),
                photometric="rgb",
                planarconfig="separate",
            ),
            (1, 2, 3),
            (5, 4, 3),
        ),
        (
            "inverted.tif",
            lambda path: tifffile.imwrite(
                path, np.full((3, 4), 55, np.uint8), photometric="miniswhite"
            ),
            200,
            (3, 4),
        ),
        (
            "palette.tif",
            lambda path: transparent_palette().save(path),
            (200, 100, 50),
            (3, 4, 3),
        ),
        (
            "bigendian.tif",
            lambda path: tifffile.imwrite(
                path, np.full((3, 4), 258, ">u2"), byteorder=">", photometric="minisblack"
            ),
            258,
            (3, 4),
        ),
        (
            "imagej.tif",
            lambda path: tifffile.imwrite(path, np.full((3, 4), 7, np.uint16), imagej=True),
            7,
            (3, 4),
        ),
    ],
)
def test_unusual_files_are_read_as_what_they_show(
    tmp_path: Path, name: str, write: Writer, pixel, shape
):
    write(tmp_path / name)
    found = read_image(tmp_path / name).pixels
    assert found.shape == shape
    assert found.dtype.isnative
    np.testing.assert_array_equal(found[0, 0], pixel)


def test_a_jpeg_inside_a_tiff_is_read_as_rgb(tmp_path: Path):
    rgb().save(tmp_path / "a.tif", compression="jpeg", quality=95)
    found = read_image(tmp_path / "a.tif").pixels
    assert np.abs(found.astype(int) - smooth_image()).mean() < 5


def test_the_contents_decide_not_the_name(tmp_path: Path):
    rgb().save(tmp_path / "a.jpg", "PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").pixels, smooth_image())


@pytest.mark.parametrize(
    ("name", "write", "says"),
    [
        ("bits.png", lambda path: rgb().convert("1").save(path), "1 bit"),
        ("bits.tif", lambda path: rgb().convert("1").save(path), "1 bit"),
        ("print.jpg", lambda path: rgb().convert("CMYK").save(path), "CMYK"),
        ("print.tif", lambda path: rgb().convert("CMYK").save(path), "CMYK"),
        ("video.tif", lambda path: rgb().convert("YCbCr").save(path), "YCBCR"),
        ("lab.tif", lambda path: rgb().convert("LAB").save(path), "CIELAB"),
        (
            "moving.png",
            lambda path: rgb().save(path, save_all=True, append_images=[rgb().rotate(90)]),
            "animation",
        ),
        (
            "stack.tif",
            lambda path: tifffile.imwrite(
                path, np.zeros((3, 8, 9), np.uint8), photometric="minisblack"
            ),
            "stacks",
        ),
        (
            "hyperstack.tif",
            lambda path: tifffile.imwrite(path, np.zeros((3, 8, 9), np.uint8), imagej=True),
            "stacks",
        ),
        (
            "long.tif",
            lambda path: tifffile.imwrite(
                path, np.zeros((8, 9), np.complex64), photometric="minisblack"
            ),
            "complex64",
        ),
        (
            "inverted.tif",
            lambda path: tifffile.imwrite(
                path, np.zeros((8, 9), np.float32), photometric="miniswhite"
            ),
            "invert",
        ),
        (
            "five.tif",
            lambda path: tifffile.imwrite(
                path, np.zeros((8, 9, 5), np.uint8), photometric="minisblack"
            ),
            "stacks",
        ),
        (
            "moving.gif",
            lambda path: rgb().save(path, save_all=True, append_images=[rgb().rotate(90)]),
            "animation of 2",
        ),
        ("film.mp4", lambda path: path.write_bytes(b"\0\0\0\x18ftypisom"), "is a video"),
        ("empty.png", lambda path: path.touch(), "no image of a kind"),
        ("text.tif", lambda path: path.write_text("text"), "no image of a kind"),
    ],
)
def test_what_cannot_be_restored_is_named(tmp_path: Path, name: str, write: Writer, says: str):
    write(tmp_path / name)
    with pytest.raises(ImageFileError, match=says) as caught:
        read_image(tmp_path / name)
    assert_sentence(str(caught.value))
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "b.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize("kept", [9, 30, 60, 0.5, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, kept: float):
    dtype = np.uint16 if name == "b.png" else np.uint8
    path = write_image(tmp_path / name, random_image((40, 50, 3), dtype))
    read_image(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept < 1 else int(kept)])
    with pytest.raises(ImageFileError, match="damaged or incomplete") as caught:
        read_image(path)
    assert_sentence(str(caught.value))


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read_image(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_pictures_of_any_size_are_read_if_memory_suffices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
):
    path = tmp_path / f"a.{suffix}"
    rgb().save(path)
    # Pillow's own limit is far below what photographs have today.
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    assert read_image(path).pixels.shape == (*rgb().size[::-1], 3)
    assert PIL.Image.MAX_IMAGE_PIXELS == 100
    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=10_000))
    with pytest.raises(ImageFileError, match="GB of memory") as caught:
        read_image(path)
    assert_sentence(str(caught.value))


def test_an_existing_file_is_replaced_only_when_asked(tmp_path: Path):
    path = write_image(tmp_path / "a.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(FileExistsError, match="overwrite"):
        write_image(path, np.ones((2, 2), np.uint8))
    assert read_image(path).pixels.max() == 0
    write_image(path, np.ones((2, 2), np.uint8), overwrite=True)
    assert read_image(path).pixels.max() == 1


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write_image(tmp_path / "a.png", np.zeros((2, 2), np.uint8))

    def full_disk(part: Path, *_: object) -> None:
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "write_png", full_disk)
    with pytest.raises(ImageFileError, match="No space left"):
        write_image(path, np.ones((2, 2), np.uint8), overwrite=True)
    assert list(tmp_path.iterdir()) == [path]
    assert read_image(path).pixels.max() == 0


@pytest.mark.parametrize(
    ("name", "image", "says"),
    [
        ("a.jpg", np.zeros((2, 2), np.uint16), "write PNG or TIFF instead"),
        ("a.jpg", np.zeros((2, 2), np.float32), "write TIFF instead"),
        ("a.jpg", np.zeros((2, 2, 4), np.uint8), "write PNG or TIFF instead"),
        ("a.png", np.zeros((2, 2), np.float32), "write TIFF instead"),
        ("a.tif", np.zeros((2, 2), bool), "bool"),
        ("a.tif", np.zeros((2, 2), np.complex64), "complex64"),
        ("a.png", np.zeros((2, 2), np.int16), "write TIFF instead"),
        ("a.tif", np.zeros((2, 2, 2), np.uint8), "shape"),
        ("a.tif", np.zeros((0, 2), np.uint8), "shape"),
        ("a.bmp", np.zeros((2, 2), np.uint8), "'.bmp'"),
        ("a", np.zeros((2, 2), np.uint8), "ending"),
        ("absent/a.png", np.zeros((2, 2), np.uint8), "no folder"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_with_a_way_out(
    tmp_path: Path, name: str, image: np.ndarray, says: str
):
    with pytest.raises(ImageFileError, match=says) as caught:
        write_image(tmp_path / name, image)
    assert_sentence(str(caught.value))
    assert list(tmp_path.iterdir()) == []


def test_what_is_known_can_be_checked_before_the_work(tmp_path: Path):
    assert check_writable(tmp_path / "a.TIF") == "TIFF"
    with pytest.raises(ImageFileError, match="folder"):
        check_writable(tmp_path / "absent" / "a.tif")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageFileError, match="is a folder"):
        check_writable(tmp_path / "folder.png")


def test_damaged_exif_does_not_stop_the_image(tmp_path: Path):
    image = smooth_image()
    data = io.BytesIO()
    rgb().save(data, "JPEG", exif=b"Exif\0\0garbage, not a TIFF structure")
    (tmp_path / "a.jpg").write_bytes(data.getvalue())
    source = read_image(tmp_path / "a.jpg")
    assert source.metadata.orientation() is None
    for name in ("b.tif", "b.png", "b.jpg"):
        assert read_image(write_image(tmp_path / name, image, like=source)).pixels.size
