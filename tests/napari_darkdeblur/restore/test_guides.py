"""A known or found blur is undone alike in any tiles, in place, and within its memory."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy import ndimage, signal
from skimage import data

from napari_darkdeblur import deblur, load_weights, save_weights
from napari_darkdeblur.network import LoadedModel, library, list_models
from napari_darkdeblur.network.guides import GUIDE_COUNTS, deconvolved
from napari_darkdeblur.psf import PSF, PSFError, gaussian, motion, point, similarity
from napari_darkdeblur.psf.network import FORMAT, KernelNet, KernelNetConfig, KernelNetError
from napari_darkdeblur.restore import (
    Event,
    Finished,
    ImageView,
    ModelReady,
    PSFFound,
    PSFGrid,
    PSFSearch,
    RestoreOptions,
    Result,
    TileDone,
    find_psf,
    guides,
    job,
    make_plan,
    restore,
    search,
)
from napari_darkdeblur.restore import uncertainty as uncertainty_module
from napari_darkdeblur.restore.guides import PlaneGuides, guide_blocks, with_margin
from napari_darkdeblur.restore.image.plane_io import PlaneIO
from napari_darkdeblur.restore.psfs import describe_psf, kernel_side, kernels_of
from napari_darkdeblur.restore.tiling import costs
from napari_darkdeblur.restore.tiling.executor import restore_plane
from napari_darkdeblur.restore.tiling.feature_store import (
    DiskFeatureStore,
    MemoryFeatureStore,
    make_feature_store,
)
from napari_darkdeblur.restore.tiling.memory import PeakTracker
from napari_darkdeblur.restore.uncertainty import uncertainty

from ..conftest import GUIDED, assert_sentence, make_network, tightest_plan

CPU = torch.device("cpu")
SHAKE = motion(9, 30)


def guided_model(folder: Path, **changes: object) -> LoadedModel:
    net = make_network(GUIDED.model_copy(update=changes))
    return load_weights(save_weights(folder / "guided.safetensors", net))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return guided_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def models(model: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> dict[int, LoadedModel]:
    """Return a model for each number of guides that there is."""
    few, all_of_them = GUIDE_COUNTS
    return {
        few: model,
        all_of_them: guided_model(
            tmp_path_factory.mktemp("more"), guides=all_of_them, fuse_guides=True
        ),
    }


@pytest.fixture(scope="module")
def follows_guide(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Return a model whose result is the most cautious guide, whatever the picture is."""
    net = make_network(
        GUIDED.model_copy(
            update={
                "levels": 1,
                "channel_attention": False,
                "encoder_blocks": (1,),
                "decoder_blocks": (),
            }
        )
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        for colour in range(3):
            net.stem.weight[colour, colour, 1, 1] = -1
            net.stem.weight[colour, 9 + colour, 1, 1] = 1
            net.head.weight[colour, colour] = 1
    folder = tmp_path_factory.mktemp("follows")
    return load_weights(save_weights(folder / "follows.safetensors", net))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, pixels in (("BLOCK", 32), ("FADE", 8), ("MARGIN", 8)):
        monkeypatch.setattr(guides, name, pixels)


def scene(*shape: int) -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    coarse = rng.random(shape)
    return ndimage.gaussian_filter(coarse, [1.5] * 2 + [0] * (len(shape) - 2)).astype(np.float32)


def run(events: Iterator[Event]) -> tuple[list[Event], Result]:
    seen = list(events)
    assert isinstance(seen[-1], Finished)
    return seen, seen[-1].result


# --- blocks


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_blocks_cover_the_plane_and_are_neither_huge_nor_slivers(height: int, width: int):
    blocks = guide_blocks(height, width)
    assert sum(b.height * b.width for b in blocks) == height * width
    assert max(b.bottom for b in blocks) == height
    assert max(b.right for b in blocks) == width
    for length, sides in ((height, {b.height for b in blocks}), (width, {b.width for b in blocks})):
        assert max(sides) <= 1152
        assert min(sides) >= min(length, 512)


def guides_of(image: np.ndarray, psf: PSF | PSFGrid, linear_light: bool = True) -> np.ndarray:
    """Return what the engine makes of a picture (H, W, 3): (9, H, W)."""
    height, width = image.shape[:2]
    feature = guides.guides_feature(3)
    kept = make_feature_store(feature, height, width, guides.KEPT_AS, "memory", None, CPU)
    plane = PlaneGuides(ImageView(image, "YXC"), 0, psf, linear_light, 3, kept, CPU)
    for block in guide_blocks(height, width):
        plane.make(block)
    return plane.read(slice(0, height), slice(0, width))[0].float().numpy()


def test_blocks_fade_into_each_other_without_a_step(monkeypatch: pytest.MonkeyPatch):
    psf = motion(25, 20)
    sharp = scene(600, 1200, 1).repeat(3, axis=2)
    image = signal.fftconvolve(sharp, psf.kernel[..., None], mode="same", axes=(0, 1))
    image = image.clip(0, 1).astype(np.float32)
    meeting = guide_blocks(600, 1200)[0].right
    assert meeting == 600
    picture = torch.from_numpy(image).permute(2, 0, 1)[None]
    at_once = deconvolved(picture, torch.from_numpy(psf.kernel.copy())[None], False)[0].numpy()

    def largest_step(made: np.ndarray) -> float:
        """Return how much neighbours differ more than in guides that are made at once."""
        steps = np.diff((made - at_once)[:, 60:-60, meeting - 80 : meeting + 80], axis=-1)
        return float(np.sqrt(np.square(steps).mean(axis=(0, 1))).max())

    faded = largest_step(guides_of(image, psf, linear_light=False))
    monkeypatch.setattr(guides, "FADE", 2)
    cropped = largest_step(guides_of(image, psf, linear_light=False))
    assert faded < 0.5 * cropped


# --- the result


@settings(deadline=None, max_examples=15)
@given(
    height=st.integers(1, 150), width=st.integers(1, 150), tile=st.integers(1, 90),
    tiling=st.sampled_from(["exact", "local", "fast"]), count=st.sampled_from(GUIDE_COUNTS),
)  # fmt: skip
def test_tiles_do_not_show(
    models: dict[int, LoadedModel], height: int, width: int, tile: int, tiling: str, count: int
):
    image, model = scene(height, width, 3), models[count]
    with pytest.MonkeyPatch.context() as patch:
        for name, pixels in (("BLOCK", 32), ("FADE", 8), ("MARGIN", 8)):
            patch.setattr(guides, name, pixels)
        options = {"psf": SHAKE, "device": "cpu"}
        in_one = {"tiling": "whole"} if tiling == "exact" else {"tiling": tiling, "tile": 10**6}
        whole = deblur(image, model, **options, **in_one)
        tiled = deblur(image, model, **options, tiling=tiling, tile=tile)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-4 if tiling == "local" else 1e-5)


