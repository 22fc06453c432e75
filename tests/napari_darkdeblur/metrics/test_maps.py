"""Maps show what the metrics sum up."""

from __future__ import annotations

import numpy as np
import pytest

from napari_darkdeblur.metrics import (
    change_map,
    error_map,
    measure,
    ssim,
    ssim_map,
)

RNG = np.random.default_rng(0)
REFERENCE = RNG.random((40, 31, 3))
RESTORED = np.clip(REFERENCE + RNG.normal(0, 0.1, REFERENCE.shape), 0, 1)
PAIRS = [(RESTORED, REFERENCE), (RESTORED[..., 0], REFERENCE[..., 0])]
MAPS = [error_map, ssim_map, change_map]


@pytest.mark.parametrize("make", MAPS)
@pytest.mark.parametrize(("restored", "reference"), PAIRS)
def test_maps_have_a_float32_for_each_pixel(make, restored, reference):
    found = make(restored, reference)
    assert (found.shape, found.dtype) == (reference.shape[:2], np.float32)


@pytest.mark.parametrize(("restored", "reference"), PAIRS)
def test_ssim_is_the_mean_of_its_map_without_the_border(restored, reference):
    inner = ssim_map(restored, reference)[5:-5, 5:-5]
    assert inner.mean(dtype=float) == pytest.approx(ssim(restored, reference), abs=1e-7)


@pytest.mark.parametrize(("restored", "original"), PAIRS)
def test_the_change_is_the_mean_of_the_error_map_to_the_original(restored, original):
    found = error_map(restored, original).mean(dtype=float)
    change = measure(restored, original=original)["Mean change (%)"] / 100
    assert found == pytest.approx(change, rel=1e-6)


def test_a_change_is_positive_where_it_became_brighter():
    original = np.full((3, 4, 3), 0.5)
    restored = original.copy()
    restored[0, 0, 0], restored[2, 3] = 0.8, 0.25
    expected = np.zeros((3, 4))
    expected[0, 0], expected[2, 3] = 0.1, -0.25
    np.testing.assert_allclose(change_map(restored, original), expected, atol=1e-7)
    np.testing.assert_allclose(error_map(restored, original), np.abs(expected), atol=1e-7)


def test_the_same_image_is_without_error_everywhere():
    assert not error_map(REFERENCE, REFERENCE).any()
    assert not change_map(REFERENCE, REFERENCE).any()
    np.testing.assert_allclose(ssim_map(REFERENCE, REFERENCE), 1)


@pytest.mark.parametrize("make", MAPS)
def test_images_that_cannot_be_compared_are_refused(make):
    with pytest.raises(ValueError, match="same shape"):
        make(RESTORED, REFERENCE[:-1])


def test_an_ssim_map_needs_a_whole_window():
    with pytest.raises(ValueError, match="at least 11"):
        ssim_map(RESTORED[:10], REFERENCE[:10])
