"""The spread over flips and rotations is what it says it is, and the work ends well."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_darkdeblur import DarkDeblurNet, deblur, load_weights
from napari_darkdeblur.network import LoadedModel
from napari_darkdeblur.restore import (
    Axes,
    Finished,
    ImageView,
    ModelReady,
    PlaneDone,
    RestoreOptions,
    TileDone,
)
from napari_darkdeblur.restore.uncertainty import UncertaintyResult, uncertainty

from ..conftest import assert_sentence, make_network

RNG = np.random.default_rng(0)
# Not square, and of odd sides.
IMAGE = RNG.random((21, 34, 3), np.float32)


class Network(DarkDeblurNet):
    """Stands for a network whose residual is known."""

    def __init__(self, residual):
        super().__init__(make_network().config)
        self.known = residual

    def residual(self, image: torch.Tensor) -> torch.Tensor:
        return self.known(image)


def model_of(path: Path, residual) -> LoadedModel:
    return dataclasses.replace(load_weights(path), network=Network(residual))


def find(array: Any, model: Any, **options: Any) -> UncertaintyResult:
    """Return the result, which must be a good one."""
    where = {name: options.pop(name) for name in ("plane", "rows", "columns") if name in options}
    options = {"value_range": "dtype"} | options
    events = list(uncertainty(array, RestoreOptions(model, "cpu", **options), **where))
    result = events[-1].result
    assert (result.status, result.message) == ("done", "")
    return result


def eight_restored(image: np.ndarray, model: Path) -> np.ndarray:
    """Return the restored versions of a picture (H, W, C), turned back, by hand."""
    results = []
    for turns in range(4):
        results.append(np.rot90(deblur(np.rot90(image, turns), model, value_range="dtype"), -turns))
        restored = np.rot90(
            deblur(np.rot90(image[::-1], turns), model, value_range="dtype"), -turns
        )
        results.append(restored[::-1])
    return np.stack(results)


# --- what it is


def test_the_spread_is_the_standard_deviation_of_the_eight_versions(random_model: Path):
    result = find(IMAGE, random_model)
    versions = eight_restored(IMAGE, random_model)
    expected = versions.std(axis=0).mean(axis=2)
    assert expected.mean() > 1e-3  # there is something to be compared
    assert (result.spread.shape, result.spread.dtype) == (IMAGE.shape[:2], np.float32)
    np.testing.assert_allclose(result.spread, expected, atol=1e-5)
    np.testing.assert_allclose(result.mean, versions.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f2", "f4", "f8", ">u2"])
@pytest.mark.parametrize("shape", [(9, 14), (9, 14, 3), (9, 14, 4), (1, 1), (3, 17)])
def test_a_network_that_changes_nothing_has_no_spread(identity: Path, dtype: str, shape):
    image = RNG.random(shape)
    if np.dtype(dtype).kind != "f":
        image = image * np.iinfo(dtype).max
    image = image.astype(dtype)
    result = find(image, identity)
    assert not result.spread.any()
    assert result.mean.dtype == image.dtype
    np.testing.assert_array_equal(result.mean, image)


def test_a_network_that_is_wrong_everywhere_alike_has_no_spread_either(identity: Path):
    """As the documentation warns: little spread is no proof."""
    wrong = model_of(identity, lambda image: torch.full_like(image, 0.25))
    image = np.full((8, 12, 3), 0.5, np.float32)
    result = find(image, wrong)
    assert not result.spread.any()
    np.testing.assert_allclose(result.mean, 0.75)


def test_a_network_that_contradicts_itself_has_a_spread_of_that_size(identity: Path):
    def brighten_the_upper_half(image: torch.Tensor) -> torch.Tensor:
        residual = torch.zeros_like(image)
        residual[:, :, : image.shape[2] // 2] = 0.2
        return residual

    image = np.full((8, 8), 0.5, np.float32)
    result = find(image, model_of(identity, brighten_the_upper_half))
    # Each pixel lies in the upper half in four of eight versions.
    np.testing.assert_allclose(result.spread, 0.1, atol=1e-6)
    np.testing.assert_allclose(result.mean, 0.6, atol=1e-6)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_picture_that_is_turned_has_the_same_spread(random_model, turns: int, mirrored: bool):
    def turned(pixels: np.ndarray) -> np.ndarray:
        return np.rot90(pixels[::-1] if mirrored else pixels, turns)

    upright, other = find(IMAGE, random_model), find(turned(IMAGE), random_model)
    np.testing.assert_allclose(other.spread, turned(upright.spread), atol=1e-5)
    np.testing.assert_allclose(other.mean, turned(upright.mean), atol=1e-5)


# --- which pixels


@pytest.mark.parametrize(("letters", "order"), [("SYX", (2, 0, 1)), ("XYS", (1, 0, 2))])
def test_the_order_of_the_axes_changes_nothing(random_model: Path, letters: str, order):
    expected = find(IMAGE, random_model, axes="YXS")
    found = find(IMAGE.transpose(order), random_model, axes=letters)
    np.testing.assert_array_equal(found.spread, expected.spread)
    np.testing.assert_array_equal(found.mean, expected.mean.transpose(order))


class Watched:
    """An array that is read as needed, and knows what was."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.shape, self.dtype = pixels, pixels.shape, pixels.dtype
        self.read: list[tuple] = []

    def __getitem__(self, index: tuple) -> np.ndarray:
        self.read.append(index)
        return self.pixels[index]


