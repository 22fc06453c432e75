"""A network begins as a smaller one that has been trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from darkdeblur_trainer.config import ConfigError, TrainConfig
from darkdeblur_trainer.train_state import TrainState, grow_into
from napari_darkdeblur import DarkDeblurNet, GeneratorConfig, save_weights

SMALL = GeneratorConfig(width=8, growth=4, dense_layers=3, levels=3, stem="unshuffle")


def larger(**changes: object) -> GeneratorConfig:
    return GeneratorConfig.model_validate({**SMALL.model_dump(), **changes})


def trained(config: GeneratorConfig) -> DarkDeblurNet:
    """Return a network whose features, gates and correction are of the size of a trained one's."""
    torch.manual_seed(0)
    net = DarkDeblurNet(config)
    with torch.no_grad():
        net.head.weight.mul_(5)
        for parameter in net.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return net


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder_blocks": (1, 1, 3)},
        {"decoder_blocks": (0, 2)},
        {"decoder_blocks": (1, 1)},
        {"guides": 3},
        {"guides": 3, "fuse_guides": True},
        {"guides": 3, "encoder_blocks": (2, 2, 4), "decoder_blocks": (1, 2)},
    ],
    ids=str,
)
def test_a_grown_network_computes_what_the_smaller_one_does(changes: dict):
    source = trained(SMALL)
    torch.manual_seed(1)
    target = DarkDeblurNet(larger(**changes))
    grow_into(target, source)
    image = torch.rand(1, 3 * (1 + target.config.guides), 48, 40)
    with torch.inference_mode():
        expected = source(image[:, :3])
        assert (expected - image[:, :3]).abs().max() > 0.05  # it does something
        torch.testing.assert_close(target(image), expected, atol=1e-3, rtol=0)


def test_what_was_added_can_learn():
    target = DarkDeblurNet(larger(guides=1, fuse_guides=True, encoder_blocks=(1, 1, 2)))
    grow_into(target, trained(SMALL))
    (target(torch.rand(2, 6, 32, 32)) - torch.rand(2, 3, 32, 32)).abs().mean().backward()
    added = target.encoder[2][1]
    assert added.convs[-1].weight.grad.abs().max() > 0
    assert target.stem.weight.grad[:, 12:].abs().max() > 0
    assert target.head.weight.grad[12:].abs().max() > 0


def test_a_new_level_takes_over_all_other_weights():
    source, target = (
        trained(SMALL),
        DarkDeblurNet(larger(levels=4, encoder_blocks=(), decoder_blocks=())),
    )
    grow_into(target, source)
    state = target.state_dict()
    assert all(torch.equal(state[name], value) for name, value in source.state_dict().items())
    image = torch.rand(1, 3, 48, 48)
    with torch.inference_mode():
        difference = (target(image) - source(image)).abs().mean()
        assert difference < 0.5 * (source(image) - image).abs().mean()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ({"width": 12}, {}, "width"),
        ({"guides": 2}, {}, "guides"),
        ({"encoder_blocks": (1, 2, 1)}, {}, "encoder level 1"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_what_differs(old, new, named, tmp_path: Path):
    path = save_weights(tmp_path / "other.safetensors", DarkDeblurNet(larger(**old)))
    config = TrainConfig(generator=larger(**new), discriminator_width=8)
    with pytest.raises(ConfigError, match=named):
        TrainState(config, torch.device("cpu"), str(path))
