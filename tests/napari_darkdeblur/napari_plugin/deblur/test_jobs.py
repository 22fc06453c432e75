"""A job restores what it is told, whatever becomes of the layer, and raises nothing."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import zarr

from napari_darkdeblur import deblur
from napari_darkdeblur.napari_plugin.deblur import results
from napari_darkdeblur.napari_plugin.deblur.clock import Progress
from napari_darkdeblur.napari_plugin.deblur.jobs import (
    JobSpec,
    Outcome,
    Preparing,
    Restored,
    estimate_job,
    run_job,
)
from napari_darkdeblur.napari_plugin.regions import Region
from napari_darkdeblur.restore import RestoreOptions, TileDone

from ...conftest import assert_sentence


def spec_of(array: Any, model: Path, axes: str = "YX", **others: Any) -> JobSpec:
    dimensions = len(axes.replace("S", ""))
    chosen = {"value_range": "dtype"} | others.pop("options", {})
    options = RestoreOptions(model, "cpu", axes, **chosen)
    region = others.pop("region", Region((0,) * dimensions, tuple(array.shape[:dimensions])))
    return JobSpec("cells", array, region, options, **others)


def run(spec: JobSpec, stop: threading.Event | None = None) -> tuple[list[Any], Outcome]:
    job = run_job(spec, stop or threading.Event())
    events = []
    while True:
        try:
            events.append(next(job))
        except StopIteration as end:
            return events, end.value


def noise(shape: tuple[int, ...], dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4000, shape).astype(dtype)


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send results of any size to the disk."""
    monkeypatch.setattr(results, "LARGEST_IN_MEMORY", 0)


def test_it_gives_what_the_library_gives(random_model):
    stack = noise((3, 20, 24))
    events, outcome = run(spec_of(stack, random_model, "TYX"))
    assert outcome.status == "done"
    assert outcome.store.array.dtype == np.uint16
    np.testing.assert_array_equal(
        outcome.store.array, deblur(stack, random_model, axes="TYX", value_range="dtype")
    )
    assert (outcome.black, outcome.white) == (0, 65535)
    assert isinstance(events[0], Preparing)
    told = [e for e in events if isinstance(e, Progress)]
    assert [e.event.plane for e in told if isinstance(e.event, TileDone)] == [0, 1, 2]
    assert [e.fraction for e in told] == sorted(e.fraction for e in told)
    assert told[-1].fraction == pytest.approx(1)


def test_the_result_is_there_before_it_is_measured(random_model):
    picture = noise((20, 24))
    events, outcome = run(spec_of(picture, random_model, reference=picture[::-1]))
    kinds = [type(event) for event in events]
    restored = events[kinds.index(Restored)].outcome
    assert restored.status == "done"
    assert restored.measures == {}
    assert restored.store is outcome.store
    assert set(outcome.measures) == {"input", "restored"}
    assert "reference" in events[-1].event.text  # what is done after it


def test_floats_are_looked_at_with_progress_and_their_range_is_said(random_model):
    picture = (noise((40, 48)) / 4000).astype(np.float32)
    events, outcome = run(spec_of(picture, random_model, options={"value_range": "auto"}))
    looked = [e for e in events if isinstance(e, Preparing) and "values" in e.text]
    assert all(e.fraction is None or 0 <= e.fraction <= 1 for e in looked)
    assert looked
    assert "0" in outcome.range_text
    np.testing.assert_array_equal(outcome.store.array, deblur(picture, random_model))


def test_values_beyond_the_range_are_said_before_anything_is_run(random_model):
    picture = np.array(noise((20, 24)) / 1000, np.float32)  # up to 4
    spec = spec_of(picture, random_model)
    job = estimate_job(spec, threading.Event())
    while True:
        try:
            next(job)
        except StopIteration as end:
            problem = end.value.problem
            break
    assert "Automatic" in problem
    assert_sentence(problem)
    _, outcome = run(spec)
    assert (outcome.status, outcome.message) == ("failed", problem)


@pytest.mark.usefixtures("on_disk")
def test_a_full_disk_is_named_with_the_setting(random_model, tmp_path, monkeypatch):
    folder = tmp_path / "results"
    usage = results.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(results.shutil, "disk_usage", lambda path: usage._replace(free=100))
    _, outcome = run(spec_of(noise((20, 24)), random_model, results_folder=folder))
    assert outcome.status == "failed"
    assert str(folder) in outcome.message
    assert "Preferences" in outcome.message
    assert_sentence(outcome.message)


