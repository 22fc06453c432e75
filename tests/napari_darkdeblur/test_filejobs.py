"""Files of any size and number of axes are restored, and nothing is lost on the way."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
import zarr

from napari_darkdeblur import cli, deblur
from napari_darkdeblur.filejobs import FileJob, plan_file, plan_folder, restore_file
from napari_darkdeblur.imagefiles import read_image, write_image
from napari_darkdeblur.restore import Finished, RestoreOptions, TileDone

from .conftest import assert_sentence

RNG = np.random.default_rng(0)
MOVIE = RNG.integers(0, 4096, (3, 2, 40, 50), np.uint16)  # TCYX


def run(job: FileJob, options: RestoreOptions, **kwargs):
    *_, last = restore_file(job, options, **kwargs)
    assert isinstance(last, Finished)
    return last.result


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    path = tmp_path / "movie.tif"
    tifffile.imwrite(
        path, MOVIE, imagej=True, metadata={"axes": "TCYX", "finterval": 0.5, "unit": "um"},
        resolution=(9.5, 9.5),
    )  # fmt: skip
    return path


def test_a_stack_comes_back_as_it_was(tmp_path: Path, movie: Path, random_model: Path):
    target = tmp_path / "out.tif"
    options = RestoreOptions(random_model, "cpu", value_range=(0, 4095))
    assert run(plan_file(movie, target), options).status == "done"
    expected = deblur(MOVIE, random_model, "cpu", axes="TCYX", value_range=(0, 4095))
    with tifffile.TiffFile(target) as restored, tifffile.TiffFile(movie) as original:
        np.testing.assert_array_equal(restored.asarray(), expected)
        assert restored.series[0].axes == "TCYX"
        assert restored.imagej_metadata["finterval"] == 0.5
        assert restored.pages[0].resolution == original.pages[0].resolution
    assert (expected != MOVIE).any()
    # Every plane is restored on its own, with one scale for all.
    alone = deblur(MOVIE[1, 1], random_model, "cpu", value_range=(0, 4095))
    np.testing.assert_array_equal(expected[1, 1], alone)


def test_axes_can_be_said_otherwise(tmp_path: Path, random_model: Path):
    image = RNG.integers(0, 256, (3, 30, 40), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack")
    as_colours, as_planes = tmp_path / "s.tif", tmp_path / "c.tif"
    for target, axes in ((as_colours, "SYX"), (as_planes, "CYX")):
        options = RestoreOptions(random_model, "cpu", axes=axes)
        assert run(FileJob(tmp_path / "a.tif", target), options).status == "done"
    one_by_one = np.stack([deblur(plane, random_model, "cpu") for plane in image])
    np.testing.assert_array_equal(tifffile.imread(as_planes), one_by_one)
    together = deblur(np.moveaxis(image, 0, -1), random_model, "cpu")
    np.testing.assert_array_equal(tifffile.imread(as_colours), np.moveaxis(together, -1, 0))


@pytest.mark.parametrize("existing", [False, True])
def test_cancelling_leaves_no_file_and_the_old_one_as_it_was(
    tmp_path: Path, movie: Path, random_model: Path, existing: bool
):
    target = tmp_path / "out.tif"
    if existing:
        target.write_bytes(b"precious")
    stop = threading.Event()
    before = sorted(path.name for path in tmp_path.iterdir())
    events = restore_file(
        FileJob(movie, target), RestoreOptions(random_model, "cpu"), overwrite=True, stop=stop
    )
    for event in events:
        if isinstance(event, TileDone):
            stop.set()
        last = event
    assert last.result.status == "cancelled"
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert not existing or target.read_bytes() == b"precious"


def test_leaving_off_in_the_middle_leaves_no_file(tmp_path: Path, movie: Path, random_model: Path):
    before = sorted(path.name for path in tmp_path.iterdir())
    events = restore_file(FileJob(movie, tmp_path / "out.tif"), RestoreOptions(random_model, "cpu"))
    for event in events:
        if isinstance(event, TileDone):
            break
    events.close()  # as when Ctrl-C is pressed
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_end_is_told_when_the_file_is_there(tmp_path: Path, movie: Path, random_model: Path):
    target = tmp_path / "out.tif"
    for event in restore_file(FileJob(movie, target), RestoreOptions(random_model, "cpu")):
        if isinstance(event, Finished):
            assert event.result.status == "done"
            break
    assert tifffile.imread(target).shape == MOVIE.shape


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [("missing.tif", "out.tif", "missing.tif"), ("movie.tif", "out.png", "out.png")],
)
def test_files_that_cannot_be_read_or_written_are_failures(
    tmp_path: Path, movie: Path, random_model: Path, source: str, target: str, says: str
):
    options = RestoreOptions(random_model, "cpu")
    result = run(FileJob(tmp_path / source, tmp_path / target), options)
    assert result.status == "failed"
    assert says in result.message
    assert result.error is not None


def test_a_file_can_be_restored_in_place(tmp_path: Path, movie: Path, random_model: Path):
    options = RestoreOptions(random_model, "cpu")
    expected = deblur(MOVIE, random_model, "cpu", axes="TCYX")
    assert run(FileJob(movie, movie), options, overwrite=True).status == "done"
    np.testing.assert_array_equal(tifffile.imread(movie), expected)


def test_a_failure_is_a_result_and_leaves_no_file(tmp_path: Path, movie: Path, random_model: Path):
    options = RestoreOptions(random_model, "cpu", axes="TYX")
    result = run(FileJob(movie, tmp_path / "out.tif"), options)
    assert result.status == "failed"
    assert "TYX" in result.message
    assert not (tmp_path / "out.tif").exists()


@pytest.mark.parametrize("dtype", [np.int16, np.float16, np.float64])
def test_all_dtypes_come_back_from_tiff(tmp_path: Path, random_model: Path, dtype):
    image = RNG.random((20, 30)).astype(dtype) if dtype != np.int16 else MOVIE[0, 0].astype(dtype)
    write_image(tmp_path / "a.tif", image)
    options = RestoreOptions(random_model, "cpu", value_range="data")
    assert run(FileJob(tmp_path / "a.tif", tmp_path / "b.tif"), options).status == "done"
    restored = read_image(tmp_path / "b.tif").pixels
    assert restored.dtype == dtype
    np.testing.assert_array_equal(restored, deblur(image, random_model, "cpu", value_range="data"))


def test_the_command_takes_every_option(
    tmp_path: Path, movie: Path, random_model: Path, capsys: pytest.CaptureFixture[str]
):
    expected = deblur(MOVIE, random_model, "cpu", axes="TCYX", value_range="percentile")
    for number, options in enumerate(
        [
            ["--tiling", "exact", "--tile", "16", "--memory", "1GB"],
            ["--tiling", "whole", "--axes", "tcyx", "--scratch", str(tmp_path)],
            ["--tiling", "auto", "--precision", "fp32"],
        ]
    ):
        target = tmp_path / f"{number}.tif"
        arguments = ["deblur", str(movie), str(target), "--model", str(random_model)]
        assert cli.main([*arguments, "--range", "percentile", *options]) == 0
        assert capsys.readouterr().err == ""
        difference = tifffile.imread(target).astype(int) - expected
        # Tiles are equal to 1e-5 of the range, which may round differently.
        assert np.abs(difference).max() <= 1
    for mode in ("local", "fast"):
        target = tmp_path / f"{mode}.tif"
        arguments = ["deblur", str(movie), str(target), "--model", str(random_model)]
        assert cli.main([*arguments, "--tiling", mode, "--tile", "16"]) == 0
        assert tifffile.imread(target).shape == MOVIE.shape


def test_the_command_says_when_memory_is_short(
    tmp_path: Path, identity: Path, capsys: pytest.CaptureFixture[str]
):
    image = RNG.integers(0, 256, (1500, 1500), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image)
    arguments = ["deblur", str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]
    assert cli.main([*arguments, "--model", str(identity), "--memory", "90MB"]) == 0
    told = capsys.readouterr().err
    assert "Memory is short" in told
    assert "exact" in told
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), image)


def test_a_guess_of_axes_is_said(
    tmp_path: Path, identity: Path, capsys: pytest.CaptureFixture[str]
):
    array = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=(3, 40, 50), dtype=np.uint16, zarr_format=2
    )
    array[...] = MOVIE[:, 0]
    arguments = ["deblur", str(tmp_path / "a.zarr"), str(tmp_path / "b.tif")]
    assert cli.main([*arguments, "--model", str(identity)]) == 0
    assert "was taken for ZYX" in capsys.readouterr().err
    array = zarr.create_array(
        str(tmp_path / "c.zarr"), shape=(70, 90, 5), dtype=np.uint8, zarr_format=2
    )
    arguments = ["deblur", str(tmp_path / "c.zarr"), str(tmp_path / "d.tif")]
    assert cli.main([*arguments, "--model", str(identity)]) == 2
    error = capsys.readouterr().err
    assert "--axes YXC if" in error
    assert_sentence(error[:-1])
    assert cli.main([*arguments, "--model", str(identity), "--axes", "YXC"]) == 0


# --- folders


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Return a folder as people have them."""
    folder = tmp_path / "in"
    (folder / "night" / "empty").mkdir(parents=True)
    photograph = PIL.Image.fromarray(RNG.integers(0, 256, (20, 30, 3), np.uint8))
    for name in ("a.jpg", "b.jfif", "c.webp", "d.bmp", "a.bmp", "a.png", "night/e.png"):
        format_ = "JPEG" if name.endswith("jfif") else None
        photograph.save(folder / name, format=format_)
    photograph.save(folder / "moving.gif", save_all=True, append_images=[photograph.rotate(90)])
    (folder / "film.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    return folder


def test_a_folder_s_images_keep_their_names_where_they_can(tmp_path: Path, mixed: Path):
    plan = plan_folder(mixed, tmp_path / "out")
    names = {job.source.name: job.target.name for job in plan.jobs}
    assert names == {
        "a.jpg": "a.jpg", "b.jfif": "b.jfif", "c.webp": "c.png", "d.bmp": "d.png",
        "a.png": "a.png", "a.bmp": "a.bmp.png", "moving.gif": "moving.png",
    }  # fmt: skip
    reasons = {path.name: reason for path, reason in plan.left_out}
    assert sorted(reasons) == ["film.mp4", "night", "notes.txt"]
    assert "video" in reasons["film.mp4"]
    assert "--recursive" in reasons["night"]


def test_a_folder_is_restored_with_its_subfolders(tmp_path: Path, mixed: Path):
    plan = plan_folder(mixed, tmp_path / "out", recursive=True)
    assert tmp_path / "out" / "night" / "e.png" in [job.target for job in plan.jobs]
    assert "night" not in {path.name for path, _ in plan.left_out}
    # A second run does not take the first one's results for images.
    inside = mixed / "restored"
    inside.mkdir()
    write_image(inside / "a.png", RNG.integers(0, 256, (4, 5), np.uint8))
    again = plan_folder(mixed, inside, recursive=True, overwrite=True)
    assert len(again.jobs) == len(plan.jobs)


def test_the_command_says_what_it_leaves_out_and_goes_on_where_it_ended(
    tmp_path: Path, mixed: Path, identity: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["deblur", str(mixed), str(tmp_path / "out"), "--model", str(identity)]
    assert cli.main([*arguments, "--recursive"]) == 1
    out, err = capsys.readouterr()
    assert "Restored 7 of 8 images" in out
    assert "Black is 0 and white 255, the range of uint8. (7 images, one range for all)" in out
    lines = err.splitlines()
    assert [line for line in lines if "film.mp4 is left out: a video" in line]
    assert [line for line in lines if "notes.txt is left out" in line]
    assert [line for line in lines if "error" in line and "animation" in line]
    for line in lines:
        assert_sentence(line)
    restored = tmp_path / "out" / "night" / "e.png"
    np.testing.assert_array_equal(
        read_image(restored).pixels, read_image(mixed / "night" / "e.png").pixels
    )
    # Nothing is lost without a word: the same again is refused, or goes on.
    assert cli.main([*arguments, "--recursive"]) == 2
    restored.unlink()
    (mixed / "moving.gif").unlink()
    capsys.readouterr()
    assert cli.main([*arguments, "--recursive", "--skip-existing"]) == 0
    out = capsys.readouterr().out
    assert "Restored 1 of 1 image" in out
    assert "6 existed already" in out
    assert restored.exists()


def test_separate_channels_of_a_folder_are_no_photograph(
    tmp_path: Path, random_model: Path, capsys: pytest.CaptureFixture[str]
):
    """A colour image of 16 bits has the range of uint16, three channels have their values'."""
    (tmp_path / "in").mkdir()
    for i in range(2):
        write_image(tmp_path / "in" / f"{i}.tif", RNG.integers(0, 9000, (40, 50, 3), np.uint16))
    arguments = ["deblur", str(tmp_path / "in"), str(tmp_path / "out"), "--psf", "none"]
    arguments += ["--model", str(random_model)]
    assert cli.main(arguments) == 0
    assert "the range of uint16" in capsys.readouterr().out
    assert cli.main([*arguments, "--overwrite", "--separate-channels"]) == 0
    assert "the folder's 0.1 and 99.9 percentiles" in capsys.readouterr().out


def test_the_frames_of_a_folder_have_one_range(
    tmp_path: Path, random_model: Path, capsys: pytest.CaptureFixture[str]
):
    """As the frames of a stack have, so that a movie does not flicker."""
    frames = [RNG.integers(100, 200 * (i + 2), (40, 50), np.uint16) for i in range(3)]
    (tmp_path / "in").mkdir()
    for i, frame in enumerate(frames):
        write_image(tmp_path / "in" / f"{i}.tif", frame)
    (tmp_path / "in" / "3.tif").write_bytes(b"II*\0damaged")
    arguments = ["deblur", str(tmp_path / "in"), str(tmp_path / "out"), "--psf", "none"]
    arguments += ["--model", str(random_model)]
    assert cli.main(arguments) == 1  # one is damaged, and the others are restored
    out = capsys.readouterr().out
    assert "the folder's 0.1 and 99.9 percentiles. (3 images, one range for all)" in out
    restored = [read_image(tmp_path / "out" / f"{i}.tif").pixels for i in range(3)]
    np.testing.assert_array_equal(
        np.stack(restored), deblur(np.stack(frames), random_model, axes="TYX")
    )
    # A frame that is done anew later is the same again.
    (tmp_path / "out" / "1.tif").unlink()
    assert cli.main([*arguments, "--skip-existing"]) == 1
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "1.tif").pixels, restored[1])
    capsys.readouterr()
    # Photographs that do not belong together.
    assert cli.main([*arguments, "--overwrite", "--range-per-file"]) == 1
    out, err = capsys.readouterr()
    assert "Each image has its own" in out
    assert len([line for line in err.splitlines() if "image's 0.1 and 99.9 percentiles" in line])
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(
            read_image(tmp_path / "out" / f"{i}.tif").pixels, deblur(frame, random_model)
        )


# --- axes


def test_channels_that_lie_together_can_be_restored_one_by_one(tmp_path: Path, random_model: Path):
    channels = RNG.integers(0, 256, (30, 40, 3), np.uint8)
    write_image(tmp_path / "a.tif", channels)
    job = FileJob(tmp_path / "a.tif", tmp_path / "b.tif")
    result = run(job, RestoreOptions(random_model, "cpu"), separate_channels=True)
    assert result.status == "done"
    one_by_one = [deblur(channels[..., i], random_model, "cpu") for i in range(3)]
    np.testing.assert_array_equal(
        read_image(tmp_path / "b.tif").pixels, np.stack(one_by_one, axis=-1)
    )


def test_what_the_file_cannot_keep_is_said(tmp_path: Path, identity: Path):
    exif = PIL.Image.Exif()
    exif[274] = 6
    PIL.Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    job = plan_file(tmp_path / "a.jpg", tmp_path / "a.zarr")
    result = run(job, RestoreOptions(identity, "cpu"))
    assert result.status == "done"
    assert "Not kept, since .zarr files cannot hold it: EXIF." in result.notes
