"""Small networks and models to test with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_darkdeblur import DarkDeblurNet, GeneratorConfig, cli, save_weights
from napari_darkdeblur.imagefiles import write_image
from napari_darkdeblur.network import NetworkConfig, build_network
from napari_darkdeblur.restore import BudgetError, Plan, make_plan

TINY = GeneratorConfig(width=4, growth=4, dense_layers=2, levels=3)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (20, 24, 3), np.uint8)
GUIDED = TINY.model_copy(update={"guides": 3})


def make_network(config: NetworkConfig = TINY, seed: int = 0) -> Any:
    """Return a network with random weights that depend on the seed only."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = build_network(config).eval()
        # However training starts: the residual must be there to be tested.
        for name, parameter in net.named_parameters():
            if "head." in name:
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


# --- the command


def complaint(err: str) -> str:
    """Return what an error output says, which is one sentence and nothing else."""
    assert err.startswith("darkdeblur: error: ")
    assert err.endswith("\n")
    assert_sentence(err[:-1])
    return err


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return write_image(tmp_path / "photo.png", IMAGE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of three images of different kinds, and what is none of them."""
    path = tmp_path / "in"
    path.mkdir()
    write_image(path / "b.png", IMAGE)
    write_image(path / "a.tif", RNG.integers(0, 65536, (9, 8), np.uint16))
    write_image(path / "C.JPG", IMAGE)
    (path / "notes.txt").write_text("no image")
    (path / ".hidden.png").write_text("no image")
    (path / "sub").mkdir()
    write_image(path / "sub" / "d.png", IMAGE)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """Return a function that runs the command: exit code, standard output and error."""

    def run_command(*arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run_command
