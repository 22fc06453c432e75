"""Pairs for the tests of the benchmark."""

from __future__ import annotations

import pytest
import torch

from darkdeblur_trainer.data import cache_images, find_images
from darkdeblur_trainer.synthesis import Degradation
from darkdeblur_trainer.validation import ValidationPair, degraded

from ..conftest import scene

# Nothing but a blur of some pixels.
QUIET = {
    "gaussian_noise": 0,
    "shot_gain": None,
    "read_noise": None,
    "bits": 0,
    "jpeg_probability": 0,
    "highlight_probability": 0,
    "unblurred": 0,
    "blur_radius": [1.2, 1.2],
    "defocus_disc": 0,
    "exposure": [0.8, 0.8],
}


def images(count: int, side: int = 128) -> list[tuple[str, torch.Tensor]]:
    return [
        (f"{seed}.png", torch.from_numpy(scene(side, side, seed)).permute(2, 0, 1))
        for seed in range(count)
    ]


def pairs(count: int, **settings: object) -> list[ValidationPair]:
    return list(degraded("group", images(count), Degradation.model_validate(settings), 112))


def same(pair: ValidationPair) -> torch.Tensor:
    return pair.blurred


def sharp(pair: ValidationPair) -> torch.Tensor:
    return pair.sharp


@pytest.fixture
def cache(photographs, tmp_path):
    return cache_images(find_images(photographs), tmp_path)
