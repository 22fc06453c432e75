"""The generator is the paper's, takes any size and can return its input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from napari_darkdeblur import DarkDeblurNet, GeneratorConfig
from napari_darkdeblur.network.blocks import ChannelAttention, ContextualGate

from ..conftest import TINY, make_identity, make_network

UNSHUFFLED = TINY.model_copy(update={"stem": "unshuffle"})
UNSHUFFLED_BY_4 = TINY.model_copy(update={"stem": "unshuffle4"})


def macs_and_parameters(config: GeneratorConfig) -> tuple[float, int]:
    """Return multiply-accumulates for 3 × 128 × 128, and the number of parameters."""
    with torch.device("meta"):
        net = DarkDeblurNet(config).eval()
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, 128, 128))
    return counter.get_total_flops() / 2, sum(p.numel() for p in net.parameters())


def test_the_paper_configuration_has_the_paper_s_size():
    macs, parameters = macs_and_parameters(GeneratorConfig.paper())
    assert 15.9e9 < macs < 16.1e9
    assert 8.7e6 < parameters < 8.8e6


def test_the_small_configuration_is_a_thirteenth_of_the_work():
    paper, _ = macs_and_parameters(GeneratorConfig.paper())
    small, parameters = macs_and_parameters(GeneratorConfig.small())
    assert paper / small == pytest.approx(13, rel=0.05)
    assert parameters < 3.6e6


@pytest.mark.parametrize("without_gradient", [torch.no_grad, torch.inference_mode])
def test_a_forward_without_gradients_is_counted_in_full(without_gradient):
    net, image = make_network(TINY), torch.rand(1, 3, 24, 32)
    with FlopCounterMode(display=False) as counter:
        net(image)
    expected = counter.get_total_flops()
    with without_gradient():
        net(image)  # whatever is tried once is tried
        with FlopCounterMode(display=False) as counter:
            net(image)
    assert counter.get_total_flops() == expected > 0


@pytest.mark.parametrize(
    "config", [TINY, UNSHUFFLED, UNSHUFFLED_BY_4], ids=["plain", "unshuffle", "unshuffle4"]
)
@settings(deadline=None, max_examples=25)
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_any_height_and_width_come_back_the_same(config, height: int, width: int):
    net = make_network(config)
    with torch.inference_mode():
        restored = net(torch.rand(2, 3, height, width))
    assert restored.shape == (2, 3, height, width)
    assert torch.isfinite(restored).all()


@pytest.mark.parametrize(
    "config",
    [TINY, UNSHUFFLED, GeneratorConfig(width=8, growth=4), GeneratorConfig(levels=1, width=4)],
    ids=["plain", "unshuffle", "four levels", "one level"],
)
@pytest.mark.parametrize("size", [(1, 1), (17, 23), (32, 32)])
def test_a_zeroed_head_returns_the_input_exactly(config: GeneratorConfig, size):
    image = torch.rand(1, 3, *size) * 3 - 1  # outside 0..1, too: nothing is clamped
    image[..., 0] = 0.0
    with torch.inference_mode():
        assert torch.equal(make_identity(config)(image), image)


@pytest.mark.parametrize(
    "config",
    [
        GeneratorConfig.small(),
        GeneratorConfig(width=8, growth=4, channel_attention=False, contextual_gate=False),
        GeneratorConfig(width=12, growth=20, levels=2, dense_layers=3, negative_slope=0.0),
    ],
    ids=["small", "Base", "odd"],
)
def test_inference_computes_what_training_does(config: GeneratorConfig):
    net = make_network(config)
    image = torch.rand(2, 3, 37, 50)
    given = image.clone()
    trained = net(image).detach()
    with torch.inference_mode():
        torch.testing.assert_close(net(image), trained, atol=1e-5, rtol=0)
        net.to(memory_format=torch.channels_last)
        torch.testing.assert_close(net(image), trained, atol=1e-5, rtol=0)
        with torch.device("meta"):
            assert DarkDeblurNet(config)(torch.empty(2, 3, 37, 50)).shape == image.shape
    assert torch.equal(image, given)


def test_without_guides_the_picture_takes_their_place():
    net = make_network(TINY.model_copy(update={"guides": 2}))
    image, guides = torch.rand(1, 3, 20, 24), torch.rand(1, 6, 20, 24)
    with torch.inference_mode():
        alone, guided = net(image), net(torch.cat([image, guides], dim=1))
        torch.testing.assert_close(net(image.repeat(1, 3, 1, 1)), alone)
    assert guided.shape == alone.shape == image.shape
    assert not torch.allclose(guided, alone)


def test_blocks_that_do_not_fit_the_levels_are_refused():
    for wrong in (
        {"encoder_blocks": (1, 1)},
        {"encoder_blocks": (1, 0, 1, 1)},
        {"decoder_blocks": (0, 0, 1)},
        {"levels": 5, "encoder_blocks": (1, 1, 1, 1)},
    ):
        with pytest.raises(ValueError, match="blocks"):
            GeneratorConfig(**wrong)
    listed = GeneratorConfig.model_validate({"encoder_blocks": [1, 1, 2, 4]})
    assert (listed.encoder_blocks, listed.decoder_blocks) == ((1, 1, 2, 4), (0, 1, 1))


def test_images_of_a_batch_do_not_see_each_other():
    net = make_network()
    first, second = torch.rand(2, 1, 3, 20, 24)
    with torch.inference_mode():
        together = net(torch.cat([first, second]))
        torch.testing.assert_close(together[:1], net(first))
        torch.testing.assert_close(together[1:], net(second))


@pytest.mark.parametrize(
    ("attention", "gate"),
    [(False, False), (True, False), (False, True), (True, True)],
    ids=["Base", "CA", "CG", "full"],
)
def test_ablation_switches_change_the_modules_they_name(attention: bool, gate: bool):
    config = GeneratorConfig(width=8, growth=4, channel_attention=attention, contextual_gate=gate)
    net = make_network(config)
    blocks = 2 * config.levels - 2  # the finest decoder level has none
    assert sum(isinstance(m, ChannelAttention) for m in net.modules()) == attention * blocks
    assert sum(isinstance(m, ContextualGate) for m in net.modules()) == gate * (config.levels - 1)

    # Each switch adds its own parameters and no others.
    def parameters(network: torch.nn.Module) -> dict[str, torch.Size]:
        return {name: value.shape for name, value in network.named_parameters()}

    base = parameters(
        make_network(
            config.model_copy(update={"channel_attention": False, "contextual_gate": False})
        )
    )
    added = parameters(net).items() - base.items()
    assert base.items() <= parameters(net).items()
    assert all((".shortcut." in name) or name.startswith("contextual_gates.") for name, _ in added)
    assert any(".shortcut." in name for name, _ in added) == attention
    assert any(name.startswith("contextual_gates.") for name, _ in added) == gate
