"""The demonstration spoils a photograph as it says, and shows it fairly."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from napari_darkdeblur import demo
from napari_darkdeblur.comparison import CAPTION_HEIGHT, GAP, brighten, comparison_figure
from napari_darkdeblur.metrics import psnr
from napari_darkdeblur.srgb import linear_to_srgb, srgb_to_linear


def test_the_photograph_is_there_without_a_download(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pooch", None)  # what scikit-image downloads with
    image = demo.photograph()
    assert image.shape == (512, 512, 3)
    assert image.dtype == np.uint8


def test_the_kernel_spreads_light_around_its_centre_and_loses_none():
    kernel = demo.shake_kernel()
    size = kernel.shape[0]
    assert kernel.shape == (size, size)
    assert size % 2 == 1
    assert (kernel >= 0).all()
    assert kernel.sum() == pytest.approx(1)
    offset = np.arange(size) - size // 2
    assert (kernel.sum(axis=0) * offset).sum() == pytest.approx(0, abs=1e-9)
    assert (kernel.sum(axis=1) * offset).sum() == pytest.approx(0, abs=1e-9)


def test_the_shake_is_long_and_curved():
    kernel = demo.shake_kernel()
    offset = np.arange(kernel.shape[0]) - kernel.shape[0] // 2
    variances = np.linalg.eigvalsh(
        np.einsum("yx,yxi,yxj->ij", kernel, *(np.stack(np.meshgrid(offset, offset), -1),) * 2)
    )
    assert np.sqrt(variances.sum()) == pytest.approx(4.3, abs=0.2)
    assert np.sqrt(variances[0]) > 1  # not a line


def test_the_pair_is_the_same_every_time():
    image = demo.photograph()[:80, :90]
    first, second = demo.make_demo_pair(image), demo.make_demo_pair(image)
    np.testing.assert_array_equal(first.blurred, second.blurred)
    np.testing.assert_array_equal(first.reference, second.reference)


def test_the_reference_is_the_photograph_at_its_exposure():
    image = demo.photograph()[:80, :90]
    pair = demo.make_demo_pair(image)
    margin = demo.shake_kernel().shape[0] // 2
    assert pair.blurred.shape == pair.reference.shape == (80 - 2 * margin, 90 - 2 * margin, 3)
    light = srgb_to_linear(image[margin:-margin, margin:-margin] / 255)
    found = srgb_to_linear(pair.reference / 255)
    np.testing.assert_allclose(found, demo.EXPOSURE * light, atol=3e-3)


def test_blurring_a_point_draws_the_kernel_where_the_point_was(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(demo, "add_noise", lambda light: light)
    monkeypatch.setattr(demo, "EXPOSURE", 1.0)
    kernel = demo.shake_kernel()
    margin = kernel.shape[0] // 2
    image = np.zeros((40, 50, 3), np.uint8)
    image[20, 30] = 255
    pair = demo.make_demo_pair(image)
    (row, column), *_ = np.argwhere(pair.reference[..., 0])
    found = srgb_to_linear(pair.blurred[..., 0] / 255)
    around = found[row - margin : row + margin + 1, column - margin : column + margin + 1]
    np.testing.assert_allclose(around, kernel, atol=2e-3)
    assert found.sum() == pytest.approx(1, abs=0.05)


def test_the_noise_has_the_strength_that_is_stated():
    level = 188  # about half of white in linear light
    flat = np.full((150, 150, 3), level, np.uint8)
    light = srgb_to_linear(demo.make_demo_pair(flat).blurred / 255)
    signal = demo.EXPOSURE * float(srgb_to_linear(np.array(level / 255)))
    assert light.mean() == pytest.approx(signal, rel=0.01)
    assert light.var() == pytest.approx(demo.SHOT_GAIN * signal + demo.READ_NOISE**2, rel=0.05)


def test_the_damage_is_visible_and_not_hopeless():
    pair = demo.make_demo_pair()
    assert 22 < psnr(pair.blurred / 255, pair.reference / 255) < 30


def test_an_image_smaller_than_the_shake_is_refused():
    with pytest.raises(ValueError, match="8 × 40 pixels"):
        demo.make_demo_pair(np.zeros((40, 8, 3), np.uint8))
    side = demo.shake_kernel().shape[0]
    image = np.zeros((40, side, 3), np.uint8)
    assert demo.make_demo_pair(image).blurred.shape == (41 - side, 1, 3)


def test_srgb_and_linear_light_are_each_other_s_inverse():
    levels = np.arange(256) / 255
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(levels)), levels)
    assert srgb_to_linear(np.array(0.5)) == pytest.approx(0.21404, abs=1e-5)


def test_brightening_multiplies_light():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(brighten(image, 1), image)
    dark = np.arange(1, 99, dtype=np.uint8)
    light = srgb_to_linear(dark / 255)
    found = srgb_to_linear(brighten(dark, 4) / 255)
    np.testing.assert_allclose(found, 4 * light, atol=0.004)  # half a level
    assert brighten(image, 1000)[1:].min() == 255


def test_all_images_of_the_figure_are_shown_alike():
    image = demo.photograph()[100:250, 100:260]
    figure = comparison_figure([image, image, image], "abc", [(40, 40), (90, 90)], gain=2)
    shown = [
        figure[CAPTION_HEIGHT:, GAP + i * (160 + GAP) :][: 150 + GAP + 70, :160] for i in range(3)
    ]
    np.testing.assert_array_equal(shown[0], shown[1])
    np.testing.assert_array_equal(shown[0], shown[2])
    # Away from the frames it is the brightened image.
    np.testing.assert_array_equal(shown[0][:10, :150], brighten(image, 2)[:10, :150])


def test_details_at_the_border_stay_inside_the_image():
    image = demo.photograph()[:120, :130]
    inside = comparison_figure([image], ["a"], [(0, 0), (119, 129)], gain=1)
    beyond = comparison_figure([image], ["a"], [(-50, -50), (500, 500)], gain=1)
    np.testing.assert_array_equal(inside, beyond)
