"""TIFF stacks are read and written plane by plane, and stay what they are."""

from __future__ import annotations

import dataclasses
import errno
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest
import tifffile

from napari_darkdeblur.imagefiles import (
    ImageFile,
    ImageFileError,
    ImageMetadata,
    check_writable,
    create_image,
    open_image,
    read_image,
    tiff_reading,
    write_image,
)
from napari_darkdeblur.imagefiles.arrays import FileArray, PagedArray
from napari_darkdeblur.imagefiles.tiff_writing import ome_for_copy
from napari_darkdeblur.restore import Axes

from ..conftest import assert_sentence

RNG = np.random.default_rng(0)
DTYPES = ["uint8", "uint16", "int16", "float16", "float32", "float64"]
LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "zlib": {"compression": "zlib", "predictor": True},
    "strips": {"compression": "lzw", "rowsperstrip": 3},
    "loose-strips": {"rowsperstrip": 5},
    "tiles": {"tile": (16, 16), "compression": "zlib"},
    "raw-tiles": {"tile": (16, 32)},
    "big": {"bigtiff": True},
    "motorola": {"byteorder": ">"},
    "motorola-zlib": {"byteorder": ">", "compression": "zlib", "predictor": True},
}


def random_values(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    values = RNG.integers(0, 60_000, shape)
    return (values / 60_000 if "float" in dtype else values).astype(dtype)


def copy(source: Path, target: Path, **changes: Any) -> Path:
    """Copy an image as the restoration does: part by part."""
    with open_image(source) as image:
        shape, dtype = image.pixels.shape, changes.pop("dtype", image.pixels.dtype)
        with create_image(target, shape, dtype, like=image, **changes) as pixels:
            assert pixels.shape == shape
            for plane in np.ndindex(shape[:-2]):
                for rows in (slice(0, 7), slice(7, None)):
                    place = (*plane, rows)
                    pixels[place] = np.asarray(image.pixels[place]).astype(dtype)
    return target


def values_of(path: Path) -> np.ndarray:
    with open_image(path) as image:
        return np.asarray(image.pixels)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "axes", "photometric"),
    [
        ((20, 37), "YX", "minisblack"),
        ((20, 37, 3), "YXS", "rgb"),
        ((2, 3, 20, 37), "TCYX", "minisblack"),
        ((3, 20, 37, 4), "ZYXS", "rgb"),
        ((2, 3, 20, 37), "ZSYX", "rgb"),
    ],
)
def test_every_layout_comes_back_bit_for_bit(
    tmp_path: Path, layout: str, dtype: str, shape, axes: str, photometric: str
):
    values = random_values(shape, dtype)
    tifffile.imwrite(
        tmp_path / "a.tif",
        values,
        photometric=photometric,
        planarconfig="separate" if axes == "ZSYX" else None,
        metadata={"axes": axes},
        **LAYOUTS[layout],
    )
    with open_image(tmp_path / "a.tif") as image:
        assert image.axes == axes
        assert image.pixels.dtype == values.dtype
        np.testing.assert_array_equal(image.pixels[-1, 3:9], values[-1, 3:9])
        np.testing.assert_array_equal(image.pixels, values)
    path = copy(tmp_path / "a.tif", tmp_path / "b.tif")
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        assert (series.axes, series.shape, series.dtype) == (axes, shape, values.dtype)
        np.testing.assert_array_equal(series.asarray(), values)
        compressed = len(shape) <= 3 or layout in ("zlib", "strips", "tiles", "motorola-zlib")
        assert (series.keyframe.compression != 1) == compressed
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.tif", "b.tif"]


def test_other_programs_read_compressed_and_planar_stacks(tmp_path: Path):
    values = random_values((3, 20, 37, 3), "uint8")
    with create_image(tmp_path / "a.tif", values.shape, np.uint8, axes="ZYXS") as pixels:
        pixels[...] = values
    like = ImageFile(Path(), values[0])
    with create_image(tmp_path / "b.tif", (20, 37, 3), np.uint8, like=like) as pixels:
        pixels[...] = values[1]
    with PIL.Image.open(tmp_path / "a.tif") as image:
        assert image.n_frames == 3
        image.seek(2)
        np.testing.assert_array_equal(np.asarray(image), values[2])
    with PIL.Image.open(tmp_path / "b.tif") as image:
        np.testing.assert_array_equal(np.asarray(image), values[1])


# --- ImageJ


@pytest.fixture
def imagej(tmp_path: Path) -> Path:
    """Return a hyperstack with everything that ImageJ notes, in its byte order."""
    luts = [np.stack([np.arange(256, dtype=np.uint8) * (i == c) for i in range(3)]) for c in (0, 1)]
    tifffile.imwrite(
        tmp_path / "a.tif",
        random_values((4, 3, 2, 20, 37), "uint16"),
        imagej=True,
        byteorder=">",
        resolution=(9.5, 9.5),
        metadata={
            "axes": "TZCYX",
            "unit": "um",
            "spacing": 0.25,
            "finterval": 1.5,
            "fps": 1 / 1.5,
            "mode": "composite",
            "min": 100,
            "max": 5000,
            "Info": "a note with a µ",
            "Labels": [f"plane {i}" for i in range(24)],
            "Ranges": (100.0, 5000.0, 10.0, 2000.0),
            "LUTs": luts,
        },
    )
    return tmp_path / "a.tif"


