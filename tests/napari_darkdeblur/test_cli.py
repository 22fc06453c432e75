"""The command does what its help says, and a mistake costs one sentence."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_darkdeblur import __version__, cli, deblur, demo, save_weights
from napari_darkdeblur.commands import deblur as deblur_command
from napari_darkdeblur.commands.demo import DEMO_FILES
from napari_darkdeblur.imagefiles import read_image, write_image
from napari_darkdeblur.metrics import compare
from napari_darkdeblur.network import DEFAULT_MODEL, THOROUGH_MODEL, library
from napari_darkdeblur.psf import PSF, gaussian, motion, read_psf, similarity, write_psf
from napari_darkdeblur.psf_picture import kernel_picture
from napari_darkdeblur.restore import search

from .conftest import GUIDED, assert_sentence, make_network

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (20, 24, 3), np.uint8)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return write_image(tmp_path / "photo.png", IMAGE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of three images of different kinds, and what is none of them."""
    path = tmp_path / "in"
    path.mkdir()
    write_image(path / "b.png", IMAGE)
    write_image(path / "a.tif", RNG.integers(0, 65536, (9, 8), np.uint16))
    write_image(path / "C.JPG", IMAGE)
    (path / "notes.txt").write_text("no image")
    (path / ".hidden.png").write_text("no image")
    (path / "sub").mkdir()
    write_image(path / "sub" / "d.png", IMAGE)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """Return a function that runs the command: exit code, standard output and error."""

    def run_command(*arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run_command


@pytest.fixture
def small_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "photograph", lambda: np.tile(IMAGE, (7, 6, 1)))


def complaint(err: str) -> str:
    """Return what an error output says, which is one sentence and nothing else."""
    assert err.startswith("darkdeblur: error: ")
    assert err.endswith("\n")
    assert_sentence(err[:-1])
    return err


# --- deblur, a file


def test_a_file_is_restored(run, tmp_path: Path, photo: Path, random_model: Path):
    code, out, err = run("deblur", photo, tmp_path / "out.png", "--model", random_model)
    assert (code, err) == (0, "")
    assert "random" in out
    restored = read_image(tmp_path / "out.png").pixels
    np.testing.assert_array_equal(restored, deblur(IMAGE, random_model))


@pytest.mark.parametrize(
    ("name", "dtype", "shape"),
    [
        ("a.png", np.uint16, (7, 9, 3)),
        ("a.png", np.uint8, (7, 9, 4)),
        ("a.tif", np.float32, (7, 9)),
        ("a.tif", np.uint16, (7, 9, 4)),
    ],
)
def test_dtype_size_and_alpha_stay(
    run, tmp_path: Path, random_model: Path, name: str, dtype, shape
):
    image = RNG.random(shape)
    if dtype != np.float32:
        image = image * np.iinfo(dtype).max
    image = image.astype(dtype)
    write_image(tmp_path / name, image)
    code, _, _ = run("deblur", tmp_path / name, tmp_path / f"b{name}", "--model", random_model)
    restored = read_image(tmp_path / f"b{name}").pixels
    assert code == 0
    assert (restored.dtype, restored.shape) == (image.dtype, image.shape)
    assert (restored != image).any()
    if shape[-1] == 4:
        np.testing.assert_array_equal(restored[..., 3], image[..., 3])


def test_the_ending_of_the_output_decides_the_format(
    run, tmp_path: Path, photo: Path, identity: Path
):
    assert run("deblur", photo, tmp_path / "out.tif", "--model", identity)[0] == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), IMAGE)


def test_a_range_is_given_in_the_image_s_values(run, tmp_path: Path, random_model: Path):
    image = RNG.integers(0, 4096, (9, 8), np.uint16)
    write_image(tmp_path / "a.tif", image)
    options = ["--model", random_model, "--range", "0,4095"]
    assert run("deblur", tmp_path / "a.tif", tmp_path / "b.tif", *options)[0] == 0
    np.testing.assert_array_equal(
        read_image(tmp_path / "b.tif").pixels,
        deblur(image, random_model, value_range=(0, 4095)),
    )


def test_values_beyond_the_range_point_to_the_option(run, tmp_path: Path, identity: Path):
    tifffile.imwrite(tmp_path / "a.tif", np.float32([[0, 300]]))
    options = ["--model", identity, "--range", "dtype"]
    code, _, err = run("deblur", tmp_path / "a.tif", tmp_path / "b.tif", *options)
    assert code == 2
    assert "--range LO,HI" in complaint(err)
    assert "300" in err
    assert "a.tif" in err


