"""The cache holds the pixels of every file, and is made once."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from darkdeblur_trainer.data import (
    CropSampler,
    DataError,
    ImageCache,
    cache_images,
    common_value_ranges,
    find_images,
)
from darkdeblur_trainer.data.image_cache import as_stored

from ..conftest import scene

SCENE = scene(60, 90, 0)


GREY = SCENE[:, :, 0]


def _png(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def test_the_cache_holds_every_pixel(photographs, tmp_path):
    files = find_images(photographs)
    cache = cache_images(files, tmp_path)
    for place, file in enumerate(files):
        expected = np.asarray(Image.open(file))
        assert np.array_equal(cache.image(place).permute(1, 2, 0).numpy(), expected)


def test_the_cache_is_made_once_and_again_when_an_image_changes(tmp_path):
    folder, caches = tmp_path / "images", tmp_path / "cache"
    folder.mkdir()
    Image.fromarray(scene(20, 30, 0)).save(folder / "a.png")
    first = cache_images(find_images(folder), caches)
    (made,) = caches.glob("*.pixels")
    stamp = made.stat().st_mtime_ns
    cache_images(find_images(folder), caches)
    assert made.stat().st_mtime_ns == stamp
    Image.fromarray(scene(20, 30, 1)).save(folder / "a.png")
    os.utime(folder / "a.png", ns=(stamp + 10**9, stamp + 10**9))
    second = cache_images(find_images(folder), caches)
    assert not torch.equal(first.pixels, second.pixels)


def test_a_damaged_cache_is_made_again(photographs, tmp_path):
    files = find_images(photographs)
    first = cache_images(files, tmp_path)
    pixels = first.pixels.clone()
    (bytes_file,) = tmp_path.glob("*.pixels")
    for damage in (b"", b"{", b'{"sizes": 3}'):
        bytes_file.with_suffix(".json").write_bytes(damage)
        assert torch.equal(cache_images(files, tmp_path).pixels, pixels)
    content = bytes_file.read_bytes()
    bytes_file.unlink()
    bytes_file.write_bytes(content[:100])
    again = cache_images(files, tmp_path)
    assert torch.equal(again.pixels, pixels)
    assert again.sha256 == first.sha256


def test_the_default_cache_is_in_the_users_cache_folder(monkeypatch, tmp_path):
    from darkdeblur_trainer.data import default_cache_folder

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == Path(tmp_path) / "darkdeblur" / "images"


@pytest.mark.parametrize(("name", "pixels"), [("rgb.jpg", SCENE), ("grey.JPEG", GREY)])
def test_a_jpeg_reaches_the_cache_as_other_programs_show_it(name, pixels, tmp_path):
    Image.fromarray(pixels).save(tmp_path / name, quality=90)
    cache = cache_images(find_images(tmp_path), tmp_path / "cache")
    found = cache.image(0).permute(1, 2, 0).numpy().astype(int)
    shown = np.asarray(Image.open(tmp_path / name).convert("RGB")).astype(int)
    # Decoders may round differently.
    assert np.abs(found - shown).max() <= 2


def cached(folder: Path, given: tuple[float, float] | None = None) -> ImageCache:
    """Return the images of a folder in their common value range."""
    cache = cache_images(find_images(folder), folder / "cache", value_range=given)
    return replace(cache, value_ranges=common_value_ranges([cache], given))


@pytest.mark.parametrize(
    ("name", "write", "pixels", "expected"),
    [
        ("rgb.tif", tifffile.imwrite, SCENE, SCENE / 255),
        ("grey.tiff", tifffile.imwrite, GREY, GREY / 255),
        ("rgb16.tif", tifffile.imwrite, SCENE.astype(np.uint16) * 257, SCENE / 255),
        ("grey16.TIF", tifffile.imwrite, GREY.astype(np.uint16) * 257, GREY / 255),
        (
            "twelve.tif",
            tifffile.imwrite,
            GREY.astype(np.uint16) * 16 + 15,
            (GREY * 16.0 + 15) / 4095,
        ),
        ("float.tif", tifffile.imwrite, GREY.astype(np.float32) / 255, GREY / 255),
        ("grey16.png", _png, GREY.astype(np.uint16) * 257, GREY / 255),
        ("alpha.png", _png, np.dstack([SCENE, GREY]), SCENE / 255),
    ],
)
def test_a_lossless_file_reaches_the_cache_as_rgb(name, write, pixels, expected, tmp_path):
    write(tmp_path / name, pixels)
    cache = cached(tmp_path)
    assert cache.names == (name,)
    image = cache.image(0)
    found = image.permute(1, 2, 0).numpy() / (255 if image.dtype == torch.uint8 else 1)
    wanted = np.broadcast_to(expected.reshape(60, 90, -1), (60, 90, 3))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_files_of_all_kinds_lie_in_one_cache(tmp_path):
    _png(tmp_path / "a.png", SCENE[:40])
    tifffile.imwrite(tmp_path / "b.tif", GREY.astype(np.uint16) * 16)
    tifffile.imwrite(tmp_path / "c.tif", GREY.astype(np.float32) / 255)
    _png(tmp_path / "d.png", SCENE)
    cache = cached(tmp_path)
    assert cache.kinds == [8, 16, 32]
    assert [tuple(cache.image(place).shape) for place in range(4)] == [
        (3, 40, 90), (3, 60, 90), (3, 60, 90), (3, 60, 90),
    ]  # fmt: skip
    for place, expected in (
        (0, SCENE[:40, :, 1] / 255),
        (1, GREY * 16.0 / 4095),
        (3, SCENE[:, :, 1] / 255),
    ):
        np.testing.assert_allclose(cache.image(place)[1].numpy(), expected, atol=1e-6)
    # Crops are cut from all of them in the same range.
    crops = CropSampler((cache,), 30, seed=0)(range(40))[0]
    assert crops.dtype == torch.float32
    assert float(crops.max()) == pytest.approx(SCENE.max() / 255, abs=0.01)


def cell(seed: int, side: int = 120) -> np.ndarray:
    """Return a grey frame of a 12-bit camera, (side, side) uint16 of 300 to 2600."""
    values = scene(side, side, seed)[:, :, 0].astype(float)
    return np.rint(300 + (values - values.min()) / np.ptp(values) * 2300).astype(np.uint16)


def test_a_12_bit_camera_keeps_its_levels(tmp_path):
    frame = cell(0)
    tifffile.imwrite(tmp_path / "cell.tif", frame)
    cache = cached(tmp_path)
    assert cache.value_ranges[16] == (0.0, 4095.0)
    found = cache.image(0)[0].numpy()
    assert len(np.unique(found)) == len(np.unique(frame)) > 100
    np.testing.assert_allclose(found, frame / 4095, atol=1e-6)
    (crop,) = CropSampler((cache,), 120, seed=0)([0])
    assert set(np.unique(crop[0, 0])) == set(np.unique(found))


def test_hot_pixels_do_not_spend_the_range(tmp_path):
    frame = cell(0)
    frame[3, 5] = 65535
    tifffile.imwrite(tmp_path / "hot.tif", frame)
    cache = cached(tmp_path)
    assert cache.value_ranges[16] == (0.0, 4095.0)
    assert float(cache.image(0).max()) == 1


def test_a_range_that_is_given_is_taken(tmp_path):
    tifffile.imwrite(tmp_path / "cell.tif", cell(0))
    cache = cached(tmp_path, (300, 2600))
    found = cache.image(0)
    assert (float(found.min()), float(found.max())) == (0, 1)
    _png(tmp_path / "photo.png", SCENE)
    with pytest.raises(DataError, match="8-bit and 16-bit images together"):
        cached(tmp_path, (300, 2600))


def test_floats_beyond_their_range_need_a_range_that_is_given(tmp_path):
    tifffile.imwrite(tmp_path / "counts.tif", GREY.astype(np.float32) * 4)
    with pytest.raises(DataError, match=r"counts\.tif.*beyond 0\.\.1; give data\.value_range"):
        cached(tmp_path)
    found = cached(tmp_path, (0, 1020)).image(0)[0].numpy()
    np.testing.assert_allclose(found, GREY / 255, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_almost_black_images_are_an_error_that_says_what_to_do(tmp_path, dtype):
    dim = (GREY // 32).astype(dtype) / (255 if dtype == np.float32 else 1)
    tifffile.imwrite(tmp_path / "dim.tif", dim.astype(dtype))
    with pytest.raises(DataError, match=r"almost black: 99\.99 % .*give data\.value_range="):
        cached(tmp_path)
    assert float(cached(tmp_path, (0, float(dim.max()))).image(0).max()) == 1


def test_all_files_that_cannot_be_used_are_named_and_left_out(tmp_path):
    for name in ("a.png", "c.png"):
        _png(tmp_path / name, SCENE)
    (tmp_path / "b.png").write_bytes(b"not an image")
    (tmp_path / "d.png").symlink_to(tmp_path / "nowhere.png")
    for _ in range(2):  # also when the cache is there
        cache = cached(tmp_path)
        assert cache.names == ("a.png", "c.png")
        assert [Path(path).name for path in cache.left_out] == ["b.png", "d.png"]
        assert np.array_equal(cache.image(1).permute(1, 2, 0).numpy(), SCENE)
    for name in ("a.png", "c.png"):
        (tmp_path / name).unlink()
    with pytest.raises(
        DataError, match=r"None of the images can be used.*\n.*b\.png: .*\n.*d\.png"
    ):
        cached(tmp_path)


def test_a_cache_in_another_process_has_the_same_images(tmp_path):
    for seed, name in enumerate(("a.tif", "b.tif", "c.tif")):
        tifffile.imwrite(tmp_path / name, cell(seed))
    cache = cached(tmp_path).select([2, 0])
    there = pickle.loads(pickle.dumps(cache))
    assert there.names == cache.names == ("c.tif", "a.tif")
    for place in range(2):
        assert torch.equal(there.image(place), cache.image(place))


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4), bool), np.full((4, 4), 2.0), np.full((4, 4), np.nan), np.zeros((0, 4))],
)
def test_what_has_no_meaning_as_an_image_is_refused(pixels):
    with pytest.raises(ValueError, match=r"."):
        as_stored(pixels)
