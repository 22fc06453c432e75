"""Restoring keeps what an image is: its dtype, shape, scale, alpha and holes."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_darkdeblur import DarkDeblurNet, deblur, load_weights, save_weights
from napari_darkdeblur.network import LoadedModel
from napari_darkdeblur.restore import (
    DeviceError,
    NonFiniteWarning,
    OutOfMemoryError,
    PixelError,
    RestoreError,
    ValueRangeError,
    available_devices,
    choose_device,
    load_model,
    models,
)

from ..conftest import assert_sentence, make_identity, make_network

SHAPES = [(9, 14), (9, 14, 1), (9, 14, 3), (9, 14, 4), (1, 1), (1, 1, 3), (3, 5), (17, 3)]
DTYPES = ["u1", "u2", "i2", "f2", "f4", "f8", ">u2", ">f4"]


def random_image(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


class Replace(DarkDeblurNet):
    """Stands for a network: makes a function of its input of it, and keeps the input."""

    def __init__(self, function):
        super().__init__(make_network().config)
        self.function = function
        self.seen: list[torch.Tensor] = []

    def residual(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(image.clone())
        return self.function(image) - image


def model_of(path: Path, network: DarkDeblurNet) -> LoadedModel:
    return dataclasses.replace(load_weights(path), network=network)


@pytest.fixture
def add_one(identity: Path) -> LoadedModel:
    return model_of(identity, Replace(lambda image: image + 1))


# --- what stays the same


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_network_that_does_nothing_changes_nothing(identity: Path, shape, dtype: str):
    image = random_image(shape, dtype)
    before = image.copy()
    restored = deblur(image, identity)
    assert restored.dtype == image.dtype
    np.testing.assert_array_equal(restored, image)
    np.testing.assert_array_equal(image, before)
    assert not np.shares_memory(restored, image)


def test_a_network_that_does_something_changes_the_image(random_model: Path):
    image = random_image((20, 24, 3), "u1")
    restored = deblur(image, random_model)
    assert restored.shape == image.shape
    assert (restored != image).any()


def test_the_result_is_the_network_s_output(random_model: Path):
    """It adds nothing of its own: compare with the network called by hand."""
    image = random_image((20, 24, 3), "f4")
    with torch.inference_mode():
        batch = torch.from_numpy(image).permute(2, 0, 1)[None]
        expected = load_weights(random_model).network(batch)[0].permute(1, 2, 0).clamp(0, 1)
    restored = deblur(image, random_model, value_range="dtype")
    np.testing.assert_allclose(restored, expected.numpy(), atol=1e-5)


def test_images_need_not_be_contiguous(random_model: Path):
    image = random_image((20, 24, 3), "u1")
    flipped = image[::-1, ::2]
    np.testing.assert_array_equal(
        deblur(flipped, random_model), deblur(flipped.copy(), random_model)
    )


def test_read_only_images_can_be_restored(identity: Path):
    image = random_image((5, 6), "u2")
    image.flags.writeable = False
    restored = deblur(image, identity)
    assert restored.flags.writeable


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_alpha_is_kept_and_never_seen(random_model: Path, dtype: str):
    image = random_image((9, 14, 4), dtype)
    restored = deblur(image, random_model)
    np.testing.assert_array_equal(restored[..., 3], image[..., 3])
    np.testing.assert_array_equal(restored[..., :3], deblur(image[..., :3], random_model))


def test_alpha_may_hold_any_values(identity: Path):
    image = random_image((4, 5, 4), "f4")
    image[..., 3] = [np.nan, np.inf, -7, 300, 0.5]
    np.testing.assert_array_equal(deblur(image, identity), image)


def test_grey_is_restored_as_rgb_with_equal_channels(random_model: Path):
    # Far from black and white, where the order of limiting and averaging would matter.
    grey = random_image((9, 14), "f4") / 4 + np.float32(0.375)
    as_rgb = deblur(np.repeat(grey[..., None], 3, axis=2), random_model, value_range="dtype")
    restored = deblur(grey, random_model, value_range="dtype")
    np.testing.assert_allclose(restored, as_rgb.mean(axis=2), atol=1e-6)
    np.testing.assert_array_equal(
        deblur(grey[..., None], random_model, value_range="dtype")[..., 0], restored
    )


# --- values


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("shift", [-1, 1])
def test_values_are_limited_and_never_wrap_around(identity: Path, dtype: str, shift: int):
    image = random_image((6, 7, 3), dtype)
    model = model_of(identity, Replace(lambda planes: planes + shift))
    white = np.iinfo(dtype).max if dtype != "f4" else 1
    np.testing.assert_array_equal(
        deblur(image, model, value_range="dtype"),
        np.full_like(image, white if shift > 0 else 0),
    )


@pytest.mark.parametrize(("shift", "expected"), [(0.49, 100), (0.51, 101), (-0.51, 99)])
def test_integers_are_rounded_to_the_nearest(identity: Path, shift: float, expected: int):
    model = model_of(identity, Replace(lambda planes: planes + shift / 255))
    assert deblur(np.full((4, 4), 100, np.uint8), model)[0, 0] == expected


def test_the_scale_may_come_from_the_dtype(identity: Path):
    """A dark image then reaches the network dark."""
    model = model_of(identity, Replace(lambda planes: planes))
    deblur(np.full((4, 4), 51, np.uint8), model)
    deblur(np.full((4, 4), 13107, np.uint16), model, value_range="dtype")
    deblur(np.full((4, 4), 0.2, np.float32), model, value_range="dtype")
    for seen in model.network.seen:
        torch.testing.assert_close(seen, torch.full((1, 3, 4, 4), 0.2))


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_a_value_range_is_the_scale(identity: Path, dtype: str):
    image = np.array([[100, 1100, 2100, 4100]], dtype)
    model = model_of(identity, Replace(lambda planes: planes))
    restored = deblur(image, model, value_range=(100, 4100))
    torch.testing.assert_close(model.network.seen[0][0, 0, 0], torch.tensor([0, 0.25, 0.5, 1]))
    np.testing.assert_allclose(restored, image, rtol=1e-6)


def test_a_result_stays_within_the_value_range(add_one: LoadedModel):
    image = np.array([[100, 4000]], np.uint16)
    np.testing.assert_array_equal(deblur(image, add_one, value_range=(0, 4095)), 4095)
    # A range may be wider than the dtype; the result cannot.
    np.testing.assert_array_equal(deblur(image, add_one, value_range=(0, 1e6)), 65535)


def test_a_range_that_float32_rounds_still_holds_its_ends(identity: Path):
    image = np.array([[0.1, 0.3]], np.float32)  # 0.3 becomes a little more than 0.3
    restored = deblur(image, identity, value_range=(0.1, 0.3))
    np.testing.assert_allclose(restored, image, rtol=1e-6)


def test_the_model_s_own_value_range_is_used(identity: Path):
    """A network trained on -1..1 gets -1..1."""
    loaded = model_of(identity, Replace(lambda planes: planes))
    card = loaded.card.model_copy(update={"value_range": (-1.0, 1.0)})
    model = dataclasses.replace(loaded, card=card)
    image = np.array([[0, 51, 255]], np.uint8)
    np.testing.assert_array_equal(deblur(image, model), image)
    seen = model.network.seen[0][0, 0, 0, :3]
    torch.testing.assert_close(seen, torch.tensor([-1, -0.6, 1]))


@pytest.mark.parametrize("bad", [1.5, -0.1, 300])
def test_floats_outside_0_to_1_are_beyond_the_dtype_s_range(identity: Path, bad: float):
    image = np.full((3, 3), 0.5, np.float32)
    image[1, 1] = bad
    with pytest.raises(ValueRangeError, match=r"value_range=\(black, white\)") as caught:
        deblur(image, identity, value_range="dtype")
    assert f"{bad:g}" in str(caught.value)
    assert_sentence(str(caught.value))
    assert caught.value.found == pytest.approx((min(bad, 0.5), max(bad, 0.5)))
    assert caught.value.allowed == (0, 1)


# --- NaN and infinity


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_kept_and_reported(random_model: Path, bad: float):
    image = random_image((9, 14, 3), "f4")
    image[2, 3] = bad
    image[5, 6, 1] = bad
    before = image.copy()
    with pytest.warns(NonFiniteWarning, match=r"^4 of the image's values"):
        restored = deblur(image, random_model)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(np.isfinite(restored), np.isfinite(image))
    np.testing.assert_array_equal(restored[2, 3], image[2, 3])
    np.testing.assert_array_equal(restored[5, 6, 1], image[5, 6, 1])


def test_the_network_sees_the_nearest_finite_value_instead(identity: Path):
    model = model_of(identity, Replace(lambda planes: planes))
    image = np.array([[0.1, 0.2, np.nan, np.nan, np.nan, 0.9]], np.float32)
    with pytest.warns(NonFiniteWarning):
        deblur(image, model, value_range="dtype")
    seen = model.network.seen[0][0, 0, 0].tolist()
    assert seen[2] == pytest.approx(0.2)
    assert seen[4] == pytest.approx(0.9)
    assert seen[3] == pytest.approx(0.2) or seen[3] == pytest.approx(0.9)


def test_an_image_without_any_finite_value_comes_back_as_it_is(random_model: Path):
    image = np.full((4, 5), np.nan, np.float32)
    with pytest.warns(NonFiniteWarning, match="^20 of"):
        np.testing.assert_array_equal(deblur(image, random_model), image)


# --- what is refused


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((0, 5), np.uint8), "no pixels"),
        (np.zeros((5, 5, 0), np.uint8), "no pixels"),
        (np.zeros((5, 5), bool), "bool"),
        (np.zeros((5, 5), complex), "complex"),
        (np.zeros(5, np.uint8), r"\(5,\)"),
        (np.uint8(3), r"\(\)"),
        (np.zeros((1, 1, 1, 1, 2, 5, 5), np.uint8), "axes"),
    ],
)
def test_an_image_that_cannot_be_restored_is_refused(identity: Path, image, says: str):
    with pytest.raises(PixelError, match=says) as caught:
        deblur(image, identity)
    assert_sentence(str(caught.value))


@pytest.mark.parametrize("value_range", [(1, 0), (0, 0), (0, np.inf), (-np.inf, 1), (np.nan, 1)])
def test_a_value_range_that_is_none_is_refused(identity: Path, value_range):
    with pytest.raises(PixelError, match="value of black") as caught:
        deblur(np.zeros((3, 3), np.uint8), identity, value_range=value_range)
    assert_sentence(str(caught.value))


def test_values_outside_a_given_range_keep_what_lies_outside(add_one: LoadedModel):
    """The network sees them cut off; a hot pixel stays hot."""
    image = np.array([[0, 4095, 5000, 65535]], np.uint16)
    restored = deblur(image, add_one, value_range=(0, 4095))
    np.testing.assert_array_equal(restored, [[4095, 4095, 5000, 65535]])
    assert add_one.network.seen[0][0, 0, 0].tolist() == [0, 1, 1, 1]


def test_output_that_is_not_finite_is_an_error(identity: Path):
    model = model_of(identity, Replace(lambda planes: planes * float("nan")))
    with pytest.raises(RestoreError, match="not finite") as caught:
        deblur(np.zeros((3, 3), np.uint8), model)
    assert_sentence(str(caught.value))


# --- devices, memory, models


def test_auto_is_the_best_device_and_cpu_is_always_there():
    assert available_devices()[-1] == "cpu"
    assert str(choose_device("auto")) == ("cuda:0" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "", "cpu:7", "meta"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(identity: Path, device: str):
    with pytest.raises(DeviceError, match=r"available are .*cpu") as caught:
        deblur(np.zeros((3, 3), np.uint8), identity, device)
    assert repr(device) in str(caught.value)
    assert_sentence(str(caught.value))


def test_cuda_is_its_first_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert available_devices()[:2] == ["cuda:0", "cuda:1"]
    assert choose_device("cuda") == torch.device("cuda:0")
    assert choose_device("auto") == torch.device("cuda:0")
    assert choose_device("cuda:1") == torch.device("cuda:1")


def test_mps_is_offered_where_it_is_and_chosen_only_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert available_devices() == ["mps:0", "cpu"]
    assert choose_device("mps") == choose_device("mps:0") == torch.device("mps:0")
    assert choose_device("auto") == torch.device("cpu")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
        MemoryError(),
    ],
)
def test_too_little_memory_gives_a_sentence(identity: Path, error: Exception):
    def fail(planes: torch.Tensor) -> torch.Tensor:
        raise error

    model = model_of(identity, Replace(fail))
    with pytest.raises(OutOfMemoryError, match="too little memory") as caught:
        deblur(np.zeros((3, 5), np.uint8), model)
    assert_sentence(str(caught.value))


def test_other_failures_are_not_called_lack_of_memory(identity: Path):
    def fail(planes: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug") as caught:
        deblur(np.zeros((3, 5), np.uint8), model_of(identity, Replace(fail)))
    assert not isinstance(caught.value, RestoreError)


def test_no_gradient_is_kept(identity: Path):
    model = model_of(identity, Replace(lambda planes: planes))
    deblur(np.zeros((3, 5), np.uint8), model)
    assert model.network.seen[0].is_inference()


def test_a_model_is_read_once_and_again_when_its_file_changes(tmp_path: Path):
    path = save_weights(tmp_path / "a.safetensors", make_identity())
    first = load_model(path, "cpu")
    assert load_model(str(path), "cpu") is first
    save_weights(path, make_network(), overwrite=True)
    os.utime(path, ns=(0, 0))  # whatever the clock's resolution
    second = load_model(path, "cpu")
    assert second.sha256 != first.sha256


def test_a_loaded_model_is_used_as_it_is_where_it_is(identity: Path):
    loaded = load_weights(identity)
    assert load_model(loaded, "cpu") is loaded


def test_a_loaded_model_is_copied_to_another_device(
    identity: Path, monkeypatch: pytest.MonkeyPatch
):
    # The device "meta" stands for a GPU: it differs from the CPU, and is everywhere.
    monkeypatch.setattr(models, "choose_device", lambda device: torch.device("meta"))
    loaded = load_weights(identity)
    copied = load_model(loaded)
    assert {p.device.type for p in copied.network.parameters()} == {"meta"}
    assert {p.device.type for p in loaded.network.parameters()} == {"cpu"}
    assert copied.sha256 == loaded.sha256


def test_a_model_s_name_a_path_and_itself_are_the_same(random_model: Path, models_folder: Path):
    models_folder.mkdir()
    random_model.replace(models_folder / "mine.safetensors")
    image = random_image((9, 14, 3), "u1")
    by_name = deblur(image, "mine")
    by_path = deblur(image, models_folder / "mine.safetensors")
    itself = deblur(image, load_weights("mine"))
    np.testing.assert_array_equal(by_name, by_path)
    np.testing.assert_array_equal(by_name, itself)
