"""Images of a run are found, held out and divided into batches."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from darkdeblur_trainer.batches import PatchDataset, ignore_signals, load_images
from darkdeblur_trainer.config_files import parse_config
from darkdeblur_trainer.data import CropSampler, DataError

from .conftest import TINY, scene


# torch's advice on a machine, or in a container, of one core.
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("start", multiprocessing.get_all_start_methods())
def test_loader_workers_do_not_change_the_crops(photographs, tmp_path, start):
    config = parse_config(TINY)
    images = load_images(config, photographs, tmp_path)
    dataset = PatchDataset(CropSampler(images.caches, 100, seed=0), 3, range(3))
    here = list(DataLoader(dataset, batch_size=None, sampler=range(2, 8)))
    there = list(
        DataLoader(
            dataset,
            batch_size=None,
            sampler=range(2, 8),
            num_workers=2,
            multiprocessing_context=start,
            worker_init_fn=ignore_signals,
        )
    )
    for (crops,), (same_crops,) in zip(here, there, strict=True):
        assert torch.equal(crops, same_crops)


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


@pytest.fixture
def four_folders(tmp_path):
    """Return a folder of blurred and sharp images for training and validation, all different."""
    for place, name in enumerate(("train_sharp", "train_blurred", "test_sharp", "test_blurred")):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((100, 120, 3), place, np.uint8)).save(tmp_path / name / "1.png")
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