def test_nan_is_kept_and_noted(run, tmp_path: Path, identity: Path):
    image = np.full((4, 5), 0.5, np.float32)
    image[1, 2] = np.nan
    write_image(tmp_path / "a.tif", image)
    code, _, err = run("deblur", tmp_path / "a.tif", tmp_path / "b.tif", "--model", identity)
    assert code == 0
    assert re.match(r"darkdeblur: note: .*a\.tif: 1 of the image's values", err)
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif").pixels, image)


def test_nothing_is_overwritten_unless_asked(run, tmp_path: Path, photo: Path, identity: Path):
    out = tmp_path / "out.png"
    out.write_text("precious")
    code, _, err = run("deblur", photo, out, "--model", identity)
    assert code == 2
    assert "--overwrite" in complaint(err)
    assert out.read_text() == "precious"
    assert run("deblur", photo, out, "--model", identity, "--overwrite")[0] == 0
    np.testing.assert_array_equal(read_image(out).pixels, IMAGE)


def test_a_file_is_restored_in_place_only_when_asked(run, photo: Path, random_model: Path):
    before = photo.read_bytes()
    code, _, err = run("deblur", photo, photo, "--model", random_model)
    assert code == 2
    assert "--overwrite" in complaint(err)
    assert photo.read_bytes() == before
    assert run("deblur", photo, photo, "--model", random_model, "--overwrite")[0] == 0
    np.testing.assert_array_equal(read_image(photo).pixels, deblur(IMAGE, random_model))


def test_existing_output_is_found_before_the_work(
    run, photo: Path, identity: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        deblur_command, "chosen_model", lambda arguments: pytest.fail("work was begun")
    )
    assert run("deblur", photo, photo, "--model", identity)[0] == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["deblur", "absent.png", "out.png"], "absent.png does not exist"),
        (["deblur", "photo.png", "out.bmp"], "'.bmp'"),
        (["deblur", "photo.png", "absent/out.png"], "no folder absent"),
        (["deblur", "photo.png", "."], "is a folder"),
        (["deblur", "in", "photo.png"], "is a folder and photo.png is a file"),
        (["deblur", "in/sub/empty", "out"], "no images in"),
        (["deblur", "photo.png", "out.png", "--model", "nonesuch"], "no model named 'nonesuch'"),
        (["deblur", "photo.png", "out.png", "--model", "a/b.safetensors"], "no weights file"),
        (["deblur", "photo.png", "out.png", "--model", "photo.png"], "photo.png"),
        (["deblur", "photo.png", "out.png", "--device", "cuda:99"], "'cuda:99'"),
        (["deblur", "photo.png", "out.png", "--range", "1,0"], "value of black"),
        (["deblur", "photo.png", "out.png", "--range", "1"], "is no range"),
        (["deblur", "photo.png", "out.png", "--memory", "much"], "amount of memory"),
        (["deblur", "photo.png", "out.png", "--memory", "1MB"], "may be taken"),
        (["deblur", "photo.png", "out.png", "--tile", "0"], "0 pixels"),
        (["deblur", "photo.png", "out.png", "--axes", "YYC"], "YYC"),
        (["deblur", "photo.png", "out.png", "--precision", "bf16"], "GPU"),
        (["deblur", "photo.png", "out.png", "--scratch", "nowhere"], "not a folder"),
        (["deblur", "photo.png", "out.png", "--psf", "moton:3,4"], "no file moton:3,4"),
        (["deblur", "photo.png", "out.png", "--psf", "motion:3"], "2 numbers"),
        (["deblur", "photo.png", "out.png", "--psf", "disc:4"], "cannot use a kernel"),
        (["deblur", "photo.png", "out.png", "--light", "sun"], "'sun'"),
        (["psf", "absent.png"], "absent.png does not exist"),
        (["psf", "photo.png", "-o", "psf.jpg"], "must end in .tif"),
        (["psf", "photo.png", "-o", "absent/psf.tif"], "no folder absent"),
        (["psf", "photo.png", "-o", "in/b.png"], "--overwrite"),
        (["psf", "photo.png", "-o", "photo.png", "--overwrite"], "the image itself"),
        (["psf", "photo.png", "--picture", "psf.tif"], "must end in .png"),
        (["psf", "photo.png", "--picture", "p.png", "-o", "p.png"], "a file each"),
        (["psf", "photo.png", "--plane", "1"], "planes are 0 to 0"),
        (["psf", "photo.png", "--from-points", "1,2,3"], "is no rectangle"),
        (["psf", "photo.png", "--from-points", "1,2,0,3"], "is no rectangle"),
        (["psf", "photo.png", "--from-points", "1,2,90,3"], "outside photo.png"),
        (["psf", "photo.png"], "too small to find a shake"),
        (["psf", "photo.png", "--range", "1"], "is no range"),
        (["deblur", "in/a.tif", "out.jpg"], "write PNG or TIFF instead"),
        (["deblur", "in/notes.txt", "out.png"], "no image of a kind"),
        (["deblur", "photo.png"], "required: OUTPUT (see darkdeblur deblur --help)"),
        (["deblur", "photo.png", "out.png", "--sharper"], "--sharper"),
        (["sharpen"], "sharpen"),
        ([], "COMMAND"),
        (["demo", "--out", "photo.png"], "photo.png is a file"),
        (["demo", "--model", "nonesuch"], "nonesuch"),
        (["demo", "--device", "gpu"], "'gpu'"),
    ],
)
def test_mistakes_cost_one_sentence(
    run,
    tmp_path: Path,
    photo: Path,
    folder: Path,
    identity: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    says: str,
):
    monkeypatch.chdir(tmp_path)
    (folder / "sub" / "empty").mkdir()
    if arguments and arguments[0] != "sharpen" and "--model" not in arguments:
        arguments = [*arguments, "--model", str(identity)]
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert says in complaint(err)
    assert sorted(tmp_path.rglob("*")) == before


