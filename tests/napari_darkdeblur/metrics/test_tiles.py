"""Tiles cover the image, and their metrics add up to the image's."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest

from napari_darkdeblur.metrics import measure, measure_tiles, ms_ssim, tile_regions
from napari_darkdeblur.metrics.tables import METRICS
from napari_darkdeblur.rectangle import Rectangle

RNG = np.random.default_rng(0)
REFERENCE = RNG.uniform(0.1, 0.9, (70, 97, 3))
# Worse and worse to the right.
STRENGTH = np.linspace(0, 0.2, 97)[None, :, None]
RESTORED = np.clip(REFERENCE + STRENGTH * RNG.normal(size=REFERENCE.shape), 0, 1)
ORIGINAL = RNG.random(REFERENCE.shape)


@pytest.mark.parametrize("shape", [(1, 1), (70, 97), (64, 64), (5, 200)])
@pytest.mark.parametrize("tile", [1, 16, 32, 1000])
def test_tiles_cover_each_pixel_once(shape: tuple[int, int], tile: int):
    count = np.zeros(shape, int)
    for region in tile_regions(*shape, tile):
        count[region.slices] += 1
    assert (count == 1).all()


@pytest.mark.parametrize("length", range(32, 129))
def test_no_tile_is_a_sliver(length: int):
    for region in tile_regions(length, 200, 32):
        assert 16 <= region.height < 48


def test_tiles_come_row_by_row():
    assert tile_regions(70, 40, 32) == [
        Rectangle(0, 0, 32, 40),
        Rectangle(32, 0, 38, 40),
    ]
    assert [(tile.top, tile.left) for tile in tile_regions(64, 64, 32)] == [
        (0, 0),
        (0, 32),
        (32, 0),
        (32, 32),
    ]


@pytest.mark.parametrize("lengths", [(0, 5, 5), (5, 0, 5), (5, 5, 0)])
def test_an_impossible_grid_is_refused(lengths: tuple[int, int, int]):
    with pytest.raises(ValueError, match="at least 1"):
        tile_regions(*lengths)


def test_one_tile_that_is_the_image_has_the_metrics_of_the_image():
    whole = measure(RESTORED, REFERENCE, ORIGINAL)
    (tile,) = tile_regions(*RESTORED.shape[:2], 1000)
    table = dict(measure_tiles(RESTORED, REFERENCE, ORIGINAL, [tile]))
    assert list(table) == ["tile", "row", "column", *whole]
    for label, value in whole.items():
        assert table[label].shape == (1,)
        assert table[label][0] == pytest.approx(value)


def test_the_squared_error_of_the_image_is_the_mean_over_the_tiles():
    tiles = tile_regions(*RESTORED.shape[:2], 16)
    table = dict(measure_tiles(RESTORED, REFERENCE, ORIGINAL, tiles))
    pixels = [tile.height * tile.width for tile in tiles]
    squared_error = 10 ** (-table["PSNR (dB)"] / 10)
    whole = measure(RESTORED, REFERENCE, ORIGINAL)
    mean = np.average(squared_error, weights=pixels)
    assert -10 * math.log10(mean) == pytest.approx(whole["PSNR (dB)"])
    for label in ("CIEDE2000 mean", "At black (%)", "Mean change (%)"):
        assert np.average(table[label], weights=pixels) == pytest.approx(whole[label])
    assert table["Largest change (%)"].max() == whole["Largest change (%)"]


def test_the_ssim_of_the_image_is_the_mean_over_the_tiles_without_the_border():
    height, width = RESTORED.shape[:2]
    tiles = tile_regions(height, width, 16)
    inner = np.zeros((height, width))
    inner[5:-5, 5:-5] = 1
    weights = [inner[tile.slices].sum() for tile in tiles]
    column = dict(measure_tiles(RESTORED, REFERENCE, None, tiles))["SSIM"]
    whole = measure(RESTORED, REFERENCE)["SSIM"]
    assert np.average(column, weights=weights) == pytest.approx(whole)


def test_tiles_find_where_the_image_is_bad():
    tiles = tile_regions(*RESTORED.shape[:2], 32)
    table = dict(measure_tiles(RESTORED, REFERENCE, None, tiles))
    for label in ("PSNR (dB)", "SSIM"):
        by_column = [table[label][table["column"] == left].mean() for left in (0, 32, 64)]
        assert by_column == sorted(by_column, reverse=True)


def test_what_a_tile_does_not_tell_is_not_a_number():
    """The border of 5 pixels has no SSIM, black has no noise; the same tile has no error."""
    reference = np.full((40, 40), 0.5)
    reference[:, 20:] = 0.0
    restored = reference.copy()
    restored[30, 2] = 0.6
    tiles = [Rectangle(0, 0, 40, 5), Rectangle(5, 20, 20, 20), Rectangle(0, 0, 20, 20)]
    table = dict(measure_tiles(restored, reference, None, tiles))
    assert np.isnan(table["SSIM"]).tolist() == [True, False, False]
    assert np.isnan(table["Noise (%)"]).tolist() == [False, True, False]
    assert np.isinf(table["PSNR (dB)"]).tolist() == [False, True, True]


def test_columns_have_a_value_for_each_tile():
    tiles = tile_regions(*RESTORED.shape[:2], 16)
    table = dict(measure_tiles(RESTORED, REFERENCE, ORIGINAL, tiles))
    assert {column.shape for column in table.values()} == {(len(tiles),)}
    np.testing.assert_array_equal(table["tile"], np.arange(len(tiles)))
    np.testing.assert_array_equal(table["row"], [tile.top for tile in tiles])
    np.testing.assert_array_equal(table["column"], [tile.left for tile in tiles])


def test_large_images_have_no_ms_ssim_of_their_tiles():
    image = np.tile(REFERENCE, (3, 2, 1))
    assert ms_ssim(image, image) == pytest.approx(1)
    tiles = tile_regions(*image.shape[:2], 100)
    assert "MS-SSIM" not in dict(measure_tiles(image, image, None, tiles))


def test_without_reference_and_original_only_the_image_is_measured():
    table = dict(measure_tiles(RESTORED, None, None, [Rectangle(0, 0, 20, 20)]))
    needs_nothing = [metric.label for metric in METRICS if metric.needs == "nothing"]
    assert list(table)[3:] == needs_nothing


def test_measuring_can_be_stopped():
    stop = threading.Event()
    columns = measure_tiles(RESTORED, REFERENCE, ORIGINAL, [Rectangle(0, 0, 20, 20)], stop)
    for label, _ in columns:
        if label == "SSIM":
            stop.set()
    assert label == "SSIM"


def test_a_tile_outside_of_the_image_is_refused():
    with pytest.raises(ValueError, match=r"97 × 70"):
        dict(measure_tiles(RESTORED, None, None, [Rectangle(60, 0, 20, 20)]))