def test_an_imagej_hyperstack_stays_one(imagej: Path, tmp_path: Path):
    path = copy(imagej, tmp_path / "b.tif")
    with tifffile.TiffFile(imagej) as old, tifffile.TiffFile(path) as new:
        assert new.is_imagej
        assert new.series[0].axes == "TZCYX"
        assert new.pages[0].description == old.pages[0].description
        np.testing.assert_array_equal(new.asarray(), old.asarray())
        before, after = old.imagej_metadata, new.imagej_metadata
        assert before is not None and after is not None
        assert before.keys() == after.keys() >= {"unit", "spacing", "finterval", "Ranges", "LUTs"}
        for key in before:
            np.testing.assert_array_equal(before[key], after[key])
        for tag in ("XResolution", "YResolution", "ResolutionUnit"):
            assert new.pages[0].tags[tag].value == old.pages[0].tags[tag].value
        assert len(new.pages) == 24
        assert new.byteorder == ">"


def test_what_imagej_cannot_hold_keeps_its_axes_and_calibration(imagej: Path, tmp_path: Path):
    path = copy(imagej, tmp_path / "b.tif", dtype=np.dtype(np.float64))
    with tifffile.TiffFile(path) as tiff:
        assert not tiff.is_imagej
        assert (tiff.series[0].axes, tiff.series[0].dtype) == ("TZCYX", np.float64)
        noted = tiff.shaped_metadata[0]
        assert (noted["unit"], noted["spacing"], noted["finterval"]) == ("um", 0.25, 1.5)
        assert tiff.pages[0].tags["ResolutionUnit"].value == 3
        x, y = tiff.pages[0].tags["XResolution"].value
        assert x / y == pytest.approx(9.5e4)
    # Being tifffile's now, it keeps them again.
    with tifffile.TiffFile(copy(path, tmp_path / "c.tif")) as tiff:
        assert tiff.shaped_metadata[0] == noted


@pytest.mark.parametrize("order", ["czt", "zct", "tzc"])
def test_every_order_of_imagej_s_axes_is_kept(tmp_path: Path, order: str):
    values = random_values((24, 20, 37), "float32")
    text = (
        f"ImageJ=1.54f\nimages=24\nchannels=2\nslices=3\nframes=4\nhyperstack=true\norder={order}\n"
    )
    tifffile.imwrite(
        tmp_path / "a.tif", values, description=text, metadata=None, photometric="minisblack"
    )
    with tifffile.TiffFile(copy(tmp_path / "a.tif", tmp_path / "b.tif")) as tiff:
        assert tiff.series[0].axes == order[::-1].upper() + "YX"
        np.testing.assert_array_equal(tiff.asarray().reshape(values.shape), values)


def green() -> np.ndarray:
    table = np.zeros((3, 256), np.uint16)
    table[1] = np.arange(256) * 257
    return table


@pytest.mark.parametrize("shape", [(20, 37), (3, 20, 37)])
def test_imagej_s_display_colours_are_not_those_of_the_values(tmp_path: Path, shape):
    values = random_values(shape, "uint8")
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, colormap=green())
    np.testing.assert_array_equal(values_of(tmp_path / "a.tif"), values)
    with tifffile.TiffFile(copy(tmp_path / "a.tif", tmp_path / "b.tif")) as tiff:
        assert tiff.is_imagej
        assert tiff.pages[0].photometric.name == "PALETTE"
        np.testing.assert_array_equal(tiff.pages[0].colormap, green())
        np.testing.assert_array_equal(tiff.asarray(), values)


def test_an_imagej_rgb_stack_stays_one(tmp_path: Path):
    values = random_values((3, 20, 37, 3), "uint8")
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, metadata={"axes": "ZYXS"})
    with tifffile.TiffFile(copy(tmp_path / "a.tif", tmp_path / "b.tif")) as tiff:
        assert tiff.is_imagej
        assert tiff.series[0].axes == "ZYXS"
        np.testing.assert_array_equal(tiff.asarray(), values)


# --- OME


