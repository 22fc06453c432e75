"""Image files of every kind that may be trained on, from the file to the run's images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from darkdeblur_trainer.config_files import parse_config
from darkdeblur_trainer.data import DataError, cache_images, find_images
from darkdeblur_trainer.feed import load_images

from .conftest import TINY, scene

SCENE = scene(60, 90, 0)
GREY = SCENE[:, :, 0]


def _png(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


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


@pytest.fixture
def four_folders(tmp_path):
    """Return a folder of blurred and sharp images for training and validation, all different."""
    for place, name in enumerate(("train_sharp", "train_blurred", "test_sharp", "test_blurred")):
        (tmp_path / name).mkdir()
        _png(tmp_path / name / "1.png", np.full((100, 120, 3), place, np.uint8))
    return tmp_path


def test_validation_pairs_come_from_their_own_blurred_folder(four_folders):
    data = {"layout": "folders", "blurred": str(four_folders / "train_blurred")}
    config = parse_config({**TINY, "data": data})
    cache = four_folders / "cache"
    trained = load_images(config, four_folders / "train_sharp", cache)
    validated = load_images(
        config, four_folders / "test_sharp", cache, blurred=four_folders / "test_blurred"
    )
    assert [int(images.pixels.unique()) for images in trained.caches] == [1, 0]
    assert [int(images.pixels.unique()) for images in validated.caches] == [3, 2]


def test_a_missing_blurred_folder_is_named(four_folders):
    data = {"layout": "folders", "blurred": str(four_folders / "train_blurred")}
    config = parse_config({**TINY, "data": data})
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        load_images(
            config,
            four_folders / "test_sharp",
            four_folders / "cache",
            blurred=four_folders / "nowhere",
        )