def test_only_the_region_is_read(random_model: Path):
    stack = Watched(RNG.integers(0, 4096, (2, 3, 20, 24), np.uint16))
    rows, columns = slice(3, 19), slice(5, 24)
    result = find(
        stack,
        random_model,
        axes="TZYX",
        value_range=(0, 4095),
        plane=4,
        rows=rows,
        columns=columns,
    )
    assert stack.read == [Axes("TZYX", stack.shape).index(4, rows, columns)]
    expected = find(stack.pixels[1, 1, rows, columns], random_model, value_range=(0, 4095))
    np.testing.assert_array_equal(result.spread, expected.spread)
    np.testing.assert_array_equal(result.mean, expected.mean)


@pytest.mark.parametrize("value_range", ["data", "percentile"])
def test_the_value_range_is_that_of_the_whole_array(random_model: Path, value_range: str):
    stack = RNG.random((2, 12, 16), np.float32)
    stack[0] /= 10  # alone it would have another range
    in_stack = find(stack, random_model, axes="TYX", value_range=value_range)
    view = ImageView(stack, "TYX", value_range)  # as `restore` sees it
    given = find(stack[0], random_model, value_range=(view.black, view.white))
    np.testing.assert_array_equal(in_stack.spread, given.spread)
    alone = find(stack[0], random_model, value_range=value_range)
    assert not np.allclose(in_stack.spread, alone.spread, rtol=0.3)


def test_the_spread_is_in_units_of_the_value_range(random_model: Path):
    as_float = find(IMAGE, random_model)
    in_units = find(IMAGE * 3000 + 100, random_model, value_range=(100, 3100))
    np.testing.assert_allclose(in_units.spread, as_float.spread, atol=1e-5)


def test_rounding_to_integers_is_no_spread(random_model: Path):
    """A dark 8-bit picture: what the versions differ by is less than a level."""
    dark = RNG.integers(0, 4, (16, 24, 3), np.uint8)
    as_float = find(dark / np.float32(255), random_model)
    result = find(dark, random_model)
    np.testing.assert_allclose(result.spread, as_float.spread, atol=1e-6)
    np.testing.assert_array_equal(result.mean, np.rint(as_float.mean * np.float32(255)))


def test_alpha_is_kept_and_counts_nowhere(random_model: Path):
    image = RNG.random((9, 14, 4), np.float32)
    result, colours = find(image, random_model), find(image[..., :3], random_model)
    np.testing.assert_array_equal(result.spread, colours.spread)
    np.testing.assert_array_equal(result.mean[..., :3], colours.mean)
    np.testing.assert_array_equal(result.mean[..., 3], image[..., 3])