def write_ome(path: Path, values: np.ndarray, axes: str, **options: Any) -> None:
    tifffile.imwrite(
        path,
        values,
        ome=True,
        photometric="rgb" if "S" in axes else "minisblack",
        metadata={
            "axes": axes,
            "SignificantBits": 12,
            "TimeIncrement": 1.5,
            "TimeIncrementUnit": "s",
            "PhysicalSizeX": 0.105,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 0.105,
            "PhysicalSizeYUnit": "µm",
            **({"Channel": {"Name": ["DAPI", "GFP"]}} if "C" in axes else {}),
            "Description": "cells > 3 & \u0394",
        },
        **options,
    )


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((4, 2, 20, 37), "TCYX"),
        ((2, 3, 20, 37), "CZYX"),
        ((3, 20, 37, 3), "ZYXS"),
        ((20, 37), "YX"),
    ],
)
def test_an_ome_tiff_stays_one(tmp_path: Path, shape, axes: str, compression):
    values = random_values(shape, "uint16")
    write_ome(tmp_path / "a.ome.tif", values, axes, compression=compression)
    path = copy(tmp_path / "a.ome.tif", tmp_path / "b.ome.tif")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as old, tifffile.TiffFile(path) as new:
        assert new.is_ome
        assert new.series[0].kind == "ome"
        assert new.series[0].axes == axes
        np.testing.assert_array_equal(new.asarray(), values)
        before, after = described(old.ome_metadata), described(new.ome_metadata)
        assert {("Pixels", "PhysicalSizeX", "0.105"), ("Pixels", "TimeIncrement", "1.5")} <= after
        if "C" in axes:
            assert ("Channel", "Name", "GFP") in after
        # Nothing but the names of files and places of pages may differ.
        assert {item for item in before ^ after if item[0] != "TiffData"} <= {
            item for item in before if item[1] == "UUID"
        }


def described(xml: str | None) -> set[tuple[str, str, str]]:
    """Return all attributes and texts of an XML document."""
    items = set()
    for element in ElementTree.fromstring(xml or "").iter():
        name = element.tag.split("}")[-1]
        items |= {(name, key, value) for key, value in element.attrib.items()}
        items.add((name, "text", (element.text or "").strip()))
    return {item for item in items if item[0] != "UUID"}


def test_an_ome_tiff_of_another_dtype_says_so(tmp_path: Path):
    write_ome(tmp_path / "a.ome.tif", random_values((2, 20, 37), "uint16"), "CYX")
    path = copy(tmp_path / "a.ome.tif", tmp_path / "b.ome.tif", dtype=np.dtype(np.float32))
    with tifffile.TiffFile(path) as tiff:
        found = described(tiff.ome_metadata)
        assert ("Pixels", "Type", "float") in found
        assert not any(key == "SignificantBits" for _, key, _ in found)
        assert tiff.series[0].dtype == np.float32
    # OME-TIFF has no float16.
    path = copy(tmp_path / "a.ome.tif", tmp_path / "c.ome.tif", dtype=np.dtype(np.float16))
    with tifffile.TiffFile(path) as tiff:
        assert not tiff.is_ome
        assert tiff.series[0].axes == "CYX"


def test_of_a_pyramid_the_full_resolution_is_read(tmp_path: Path):
    values = random_values((2, 64, 96), "uint16")
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        options: dict[str, Any] = {"tile": (16, 16), "photometric": "minisblack"}
        writer.write(values, subifds=1, metadata={"axes": "CYX"}, **options)
        writer.write(values[:, ::2, ::2], subfiletype=1, **options)
    np.testing.assert_array_equal(values_of(tmp_path / "a.ome.tif"), values)
    with tifffile.TiffFile(copy(tmp_path / "a.ome.tif", tmp_path / "b.ome.tif")) as tiff:
        assert tiff.is_ome
        assert (tiff.series[0].axes, len(tiff.series[0].levels)) == ("CYX", 1)
        np.testing.assert_array_equal(tiff.asarray(), values)


OME = b"""<?xml version="1.0" encoding="UTF-8"?>
<!-- a comment --><o:OME xmlns:o="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:1"
  Creator='x > y'><o:Image ID="Image:0"><o:Pixels ID="Pixels:0" DimensionOrder="XYZCT"
  Type="uint8" SizeX="37" SizeY="20" SizeZ="1" SizeC="1" SizeT="2" BigEndian="true">
  <o:TiffData FirstT="0" IFD="1"><o:UUID FileName="a.ome.tif">urn:1</o:UUID></o:TiffData>
  <o:TiffData FirstT="1" IFD="0"/><o:Plane TheT="0" TheZ="0" TheC="0" DeltaT="0.5"/></o:Pixels>
  </o:Image><own:Thing xmlns:own="urn:own" UUID="stays"/></o:OME>"""


def test_ome_xml_is_changed_only_where_it_must_be():
    changed = ome_for_copy(OME, np.dtype(np.float32), 2, "<")
    assert changed is not None
    assert changed == (
        OME.replace(b'Type="uint8"', b'Type="float"')
        .replace(b'BigEndian="true"', b'BigEndian="false"')
        .replace(b' UUID="urn:1"', b"")
        .replace(
            b'<o:TiffData FirstT="0" IFD="1"><o:UUID FileName="a.ome.tif">urn:1</o:UUID>'
            b"</o:TiffData>",
            b'<o:TiffData IFD="0" PlaneCount="2"/>',
        )
        .replace(b'<o:TiffData FirstT="1" IFD="0"/>', b"")
    )
    assert ome_for_copy(OME[:-9], np.dtype(np.uint8), 2, "<") is None
    assert ome_for_copy(OME, np.dtype(np.float16), 2, "<") is None


