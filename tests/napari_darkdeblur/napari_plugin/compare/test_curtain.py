"""A curtain shows each image on its side of the edge, and reads no more than that takes."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_darkdeblur.napari_plugin.compare.curtain import CurtainArray, Edge, join


class Spy:
    """A lazy array that remembers what was read of it."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.shape, self.dtype, self.ndim, self.size = (
            array.shape,
            array.dtype,
            array.ndim,
            array.size,
        )
        self.read: list[int] = []

    def __getitem__(self, index: Any) -> np.ndarray:
        part = self._array[index]
        self.read.append(part.size)
        return part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise AssertionError("The whole array was asked for.")


def noise(*shape: int, seed: int = 0, dtype: str = "uint8") -> np.ndarray:
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return random.random(shape, dtype)
    return random.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def hang(
    frame: Any, inset: Any, edge: Edge, offset: tuple[int, ...] | None = None, colour: bool = False
) -> CurtainArray:
    ndim = len(frame.shape) - colour
    return join([frame], [inset], offset or (0,) * ndim, edge)[0]


@pytest.mark.parametrize(
    "make", [np.asarray, Spy, lambda a: da.from_array(a, chunks=8), zarr.array]
)
def test_each_side_is_its_image_and_the_edge_can_be_moved(make):
    before, after = noise(20, 30), noise(20, 30, seed=1)
    edge = Edge(axis=1, position=10, inset_first=False)
    curtain = hang(make(before), make(after), edge)
    for position in (10, 0, 30, 29):
        edge.position = position
        joined = np.asarray(curtain)
        np.testing.assert_array_equal(joined[:, :position], before[:, :position])
        np.testing.assert_array_equal(joined[:, position:], after[:, position:])
        assert joined.dtype == curtain.dtype == np.uint8


def test_the_edge_can_lie_across_and_the_inset_be_the_first():
    before, after = noise(20, 30), noise(20, 30, seed=1)
    joined = np.asarray(hang(after, before, Edge(axis=0, position=5, inset_first=True)))
    np.testing.assert_array_equal(joined[:5], before[:5])
    np.testing.assert_array_equal(joined[5:], after[5:])


def test_neither_image_is_changed_or_handed_out():
    before, after = noise(20, 30), noise(20, 30, seed=1)
    kept = before.copy(), after.copy()
    curtain = hang(before, after, Edge(axis=1, position=10, inset_first=False))
    np.asarray(curtain)[:] = 0
    np.testing.assert_array_equal(before, kept[0])
    np.testing.assert_array_equal(after, kept[1])


def test_one_plane_of_a_stack_is_read_and_only_once():
    before, after = Spy(noise(5, 20, 30)), Spy(noise(5, 20, 30, seed=1))
    edge = Edge(axis=2, position=10, inset_first=False)
    curtain = hang(before, after, edge)
    assert curtain.shape == (5, 20, 30)
    assert before.read == after.read == []
    for position in range(30):
        edge.position = position
        np.asarray(curtain[3])
    assert before.read == after.read == [20 * 30]
    joined = np.asarray(curtain[4])
    np.testing.assert_array_equal(joined[:, :29], before[4][:, :29])
    np.testing.assert_array_equal(joined[:, 29:], after[4][:, 29:])


def test_outside_a_region_the_frame_is_shown_on_both_sides():
    before, region = noise(4, 20, 30), noise(1, 8, 9, seed=1)
    curtain = hang(before, region, Edge(axis=2, position=10, inset_first=False), offset=(2, 5, 6))
    expected = before.copy()
    expected[2, 5:13, 10:15] = region[0, :, 4:]
    np.testing.assert_array_equal(np.asarray(curtain), expected)
    np.testing.assert_array_equal(np.asarray(curtain[1]), before[1])


def test_a_region_may_reach_out_of_the_frame():
    before, region = noise(20, 30), noise(8, 9, seed=1)
    joined = np.asarray(
        hang(before, region, Edge(axis=1, position=0, inset_first=False), offset=(-3, 25))
    )
    expected = before.copy()
    expected[:5, 25:] = region[3:, :5]
    np.testing.assert_array_equal(joined, expected)


def test_colours_of_the_same_type_are_not_changed():
    before, after = noise(20, 30, 3), noise(20, 30, 4, seed=1)
    joined = np.asarray(
        hang(before, after, Edge(axis=1, position=10, inset_first=False), colour=True)
    )
    assert joined.shape == (20, 30, 3)  # without alpha, which one of them lacks
    np.testing.assert_array_equal(joined[:, :10], before[:, :10])
    np.testing.assert_array_equal(joined[:, 10:], after[:, 10:, :3])


