"""The metrics are the published ones, on a fixed data range."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_darkdeblur.metrics import (
    ciede2000,
    ciede2000_of_lab,
    compare,
    ms_ssim,
    psnr,
    ssim,
)

# Sharma, Wu and Dalal 2005, "The CIEDE2000 Color-Difference Formula", Table 1.
SHARMA = np.array(
    [
        [50.0000, 2.6772, -79.7751, 50.0000, 0.0000, -82.7485, 2.0425],
        [50.0000, 3.1571, -77.2803, 50.0000, 0.0000, -82.7485, 2.8615],
        [50.0000, 2.8361, -74.0200, 50.0000, 0.0000, -82.7485, 3.4412],
        [50.0000, -1.3802, -84.2814, 50.0000, 0.0000, -82.7485, 1.0000],
        [50.0000, -1.1848, -84.8006, 50.0000, 0.0000, -82.7485, 1.0000],
        [50.0000, -0.9009, -85.5211, 50.0000, 0.0000, -82.7485, 1.0000],
        [50.0000, 0.0000, 0.0000, 50.0000, -1.0000, 2.0000, 2.3669],
        [50.0000, -1.0000, 2.0000, 50.0000, 0.0000, 0.0000, 2.3669],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0009, 7.1792],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0010, 7.1792],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0011, 7.2195],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0012, 7.2195],
        [50.0000, -0.0010, 2.4900, 50.0000, 0.0009, -2.4900, 4.8045],
        [50.0000, -0.0010, 2.4900, 50.0000, 0.0010, -2.4900, 4.8045],
        [50.0000, -0.0010, 2.4900, 50.0000, 0.0011, -2.4900, 4.7461],
        [50.0000, 2.5000, 0.0000, 50.0000, 0.0000, -2.5000, 4.3065],
        [50.0000, 2.5000, 0.0000, 73.0000, 25.0000, -18.0000, 27.1492],
        [50.0000, 2.5000, 0.0000, 61.0000, -5.0000, 29.0000, 22.8977],
        [50.0000, 2.5000, 0.0000, 56.0000, -27.0000, -3.0000, 31.9030],
        [50.0000, 2.5000, 0.0000, 58.0000, 24.0000, 15.0000, 19.4535],
        [50.0000, 2.5000, 0.0000, 50.0000, 3.1736, 0.5854, 1.0000],
        [50.0000, 2.5000, 0.0000, 50.0000, 3.2972, 0.0000, 1.0000],
        [50.0000, 2.5000, 0.0000, 50.0000, 1.8634, 0.5757, 1.0000],
        [50.0000, 2.5000, 0.0000, 50.0000, 3.2592, 0.3350, 1.0000],
        [60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644],
        [63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630],
        [61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731],
        [35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645],
        [22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373],
        [36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146],
        [90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441],
        [90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381],
        [6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377],
        [2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082],
    ]
)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).random((170, 165, 3))


def test_ciede2000_agrees_with_the_published_pairs():
    # The ninth to fifteenth pairs sit on either side of a discontinuity, to four decimals.
    found = ciede2000_of_lab(SHARMA[:, 0:3], SHARMA[:, 3:6])
    np.testing.assert_allclose(found, SHARMA[:, 6], atol=5.1e-5)


def test_ciede2000_is_symmetric():
    there = ciede2000_of_lab(SHARMA[:, 0:3], SHARMA[:, 3:6])
    back = ciede2000_of_lab(SHARMA[:, 3:6], SHARMA[:, 0:3])
    np.testing.assert_allclose(there, back, atol=1e-10)


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
