"""Rectangles grow, move and crop as tiles need it."""

from __future__ import annotations

import numpy as np

from napari_darkdeblur.rectangle import Rectangle


def test_it_grows_to_multiples_and_not_beyond_the_bounds():
    bounds = Rectangle(0, 0, 64, 96)
    assert Rectangle(16, 32, 16, 16).expanded(5, 8, bounds) == Rectangle(8, 24, 32, 32)
    assert Rectangle(0, 80, 64, 16).expanded(40, 8, bounds) == Rectangle(0, 40, 64, 56)


def test_a_crop_of_an_image_and_of_its_feature_map_show_the_same():
    image = np.arange(48 * 32).reshape(1, 48, 32)
    tile, outer = Rectangle(16, 8, 24, 16), Rectangle(8, 0, 40, 32)
    assert tile.area == 24 * 16
    np.testing.assert_array_equal(tile.crop(image), image[0][tile.slices][None])
    np.testing.assert_array_equal(tile.crop(image[:, ::8, ::8], 8), tile.crop(image)[:, ::8, ::8])
    inside = tile.relative_to(outer)
    np.testing.assert_array_equal(inside.crop(outer.crop(image)), tile.crop(image))
