"""Cached images and the crops cut from them."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from darkdeblur_trainer.config_files import parse_config
from darkdeblur_trainer.data import CropSampler, DataError, ImageCache, cache_images, find_images
from darkdeblur_trainer.data.image_cache import as_rgb8
from darkdeblur_trainer.feed import _Crops, _leave_signals_to_the_trainer, load_images

from .conftest import TINY, scene


def _cache(images: list[np.ndarray]) -> ImageCache:
    sizes = torch.tensor([image.shape[:2] for image in images])
    counts = [image.size for image in images]
    return ImageCache(
        torch.from_numpy(np.concatenate([image.ravel() for image in images])),
        sizes[:, 0],
        sizes[:, 1],
        torch.tensor([0, *counts[:-1]]).cumsum(0),
        tuple(str(place) for place in range(len(images))),
    )


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


def test_a_crop_is_a_flipped_or_turned_part_of_its_image():
    image = scene(60, 80, 0)
    crops = CropSampler((_cache([image]),), 24, seed=0)(range(40))[0]
    windows = np.lib.stride_tricks.sliding_window_view(image, (24, 24), axis=(0, 1))
    windows = windows.reshape(-1, 3, 24, 24)
    kinds = set()
    for crop in crops.numpy():
        for turn in (False, True):
            for flips in ((), (1,), (2,), (1, 2)):
                kind = np.flip(crop.transpose(0, 2, 1) if turn else crop, flips)
                if (windows == kind).all(axis=(1, 2, 3)).any():
                    kinds.add((turn, flips))
                    break
            else:
                continue
            break
        else:
            pytest.fail("a crop is nowhere in the image")
    assert len(kinds) == 8


def test_larger_images_are_chosen_more_often():
    black, white = np.zeros((40, 40, 3), np.uint8), np.full((40, 120, 3), 255, np.uint8)
    crops = CropSampler((_cache([black, white]),), 8, seed=0)(range(2000))[0]
    share = float((crops[:, 0, 0, 0] == 255).float().mean())
    assert share == pytest.approx(0.75, abs=0.05)


def test_an_image_smaller_than_the_crop_is_mirrored():
    image = np.arange(2 * 3, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2)
    crop = CropSampler((_cache([image]),), 12, seed=1)([0])[0][0, 0]
    assert crop.shape == (12, 12)
    assert set(crop.unique().tolist()) <= set(range(6))
    # Mirroring repeats the border: neighbours never jump over a pixel of the image.
    # Those in a row of the image differ by 1, those in a column by 3; the crop may be turned.
    steps = [int(crop.int().diff(dim=dim).abs().max()) for dim in (0, 1)]
    assert sorted(steps) == [1, 3]


def test_both_images_of_a_pair_are_cut_at_the_same_place():
    sharp = scene(60, 80, 0)
    crops = CropSampler((_cache([255 - sharp]), _cache([sharp])), 24, seed=3)
    blurred, same = crops(range(10))
    assert torch.equal(255 - blurred, same)


@pytest.mark.parametrize("start", multiprocessing.get_all_start_methods())
def test_loader_workers_do_not_change_the_crops(photographs, tmp_path, start):
    config = parse_config(TINY)
    images = load_images(config, photographs, tmp_path)
    dataset = _Crops(CropSampler(images.caches, 100, seed=0), 3, range(3))
    here = list(DataLoader(dataset, batch_size=None, sampler=range(2, 8)))
    there = list(
        DataLoader(
            dataset,
            batch_size=None,
            sampler=range(2, 8),
            num_workers=2,
            multiprocessing_context=start,
            worker_init_fn=_leave_signals_to_the_trainer,
        )
    )
    for (crops,), (same_crops,) in zip(here, there, strict=True):
        assert torch.equal(crops, same_crops)


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


def test_pairs_of_different_size_are_refused(tmp_path):
    for kind, width in (("blur", 20), ("sharp", 21)):
        folder = tmp_path / "data" / "seq" / kind
        folder.mkdir(parents=True)
        Image.fromarray(scene(20, width, 0)).save(folder / "1.png")
    config = parse_config({**TINY, "data": {"layout": "gopro"}})
    with pytest.raises(DataError, match="differs in size: blurred 20 x 20, sharp 20 x 21"):
        load_images(config, tmp_path / "data", tmp_path / "cache")


def test_the_split_list_holds_images_out(photographs, tmp_path):
    listing = tmp_path / "train.txt"
    listing.write_text("scene_0.png\nscene_2.png\n")
    config = parse_config({**TINY, "data": {"split": str(listing)}})
    images = load_images(config, photographs, tmp_path)
    assert images.caches[0].names == ("scene_0.png", "scene_2.png")
    assert images.held_out[0].names == ("scene_1.png",)


def test_the_default_cache_is_in_the_users_cache_folder(monkeypatch, tmp_path):
    from darkdeblur_trainer.data import default_cache_folder

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == Path(tmp_path) / "darkdeblur" / "images"