def test_the_network_sees_the_guides_of_the_picture(model: LoadedModel):
    """The engine's result is the network's, given picture and guides as they were trained."""
    image = scene(48, 56, 3)
    picture = torch.from_numpy(image).permute(2, 0, 1)[None]
    made = deconvolved(picture, torch.from_numpy(SHAKE.kernel.copy())[None])
    with torch.no_grad():
        expected = model.network(torch.cat([picture, made], dim=1))[0].permute(1, 2, 0).numpy()
    restored = deblur(image, model, "cpu", psf=SHAKE, value_range="dtype")
    # Guides are kept in half precision.
    np.testing.assert_allclose(restored, expected.clip(0, 1), atol=2e-3)
    without = deblur(image, model, "cpu", value_range="dtype")
    assert np.abs(without - restored).max() > 0.01


@pytest.mark.parametrize("place", ["disk", "host"])
def test_where_guides_wait_does_not_change_the_result(
    model: LoadedModel, place: str, monkeypatch: pytest.MonkeyPatch, small_blocks: None
):
    image = scene(70, 90, 3)
    expected = deblur(image, model, "cpu", psf=SHAKE, tiling="exact", tile=32)
    chosen = make_plan(
        model.network, 70, 90, 10**10, tiling="exact", tile=32, kernel=SHAKE.kernel.shape[0]
    )
    elsewhere = dataclasses.replace(chosen, storage={**chosen.storage, "guides": place})
    monkeypatch.setattr(job, "make_plan", lambda *args, **kwargs: elsewhere)
    opened: list[object] = []
    for kind in (DiskFeatureStore, MemoryFeatureStore):
        monkeypatch.setattr(
            kind,
            "__init__",
            lambda self, *args, made=kind.__init__: (opened.append(self), made(self, *args))[1],
        )
    restored = deblur(image, model, "cpu", psf=SHAKE, tiling="exact", tile=32)
    np.testing.assert_allclose(restored, expected, rtol=0, atol=1e-6)
    assert isinstance(opened[0], DiskFeatureStore if place == "disk" else MemoryFeatureStore)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_light_is_srgb_for_photographs_and_linear_for_microscopes(model: LoadedModel, dtype):
    image = scene(40, 50)
    image = (
        image.astype(dtype) if dtype == np.float32 else (image * np.iinfo(dtype).max).astype(dtype)
    )
    options = RestoreOptions(model, "cpu", psf=SHAKE)
    output = np.empty_like(image)
    _, result = run(restore(image, output, options))
    assert result.light == ("srgb" if dtype == np.uint8 else "linear")
    assert any("light" in note for note in result.notes)
    same = deblur(image, model, "cpu", psf=SHAKE, light=result.light)
    np.testing.assert_array_equal(output, same)
    other = deblur(image, model, "cpu", psf=SHAKE, light="linear" if dtype == np.uint8 else "srgb")
    assert (other != output).any()


