"""Crops are parts of the images, the same for the same sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from darkdeblur_trainer.data import CropSampler, ImageCache

from ..conftest import scene


def _cache(images: list[np.ndarray]) -> ImageCache:
    sizes = torch.tensor([image.shape[:2] for image in images])
    counts = [image.size for image in images]
    return ImageCache(
        torch.from_numpy(np.concatenate([image.ravel() for image in images])),
        sizes[:, 0],
        sizes[:, 1],
        torch.tensor([0, *counts[:-1]]).cumsum(0),
        torch.full((len(images),), 8),
        tuple(str(place) for place in range(len(images))),
    )


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
