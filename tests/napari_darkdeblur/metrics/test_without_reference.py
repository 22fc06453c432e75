"""Measures without a reference say what their names say, and no more."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage
from skimage.data import astronaut

from napari_darkdeblur.metrics import measure


def sharpness(image: np.ndarray) -> float:
    return measure(image)["Sharpness (%/px)"] / 100


def noise(image: np.ndarray) -> float:
    return measure(image)["Noise (%)"] / 100


def clipped(image: np.ndarray) -> tuple[float, float]:
    found = measure(image)
    return found["At black (%)"] / 100, found["At white (%)"] / 100


def change(restored: np.ndarray, original: np.ndarray) -> tuple[float, float]:
    found = measure(restored, original=original)
    return found["Mean change (%)"] / 100, found["Largest change (%)"] / 100


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    return astronaut()[:300, 100:350] / 255


def noisy(image: np.ndarray, deviation: float) -> np.ndarray:
    return image + np.random.default_rng(0).normal(0, deviation, image.shape)


# --- sharpness


def test_a_ramp_has_the_sharpness_of_its_slope():
    ramp = np.tile(0.2 + 0.01 * np.arange(50), (40, 1))
    inside = ramp.mean()
    # At the two outermost columns only half of the difference is seen.
    expected = math.sqrt((48 * 0.01**2 + 2 * 0.005**2) / 50) / inside
    assert sharpness(ramp) == pytest.approx(expected)
    assert sharpness(ramp.T) == pytest.approx(expected)


def test_blur_lowers_sharpness(photograph: np.ndarray):
    blurred = [ndimage.gaussian_filter(photograph, (s, s, 0)) for s in (0.0, 1.0, 2.0, 4.0)]
    values = [sharpness(image) for image in blurred]
    assert values == sorted(values, reverse=True)
    assert values[0] > 2 * values[-1]


def test_sharpness_does_not_depend_on_the_exposure(photograph: np.ndarray):
    assert sharpness(photograph / 8) == pytest.approx(sharpness(photograph))


def test_noise_and_ringing_raise_sharpness_as_its_docstring_warns(photograph: np.ndarray):
    soft = 0.3 + 0.4 * ndimage.gaussian_filter(photograph, (4, 4, 0))
    ringing = soft + 2 * (soft - ndimage.gaussian_filter(soft, (4, 4, 0)))
    assert sharpness(noisy(soft, 0.03)) > 1.5 * sharpness(soft)
    assert sharpness(ringing) > 1.5 * sharpness(soft)


def test_even_and_black_images():
    assert sharpness(np.full((5, 6, 3), 0.5)) == pytest.approx(0, abs=1e-12)
    assert math.isnan(sharpness(np.zeros((5, 6))))


# --- noise


@pytest.mark.parametrize("deviation", [0.002, 0.01, 0.05])
@pytest.mark.parametrize("shape", [(200, 200), (120, 120, 3)])
def test_noise_on_an_even_image_is_found(deviation: float, shape: tuple[int, ...]):
    assert noise(noisy(np.full(shape, 0.5), deviation)) == pytest.approx(deviation, rel=0.05)


@pytest.mark.parametrize("deviation", [0.02, 0.05])
def test_noise_on_a_photograph_is_found(photograph: np.ndarray, deviation: float):
    clean = 0.25 + 0.5 * ndimage.gaussian_filter(photograph, (1, 1, 0))
    assert noise(noisy(clean, deviation)) == pytest.approx(deviation, rel=0.1)


def test_edges_are_no_noise():
    squares = np.full((96, 96), 0.2)
    squares[np.indices(squares.shape).sum(axis=0) % 32 < 16] = 0.8  # slanted stripes
    assert noise(squares) == 0
    assert noise(noisy(squares, 0.02)) == pytest.approx(0.02, rel=0.5)


def test_noise_that_is_cut_off_at_black_does_not_pass_for_none():
    half = np.full((200, 200), 0.5)
    half[:, :120] = 0.0  # more than half of the image tells nothing
    cut = np.clip(noisy(half, 0.01), 0, 1)
    cut[:, :120] = 0.0
    assert noise(cut) == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_the_noise_of_a_clipped_image_is_unknown(level: float):
    assert math.isnan(noise(np.full((9, 9, 3), level)))


def test_too_small_an_image_has_no_noise_to_measure():
    assert "Noise (%)" not in measure(np.full((2, 9), 0.5))
    assert noise(np.full((3, 3), 0.5)) == 0


# --- clipping and change


def test_clipped_shares_count_values():
    image = np.full((4, 5, 3), 0.5)
    image[0, :, 0] = 0.0
    image[1:3, :, 1] = 1.0
    assert clipped(image) == pytest.approx((5 / 60, 10 / 60))


def test_change_is_mean_and_largest_difference():
    original = np.full((4, 5), 0.5)
    restored = original.copy()
    restored[0, 0], restored[1, 1] = 0.4, 0.8
    assert change(restored, original) == pytest.approx((0.4 / 20, 0.3))
    assert change(original, original) == (0, 0)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((9, 9), np.uint8), "holds uint8"),
        (np.full((9, 9), 1.5), "0..1"),
        (np.full((9, 9), np.nan), "nan"),
        (np.zeros((9, 9, 4)), "(9, 9, 4)"),
    ],
)
def test_images_that_cannot_be_measured_are_refused(image: np.ndarray, says: str):
    with pytest.raises(ValueError) as caught:
        measure(image)
    assert says in str(caught.value)


def test_a_change_between_different_shapes_is_refused():
    with pytest.raises(ValueError, match="original"):
        change(np.zeros((4, 5)), np.zeros((5, 4)))