def test_planes_of_a_stack_have_one_kernel_or_one_each(model: LoadedModel):
    stack = np.stack([scene(40, 44)] * 3)
    each = [SHAKE, gaussian(2.0), motion(15, 90)]
    restored = deblur(stack, model, "cpu", axes="TYX", psf=each)
    for plane, psf in enumerate(each):
        alone = deblur(stack[plane], model, "cpu", psf=psf)
        np.testing.assert_allclose(restored[plane], alone, atol=1e-6)
    for_all = deblur(stack, model, "cpu", axes="TYX", psf=SHAKE.kernel.copy())
    np.testing.assert_allclose(for_all[2], restored[0], atol=1e-6)


class Lazy:
    """An array that is read piece by piece, never as a whole."""

    def __init__(self, array: np.ndarray, most: int) -> None:
        self.array, self.most = array, most
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index):
        part = self.array[index]
        assert part.size <= self.most
        return part


def test_lazy_images_are_read_in_parts(model: LoadedModel, small_blocks: None):
    image = scene(200, 210)
    expected = deblur(image, model, "cpu", psf=SHAKE, value_range=(0, 1))
    lazy = Lazy((image * 255).astype(np.uint8), 100 * 110)
    options = {"tiling": "exact", "tile": 32, "light": "linear", "value_range": (0, 255)}
    restored = deblur(lazy, model, "cpu", psf=SHAKE, **options)
    assert np.abs(restored / 255 - expected).max() < 0.1


def test_a_grid_of_kernels_is_blended_between_their_places(model: LoadedModel, small_blocks: None):
    image = scene(96, 128, 3)
    left, right = motion(9, 0), motion(9, 90)
    grid = PSFGrid([[left, right]])
    restored = deblur(image, model, "cpu", psf=grid, tiling="whole")
    tiled = deblur(image, model, "cpu", psf=grid, tiling="exact", tile=32)
    np.testing.assert_allclose(tiled, restored, rtol=0, atol=1e-5)
    blended, of_left, of_right = (guides_of(image, psf) for psf in (grid, left, right))
    np.testing.assert_allclose(blended[..., :32], of_left[..., :32], atol=2e-3)
    np.testing.assert_allclose(blended[..., 97:], of_right[..., 97:], atol=2e-3)
    middle = (of_left[..., 63:65] + of_right[..., 63:65]).mean(axis=-1) / 2
    np.testing.assert_allclose(blended[..., 63:65].mean(axis=-1), middle, atol=0.02)


