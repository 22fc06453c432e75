"""The metrics are the published ones, on a fixed data range."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_darkdeblur.metrics import (
    ciede2000,
    compare,
    ms_ssim,
    psnr,
    ssim,
)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).random((170, 165, 3))


def test_ciede2000_is_symmetric():
    first, second = np.random.default_rng(0).random((2, 6, 7, 3))
    assert ciede2000(first, second) == pytest.approx(ciede2000(second, first))


def test_black_and_white_are_100_apart():
    black, white = np.zeros((4, 5, 3)), np.ones((4, 5, 3))
    assert ciede2000(black, white).mean == pytest.approx(100, abs=1e-2)


def test_ciede2000_reports_the_worst_twentieth():
    reference = np.full((10, 10), 0.5)
    restored = reference.copy()
    restored[0, :] = 1.0  # a tenth of the pixels, so that the 95th percentile is one of them
    difference = ciede2000(restored, reference)
    worst = ciede2000(np.ones((1, 1)), np.full((1, 1), 0.5)).mean
    assert difference.p95 == pytest.approx(worst)
    assert difference.mean == pytest.approx(worst / 10)


def test_the_same_image_has_the_best_value_of_every_metric(image: np.ndarray):
    assert psnr(image, image) == math.inf
    assert ssim(image, image) == pytest.approx(1)
    assert ms_ssim(image, image) == pytest.approx(1)
    assert ciede2000(image, image) == (0, 0)


@pytest.mark.parametrize("level", [0.0, 0.05, 0.5])
def test_psnr_does_not_depend_on_the_brightness_of_the_image(level: float):
    # An inferred data range would make these differ.
    reference = np.full((12, 12, 3), level)
    assert psnr(reference + 0.1, reference) == pytest.approx(20)


def test_ssim_is_that_of_its_definition():
    """One window's SSIM written out: 11 × 11 pixels have exactly one whole window."""
    rng = np.random.default_rng(1)
    x, y = rng.random((11, 11)), rng.random((11, 11))
    offset = np.arange(11) - 5
    window = np.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    mean_x, mean_y = (window * x).sum(), (window * y).sum()
    var_x = (window * x**2).sum() - mean_x**2
    var_y = (window * y**2).sum() - mean_y**2
    cov = (window * x * y).sum() - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    expected = ((2 * mean_x * mean_y + c1) * (2 * cov + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    assert ssim(x, y) == pytest.approx(expected)


def test_ms_ssim_falls_with_blur_and_noise(image: np.ndarray):
    noisy = np.clip(image + np.random.default_rng(2).normal(0, 0.1, image.shape), 0, 1)
    noisier = np.clip(image + np.random.default_rng(2).normal(0, 0.3, image.shape), 0, 1)
    assert 1 > ms_ssim(noisy, image) > ms_ssim(noisier, image) > 0


def test_grey_images_are_measured_like_rgb_with_equal_channels(image: np.ndarray):
    grey, other = image[:, :, 0], image[:, :, 1]
    rgb = np.repeat(grey[:, :, None], 3, axis=2)
    other_rgb = np.repeat(other[:, :, None], 3, axis=2)
    assert compare(grey, other) == pytest.approx(compare(rgb, other_rgb))
    assert ms_ssim(grey, other) == pytest.approx(ms_ssim(rgb, other_rgb))


def test_compare_is_the_single_metrics_together(image: np.ndarray):
    restored = image[::-1]
    found = compare(restored, image)
    assert found.psnr == psnr(restored, image)
    assert found.ssim == ssim(restored, image)
    assert (found.ciede2000_mean, found.ciede2000_p95) == ciede2000(restored, image)


@pytest.mark.parametrize("metric", [psnr, ssim, ms_ssim, ciede2000])
@pytest.mark.parametrize(
    ("restored", "reference", "says"),
    [
        (np.zeros((200, 200), np.uint8), np.zeros((200, 200)), "holds uint8"),
        (np.full((200, 200), 1.5), np.zeros((200, 200)), "0..1"),
        (np.zeros((200, 200)), np.full((200, 200), -0.1), "reference image has values"),
        (np.full((200, 200), np.nan), np.zeros((200, 200)), "nan"),
        (np.zeros((200, 201)), np.zeros((200, 200)), "same shape"),
        (np.zeros((200, 200, 4)), np.zeros((200, 200, 4)), "(200, 200, 4)"),
        (np.zeros((0, 200)), np.zeros((0, 200)), "(0, 200)"),
    ],
)
def test_images_that_cannot_be_compared_are_refused(metric, restored, reference, says):
    with pytest.raises(ValueError) as caught:
        metric(restored, reference)
    assert says in str(caught.value)


@pytest.mark.parametrize(("metric", "least"), [(ssim, 11), (ms_ssim, 161)])
def test_the_least_size_is_what_the_error_says(metric, least: int):
    with pytest.raises(ValueError, match=f"at least {least}"):
        metric(np.zeros((least - 1, 300)), np.zeros((least - 1, 300)))
    assert metric(np.zeros((least, 300)), np.zeros((least, 300))) == pytest.approx(1)
