"""Muon makes steps of orthogonal matrices, Adam does the rest, and both resume exactly."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from darkdeblur_trainer.config_files import parse_config
from darkdeblur_trainer.optimizers import Muon, build_optimizers, orthogonalize
from darkdeblur_trainer.train_state import TrainState

from .conftest import TINY


def test_all_directions_are_made_alike():
    torch.manual_seed(0)
    # Different matrices with one shorter side are done together.
    shapes = [(3, 16, 144), (2, 64, 16), (1, 16, 16)]
    wanted, matrices = [], []
    for shape in shapes:
        # The largest direction is twenty times the smallest.
        left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
        matrices.append(left @ torch.diag(torch.logspace(0, -1.3, 16)) @ right)
        wanted.append(left @ right)
    for made, directions in zip(orthogonalize(matrices), wanted, strict=True):
        assert made.shape == directions.shape
        values = torch.linalg.svdvals(made)
        assert values.min() > 0.5
        assert values.max() < 1.3
        # They are the same directions: orthogonalize(U S V) is near U V.
        cosine = torch.cosine_similarity(made.flatten(1), directions.flatten(1))
        assert cosine.min() > 0.95


@pytest.mark.parametrize("smallest", [1e-2, 1e-6, 0])
def test_it_is_the_published_iteration(smallest):
    torch.manual_seed(0)
    left, values, right = torch.linalg.svd(torch.randn(2, 48, 432), full_matrices=False)
    values = torch.linspace(1, smallest, 48).pow(3).expand_as(values)
    matrices = left @ torch.diag_embed(values) @ right
    x = matrices.double() / matrices.double().norm(dim=(1, 2), keepdim=True)
    for _ in range(5):  # Jordan et al. 2024
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    # Small directions of X X^T carry the errors of single precision.
    assert (orthogonalize([matrices])[0] - x).norm() < 1e-3 * x.norm()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.PReLU(16), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 1, 1)
    )


def train(net: nn.Module, optimizers: list[torch.optim.Optimizer], steps: range) -> None:
    for step in steps:
        image = torch.rand((2, 3, 12, 12), generator=torch.Generator().manual_seed(step))
        net.zero_grad()
        net(image).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()


def test_every_parameter_has_one_optimizer():
    net = network()
    muon, adam = build_optimizers(net.parameters(), "muon")
    assert type(muon) is Muon
    assert type(adam) is torch.optim.Adam
    matrices, others = (
        {id(p) for group in optimizer.param_groups for p in group["params"]}
        for optimizer in (muon, adam)
    )
    assert matrices == {id(net[0].weight), id(net[2].weight)}
    assert matrices | others == {id(p) for p in net.parameters()}
    assert not matrices & others
    (alone,) = build_optimizers([net[0].weight], "muon")
    assert type(alone) is Muon
    (alone,) = build_optimizers(net.parameters(), "adam")
    assert type(alone) is torch.optim.Adam


def test_it_goes_on_where_it_was():
    whole, parts = network(), network()
    train(whole, build_optimizers(whole.parameters(), "muon", lr=1e-2), range(6))
    first = build_optimizers(parts.parameters(), "muon", lr=1e-2)
    train(parts, first, range(3))
    saved = copy.deepcopy([optimizer.state_dict() for optimizer in first])
    second = build_optimizers(parts.parameters(), "muon", lr=1e-2)
    for optimizer, state in zip(second, saved, strict=True):
        optimizer.load_state_dict(state)
    train(parts, second, range(3, 6))
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("method", "kind"), [("adam", torch.optim.Adam), ("muon", Muon)])
def test_the_configuration_chooses_it_for_the_generator_only(method, kind):
    generator = {**TINY["generator"], "width": 16}
    config = parse_config({**TINY, "generator": generator, "optimizer": {"method": method}})
    state = TrainState(config, torch.device("cpu"))
    assert type(state.generator_optimizers[0]) is kind
    assert type(state.discriminator_optimizer) is torch.optim.Adam
