"""An image's view for the network, and the way back: nothing but the network changes a pixel."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_darkdeblur.errors import StoppedError
from napari_darkdeblur.restore.image import view as image_view
from napari_darkdeblur.restore.image.pixels import (
    PixelError,
    ValueRangeError,
    check_dtype,
)
from napari_darkdeblur.restore.image.view import ImageView

from ...conftest import assert_sentence

DTYPES = ["u1", "<u2", ">u2", ">u4", "<u8", "i1", "<i2", ">i2", "<i4", "<i8", ">i8"]
DTYPES += ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"]
INTEGERS = [name for name in DTYPES if "f" not in name]
FLOATS = [name for name in DTYPES if "f" in name]
# Axes, and the shape of an array that has them.
LAYOUTS = [
    ("YX", (7, 9)),
    ("XY", (7, 9)),
    ("YX", (1, 1)),
    ("YXC", (5, 6, 3)),
    ("YXC", (5, 6, 1)),
    ("YXS", (5, 6, 4)),
    ("SXY", (4, 5, 6)),
    ("YSX", (4, 3, 5)),
    ("CYX", (3, 5, 4)),
    ("YXC", (5, 4, 2)),
    ("TYXC", (2, 4, 5, 3)),
    ("YTXZ", (3, 2, 4, 2)),
    ("TCZYX", (2, 2, 2, 3, 4)),
]
Change = Callable[[np.ndarray], np.ndarray]


def same(planes: np.ndarray) -> np.ndarray:
    return planes


def restore(view: ImageView, change: Change = same, tile: tuple[int, int] | None = None) -> Any:
    """Return what a network of this change makes of the image, read and written tile by tile."""
    output = np.full(view.array.shape, 77, view.dtype)
    height, width = tile or (view.height, view.width)
    for plane in range(view.plane_count):
        for top in range(0, view.height, height):
            for left in range(0, view.width, width):
                region = slice(top, top + height), slice(left, left + width)
                planes = view.read(plane, *region)
                block = view.restored_block(plane, *region, change(planes).astype(np.float32))
                output[view.axes.index(plane, *region)] = block
    return output


def without_alpha(view: ImageView, array: np.ndarray) -> np.ndarray:
    """Return the colour values of all planes."""
    if view.axes.colour != "rgba":
        return array
    return np.take(array, range(3), axis=view.axes.letters.index(view.axes.colour_letter))


class Recording:
    """An array that can only be read a plane at a time, as zarr and dask arrays should be."""

    def __init__(self, array: np.ndarray, plane_size: int) -> None:
        self._array = array
        self.shape = array.shape
        self.dtype = array.dtype
        self.plane_size = plane_size
        self.reads: list[int] = []

    def __getitem__(self, index: object) -> np.ndarray:
        assert type(index) is tuple
        assert len(index) == len(self.shape)
        for entry in index:
            assert type(entry) in (int, slice)
            if isinstance(entry, slice):
                assert (type(entry.start), type(entry.stop), entry.step) == (int, int, 1)
        block = self._array[index]
        assert block.size <= self.plane_size
        self.reads.append(block.size)
        return block

    def __array__(self, *args: object, **kwargs: object) -> np.ndarray:
        raise AssertionError("the whole array was asked for")


def recorded(text: str, array: np.ndarray, *arguments: Any) -> tuple[ImageView, Recording]:
    view = ImageView(array, text)
    recording = Recording(array, array.size // view.plane_count)
    return ImageView(recording, text, *arguments), recording


def elements(dtype: np.dtype[Any], value_range: object, nonfinite: bool) -> st.SearchStrategy[Any]:
    """Return values for which a range is allowed."""
    if dtype.kind == "f":
        low, high = (0, 1) if value_range == "dtype" else (-1e4, 6e4)
        finite = st.floats(low, high, width=8 * dtype.itemsize)
        return finite | st.sampled_from([np.nan, np.inf, -np.inf]) if nonfinite else finite
    low = 0 if value_range == "dtype" else np.iinfo(dtype).min
    return st.integers(low, np.iinfo(dtype).max)


@st.composite
def views(
    draw: st.DrawFn,
    *,
    dtypes: list[str] = DTYPES,
    layouts: list[tuple[str, tuple[int, ...]]] = LAYOUTS,
    ranges: tuple[object, ...] = ("dtype", "data", "percentile", (20, 200), (-5.25, 1e5)),
    nonfinite: bool = False,
) -> tuple[ImageView, np.ndarray]:
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    text, shape = draw(st.sampled_from(layouts))
    value_range = draw(st.sampled_from(ranges))
    values = elements(dtype, value_range, nonfinite)
    # Drawn in the machine's byte order, which hypothesis' floats have.
    array = draw(hnp.arrays(dtype.newbyteorder("="), shape, elements=values)).astype(dtype)
    return ImageView(array, text, value_range), array


# --- what stays the same


@settings(deadline=None, max_examples=150)
@given(views(nonfinite=True), st.integers(1, 4), st.integers(1, 4))
def test_a_network_that_does_nothing_changes_nothing(drawn, height: int, width: int):
    view, array = drawn
    before = array.copy()
    restored = restore(view, tile=(height, width))
    np.testing.assert_array_equal(restored, array)
    np.testing.assert_array_equal(array, before)
    block = view.restored_block(0, slice(0, 1), slice(0, 1), view.read(0, slice(0, 1), slice(0, 1)))
    assert block.dtype == array.dtype
    assert block.dtype.byteorder == array.dtype.byteorder
    assert not np.shares_memory(block, array)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize(
    "value_range", ["dtype", "data", "percentile", (100, 3000), (0.25, 0.75), (-1e9, 1e9)]
)
def test_every_integer_survives_the_way_there_and_back(dtype: str, value_range):
    limits = np.iinfo(dtype)
    low = 0 if value_range == "dtype" else limits.min
    if np.dtype(dtype).itemsize <= 2:
        array = np.arange(low, limits.max + 1).astype(dtype).reshape(16, -1)
    else:  # of many a sample
        native = np.dtype(dtype).newbyteorder("=")
        array = np.random.default_rng(0).integers(low, limits.max, (16, 60), native, endpoint=True)
        array[0, :2] = low, limits.max
        array = array.astype(dtype)
    view = ImageView(array, "YX", value_range)
    if isinstance(value_range, str):
        assert (view.read(0).min(), view.read(0).max()) == (0, 1)
    np.testing.assert_array_equal(restore(view), array)


def test_small_differences_on_a_large_offset_survive():
    """The network sees float32, but only its change goes through float32."""
    array = 1e9 + np.linspace(0, 1, 35).reshape(5, 7)
    np.testing.assert_array_equal(restore(ImageView(array, "YX", "data")), array)
    brighter = restore(ImageView(array, "YX", "data"), lambda planes: planes * 0.5)
    np.testing.assert_allclose(brighter - 1e9, (array - 1e9) / 2, atol=1e-6)


@settings(deadline=None, max_examples=100)
@given(views(nonfinite=True), st.integers(1, 4), st.integers(1, 4))
def test_a_pixel_does_not_depend_on_the_region_it_is_read_or_written_with(
    drawn, height: int, width: int
):
    view, _ = drawn
    for plane in range(view.plane_count):
        whole = view.read(plane)
        assert whole.shape == (3, view.height, view.width)
        for top in range(0, view.height, height):
            for left in range(0, view.width, width):
                region = slice(top, top + height), slice(left, left + width)
                tile = view.read(plane, *region)
                assert tile.dtype == np.float32
                assert tile.flags.c_contiguous
                np.testing.assert_array_equal(tile, whole[:, *region])

    def change(planes: np.ndarray) -> np.ndarray:
        return 1.25 - 1.5 * planes

    np.testing.assert_array_equal(
        restore(view, change, (height, width)), restore(ImageView(*_same_as(view)), change)
    )


def _same_as(view: ImageView) -> tuple[Any, str, tuple[float, float]]:
    return view.array, view.axes.letters, (view.black, view.white)


@settings(deadline=None, max_examples=60)
@given(views(nonfinite=True))
def test_what_the_network_sees_is_finite_and_from_black_to_white(drawn):
    view, _ = drawn
    for plane in range(view.plane_count):
        planes = view.read(plane)
        assert planes.min() >= 0
        assert planes.max() <= 1


@settings(deadline=None, max_examples=60)
@given(views(layouts=[("YXS", (5, 6, 4)), ("TSXY", (2, 4, 5, 6))], nonfinite=True))
def test_alpha_is_kept_and_never_seen(drawn):
    view, array = drawn
    axis = view.axes.letters.index("S")
    restored = restore(view, lambda planes: planes * -3 + 2)
    np.testing.assert_array_equal(
        np.take(restored, 3, axis=axis), np.take(array, 3, axis=axis), strict=True
    )
    colours = np.take(array, range(3), axis=axis)
    as_rgb = ImageView(colours, view.axes.letters, (view.black, view.white))
    for plane in range(view.plane_count):
        np.testing.assert_array_equal(view.read(plane), as_rgb.read(plane))
    np.testing.assert_array_equal(
        np.take(restored, range(3), axis=axis), restore(as_rgb, lambda planes: planes * -3 + 2)
    )
    assert view.nonfinite == as_rgb.nonfinite


@pytest.mark.parametrize("value_range", ["dtype", "data", "percentile"])
def test_alpha_does_not_set_the_scale(value_range: str):
    array = np.random.default_rng(0).random((9, 14, 4)).astype(np.float32)
    expected = ImageView(array[..., :3], "YXC", value_range)
    array[..., 3] = np.resize([np.nan, np.inf, -7, 300], (9, 14))
    view = ImageView(array, "YXC", value_range)
    assert (view.black, view.white) == (expected.black, expected.white)
    assert view.nonfinite_count == 0
    assert view.notes == []


def test_planes_are_restored_alone():
    array = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
    view = ImageView(array, "CYX")
    for channel in range(4):
        np.testing.assert_array_equal(view.read(channel), np.float32([array[channel] / 255.0] * 3))
    block = view.restored_block(2, slice(None), slice(None), np.ones((3, 5, 6), np.float32))
    np.testing.assert_array_equal(block, np.full((5, 6), 255, np.uint8), strict=True)


def test_columns_before_rows_reach_the_network_upright():
    array = np.arange(30, dtype=np.uint8).reshape(5, 6)
    upright = ImageView(array, "YX")
    np.testing.assert_array_equal(ImageView(array.T, "XY").read(0), upright.read(0))


def test_grey_is_the_mean_of_the_three_planes():
    planes = np.array([0.2, 0.3, 0.7], np.float32)[:, None, None]
    view = ImageView(np.zeros((1, 1), np.uint8))
    assert view.restored_block(0, slice(None), slice(None), planes) == [[102]]


# --- what the network changes


@settings(deadline=None, max_examples=120)
@given(views(), st.sampled_from([-10, 10]))
def test_results_are_limited_and_never_wrap_around(drawn, shift: int):
    view, array = drawn
    restored = without_alpha(view, restore(view, lambda planes: planes + shift))
    before = without_alpha(view, array).astype(np.float64)
    beyond = before - np.clip(before, view.black, view.white)
    expected = beyond + (view.white if shift > 0 else view.black)
    limits = np.iinfo(array.dtype) if array.dtype.kind != "f" else np.finfo(array.dtype)
    expected = np.clip(expected, float(limits.min), float(limits.max))
    if array.dtype.kind != "f":
        expected = np.rint(expected)
    if array.dtype.kind != "f" and array.dtype.itemsize <= 2:
        np.testing.assert_array_equal(restored, expected)
    else:
        # The network's own precision, of the range.
        names = (array.dtype, np.float32) if array.dtype.kind == "f" else (np.float32,)
        step = 2 * max(float(np.finfo(name).eps) for name in names)
        np.testing.assert_allclose(
            restored.astype(np.float64), expected, rtol=step, atol=step * (view.white - view.black)
        )
        assert np.isfinite(restored).all()


@settings(deadline=None, max_examples=80)
@given(views(ranges=("dtype", "data")), st.floats(-2, 2))
def test_a_result_stays_between_black_and_white_where_the_image_is(drawn, shift: float):
    view, array = drawn
    restored = without_alpha(view, restore(view, lambda planes: planes * 3 - 1 + shift))
    constant = view.extremes is not None and view.extremes[0] == view.extremes[1]
    assert restored.min() >= view.black
    assert restored.max() <= view.white or (constant and array.dtype.kind == "f")


def test_what_double_precision_rounds_does_not_fall_below_black():
    array = np.full((3, 9), 1, np.uint64)
    array[0, :2] = 36028796186803254, 11309059872280103
    view = ImageView(array, "YX", "data")
    restored = restore(view, lambda planes: planes * 0)
    np.testing.assert_array_equal(restored, np.ones_like(array))


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", "<f8"])
def test_brightening_does_not_overflow(dtype: str):
    greatest = float(np.finfo(dtype).max)
    array = np.concatenate([[-1, 0], greatest * np.linspace(0.1, 1, 10)])[None].astype(dtype)
    restored = restore(ImageView(array, "YX", "data"), lambda planes: planes + 1)
    np.testing.assert_allclose(restored, np.full_like(array, greatest), rtol=1e-7)
    # White may be more than float16 holds.
    view = ImageView(np.array([[1, 2]], np.float16), "YX", (0, 1e6))
    np.testing.assert_array_equal(
        restore(view, lambda planes: planes + 1), np.float16([[65504] * 2])
    )


@pytest.mark.parametrize(("shift", "expected"), [(0.49, 100), (0.51, 101), (-0.51, 99)])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_rounded_to_the_nearest(dtype: str, shift: float, expected: int):
    view = ImageView(np.full((4, 4), 100, dtype), "YX", (0, 255))
    restored = restore(view, lambda planes: planes + shift / 255)
    np.testing.assert_array_equal(restored, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_lies_beyond_the_range_is_added_back(dtype: str):
    """A hot pixel is as hot afterwards, relative to what the network made of white."""
    array = np.array([[2, 10, 60, 110, 125]], dtype)
    view = ImageView(array, "YX", (10, 110))
    np.testing.assert_array_equal(view.read(0)[0], [[0, 0, 0.5, 1, 1]])
    darker = restore(view, lambda planes: planes * 0.5 + 0.25)
    np.testing.assert_array_equal(darker, np.array([[27, 35, 60, 85, 100]], dtype))


# --- the scale


@pytest.mark.parametrize(
    ("dtype", "white"),
    [("u1", 255), (">u2", 65535), ("<i2", 32767), ("<f2", 1), (">f4", 1), ("<f8", 1)],
)
def test_the_dtype_s_range_is_the_scale_unless_another_is_asked_for(dtype: str, white: int):
    dark = np.full((2, 2), white / 8, dtype)
    view = ImageView(dark)
    assert (view.black, view.white) == (0, white)
    np.testing.assert_allclose(view.read(0)[0], dark.astype(np.float64) / white, rtol=1e-6)


@settings(deadline=None, max_examples=60)
@given(views(ranges=("data",), nonfinite=True))
def test_the_data_s_range_is_that_of_all_finite_values(drawn):
    view, array = drawn
    values = without_alpha(view, array).astype(np.float64)
    finite = values[np.isfinite(values)]
    if finite.size and finite.min() < finite.max():
        assert (view.black, view.white) == (finite.min(), finite.max()) == view.extremes
        assert view.notes == [] or view.nonfinite


@settings(deadline=None, max_examples=60)
@given(views(ranges=("percentile",)))
def test_of_few_values_the_percentiles_are_the_extremes(drawn):
    view, _ = drawn
    if view.extremes[0] < view.extremes[1]:
        assert (view.black, view.white) == view.extremes


@pytest.mark.parametrize("dtype", ["u2", "f4"])
@pytest.mark.parametrize("value_range", ["dtype", "data", "percentile"])
def test_planes_have_one_scale(dtype: str, value_range):
    array = np.zeros((3, 40, 40), dtype)
    array[0] = 0.5 if dtype == "f4" else 100
    array[1] = array[0] / 2
    view = ImageView(array, "TYX", value_range)
    np.testing.assert_array_equal(view.read(1), view.read(0) / 2)
    assert view.read(0).min() > 0


def test_nearly_constant_images_take_the_data_s_range():
    """Spots fewer than one pixel in a thousand: both percentiles are the background."""
    array = np.full((100, 100), 7, np.uint16)
    array[3, 4] = 900
    view = ImageView(array, "YX", "percentile")
    assert (view.black, view.white) == (7, 900)
    (note,) = view.notes
    assert "7 to 900" in note
    assert_sentence(note)


@pytest.mark.parametrize("value_range", ["data", "percentile"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0, 1, 100])
def test_constant_images_are_black_and_come_back(value_range: str, dtype: str, value: int):
    array = np.full((2, 7, 51), value, dtype)
    view = ImageView(array, "ZYX", value_range)
    assert (view.black, view.white) == (value, value + 1)
    np.testing.assert_array_equal(view.read(1), 0)
    np.testing.assert_array_equal(restore(view), array)
    np.testing.assert_array_equal(
        restore(view, lambda planes: planes + 1), array + array.dtype.type(1)
    )
    (note,) = view.notes
    assert_sentence(note)


def test_constant_images_of_any_magnitude_have_a_scale():
    array = np.full((2, 2), -1e300)
    view = ImageView(array, "YX", "data")
    assert view.white > view.black == -1e300
    np.testing.assert_array_equal(restore(view), array)


@pytest.mark.parametrize("shape", [(1, 1), (7, 513), (513, 7), (1, 300)])
@pytest.mark.parametrize("value_range", ["dtype", "data", "percentile"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_images_of_any_size_come_back(shape, value_range: str, dtype: str):
    rng = np.random.default_rng(0)
    array = (rng.random(shape) * (1 if np.dtype(dtype).kind == "f" else 127)).astype(dtype)
    np.testing.assert_array_equal(restore(ImageView(array, None, value_range)), array)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.array([[-1, 5]], np.int16), (-1, 5)),
        (np.array([[0.5, 1.5]], np.float16), (0.5, 1.5)),
        (np.array([[0.5, -0.25]], ">f4"), (-0.25, 0.5)),
        (np.array([[0, 300], [np.nan, np.inf]]), (0, 300)),
    ],
)
def test_values_outside_the_dtype_s_range_need_another_range(array: np.ndarray, found):
    with pytest.raises(
        ValueRangeError, match=r"\(black, white\).*'data' or 'percentile'"
    ) as caught:
        ImageView(array)
    assert caught.value.found == found
    assert caught.value.allowed == (0, 32767 if array.dtype.kind == "i" else 1)
    assert f"from {found[0]:g} to {found[1]:g}" in str(caught.value)
    assert_sentence(str(caught.value))
    assert ImageView(array, "YX", found).extremes in (found, None)


def test_floats_beyond_a_given_range_are_reported():
    (note,) = ImageView(np.array([[0, 5.0]]), "YX", (0, 4)).notes
    assert "from 0 to 5" in note
    assert "0 to 4" in note
    assert_sentence(note)


@pytest.mark.parametrize(
    ("value_range", "says"),
    [
        ((1, 0), "1 to 0"),
        ((0, 0), "0 to 0"),
        ((0, np.inf), "0 to inf"),
        ((np.nan, 1), "nan to 1"),
        ((-1.5e308, 1.5e308), "too wide"),
        ((0, 1, 2), r"\(0, 1, 2\)"),
        ((0, "white"), "'white'"),
        ("brightest", "'brightest'.*'auto'.*'percentile'"),
        (None, "None"),
        (5, "range 5"),
    ],
)
def test_a_value_range_that_is_none_is_refused(value_range, says: str):
    with pytest.raises(PixelError, match=says) as caught:
        ImageView(np.zeros((3, 3), np.uint8), "YX", value_range)
    assert "of black and" in str(caught.value)
    assert_sentence(str(caught.value))


def test_a_value_range_may_be_an_array():
    view = ImageView(np.zeros((3, 3), np.float32), "YX", np.array([0, 5]))
    assert (view.black, view.white) == (0, 5)


# --- NaN and infinity


@settings(deadline=None, max_examples=80)
@given(views(dtypes=FLOATS, nonfinite=True))
def test_values_that_are_not_finite_are_kept_counted_and_spread_nowhere(drawn):
    view, array = drawn
    restored = without_alpha(view, restore(view, lambda planes: 1 - planes))
    before = without_alpha(view, array)
    bad = ~np.isfinite(before)
    assert restored[bad].tobytes() == before[bad].tobytes()
    assert np.isfinite(restored[~bad]).all()
    expected = {}
    for plane in range(view.plane_count):
        block = view.axes.to_hwc(array[view.axes.index(plane)])[..., :3]
        if count := int(np.count_nonzero(~np.isfinite(block))):
            expected[plane] = count
    assert view.nonfinite == expected
    assert view.nonfinite_count == np.count_nonzero(bad)


@pytest.mark.parametrize(("bits", "dtype"), [("u2", "f2"), ("u4", "f4"), ("u8", "f8")])
def test_nans_that_signal_are_nans_like_others(bits: str, dtype: str):
    quiet = np.full(4, np.nan, dtype).view(bits)
    one = quiet.dtype.type(1)
    highest_of_mantissa = one << quiet.dtype.type(np.finfo(dtype).nmant - 1)
    array = ((quiet ^ highest_of_mantissa) | one).view(dtype).reshape(2, 2)
    assert np.isnan(array).all()
    array[0, 0] = 0.5
    view = ImageView(array, "YX")
    assert view.nonfinite_count == 3
    np.testing.assert_array_equal(view.read(0), 0.5)
    assert restore(view).tobytes() == array.tobytes()


def test_the_network_sees_the_nearest_finite_value_of_the_same_channel_and_plane():
    array = np.full((2, 1, 6, 3), 0.75, np.float32)
    array[1, 0, :, 0] = [0.125, 0.25, np.nan, np.inf, -np.inf, 0.5]
    view = ImageView(array, "TYXC")
    expected = np.full((3, 6), 0.75)
    expected[0] = [0.125, 0.25, 0.25, 0.25, 0.5, 0.5]
    seen = view.read(1)[:, 0]
    np.testing.assert_array_equal(np.delete(seen, 3, axis=1), np.delete(expected, 3, axis=1))
    assert seen[0, 3] in (0.25, 0.5)  # as near to both
    # Nor does it matter that the region itself holds no finite value.
    np.testing.assert_array_equal(view.read(1, slice(0, 1), slice(2, 5))[:, 0], seen[:, 2:5])


def test_what_a_caller_does_to_a_filled_region_stays_there():
    array = np.full((3, 3, 3), 0.5, np.float32)
    array[1, 1] = np.nan
    view = ImageView(array, "YXC")
    view.read(0)[:] = 9
    np.testing.assert_array_equal(view.read(0), 0.5)


def test_an_incomplete_plane_is_read_whole_once_and_others_never():
    array = np.full((3, 8, 8), 0.5, np.float32)
    array[1, 0, 0] = np.nan
    view, recording = recorded("TYX", array)
    recording.reads.clear()
    for _ in range(2):
        for plane in range(3):
            for left in range(0, 8, 2):
                view.read(plane, slice(0, 2), slice(left, left + 2))
    assert sorted(recording.reads) == [4] * 24 + [64]


@pytest.mark.parametrize("value_range", ["dtype", "data", "percentile"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_an_image_without_any_finite_value_comes_back_as_it_is(dtype: str, value_range: str):
    array = np.full((4, 5), np.nan, dtype)
    array[0] = -np.inf
    view = ImageView(array, "YX", value_range)
    assert (view.black, view.white) == (0, 1)
    assert view.extremes is None
    np.testing.assert_array_equal(view.read(0), 0)
    np.testing.assert_array_equal(restore(view, lambda planes: planes + 1), array)
    assert view.notes[0].startswith("20 of the image's values are NaN")
    for note in view.notes:
        assert_sentence(note)


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("YXC", [(0, 0, 0)], "1 of the image's values is NaN or infinite; it was"),
        ("TYX", [(2, 0, 0), (2, 1, 1)], "2 of the image's values in plane (T 2) are NaN"),
        ("TYX", [(0, 0, 0), (2, 1, 1)], "2 of the image's values in planes (T 0), (T 2) are"),
        ("TYX", [(t, 0, 0) for t in range(8)], "(T 3), (T 4), 3 more are NaN"),
    ],
)
def test_planes_that_are_incomplete_are_named(text: str, where, says: str):
    array = np.zeros((8, 4, 4) if text == "TYX" else (4, 4, 3), np.float32)
    for index in where:
        array[index] = np.nan
    (note,) = ImageView(array, text).notes
    assert says in note
    assert_sentence(note)


# --- large images


@pytest.mark.parametrize(("text", "shape"), LAYOUTS)
@pytest.mark.parametrize("value_range", ["dtype", "data", "percentile", (0, 5)])
@pytest.mark.parametrize("dtype", ["u1", ">i2", "f4"])
def test_a_plane_at_most_is_read_at_once(text: str, shape, value_range, dtype: str):
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    view, _ = recorded(text, array, value_range)
    np.testing.assert_array_equal(restore(view, tile=(2, 3)), array)


@pytest.mark.parametrize(
    ("dtype", "value_range", "passes"),
    [
        ("u2", (0, 4095), 0),
        ("i2", (0, 4095), 0),
        ("i2", "dtype", 1),
        ("u1", "data", 1),
        ("i2", "percentile", 1),
        ("f2", "percentile", 1),
        ("f4", "dtype", 1),
        ("f4", (0, 4095), 1),
        ("f4", "percentile", 1),
        ("f8", "percentile", 1),
    ],
)
def test_the_image_is_scanned_as_often_as_its_scale_needs(
    dtype: str, value_range, passes: int, monkeypatch: pytest.MonkeyPatch
):
    array = np.random.default_rng(0).random((2, 12, 10))
    if dtype[0] != "f":
        array *= 100
    monkeypatch.setattr(image_view, "SCANNED_AT_ONCE", 50)
    _, recording = recorded("TYX", array.astype(dtype), value_range)
    assert recording.reads == passes * 2 * [50, 50, 20]


@pytest.mark.parametrize(
    ("array", "value_range"),
    [
        (np.arange(1000).reshape(10, 10, 10) % 256, "auto"),
        (np.arange(1000).reshape(10, 10, 10) % 256, "dtype"),
        (64 * np.arange(1000).reshape(10, 10, 10), "dtype"),
    ],
)
def test_a_scan_for_use_ends_when_it_is_certain(
    array, value_range: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(image_view, "SCANNED_AT_ONCE", 50)
    dtype = np.uint8 if array.max() < 256 else np.uint16
    _, recording = recorded("TYX", array.astype(dtype), value_range)
    assert len(recording.reads) < array.size / 50 / 2


def test_a_scan_reads_one_row_at_least(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(image_view, "SCANNED_AT_ONCE", 5)
    _, recording = recorded("YX", np.zeros((3, 10), np.float32))
    assert recording.reads == [10, 10, 10]


def test_conversion_in_strips_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    array = np.random.default_rng(0).random((9, 14, 4)).astype(np.float32)
    array[4, 5] = np.nan

    def both() -> tuple[np.ndarray, np.ndarray]:
        view = ImageView(array, "YXC")
        return view.read(0), restore(view, lambda planes: planes * 0.5)

    expected = both()
    monkeypatch.setattr(image_view, "CONVERTED_AT_ONCE", 100)
    for result, whole in zip(both(), expected, strict=True):
        np.testing.assert_array_equal(result, whole)


def test_a_memory_map_is_restored(tmp_path: Path):
    array = np.random.default_rng(0).integers(0, 255, (3, 5, 6)).astype(np.uint8)
    path = tmp_path / "a.npy"
    np.save(path, array)
    view = ImageView(np.load(path, mmap_mode="r"), "TYX")
    np.testing.assert_array_equal(restore(view), array)
    block = view.restored_block(0, slice(None), slice(None), view.read(0))
    assert type(block) is np.ndarray
    assert block.flags.writeable


def test_a_scan_stops_when_it_is_asked_to():
    stop = threading.Event()

    class Stopping(Recording):
        def __getitem__(self, index: object) -> np.ndarray:
            if len(self.reads) == 2:
                stop.set()
            return super().__getitem__(index)

    array = Stopping(np.zeros((9, 4, 5), np.float32), 20)
    with pytest.raises(StoppedError) as caught:
        ImageView(array, "TYX", stop=stop)
    assert array.reads == [20] * 3
    assert_sentence(str(caught.value))


# --- what is said, and what is refused


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((5, 6), np.uint8), None),
        (
            np.zeros((3, 5, 6), np.uint8),
            "(3, 5, 6) was taken for ZYX: 3 grey planes of 6 × 5 pixels",
        ),
        (
            np.zeros((5, 6, 4), np.uint8),
            "(5, 6, 4) was taken for YXC: 1 RGBA plane of 6 × 5 pixels",
        ),
        (np.zeros((2, 5, 6, 3), np.uint8), "TYXC: 2 RGB planes"),
    ],
)
def test_guessed_axes_are_told(array: np.ndarray, says: str | None):
    view = ImageView(array)
    assert view.axes_guessed
    assert len(view.notes) == (says is not None)
    for note in view.notes:
        assert says in note
        assert_sentence(note)
    named = ImageView(array, view.axes.letters)
    assert not named.axes_guessed
    assert named.notes == []


def test_planes_are_described():
    view = ImageView(np.zeros((2, 3, 4, 5), np.uint8), "TZYX")
    assert view.describe(5) == "T 1, Z 2"
    assert (view.plane_count, view.height, view.width) == (6, 4, 5)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((5, 5), bool), "holds bool.*mask"),
        (np.zeros((5, 5), complex), "holds complex128.*magnitude"),
        (np.zeros((5, 5), np.longdouble), "convert it to float64"),
        (np.full((5, 5), "a"), "convert it to one of them"),
        (torch.zeros(5, 5), "torch.float32.*numpy array"),
        (np.zeros((0, 5), np.uint8), "no pixels"),
        (np.zeros((5, 5, 0)), "no pixels"),
        (np.uint8(3), "at least two"),
        ([1, 2], "at least two"),
    ],
)
def test_an_image_that_cannot_be_restored_is_refused(array: Any, says: str):
    with pytest.raises(PixelError, match=says) as caught:
        ImageView(array)
    assert_sentence(str(caught.value))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_are_kept_with_their_byte_order(dtype: str):
    assert check_dtype(dtype) == np.dtype(dtype)
    assert check_dtype(dtype).byteorder == np.dtype(dtype).byteorder


def test_lists_of_numbers_are_images():
    np.testing.assert_array_equal(
        restore(ImageView([[0.0, 0.5], [0.25, 1.0]])), [[0, 0.5], [0.25, 1]]
    )
