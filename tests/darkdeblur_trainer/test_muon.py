"""Muon makes steps of orthogonal matrices, is Adam elsewhere, and resumes exactly."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from darkdeblur_trainer.config_files import parse_config
from darkdeblur_trainer.learners import Learners
from darkdeblur_trainer.muon import Muon, orthogonal

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
    for made, directions in zip(orthogonal(matrices), wanted, strict=True):
        assert made.shape == directions.shape
        values = torch.linalg.svdvals(made)
        assert values.min() > 0.5
        assert values.max() < 1.3
        # They are the same directions: orthogonal(U S V) is near U V.
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
    assert (orthogonal([matrices])[0] - x).norm() < 1e-3 * x.norm()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.PReLU(16), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 1, 1)
    )


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        image = torch.rand((2, 3, 12, 12), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        net(image).square().mean().backward()
        optimizer.step()


def test_what_is_no_matrix_goes_the_way_of_adam():
    ours, theirs = network(), network()
    # The same network without convolutions that are matrices.
    for net in (ours, theirs):
        for conv in (net[0], net[2]):
            conv.weight.requires_grad_(False)
    others = [p for p in ours.parameters() if p.requires_grad]
    train(ours, Muon(others, lr=1e-2), range(5))
    expected = [p for p in theirs.parameters() if p.requires_grad]
    train(theirs, torch.optim.Adam(expected, lr=1e-2, betas=(0.9, 0.99)), range(5))
    for mine, adam in zip(others, expected, strict=True):
        torch.testing.assert_close(mine, adam, rtol=1e-5, atol=1e-7)


def test_it_goes_on_where_it_was():
    whole, parts = network(), network()
    train(whole, Muon(whole.parameters(), lr=1e-2), range(6))
    first = Muon(parts.parameters(), lr=1e-2)
    train(parts, first, range(3))
    saved = copy.deepcopy(first.state_dict())
    second = Muon(parts.parameters(), lr=1e-2)
    second.load_state_dict(saved)
    train(parts, second, range(3, 6))
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("method", "kind"), [("adam", torch.optim.Adam), ("muon", Muon)])
def test_the_configuration_chooses_it_for_the_generator_only(method, kind):
    config = parse_config({**TINY, "optimizer": {"method": method}})
    learners = Learners(config, torch.device("cpu"), None)
    assert type(learners.optimizer_g) is kind
    assert type(learners.optimizer_d) is torch.optim.Adam
