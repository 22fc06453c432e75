"""Data sets are known by their folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_darkdeblur.datasets import (
    LAYOUTS,
    DataError,
    exdark_training_names,
    find_dataset,
    random_split,
)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


# Files of each data set as it is unpacked, the pairs in it, and what has no partner.
TREES = {
    "pairs": (
        ["blurred/a.jpg", "sharp/a.png", "blurred/x/b.png", "sharp/x/b.png", "sharp/c.png"],
        {"a": 1, "x/b": 1},
        ["sharp/c.png"],
    ),
    "gopro": (
        ["test/S1/blur/1.png", "test/S1/sharp/1.png", "test/S1/blur_gamma/1.png"],
        {"test/S1/1": 1},
        [],
    ),
    "reds": (
        ["val/val_blur/000/1.png", "val/val_sharp/000/1.png", "val/val_blur/000/2.png"],
        {"val/val/000/1": 1},
        ["val/val_blur/000/2.png"],
    ),
    "koehler": (
        [
            "Blurry1_1.png", "Blurry1_2.png", "Blurry2_1.png",
            *(f"gt/GroundTruth1_{trajectory}_{place}.png" for trajectory in (1, 2)
              for place in (1, 2, 3)),
            "gt/Image2.png",
        ],
        {"1_1": 3, "1_2": 3, "2_1": 1},
        [],
    ),
    "lai": (
        ["uniform/manmade_01_kernel_01.png", "uniform/manmade_01_kernel_02.png",
         "gyro/people_02_gyro_01.png", "ground_truth/manmade_01.png", "ground_truth/people_02.png"],
        {"manmade_01_kernel_01": 1, "manmade_01_kernel_02": 1, "people_02_gyro_01": 1},
        [],
    ),
    "darkshake": (["input/1.jpg", "gt/1.jpg"], {"1": 1}, []),
    "realblur": (
        ["scene001/blur/blur_1.png", "scene001/gt/gt_1.png", "scene001/avg/avg_1.png",
         "scene002/blur/blur_1.png", "scene002/gt/gt_1.png"],
        {"scene001/1": 1, "scene002/1": 1},
        [],
    ),
}  # fmt: skip


def test_every_layout_is_tried():
    assert TREES.keys() == LAYOUTS.keys() - {"exdark"}


@pytest.mark.parametrize("layout", TREES)
def test_pairs_are_found_where_the_data_set_has_them(layout, tmp_path):
    files, pairs, unpaired = TREES[layout]
    touch(tmp_path, *files)
    found = find_dataset(layout, tmp_path)
    assert {pair.name: len(pair.references) for pair in found.pairs} == pairs
    assert [path.relative_to(tmp_path).as_posix() for path in found.unpaired] == unpaired
    for pair in found.pairs:
        assert pair.blurred not in pair.references
        assert all(path.is_file() for path in (pair.blurred, *pair.references))


def test_references_of_koehler_are_those_of_the_trajectory(tmp_path):
    touch(tmp_path, *TREES["koehler"][0])
    _, second, _ = find_dataset("koehler", tmp_path).pairs
    assert {path.stem for path in second.references} == {f"GroundTruth1_2_{n}" for n in (1, 2, 3)}


@pytest.mark.parametrize("layout", TREES)
def test_another_folder_is_told_what_is_expected(layout, tmp_path):
    touch(tmp_path, "holiday.jpg")
    with pytest.raises(DataError) as caught:
        find_dataset(layout, tmp_path)
    message = str(caught.value)
    assert LAYOUTS[layout].folders in message
    assert LAYOUTS[layout].source in message


def test_frames_of_a_sequence_are_taken_in_steps(tmp_path):
    for sequence in ("a", "b"):
        for kind in ("blur", "sharp"):
            touch(tmp_path, *(f"train/{sequence}/{kind}/{frame}.png" for frame in range(5)))
    found = find_dataset("gopro", tmp_path, 2)
    assert [pair.name[-3:] for pair in found.pairs] == ["a/0", "a/2", "a/4", "b/0", "b/2", "b/4"]


def test_two_partners_are_an_error(tmp_path):
    touch(tmp_path, "blurred/a.png", "sharp/a.png", "sharp/a.jpg")
    with pytest.raises(DataError, match="same name but for the ending"):
        find_dataset("pairs", tmp_path)


def test_a_random_split_is_the_same_in_any_order():
    names = [f"{number:03}.jpg" for number in range(100)]
    first, rest = random_split(names, 92, seed=3)
    assert (len(first), len(rest)) == (92, 8)
    again, _ = random_split(names[::-1], 92, seed=3)
    assert set(again) == set(first)
    assert random_split(names, 92, seed=4)[0] != first


def test_exdarks_own_list_is_known_by_its_first_line(tmp_path):
    own = tmp_path / "imageclasslist.txt"
    own.write_text("Name | Class | Light | In/Out | Train/Val/Test\na.jpg 1 2 1 1\nb.jpg 1 2 1 3\n")
    assert exdark_training_names(own) == ["a.jpg"]
    other = tmp_path / "list.txt"
    other.write_text("a.jpg\n")
    assert exdark_training_names(other) is None
