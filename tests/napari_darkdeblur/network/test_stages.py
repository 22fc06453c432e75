"""The stages are the network, and each looks exactly as far as it says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from napari_darkdeblur import GeneratorConfig
from napari_darkdeblur.network.blocks import conv3x3
from napari_darkdeblur.network.stages import (
    RESIDUAL,
    FeatureGraph,
    Stage,
    StageInput,
    run_stages,
    stages_of,
)
from napari_darkdeblur.rectangle import Rectangle

from ..conftest import make_network

CONFIGS = {
    f"{levels} levels, {stem}, attention {attention}, gates {gates}": GeneratorConfig(
        width=4,
        growth=4,
        dense_layers=2,
        levels=levels,
        stem=stem,
        channel_attention=attention,
        contextual_gate=gates,
    )
    for levels in (1, 2, 3, 4)
    for stem in ("plain", "unshuffle", "unshuffle4")
    for attention, gates in ((True, True), (False, False))
}
for _levels, _encoder, _decoder in (
    (1, (2,), ()),
    (2, (1, 3), (1,)),
    (3, (2, 1, 2), (0, 2)),
    (3, (1, 1, 1), (2, 1)),
):
    CONFIGS[f"blocks {_encoder} {_decoder}, guides"] = GeneratorConfig(
        width=4,
        growth=4,
        dense_layers=2,
        levels=_levels,
        stem="unshuffle",
        encoder_blocks=_encoder,
        decoder_blocks=_decoder,
        guides=2,
        fuse_guides=_levels > 1,
    )


def test_a_network_that_fuses_guides_can_return_one_of_them():
    config = GeneratorConfig(width=4, growth=4, levels=2, guides=2, fuse_guides=True)
    net = make_network(config)
    with torch.no_grad():
        net.head.weight.zero_()
        net.head.bias.copy_(torch.tensor([0.0, 0, 0, 0, 1 / 8]))
    given = torch.rand(1, 9, 10, 12)
    with torch.inference_mode():
        torch.testing.assert_close(net(given), given[:, 6:])
        # Without guides, the picture takes their place.
        assert torch.equal(net(given[:, :3]), given[:, :3])


@pytest.mark.parametrize("name", CONFIGS)
def test_all_stages_together_are_the_network(name: str):
    net = make_network(CONFIGS[name])
    multiple = net.config.size_multiple
    torch.manual_seed(0)
    image = torch.rand(1, 3, 3 * multiple, 2 * multiple)
    with torch.inference_mode():
        residual, scales = run_stages(stages_of(net), image, pool_batch=True)
        torch.testing.assert_close(residual, net.residual(image), rtol=0, atol=1e-6)
        again, _ = run_stages(stages_of(net), image, scales)
        assert torch.equal(again, residual)
    # Every block has one.
    blocks = sum(net.config.encoder_blocks) + sum(net.config.decoder_blocks)
    assert len(scales) == (blocks if net.config.channel_attention else 0)


def measure_halo(stage: Stage, graph: FeatureGraph, multiple: int) -> int:
    """Return how far from a tile the source still influences the stage's outputs, in pixels."""
    source_feature = graph.features[stage.source]
    downscale = source_feature.downscale
    # Room on both sides for twice the declared halo.
    margin = 2 * stage.halo + -2 * stage.halo % multiple
    tile = Rectangle(0, margin, multiple, multiple)
    width = 2 * margin + multiple
    torch.manual_seed(1)
    shape = (1, source_feature.channels, multiple // downscale, width // downscale)
    source = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    skip = scale = None
    if stage.skip is not None:
        feature = graph.features[stage.skip]
        side = multiple // feature.downscale
        skip = torch.rand(1, feature.channels, side, side, dtype=torch.float64)
    if stage.attention_block is not None:
        scale = torch.full((1, source_feature.channels, 1, 1), 0.5, dtype=torch.float64)
    names = {output.name for output in stage.outputs}
    made = stage(StageInput(source, skip, scale, tile, names))
    (gradient,) = torch.autograd.grad(sum(x.abs().sum() for x in made.values()), source)
    seen = gradient.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
    first, last = int(seen.min()) * downscale, (int(seen.max()) + 1) * downscale
    return max(tile.left - first, last - tile.right)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_declared_halos_are_the_measured_ones(name: str):
    net = make_network(CONFIGS[name]).double()
    stages = stages_of(net)
    graph = FeatureGraph(stages)
    for stage in stages:
        assert measure_halo(stage, graph, net.config.size_multiple) == stage.halo, stage.name


@pytest.mark.parametrize("place", ["encoder", "decoder", "contextual_gates", "down", "up"])
def test_a_convolution_that_was_added_without_its_halo_is_found(place: str):
    config = GeneratorConfig(width=4, growth=4, dense_layers=2, levels=3, channel_attention=False)
    net = make_network(config)
    layers = getattr(net, place)

    class Longer(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer
            self.added = conv3x3(8, 8)

        def forward(self, x: Tensor, *scale: Tensor | None) -> Tensor:
            return self.layer(self.added(x), *scale)

    if place in ("encoder", "decoder"):
        layers[1][0] = Longer(layers[1][0])
    elif place == "up":
        layers[1] = nn.Sequential(conv3x3(12, 12), layers[1])
    else:
        layers[1] = Longer(layers[1])
    net.double()
    stages = stages_of(net)
    graph = FeatureGraph(stages)
    halos = [(measure_halo(stage, graph, net.config.size_multiple), stage.halo) for stage in stages]
    assert any(measured > declared for measured, declared in halos)


def test_features_are_alive_from_where_they_are_made_to_where_they_are_last_read():
    graph = FeatureGraph(stages_of(make_network(GeneratorConfig(width=4, growth=4))))
    live = graph.live_features(graph.storable)
    assert live["stem"] == set()
    assert live["encoder 0"] == {"skip0", "x1"}
    assert live["encoder 1"] == {"skip0", "x1", "skip1", "x2"}
    assert live["encoder 3"] == {"skip0", "skip1", "skip2", "x3", "y2"}
    assert live["decoder 1"] == {"skip0", "y1"}


def test_what_is_computed_again_keeps_alive_what_it_is_computed_from():
    graph = FeatureGraph(stages_of(make_network(GeneratorConfig(width=4, growth=4))))
    live = graph.live_features([name for name in graph.storable if name not in ("skip0", "skip1")])
    assert live["decoder 2"] == {"x1", "y2", "y1"}  # skip1 is made of x1
    assert live["decoder 1"] == {"y1"}  # skip0 is made of the image


def test_the_residual_is_what_comes_last():
    for config in CONFIGS.values():
        stages = stages_of(make_network(config))
        assert [output.name for output in stages[-1].outputs] == [RESIDUAL]
