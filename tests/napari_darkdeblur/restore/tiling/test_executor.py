"""Tiling does not change the result, stays inside its budget, stops when told to, and retries."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_darkdeblur import GeneratorConfig, deblur, load_weights, save_weights
from napari_darkdeblur.network import (
    FeaturePyramidConfig,
    LoadedModel,
    MultiScaleConfig,
    NetworkConfig,
)
from napari_darkdeblur.restore import (
    BudgetError,
    Event,
    Finished,
    ImageView,
    ModelReady,
    OutOfMemoryError,
    Plan,
    PlaneDone,
    RestoreOptions,
    Result,
    Retried,
    TileDone,
    choose_device,
    estimate,
    job,
    make_plan,
    restore,
)
from napari_darkdeblur.restore import events as restore_events
from napari_darkdeblur.restore import models as restore_models
from napari_darkdeblur.restore.image.plane_io import PlaneIO
from napari_darkdeblur.restore.tiling import planner
from napari_darkdeblur.restore.tiling.executor import restore_plane
from napari_darkdeblur.restore.tiling.feature_store import (
    DiskFeatureStore,
    MemoryFeatureStore,
    ScratchError,
    ScratchFolder,
)
from napari_darkdeblur.restore.tiling.memory import PeakTracker
from napari_darkdeblur.restore.tiling.tiles import tile_grid

from ...conftest import assert_sentence, make_network, tightest_plan

PLAIN = GeneratorConfig(width=4, growth=4, dense_layers=2, levels=3)
UNSHUFFLED = GeneratorConfig(width=4, growth=4, dense_layers=2, levels=2, stem="unshuffle")
UNSHUFFLED_BY_4 = UNSHUFFLED.model_copy(update={"stem": "unshuffle4"})
WITHOUT_ATTENTION = PLAIN.model_copy(update={"channel_attention": False})
CONFIGS = {
    "plain": PLAIN,
    "unshuffled": UNSHUFFLED,
    "unshuffled by four": UNSHUFFLED_BY_4,
    "without attention": WITHOUT_ATTENTION,
    "multi-scale": MultiScaleConfig(width=4, levels=2, blocks=1, scales=2),
    "each scale its own": MultiScaleConfig(width=4, levels=1, blocks=1, scales=3, shared=False),
    "feature pyramid": FeaturePyramidConfig(width=4, blocks=(1, 2), expansion=2, pyramid=8),
}


def make_model(folder: Path, config: NetworkConfig) -> LoadedModel:
    """Return a model whose gates depend strongly on the means that they are made from."""
    net = make_network(config)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "excite.weight" in name or "squeeze.weight" in name:
                parameter *= 10
            elif "head" in name:
                parameter *= 3
    return load_weights(save_weights(folder / "model.safetensors", net))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    return {
        name: make_model(tmp_path_factory.mktemp("model"), config)
        for name, config in CONFIGS.items()
    }


@pytest.fixture(scope="module")
def model(models: dict[str, LoadedModel]) -> LoadedModel:
    return models["plain"]


def scene(height: int, width: int) -> np.ndarray:
    """Return an image whose parts have different means, so that a tile's own would be wrong."""
    rng = np.random.default_rng(height * 1000 + width)
    image = rng.random((height, width, 3)) * np.linspace(0.1, 1, width)[:, None]
    return image.astype(np.float32)


def run(events: Iterator[Event]) -> tuple[list[Event], Result]:
    seen = list(events)
    assert isinstance(seen[-1], Finished)
    return seen, seen[-1].result


def restore_in_tiles(
    model: LoadedModel, image: np.ndarray, tiling: str, tile: int, origin: tuple[int, int]
) -> np.ndarray:
    """Restore with tiles that begin anywhere."""
    height, width = image.shape[:2]
    chosen = make_plan(
        model.network, height, width, 10**10, tiling=tiling, tile=tile, origin=origin
    )
    output = np.empty_like(image)
    view = ImageView(image, "YXC", "auto")
    io = PlaneIO(view, 0, output, model)
    with torch.inference_mode():
        list(restore_plane(model.network, chosen, io, io.bounds))
    return output


# --- tiles


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 300),
    st.tuples(st.integers(-500, 500), st.integers(-500, 500)), st.sampled_from([1, 4, 8, 16]),
)  # fmt: skip
def test_tiles_cover_every_pixel_once(rows, columns, tile, origin, align):
    height, width = rows * align, columns * align
    covered = np.zeros((height, width), int)
    for region in tile_grid(height, width, tile, align, origin):
        assert region.top % align == region.left % align == 0
        assert 0 < region.height <= max(tile + align, align)
        covered[region.top : region.bottom, region.left : region.right] += 1
    assert (covered == 1).all()


