"""``darkdeblur psf`` finds, writes and draws kernels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from napari_darkdeblur.imagefiles import read_image
from napari_darkdeblur.psf import PSF, gaussian, motion, read_psf, similarity
from napari_darkdeblur.psf_picture import kernel_picture

from ..conftest import complaint


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
    point = kernel_picture(PSF(np.ones((1, 1), np.float32), "no blur"), 50)
    np.testing.assert_array_equal(np.argwhere(point).min(axis=0), (20, 20))
    np.testing.assert_array_equal(np.argwhere(point).max(axis=0), (29, 29))
