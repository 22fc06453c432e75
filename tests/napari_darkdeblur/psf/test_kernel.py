"""Kernels: what they are, formulas, files."""

import math

import numpy as np
import pytest

from napari_darkdeblur.imagefiles import ImageFileError
from napari_darkdeblur.psf import (
    PSF,
    PSFError,
    disc,
    gaussian,
    motion,
    parse_psf,
    read_psf,
    similarity,
    write_psf,
)

ANGLE = np.random.default_rng(1).uniform(0, 180, 5)


def hook() -> np.ndarray:
    """Return a shape like a hand's shake in a corner of an even-sided array."""
    array = np.zeros((40, 52))
    array[5, 8:20] = 1
    array[5:15, 19] = 2
    return array


def centroid(kernel: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(kernel.shape) - kernel.shape[0] // 2
    return np.array([(rows * kernel).sum(), (columns * kernel).sum()])


@pytest.mark.parametrize(
    "psf",
    [
        PSF.from_array(hook()),
        PSF.from_array(hook()[None, 5:30, 8:21, None].sum(axis=0)),
        PSF.from_array(np.eye(4)),
        PSF.from_array(np.ones((1, 2))),
        motion(0, 10),
        motion(0.3, 45),
        *(motion(17.3, angle) for angle in ANGLE),
        disc(0),
        disc(4.7),
        gaussian(0),
        gaussian(2.2),
    ],
    ids=lambda psf: psf.origin,
)
def test_kernels_are_positive_of_sum_1_and_centred(psf):
    assert psf.kernel.dtype == np.float32
    assert psf.kernel.shape[0] == psf.kernel.shape[1]
    assert psf.kernel.shape[0] % 2 == 1
    assert psf.kernel.min() >= 0
    assert psf.kernel.sum() == pytest.approx(1, abs=1e-5)
    assert np.abs(centroid(psf.kernel)).max() < 0.03


def test_centring_by_parts_of_a_pixel_keeps_the_shape():
    fine = motion(20, 30).kernel
    assert similarity(PSF.from_array(np.pad(fine, ((3, 8), (0, 5)))).kernel, fine) > 0.9999
    moved = PSF.from_array((np.pad(fine, ((0, 1), (0, 0))) + np.pad(fine, ((1, 0), (0, 0)))) / 2)
    assert similarity(moved.kernel, fine) > 0.93


def test_a_motion_has_the_length_and_the_direction_asked_for():
    for angle in ANGLE:
        psf = motion(21.5, angle)
        assert psf.extent == pytest.approx(21.5, rel=0.01)
        assert psf.direction == pytest.approx(angle, abs=0.5)
    # Towards the top right: in rows counted from the top, right means up.
    up_right = motion(9, 45).kernel
    assert np.argmax(up_right[0] + up_right[1]) > up_right.shape[0] // 2


def test_sizes_of_disc_and_gaussian_are_the_theoretical_ones():
    assert disc(6.4).rms_radius == pytest.approx(6.4 / math.sqrt(2), rel=0.01)
    # Each pixel's share of a Gaussian has the variance of the pixel, too.
    assert gaussian(1.5).rms_radius == pytest.approx(math.sqrt(2 * (1.5**2 + 1 / 12)), rel=0.01)
    assert motion(0, 0).is_point
    assert not disc(2).is_point


def test_the_background_is_removed_on_request():
    generator = np.random.default_rng(2)
    noisy = 0.2 + 0.5 * np.pad(hook(), 12) / 2 + 0.01 * generator.normal(size=(64, 76))
    true = PSF.from_array(hook()).kernel
    assert similarity(PSF.from_array(noisy, remove_background=True).kernel, true) > 0.99
    assert similarity(PSF.from_array(noisy).kernel, true) < 0.5


def test_a_background_that_was_left_is_said():
    true = motion(9, 30).kernel
    padded = np.pad(true / true.max(), 6)
    assert PSF.from_array(padded).note == ""
    assert "15 % of its peak" in PSF.from_array(0.85 * padded + 0.15).note
    assert PSF.from_array(0.85 * padded + 0.15, remove_background=True).note == ""
    assert PSF.from_array(0.85 * padded + 0.15, note="known").note == "known"
    # What is only cut off is no background.
    row = np.exp(-(np.arange(-8, 9) ** 2) / (2 * 4.0**2))
    assert PSF.from_array(np.outer(row, row)).note == ""
    assert all(PSF.from_array(disc(radius).kernel).note == "" for radius in (1, 1.5, 2, 3))


def test_discs_are_round_and_straight_motions_are_not():
    assert disc(5).roundness == pytest.approx(1, abs=0.01)
    assert gaussian(2).roundness == pytest.approx(1, abs=0.01)
    assert PSF(np.ones((1, 1), np.float32), "").roundness == 1
    for angle in (0, 30, 90):
        assert motion(30, angle).roundness < 0.1
    assert motion(30, 10).roundness < motion(6, 10).roundness < 0.5


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".png"])
def test_files_keep_the_kernel(tmp_path, suffix):
    psf = PSF.from_array(hook())
    path = tmp_path / f"shake{suffix}"
    assert write_psf(path, psf) == path
    again = read_psf(path)
    tolerance = psf.kernel.max() / 65535 if suffix == ".png" else 1e-7
    assert np.abs(again.kernel - psf.padded(again.kernel.shape[0])).max() <= tolerance
    assert again.origin == path.name
    with pytest.raises(FileExistsError, match="overwrite"):
        write_psf(path, gaussian(1))
    write_psf(path, gaussian(1), overwrite=True)
    assert read_psf(path).rms_radius == pytest.approx(gaussian(1).rms_radius, rel=1e-3)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_texts_name_formulas_and_files(tmp_path):
    assert np.array_equal(parse_psf("motion:12.5,-30").kernel, motion(12.5, -30).kernel)
    assert np.array_equal(parse_psf("Disc: 3").kernel, disc(3).kernel)
    assert np.array_equal(parse_psf("gaussian:1.5").kernel, gaussian(1.5).kernel)
    path = write_psf(tmp_path / "a.npy", disc(3))
    assert similarity(parse_psf(str(path)).kernel, disc(3).kernel) > 0.9999


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("motion:12", "2 numbers"),
        ("motion:12,high", "2 numbers"),
        ("motion:-1,0", "0 to 1000"),
        ("motion:5,inf", "angle"),
        ("disc:nan", "0 to 500"),
        ("gaussian:1,2", "one number"),
        ("motion", "no file"),
        ("square:3", "no such formula"),
    ],
)
def test_what_is_wrong_with_a_text_is_said(text, message):
    with pytest.raises(PSFError, match=message):
        parse_psf(text)