# --- the result


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(sorted(CONFIGS)), st.integers(1, 150), st.integers(1, 150),
    st.integers(1, 90), st.tuples(st.integers(-99, 99), st.integers(-99, 99)),
)  # fmt: skip
def test_exact_is_whole_for_any_size_tile_and_origin(models, name, height, width, tile, origin):
    image = scene(height, width)
    whole = deblur(image, models[name], "cpu", tiling="whole")
    tiled = restore_in_tiles(models[name], image, "exact", tile, origin)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(
    st.sampled_from(sorted(CONFIGS)), st.integers(1, 400), st.integers(1, 150),
    st.integers(1, 200), st.tuples(st.integers(-99, 99), st.integers(-99, 99)),
)  # fmt: skip
def test_local_does_not_depend_on_tiles(models, name, height, width, tile, origin):
    image = scene(height, width)
    in_one_tile = deblur(image, models[name], "cpu", tiling="local", tile=10**6)
    tiled = restore_in_tiles(models[name], image, "local", tile, origin)
    np.testing.assert_allclose(tiled, in_one_tile, rtol=0, atol=1e-4)


@settings(deadline=None, max_examples=15)
@given(
    st.sampled_from(sorted(CONFIGS)), st.integers(1, 150), st.integers(1, 150),
    st.integers(1, 90), st.tuples(st.integers(-99, 99), st.integers(-99, 99)),
)  # fmt: skip
def test_fast_has_no_seams(models, name, height, width, tile, origin):
    image = scene(height, width)
    in_one_tile = deblur(image, models[name], "cpu", tiling="fast", tile=10**6)
    tiled = restore_in_tiles(models[name], image, "fast", tile, origin)
    np.testing.assert_allclose(tiled, in_one_tile, rtol=0, atol=1e-5)


def test_fast_has_no_seams_with_averages_of_several_samples(model: LoadedModel):
    image = scene(420, 600)
    chosen = make_plan(model.network, 420, 600, 10**10, tiling="fast", tile=130)
    assert len(chosen.sample) > 1
    in_one_tile = deblur(image, model, "cpu", tiling="fast", tile=10**6)
    tiled = restore_in_tiles(model, image, "fast", 130, (7, 40))
    np.testing.assert_allclose(tiled, in_one_tile, rtol=0, atol=1e-5)


def test_the_channel_scales_matter_here(model: LoadedModel):
    """Tiles restored on their own would differ, so the tests above could fail."""
    image = scene(120, 120)
    whole = deblur(image, model, "cpu", tiling="whole")
    alone = deblur(image[:, :60], model, "cpu", tiling="whole")
    assert np.abs(alone[:, :20] - whole[:, :20]).max() > 2e-3


def test_local_averages_follow_the_place(model: LoadedModel):
    local_tiles = {"tiling": "local", "tile": 128, "value_range": "dtype"}
    image = scene(64, 640)
    image[:, :320] = 0.5  # half of it is flat
    local = deblur(image, model, "cpu", **local_tiles)
    whole = deblur(image, model, "cpu", tiling="whole", value_range="dtype")
    assert np.abs(local - whole).max() > 2e-3
    # Within one window of the border nothing of the other half is seen.
    flat = deblur(image[:, :320], model, "cpu", **local_tiles)
    np.testing.assert_allclose(local[:, :160], flat[:, :160], rtol=0, atol=1e-4)


@pytest.mark.parametrize("place", ["disk", "recompute"])
@pytest.mark.parametrize("tiling", ["exact", "local"])
def test_where_features_wait_does_not_change_the_result(
    model: LoadedModel, tiling: str, place: str, monkeypatch: pytest.MonkeyPatch
):
    image = scene(150, 170)
    in_memory = deblur(image, model, "cpu", tiling=tiling, tile=64)
    chosen = make_plan(model.network, 150, 170, 10**10, tiling=tiling, tile=64)
    everywhere = dict.fromkeys(chosen.storage, place)
    monkeypatch.setattr(
        job,
        "make_plan",
        lambda *args, **kwargs: dataclasses.replace(chosen, storage=everywhere),
    )
    elsewhere = deblur(image, model, "cpu", tiling=tiling, tile=64)
    np.testing.assert_allclose(elsewhere, in_memory, rtol=0, atol=1e-6)


# --- memory


