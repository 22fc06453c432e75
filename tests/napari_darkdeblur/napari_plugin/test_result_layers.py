"""Results lie where they belong, look like their input, and are named after it."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_darkdeblur.napari_plugin.result_layers import (
    appearance_of,
    link_appearance,
    placement_of,
    reference_of,
    result_name,
)

ROTATION = np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])


def affine(dimensions: int) -> np.ndarray:
    matrix = np.eye(dimensions + 1)
    rng = np.random.default_rng(1)
    matrix[:-1] += 0.2 * rng.random((dimensions, dimensions + 1))
    return matrix


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize(
    "transform",
    [
        {"scale": (2, 0.5), "translate": (5, -3)},
        {"scale": (2, 0.5), "rotate": 30},
        {"scale": (2, 0.5), "rotate": 30, "shear": [0.3], "translate": (4, 5)},
        {"scale": (2, 0.5), "rotate": 30, "affine": affine(2), "translate": (4, 5)},
        {"scale": (3, 2, 0.5), "rotate": ROTATION, "affine": affine(3), "translate": (1, 2, 3)},
    ],
)
def test_a_part_lies_on_its_place(transform):
    dimensions = len(transform["scale"])
    layer = Image(np.zeros((20,) * dimensions), **transform, units=["um"] * dimensions)
    start = np.arange(dimensions) + 7
    part = Image(np.zeros((5,) * dimensions), **placement_of(layer, start))
    for pixel in (np.zeros(dimensions), np.full(dimensions, 4.0)):
        np.testing.assert_allclose(
            part.data_to_world(pixel), layer.data_to_world(pixel + start), atol=1e-9
        )
    assert part.units == layer.units


def test_placement_names_units_and_axes():
    layer = Image(np.zeros((3, 4, 5)), axis_labels=("t", "y", "x"), units=("s", "um", "um"))
    placed = Image(np.zeros((3, 4, 5)), **placement_of(layer))
    assert placed.axis_labels == layer.axis_labels
    assert placed.units == layer.units


def test_a_grey_result_looks_like_its_input():
    layer = Image(
        np.zeros((4, 5)),
        colormap="magenta",
        contrast_limits=(3, 17),
        gamma=0.5,
        blending="additive",
        interpolation2d="linear",
    )
    result = Image(np.ones((4, 5)), **appearance_of(layer))
    for name in ("gamma", "blending", "interpolation2d", "contrast_limits"):
        assert getattr(result, name) == getattr(layer, name)
    assert result.colormap.name == "magenta"


def test_colours_are_as_bright_and_stay_so():
    layer = Image(np.zeros((9, 8, 3), np.uint8), rgb=True, contrast_limits=(0, 60), gamma=0.5)
    result = Image(np.zeros((9, 8, 3), np.uint8), **appearance_of(layer))
    assert result.rgb
    assert (result.contrast_limits, result.gamma) == ([0, 60], 0.5)
    link_appearance([layer, result])
    layer.contrast_limits = (0, 255)
    assert result.contrast_limits == [0, 255]


def test_three_columns_stay_columns():
    layer = Image(np.zeros((9, 8, 3)), rgb=False)
    assert not Image(np.zeros((9, 8, 3)), **appearance_of(layer)).rgb


def test_contrast_is_shared_but_not_visibility():
    first, second = (Image(np.zeros((4, 5)), contrast_limits=(0, 9)) for _ in range(2))
    link_appearance([first, second])
    first.contrast_limits = (2, 5)
    first.gamma = 0.7
    first.visible = False
    assert second.contrast_limits == [2, 5]
    assert second.gamma == 0.7
    assert second.visible


def test_nothing_is_overwritten():
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((4, 5)), name="cells")
    names = [viewer.add_image(np.zeros((4, 5)), name=result_name(layer)).name for _ in range(2)]
    assert names == ["cells [darkdeblur]", "cells [darkdeblur] [1]"]


def test_a_reference_is_known_by_its_name():
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((4, 5)), name="cells")
    assert reference_of(layer, viewer.layers) is None
    reference = viewer.add_image(np.zeros((4, 5)), name="cells (reference)")
    assert reference_of(layer, viewer.layers) is reference