# --- deblur, a folder


def test_a_folder_is_restored_with_its_names(run, tmp_path, folder: Path, random_model: Path):
    target = tmp_path / "deep" / "out"
    code, out, err = run("deblur", folder, target, "--model", random_model)
    assert code == 0
    notes = [line for line in err.splitlines() if "is left out" in line]
    assert err.splitlines() == notes
    assert len(notes) == 2  # a text and a subfolder
    assert "3 of 3 images" in out
    assert sorted(path.name for path in target.iterdir()) == ["C.JPG", "a.tif", "b.png"]
    for name in ("a.tif", "b.png"):
        np.testing.assert_array_equal(
            read_image(target / name).pixels,
            deblur(folder / name, random_model),
        )


def test_a_bad_file_is_reported_and_the_rest_goes_on(run, tmp_path, folder, identity: Path):
    (folder / "aa.png").write_bytes((folder / "b.png").read_bytes()[:300])
    code, out, err = run("deblur", folder, tmp_path / "out", "--model", identity)
    assert code == 1
    (error,) = [line for line in err.splitlines() if "error" in line]
    assert "aa.png" in complaint(f"{error}\n")
    assert "3 of 4 images" in out
    assert "1 failed" in out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["C.JPG", "a.tif", "b.png"]


def test_all_existing_outputs_are_found_before_the_work(run, tmp_path, folder, identity: Path):
    target = tmp_path / "out"
    target.mkdir()
    for name in ("C.JPG", "b.png"):
        (target / name).write_text("precious")
    code, _, err = run("deblur", folder, target, "--model", identity)
    assert code == 2
    assert "C.JPG and 1 more" in complaint(err)
    assert not (target / "a.tif").exists()
    assert (target / "b.png").read_text() == "precious"
    assert run("deblur", folder, target, "--model", identity, "--overwrite")[0] == 0


def test_a_folder_is_not_restored_into_itself_unless_asked(run, folder: Path, identity: Path):
    assert run("deblur", folder, folder, "--model", identity)[0] == 2
    assert run("deblur", folder, folder, "--model", identity, "--overwrite")[0] == 0


# --- deblur and psf, kernels


@pytest.fixture
def guided_model(tmp_path: Path) -> Path:
    return save_weights(tmp_path / "guided.safetensors", make_network(GUIDED))


@pytest.fixture
def lamp(tmp_path: Path) -> Path:
    """Return a night picture in which a lamp, 12-bit grey, has drawn a shake of 15 pixels."""
    image = np.full((80, 90), 200, np.uint16)
    image[40, 30:45] = 3000
    return write_image(tmp_path / "lamp.tif", image)


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch):
    """Return a function that lets the search find a motion of 14 px with some confidence."""

    def choose(confidence: float) -> PSF:
        psf = PSF(motion(14, 45).kernel, "found", confidence)

        def estimate(image, restorer, *, progress, **rest):
            progress(0.5)
            return psf

        monkeypatch.setattr(search, "estimate", estimate)
        return psf

    return choose