def tracked_peak(model: LoadedModel, image: np.ndarray, chosen: Plan) -> int:
    io = PlaneIO(ImageView(image, "YXC"), 0, np.empty_like(image), model)
    with torch.no_grad(), PeakTracker() as tracker:
        for _ in restore_plane(model.network, chosen, io, io.bounds):
            pass
    return tracker.peak


class Scratch(ScratchFolder):
    """A disk that is never full, or always."""

    free = 10**15


class FullScratch(ScratchFolder):
    free = 0


@pytest.mark.parametrize("levels", [3, 5])
@pytest.mark.parametrize(
    ("tiling", "scratch"),
    [
        ("whole", None),
        ("fast", None),
        *((tiling, s) for tiling in ("exact", "local") for s in (None, Scratch, FullScratch)),
    ],
)
def test_the_predicted_peak_is_never_less_than_the_real_one(
    tmp_path: Path, tiling: str, levels: int, scratch, monkeypatch: pytest.MonkeyPatch
):
    config = GeneratorConfig(width=4, growth=4, dense_layers=2, levels=levels)
    model = make_model(tmp_path, config)
    image = scene(500, 700)
    tile = None if tiling == "whole" else 128
    if scratch is None:
        chosen = make_plan(model.network, 500, 700, 10**10, tiling=tiling, tile=tile)
    else:
        monkeypatch.setattr(planner, "ScratchFolder", scratch)
        chosen = tightest_plan(model.network, 500, 700, tiling=tiling, tile=tile)
        assert ("disk" if scratch is Scratch else "recompute") in chosen.storage.values()
    peak = tracked_peak(model, image, chosen)
    predicted = chosen.peak_bytes - chosen.fixed_bytes
    assert peak <= predicted
    # It is a prediction, not a fence far out.
    assert predicted < 3 * peak + 20_000_000


def test_less_memory_means_smaller_tiles_and_then_features_elsewhere(model: LoadedModel):
    whole = make_plan(model.network, 2000, 2000, 10**11, tiling="whole")
    peaks = []
    storage: set[str] = set()
    for share in (0.9, 0.4, 0.3, 0.2, 0.15):
        budget = int(share * whole.peak_bytes)
        chosen = make_plan(model.network, 2000, 2000, budget)
        assert chosen.mode == "exact"
        assert chosen.peak_bytes <= budget
        peaks.append(chosen.peak_bytes)
        storage |= set(chosen.storage.values())
    assert peaks == sorted(peaks, reverse=True)
    assert storage > {"memory"}


def test_auto_takes_an_image_as_a_whole_only_while_that_is_quick(model: LoadedModel):
    # However fast this machine is: a side whose pixels are said to take 5 seconds, if so many.
    whole = make_plan(model.network, 1000, 1000, 10**11, tiling="whole")
    side = min(1000, math.isqrt(int(5 / whole.seconds * 1000**2)))
    assert make_plan(model.network, side, side, 10**11).mode == "whole"
    assert make_plan(model.network, 3000, 3000, 10**11).mode == "exact"


def test_a_budget_that_is_too_small_is_refused_with_what_is_needed(model: LoadedModel):
    for options in ({}, {"tiling": "whole"}, {"tiling": "fast"}, {"tile": 512}):
        with pytest.raises(BudgetError, match=r"[MG]B") as caught:
            make_plan(model.network, 4000, 4000, 65_000_000, **options)
        assert_sentence(str(caught.value))


def test_a_small_budget_is_kept_and_gives_the_same(model: LoadedModel):
    image = scene(900, 900)
    whole = deblur(image, model, "cpu", tiling="whole")
    chosen = make_plan(model.network, 900, 900, 90_000_000)
    assert tracked_peak(model, image, chosen) < 90_000_000
    restored = deblur(image, model, "cpu", memory=90_000_000 + image.nbytes)
    np.testing.assert_allclose(restored, whole, rtol=0, atol=1e-5)


def test_estimate_tells_what_will_be_done_without_doing_it(model: LoadedModel):
    chosen, planes = estimate((7, 300, 400, 3), np.uint8, RestoreOptions(model, "cpu", tile=128))
    assert planes == 7
    assert chosen.mode == "exact"
    assert chosen.tile_count == sum(map(len, chosen.tiles.values())) > 12
    text = chosen.describe()
    assert f"{chosen.tile_count} tiles" in text
    assert "MB" in text
    assert text.endswith(" s")


