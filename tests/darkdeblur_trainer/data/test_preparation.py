"""Data sets of the paper are checked, counted and divided."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkdeblur_trainer.batches import load_images
from darkdeblur_trainer.cli import main
from darkdeblur_trainer.config_files import parse_config
from darkdeblur_trainer.data.preparation import PATCH, prepare_dataset
from napari_darkdeblur.datasets import DataError

from ..conftest import TINY, scene


def write(path: Path, height: int = 40, width: int = 50) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene(height, width, 1)).save(path)


def read_list(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


@pytest.fixture
def exdark(tmp_path) -> Path:
    root = tmp_path / "ExDark"
    for number in range(13):
        write(root / ("Bicycle", "Dog")[number % 2] / f"2015_{number:05}.jpg")
    return root


def test_exdark_is_divided_by_seed_as_the_paper_did(exdark, tmp_path):
    prepared = prepare_dataset("exdark", exdark, tmp_path / "lists", seed=1)
    # 6800 of 7363, in proportion.
    assert {name: len(files) for name, files in prepared.lists.items()} == {
        "train": 12,
        "validate": 1,
    }
    train = read_list(tmp_path / "lists" / "train.txt")
    assert train == prepared.lists["train"]
    assert all((exdark / name).is_file() for name in train)
    assert "ExDark has about 7363; here are 13" in prepared.notes[0]
    again = prepare_dataset("exdark", exdark, tmp_path / "again", seed=1)
    other = prepare_dataset("exdark", exdark, tmp_path / "other", seed=2)
    assert again.lists == prepared.lists != other.lists


def test_exdarks_own_list_is_used_where_it_is(exdark, tmp_path):
    rows = [f"2015_{number:05}.jpg 1 2 1 {1 if number < 9 else 3}" for number in range(13)]
    head = "Name | Class | Light | In/Out | Train/Val/Test"
    (exdark / "imageclasslist.txt").write_text("\n".join([head, *rows]))
    prepared = prepare_dataset("exdark", exdark, tmp_path / "lists")
    assert len(prepared.lists["train"]) == 9
    assert len(prepared.lists["validate"]) == 4


def test_the_lists_divide_what_fit_trains_on(exdark, tmp_path):
    prepare_dataset("exdark", exdark, tmp_path / "lists")
    split = str(tmp_path / "lists" / "train.txt")
    config = parse_config({**TINY, "data": {"split": split}})
    images = load_images(config, exdark, tmp_path / "cache")
    assert len(images.caches[0]) == 12
    assert len(images.held_out[0]) == 1


def test_gopro_is_divided_by_its_folders_and_every_second_frame_counts(tmp_path):
    root = tmp_path / "GOPRO"
    for part, frames in (("train", 4), ("test", 3)):
        for kind in ("blur", "sharp"):
            for frame in range(frames):
                write(root / part / "S1" / kind / f"{frame}.png", PATCH, 2 * PATCH + 5)
    prepared = prepare_dataset("gopro", root, tmp_path / "lists")
    assert prepared.lists == {
        "train": ["train/S1/sharp/0.png", "train/S1/sharp/2.png"],
        "validate": ["test/S1/sharp/0.png", "test/S1/sharp/2.png"],
    }
    # Two of the training images, two patches in each.
    assert prepared.patches == 4
    assert "225100 of GoPro and REDS together" in "\n".join(prepared.describe())
    config = parse_config(
        {**TINY, "data": {"layout": "gopro", "split": str(tmp_path / "lists" / "train.txt")}}
    )
    images = load_images(config, root, tmp_path / "cache")
    assert (len(images.caches[0]), len(images.held_out[1])) == (2, 2)


def test_realblur_is_divided_by_its_lists(tmp_path):
    root = tmp_path / "RealBlur-J"
    for number in (1, 2, 3):
        for kind in ("blur", "gt"):
            write(root / f"scene{number:03}" / kind / f"{kind}_1.png")
    (root / "RealBlur_J_train_list.txt").write_text(
        "RealBlur-J/scene001/gt/gt_1.png RealBlur-J/scene001/blur/blur_1.png\n"
        "RealBlur-J/scene003/gt/gt_1.png RealBlur-J/scene003/blur/blur_1.png\n"
    )
    prepared = prepare_dataset("realblur", root, tmp_path / "lists")
    assert prepared.lists["train"] == ["scene001/gt/gt_1.png", "scene003/gt/gt_1.png"]
    assert prepared.lists["validate"] == ["scene002/gt/gt_1.png"]


def test_koehler_is_a_test_set(tmp_path):
    root = tmp_path / "koehler"
    for trajectory in (1, 2):
        write(root / f"Blurry1_{trajectory}.png")
        for place in (1, 2):
            write(root / "gt" / f"GroundTruth1_{trajectory}_{place}.png")
    prepared = prepare_dataset("koehler", root, tmp_path / "lists")
    assert prepared.lists == {"test": ["Blurry1_1.png", "Blurry1_2.png"]}
    assert read_list(tmp_path / "lists" / "test.txt") == prepared.lists["test"]


def test_what_cannot_be_used_is_named_and_the_rest_goes_on(tmp_path, capsys):
    root = tmp_path / "pairs"
    for name in ("a", "b", "c", "d"):
        write(root / "blurred" / f"{name}.png")
        write(root / "sharp" / f"{name}.png", 40, 52 if name == "b" else 50)
    (root / "blurred" / "a.png").write_bytes(b"no image")
    (root / "sharp" / "d.png").unlink()
    out = tmp_path / "lists"
    words = ["prepare", "pairs", str(root), str(out), "--quiet"]
    assert main(words) == 1
    shown = capsys.readouterr()
    assert "Left out: blurred/a.png: " in shown.err
    assert "blurred 40 x 50, sharp 40 x 52" in shown.err
    assert "Left out: blurred/d.png: it has no partner" in shown.err
    assert "train: 1 pairs" in shown.out
    assert "data.layout=pairs" in shown.out
    summary = json.loads((out / "summary.json").read_text())
    assert summary["counts"] == {"train": 1}
    assert summary["unpaired"] == ["blurred/d.png"]
    assert main(words) == 2
    assert "give --overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 1


def test_a_16_bit_rgb_tiff_has_a_size(tmp_path):
    import tifffile

    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.tif", np.zeros((300, 140, 3), np.uint16))
    prepared = prepare_dataset("sharp", tmp_path / "images", tmp_path / "lists")
    assert prepared.patches == 2


def test_another_folder_is_told_what_is_expected(tmp_path, capsys):
    write(tmp_path / "holiday.jpg")
    with pytest.raises(DataError, match=r"Lai et al\. 2016 is expected as .* to be had from"):
        prepare_dataset("lai", tmp_path, tmp_path / "lists")
    for layout in ("exdark", "gopro"):
        for there, why in ((True, "holds no image"), (False, "There is no folder")):
            folder = tmp_path / ("empty" if there else "away")
            if there:
                folder.mkdir(exist_ok=True)
            with pytest.raises(DataError, match=rf"{why}.* is expected as .* to be had from"):
                prepare_dataset(layout, folder, tmp_path / "lists")
    assert main(["prepare", "moon", str(tmp_path), str(tmp_path / "lists")]) == 2
    assert "There is no layout 'moon'" in capsys.readouterr().err
    assert main(["prepare", "lai", str(tmp_path)]) == 2
    assert "three words: LAYOUT ROOT OUT" in capsys.readouterr().err