def test_a_kernel_is_given_by_formula_or_file(run, tmp_path: Path, photo: Path, guided_model: Path):
    write_psf(tmp_path / "psf.tif", motion(9, 30))
    for name, psf in (("a.png", "motion:9,30"), ("b.png", tmp_path / "psf.tif")):
        code, _, err = run("deblur", photo, tmp_path / name, "--model", guided_model, "--psf", psf)
        assert code == 0
        assert "sRGB" in err
    expected = deblur(IMAGE, guided_model, psf=motion(9, 30))
    assert (expected != deblur(IMAGE, guided_model)).any()
    for name in ("a.png", "b.png"):
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels, expected)
    linear = ["--psf", "motion:9,30", "--light", "linear"]
    code, _, err = run("deblur", photo, tmp_path / "c.png", "--model", guided_model, *linear)
    assert (code, err) == (0, "")
    assert (read_image(tmp_path / "c.png").pixels != expected).any()


@pytest.mark.parametrize("option", [[], ["--psf", "auto"], ["--psf", "none"]], ids=" ".join)
def test_by_default_a_kernel_is_searched_used_and_told(
    run, tmp_path: Path, photo: Path, guided_model: Path, finds, option: list[str]
):
    psf = finds(0.9)
    out = tmp_path / "out.png"
    code, _, err = run("deblur", photo, out, "--model", guided_model, *option)
    assert code == 0
    searched = option[1:] != ["none"]
    assert ("Found a shake of 14 px, towards the upper right; used." in err) == searched
    expected = deblur(IMAGE, guided_model, psf=psf if searched else None)
    np.testing.assert_array_equal(read_image(out).pixels, expected)


def test_kernels_of_planes_are_all_told(run, tmp_path: Path, guided_model: Path, finds):
    finds(0.9)
    tifffile.imwrite(tmp_path / "a.tif", np.stack([IMAGE[..., 0]] * 3), photometric="minisblack")
    options = ["--model", guided_model, "--psf", "auto-each", "--axes", "TYX"]
    code, _, err = run("deblur", tmp_path / "a.tif", tmp_path / "b.tif", *options)
    assert code == 0
    assert [err.count(f"in plane (T {plane}); used.") for plane in range(3)] == [1, 1, 1]


def test_a_kernel_is_found_written_and_drawn(
    run, tmp_path: Path, photo: Path, guided_model: Path, finds
):
    psf = finds(0.93)
    files = ["-o", tmp_path / "psf.tif", "--picture", tmp_path / "psf.png"]
    code, out, err = run("psf", photo, *files, "--model", guided_model)
    assert (code, err) == (0, "")
    assert "14 px, towards the upper right" in out
    assert re.search(r"^confidence +0\.93$", out, re.MULTILINE)
    assert re.search(r"^direction +45°", out, re.MULTILINE)
    np.testing.assert_allclose(read_psf(tmp_path / "psf.tif").kernel, psf.kernel, atol=1e-6)
    picture = read_image(tmp_path / "psf.png").pixels
    assert picture.dtype == np.uint8
    assert picture.shape[1] > picture.shape[0] > 200
    code, _, err = run("psf", photo, *files, "--model", guided_model)
    assert code == 2
    assert "--overwrite" in complaint(err)
    assert run("psf", photo, *files, "--model", guided_model, "--overwrite")[0] == 0


def test_what_is_not_sure_is_written_and_said(
    run, tmp_path: Path, photo: Path, guided_model: Path, finds
):
    finds(0.2)
    code, out, err = run("psf", photo, "-o", tmp_path / "psf.npy", "--model", guided_model)
    assert code == 0
    assert (tmp_path / "psf.npy").exists()
    assert "0.20" in out
    assert "darkdeblur: note: " in err
    assert "No single shake found" in err


