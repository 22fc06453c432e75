"""Zarr folders come back as what they were, with all levels of resolution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from napari_darkdeblur.imagefiles import (
    ImageFileError,
    create_image,
    is_zarr,
    open_image,
    read_image,
    write_image,
)

from ..conftest import assert_sentence

RNG = np.random.default_rng(0)
SCALE = [1.0, 1.0, 0.5, 0.1, 0.1]


def multiscale(axes: str, levels: int) -> dict[str, Any]:
    return {
        "name": "img",
        "axes": [{"name": axis, "type": "space" if axis in "zyx" else "other"} for axis in axes],
        "datasets": [
            {
                "path": str(level),
                "coordinateTransformations": [{"type": "scale", "scale": SCALE[-len(axes) :]}],
            }
            for level in range(levels)
        ],
    }


def ome_zarr(path: Path, values: np.ndarray, axes: str, version: str, levels: int = 2) -> Path:
    zarr_format = 2 if version == "0.4" else 3
    group = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    for level in range(levels):
        part = values[..., :: 2**level, :: 2**level]
        chunks = (*(1,) * (part.ndim - 2), 16, 16)
        array = group.create_array(str(level), shape=part.shape, dtype=part.dtype, chunks=chunks)
        array[...] = part
    said = {"version": version, "multiscales": [multiscale(axes, levels)], "omero": {"id": 1}}
    if version == "0.4":
        said["multiscales"][0]["version"] = "0.4"
        group.attrs.update(said)
    else:
        group.attrs["ome"] = said
    return path


def copied(source: Path, target: Path) -> None:
    with (
        open_image(source) as image,
        create_image(target, image.pixels.shape, image.pixels.dtype, like=image) as output,
    ):
        output[...] = image.pixels[...]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_ome_zarr_image_stays_one(tmp_path: Path, version: str):
    values = RNG.integers(0, 4096, (2, 1, 3, 41, 50), np.uint16)
    source = ome_zarr(tmp_path / "a.ome.zarr", values, "tczyx", version)
    with open_image(source) as image:
        assert image.axes == "TCZYX"
        np.testing.assert_array_equal(image.pixels[1, :, :, 3:9], values[1, :, :, 3:9])
    copied(source, tmp_path / "b.ome.zarr")
    old, new = zarr.open_group(str(source), mode="r"), zarr.open_group(str(tmp_path / "b.ome.zarr"))
    assert dict(new.attrs) == dict(old.attrs)
    assert new.metadata.zarr_format == old.metadata.zarr_format
    np.testing.assert_array_equal(new["0"][...], values)
    assert new["0"].chunks == old["0"].chunks
    assert new["1"].shape == old["1"].shape
    # The coarser level is the average of the finer one, 4 pixels at a time.
    averages = values[..., :40, :].reshape(2, 1, 3, 20, 2, 25, 2).mean(axis=(4, 6))
    np.testing.assert_allclose(new["1"][..., :20, :], averages, atol=0.51)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_plain_array_stays_one(tmp_path: Path, zarr_format: int):
    values = RNG.random((3, 20, 30)).astype(np.float32)
    names = ("t", "y", "x") if zarr_format == 3 else None
    array = zarr.create_array(
        str(tmp_path / "a.zarr"),
        shape=values.shape,
        dtype="f4",
        zarr_format=zarr_format,
        dimension_names=names,
    )
    array[...] = values
    with open_image(tmp_path / "a.zarr") as image:
        assert image.axes == ("TYX" if zarr_format == 3 else None)
    copied(tmp_path / "a.zarr", tmp_path / "b.zarr")
    new = zarr.open_array(str(tmp_path / "b.zarr"), mode="r")
    assert new.metadata.zarr_format == zarr_format
    np.testing.assert_array_equal(new[...], values)


def test_an_imagej_stack_becomes_ome_zarr_with_its_pixel_sizes(tmp_path: Path):
    values = RNG.integers(0, 255, (4, 20, 30), np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif",
        values,
        imagej=True,
        resolution=(10.0, 5.0),
        metadata={"axes": "ZYX", "unit": "um", "spacing": 0.3},
    )
    copied(tmp_path / "a.tif", tmp_path / "a.ome.zarr")
    group = zarr.open_group(str(tmp_path / "a.ome.zarr"), mode="r")
    (said,) = group.attrs["ome"]["multiscales"]
    assert [axis["name"] for axis in said["axes"]] == ["z", "y", "x"]
    assert {axis["unit"] for axis in said["axes"]} == {"micrometer"}
    (transform,) = said["datasets"][0]["coordinateTransformations"]
    assert transform["scale"] == pytest.approx([0.3, 0.2, 0.1])
    copied(tmp_path / "a.ome.zarr", tmp_path / "b.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), values)


def test_a_photograph_becomes_a_plain_array(tmp_path: Path):
    photograph = RNG.integers(0, 255, (20, 30, 3), np.uint8)
    write_image(tmp_path / "a.zarr", photograph)
    array = zarr.open_array(str(tmp_path / "a.zarr"), mode="r")
    assert array.metadata.dimension_names == ("y", "x", "s")
    np.testing.assert_array_equal(read_image(tmp_path / "a.zarr").pixels, photograph)


def test_of_a_collection_the_first_image_is_taken_and_that_is_said(tmp_path: Path):
    zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    for number, size in enumerate((20, 40)):
        values = np.full((size, size), number, np.uint8)
        ome_zarr(tmp_path / "a.zarr" / str(number), values, "yx", "0.4", 1)
    image = read_image(tmp_path / "a.zarr")
    assert image.pixels.shape == (20, 20)
    assert "2 images: 0 (20 × 20 uint8), 1 (40 × 40 uint8); image 0 was taken" in image.notes[0]
    assert read_image(tmp_path / "a.zarr", series=1).pixels.shape == (40, 40)


@pytest.mark.parametrize("attributes", [{}, {"plate": {}}])
def test_a_folder_without_an_image_is_refused(tmp_path: Path, attributes: dict[str, Any]):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group.attrs.update(attributes)
    with pytest.raises(ImageFileError, match="plate" if attributes else "without") as caught:
        read_image(tmp_path / "a.zarr")
    assert_sentence(str(caught.value))


def test_there_is_never_half_of_one_and_old_ones_are_replaced_only_when_asked(tmp_path: Path):
    target = tmp_path / "a.zarr"
    old = RNG.integers(0, 255, (3, 20, 30), np.uint8)
    write = {"shape": old.shape, "dtype": np.uint8, "axes": "ZYX"}
    with create_image(target, **write) as output:
        assert not is_zarr(target)
        output[...] = old
    with pytest.raises(FileExistsError), create_image(target, **write):
        pass
    with (
        pytest.raises(RuntimeError),
        create_image(target, **write, overwrite=True) as output,
    ):
        output[0] = 0
        raise RuntimeError
    np.testing.assert_array_equal(zarr.open_group(str(target))["0"][...], old)
    with create_image(target, **write, overwrite=True) as output:
        output[...] = old + 1
    np.testing.assert_array_equal(zarr.open_group(str(target))["0"][...], old + 1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