def test_a_scratch_folder_that_is_not_there_is_said(model: LoadedModel, tmp_path: Path):
    image = scene(1500, 1500)
    whole = make_plan(model.network, 1500, 1500, 10**11, tiling="whole").peak_bytes
    options = RestoreOptions(model, "cpu", memory=whole // 3, scratch=tmp_path / "missing")
    _, result = run(restore(image, np.empty_like(image), options))
    assert result.status == "failed"
    assert isinstance(result.error, ScratchError)
    assert "missing" in result.message
    assert_sentence(result.message)


def test_scratch_files_are_gone_afterwards(model: LoadedModel, tmp_path: Path, monkeypatch):
    image = scene(150, 170)
    chosen = make_plan(model.network, 150, 170, 10**10, tiling="exact", tile=64)
    on_disk = dataclasses.replace(chosen, storage=dict.fromkeys(chosen.storage, "disk"))
    monkeypatch.setattr(job, "make_plan", lambda *args, **kwargs: on_disk)
    opened, closed = [], []
    original = DiskFeatureStore.close
    made = DiskFeatureStore.__init__
    monkeypatch.setattr(
        DiskFeatureStore,
        "__init__",
        lambda self, *args: (opened.append(self), made(self, *args))[1],
    )
    monkeypatch.setattr(
        DiskFeatureStore, "close", lambda self: (closed.append(self), original(self))[1]
    )
    stop = threading.Event()
    for event in restore(
        image, np.empty_like(image), RestoreOptions(model, "cpu", scratch=tmp_path), stop=stop
    ):
        if isinstance(event, TileDone) and event.stage == "encoder 2":
            stop.set()
    assert list(tmp_path.iterdir()) == []
    assert len(opened) > 3
    assert set(map(id, opened)) == set(map(id, closed))


# --- events


def test_events_tell_every_tile_and_plane_in_order(model: LoadedModel):
    image = np.stack([scene(100, 90)] * 3)
    output = np.empty_like(image)
    options = RestoreOptions(model, "cpu", axes="TYXC", tiling="exact", tile=32)
    events, result = run(restore(image, output, options))
    assert isinstance(events[0], ModelReady)
    assert events[0].planes == 3
    tiles = [event for event in events if isinstance(event, TileDone)]
    total = events[0].plan.tile_count
    assert [event.done for event in tiles] == [*range(1, total + 1)] * 3
    fractions = [event.fraction for event in tiles]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)
    assert tiles[-1].seconds_left == pytest.approx(0, abs=1e-6)
    planes = [event for event in events if isinstance(event, PlaneDone)]
    assert [event.plane for event in planes] == [0, 1, 2]
    assert [event.description for event in planes] == ["T 0", "T 1", "T 2"]
    assert (result.status, result.planes_done, result.model) == ("done", 3, model.name)
    np.testing.assert_array_equal(output[0], output[2])


def test_tiles_that_are_written_one_later_are_all_written(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
):
    """As on a CUDA device, where copies run beside the computation."""

    class CudaEvent:
        def __init__(self) -> None:
            self.seen = []

        def record(self, stream):
            self.seen.append(stream)

        def synchronize(self):
            assert self.seen

    original = PlaneIO.__init__

    def asynchronous(self, *args):
        original(self, *args, asynchronous=True)

    image = scene(100, 90)
    expected = deblur(image, model, "cpu", tiling="exact", tile=32)
    empty = torch.empty
    monkeypatch.setattr(PlaneIO, "__init__", asynchronous)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(
        torch, "empty", lambda *args, pin_memory=False, **kwargs: empty(*args, **kwargs)
    )
    monkeypatch.setattr(torch.cuda, "Event", CudaEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "stream")
    restored = deblur(image, model, "cpu", tiling="exact", tile=32)
    np.testing.assert_array_equal(restored, expected)


@pytest.mark.parametrize("after", [0, 1, 5])
def test_cancelling_stops_before_the_next_tile(model: LoadedModel, after: int, monkeypatch):
    stop = threading.Event()
    computed = []
    original = job.restore_plane

    def counting(*args):
        for step in original(*args):
            computed.append(step)
            yield step

    monkeypatch.setattr(job, "restore_plane", counting)
    image = scene(100, 90)
    options = RestoreOptions(model, "cpu", tiling="exact", tile=32)
    events = restore(image, np.empty_like(image), options, stop=stop)
    if after == 0:
        stop.set()
    for event in events:
        if isinstance(event, TileDone) and event.done == after:
            stop.set()
        last = event
    assert isinstance(last, Finished)
    assert last.result.status == "cancelled"
    assert_sentence(last.result.message)
    assert len(computed) == after


