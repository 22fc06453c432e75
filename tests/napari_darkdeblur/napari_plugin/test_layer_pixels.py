"""Axes are guessed as people mean them, and no more is read than is asked for."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
from napari.layers import Image

from napari_darkdeblur.napari_plugin.layer_pixels import (
    axes_of,
    current_plane,
    data_position,
    full_resolution,
    guess_axes,
    read_plane,
)


@pytest.mark.parametrize(
    ("shape", "options", "axes"),
    [
        ((5, 6), {}, "YX"),
        ((5, 6, 3), {"rgb": True}, "YXS"),
        ((5, 6, 4), {"rgb": True}, "YXS"),
        # Three columns are not colour if the layer says they are not.
        ((5, 6, 3), {"rgb": False}, "ZYX"),
        ((4, 5, 6), {}, "ZYX"),
        ((3, 4, 5, 6), {}, "TZYX"),
        ((2, 3, 4, 5, 6), {}, "TCZYX"),
        ((2, 5, 6, 3), {"rgb": True}, "TYXS"),
        ((4, 5, 6), {"axis_labels": ("time", "y", "x")}, "TYX"),
        ((4, 5, 6), {"axis_labels": ("Channel", "Y", "X")}, "CYX"),
        ((4, 5, 6), {"axis_labels": ("y", "x", "c")}, "YXC"),
        # Labels that make no sense do not count.
        ((4, 5, 6), {"axis_labels": ("y", "y", "x")}, "ZYX"),
        ((4, 5, 6), {"axis_labels": ("t", "b", "c")}, "ZYX"),
        ((4, 5, 6), {"axis_labels": ("well", "y", "x")}, "ZYX"),
    ],
)
def test_axes_are_guessed_from_labels_and_rgb(shape, options, axes):
    layer = Image(np.zeros(shape, np.uint8), **options)
    assert guess_axes(layer) == axes
    assert axes_of(layer).shape == shape


def test_a_multiscale_layer_has_its_finest_level():
    levels = [np.zeros((64, 48)), np.zeros((32, 24))]
    assert full_resolution(Image(levels, multiscale=True)).shape == (64, 48)


def test_the_current_plane_is_where_the_sliders_are():
    layer = Image(np.zeros((3, 4, 8, 8)), scale=(10, 2, 1, 1), translate=(100, 0, 0, 0))
    axes = axes_of(layer)
    assert data_position(layer, (120, 6, 3, 3)) == (2, 3, 3, 3)
    assert current_plane(layer, axes, (120, 6, 0, 0)) == 2 * 4 + 3
    # Beyond the ends is the last plane.
    assert current_plane(layer, axes, (1000, -50, 0, 0)) == 2 * 4
    # The layer has the last of the viewer's dimensions.
    assert current_plane(layer, axes, (7, 110, 2, 0, 0)) == 4 + 1


def test_a_picture_has_one_plane_wherever_the_sliders_are():
    layer = Image(np.zeros((8, 8)))
    assert current_plane(layer, axes_of(layer), (5, 3, 3)) == 0


def test_reading_a_plane_computes_nothing_else():
    asked = []

    def block(block_info=None):
        asked.append(block_info[None]["chunk-location"])
        return np.full((1, 4, 4), block_info[None]["chunk-location"][0], np.uint16)

    stack = dask.array.map_blocks(block, chunks=((1,) * 5, (4, 4), (4, 4)), dtype=np.uint16)
    layer = Image(stack, contrast_limits=(0, 5))
    asked.clear()
    pixels = read_plane(layer, axes_of(layer), 3, slice(0, 4), slice(4, 8))
    np.testing.assert_array_equal(pixels, np.full((4, 4), 3))
    assert set(asked) == {(3, 0, 1)}


@pytest.mark.parametrize("channels", [3, 4])
def test_a_plane_of_colour_has_no_alpha(channels):
    data = np.random.default_rng(0).integers(0, 255, (2, 5, 6, channels), np.uint8)
    layer = Image(data, rgb=True)
    np.testing.assert_array_equal(read_plane(layer, axes_of(layer), 1), data[1, ..., :3])