def test_colours_of_different_types_are_joined_as_they_are_shown():
    before, after = noise(20, 30, 3), noise(20, 30, 3, seed=1, dtype="float64")
    joined = np.asarray(
        hang(before, after, Edge(axis=1, position=10, inset_first=False), colour=True)
    )
    assert joined.dtype == np.float32
    np.testing.assert_allclose(joined[:, :10], before[:, :10] / 255, rtol=1e-6)
    np.testing.assert_allclose(joined[:, 10:], after[:, 10:], rtol=1e-6)


def test_grey_values_of_different_types_keep_their_values():
    before, after = noise(20, 30, dtype="uint16"), noise(20, 30, seed=1, dtype="float32")
    joined = np.asarray(hang(before, after, Edge(axis=1, position=10, inset_first=False)))
    assert joined.dtype == np.float32
    np.testing.assert_array_equal(joined[:, :10], before[:, :10])
    np.testing.assert_array_equal(joined[:, 10:], after[:, 10:])


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_indexing_first_or_joining_first_is_the_same(data):
    before, after = noise(3, 11, 13), noise(3, 11, 13, seed=1)
    region = data.draw(st.tuples(*[st.integers(-4, 8) for _ in range(3)]))
    edge = Edge(
        axis=data.draw(st.integers(0, 2)),
        position=data.draw(st.integers(0, 13)),
        inset_first=data.draw(st.booleans()),
    )
    curtain = hang(before, after, edge, offset=region)
    parts = tuple(
        data.draw(st.one_of(st.integers(0, length - 1), st.slices(length).filter(_forward)))
        for length in curtain.shape
    )
    np.testing.assert_array_equal(np.asarray(curtain[parts]), np.asarray(curtain)[parts])
    np.testing.assert_array_equal(
        np.asarray(curtain[..., parts[-1]][parts[0]]), np.asarray(curtain)[..., parts[-1]][parts[0]]
    )


def _forward(part: slice) -> bool:
    return part.step is None or part.step > 0


def pyramid(finest: np.ndarray, levels: int) -> list[np.ndarray]:
    return [finest[:: 2**level, :: 2**level] for level in range(levels)]


def test_levels_of_resolution_hang_on_the_same_edge():
    before, after = noise(512, 640), noise(512, 640, seed=1)
    edge = Edge(axis=1, position=320, inset_first=False)
    levels = join(pyramid(before, 3), pyramid(after, 3), (0, 0), edge)
    assert [level.shape for level in levels] == [(512, 640), (256, 320), (128, 160), (43, 54)]
    for number, level in enumerate(levels[:3]):
        here = 320 // 2**number
        joined, step = np.asarray(level), 2**number
        np.testing.assert_array_equal(joined[:, :here], before[::step, ::step][:, :here])
        np.testing.assert_array_equal(joined[:, here:], after[::step, ::step][:, here:])


def test_a_region_without_levels_is_thinned_out():
    before, region = noise(512, 640), noise(100, 200, seed=1)
    levels = join(pyramid(before, 3), [region], (64, 80), Edge(1, 0, inset_first=False))
    for number, level in enumerate(levels[:3]):
        step = 2**number
        whole = before.copy()
        whole[64:164, 80:280] = region
        np.testing.assert_array_equal(np.asarray(level), whole[::step, ::step])


def test_of_several_levels_only_what_is_on_screen_is_read():
    spies = [[Spy(level) for level in pyramid(noise(512, 640, seed=s), 3)] for s in (0, 1)]
    levels = join(*spies, (0, 0), Edge(1, 320, inset_first=False))
    np.asarray(levels[1][10:60, 20:90])
    for image in spies:
        assert [level.read for level in image] == [[], [50 * 70], []]


@pytest.mark.parametrize("shape", [(513, 641), (511, 639), (1023, 257)])
def test_sizes_that_do_not_halve_evenly_are_at_most_one_pixel_off(shape):
    # Each pixel says where it is.
    frame = np.indices(shape, dtype=np.int32)[1]
    pyramid_of_means = [
        frame[: h // s * s : s, : w // s * s : s] for s in (1, 2, 4) for h, w in [shape]
    ]
    levels = join(pyramid_of_means, [frame], (0, 0), Edge(1, 0, inset_first=False))
    for step, level in zip((1, 2, 4), levels, strict=False):
        here = pyramid_of_means[(1, 2, 4).index(step)]
        assert np.abs(np.asarray(level) - here).max() <= step


def test_a_level_that_nothing_fits_is_left_out():
    frame, thirds = noise(300, 300), noise(200, 200)
    levels = join([frame, thirds], [noise(300, 300, seed=1)], (0, 0), Edge(1, 0, False))
    assert [level.shape for level in levels] == [(300, 300)]
