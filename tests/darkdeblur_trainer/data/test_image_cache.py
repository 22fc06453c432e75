"""The cache holds the pixels of every file, and is made once."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from darkdeblur_trainer.data import DataError, cache_images, find_images
from darkdeblur_trainer.data.image_cache import as_rgb8

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
    (made,) = caches.glob("*.u8")
    stamp = made.stat().st_mtime_ns
    cache_images(find_images(folder), caches)
    assert made.stat().st_mtime_ns == stamp
    Image.fromarray(scene(20, 30, 1)).save(folder / "a.png")
    os.utime(folder / "a.png", ns=(stamp + 10**9, stamp + 10**9))
    second = cache_images(find_images(folder), caches)
    assert not torch.equal(first.pixels, second.pixels)


def test_a_broken_image_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"broken\.png cannot be used for training"):
        cache_images(find_images(tmp_path), tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.json"))


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.array([[0, 255]], np.uint8), [0, 255]),
        (np.array([[0, 128, 129, 65535]], np.uint16), [0, 0, 1, 255]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[[7, 200]]], np.uint8), [7]),  # grey with alpha
    ],
)
def test_other_types_become_rgb_bytes(pixels, expected):
    rgb = as_rgb8(pixels)
    assert rgb.dtype == np.uint8
    assert rgb.shape[2] == 3
    assert rgb[0, :, 0].tolist() == rgb[0, :, 2].tolist() == expected


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4), bool), np.full((4, 4), 2.0), np.full((4, 4), np.nan), np.zeros((0, 4))],
)
def test_what_has_no_meaning_as_an_image_is_refused(pixels):
    with pytest.raises(ValueError, match=r"."):
        as_rgb8(pixels)


def test_a_damaged_cache_is_made_again(photographs, tmp_path):
    files = find_images(photographs)
    first = cache_images(files, tmp_path)
    pixels = first.pixels.clone()
    (bytes_file,) = tmp_path.glob("*.u8")
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


@pytest.mark.parametrize(
    ("name", "write", "pixels", "expected"),
    [
        ("rgb.tif", tifffile.imwrite, SCENE, SCENE),
        ("grey.tiff", tifffile.imwrite, GREY, GREY),
        ("rgb16.tif", tifffile.imwrite, SCENE.astype(np.uint16) * 257, SCENE),
        ("grey16.TIF", tifffile.imwrite, GREY.astype(np.uint16) * 257, GREY),
        ("float.tif", tifffile.imwrite, GREY.astype(np.float32) / 255, GREY),
        ("grey16.png", _png, GREY.astype(np.uint16) * 257, GREY),
        ("alpha.png", _png, np.dstack([SCENE, GREY]), SCENE),
    ],
)
def test_a_lossless_file_reaches_the_cache_as_rgb_bytes(name, write, pixels, expected, tmp_path):
    write(tmp_path / name, pixels)
    cache = cache_images(find_images(tmp_path), tmp_path / "cache")
    assert cache.names == (name,)
    found = cache.image(0).permute(1, 2, 0).numpy()
    assert np.array_equal(found, np.broadcast_to(expected.reshape(60, 90, -1), (60, 90, 3)))


@pytest.mark.parametrize(("name", "pixels"), [("rgb.jpg", SCENE), ("grey.JPEG", GREY)])
def test_a_jpeg_reaches_the_cache_as_other_programs_show_it(name, pixels, tmp_path):
    Image.fromarray(pixels).save(tmp_path / name, quality=90)
    cache = cache_images(find_images(tmp_path), tmp_path / "cache")
    found = cache.image(0).permute(1, 2, 0).numpy().astype(int)
    shown = np.asarray(Image.open(tmp_path / name).convert("RGB")).astype(int)
    # Decoders may round differently.
    assert np.abs(found - shown).max() <= 2


def test_files_of_all_kinds_lie_in_one_cache(tmp_path):
    Image.fromarray(SCENE).save(tmp_path / "a.jpg", quality=95)
    tifffile.imwrite(tmp_path / "b.tif", GREY.astype(np.uint16) * 257)
    _png(tmp_path / "c.png", SCENE[:40])
    cache = cache_images(find_images(tmp_path), tmp_path / "cache")
    assert [tuple(cache.image(place).shape) for place in range(3)] == [
        (3, 60, 90),
        (3, 60, 90),
        (3, 40, 90),
    ]
    assert np.array_equal(cache.image(1)[2].numpy(), GREY)
    assert np.array_equal(cache.image(2).permute(1, 2, 0).numpy(), SCENE[:40])