def test_what_is_not_finite_stays_and_has_no_spread(random_model: Path):
    image = RNG.random((9, 14), np.float32)
    image[2, 3], image[4, 5], image[6, 7] = np.nan, np.inf, -np.inf
    result = find(image, random_model)
    finite = np.isfinite(image)
    np.testing.assert_array_equal(np.isnan(result.spread), ~finite)
    np.testing.assert_array_equal(result.mean[~finite], image[~finite])
    assert np.isfinite(result.mean[finite]).all()
    assert len(result.notes) == 1  # and not once for each version


def test_the_image_is_not_changed(random_model: Path):
    image = IMAGE.copy()
    result = find(image, random_model)
    np.testing.assert_array_equal(image, IMAGE)
    assert not np.shares_memory(result.mean, image)


# --- how it goes


def test_progress_is_over_all_eight(random_model: Path):
    options = RestoreOptions(random_model, "cpu", tiling="exact", tile=16)
    events = list(uncertainty(IMAGE, options))
    assert [type(event) for event in events].count(ModelReady) == 1
    assert isinstance(events[0], ModelReady)
    assert isinstance(events[-1], Finished)
    tiles = [event for event in events if isinstance(event, TileDone)]
    fractions = [event.fraction for event in tiles]
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < 1 / 8
    assert fractions[-1] == pytest.approx(1)
    assert sorted({event.plane for event in tiles}) == list(range(8))
    assert {event.planes for event in tiles} == {8}
    done = [event for event in events if isinstance(event, PlaneDone)]
    assert len({event.description for event in done}) == 8
    result = events[-1].result
    assert (result.planes_done, result.device, result.model) == (1, "cpu", "random")


def test_tiles_do_not_change_the_result(random_model: Path):
    whole = find(IMAGE, random_model, tiling="whole")
    tiles = find(IMAGE, random_model, tiling="exact", tile=16)
    np.testing.assert_allclose(tiles.spread, whole.spread, atol=1e-5)


@pytest.mark.parametrize("after", [0, 1, 20])
def test_it_can_be_cancelled(random_model: Path, after: int):
    stop = threading.Event()
    options = RestoreOptions(random_model, "cpu", tiling="exact", tile=16)
    seen = 0
    if after == 0:
        stop.set()
    for event in uncertainty(IMAGE, options, stop=stop):
        seen += isinstance(event, TileDone)
        if seen == after:
            stop.set()
    assert seen == after
    assert isinstance(event, Finished)
    assert event.result.status == "cancelled"
    assert event.result.spread is event.result.mean is None


class Broken(Watched):
    def __getitem__(self, index: tuple) -> np.ndarray:
        raise RuntimeError("the disk\nis gone")


@pytest.mark.parametrize(
    ("array", "options", "where", "says"),
    [
        (Broken(IMAGE), {}, {}, "the disk is gone"),
        (IMAGE, {"axes": "YX"}, {}, "'YX'"),
        (IMAGE.astype(complex), {}, {}, "complex128"),
        (IMAGE * 300, {"value_range": "dtype"}, {}, "outside the value range"),
        (IMAGE, {}, {"plane": 1}, "no plane 1"),
        (IMAGE, {"model": "nonesuch"}, {}, "nonesuch"),
        (IMAGE, {"device": "cuda:99"}, {}, "cuda:99"),
        (IMAGE, {"tile": 0}, {}, "0 pixels"),
        (IMAGE, {}, {"rows": slice(5, 5)}, "no pixels"),
    ],
)
def test_an_error_is_a_result(random_model: Path, array, options, where, says: str):
    options = {"model": random_model, **options}
    *_, last = uncertainty(array, RestoreOptions(**options), **where)
    assert last.result.status == "failed"
    assert says in last.result.message
    assert_sentence(last.result.message)
    assert isinstance(last.result.error, Exception)
    assert last.result.spread is last.result.mean is None


def test_the_result_is_also_returned(random_model: Path):
    work = uncertainty(IMAGE, RestoreOptions(random_model, "cpu"))
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            assert end.value is event.result
            break
