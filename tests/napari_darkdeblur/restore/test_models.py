"""What ``auto`` stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_darkdeblur import save_weights
from napari_darkdeblur.network import DEFAULT_MODEL, THOROUGH_MODEL
from napari_darkdeblur.restore import RestoreOptions, estimate, load_model, restore
from napari_darkdeblur.restore.events import ModelReady
from napari_darkdeblur.restore.models import SMALL_IMAGE, choose_model

from ..conftest import make_identity

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def thorough(models_folder: Path) -> Path:
    """Put a model of the thorough one's name into the models folder."""
    models_folder.mkdir(exist_ok=True)
    path = models_folder / f"{THOROUGH_MODEL}.safetensors"
    save_weights(path, make_identity())
    return path


@pytest.mark.parametrize(
    ("device", "pixels", "chosen"),
    [
        (GPU, None, THOROUGH_MODEL),
        (GPU, 10**9, THOROUGH_MODEL),
        (CPU, SMALL_IMAGE, THOROUGH_MODEL),
        (CPU, SMALL_IMAGE + 1, DEFAULT_MODEL),
        (CPU, None, DEFAULT_MODEL),
    ],
)
def test_the_thorough_model_is_chosen_where_it_is_quick_enough(
    device, pixels, chosen, thorough: Path
):
    assert choose_model(device, pixels) == chosen


def test_without_the_thorough_model_there_is_no_choice(models_folder: Path):
    assert choose_model(GPU, 1) == DEFAULT_MODEL


def test_a_broken_file_is_not_chosen(thorough: Path):
    thorough.write_bytes(b"no weights")
    assert choose_model(CPU, 1) == DEFAULT_MODEL


def test_auto_loads_what_was_chosen(thorough: Path):
    assert load_model("auto", "cpu", pixels=1).path == thorough
    assert load_model("auto", "cpu").name == DEFAULT_MODEL


def test_all_planes_count(thorough: Path):
    assert model_for(4) == THOROUGH_MODEL
    assert model_for(5) == DEFAULT_MODEL


def test_a_part_can_have_the_model_of_the_whole(thorough: Path):
    assert model_for(1, auto_pixels=SMALL_IMAGE + 1) == DEFAULT_MODEL
    assert model_for(5, auto_pixels=1) == THOROUGH_MODEL


def model_for(planes: int, **options: Any) -> str:
    """Return the model that restores so many planes of 256 × 256 pixels on a CPU."""
    stack = np.zeros((planes, 256, 256), np.uint8)
    how = RestoreOptions(device="cpu", axes="ZYX", **options)
    for event in restore(stack, np.empty_like(stack), how):
        if isinstance(event, ModelReady):
            return event.model
    raise AssertionError("no model was made ready")


def test_an_estimate_is_of_the_chosen_model(thorough: Path):
    options = RestoreOptions(device="cpu")
    small, _ = estimate((64, 64), np.uint8, options)
    default, _ = estimate((64, 64), np.uint8, RestoreOptions(DEFAULT_MODEL, device="cpu"))
    assert small.peak_bytes != default.peak_bytes
