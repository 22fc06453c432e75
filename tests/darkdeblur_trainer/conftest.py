"""Small images, a small configuration, and stand-in VGG weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from darkdeblur_trainer.config import TrainConfig
from darkdeblur_trainer.config_files import parse_config

# A network and a run that take seconds; everything random and every term but VGG is in it.
TINY = {
    "steps": 12,
    "batch_size": 2,
    "patch": 112,
    "generator": {"width": 4, "growth": 4, "dense_layers": 2, "levels": 2, "stem": "unshuffle"},
    "discriminator_width": 4,
    "synthesis": [
        {"preset": "paper", "kernel_length": [4, 12]},
        {"preset": "night", "blur_radius": [1, 3]},
    ],
    "losses": {"features": 0.0, "adversarial": {"weight": 1e-4, "from_step": 3}},
    "optimizer": {"learning_rate": 1e-3, "schedule": "cosine", "warmup_steps": 2},
    "ema_decay": 0.9,
    "validation": {"every": 6, "images": 1, "crop": 112},
    "log": {"scalars": 2, "images": None, "gradient_shares": None},
    "checkpoint": {"every": 4},
}


@pytest.fixture
def tiny_config() -> TrainConfig:
    return parse_config(TINY)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three smooth, structured images of different sizes."""
    folder = tmp_path_factory.mktemp("photographs")
    for place, (height, width) in enumerate([(160, 200), (150, 150), (40, 230)]):
        Image.fromarray(scene(height, width, place)).save(folder / f"scene_{place}.png")
    return folder


def scene(height: int, width: int, seed: int) -> np.ndarray:
    """Return an (H, W, 3) uint8 image with edges at several scales."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for cell in (40, 16, 6):
        coarse = rng.random((height // cell + 1, width // cell + 1, 3))
        image += np.kron(coarse, np.ones((cell, cell, 1)))[:height, :width] / 3
    return np.rint(image * 255).astype(np.uint8)


@pytest.fixture(scope="session")
def vgg16_state() -> dict[str, Tensor]:
    """Return random numbers with the names and shapes of torchvision's VGG-16 features."""
    return _vgg_state((2, 2, 3, 3, 3))


@pytest.fixture(scope="session")
def vgg19_state() -> dict[str, Tensor]:
    """Return random numbers with the names and shapes of torchvision's VGG-19 features."""
    return _vgg_state((2, 2, 4, 4, 4))


def _vgg_state(blocks: tuple[int, ...]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    state, index, inputs = {}, 0, 3
    for block, channels in zip(blocks, (64, 128, 256, 512, 512), strict=True):
        for _ in range(block):
            weight = torch.randn(channels, inputs, 3, 3, generator=generator)
            state[f"features.{index}.weight"] = (weight * (2 / (9 * inputs)) ** 0.5).half()
            state[f"features.{index}.bias"] = torch.zeros(channels).half()
            inputs = channels
            index += 2  # convolution and ReLU
        index += 1  # pooling
    return state
