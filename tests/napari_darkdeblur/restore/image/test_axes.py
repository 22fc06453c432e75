"""Axes say which parts of an array are planes, and find them again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_darkdeblur.restore.image.axes import Axes, AxesError
from napari_darkdeblur.restore.image.pixels import PixelError

from ...conftest import assert_sentence


@st.composite
def named_arrays(draw: st.DrawFn) -> tuple[str, np.ndarray]:
    """Return an array whose values all differ, and its axes."""
    letters = draw(st.permutations("YX" + draw(st.sampled_from(["", "S", "C", "T", "TC", "ZS"]))))
    lengths = st.integers(1, 4)
    shape = [
        draw(st.sampled_from([1, 3, 4])) if letter == "S" else draw(lengths) for letter in letters
    ]
    return "".join(letters), np.arange(np.prod(shape)).reshape(shape)


# --- what the axes are


@pytest.mark.parametrize(
    ("text", "shape", "colour", "size", "planes"),
    [
        ("YX", (5, 6), "grey", (5, 6), ""),
        ("yx", (5, 6), "grey", (5, 6), ""),
        (" Yx\n", (5, 6), "grey", (5, 6), ""),
        ("XY", (5, 6), "grey", (6, 5), ""),
        ("YXC", (5, 6, 3), "rgb", (5, 6), ""),
        ("YXC", (5, 6, 4), "rgba", (5, 6), ""),
        ("YXC", (5, 6, 1), "grey", (5, 6), ""),
        ("XYC", (5, 6, 3), "rgb", (6, 5), ""),
        ("YXS", (5, 6, 3), "rgb", (5, 6), ""),
        ("SYX", (3, 5, 6), "rgb", (5, 6), ""),
        ("YSX", (5, 4, 6), "rgba", (5, 6), ""),
        ("TYXC", (2, 5, 6, 3), "rgb", (5, 6), "T"),
        ("QTSZYX", (2, 7, 1, 8, 5, 6), "grey", (5, 6), "QTZ"),
        # A C elsewhere, or of another length, or beside S, only counts planes.
        ("CYX", (3, 5, 6), "grey", (5, 6), "C"),
        ("YXC", (5, 6, 2), "grey", (5, 6), "C"),
        ("YXC", (5, 6, 5), "grey", (5, 6), "C"),
        ("YXZC", (5, 6, 7, 3), "grey", (5, 6), "ZC"),
        ("SYXC", (3, 5, 6, 4), "rgb", (5, 6), "C"),
        ("YXQ", (5, 6, 3), "grey", (5, 6), "Q"),
    ],
)
def test_letters_tell_pictures_from_planes(text: str, shape, colour: str, size, planes: str):
    axes = Axes.parse(text, shape)
    assert axes.colour == colour
    assert (axes.height, axes.width) == size
    assert axes.plane_letters == planes
    channels = {"grey": 1, "rgb": 3, "rgba": 4}[colour]
    assert axes.plane_count * channels * size[0] * size[1] == np.prod(shape)


@pytest.mark.parametrize(
    ("shape", "letters"),
    [
        ((5, 6), "YX"),
        ((5, 3), "YX"),
        ((1, 1), "YX"),
        ((5, 6, 3), "YXC"),
        ((5, 6, 4), "YXC"),
        ((5, 6, 1), "YXC"),
        ((1, 1, 3), "YXC"),
        ((3, 512, 4), "YXC"),
        ((3, 512, 512), "ZYX"),
        ((5, 6, 2), "ZYX"),
        ((2, 7, 5, 6), "TZYX"),
        ((2, 5, 6, 3), "TYXC"),
        ((2, 7, 8, 5, 6), "TCZYX"),
        ((2, 7, 5, 6, 4), "TZYXC"),
    ],
)
def test_a_shape_s_axes_are_guessed(shape: tuple[int, ...], letters: str):
    assert Axes.guess(shape) == Axes(letters, shape)


@pytest.mark.parametrize(
    ("text", "shape", "says"),
    [
        ("YX", (5, 6, 3), "name 2 axes.* that is 3"),
        ("ZYX", (5, 6), "name 3 axes.* that is 2"),
        ("", (), "lack Y and X"),
        ("ZX", (5, 6), "lack Y;"),
        ("CY", (5, 6), "lack X;"),
        ("YYX", (5, 6, 7), "name Y more than once"),
        ("CCTTYX", (1, 1, 1, 1, 5, 6), "name C and T more than once"),
        ("Y,X", (5, 6, 7), "letters only"),
        ("Ä", (5,), "letters only"),
        ("YXS", (5, 6, 2), "S .* length 2; .* C"),
        ("YX", (5, 0), "no pixels"),
        ("TYX", (0, 5, 6), "no pixels"),
        ("YXC", (5, 6, 0), "no pixels"),
        ("YX", (float("nan"), 6), "not known"),
    ],
)
def test_axes_that_cannot_be_are_refused(text: str, shape, says: str):
    with pytest.raises(AxesError, match=says) as caught:
        Axes.parse(text, shape)
    assert_sentence(str(caught.value))
    assert isinstance(caught.value, PixelError)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((), "at least two"),
        ((5,), "at least two"),
        ((5, 0), "no pixels"),
        ((2, 2, 2, 2, 5, 6), "name them"),
        ((2, 2, 2, 5, 6, 3), "name them"),
        ((float("nan"), 5), "not known"),
    ],
)
def test_what_cannot_be_guessed_is_refused(shape, says: str):
    with pytest.raises(AxesError, match=says) as caught:
        Axes.guess(shape)
    assert_sentence(str(caught.value))


# --- where a plane is


@settings(deadline=None, max_examples=60)
@given(named_arrays())
def test_planes_are_what_moving_the_axes_by_hand_gives(named: tuple[str, np.ndarray]):
    letters, array = named
    axes = Axes.parse(letters, array.shape)
    order = [letters.index(letter) for letter in axes.plane_letters + "YX"]
    if axes.colour_letter:
        order.append(letters.index(axes.colour_letter))
    by_hand = array.transpose(order).reshape(-1, axes.height, axes.width, axes.channels)
    assert len(by_hand) == axes.plane_count
    assert axes.pixel_count == array.size // axes.channels
    for plane, expected in enumerate(by_hand):
        block = array[axes.index(plane)]
        np.testing.assert_array_equal(axes.to_hwc(block), expected)
        picture = expected[..., 0] if axes.channels == 1 else expected[..., :3]
        np.testing.assert_array_equal(axes.to_picture(block), picture)


@settings(deadline=None, max_examples=60)
@given(named_arrays(), st.data())
def test_a_region_is_that_of_the_whole_plane(named: tuple[str, np.ndarray], data: st.DataObject):
    letters, array = named
    axes = Axes.parse(letters, array.shape)
    plane = data.draw(st.integers(0, axes.plane_count - 1))
    ends = st.none() | st.integers(-5, 5)
    rows, columns = data.draw(st.builds(slice, ends, ends)), data.draw(st.builds(slice, ends))
    index = axes.index(plane, rows, columns)
    assert {type(entry) for entry in index} <= {int, slice}
    block = array[index]
    region = axes.to_hwc(block)
    np.testing.assert_array_equal(region, axes.to_hwc(array[axes.index(plane)])[rows, columns])


def test_the_last_axis_of_planes_changes_fastest():
    axes = Axes.parse("TZYX", (2, 3, 5, 6))
    assert [axes.coordinates(plane) for plane in (0, 1, 3, 5)] == [
        {"T": 0, "Z": 0},
        {"T": 0, "Z": 1},
        {"T": 1, "Z": 0},
        {"T": 1, "Z": 2},
    ]


@pytest.mark.parametrize(
    ("text", "shape", "plane", "expected"),
    [
        ("TZYX", (4, 8, 5, 6), 31, "T 3, Z 7"),
        ("TCYX", (4, 1, 5, 6), 2, "T 2"),
        ("YX", (5, 6), 0, ""),
    ],
)
def test_a_plane_is_described_by_its_axes(text: str, shape, plane: int, expected: str):
    assert Axes.parse(text, shape).describe(plane) == expected


@pytest.mark.parametrize(("shape", "plane"), [((5, 6), 1), ((4, 5, 6), 4), ((4, 5, 6), -1)])
def test_there_is_no_plane_beyond_the_last(shape: tuple[int, ...], plane: int):
    with pytest.raises(IndexError, match=str(plane)):
        Axes.guess(shape).index(plane)


def test_regions_have_no_steps():
    with pytest.raises(ValueError, match="step"):
        Axes.guess((5, 6)).index(0, slice(0, 4, 2))


@pytest.mark.parametrize("shape", [(70, 90, 5), (70, 5, 90), (64, 64, 10), (2, 512, 512, 31)])
def test_planes_too_narrow_to_be_guessed_are_refused(shape: tuple[int, ...]):
    with pytest.raises(AxesError, match=r"axes=.*if the short one is channels") as caught:
        Axes.guess(shape)
    assert_sentence(str(caught.value))
    example = str(caught.value).split("axes=")[1].split("'")[1]
    named = Axes(example, shape)
    assert min(named.height, named.width) > 32


@pytest.mark.parametrize("shape", [(3, 4, 5), (5, 70, 90), (3, 7, 400), (400, 33, 300), (2, 8, 9)])
def test_other_stacks_may_be_narrow(shape: tuple[int, ...]):
    assert Axes.guess(shape).letters == "ZYX"
