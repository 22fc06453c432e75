"""Small networks and models to test with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from napari_darkdeblur import DarkDeblurNet, GeneratorConfig, save_weights
from napari_darkdeblur.restore import BudgetError, Plan, make_plan

TINY = GeneratorConfig(width=4, growth=4, dense_layers=2, levels=3)
GUIDED = TINY.model_copy(update={"guides": 3})


def make_network(config: GeneratorConfig = TINY, seed: int = 0) -> DarkDeblurNet:
    """Return a network with random weights that depend on the seed only."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = DarkDeblurNet(config).eval()
        # However training starts: the residual must be there to be tested.
        for parameter in (net.head.weight, net.head.bias):
            torch.nn.init.normal_(parameter, std=0.2)
        return net


def make_identity(config: GeneratorConfig = TINY) -> DarkDeblurNet:
    """Return a network whose residual is zero."""
    net = make_network(config)
    torch.nn.init.zeros_(net.head.weight)
    torch.nn.init.zeros_(net.head.bias)
    return net


def assert_sentence(message: str) -> None:
    """Check that a message is fit for people: one line, and finished."""
    assert "\n" not in message
    assert message.endswith((".", "?", ")."))
    assert "Traceback" not in message
    assert len(message) < 500


@pytest.fixture(autouse=True)
def models_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test a models folder of its own, not the user's."""
    folder = tmp_path / "user-models"
    monkeypatch.setenv("DARKDEBLUR_MODELS", str(folder))
    return folder


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    """Return a weights file whose network returns its input."""
    return save_weights(tmp_path / "identity.safetensors", make_identity())


@pytest.fixture
def random_model(tmp_path: Path) -> Path:
    """Return a weights file whose network changes its input."""
    return save_weights(tmp_path / "random.safetensors", make_network())


def tightest_plan(*arguments, **options) -> Plan:
    """Return the plan with the least memory that any budget leads to."""
    low, high = 0, 10**10
    while high - low > 100_000:
        budget = (low + high) // 2
        try:
            tightest = make_plan(*arguments, budget, **options)
            high = budget
        except BudgetError:
            low = budget
    return tightest
