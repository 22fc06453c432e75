"""Networks of other architectures restore, are stored and are tiled like ours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch.utils.flop_counter import FlopCounterMode

from napari_darkdeblur import GeneratorConfig, deblur, load_weights, save_weights
from napari_darkdeblur.network import (
    FeaturePyramidConfig,
    MultiScaleConfig,
    NetworkConfig,
    WeightsError,
    build_network,
)

from ..conftest import assert_sentence, make_network

SMALL_ONES = {
    "multi-scale": MultiScaleConfig(width=4, levels=2, blocks=1, scales=2),
    "own weights": MultiScaleConfig(width=4, levels=1, blocks=1, scales=3, shared=False),
    "feature pyramid": FeaturePyramidConfig(width=4, blocks=(1, 2), expansion=2, pyramid=8),
}
PEERS = {
    "srn": MultiScaleConfig.srn(),
    "deepdeblur": MultiScaleConfig.deepdeblur(),
    "deblurgan-v2": FeaturePyramidConfig.deblurgan_v2(),
}


def work(config: NetworkConfig) -> int:
    """Return the multiply-accumulate operations for 128 × 128 pixels."""
    net = build_network(config).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 128, 128))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_takes_about_the_work_of_small(name: str):
    assert work(PEERS[name]) == pytest.approx(work(GeneratorConfig.small()), rel=0.15)


@pytest.mark.parametrize("name", SMALL_ONES)
@pytest.mark.parametrize("size", [(1, 1), (33, 50), (64, 48)])
def test_any_size_is_restored_and_a_black_image_stays_black(name: str, size: tuple[int, int]):
    torch.manual_seed(0)
    net = build_network(SMALL_ONES[name]).eval()
    with torch.inference_mode():
        assert net(torch.rand(2, 3, *size)).shape == (2, 3, *size)
        assert not net(torch.zeros(1, 3, *size)).any()


@pytest.mark.parametrize("name", SMALL_ONES)
def test_nothing_beyond_the_receptive_field_matters(name: str):
    config = SMALL_ONES[name]
    net = make_network(config)
    for parameter in net.parameters():  # no way through the network is closed
        parameter.data.abs_().add_(1e-2)
    radius, multiple = config.receptive_field_radius, config.size_multiple
    side = 2 * multiple * (radius // multiple + 3)
    farthest = 0
    for middle in (side // 2, side // 2 + multiple - 1):
        image = torch.full((1, 3, side, side), 1e-3, requires_grad=True)
        net(image)[0, 0, middle, middle].backward()
        assert image.grad is not None
        reached = image.grad.abs().sum(dim=(0, 1)).nonzero()
        farthest = max(farthest, int((reached - middle).abs().max()))
    assert radius / 2 < farthest <= radius


@pytest.mark.parametrize("name", SMALL_ONES)
def test_a_file_says_which_architecture_it_holds(name: str, tmp_path: Path):
    net = make_network(SMALL_ONES[name])
    path = save_weights(tmp_path / "peer.safetensors", net)
    loaded = load_weights(path)
    assert loaded.config == SMALL_ONES[name]
    image = np.random.default_rng(0).random((40, 56, 3), np.float32)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(tensor), net(tensor), rtol=0, atol=1e-6)
    # A kernel is of no use to them: it is said, and they are shown what a filter makes of it.
    assert np.isfinite(deblur(image, loaded, "cpu", axes="YXC")).all()


def test_files_of_darkdeblurnet_stay_readable_for_older_versions(tmp_path: Path):
    path = save_weights(tmp_path / "ours.safetensors", make_network())
    with safe_open(path, "pt") as file:
        card = json.loads(file.metadata()["darkdeblur"])
    assert card["schema_version"] == 3
    assert "architecture" not in card["generator"]
    peer = save_weights(tmp_path / "peer.safetensors", make_network(SMALL_ONES["multi-scale"]))
    with safe_open(peer, "pt") as file:
        assert json.loads(file.metadata()["darkdeblur"])["schema_version"] == 4


def test_an_unknown_architecture_is_refused_in_a_sentence(tmp_path: Path):
    net = make_network(SMALL_ONES["multi-scale"])
    path = save_weights(tmp_path / "peer.safetensors", net)
    content = path.read_bytes().replace(b"multi-scale", b"multi-scala")
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="no such architecture, but darkdeblurnet") as caught:
        load_weights(path)
    assert_sentence(str(caught.value))