def test_what_is_wrong_with_a_file_is_said(tmp_path):
    np.save(tmp_path / "black.npy", np.zeros((5, 5)))
    np.save(tmp_path / "nan.npy", np.full((5, 5), np.nan))
    np.save(tmp_path / "text.npy", np.array(["a"]))
    np.save(tmp_path / "stack.npy", np.ones((2, 3, 4, 5)))
    np.save(tmp_path / "large.npy", np.ones((3, 1100)))
    (tmp_path / "empty.npy").touch()
    (tmp_path / "text.png").write_text("no picture")
    for name, message in {
        "black.npy": "nothing is above zero",
        "nan.npy": "not numbers",
        "text.npy": "numbers",
        "stack.npy": "shape",
        "large.npy": "too large",
        "empty.npy": "cannot be read",
    }.items():
        with pytest.raises(PSFError, match=message):
            read_psf(tmp_path / name)
    with pytest.raises(ImageFileError):
        read_psf(tmp_path / "text.png")
    with pytest.raises(FileNotFoundError):
        read_psf(tmp_path / "missing.npy")
    with pytest.raises(PSFError, match=r"\.jpg"):
        write_psf(tmp_path / "kernel.jpg", disc(2))


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (np.full((4, 4), 1 / 16), "odd"),
        (np.full((3, 3), 1.0), "sum 1"),
        (np.array([[0, 0, 0], [0, 0, 1], [0, 0, 0]]), "shifted"),
    ],
)
def test_a_psf_takes_no_array_that_is_none(kernel, message):
    with pytest.raises(PSFError, match=message):
        PSF(kernel, "test")


def test_similarity_knows_shifts_and_differences():
    one, other = motion(15, 20).kernel, motion(15, 110).kernel
    assert similarity(one, np.roll(np.pad(one, 4), (2, -3), (0, 1))) == pytest.approx(1, abs=1e-5)
    assert similarity(one, np.roll(np.pad(one, 4), 4, 0), max_shift=1) < 0.8
    assert similarity(one, other) == pytest.approx(similarity(other, one), abs=1e-5)
    assert similarity(one, other) < 0.3