def test_a_result_lies_where_its_image_lay(follows_guide: LoadedModel):
    """Kernels given off their centre are centred, so nothing moves against other channels."""
    sharp = np.zeros((160, 180), np.float32)
    spots = [(40, 45), (44, 130), (120, 50), (115, 135)]
    for row, column in spots:
        sharp[row - 2 : row + 3, column - 2 : column + 3] = 0.8
    given = np.zeros((51, 33), np.float32)
    given[3:5, 2:13] = 1
    given[3:14, 12] = 2
    psf = PSF.from_array(given)
    blurred = signal.fftconvolve(sharp, psf.kernel, mode="same").clip(0, 1).astype(np.float32)
    restored = deblur(blurred, follows_guide, "cpu", psf=given, light="linear", value_range="dtype")
    assert np.abs(restored - sharp).mean() < 0.9 * np.abs(blurred - sharp).mean()
    for row, column in spots:
        window = slice(row - 25, row + 26), slice(column - 25, column + 26)
        for image in (blurred, restored):
            bright = np.where(image[window] > 0.1 * image[window].max(), image[window], 0)
            assert np.abs(np.subtract(ndimage.center_of_mass(bright), 25)).max() < 0.3


# --- memory, progress, cancelling


@pytest.mark.parametrize(
    ("tiling", "count"), [("whole", 5), ("exact", 3), ("local", 5), ("fast", 3)]
)
@pytest.mark.parametrize("short", [False, True])
def test_the_predicted_peak_is_never_less_than_the_real_one(
    models: dict[int, LoadedModel],
    tiling: str,
    count: int,
    short: bool,
):
    image, model = scene(500, 700, 3), models[count]
    options = {"tiling": tiling, "kernel": SHAKE.kernel.shape[0]}
    if tiling != "whole":
        options["tile"] = 128
    short = short and tiling != "whole"
    if short:
        chosen = tightest_plan(model.network, 500, 700, **options)
    else:
        chosen = make_plan(model.network, 500, 700, 10**10, **options)
    view = ImageView(image, "YXC")
    with torch.no_grad(), PeakTracker() as tracker:
        feature, where = guides.guides_feature(count), chosen.storage["guides"]
        kept = make_feature_store(feature, 500, 700, guides.KEPT_AS, where, None, CPU)
        made = PlaneGuides(view, 0, SHAKE, True, count, kept, CPU)
        io = PlaneIO(view, 0, np.empty_like(image), model, made)
        for _ in restore_plane(model.network, chosen, io, io.bounds):
            pass
    predicted = chosen.peak_bytes - chosen.fixed_bytes
    assert tracker.peak <= predicted
    assert predicted < 3 * tracker.peak + 20_000_000
    if tiling == "fast":  # in the others they may be too small to be worth moving
        assert (chosen.storage["guides"] != "memory") == short


def test_blocks_count_as_progress_and_can_be_cancelled_between(
    model: LoadedModel, small_blocks: None
):
    image = scene(90, 100, 3)
    options = RestoreOptions(model, "cpu", psf=SHAKE, tiling="exact", tile=32)
    events, result = run(restore(image, np.empty_like(image), options))
    assert result.status == "done"
    assert result.psf is SHAKE
    assert isinstance(events[0], ModelReady)
    tiles = [event for event in events if isinstance(event, TileDone)]
    assert [t.stage for t in tiles[:9]] == ["guides"] * 9
    assert [t.done for t in tiles] == list(range(1, tiles[0].total + 1))
    fractions = [t.fraction for t in tiles]
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < fractions[8] < 0.99
    stop = threading.Event()
    seen = []
    for event in restore(image, np.empty_like(image), options, stop=stop):
        seen.append(event)
        if isinstance(event, TileDone):
            stop.set()
    assert sum(isinstance(event, TileDone) for event in seen) == 1
    assert seen[-1].result.status == "cancelled"


# --- what cannot be


def test_a_model_without_guides_cannot_use_a_kernel(tmp_path: Path, random_model: Path):
    image = scene(20, 24)
    with pytest.raises(PSFError, match="'random'") as caught:
        deblur(image, random_model, "cpu", psf=SHAKE)
    assert_sentence(str(caught.value))
    output = np.empty_like(image)
    _, result = run(restore(image, output, RestoreOptions(random_model, "cpu", psf="auto")))
    assert (result.status, result.psf) == ("done", None)
    assert any("'random'" in note for note in result.notes)
    np.testing.assert_array_equal(output, deblur(image, random_model, "cpu"))