def test_planes_that_were_never_recorded_are_black(tmp_path: Path):
    values = random_values((2, 20, 37), "uint8")
    xml = OME.replace(b'<o:TiffData FirstT="1" IFD="0"/>', b"")
    tifffile.imwrite(
        tmp_path / "a.tif",
        values,
        photometric="minisblack",
        metadata=None,
        description=xml.replace(b'FirstT="0" IFD="1"', b'FirstT="0" IFD="1" PlaneCount="1"'),
    )
    np.testing.assert_array_equal(
        values_of(tmp_path / "a.tif"), np.stack([values[1], np.zeros_like(values[0])])
    )


# --- other metadata


def test_text_tags_resolution_orientation_and_profile_are_kept(tmp_path: Path):
    values = random_values((3, 20, 37), "uint16")
    tifffile.imwrite(
        tmp_path / "a.tif",
        values,
        photometric="minisblack",
        metadata=None,
        description="a stack of ours",
        software="a microscope",
        datetime="2024:05:06 07:08:09",
        resolution=((70_000, 3), (70_000, 7)),
        resolutionunit="CENTIMETER",
        iccprofile=b"a profile",
        extratags=[(274, "H", 1, 6, True), (315, 2, 0, "an artist", True)],
    )
    with tifffile.TiffFile(copy(tmp_path / "a.tif", tmp_path / "b.tif")) as tiff:
        tags = {tag.name: tag.value for tag in tiff.pages[0].tags}
        assert tiff.series[0].axes == "IYX"
        np.testing.assert_array_equal(tiff.asarray(), values)
    assert tags["ImageDescription"] == "a stack of ours"
    assert tags["Software"] == "a microscope"
    assert tags["DateTime"] == "2024:05:06 07:08:09"
    assert tags["Artist"] == "an artist"
    assert tags["Orientation"] == 6
    assert tags["InterColorProfile"] == b"a profile"
    assert tags["ResolutionUnit"] == 3
    for name, value in (("XResolution", 70_000 / 3), ("YResolution", 10_000)):
        assert tags[name][0] / tags[name][1] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("meaning", [1, 2])
def test_the_kind_of_transparency_is_kept(tmp_path: Path, meaning: int):
    values = random_values((20, 37, 4), "uint8")
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=[meaning])
    with tifffile.TiffFile(copy(tmp_path / "a.tif", tmp_path / "b.tif")) as tiff:
        assert tuple(tiff.pages[0].extrasamples) == (meaning,)


def test_axes_may_be_given(tmp_path: Path):
    values = random_values((3, 20, 37), "uint8")
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", metadata=None)
    with tifffile.TiffFile(copy(tmp_path / "a.tif", tmp_path / "b.tif", axes="TYX")) as tiff:
        assert tiff.series[0].axes == "TYX"
    with create_image(tmp_path / "c.tif", (2, 3, 4, 5), np.uint8) as pixels:
        pixels[1] = 7
    with open_image(tmp_path / "c.tif") as image:
        assert image.axes == "QIYX"  # each letter once
        assert image.pixels[1].min() == 7
        assert image.pixels[0].max() == 0
    # In the file they are what they were.
    with tifffile.TiffFile(copy(tmp_path / "c.tif", tmp_path / "d.tif")) as tiff:
        assert tiff.series[0].axes == "QQYX"


@pytest.mark.parametrize(
    ("shape", "axes", "stored"),
    [
        ((20, 37, 3), "YXC", "YXS"),
        ((20, 37, 1), "YXC", "YX"),
        ((20, 37, 1), "YXS", "YX"),
        ((2, 1, 20, 37), "ZSYX", "ZYX"),
        ((2, 20, 37, 4), "ZYXC", "ZYXS"),
        ((2, 20, 37, 5), "ZYXC", "ZYXC"),
        ((20, 37, 6), "YXT", "YXT"),
        ((5, 20, 37), "XYZ", "XYZ"),
    ],
)
def test_unusual_axes_are_stored_as_files_know_them(tmp_path: Path, shape, axes, stored):
    values = random_values(shape, "uint8")
    with create_image(tmp_path / "a.tif", shape, np.uint8, axes=axes) as pixels:
        assert pixels.shape == shape
        pixels[...] = values
    with open_image(tmp_path / "a.tif") as image:
        assert image.axes == stored
        np.testing.assert_array_equal(np.asarray(image.pixels).reshape(shape), values)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_planar_images_and_single_planes_fit_into_other_formats(tmp_path: Path, suffix: str):
    y, x = np.mgrid[:20, :37]
    values = np.stack([3 * x, 5 * y, 200 - x], 0).astype(np.uint8)
    name = tmp_path / f"a{suffix}"
    with create_image(name, values.shape, np.uint8, axes="SYX") as pixels:
        pixels[...] = values
    found = read_image(name).pixels.astype(int)
    assert np.abs(found - np.moveaxis(values, 0, -1)).max() <= 8
    with create_image(name, (1, 20, 37), np.uint8, axes="TYX", overwrite=True) as pixels:
        pixels[0] = values[0]
    assert np.abs(read_image(name).pixels.astype(int) - values[0]).max() <= 8


