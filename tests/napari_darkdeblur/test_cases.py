"""Files of the kinds that went wrong once give the right value or the right sentence.

All by the command as users call it, with the bundled model. Only the search for a kernel, which
takes seconds, is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
import tifffile
import zarr

from napari_darkdeblur import cli
from napari_darkdeblur.demo import make_demo_pair
from napari_darkdeblur.imagefiles import open_image, read_image

from .conftest import assert_sentence
from .imagefiles.test_photographs import chunks_of, dng, png

# A photograph taken in too little light, from 0 to 1.
SCENE = make_demo_pair()[0][100:170, 100:190] / 255
GREY = SCENE.mean(axis=-1)
UINT8 = np.rint(255 * SCENE).astype(np.uint8)


@pytest.fixture
def restored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Return a function that restores a file by the command: exit code, output and errors."""

    def run(source: Path, target: str, *options: str) -> tuple[int, str, str]:
        arguments = ["deblur", str(source), str(tmp_path / target), "--psf", "none", *options]
        code = cli.main([*arguments, "--device", "cpu"])
        out, err = capsys.readouterr()
        for line in err.splitlines():
            assert_sentence(line)
        return code, out, err

    return run


def same_brightness(before: np.ndarray, after: np.ndarray) -> None:
    assert after.dtype == before.dtype
    assert after.mean(dtype=np.float64) == pytest.approx(before.mean(dtype=np.float64), rel=0.02)
    assert (after != before).any()


@pytest.mark.parametrize(
    ("values", "range_text"),
    [
        ((21 + 303 * GREY).astype(np.uint16), "the image's 0.1 and 99.9 percentiles"),
        ((21 + 303 * SCENE).astype(np.uint16), "the image's 0.1 and 99.9 percentiles"),
        ((4000 * GREY).astype(np.uint16), "the image's 0.1 and 99.9 percentiles"),
        ((8 * GREY).astype(np.uint8), "of 0 to 255"),
        ((1e-4 * GREY).astype(np.float32), "the image's 0.1 and 99.9 percentiles"),
        ((3e6 * GREY).astype(np.int32), "the image's 0.1 and 99.9 percentiles"),
    ],
)
def test_dim_data_stay_as_bright_as_they_are(tmp_path: Path, restored, values, range_text: str):
    tifffile.imwrite(
        tmp_path / "dim.tif", values, photometric="rgb" if values.ndim == 3 else "minisblack"
    )
    code, out, _ = restored(tmp_path / "dim.tif", "out.tif")
    assert code == 0
    assert range_text in out
    same_brightness(values, tifffile.imread(tmp_path / "out.tif"))


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("bits", [4, 12])
def test_bits_per_sample_tell_what_white_is(tmp_path: Path, restored, bits: int, photometric: str):
    white = 2**bits - 1
    shown = np.rint(white * GREY).astype(np.uint8 if bits < 8 else np.uint16)
    stored = white - shown if photometric == "miniswhite" else shown
    tifffile.imwrite(
        tmp_path / "a.tif", stored, bitspersample=bits, photometric=photometric, metadata=None
    )
    code, out, _ = restored(tmp_path / "a.tif", "out.tif")
    assert code == 0
    assert f"Black is 0 and white {white}, the range that the file states" in out
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        assert tiff.pages.first.bitspersample == bits
        same_brightness(shown, tiff.asarray())


def test_channels_last_are_restored_one_by_one(tmp_path: Path, restored):
    values = np.repeat((255 * GREY).astype(np.uint8)[..., None], 5, axis=-1)
    tifffile.imwrite(tmp_path / "5ch.tif", values, photometric="minisblack", planarconfig="contig")
    for name, options in (("a.tif", []), ("b.tif", ["--axes", "YXC"])):
        assert restored(tmp_path / "5ch.tif", name, *options)[0] == 0
        same_brightness(values, tifffile.imread(tmp_path / name))
    # Each channel is a picture of 90 × 70 pixels; they are alike.
    result = tifffile.imread(tmp_path / "a.tif")
    np.testing.assert_array_equal(result, np.repeat(result[..., :1], 5, axis=-1))


