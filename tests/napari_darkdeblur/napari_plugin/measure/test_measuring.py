"""What is measured is what the core measures of the same pixels, and nothing else is read."""

from __future__ import annotations

import threading
from typing import Any

import dask.array
import numpy as np
import pytest
from napari.layers import Image

from napari_darkdeblur.metrics import change_map, error_map, measure, measure_tiles, ssim_map
from napari_darkdeblur.napari_plugin.measure.matching import MatchError
from napari_darkdeblur.napari_plugin.measure.measuring_job import (
    MOST_TILES,
    AllMeasured,
    Measured,
    Stopped,
    mapping,
    measuring,
    measuring_tiles,
)
from napari_darkdeblur.napari_plugin.measure.measuring_plan import plan_all_planes, plan_measuring
from napari_darkdeblur.napari_plugin.provenance import Provenance
from napari_darkdeblur.rectangle import Rectangle

from ...conftest import assert_sentence
from .test_matching import pixels, restored_of


class Spy:
    """An array that notes what is read of it."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self.read: list[Any] = []

    def __getitem__(self, index: Any) -> np.ndarray:
        self.read.append(index)
        return self._array[index]


def run(work: Any, stop: threading.Event | None = None) -> tuple[list[Any], Any]:
    """Return what work tells, and its result."""
    told, steps = [], work(stop or threading.Event())
    while True:
        try:
            told.append(next(steps))
        except StopIteration as end:
            return told, end.value


def measured(subjects: Any) -> list[Any]:
    told, result = run(measuring(subjects))
    assert isinstance(result, AllMeasured)
    assert not result.problems
    assert all(isinstance(one, Measured) for one in told)
    return [one.measurement for one in told]


def unit(values: np.ndarray) -> np.ndarray:
    return values / 255


@pytest.mark.parametrize("colour", [(), (3,), (4,)], ids=["grey", "RGB", "RGBA"])
def test_a_crop_is_compared_with_the_same_crop_of_input_and_reference(colour):
    source = Image(pixels(200, 210, *colour), name="night", rgb=bool(colour))
    sharp = Image(pixels(200, 210, *colour, seed=1), name="sharp", rgb=bool(colour))
    result = restored_of(source, pixels(180, 170, *colour, seed=2), start=(10, 20))
    layers = [source, sharp, result]
    plan = plan_measuring([result, source], sharp, layers, (0, 0))
    assert plan.problems == ()
    after, before = measured(plan.subjects)

    crop = (slice(10, 190), slice(20, 190), *[slice(3)] * len(colour))
    restored = result.data[..., :3] if colour else result.data
    expected = measure(unit(restored), unit(sharp.data[crop]), unit(source.data[crop]))
    assert after.numbers == pytest.approx(expected, rel=1e-4, nan_ok=True)
    expected = measure(unit(source.data[crop]), unit(sharp.data[crop]))
    assert before.numbers == pytest.approx(expected, rel=1e-4, nan_ok=True)
    assert before.against == after.against


def test_only_what_layers_have_in_common_is_measured():
    one = Image(pixels(40, 50), name="one")
    other = Image(pixels(40, 50, seed=1), name="other", translate=(5, -10))
    a, b = plan_measuring([one, other], None, [one, other], (0, 0)).subjects
    assert a.picture.area == Rectangle(5, 0, 35, 40)
    assert b.picture.area == Rectangle(0, 10, 35, 40)


def test_a_border_is_left_out():
    one = Image(pixels(40, 50), name="one")
    (subject,) = plan_measuring([one], None, [one], (0, 0), border=15).subjects
    assert subject.picture.area == Rectangle(15, 15, 10, 20)
    with pytest.raises(MatchError, match="20 pixels leaves nothing") as error:
        plan_measuring([one], None, [one], (0, 0), border=20)
    assert_sentence(str(error.value))


def test_nothing_but_the_plane_is_read():
    spies = [Spy(pixels(5, 60, 70, seed=seed)) for seed in range(3)]
    sources = [dask.array.from_array(spy, chunks=(1, 60, 70), name=False) for spy in spies]
    source = Image(sources[0], name="movie", contrast_limits=(0, 255))
    result = restored_of(source, sources[1])
    sharp = Image(sources[2], name="sharp", contrast_limits=(0, 255))
    for spy in spies:
        spy.read.clear()
    layers = [source, result, sharp]
    plan = plan_measuring([source, result], sharp, layers, (3, 0, 0))
    assert [spy.read for spy in spies] == [[], [], []]
    measured(plan.subjects)
    for spy in spies:
        assert spy.read
        planes = [np.arange(5)[index[0]] for index in spy.read]
        assert {int(plane) for plane in np.ravel(planes)} == {3}


def test_all_planes_come_with_their_mean():
    source = Image(pixels(3, 40, 50), name="movie")
    result = restored_of(source, pixels(3, 40, 50, seed=1))
    plan = plan_all_planes([source, result], None, [source, result], (0, 0, 0))
    told, result = run(measuring(plan.subjects))
    assert [one.measurement.where for one in told] == ["Z 0"] * 2 + ["Z 1"] * 2 + ["Z 2"] * 2
    mean = result.means[1]
    assert (mean.layer, mean.where, mean.plane) == ("movie [darkdeblur]", "mean of 3", None)
    changes = [one.measurement.numbers.get("Mean change (%)") for one in told[1::2]]
    assert mean.numbers["Mean change (%)"] == pytest.approx(np.mean(changes))


def test_only_planes_that_all_layers_have_are_measured():
    source = Image(pixels(5, 40, 50), name="movie")
    result = restored_of(source, pixels(2, 40, 50), start=(1, 0, 0))
    plan = plan_all_planes([source, result], None, [source, result], (0, 0, 0))
    assert plan.problems == ()
    names = [(one.picture.name, one.where) for one in plan.subjects]
    assert names == [
        ("movie", "Z 1"),
        ("movie [darkdeblur]", "Z 0"),
        ("movie", "Z 2"),
        ("movie [darkdeblur]", "Z 1"),
    ]


def test_the_range_of_a_result_holds_for_its_input_and_reference():
    source = Image(pixels(40, 50).astype(np.uint16) * 16, name="12 bits")
    result = restored_of(source, source.data)
    result.metadata["darkdeblur"] |= {"black": 100.0, "white": 4095.0}
    sharp = Image(source.data, name="sharp")
    layers = [source, result, sharp]
    for subject in plan_measuring([source, result], sharp, layers, (0, 0)).subjects:
        assert (subject.picture.values.black, subject.picture.values.white) == (100, 4095)
        assert subject.reference.values == subject.picture.values


def test_side_by_side_there_is_one_range():
    source = Image(pixels(40, 50).astype(np.uint16) * 4, name="night")
    first, second = restored_of(source, source.data), restored_of(source, source.data)
    second.data = source.data.astype(np.float32)
    first.metadata["darkdeblur"] |= {"black": 10.0, "white": 900.0}
    second.metadata["darkdeblur"] |= {"black": 20.0, "white": 1000.0}
    floats = Image(source.data / 1020, name="of another program")
    layers = [source, first, second, floats]
    ranges = [one.picture.values for one in plan_measuring(layers, None, layers, (0, 0)).subjects]
    assert [(one.black, one.white) for one in ranges] == [(20, 1000)] * 3 + [(0, 1)]


def test_a_sample_has_the_range_that_it_was_made_with():
    layer = Image(pixels(40, 50).astype(np.uint16), name="movie")
    layer.metadata = Provenance(kind="sample", black=0, white=1023).as_metadata()
    (subject,) = plan_measuring([layer], None, [layer], (0, 0)).subjects
    assert subject.picture.values.describe() == "0 to 1023 (of the sample)"


def test_a_reference_of_another_dtype_has_its_own_range():
    layer = Image(pixels(40, 50), name="8 bits")
    sharp = Image((layer.data / 255).astype(np.float32), name="floats")
    (subject,) = plan_measuring([layer], sharp, [layer, sharp], (0, 0)).subjects
    (measurement,) = measured([subject])
    assert measurement.numbers["PSNR (dB)"] > 100


def test_nan_is_no_difference_and_is_told():
    data = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    bad = data.copy()
    bad[3, 4] = np.nan
    layer, sharp = Image(bad, name="bad"), Image(data, name="sharp")
    (measurement,) = measured(plan_measuring([layer], sharp, [layer, sharp], (0, 0)).subjects)
    assert measurement.numbers["PSNR (dB)"] == np.inf
    (note,) = measurement.notes
    assert "1 pixel is NaN" in note
    assert_sentence(note)


def test_values_outside_of_the_range_are_told():
    layer = Image(np.linspace(0, 4, 2000).reshape(40, 50), name="bright")
    (measurement,) = measured(plan_measuring([layer], None, [layer], (0, 0)).subjects)
    assert any("75 %" in note for note in measurement.notes)
    for note in measurement.notes:
        assert_sentence(note)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0, 128, 255])
def test_constant_images_are_measured(value):
    flat = np.full((40, 50), value, np.uint8)
    layer, sharp = Image(flat, name="flat"), Image(flat, name="sharp")
    (measurement,) = measured(plan_measuring([layer], sharp, [layer, sharp], (0, 0)).subjects)
    assert measurement.numbers["PSNR (dB)"] == np.inf
    assert measurement.numbers["SSIM"] == 1


def test_what_is_too_small_for_ssim_is_left_out():
    layer, sharp = Image(pixels(10, 50), name="flat"), Image(pixels(10, 50), name="sharp")
    (measurement,) = measured(plan_measuring([layer], sharp, [layer, sharp], (0, 0)).subjects)
    assert "SSIM" not in measurement.numbers
    assert "PSNR (dB)" in measurement.numbers


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (Image(pixels(40, 50, 3), name="colours", rgb=True), "is RGB"),
        (Image(pixels(40, 50), name="elsewhere", translate=(400, 0)), "does not lie where"),
        (Image(pixels(40, 50) > 100, name="mask"), "holds bool"),
    ],
    ids=["other colours", "elsewhere", "a mask"],
)
def test_a_reference_that_does_not_fit_is_explained_and_the_rest_is_measured(reference, words):
    layer = Image(pixels(40, 50), name="layer")
    plan = plan_measuring([layer], reference, [layer, reference], (0, 0))
    (problem,) = plan.problems
    assert words in problem
    assert_sentence(problem)
    (measurement,) = measured(plan.subjects)
    assert "PSNR (dB)" not in measurement.numbers
    assert "Noise (%)" in measurement.numbers


def test_it_is_told_if_layers_were_matched_by_their_shape():
    layer = Image(pixels(40, 50), name="in micrometres", scale=(0.1, 0.1))
    sharp = Image(layer.data, name="plain")
    (measurement,) = measured(plan_measuring([layer], sharp, [layer, sharp], (0, 0)).subjects)
    assert measurement.numbers["PSNR (dB)"] == np.inf
    (note,) = measurement.notes
    assert "pixel by pixel" in note
    assert_sentence(note)


def test_an_input_that_was_changed_is_explained():
    source = Image(pixels(40, 50), name="night")
    result = restored_of(source, pixels(40, 50))
    source.data = pixels(30, 50)
    plan = plan_measuring([result], None, [source, result], (0, 0))
    assert "changed meanwhile" in plan.problems[0]
    assert plan.subjects[0].original is None


def test_an_array_that_cannot_be_read_is_a_sentence_not_an_exception():
    class Broken(Spy):
        def __getitem__(self, index: Any) -> np.ndarray:
            raise RuntimeError("the disk is gone")

    layer = Image(pixels(40, 50), name="layer")
    (subject,) = plan_measuring([layer], None, [layer], (0, 0)).subjects
    object.__setattr__(subject.picture, "array", Broken(layer.data))
    told, result = run(measuring([subject]))
    assert told == []
    assert "the disk is gone" in result.problems[0]
    for work in (measuring_tiles(subject, 16), mapping(subject, "error")):
        stopped = run(work)[1]
        assert isinstance(stopped, Stopped)
        assert_sentence(stopped.message)


def test_stopping_gives_no_half_measures():
    layer = Image(pixels(40, 50), name="layer")
    (subject,) = plan_measuring([layer], None, [layer], (0, 0)).subjects
    stop = threading.Event()
    stop.set()
    for work in (measuring([subject]), measuring_tiles(subject, 16)):
        assert isinstance(run(work, stop)[1], Stopped)


def test_tiles_are_measured_as_the_core_does():
    source = Image(pixels(100, 90), name="night")
    sharp = Image(pixels(100, 90, seed=1), name="sharp")
    (subject,) = plan_measuring([source], sharp, [source, sharp], (0, 0)).subjects
    _, result = run(measuring_tiles(subject, 32))
    expected = dict(measure_tiles(unit(source.data), unit(sharp.data), None, result.tiles))
    assert list(result.columns) == list(expected)
    for label, column in expected.items():
        np.testing.assert_allclose(result.columns[label], column, rtol=1e-4)
    first = result.tiles[0]
    np.testing.assert_allclose(
        result.means[0], source.data[: first.height, : first.width].mean(), rtol=1e-5
    )


def test_there_are_never_too_many_tiles():
    layer = Image(np.zeros((1000, 900), np.uint8), name="large")
    (subject,) = plan_measuring([layer], None, [layer], (0, 0)).subjects
    _, result = run(measuring_tiles(subject, 16))
    assert 100 < len(result.tiles) <= MOST_TILES
    assert_sentence(result.notes[0])


@pytest.mark.parametrize(
    ("kind", "make"), [("error", error_map), ("SSIM", ssim_map), ("change", change_map)]
)
def test_maps_are_those_of_the_core(kind, make):
    source = Image(pixels(40, 50), name="night")
    result = restored_of(source, pixels(40, 50, seed=1))
    layers = [source, result]
    # For once the input is the reference, too.
    (subject,) = plan_measuring([result], source, layers, (0, 0)).subjects
    _, made = run(mapping(subject, kind))
    expected = make(unit(result.data), unit(source.data))
    np.testing.assert_allclose(made.values, expected, atol=1e-5)