def test_a_stack_of_one_plane_is_an_image(tmp_path: Path):
    values = random_values((1, 20, 37), "uint8")
    tifffile.imwrite(tmp_path / "a.tif", values, metadata={"axes": "TYX"})
    with open_image(tmp_path / "a.tif") as image:
        assert (image.axes, image.pixels.shape) == ("TYX", (1, 20, 37))
    found = read_image(tmp_path / "a.tif")
    assert (found.axes, found.pixels.shape) == ("YX", (20, 37))
    np.testing.assert_array_equal(
        read_image(write_image(tmp_path / "b.tif", found.pixels, like=found)).pixels, values[0]
    )


# --- pages that have to be converted


def colour_table() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 65536, (3, 256), np.uint16)


def test_stacks_that_grow_darker_are_inverted_page_by_page(tmp_path: Path):
    for dtype, compression in (("u1", None), ("u2", "zlib")):
        stored = random_values((3, 8, 9), dtype)
        tifffile.imwrite(
            tmp_path / "a.tif", stored, photometric="miniswhite", compression=compression
        )
        with open_image(tmp_path / "a.tif") as image:
            assert (image.pixels.shape, image.pixels.dtype) == ((3, 8, 9), dtype)
            np.testing.assert_array_equal(image.pixels[1:], np.iinfo(dtype).max - stored[1:])


@pytest.mark.parametrize("imagej", [False, True])
def test_stacks_with_a_colour_table_become_rgb(tmp_path: Path, imagej: bool):
    stored, table = random_values((3, 8, 9), "u1"), colour_table()
    tifffile.imwrite(tmp_path / "a.tif", stored, imagej=imagej, colormap=table)
    with open_image(tmp_path / "a.tif") as image:
        assert image.axes is not None
        assert image.axes.endswith("YXS")
        assert image.pixels.shape == (3, 8, 9, 3)
        expected = np.moveaxis(table[:, stored] >> 8, 0, -1)
        np.testing.assert_array_equal(image.pixels[...], expected)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_stacks_of_grey_with_alpha_become_rgba(tmp_path: Path, planar: str):
    stored = random_values((3, 8, 9, 2), "u1")
    tifffile.imwrite(
        tmp_path / "a.tif",
        stored if planar == "contig" else np.moveaxis(stored, -1, 1),
        photometric="minisblack",
        planarconfig=planar,
        extrasamples=["unassalpha"],
    )
    with open_image(tmp_path / "a.tif") as image:
        assert image.axes is not None
        assert image.axes.endswith("YXS")
        np.testing.assert_array_equal(image.pixels[...], stored[..., [0, 0, 0, 1]])


# --- bits


def packed(
    path: Path, values: np.ndarray, bits: int, photometric: str = "minisblack", **options: Any
) -> np.ndarray:
    """Write values of so many bits as they are stored, and return them."""
    tifffile.imwrite(
        path, values, bitspersample=bits, photometric=photometric, metadata=None, **options
    )
    return values


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite", "rgb"])
@pytest.mark.parametrize("bits", [2, 4, 6, 10, 12, 14])
def test_fewer_bits_have_their_own_white(tmp_path: Path, bits: int, photometric: str):
    shape = (20, 33, 3) if photometric == "rgb" else (20, 33)
    dtype, white = np.dtype("u1" if bits < 8 else "u2"), 2**bits - 1
    stored = np.random.default_rng(0).integers(0, white, shape, dtype, endpoint=True)
    packed(tmp_path / "a.tif", stored, bits, photometric)
    shown = white - stored if photometric == "miniswhite" else stored
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, shown)
    assert image.as_options()["full_scale"] == (0, white)
    # In TIFF with as many bits, else as bright as it was in as many as the format has.
    write_image(tmp_path / "b.tif", shown, like=image)
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert np.all(np.array(tiff.pages.first.bitspersample) == bits)
        np.testing.assert_array_equal(tiff.asarray(), shown)
    again = read_image(tmp_path / "b.tif")
    assert again.metadata.white == white
    write_image(tmp_path / "c.png", again.pixels, like=again)
    scaled = np.rint(shown * (np.iinfo(dtype).max / white))
    np.testing.assert_array_equal(read_image(tmp_path / "c.png").pixels, scaled)


def test_values_beyond_the_bits_are_white_and_do_not_wrap(tmp_path: Path):
    packed(tmp_path / "a.tif", np.zeros((4, 5), np.uint16), 12)
    image = read_image(tmp_path / "a.tif")
    write_image(tmp_path / "b.tif", np.full((4, 5), 5000, np.uint16), like=image)
    assert (tifffile.imread(tmp_path / "b.tif") == 4095).all()