@pytest.mark.parametrize(
    "psf",
    [
        "moton:3,4",
        np.ones((2, 3, 4)),
        [SHAKE, "auto"],
        [SHAKE, None],
        3,
        np.zeros((3, 3)),
        "motion:3",
    ],
    ids=range(7),
)
def test_what_is_no_kernel_is_refused_in_one_sentence(psf):
    with pytest.raises(PSFError) as caught:
        RestoreOptions(psf=psf)
    assert_sentence(str(caught.value))


def test_mistakes_cost_a_sentence(model: LoadedModel):
    with pytest.raises(PSFError, match="'sRGB'"):
        RestoreOptions(light="sRGB")
    with pytest.raises(PSFError, match="2 kernels for 3 planes"):
        deblur(np.zeros((3, 20, 20)), model, "cpu", axes="TYX", psf=[SHAKE, SHAKE])


# --- searching


def fake_estimate(psf: PSF, calls: list[np.ndarray] | None = None):
    """Return a search that finds a kernel at once, after a look at both ways of restoring."""

    def estimate(image, restorer, *, progress, **rest):
        assert rest["max_radius"] == search.MAX_RADIUS
        if calls is not None:
            calls.append(image)
        progress(0.2)
        blind, guided = restorer.blind(image), restorer.guided(image, psf.kernel)
        assert blind.shape == guided.shape == image.shape
        assert blind.dtype == guided.dtype == np.float32
        progress(1.0)
        return psf

    return estimate


def judged(confidence: float) -> PSF:
    return PSF(motion(14, 45).kernel, "found", confidence)


def test_a_shake_that_is_found_is_used_and_told(model: LoadedModel, monkeypatch):
    image = scene(64, 70, 3)
    found = judged(0.9)
    monkeypatch.setattr(search, "estimate", fake_estimate(found))
    output = np.empty_like(image)
    events, result = run(restore(image, output, RestoreOptions(model, "cpu", psf="auto")))
    assert [e.fraction for e in events if isinstance(e, PSFSearch)] == [0.0, 0.2, 1.0]
    told = next(e for e in events if isinstance(e, PSFFound))
    assert (told.psf, told.confident) == (found, True)
    ready = next(e for e in events if isinstance(e, ModelReady))
    assert ready.psf is result.psf is found
    assert "Found a shake of 14 px, towards the upper right; used." in ready.notes
    assert sum("light" in note for note in ready.notes) == 1
    np.testing.assert_array_equal(output, deblur(image, model, "cpu", psf=found))


def test_what_is_not_sure_is_not_used(model: LoadedModel, monkeypatch):
    image, unsure = scene(64, 70, 3), judged(0.2)
    monkeypatch.setattr(search, "estimate", fake_estimate(unsure))
    output = np.empty_like(image)
    events, result = run(restore(image, output, RestoreOptions(model, "cpu", psf="auto")))
    told = next(e for e in events if isinstance(e, PSFFound))
    assert (told.psf, told.confident, told.to_use) == (unsure, False, None)
    assert (result.status, result.psf) == ("done", None)
    assert "No single shake found; restored without." in result.notes
    assert not any("light" in note for note in result.notes)
    np.testing.assert_array_equal(output, deblur(image, model, "cpu"))


NOT_BLURRED = PSF(point().kernel, "found", 0.0, "The picture is not blurred.")


