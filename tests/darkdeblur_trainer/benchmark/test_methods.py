"""Models restore pairs with the PSF that they are given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from darkdeblur_trainer.benchmark import methods
from darkdeblur_trainer.validation import ValidationPair
from napari_darkdeblur.network import DarkDeblurNet, GeneratorConfig, load_weights, save_weights
from napari_darkdeblur.psf import PSF

from .conftest import QUIET, pairs


@pytest.fixture(scope="module")
def guided(tmp_path_factory) -> Path:
    """Return the weights of a network with guides that returns the mean of these."""
    network = DarkDeblurNet(GeneratorConfig(width=4, growth=4, levels=2, guides=3))
    torch.manual_seed(0)
    torch.nn.init.normal_(network.head.weight, std=0.2)
    path = tmp_path_factory.mktemp("guided") / "guided.safetensors"
    save_weights(path, network)
    return path


def test_a_model_is_given_the_true_psf_or_none(guided):
    model = load_weights(guided)
    (pair,) = pairs(1, preset="night", **QUIET)
    none, true = (methods.model_method(model, psf)(pair) for psf in ("none", "true"))
    assert none.shape == true.shape == pair.blurred.shape
    assert not torch.allclose(none, true, atol=1e-3)
    # With the kernel of a sharp picture it sees what it sees without one.
    point = torch.zeros_like(pair.kernel)
    point[len(point) // 2, len(point) // 2] = 1
    undone = ValidationPair("", "", pair.blurred, pair.sharp, point, pair.linear_light)
    assert float((methods.model_method(model, "true")(undone) - true).abs().max()) > 1e-3
    grey = ValidationPair("", "", pair.blurred[:1], pair.sharp[:1], pair.kernel)
    assert methods.model_method(model, "true")(grey).shape == grey.blurred.shape


def test_a_model_searches_for_the_psf_by_itself(guided, monkeypatch):
    model = load_weights(guided)
    (pair,) = pairs(1, preset="night", **QUIET)
    sure = 0.9

    def found(image, restorer, *, linear_light, **_):
        assert image.shape == (112, 112, 3)
        assert linear_light
        return PSF.from_array(pair.kernel.numpy(), confidence=sure)

    monkeypatch.setattr("napari_darkdeblur.restore.search.estimate", found)
    none, true = (methods.model_method(model, psf)(pair) for psf in ("none", "true"))
    search = methods.model_method(model, "auto")
    torch.testing.assert_close(search(pair), true)
    sure = 0.1  # too little to trust it
    torch.testing.assert_close(search(pair), none)