def test_a_packed_stack_is_packed_again(tmp_path: Path):
    stored = packed(tmp_path / "a.tif", np.arange(60, dtype=np.uint16).reshape(3, 4, 5) * 60, 12)
    with (
        open_image(tmp_path / "a.tif") as image,
        create_image(tmp_path / "b.tif", image.pixels.shape, image.pixels.dtype, like=image) as new,
    ):
        new[...] = image.pixels[...]
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert tiff.pages.first.bitspersample == 12
        np.testing.assert_array_equal(tiff.asarray(), stored)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_the_greatest_sample_value_is_white(tmp_path: Path, photometric: str):
    stored = np.arange(0, 4000, 40, np.uint16).reshape(10, 10)
    tifffile.imwrite(
        tmp_path / "a.tif",
        stored,
        photometric=photometric,
        metadata=None,
        extratags=[(281, "H", 1, 4095, True)],
    )
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(
        image.pixels, stored if photometric == "minisblack" else 4095 - stored
    )
    assert image.metadata.white == 4095
    write_image(tmp_path / "b.tif", image.pixels, like=image)
    assert read_image(tmp_path / "b.tif").metadata.white == 4095


# --- several images


def two_sizes(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        for size in (16, 32):
            writer.write(np.full((size, 16), size, np.uint8), photometric="minisblack")


def test_the_largest_of_several_images_is_taken_or_the_one_that_is_asked_for(tmp_path: Path):
    two_sizes(tmp_path / "a.tif")
    image = read_image(tmp_path / "a.tif")
    assert image.pixels.shape == (32, 16)
    (note,) = image.notes
    assert "2 images: 0 (16 × 16 uint8), 1 (32 × 16 uint8); image 1 was taken" in note
    assert_sentence(note)
    small = read_image(tmp_path / "a.tif", series=0)
    assert small.pixels.shape == (16, 16)
    assert small.notes == ()
    with pytest.raises(ImageFileError, match="no image 2; it holds 2 images") as caught:
        read_image(tmp_path / "a.tif", series=2)
    assert_sentence(str(caught.value))


def test_of_ome_s_images_the_first_is_taken(tmp_path: Path):
    first, second = random_values((9, 8), "u2"), random_values((20, 30), "u1")
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        writer.write(first, photometric="minisblack", metadata={"axes": "YX"})
        writer.write(second, photometric="minisblack", metadata={"axes": "YX"})
    image = read_image(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(image.pixels, first)
    assert "image 0 was taken" in image.notes[0]
    other = read_image(tmp_path / "a.ome.tif", series=1)
    np.testing.assert_array_equal(other.pixels, second)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("samples", [2, 3, 4, 5])
def test_samples_without_a_colour_model_are_channels(tmp_path: Path, samples: int, planar: str):
    values = random_values((20, 37, samples), "u2")
    values = values if planar == "contig" else np.ascontiguousarray(np.moveaxis(values, -1, 0))
    tifffile.imwrite(
        tmp_path / "a.tif", values, photometric="minisblack", planarconfig=planar, metadata=None
    )
    with open_image(tmp_path / "a.tif") as image:
        assert image.axes is not None
        axes = Axes(image.axes, values.shape)
        assert (axes.height, axes.width, axes.plane_count) == (20, 37, samples)
        with create_image(tmp_path / "b.tif", values.shape, values.dtype, like=image) as new:
            new[...] = image.pixels[...]
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert len(tiff.pages) == 1
        assert tiff.pages.first.photometric == 1
        np.testing.assert_array_equal(tiff.asarray(), values)


# --- what is refused

Writer = Callable[[Path], object]


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (
            lambda path: tifffile.imwrite(
                path,
                np.zeros((8, 9), np.uint8),
                photometric="minisblack",
                metadata=None,
                description=OME.replace(
                    b"<o:TiffData FirstT",
                    b'<o:TiffData FirstT="0"><o:UUID FileName="a2.ome.tif">urn:2</o:UUID>'
                    b"</o:TiffData><o:TiffData FirstT",
                    1,
                ),
            ),
            "several files",
        ),
    ],
)
def test_stacks_that_cannot_be_restored_are_named(tmp_path: Path, write: Writer, says: str):
    write(tmp_path / "a.tif")
    with (
        pytest.raises(ImageFileError, match=says) as caught,
        open_image(tmp_path / "a.tif"),
    ):
        pass
    assert_sentence(str(caught.value))
    assert "a.tif" in str(caught.value)


