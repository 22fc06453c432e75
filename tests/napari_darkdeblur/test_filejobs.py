"""Files of any size and number of axes are restored, and nothing is lost on the way."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_darkdeblur import cli, deblur
from napari_darkdeblur.filejobs import FileJob, plan_file, restore_file
from napari_darkdeblur.imagefiles import read_image, write_image
from napari_darkdeblur.restore import Finished, RestoreOptions, TileDone

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
    tmp_path: Path, identity: Path, capsys: pytest.CaptureFixture[str], monkeypatch
):
    from contextlib import contextmanager

    from napari_darkdeblur import imagefiles

    original = imagefiles.open_image

    @contextmanager
    def without_axes(path):
        import dataclasses

        with original(path) as image:
            yield dataclasses.replace(image, axes=None)

    monkeypatch.setattr(imagefiles, "open_image", without_axes)
    tifffile.imwrite(tmp_path / "a.tif", MOVIE[:, 0], photometric="minisblack")
    arguments = ["deblur", str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]
    assert cli.main([*arguments, "--model", str(identity)]) == 0
    assert "ZYX" in capsys.readouterr().err