def test_a_phone_s_folder_names_what_it_leaves_out(tmp_path: Path, restored):
    folder = tmp_path / "in"
    folder.mkdir()
    photograph = PIL.Image.fromarray(UINT8)
    for name in ("a.jpg", "x.jfif", "x.webp", "y.bmp"):
        photograph.save(folder / name, format="JPEG" if name.endswith("jfif") else None)
    photograph.save(folder / "anim.gif", save_all=True, append_images=[photograph.rotate(90)])
    (folder / "IMG_1.HEIC").write_bytes(b"\0\0\0\x0cftypheic")
    (folder / "m.mp4").write_bytes(b"\0\0\0\x0cftypisom")
    code, out, err = restored(folder, "out")
    assert code == 1
    assert "Restored 4 of 6 images" in out
    for name, reason in (
        ("m.mp4", "left out: a video"), ("anim.gif", "an animation"), ("IMG_1.HEIC", "HEIC|damaged")
    ):  # fmt: skip
        (line,) = [line for line in err.splitlines() if name in line]
        assert any(each in line for each in reason.split("|"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.jpg", "x.jfif", "x.png", "y.png"
    ]  # fmt: skip


def test_a_raw_file_is_developed(tmp_path: Path, restored):
    pytest.importorskip("rawpy")
    mosaic = np.rint(8000 * np.pad(GREY, ((0, 2), (0, 6)), mode="edge")).astype(np.uint16)
    source = dng(tmp_path / "a.dng", mosaic)
    code, _, err = restored(source, "out.tif")
    assert code == 0
    assert "developed linearly to 16 bits" in err
    same_brightness(read_image(source).pixels, tifffile.imread(tmp_path / "out.tif"))


def test_of_several_images_the_first_is_taken_and_another_on_request(tmp_path: Path, restored):
    first, second = (40000 * GREY).astype(np.uint16), UINT8[:40, :40, 0]
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        writer.write(first, photometric="minisblack", metadata={"axes": "YX"})
        writer.write(second, photometric="minisblack", metadata={"axes": "YX"})
    code, _, err = restored(tmp_path / "a.ome.tif", "0.tif")
    assert code == 0
    assert "2 images: 0 (70 × 90 uint16), 1 (40 × 40 uint8); image 0 was taken" in err
    same_brightness(first, tifffile.imread(tmp_path / "0.tif"))
    assert restored(tmp_path / "a.ome.tif", "1.tif", "--series", "1")[0] == 0
    same_brightness(second, tifffile.imread(tmp_path / "1.tif"))
    assert restored(tmp_path / "a.ome.tif", "2.tif", "--series", "2")[0] == 2


def test_how_a_picture_looks_is_kept(tmp_path: Path, restored):
    look = {b"gAMA": struct.pack(">I", 100_000), b"cICP": bytes([9, 16, 0, 1])}
    source = png(tmp_path / "look.png", *look.items(), pixels=UINT8)
    assert restored(source, "look-out.png")[0] == 0
    kept = chunks_of(tmp_path / "look-out.png")
    assert {kind: kept[kind] for kind in look} == look
    _, _, err = restored(source, "look-out.jpg")
    assert "Not kept, since .jpg files cannot hold it: the video colour space (cICP)." in err

    exif = PIL.Image.Exif()
    exif[274] = 3
    data = exif.tobytes()
    text = b"Raw profile type exif\0\nexif\n%8d\n%s\n" % (len(data), data.hex().encode())
    source = png(tmp_path / "turned.png", (b"tEXt", text), pixels=UINT8)
    for name in ("turned-out.png", "turned-out.tif", "turned-out.jpg"):
        assert restored(source, name)[0] == 0
        assert read_image(tmp_path / name).metadata.orientation() == 3

    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    PIL.Image.fromarray(UINT8).save(
        tmp_path / "m.jpg", exif=exif, icc_profile=profile, xmp=b"<x:xmpmeta/>", comment=b"hi"
    )
    for name in ("m-out.jpg", "m-out.tif", "m-out.png"):
        code, _, err = restored(tmp_path / "m.jpg", name)
        assert (code, err) == (0, "")
        metadata = read_image(tmp_path / name).metadata
        assert (metadata.orientation(), metadata.icc_profile) == (3, profile)
        assert metadata.xmp == b"<x:xmpmeta/>"


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_goes_in_and_out(tmp_path: Path, restored, version: str):
    values = np.stack([(30000 * GREY).astype(np.uint16)] * 2)
    group = zarr.open_group(
        str(tmp_path / "a.ome.zarr"), mode="w", zarr_format=2 if version == "0.4" else 3
    )
    for level in range(2):
        part = values[:, :: 2**level, :: 2**level]
        array = group.create_array(str(level), shape=part.shape, dtype="u2", chunks=(1, 64, 64))
        array[...] = part
    axes = [
        {"name": "t", "type": "time"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [{"type": "scale", "scale": [1, 2**level / 10] * 2}],
        }
        for level in range(2)
    ]
    scales = [{"version": version, "axes": axes, "datasets": datasets}]
    said = {"version": version, "multiscales": scales}
    group.attrs.update(said if version == "0.4" else {"ome": said})
    assert restored(tmp_path / "a.ome.zarr", "b.ome.zarr")[0] == 0
    result = zarr.open_group(str(tmp_path / "b.ome.zarr"), mode="r")
    assert dict(result.attrs) == dict(group.attrs)
    same_brightness(values, result["0"][...])
    assert result["1"].shape == (2, 35, 45)
    assert restored(tmp_path / "a.ome.zarr", "b.tif")[0] == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), result["0"][...])
    with open_image(tmp_path / "b.tif") as image:
        assert image.axes == "TYX"
    # An existing folder is replaced only when asked to.
    assert restored(tmp_path / "a.ome.zarr", "b.ome.zarr")[0] == 2
    assert restored(tmp_path / "a.ome.zarr", "b.ome.zarr", "--overwrite")[0] == 0


def test_a_bad_place_or_a_long_name_costs_no_work(tmp_path: Path, restored):
    PIL.Image.fromarray(UINT8).save(tmp_path / "a.png")
    code, _, err = restored(tmp_path / "a.png", "absent/out.png")
    assert code == 2
    assert "no folder" in err
    name = "n" * 246 + ".png"
    assert restored(tmp_path / "a.png", name)[0] == 0
    assert (tmp_path / name).exists()