def test_a_thumbnail_is_not_another_image(tmp_path: Path):
    values = random_values((32, 48), "uint8")
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(values, metadata=None)
        writer.write(values[::4, ::4], metadata=None, subfiletype=1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, values)


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "axes", "says"),
    [
        ("a.png", (3, 20, 37), "uint8", "ZYX", r"stack of 3 \(axes ZYX\); write TIFF"),
        ("a.jpg", (2, 20, 37, 3), "uint8", "TYXS", "stack of 2"),
        ("a.jpg", (20, 37, 4), "uint8", None, "no transparency"),
        ("a.png", (20, 37), "int16", None, "write TIFF"),
        ("a.png", (20, 37), "float16", None, "write TIFF"),
        ("a.tif", (3, 20, 37), "complex64", None, "complex64"),
        ("a.tif", (3, 20, 37), "uint8", "YX", "a capital letter for each axis"),
        ("a.tif", (20, 37, 2), "uint8", "YXS", "S"),
        ("a.tif", (20, 37), "uint8", "yx", "capital"),
        ("a.tif", (3, 0, 37), "uint8", None, "at least one pixel"),
    ],
)
def test_what_cannot_be_written_is_known_before(
    tmp_path: Path, name: str, shape, dtype: str, axes: str | None, says: str
):
    with pytest.raises(ImageFileError, match=says) as caught:
        check_writable(tmp_path / name, dtype=np.dtype(dtype), shape=shape, axes=axes)
    assert_sentence(str(caught.value))
    with (
        pytest.raises(ImageFileError, match=says),
        create_image(tmp_path / name, shape, dtype, axes=axes),
    ):
        pytest.fail("the block must not be entered")
    assert list(tmp_path.iterdir()) == []


# --- never half a file


TARGETS = [
    ("a.png", (20, 37), None),
    ("a.jpg", (20, 37), None),
    ("a.tif", (20, 37), None),
    ("a.tif", (3, 20, 37), "ZYX"),
]


@pytest.mark.parametrize(("name", "shape", "axes"), TARGETS)
@pytest.mark.parametrize("error", [ValueError("x"), OSError(5, "x"), KeyboardInterrupt()])
def test_an_error_in_the_middle_leaves_what_was_there(
    tmp_path: Path, name: str, shape, axes, error: BaseException
):
    def attempt(**options: Any) -> None:
        with (
            pytest.raises(type(error)) as caught,
            create_image(tmp_path / name, shape, np.uint8, axes=axes, **options) as pixels,
        ):
            pixels[0] = 1
            raise error
        assert caught.value is error

    attempt()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / name).write_bytes(b"old")
    attempt(overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"old"


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
@pytest.mark.parametrize("compressed", [False, True])
def test_a_disk_that_is_too_small_is_told_and_nothing_is_left(tmp_path: Path, compressed: bool):
    """With a limit on the size of files, which fails like a full disk."""
    import resource
    import signal

    shape = (1 if compressed else 2, 2000, 1000)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        with (
            pytest.raises(ImageFileError, match=r"out\.tif cannot be written: ") as caught,
            create_image(tmp_path / "out.tif", shape, np.uint8, axes="TYX") as pixels,
        ):
            pixels[-1, -1] = 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert_sentence(str(caught.value))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_at_the_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with (
        pytest.raises(ImageFileError, match=r"out\.tif cannot be written: No space"),
        create_image(tmp_path / "out.tif", (20, 37), np.uint8),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_damage_is_told_in_a_sentence_wherever_it_is_met(tmp_path: Path, options: dict[str, Any]):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, random_values((5, 200, 370), "uint8"), photometric="minisblack", metadata=None,
        **options,
    )  # fmt: skip
    with tifffile.TiffFile(path) as tiff:
        last = tiff.pages[4].dataoffsets[0]
    data = bytearray(path.read_bytes())
    if options:
        data[last : last + 1000] = bytes(1000)
        path.write_bytes(data)
        with open_image(path) as image:
            assert image.pixels[3].shape == (200, 370)
            with pytest.raises(ImageFileError, match="damaged or incomplete") as caught:
                image.pixels[4]
        assert_sentence(str(caught.value))
    path.write_bytes(data[: last + 100])
    with pytest.raises(ImageFileError, match="damaged or incomplete"):
        values_of(path)


# --- memory


def test_planes_are_read_when_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    values = random_values((50, 20, 37), "uint8")
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", compression="zlib")
    decoded = []
    original = tifffile.TiffFrame.asarray

    def counted(self: Any, *args: Any, **options: Any) -> np.ndarray:
        decoded.append(self.index)
        result: np.ndarray = original(self, *args, **options)
        return result

    monkeypatch.setattr(tifffile.TiffFrame, "asarray", counted)
    with open_image(tmp_path / "a.tif") as image:
        assert isinstance(image.pixels, PagedArray)
        assert decoded == []
        np.testing.assert_array_equal(image.pixels[7, :10], values[7, :10])
        np.testing.assert_array_equal(image.pixels[7, 10:], values[7, 10:])
        assert decoded == [7]
    tifffile.imwrite(tmp_path / "b.tif", values, photometric="minisblack")
    with open_image(tmp_path / "b.tif") as image:
        assert isinstance(image.pixels, FileArray)


@pytest.mark.parametrize("layout", ["zlib", "strips", "loose-strips", "tiles", "motorola-zlib"])
@pytest.mark.parametrize("axes", ["YX", "YXS", "ZSYX"])
def test_large_pages_are_decoded_into_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, axes: str
):
    monkeypatch.setattr(tiff_reading, "PAGE_IN_MEMORY", 100)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shape = {"YX": (20, 37), "YXS": (20, 37, 3), "ZSYX": (2, 3, 20, 37)}[axes]
    values = random_values(shape, "float32")
    tifffile.imwrite(
        tmp_path / "a.tif",
        values,
        photometric="rgb" if "S" in axes else "minisblack",
        planarconfig="separate" if axes == "ZSYX" else None,
        metadata={"axes": axes},
        **LAYOUTS[layout],
    )
    if layout != "loose-strips":
        monkeypatch.setattr(tifffile.TiffPage, "asarray", None)
    with open_image(tmp_path / "a.tif") as image:
        np.testing.assert_array_equal(image.pixels[1, 1], values[1, 1])
        np.testing.assert_array_equal(image.pixels[0], values[0])
        np.testing.assert_array_equal(image.pixels, values)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_a_full_temporary_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    tifffile.imwrite(tmp_path / "a.tif", random_values((20, 37), "uint8"), compression="zlib")
    monkeypatch.setattr(tiff_reading, "PAGE_IN_MEMORY", 100)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "."))
    monkeypatch.setattr(FileArray, "write_bytes", full)
    with (
        pytest.raises(
            ImageFileError, match=f"^{re.escape(str(tmp_path))} cannot be written: No space"
        ),
        open_image(tmp_path / "a.tif") as image,
    ):
        image.pixels[0]


