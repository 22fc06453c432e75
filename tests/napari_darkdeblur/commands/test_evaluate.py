"""Files are measured as their pixels would be, and a mistake costs one sentence."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_darkdeblur import cli
from napari_darkdeblur.evaluation import PlaneMeasurement, mean_of
from napari_darkdeblur.imagefiles import write_image
from napari_darkdeblur.metrics import METRICS, measure

from ..conftest import assert_sentence

RNG = np.random.default_rng(0)
REFERENCE = RNG.integers(0, 256, (24, 31, 3), np.uint8)
RESTORED = np.clip(REFERENCE + RNG.normal(0, 8, REFERENCE.shape), 0, 255).astype(np.uint8)
WORSE = np.clip(REFERENCE + RNG.normal(0, 30, REFERENCE.shape), 0, 255).astype(np.uint8)
MOVIE = RNG.integers(0, 4096, (2, 3, 20, 17), np.uint16)  # TZYX
OTHER_MOVIE = np.clip(MOVIE + RNG.normal(0, 99, MOVIE.shape), 0, 4095).astype(np.uint16)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """Return a function that runs ``darkdeblur evaluate``: exit code, standard output, error."""

    def run_command(*arguments: object) -> tuple[int, str, str]:
        code = cli.main(["evaluate", *(str(argument) for argument in arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return run_command


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return (
        write_image(tmp_path / "restored.png", RESTORED),
        write_image(tmp_path / "reference.png", REFERENCE),
    )


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    restored, reference = tmp_path / "restored", tmp_path / "reference"
    for folder, pixels in ((restored, (RESTORED, WORSE)), (reference, (REFERENCE, REFERENCE))):
        folder.mkdir()
        (folder / "notes.txt").write_text("no image")
        for name, image in zip(("a.png", "b.png"), pixels, strict=True):
            write_image(folder / name, image)
    write_image(reference / "more.png", REFERENCE)
    return restored, reference


@pytest.fixture
def movies(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "movie.tif", tmp_path / "sharp.tif"
    for path, pixels in zip(paths, (OTHER_MOVIE, MOVIE), strict=True):
        tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "TZYX"})
    return paths


def table_of(out: str) -> dict[str, dict[str, str]]:
    """Return a printed table: by line and label, what is printed."""
    table: dict[str, dict[str, str]] = {}
    for block in out.split("\n\n")[:2]:
        head, *lines = block.splitlines()
        labels = [metric.label for metric in METRICS if metric.label in head]
        assert "".join(labels).replace(" ", "") == head.replace(" ", "")
        for line in lines:
            *name, _ = line.split("  ", 1)
            values = line.split()[-len(labels) :]
            table.setdefault(name[0].strip(), {}).update(zip(labels, values, strict=True))
    return table


def printed(numbers: dict[str, float]) -> dict[str, str]:
    by_label = {metric.label: metric for metric in METRICS}
    return {label: by_label[label].text(value) for label, value in numbers.items()}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def complaint(err: str) -> str:
    assert err.startswith("darkdeblur: error: ")
    assert err.endswith("\n")
    assert_sentence(err[:-1])
    return err


# --- what is measured


def test_two_files_are_measured_as_their_pixels(run, files):
    code, out, err = run(*files)
    assert (code, err) == (0, "")
    expected = measure(RESTORED / 255, REFERENCE / 255)
    assert table_of(out) == {"restored.png": printed(expected)}


def test_the_table_says_what_is_better(run, files):
    _, out, _ = run(*files)
    assert "More is better: PSNR (dB), SSIM.\n" in out
    assert "Less is better: CIEDE2000 mean, CIEDE2000 95 %.\n" in out


def test_the_same_image_is_infinitely_good(run, files):
    _, out, _ = run(files[1], files[1])
    assert table_of(out)["reference.png"]["PSNR (dB)"] == "inf"


def test_files_of_two_folders_are_paired_by_name(run, folders):
    code, out, err = run(*folders)
    assert (code, err) == (0, "")
    a, b = (measure(image / 255, REFERENCE / 255) for image in (RESTORED, WORSE))
    mean = {label: (a[label] + b[label]) / 2 for label in a}
    assert table_of(out) == {
        "a.png": printed(a),
        "b.png": printed(b),
        "mean of 2": printed(mean),
    }


def test_a_stack_is_measured_plane_by_plane_with_the_mean(run, movies, tmp_path):
    code, out, err = run(*movies, "--range", "0,4095", "--csv", tmp_path / "t.csv")
    assert (code, err) == (0, "")
    planes = [
        measure(OTHER_MOVIE[t, z] / 4095, MOVIE[t, z] / 4095) for t in range(2) for z in range(3)
    ]
    table = table_of(out)
    assert list(table) == [f"T {t}, Z {z}" for t in range(2) for z in range(3)] + ["mean of 6"]
    mean = {label: np.mean([plane[label] for plane in planes]) for label in planes[0]}
    assert table["T 1, Z 0"] == printed(planes[3])
    assert table["mean of 6"] == printed(mean)
    rows = read_csv(tmp_path / "t.csv")
    assert [(row["image"], row["plane"]) for row in rows[:2]] == [
        ("movie.tif", "T 0, Z 0"),
        ("movie.tif", "T 0, Z 1"),
    ]
    for row, plane in zip(rows, planes, strict=True):
        # Files are measured in single precision.
        assert {label: float(row[label]) for label in plane} == pytest.approx(plane, rel=1e-4)


def test_of_stacks_in_a_folder_each_counts_once(run, tmp_path: Path):
    restored, reference = tmp_path / "in", tmp_path / "out"
    for folder, values in ((restored, (0.2, 0.4, 0.6)), (reference, (0.1, 0.1, 0.1))):
        folder.mkdir()
        planes = [np.full((12, 12), value, np.float32) for value in values]
        write_image(folder / "a.tif", planes[0])
        tifffile.imwrite(folder / "b.tif", np.stack(planes[1:]), metadata={"axes": "ZYX"})
    code, out, _ = run(restored, reference)
    table = table_of(out)
    assert code == 0
    expected = [-20 * math.log10(difference) for difference in (0.1, 0.3, 0.5)]
    of_b = (expected[1] + expected[2]) / 2
    for line, value in (
        ("a.tif", expected[0]),
        ("b.tif", of_b),
        ("mean of 2", (expected[0] + of_b) / 2),
    ):
        assert float(table[line]["PSNR (dB)"]) == pytest.approx(value, abs=0.006)


def test_files_of_other_bit_depths_are_compared_by_their_light(run, files, tmp_path: Path):
    deep = write_image(tmp_path / "deep.tif", REFERENCE.astype(np.uint16) * 257)
    _, shallow, _ = run(*files)
    _, mixed, _ = run(files[0], deep)
    assert mixed == shallow


def test_alpha_and_the_order_of_axes_do_not_count(run, files, tmp_path: Path):
    with_alpha = np.dstack([REFERENCE, RNG.integers(0, 256, REFERENCE.shape[:2], np.uint8)])
    write_image(tmp_path / "alpha.png", with_alpha)
    planar = tmp_path / "planar.tif"
    tifffile.imwrite(
        planar, REFERENCE.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"
    )
    _, expected, _ = run(*files)
    assert run(files[0], tmp_path / "alpha.png")[1] == expected
    assert run(files[0], planar)[1] == expected


def test_axes_can_be_said(run, tmp_path: Path):
    for name, pixels in (("a.tif", OTHER_MOVIE), ("b.tif", MOVIE)):
        tifffile.imwrite(tmp_path / name, pixels[0], photometric="minisblack")
    options = ("--range", "0,4095", "--axes", "SYX")
    _, out, _ = run(tmp_path / "a.tif", tmp_path / "b.tif", *options)
    first, second = (np.moveaxis(movie[0], 0, -1) / 4095 for movie in (OTHER_MOVIE, MOVIE))
    assert table_of(out) == {"a.tif": printed(measure(first, second))}


def test_values_beyond_a_given_range_are_limited_to_it(run, tmp_path: Path):
    reference = np.tile(np.float32([0, 200, 400]), (4, 5))
    write_image(tmp_path / "a.tif", np.clip(reference, 100, 300))
    write_image(tmp_path / "b.tif", reference)
    code, out, _ = run(tmp_path / "a.tif", tmp_path / "b.tif", "--range", "100,300")
    assert code == 0
    assert table_of(out)["a.tif"]["PSNR (dB)"] == "inf"


def test_a_mean_over_images_that_lack_a_measure_is_not_known():
    rows = [
        PlaneMeasurement("a", "", {"PSNR (dB)": 20, "SSIM": 0.5}),
        PlaneMeasurement("b", "", {"PSNR (dB)": math.inf}),
    ]
    mean = mean_of([row.numbers for row in rows])
    assert mean["PSNR (dB)"] == math.inf
    assert math.isnan(mean["SSIM"])


# --- the table as a file


def test_the_csv_has_all_digits(run, files, tmp_path: Path):
    path = tmp_path / "t.csv"
    assert run(*files, "--csv", path)[0] == 0
    (row,) = read_csv(path)
    expected = measure(np.float32(RESTORED / 255), np.float32(REFERENCE / 255))
    assert (row.pop("image"), row.pop("plane")) == ("restored.png", "")
    assert {label: float(value) for label, value in row.items()} == pytest.approx(
        expected, rel=1e-9
    )


def test_the_csv_leaves_out_what_an_image_is_too_small_for(run, tmp_path: Path):
    restored, reference = tmp_path / "in", tmp_path / "out"
    for folder in (restored, reference):
        folder.mkdir()
        write_image(folder / "a.png", REFERENCE)
        write_image(folder / "b.png", np.zeros((5, 5), np.uint8))
    assert run(restored, reference, "--csv", tmp_path / "t.csv")[0] == 0
    a, b = read_csv(tmp_path / "t.csv")
    assert (a["SSIM"], b["SSIM"]) == ("1.0", "")
    assert (a["PSNR (dB)"], b["Noise (%)"]) == ("inf", "nan")


def test_a_csv_is_overwritten_only_when_asked(run, files, tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("precious")
    code, out, err = run(*files, "--csv", path)
    assert (code, out) == (2, "")
    assert "--overwrite" in complaint(err)
    assert path.read_text() == "precious"
    assert run(*files, "--csv", path, "--overwrite")[0] == 0
    assert len(read_csv(path)) == 1


# --- mistakes


def test_one_bad_file_of_a_folder_does_not_stop_the_others(run, folders, tmp_path: Path):
    (folders[0] / "a.png").write_text("no image")
    code, out, err = run(*folders, "--csv", tmp_path / "t.csv")
    assert code == 1
    assert list(table_of(out)) == ["b.png"]
    assert "a.png is no image of a kind" in err
    assert "1 of 2 images could not be measured" in err
    assert [row["image"] for row in read_csv(tmp_path / "t.csv")] == ["b.png"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["absent.png", "reference.png"], "absent.png does not exist"),
        (["restored.png", "absent.png"], "absent.png does not exist"),
        (["restored.png", "."], ". is a folder and restored.png is a file"),
        (["empty", "empty"], "no images in"),
        (["small", "empty"], f"no reference for {Path('small', 'a.png')};"),
        (["restored.png", "small/a.png"], "31 × 24 pixels, colour"),
        (["restored.png", "grey.png"], "31 × 24 pixels, grey"),
        (["movie.tif", "grey16.tif"], "2 × 3 planes"),
        (["restored.png", "text.png"], "text.png is no image of a kind"),
        (["float.tif", "float.tif"], "with --range LO,HI"),
        (["nan.tif", "nan.tif"], "NaN"),
        (["restored.png", "reference.png", "--axes", "YX"], "restored.png: The axes 'YX'"),
        (["restored.png", "reference.png", "--range", "9,3"], "value of black"),
        (["restored.png", "reference.png", "--range", "data"], "'data' is no range"),
        (["restored.png", "reference.png", "--csv", "absent/t.csv"], "no folder absent"),
        (["restored.png", "reference.png", "--csv", "empty"], "empty is a folder"),
        (["restored.png"], "REFERENCE"),
    ],
)
@pytest.mark.usefixtures("files", "movies")
def test_mistakes_cost_one_sentence(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("small").mkdir()
    write_image("small/a.png", REFERENCE[:9])
    write_image("grey.png", REFERENCE[..., 0])
    write_image("grey16.tif", MOVIE[0, 0])
    write_image("float.tif", REFERENCE.astype(np.float32))
    write_image("nan.tif", np.full((4, 4), np.nan, np.float32))
    Path("text.png").write_text("no image")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert says in complaint(err)
    assert sorted(tmp_path.rglob("*")) == before


def test_zarr_folders_are_images_and_bits_have_their_white(run, tmp_path: Path):
    dim = np.random.default_rng(0).integers(0, 4096, (40, 50), np.uint16)
    for name, values in (("a", dim), ("b", dim // 2)):
        write_image(tmp_path / f"{name}.zarr", values)
        tifffile.imwrite(
            tmp_path / f"{name}.tif",
            values,
            bitspersample=12,
            photometric="minisblack",
            metadata=None,
        )
    code, out, _ = run(tmp_path / "a.zarr", tmp_path / "b.zarr", "--range", "0,4095")
    assert code == 0
    expected = table_of(out)
    # 12 bits are what the TIFF file says of itself.
    code, out, _ = run(tmp_path / "a.tif", tmp_path / "b.tif")
    assert code == 0
    assert list(table_of(out).values()) == list(expected.values())


def test_models_are_used_as_deblur_uses_them(run, tmp_path: Path, files, guided_model: Path):
    """Unless it is told not to, a model that takes a kernel searches for it."""
    given = (*files, "--model", guided_model)
    code, out, err = run(*given)
    assert (code, "guided, found PSF" in out) == (0, True), err
    code, out, err = run(*given, "--psf", "none")
    assert (code, "found PSF" in out) == (0, False), err