def test_the_iterator_returns_its_result(model: LoadedModel):
    def driver():
        image = scene(20, 20)
        return (yield from restore(image, np.empty_like(image), RestoreOptions(model, "cpu")))

    events = driver()
    with pytest.raises(StopIteration) as ended:
        while True:
            last = next(events)
    assert ended.value.value is last.result


class Broken:
    """An array that cannot be read, as when a network drive goes away."""

    shape, dtype, ndim = (40, 40), np.dtype("u1"), 2

    def __getitem__(self, index):
        raise OSError("the drive is gone")


@pytest.mark.parametrize(
    ("array", "options", "says"),
    [
        (Broken(), {}, "the drive is gone"),
        (np.zeros((4, 4), bool), {}, "bool"),
        (np.zeros((4, 4), np.uint8), {"device": "cuda:99"}, "cuda:99"),
        (np.zeros((4, 4), np.uint8), {"model": "no-such-model"}, "no-such-model"),
        (np.zeros((4, 4), np.uint8), {"axes": "TYX"}, "TYX"),
        (np.zeros((4, 4), np.uint8), {"precision": "bf16"}, "bf16"),
        (np.zeros((4, 4), np.uint8), {"precision": "fp8"}, "fp8"),
        (np.zeros((4, 4), np.uint8), {"tile": 0}, "0 pixels"),
        (np.zeros((4, 4), np.uint8), {"memory": 1}, "1 MB"),
    ],
)
def test_failures_are_results_with_a_sentence(model: LoadedModel, array, options, says: str):
    chosen = RestoreOptions(**{"model": model, "device": "cpu"} | options)
    events, result = run(restore(array, np.zeros((4, 4), np.uint8), chosen))
    assert result.status == "failed"
    assert says in result.message
    assert_sentence(result.message)
    assert result.error is not None
    assert not any(isinstance(event, TileDone) for event in events)


# --- running out of memory


class SmallDevice:
    """Fails as a GPU does when the network is given more pixels than it has memory for."""

    def __init__(self, model: LoadedModel, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pixels = pixels
        original = PlaneIO.read

        def read(plane, region):
            if region.height * region.width > self.pixels:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
            return original(plane, region)

        monkeypatch.setattr(PlaneIO, "read", read)


@pytest.mark.parametrize("tiling", ["auto", "whole", "exact", "local", "fast"])
def test_out_of_memory_goes_on_in_smaller_tiles_with_the_same_result(
    model: LoadedModel, tiling: str, monkeypatch: pytest.MonkeyPatch
):
    image = np.stack([scene(400, 420), scene(400, 420)])
    options = RestoreOptions(
        model, "cpu", axes="TYXC", tiling=tiling, tile=None if tiling == "whole" else 300
    )
    expected = np.empty_like(image)
    run(restore(image, expected, options))
    SmallDevice(model, 250 * 250, monkeypatch)
    output = np.empty_like(image)
    events, result = run(restore(image, output, options))
    retries = [event for event in events if isinstance(event, Retried)]
    assert result.status == "done"
    # Once is enough: the planes that follow begin with what worked.
    assert len(retries) >= 1
    assert {event.plane for event in retries} == {0}
    for event in retries:
        assert_sentence(event.reason)
        assert "memory" in event.reason
    assert result.plan.tile < 250
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-4 if tiling == "local" else 1e-5)


def test_room_for_few_features_is_found_by_trying_again(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
):
    """A device on which not tiles are too large, but what waits between the stages."""
    make, close = MemoryFeatureStore.__init__, MemoryFeatureStore.close
    stored: dict[int, int] = {}

    def limited(self, feature, height, width, dtype, home, device):
        size = feature.channels * 4 * (height // feature.downscale) * (width // feature.downscale)
        if sum(stored.values()) + size > 3_000_000:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        stored[id(self)] = size
        make(self, feature, height, width, dtype, home, device)

    def closed(self):
        del stored[id(self)]
        close(self)

    image = scene(400, 420)
    expected = deblur(image, model, "cpu", tiling="exact", tile=256)
    monkeypatch.setattr(MemoryFeatureStore, "__init__", limited)
    monkeypatch.setattr(MemoryFeatureStore, "close", closed)
    output = np.empty_like(image)
    options = RestoreOptions(model, "cpu", tiling="exact", tile=256, memory=10**10)
    _, result = run(restore(image, output, options))
    assert result.status == "done"
    assert set(result.plan.storage.values()) != {"memory"}
    assert stored == {}
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-5)