@pytest.mark.skipif(sys.platform != "linux", reason="needs files with holes")
@pytest.mark.parametrize("kind", ["plain", "imagej", "ome"])
def test_stacks_larger_than_4_gb_are_copied_in_parts(tmp_path: Path, kind: str):
    """6 GB with two planes that are not holes: nobody could read it all so quickly."""
    small = random_values((5, 16, 16), "uint16")
    tifffile.imwrite(
        tmp_path / "small.tif",
        small,
        photometric="minisblack",
        imagej=kind == "imagej",
        ome=kind == "ome",
        metadata={"axes": "TYX"},
    )
    shape = (3, 32768, 32768)
    with open_image(tmp_path / "small.tif") as image:
        assert image.metadata.tiff is not None
        description = image.metadata.tiff.description or b""
        for old, new in ((b"5", b"3"), (b"16", b"32768")):
            for text in (
                b"images=%s\n",
                b"frames=%s\n",
                b'SizeT="%s"',
                b'SizeX="%s"',
                b'SizeY="%s"',
            ):
                description = description.replace(text % old, text % new)
        header = dataclasses.replace(image.metadata.tiff, shape=shape, description=description)
    like = ImageFile(
        Path(), np.broadcast_to(np.uint16(0), shape), ImageMetadata(tiff=header), "TYX"
    )
    with create_image(tmp_path / "a.tif", shape, np.uint16, like=like) as pixels:
        pixels[2, 32767, 5:9] = 1234
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_bigtiff == (kind != "imagej")
        assert (tiff.is_imagej, tiff.is_ome) == (kind == "imagej", kind == "ome")
        assert (tiff.series[0].axes, tiff.series[0].shape) == ("TYX", shape)
    with open_image(tmp_path / "a.tif") as image:
        np.testing.assert_array_equal(image.pixels[2, 32767, :10], [0] * 5 + [1234] * 4 + [0])
        with create_image(tmp_path / "b.tif", shape, np.uint16, like=image) as pixels:
            pixels[2, -1] = image.pixels[2, -1]
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        memory = tiff.series[0].asarray(out="memmap")
        assert memory[2, -1, 5] == 1234
    # A copy of it that was broken off.
    with (tmp_path / "b.tif").open("r+b") as file:
        file.truncate(4_500_000_000)
    with (
        pytest.raises(ImageFileError, match="the file ends"),
        open_image(tmp_path / "b.tif"),
    ):
        pass


MEASURE = """
import resource, sys
import numpy as np
from napari_darkdeblur.imagefiles import create_image, open_image
source, target = sys.argv[1:]
limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open_image(source) as image:
    pixels = image.pixels
    with create_image(target, pixels.shape, pixels.dtype, like=image) as out:
        for row in range(0, pixels.shape[0], 256):
            out[row : row + 256] = pixels[row : row + 256]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - limit) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures in kilobytes")
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_large_image_is_never_in_memory(tmp_path: Path, compression: str | None):
    """192 MB; both files and all buffers together must stay far below that."""
    values = np.zeros((4096, 4096, 3), np.float32)
    values[::64] = 1
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", compression=compression)
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path / "a.tif", tmp_path / "b.tif"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(run.stdout) < 100
    assert read_image(tmp_path / "b.tif").pixels.sum() == values.sum()
