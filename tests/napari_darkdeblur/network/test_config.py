"""``config.receptive_field_radius`` is how far the network really looks, to the pixel."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_darkdeblur import DarkDeblurNet, GeneratorConfig
from napari_darkdeblur.network.blocks import ChannelAttention, conv3x3

from ..conftest import make_network

CONFIGS = {
    "one level": GeneratorConfig(width=4, growth=4, levels=1),
    "two levels": GeneratorConfig(width=4, growth=4, dense_layers=2, levels=2),
    "three levels": GeneratorConfig(width=4, growth=4, dense_layers=3, levels=3),
    "as deep as the paper's": GeneratorConfig(width=4, growth=4),
    "without gates": GeneratorConfig(
        width=4, growth=4, dense_layers=2, levels=3, contextual_gate=False
    ),
    "unshuffled, one level": GeneratorConfig(width=4, growth=4, levels=1, stem="unshuffle"),
    "unshuffled, two levels": GeneratorConfig(
        width=4, growth=4, dense_layers=2, levels=2, stem="unshuffle"
    ),
    "unshuffled, three levels": GeneratorConfig(
        width=4, growth=4, dense_layers=2, levels=3, stem="unshuffle"
    ),
    "more blocks": GeneratorConfig(
        width=4, growth=4, dense_layers=2, levels=2, encoder_blocks=(1, 3), decoder_blocks=(2,)
    ),
    "more blocks, three levels": GeneratorConfig(
        width=4,
        growth=4,
        dense_layers=2,
        levels=3,
        stem="unshuffle",
        encoder_blocks=(2, 1, 2),
        decoder_blocks=(0, 2),
    ),
    "unshuffled by four": GeneratorConfig(
        width=4, growth=4, dense_layers=2, levels=2, stem="unshuffle4"
    ),
}


@pytest.fixture(autouse=True)
def _no_global_context(monkeypatch: pytest.MonkeyPatch):
    """Cut the global averages out of the gradient: they see the whole image by design."""
    scale = ChannelAttention.scale
    monkeypatch.setattr(ChannelAttention, "scale", lambda self, mean: scale(self, mean.detach()))


def measure_radius(net: DarkDeblurNet, axis: int) -> int:
    """Return the greatest distance along an axis from which an output pixel is influenced.

    All positions of the output within one pixel of the coarsest level are tried, since they
    do not reach equally far.
    """
    multiple = net.config.size_multiple
    # More to the sides, so that no border cuts off what is looked for.
    margin = (net.config.receptive_field_radius // multiple + 3) * multiple
    size = [multiple, multiple]
    size[axis] = 2 * margin + multiple
    torch.manual_seed(1)
    image = torch.rand(1, 3, *size, dtype=torch.float64, requires_grad=True)
    restored = net.double()(image)
    farthest = 0
    for position in range(margin, margin + multiple):
        pixels = restored.select(2 + axis, position)
        (gradient,) = torch.autograd.grad(pixels.sum(), image, retain_graph=True)
        seen = gradient.abs().sum(dim=(0, 1, 3 - axis)).nonzero().flatten()
        farthest = max(farthest, position - int(seen.min()), int(seen.max()) - position)
    return farthest


@pytest.mark.parametrize("axis", [0, 1], ids=["rows", "columns"])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_declared_radius_is_the_measured_one(name: str, axis: int):
    config = CONFIGS[name]
    assert measure_radius(make_network(config), axis) == config.receptive_field_radius


def test_the_measurement_sees_an_added_convolution():
    config = CONFIGS["three levels"]
    net = make_network(config)
    convs = net.encoder[2][0].convs
    convs[-1] = nn.Sequential(convs[-1], conv3x3(12, 12))
    # One pixel of the third level.
    assert measure_radius(net, axis=1) == config.receptive_field_radius + 4


def test_the_paper_s_receptive_field_and_size_multiple():
    assert GeneratorConfig.paper().receptive_field_radius == 148
    assert GeneratorConfig.paper().size_multiple == 8
    assert GeneratorConfig.small().size_multiple == 16