def test_a_kernel_is_taken_from_a_lamp(run, tmp_path: Path, lamp: Path):
    options = ["--range", "0,4095", "--from-points", "22,32,32,17"]
    picture = tmp_path / "p.png"
    code, out, err = run("psf", lamp, "-o", tmp_path / "psf.tif", "--picture", picture, *options)
    assert (code, err) == (0, "")
    assert "15 px, horizontal" in out
    assert "not judged" in out
    assert similarity(read_psf(tmp_path / "psf.tif").kernel, motion(15, 0).kernel) > 0.95
    code, _, err = run("psf", lamp, "--range", "0,300", "--from-points", "0,0,20,20")
    assert code == 2
    assert "Rectangle 1" in complaint(err) or "rectangle 1" in complaint(err)


def test_the_picture_shows_the_kernel_as_it_lies():
    kernel = np.zeros((5, 5), np.float32)
    kernel[1, 3], kernel[3, 1], kernel[2, 2] = 0.25, 0.25, 0.5
    drawn = kernel_picture(PSF(kernel, "drawn"), 53)
    assert drawn.shape == (53, 53)
    assert drawn.max() == 255
    cells = drawn[1:51, 1:51].reshape(5, 10, 5, 10)
    np.testing.assert_array_equal(cells[1, :, 3], round(255 * 0.5**0.5))
    np.testing.assert_array_equal(cells.max(axis=(1, 3)) > 0, kernel > 0)
    assert kernel_picture(gaussian(100), 53).shape == (53, 53)


# --- models


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bundled"
    path.mkdir()
    monkeypatch.setattr(library, "files", lambda package: path)
    return path


def test_models_are_listed_and_the_default_is_marked(run, bundled: Path, models_folder: Path):
    models_folder.mkdir()
    save_weights(bundled / f"{DEFAULT_MODEL}.safetensors", make_network(), summary="The small one.")
    save_weights(models_folder / "mine.safetensors", make_network(), summary="My own.")
    (models_folder / "broken.safetensors").touch()
    save_weights(models_folder / "led.safetensors", make_network(GUIDED), summary="For shakes.")
    code, out, err = run("models")
    assert (code, err) == (0, "")
    assert re.search(r"^  led +user +For shakes; takes a kernel$", out, re.MULTILINE)
    assert re.search(rf"^\* {DEFAULT_MODEL} +bundled +The small one\.$", out, re.MULTILINE)
    assert re.search(r"^  mine +user +My own\.$", out, re.MULTILINE)
    assert re.search(r"^  broken +user +cannot be used: ", out, re.MULTILINE)
    assert str(models_folder) in out


def test_the_user_s_own_default_is_the_marked_one(run, bundled: Path, models_folder: Path):
    models_folder.mkdir()
    save_weights(bundled / f"{DEFAULT_MODEL}.safetensors", make_network())
    shutil.copy(bundled / f"{DEFAULT_MODEL}.safetensors", models_folder)
    _, out, _ = run("models")
    assert re.findall(rf"^\* {DEFAULT_MODEL} +(\w+)", out, re.MULTILINE) == ["user"]


def test_both_models_of_auto_are_named(run, bundled: Path):
    for name in (DEFAULT_MODEL, THOROUGH_MODEL):
        save_weights(bundled / f"{name}.safetensors", make_network())
    _, out, _ = run("models")
    assert f"on a GPU, and for small images, {THOROUGH_MODEL} is." in out


def test_auto_says_which_model_it_chose_for_each_size(run, bundled: Path, tmp_path: Path):
    for name in (DEFAULT_MODEL, THOROUGH_MODEL):
        save_weights(bundled / f"{name}.safetensors", make_network())
    source = tmp_path / "in"
    source.mkdir()
    write_image(source / "small.png", np.zeros((16, 16, 3), np.uint8))
    _, out, _ = run("deblur", source / "small.png", tmp_path / "out.png", "--device", "cpu")
    assert f"(with {THOROUGH_MODEL} on cpu" in out
    write_image(source / "large.png", np.zeros((520, 520, 3), np.uint8))
    _, out, _ = run("deblur", source, tmp_path / "out", "--device", "cpu")
    assert f"(with {THOROUGH_MODEL} and {DEFAULT_MODEL} on cpu" in out


def test_without_models_the_folder_for_them_is_shown(run, bundled: Path, models_folder: Path):
    code, out, _ = run("models")
    assert code == 0
    assert "no models" in out
    assert str(models_folder) in out


# --- demo