@pytest.mark.parametrize(
    ("channels", "unsure", "text"),
    [
        (3, PSF(gaussian(0.1).kernel, "found", 0.9), "No single shake found"),
        (3, NOT_BLURRED, "No single shake found: the picture is not blurred"),
        (0, PSF(gaussian(3).kernel, "found", 0.2), "No single shake found"),
    ],
    ids=["a point", "not blurred", "a microscope's, round"],
)
def test_what_is_not_blurred_is_restored_as_sharp(
    model: LoadedModel, channels: int, unsure: PSF, text: str, monkeypatch
):
    image = scene(64, 70, channels) if channels else scene(64, 70, 3)[..., 0].astype(np.uint16)
    monkeypatch.setattr(search, "estimate", fake_estimate(unsure))
    output = np.empty_like(image)
    events, result = run(restore(image, output, RestoreOptions(model, "cpu", psf="auto")))
    told = next(e for e in events if isinstance(e, PSFFound))
    assert (told.psf, told.confident) == (unsure, False)
    assert isinstance(result.psf, PSF)
    assert result.psf.kernel.shape == (1, 1)
    assert f"{text}; restored as sharp." in result.notes
    assert not any("light" in note for note in result.notes)
    sharp = RestoreOptions(model, "cpu", psf=result.psf)
    again = np.empty_like(image)
    run(restore(image, again, sharp))
    np.testing.assert_array_equal(output, again)


def test_a_cell_that_is_soft_by_its_optics_is_not_taken_for_shaken():
    cell = ndimage.gaussian_filter(data.cell()[150:406, 150:406] / 255, 1.5)
    cell = 0.05 + 0.8 * (cell - cell.min()) / (cell.max() - cell.min())
    cell += 0.004 * np.random.default_rng(0).normal(size=cell.shape)
    options = RestoreOptions(device="cpu", axes="YX", value_range=(0, 1))
    *_, found = find_psf(cell.astype(np.float32), options)
    assert isinstance(found, PSFFound)
    assert not found.confident
    assert "round, and may be how soft the optics are" in found.description
    assert isinstance(found.to_use, PSF)
    assert found.to_use.kernel.shape == (1, 1)


def test_of_a_stack_the_middle_is_searched_or_each_plane(model: LoadedModel, monkeypatch):
    stack = np.stack([scene(64, 66) * share for share in (0.4, 0.7, 1.0)])
    calls: list[np.ndarray] = []
    found = judged(0.9)
    monkeypatch.setattr(search, "estimate", fake_estimate(found, calls))
    options = RestoreOptions(model, "cpu", "TYX", psf="auto")
    _, result = run(restore(stack, np.empty_like(stack), options))
    assert len(calls) == 1
    np.testing.assert_allclose(calls[0][..., 0], stack[1], atol=1e-6)
    assert result.psf is found
    assert any("T 1" in note and "for all planes" in note for note in result.notes)

    kernels = iter([judged(0.9), judged(0.1), judged(0.95)])
    monkeypatch.setattr(
        search, "estimate", lambda *args, **rest: fake_estimate(next(kernels))(*args, **rest)
    )
    output = np.empty_like(stack)
    options = RestoreOptions(model, "cpu", "TYX", psf="auto-each")
    events, result = run(restore(stack, output, options))
    assert result.status == "done", result.message
    assert [e.plane for e in events if isinstance(e, PSFFound)] == [0, 1, 2]
    assert [None if p is None else p.confidence for p in result.psf] == [0.9, None, 0.95]
    np.testing.assert_allclose(output[1], deblur(stack[1], model, "cpu"), atol=1e-6)


def found_motion(length: float, angle: float, confidence: float) -> PSF:
    return PSF(motion(length, angle).kernel, "found", confidence)


