"""Finding images: folders, pairs, lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkdeblur_trainer.data import DataError, find_images, find_pairs, read_split


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_images_are_found_in_subfolders_sorted_and_hidden_files_are_not(tmp_path):
    _touch(tmp_path, "b/2.PNG", "a.jpeg", "b/1.tif", "notes.txt", ".hidden.png")
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["a.jpeg", "b/1.tif", "b/2.PNG"]


def test_a_missing_or_empty_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no image"):
        find_images(tmp_path)


def test_gopro_takes_every_second_frame_of_each_sequence(tmp_path):
    for sequence in ("train/GOPR1", "train/GOPR2"):
        for kind in ("blur", "sharp"):
            _touch(tmp_path, *(f"{sequence}/{kind}/{frame:06}.png" for frame in range(5)))
    pairs = find_pairs("gopro", tmp_path, every=2)
    assert len(pairs.blurred) == len(pairs.sharp) == 6
    for blurred, sharp in zip(pairs.blurred, pairs.sharp, strict=True):
        assert str(sharp) == str(blurred).replace("/blur/", "/sharp/")
    assert [path.stem for path in pairs.sharp[:3]] == ["000000", "000002", "000004"]


def test_gopro_leaves_gamma_blur_aside(tmp_path):
    for kind in ("blur", "blur_gamma", "sharp"):
        _touch(tmp_path, f"train/GOPR1/{kind}/1.png")
    pairs = find_pairs("gopro", tmp_path)
    assert [path.parent.name for path in pairs.blurred] == ["blur"]


def test_reds_is_matched_by_sequence_and_frame(tmp_path):
    for kind in ("blur", "sharp"):
        _touch(tmp_path, *(f"train_{kind}/train/train_{kind}/000/{i:08}.png" for i in range(4)))
    pairs = find_pairs("reds", tmp_path, every=2)
    assert [path.stem for path in pairs.blurred] == ["00000000", "00000002"]
    assert all("train_blur" in path.parts for path in pairs.blurred)
    assert all("train_sharp" in path.parts for path in pairs.sharp)


def test_two_folders_are_matched_by_name_whatever_the_ending(tmp_path):
    _touch(tmp_path / "s", "x/1.png", "2.jpg")
    _touch(tmp_path / "b", "x/1.tif", "2.png")
    pairs = find_pairs("folders", tmp_path / "s", tmp_path / "b")
    assert [path.name for path in pairs.sharp] == ["2.jpg", "1.png"]
    assert [path.name for path in pairs.blurred] == ["2.png", "1.tif"]


def test_two_images_that_differ_only_in_their_ending_are_named(tmp_path):
    _touch(tmp_path / "s", "x/1.png", "x/1.jpg")
    _touch(tmp_path / "b", "x/1.png")
    message = r"1\.jpg and .*1\.png have the same name but for the ending"
    with pytest.raises(DataError, match=message):
        find_pairs("folders", tmp_path / "s", tmp_path / "b")
    with pytest.raises(DataError, match=message):
        find_pairs("folders", tmp_path / "b", tmp_path / "s")
    _touch(tmp_path / "gopro/seq", "sharp/1.png", "blur/1.png", "blur/1.jpg")
    with pytest.raises(DataError, match=message):
        find_pairs("gopro", tmp_path / "gopro")


def test_images_without_partner_are_named(tmp_path):
    _touch(tmp_path / "s", "1.png", "2.png")
    _touch(tmp_path / "b", "1.png", "3.png")
    pairs = find_pairs("folders", tmp_path / "s", tmp_path / "b")
    assert [path.name for path in pairs.sharp] == ["1.png"]
    assert pairs.unpaired == [tmp_path / "s" / "2.png", tmp_path / "b" / "3.png"]
    (tmp_path / "b" / "1.png").unlink()
    with pytest.raises(DataError, match=r"no pairs .*1\.png has no partner"):
        find_pairs("folders", tmp_path / "s", tmp_path / "b")


def test_a_layout_that_is_not_there_says_so(tmp_path):
    _touch(tmp_path, "1.png")
    with pytest.raises(DataError, match="no pairs in layout 'gopro'"):
        find_pairs("gopro", tmp_path)
    with pytest.raises(DataError, match=r"data\.blurred=FOLDER"):
        find_pairs("folders", tmp_path)


def test_a_split_list_divides_the_images(tmp_path):
    _touch(tmp_path, "Bicycle/1.jpg", "Boat/1.jpg", "Boat/2.jpg")
    listing = tmp_path / "list.txt"
    listing.write_text("# name class\nBoat/1.jpg 1 2\n\n2.jpg 2 2\n")
    images = find_images(tmp_path)
    listed, others = read_split(listing, images)
    assert [path.relative_to(tmp_path).as_posix() for path in listed] == [
        "Boat/1.jpg",
        "Boat/2.jpg",
    ]
    assert others == [tmp_path / "Bicycle/1.jpg"]


def test_a_split_list_that_names_a_missing_image_is_refused(tmp_path):
    _touch(tmp_path, "1.jpg")
    listing = tmp_path / "list.txt"
    listing.write_text("3.jpg\n")
    with pytest.raises(DataError, match=r"names '3\.jpg'"):
        read_split(listing, find_images(tmp_path))


def test_exdarks_own_list_is_read_by_its_last_column(tmp_path):
    names = ["Bicycle/2015_00001.png", "Bicycle/2015_00251.jpg", "Boat/2015_00653.JPG"]
    _touch(tmp_path, *names, "Boat/2015_01053.jpg")
    listing = tmp_path / "imageclasslist.txt"
    listing.write_text(
        "Name | Class | Light | In/Out | Train/Val/Test\n"
        "2015_00001.png 1 2 1 1\n"
        "2015_00251.jpg 1 6 2 2\n"
        "2015_00653.JPG 2 10 2 1\n"
        "2015_01053.jpg 2 1 1 3\n"
        "2015_09999.jpg 2 1 1 3\n"  # not to be trained on, so it need not be there
    )
    listed, others = read_split(listing, find_images(tmp_path))
    assert [path.name for path in listed] == ["2015_00001.png", "2015_00653.JPG"]
    assert [path.name for path in others] == ["2015_00251.jpg", "2015_01053.jpg"]
    listing.write_text("Name | Class | Light | In/Out | Train/Val/Test\n2015_00001.png 1 2 1\n")
    with pytest.raises(DataError, match=r"row '2015_00001\.png 1 2 1' is not a name and four"):
        read_split(listing, find_images(tmp_path))


def test_names_in_a_split_list_may_hold_spaces(tmp_path):
    _touch(tmp_path, "at night/my photo 1.jpg", "at night/my.jpg", "2.jpg")
    listing = tmp_path / "list.txt"
    listing.write_text("at night/my photo 1.jpg\n  2.jpg 7\n")
    listed, others = read_split(listing, find_images(tmp_path))
    assert [path.name for path in listed] == ["2.jpg", "my photo 1.jpg"]
    assert [path.name for path in others] == ["my.jpg"]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    _touch(tmp_path, "1.jpg", "2.jpg")
    listing = tmp_path / "list.txt"
    listing.write_text("1.jpg\n", encoding="utf-8-sig")
    listed, _ = read_split(listing, find_images(tmp_path))
    assert listed == [tmp_path / "1.jpg"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing yet\n\n",
        "Name | Class | Light | In/Out | Train/Val/Test\n1.jpg 1 2 1 2\n",
    ],
)
def test_a_split_list_that_names_nothing_is_refused(text, tmp_path):
    _touch(tmp_path, "1.jpg")
    listing = tmp_path / "list.txt"
    listing.write_text(text)
    with pytest.raises(DataError, match="names no image to train on"):
        read_split(listing, find_images(tmp_path))