def test_a_region_is_restored_on_the_scale_of_the_whole_layer(random_model):
    stack = noise((3, 20, 24))
    stack[2, 0, 0] = 30000
    region = Region((1, 2, 3), (2, 18, 20))
    options = {"value_range": "data"}
    _, outcome = run(spec_of(stack, random_model, "TYX", region=region, options=options))
    assert (outcome.black, outcome.white) == (stack.min(), 30000)
    expected = deblur(
        stack[1:2, 2:18, 3:20], random_model, axes="TYX", value_range=(stack.min(), 30000)
    )
    np.testing.assert_array_equal(outcome.store.array, expected)


def test_float32_has_the_same_units(random_model):
    image = noise((20, 24))
    _, as_it_is = run(spec_of(image, random_model))
    _, outcome = run(spec_of(image, random_model, output_dtype="float32"))
    assert outcome.store.array.dtype == np.float32
    assert (outcome.black, outcome.white) == (0, 65535)
    np.testing.assert_allclose(outcome.store.array, as_it_is.store.array, atol=0.51)


def test_lazy_arrays_are_read_plane_by_plane(random_model):
    stack = noise((3, 20, 24))
    lazy = dask.array.from_array(stack, chunks=(1, 20, 24))
    _, outcome = run(spec_of(lazy, random_model, "TYX"))
    np.testing.assert_array_equal(
        outcome.store.array, deblur(stack, random_model, axes="TYX", value_range="dtype")
    )


@pytest.mark.usefixtures("on_disk")
def test_large_results_are_on_the_disk(random_model, tmp_path):
    stack = noise((3, 20, 24))
    _, outcome = run(spec_of(stack, random_model, "TYX", results_folder=tmp_path / "results"))
    path = outcome.store.path
    assert path.parent == tmp_path / "results"
    assert path.name.startswith("cells-")
    opened = zarr.open_array(path, mode="r")
    assert opened.chunks == (1, 20, 24)
    np.testing.assert_array_equal(
        opened[:], deblur(stack, random_model, axes="TYX", value_range="dtype")
    )
    _, second = run(spec_of(stack, random_model, "TYX", results_folder=tmp_path / "results"))
    assert second.store.path != path


@pytest.mark.usefixtures("on_disk")
@pytest.mark.parametrize("end", ["cancelled", "abandoned"])
def test_half_a_result_is_not_left_on_the_disk(random_model, tmp_path, end):
    spec = spec_of(noise((3, 20, 24)), random_model, "TYX", results_folder=tmp_path / "results")
    stop = threading.Event()
    job = run_job(spec, stop)
    while not isinstance(next(job), Progress):
        pass
    assert list((tmp_path / "results").iterdir())
    if end == "abandoned":
        job.close()
    else:
        stop.set()
        for _ in job:
            pass
    assert not list((tmp_path / "results").iterdir())


def test_cancelling_is_an_outcome(random_model):
    stop = threading.Event()
    stop.set()
    _, outcome = run(spec_of(noise((20, 24)), random_model), stop)
    assert outcome.status == "cancelled"
    assert outcome.store is None


class Broken:
    """An array that cannot be read."""

    shape, dtype, ndim = (20, 24), np.dtype(np.uint16), 2

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getitem__(self, index):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: unspecified launch failure"),
        OSError(5, "Input/output error", "cells.zarr"),
        KeyError("chunk"),
        MemoryError(),
    ],
)
def test_failing_is_an_outcome(random_model, error):
    _, outcome = run(spec_of(Broken(error), random_model))
    assert outcome.status == "failed"
    assert_sentence(outcome.message)


def test_a_broken_weights_file_is_an_outcome(tmp_path):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"not weights")
    _, outcome = run(spec_of(noise((20, 24)), path))
    assert outcome.status == "failed"
    assert "broken.safetensors" in outcome.message
    assert_sentence(outcome.message)


def test_a_pytorch_that_cannot_be_loaded_is_an_outcome(random_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    _, outcome = run(spec_of(noise((20, 24)), random_model))
    assert outcome.status == "failed"
    assert "PyTorch" in outcome.message


def test_results_are_measured_against_a_reference(random_model):
    from napari_darkdeblur.metrics import psnr

    image, reference = noise((3, 20, 24)), noise((3, 20, 24))[::-1]
    region = Region((0, 2, 2), (3, 18, 20))
    _, outcome = run(spec_of(image, random_model, "TYX", region=region, reference=reference))
    restored = outcome.store.array[1].astype(float) / 65535
    expected = reference[1, 2:18, 2:20].astype(float) / 65535
    assert outcome.measures["restored"]["PSNR (dB)"] == pytest.approx(psnr(restored, expected))
    before = image[1, 2:18, 2:20].astype(float) / 65535
    assert outcome.measures["input"]["PSNR (dB)"] == pytest.approx(psnr(before, expected))


def test_specs_differ_in_what_was_chosen(random_model):
    image = noise((20, 24))
    assert spec_of(image, random_model) == spec_of(image.copy(), random_model)
    assert spec_of(image, random_model) != spec_of(image, random_model, output_dtype="float32")
