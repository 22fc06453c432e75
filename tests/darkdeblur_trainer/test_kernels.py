"""Blur kernels: normalised, centred, as long as asked for."""

from __future__ import annotations

import pytest
import torch

from darkdeblur_trainer.synthesis import SampleRandom, ShakeSettings, camera_shake_kernels
from darkdeblur_trainer.synthesis.kernels import camera_shake_paths, kernel_radius, splat


def _kernels(count: int, length: float, curl: float = 1.0):
    random = SampleRandom(3, torch.arange(count))
    shake = ShakeSettings(
        torch.full((count,), length), torch.ones(count), torch.full((count,), curl)
    )
    return camera_shake_kernels(random, shake, kernel_radius(length))


@pytest.mark.parametrize("length", [4.0, 13.5, 60.0])
def test_kernels_are_normalised_and_centred_on_their_centroid(length):
    kernels = _kernels(64, length)
    assert (kernels >= 0).all()
    assert torch.allclose(kernels.sum(dim=(1, 2)), torch.ones(64), atol=1e-5)
    offset = torch.arange(kernels.shape[1]) - kernels.shape[1] // 2
    for axis in (1, 2):
        centroid = (kernels.sum(dim=3 - axis) * offset).sum(dim=1)
        assert centroid.abs().max() < 1e-3


def test_the_radius_holds_every_kernel():
    # Nothing was clamped to the border: the outermost ring is empty but for straight paths,
    # whose ends may touch it.
    wide = camera_shake_kernels(
        SampleRandom(3, torch.arange(256)),
        ShakeSettings(torch.full((256,), 30.0), torch.ones(256), torch.full((256,), 0.2)),
        radius=40,
    )
    radius = kernel_radius(30.0)
    inner = wide[:, 40 - radius : 41 + radius, 40 - radius : 41 + radius]
    assert torch.allclose(inner.sum(dim=(1, 2)), torch.ones(256), atol=1e-5)


def test_paths_have_the_reference_length_and_constant_speed():
    paths = camera_shake_paths(SampleRandom(0, torch.arange(32)), torch.ones(32))
    speed = paths.diff(dim=1).norm(dim=2)
    assert torch.allclose(speed.sum(dim=1), torch.full((32,), 60.0), rtol=1e-4)
    assert torch.allclose(speed, speed[:, :1].expand_as(speed), rtol=1e-3)


def test_longer_paths_spread_wider():
    offset = torch.arange(-100, 101).float()
    spread = []
    for length in (12.0, 24.0, 48.0):
        kernels = _kernels(128, length)
        r = kernels.shape[1] // 2
        squares = offset[100 - r : 101 + r].square()
        variance = (kernels.sum(1) * squares).sum(1) + (kernels.sum(2) * squares).sum(1)
        # The bilinear splat itself spreads a point by a variance of about 1/6 an axis.
        spread.append(float((variance - 1 / 3).clamp(min=0).sqrt().mean()))
    assert spread[1] == pytest.approx(2 * spread[0], rel=0.15)
    assert spread[2] == pytest.approx(2 * spread[1], rel=0.15)


def test_without_curl_a_path_is_a_straight_line():
    paths = camera_shake_paths(SampleRandom(0, torch.arange(32)), torch.zeros(32))
    assert torch.allclose(paths[:, -1].norm(dim=1), torch.full((32,), 60.0), rtol=1e-4)


def test_a_path_of_length_zero_is_a_point():
    kernels = _kernels(3, 0.0)
    centre = kernels.shape[1] // 2
    assert torch.allclose(kernels[:, centre, centre], torch.ones(3))


def test_splat_shares_a_point_bilinearly():
    image = splat(torch.tensor([[[0.25, -0.5]]]), torch.ones(1, 1), radius=1)[0]
    # x is the column: three quarters stay in the middle column, a quarter goes to its right.
    expected = torch.tensor([[0, 0.375, 0.125], [0, 0.375, 0.125], [0, 0, 0]])
    assert torch.allclose(image, expected)
