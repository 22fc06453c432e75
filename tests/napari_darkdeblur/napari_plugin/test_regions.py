"""The part that is restored is the part that is meant."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Shapes

from napari_darkdeblur.napari_plugin.regions import Crop, Region, RegionError, choose_region
from napari_darkdeblur.restore.image.axes import AxesError

from ..conftest import assert_sentence


class Spy:
    """An array that remembers what was read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.asked = array, []
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, index):
        self.asked.append(index)
        return self.array[index]


def rectangle(top: float, left: float, bottom: float, right: float) -> np.ndarray:
    return np.array([(top, left), (top, right), (bottom, right), (bottom, left)])


def test_all_of_a_stack_is_all_of_it():
    layer = Image(np.zeros((3, 8, 9)))
    assert choose_region(layer, (1, 0, 0)) == Region((0, 0, 0), (3, 8, 9))


def test_the_plane_on_screen_keeps_its_axis():
    layer = Image(np.zeros((3, 4, 8, 9)))
    region = choose_region(layer, (2, 1, 0, 0), planes="current")
    assert region == Region((2, 1, 0, 0), (3, 2, 8, 9))
    assert region.shape == (1, 1, 8, 9)


def test_colour_is_no_dimension():
    layer = Image(np.zeros((3, 8, 9, 3)), rgb=True)
    region = choose_region(layer, (2, 0, 0), planes="current")
    assert region == Region((2, 0, 0), (3, 8, 9))
    assert region.of(layer.data).shape == (1, 8, 9, 3)


@pytest.mark.parametrize(
    ("drawn", "start", "stop"),
    [
        # Along pixel edges: exactly these pixels.
        ((1.5, 2.5, 5.5, 7.5), (2, 3), (6, 8)),
        # From centre to centre: these pixels, which are cut in half.
        ((2, 3, 5, 7), (2, 3), (6, 8)),
        # Beyond the image: what there is.
        ((-50, 3, 500, 7), (0, 3), (10, 8)),
    ],
)
def test_a_rectangle_is_the_pixels_it_touches(drawn, start, stop):
    layer = Image(np.zeros((10, 12)))
    shapes = Shapes([rectangle(*drawn)])
    assert choose_region(layer, (0, 0), area="shapes", shapes=shapes) == Region(start, stop)


@pytest.mark.parametrize("transform", [{}, {"scale": (2, 3), "rotate": 90, "translate": (7, -4)}])
def test_shapes_are_where_they_are_in_the_world(transform):
    layer = Image(np.zeros((10, 12)), **transform)
    corners = rectangle(1.5, 2.5, 5.5, 7.5)
    shapes = Shapes([np.array([layer.data_to_world(corner) for corner in corners])])
    region = choose_region(layer, (0, 0), area="shapes", shapes=shapes)
    assert region == Region((2, 3), (6, 8))


def test_flat_shapes_mean_the_plane_on_screen_of_a_stack():
    layer = Image(np.zeros((5, 10, 12)), scale=(4, 1, 1))
    shapes = Shapes([rectangle(1.5, 2.5, 5.5, 7.5)])
    region = choose_region(layer, (8, 0, 0), planes="current", area="shapes", shapes=shapes)
    assert region == Region((2, 2, 3), (3, 6, 8))


def test_selected_shapes_count_alone():
    layer = Image(np.zeros((10, 12)))
    shapes = Shapes([rectangle(0, 0, 2, 2), rectangle(4.5, 5.5, 7.5, 8.5)])
    assert choose_region(layer, (0, 0), area="shapes", shapes=shapes).stop == (8, 9)
    shapes.selected_data = {1}
    assert choose_region(layer, (0, 0), area="shapes", shapes=shapes).start == (5, 6)


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        (None, "no Shapes layer"),
        (Shapes(), "is empty"),
        (Shapes([rectangle(100, 100, 120, 120)]), "outside"),
    ],
)
def test_what_cannot_be_is_explained(shapes, says):
    layer = Image(np.zeros((10, 12)))
    with pytest.raises(RegionError, match=says) as raised:
        choose_region(layer, (0, 0), area="shapes", shapes=shapes)
    assert_sentence(str(raised.value))


def test_a_canvas_that_shows_nothing_is_explained():
    layer = Image(np.zeros((10, 12)))
    layer.corner_pixels = np.zeros((2, 2), int)
    with pytest.raises(RegionError, match="shows nothing"):
        choose_region(layer, (0, 0), area="visible")


def test_axes_that_make_colour_a_picture_s_side_are_refused():
    layer = Image(np.zeros((5, 6, 3)), rgb=True)
    with pytest.raises(RegionError, match="colour"):
        choose_region(layer, (0, 0), "CYX")
    with pytest.raises(AxesError):
        choose_region(layer, (0, 0), "YX")


def test_a_crop_reads_what_is_asked_for():
    whole = np.arange(4 * 10 * 12).reshape(4, 10, 12)
    spy = Spy(whole)
    crop = Region((1, 2, 3), (4, 8, 10)).of(spy)
    assert isinstance(crop, Crop)
    assert crop.shape == (3, 6, 7)
    np.testing.assert_array_equal(crop[2, 1:4, 0:7], whole[3, 3:6, 3:10])
    np.testing.assert_array_equal(crop[0, slice(None), 2:3], whole[1, 2:8, 5:6])
    assert spy.asked == [(3, slice(3, 6, 1), slice(3, 10, 1)), (1, slice(2, 8, 1), slice(5, 6, 1))]


def test_the_whole_is_the_array_itself():
    whole = np.zeros((10, 12, 3))
    assert Region((0, 0), (10, 12)).of(whole) is whole