def test_a_shake_that_differs_is_found_in_parts_of_the_plane(model: LoadedModel, monkeypatch):
    image = scene(400, 390, 3)
    sizes: list[tuple[int, int]] = []
    kernels = iter(
        [judged(0.9)] + [found_motion(14, angle, 0.95) for angle in (0, 30, 60)]
        # Not sure of its own: it takes the whole picture's.
        + [found_motion(20, 90, 0.3)]
    )  # fmt: skip

    def estimate(image, restorer, *, candidates, progress, **rest):
        known = [psf for psf in candidates if psf.confidence is None]
        assert len(known) == (1 if sizes else 0)
        sizes.append(image.shape[:2])
        progress(0.5)
        return next(kernels)

    monkeypatch.setattr(search, "estimate", estimate)
    output = np.empty_like(image)
    events, result = run(restore(image, output, RestoreOptions(model, "cpu", psf="auto-grid")))
    assert sizes == [(400, 390)] + [(384, 384)] * 4
    assert [e.fraction for e in events if isinstance(e, PSFSearch)] == pytest.approx(
        [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    )
    assert isinstance(result.psf, PSFGrid)
    angles = [round(psf.direction) for row in result.psf.psfs for psf in row]
    assert angles == [0, 30, 60, 45]
    assert result.psf.confidence == 0.9
    told = "Found a shake of 14 px that differs over the picture, in 3 of 4 parts by itself; used."
    assert told in result.notes
    np.testing.assert_array_equal(output, deblur(image, model, "cpu", psf=result.psf))


def test_parts_that_agree_are_one_and_those_that_are_unsure_are_none():
    alike = [[found_motion(14, angle, 0.9) for angle in (44, 45)]] * 2
    whole, unsure = judged(0.95), judged(0.2)
    assert search.combined(alike, whole) is whole
    # The whole may be unsure where the parts are not; then it is their mean.
    mean = search.combined(alike, unsure)
    assert isinstance(mean, PSF)
    assert mean.confidence == 0.9
    assert mean.direction == pytest.approx(44.5, abs=1)
    assert search.combined([[unsure, unsure], [unsure, judged(0.9)]], unsure) is unsure
    # A part that knows nothing, in a picture that knows nothing, follows those around it.
    differing = [[found_motion(14, 0, 0.9), found_motion(14, 60, 0.9)], [unsure, judged(0.9)]]
    grid = search.combined(differing, unsure)
    assert isinstance(grid, PSFGrid)
    expected = (found_motion(14, 0, 0.9).padded(17) + judged(0.9).padded(17)) / 2
    assert similarity(grid.psfs[1][0].kernel, expected) > 0.99


def test_neighbouring_parts_that_are_alike_are_averaged():
    row = [found_motion(14, 45, 0.9), found_motion(14, 47, 0.9), found_motion(14, 120, 0.9)]
    grid = search.combined([row], judged(0.9))
    assert isinstance(grid, PSFGrid)
    first, second, third = grid.psfs[0]
    assert first.direction == pytest.approx(46, abs=0.5)
    np.testing.assert_allclose(first.kernel, second.kernel, atol=1e-6)
    assert third.direction == pytest.approx(120, abs=1)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (300, [(0, 300)]),
        (384, [(0, 384)]),
        (500, [(0, 384), (116, 500)]),
        (1200, [(0, 400), (400, 800), (800, 1200)]),
    ],
)
def test_parts_cover_the_plane(length: int, expected: list[tuple[int, int]]):
    windows = search.part_windows(length, 100)
    assert [(rows.start, rows.stop) for ((rows, _),) in windows] == expected


def test_a_search_ends_when_it_is_stopped_or_given_up(model: LoadedModel, monkeypatch):
    image = scene(64, 70, 3)
    reached = threading.Event()

    def estimate(image, restorer, *, progress, **rest):
        for step in range(10_000):
            progress(step / 10_000)
            reached.wait(0.001)
        return judged(0.9)

    monkeypatch.setattr(search, "estimate", estimate)
    stop = threading.Event()
    seen = []
    for event in restore(
        image, np.empty_like(image), RestoreOptions(model, "cpu", psf="auto"), stop=stop
    ):
        seen.append(event)
        stop.set()
    assert seen[-1].result.status == "cancelled"
    assert len(seen) < 5000
    events = find_psf(image, RestoreOptions(model, "cpu"))
    next(events)
    events.close()
    assert not any(t.name.startswith("darkdeblur-psf") for t in threading.enumerate())


