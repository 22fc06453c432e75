"""Images of a run are found, held out and divided into batches."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch.utils.data import DataLoader

from darkdeblur_trainer.batches import PatchDataset, batches, ignore_signals, load_images
from darkdeblur_trainer.config_files import parse_config
from darkdeblur_trainer.data import CropSampler, DataError
from darkdeblur_trainer.distributed import ProcessGroup

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
    with pytest.raises(DataError, match=r"differs in size: blurred 20 x 20, sharp 20 x 21"):
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
        Image.fromarray(np.full((100, 120, 3), 100 + place, np.uint8)).save(
            tmp_path / name / "1.png"
        )
    return tmp_path


def test_validation_pairs_come_from_their_own_blurred_folder(four_folders):
    data = {"layout": "folders", "blurred": str(four_folders / "train_blurred")}
    validation = {**TINY["validation"], "blurred": str(four_folders / "test_blurred")}
    config = parse_config({**TINY, "data": data, "validation": validation})
    images = load_images(
        config,
        four_folders / "train_sharp",
        four_folders / "cache",
        validation_data=four_folders / "test_sharp",
    )
    trained, validated = (
        [int(cache.pixels.unique()) for cache in caches]
        for caches in (images.caches, images.held_out)
    )
    assert trained == [101, 100]
    assert validated == [103, 102]


def test_a_missing_blurred_folder_is_named(four_folders):
    data = {"layout": "folders", "blurred": str(four_folders / "nowhere")}
    config = parse_config({**TINY, "data": data})
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        load_images(config, four_folders / "test_sharp", four_folders / "cache")


def test_pairs_that_cannot_be_used_are_named_and_left_out(tmp_path):
    files = {"good": 40, "broken": 40, "narrow": 41, "alone": 40, "last": 40}
    for name, width in files.items():
        for kind in ("blur", "sharp"):
            folder = tmp_path / "data" / "seq" / kind
            folder.mkdir(parents=True, exist_ok=True)
            shift = kind == "blur" and name == "narrow"
            Image.fromarray(scene(40, width + shift, 0)).save(folder / f"{name}.png")
    (tmp_path / "data/seq/blur/broken.png").write_bytes(b"not an image")
    (tmp_path / "data/seq/blur/alone.png").unlink()
    config = parse_config({**TINY, "data": {"layout": "gopro", "every": 1}})
    images = load_images(config, tmp_path / "data", tmp_path / "cache")
    assert [cache.names for cache in images.caches] == [("good.png", "last.png")] * 2
    blurred, sharp = images.caches
    assert torch.equal(blurred.image(1), sharp.image(1))
    text = "\n".join(images.describe())
    assert "4 images are left out" in text
    assert "alone.png: it has no partner" in text
    assert "blur/broken.png: " in text
    assert "sharp/broken.png: its partner broken.png cannot be used" in text
    assert "narrow.png: the pair differs in size: blurred 40 x 42, sharp 40 x 41" in text


def test_blurred_and_sharp_images_have_one_value_range(tmp_path):
    frame = scene(40, 50, 0)[:, :, 0].astype(np.uint16) * 15
    for kind, factor in (("blur", 0.4), ("sharp", 1.0)):
        folder = tmp_path / "data" / "seq" / kind
        folder.mkdir(parents=True)
        tifffile.imwrite(folder / "1.tif", (frame * factor).astype(np.uint16))
    config = parse_config({**TINY, "data": {"layout": "gopro", "every": 1}})
    images = load_images(config, tmp_path / "data", tmp_path / "cache")
    blurred, sharp = (cache.image(0) for cache in images.caches)
    np.testing.assert_allclose(sharp[0].numpy(), frame / 4095, atol=1e-6)
    assert float(blurred.mean() / sharp.mean()) == pytest.approx(0.4, abs=0.01)
    assert "0 is black and 4095 white" in images.describe()[0]
    pairs = batches(config, images, None, ProcessGroup.single(torch.device("cpu")))
    inputs, targets = next(pairs)
    assert float(inputs.mean() / targets.mean()) == pytest.approx(0.4, abs=0.02)
