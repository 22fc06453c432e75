"""``darkdeblur deblur`` does what its help says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_darkdeblur import deblur
from napari_darkdeblur.commands import deblur as deblur_command
from napari_darkdeblur.imagefiles import read_image, write_image
from napari_darkdeblur.psf import motion, write_psf

from ..conftest import IMAGE, RNG, complaint


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