def test_a_kernel_network_is_asked_where_there_is_one(
    model: LoadedModel, models_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    image = scene(140, 150, 3)
    given: list[list[PSF]] = []

    def estimate(image, restorer, *, candidates, **rest):
        given.append(list(candidates))
        return judged(0.9)

    monkeypatch.setattr(search, "estimate", estimate)
    monkeypatch.setattr(library, "files", lambda package: models_folder)  # nothing is bundled
    list(find_psf(image, RestoreOptions(model, "cpu")))
    torch.manual_seed(0)
    net = KernelNet(KernelNetConfig(widths=(8, 8), kernel_widths=(8, 8)))
    models_folder.mkdir()
    save_file(
        net.state_dict(),
        models_folder / "kernel-net.safetensors",
        {"format": FORMAT, "config": json.dumps(net.config.to_dict())},
    )
    list(find_psf(image, RestoreOptions(model, "cpu")))
    assert given[0] == []
    assert given[1]
    assert all(psf.origin == "the kernel network" for psf in given[1])
    assert "kernel-net" not in {entry.name for entry in list_models()}
    (models_folder / "kernel-net.safetensors").write_bytes(b"nothing")
    with pytest.raises(KernelNetError) as caught:
        list(find_psf(image, RestoreOptions(model, "cpu")))
    assert_sentence(str(caught.value))


def test_an_image_that_is_too_small_is_restored_without(model: LoadedModel):
    image = scene(20, 24, 3)
    output = np.empty_like(image)
    _, result = run(restore(image, output, RestoreOptions(model, "cpu", psf="auto")))
    assert (result.status, result.psf) == ("done", None)
    assert any("too small" in note and "restored without" in note for note in result.notes)


def test_any_model_can_search(random_model: Path, monkeypatch):
    monkeypatch.setattr(search, "estimate", fake_estimate(judged(0.9)))
    *_, found = find_psf(scene(64, 70), RestoreOptions(random_model, "cpu"))
    assert found.confident


@pytest.mark.parametrize(
    ("psf", "words"),
    [
        (motion(14, 40), "14 px, towards the upper right"),
        (motion(14, 140), "14 px, towards the upper left"),
        (motion(14, 92), "14 px, vertical"),
        (motion(6, 179), "6.2 px, horizontal"),
        (gaussian(3), "10 px in all directions"),
        (point(), "none"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.origin,
)
def test_kernels_are_described_for_people(psf: PSF, words: str):
    assert describe_psf(psf) == words


def test_guides_are_measured_once_for_each_size(model: LoadedModel, monkeypatch):
    measured = []
    original = costs.peak_bytes
    monkeypatch.setattr(costs, "peak_bytes", lambda *args: (measured.append(1), original(*args))[1])
    costs.measure_guides(77, 79, 9, 3, CPU)
    costs.measure_guides(77, 79, 9, 3, CPU)
    assert len(measured) == 1
    outer = with_margin(guide_blocks(2000, 2000)[4], 33, 2000, 2000)
    assert outer.height >= 660 + 2 * (33 + 32)


# --- turned and cut


@pytest.mark.parametrize("given", ["one", "grid", "auto"])
def test_the_blur_turns_with_the_picture(
    follows_guide: LoadedModel, given: str, monkeypatch: pytest.MonkeyPatch
):
    """A result that follows the guides has no spread over the versions, if the blur is theirs."""
    image = scene(70, 70, 3)
    grid = PSFGrid([[motion(9, 20), motion(9, 70)], [gaussian(1.5), motion(5, 120)]])
    psf = {"one": SHAKE, "grid": grid, "auto": "auto"}[given]
    monkeypatch.setattr(search, "estimate", fake_estimate(judged(0.9)))
    *_, ended = uncertainty(image, RestoreOptions(follows_guide, "cpu", psf=psf))
    assert ended.result.status == "done", ended.result.message
    assert ended.result.spread.max() < 2e-3
    assert ended.result.psf is not None
    monkeypatch.setattr(uncertainty_module, "turned_psf", lambda psf, turn: psf)
    *_, ended = uncertainty(image, RestoreOptions(follows_guide, "cpu", psf=psf))
    assert ended.result.spread.max() > 0.01


def test_a_part_of_a_grid_has_the_kernels_of_its_places():
    grid = PSFGrid([[motion(9, 0), motion(9, 90)]])
    kernels = kernels_of(grid.part((0, 1), (0.25, 0.75)))[0]
    side = kernel_side(grid)
    first, last = (psf.padded(side) for psf in grid.psfs[0])
    # A quarter from the first one's place to the last one's, and back.
    blend = kernels_of(PSFGrid([[PSF.from_array(0.75 * first + 0.25 * last)]]))[0, 0]
    assert np.abs(kernels[0] - blend).max() < 1e-3
    assert kernels_of(grid.part((0, 1), (0, 1)))[0] == pytest.approx(kernels_of(grid)[0], abs=1e-3)