def test_when_no_tile_is_small_enough_it_fails_with_a_sentence(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
):
    SmallDevice(model, 10, monkeypatch)
    image = scene(300, 300)
    _, result = run(restore(image, np.empty_like(image), RestoreOptions(model, "cpu")))
    assert result.status == "failed"
    assert isinstance(result.error, OutOfMemoryError)
    assert_sentence(result.message)


def test_a_gpu_chosen_by_auto_hands_over_to_the_cpu(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
):
    # "mps" stands for a GPU: its network is on the CPU, and its memory is never enough.
    class Gpu:
        type = "mps"

        def __str__(self) -> str:
            return "mps:0"

    on_cpu = []

    def run_on(self):
        return torch.device("cpu") if on_cpu else Gpu()

    original = job.restore_plane

    def failing(*args):
        if not on_cpu:
            raise torch.OutOfMemoryError("MPS backend out of memory")
        return original(*args)

    def load(model, device="auto", precision="fp32", pixels=None):
        if device == "cpu":
            on_cpu.append(True)
        return model

    monkeypatch.setattr(job.Job, "device", property(run_on))
    monkeypatch.setattr(job, "restore_plane", failing)
    monkeypatch.setattr(restore_models, "load_model", load)
    image = scene(40, 40)
    output = np.empty_like(image)
    events, result = run(restore(image, output, RestoreOptions(model, "auto")))
    retried = [event for event in events if isinstance(event, Retried)]
    assert [event.device for event in retried] == ["cpu"]
    assert "CPU" in retried[0].reason
    assert (result.status, result.device) == ("done", "cpu")

    on_cpu.clear()
    _, result = run(restore(image, output, RestoreOptions(model, "mps")))
    assert result.status == "failed"
    assert "'cpu'" in result.message


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), BudgetError("It takes 9 GB.")]
)
def test_a_gpu_too_full_for_the_model_hands_over_to_the_cpu(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def load(asked, device="auto", precision="fp32", pixels=None):
        if device != "cpu":
            raise error
        return model

    monkeypatch.setattr(restore_models, "load_model", load)
    monkeypatch.setattr(job, "choose_device", lambda name: torch.device("cuda:0"))
    image = scene(40, 40)
    output = np.empty_like(image)
    options = RestoreOptions(model, "auto", memory=10**9)
    events, result = run(restore(image, output, options))
    assert (result.status, result.device) == ("done", "cpu")
    assert any("GPU has too little free memory" in note for note in events[0].notes)
    _, result = run(restore(image, output, dataclasses.replace(options, device="cuda")))
    assert result.status == "failed"
    assert "'cpu'" in result.message
    assert_sentence(result.message)


def test_an_output_that_is_the_input_is_refused(model: LoadedModel):
    image = scene(40, 40)
    _, result = run(restore(image, image[::-1], RestoreOptions(model, "cpu")))
    assert result.status == "failed"
    assert "array of its own" in result.message


def test_a_failure_holds_no_memory(model: LoadedModel, monkeypatch: pytest.MonkeyPatch):
    def fail(plane, region, residual):
        raise RuntimeError("a bug")

    monkeypatch.setattr(PlaneIO, "write", fail)
    image = scene(40, 40)
    _, result = run(restore(image, np.empty_like(image), RestoreOptions(model, "cpu")))
    assert "a bug" in result.message
    frame = result.error.__traceback__
    while frame is not None:
        held = frame.tb_frame.f_locals.values()
        assert not any(isinstance(value, torch.Tensor) for value in held)
        frame = frame.tb_next


def test_the_time_left_counts_from_when_restoring_began(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
):
    now = [0.0]
    monkeypatch.setattr(restore_events.time, "perf_counter", lambda: now[0])
    clock = restore_events.RemainingTime()
    assert clock.seconds_left(0) is None
    now[0] = 10
    assert clock.seconds_left(0.25) == pytest.approx(30)
    clock.restart()
    now[0] = 30  # twenty seconds for a quarter
    assert clock.seconds_left(0.5) == pytest.approx(40)
    assert clock.seconds_left(1.0) == 0


def test_an_exact_plan_needs_no_scratch_files_where_memory_suffices(model: LoadedModel):
    chosen = make_plan(model.network, 400, 400, 10**10, tiling="exact")
    assert set(chosen.storage.values()) == {"memory"}
    assert chosen.scratch_bytes == 0


def test_auto_chooses_a_real_device():
    assert choose_device("auto").type in ("cpu", "cuda")