@pytest.mark.usefixtures("small_photograph")
def test_the_demo_measures_what_it_wrote(run, tmp_path: Path, random_model: Path):
    target = tmp_path / "demo"
    code, out, err = run("demo", "--out", target, "--model", random_model)
    assert (code, err) == (0, "")
    files = {name: read_image(target / name).pixels for name in DEMO_FILES}
    assert sorted(path.name for path in target.iterdir()) == sorted(files)
    pair = demo.make_demo_pair()
    np.testing.assert_array_equal(files["blurred.png"], pair.blurred)
    np.testing.assert_array_equal(files["reference.png"], pair.reference)
    np.testing.assert_array_equal(files["restored.png"], deblur(pair.blurred, random_model))
    rows = {
        line.split()[0]: [float(text) for text in line.split()[1:]]
        for line in out.splitlines()
        if line.startswith(("blurred", "restored", "gain"))
    }
    for name in ("blurred", "restored"):
        measured = compare(files[f"{name}.png"] / 255, pair.reference / 255)
        assert rows[name] == pytest.approx(measured, abs=0.0051)
    # Less colour difference is a gain.
    signs = np.array([1, 1, -1, -1])
    assert rows["gain"] == pytest.approx(
        signs * (np.array(rows["restored"]) - rows["blurred"]), abs=0.011
    )
    assert "cpu" in out
    assert str(target / "comparison.png") in out


@pytest.mark.usefixtures("small_photograph")
def test_the_demo_needs_no_arguments(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models_folder: Path
):
    monkeypatch.chdir(tmp_path)
    models_folder.mkdir()
    save_weights(models_folder / f"{DEFAULT_MODEL}.safetensors", make_network())
    assert run("demo", "--device", "cpu")[0] == 0
    assert {path.name for path in (tmp_path / "darkdeblur-demo").iterdir()} == set(DEMO_FILES)


@pytest.mark.usefixtures("small_photograph")
def test_an_earlier_demo_is_replaced_only_when_asked(run, tmp_path: Path, identity: Path):
    (tmp_path / "restored.png").write_text("precious")
    code, _, err = run("demo", "--out", tmp_path, "--model", identity)
    assert code == 2
    assert "restored.png" in complaint(err)
    assert "--overwrite" in err
    assert (tmp_path / "restored.png").read_text() == "precious"
    assert not (tmp_path / "blurred.png").exists()
    assert run("demo", "--out", tmp_path, "--model", identity, "--overwrite")[0] == 0


# --- the process


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"darkdeblur {__version__}\n"


@pytest.mark.parametrize("command", [[], ["deblur"], ["evaluate"], ["models"], ["demo"]])
def test_help_is_shown(command: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        cli.main([*command, "--help"])
    assert caught.value.code == 0
    assert "usage: darkdeblur" in capsys.readouterr().out


def test_an_interrupt_ends_quietly(
    run, tmp_path: Path, photo: Path, identity: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(deblur_command, "_restore_file", interrupt)
    assert run("deblur", photo, tmp_path / "out.png", "--model", identity) == (130, "", "")


def test_a_failing_disk_costs_one_sentence(
    run, tmp_path: Path, photo: Path, identity: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "out.png")

    monkeypatch.setattr(deblur_command, "_restore_file", fail)
    code, _, err = run("deblur", photo, tmp_path / "out.png", "--model", identity)
    assert code == 2
    assert "out.png: Permission denied" in complaint(err)


def test_a_reader_that_leaves_early_is_no_error():
    command = Path(sys.executable).with_name("darkdeblur")
    process = subprocess.Popen(
        [command, "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()  # before the command has anything to say
    process.stdout = None
    _, err = process.communicate()
    assert (process.returncode, err) == (1, "")


def test_a_bug_is_not_hidden(
    tmp_path: Path, photo: Path, identity: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(deblur_command, "_restore_file", fail)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["deblur", str(photo), str(tmp_path / "out.png"), "--model", str(identity)])


def test_the_installed_command_runs(tmp_path: Path, photo: Path, identity: Path):
    command = Path(sys.executable).with_name("darkdeblur")
    done = subprocess.run(
        [command, "deblur", photo, tmp_path / "out.png", "--model", identity],
        capture_output=True,
        text=True,
        check=False,
    )
    # No progress bar where standard error is not a terminal.
    assert (done.returncode, done.stderr) == (0, "")
    np.testing.assert_array_equal(read_image(tmp_path / "out.png").pixels, IMAGE)
    again = subprocess.run(
        [command, "deblur", photo, tmp_path / "out.png", "--model", identity],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 2
    complaint(again.stderr)
