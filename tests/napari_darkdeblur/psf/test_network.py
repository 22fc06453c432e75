"""The kernel network gives kernels for pictures of any size and light, and its parts add up."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_darkdeblur.psf.network import KernelNet, KernelNetConfig

SMALL = KernelNetConfig(
    kernel_size=25, widths=(8, 16), kernel_widths=(8, 16), groups=2, scales=(2, 1)
)


@pytest.fixture(scope="module")
def net() -> KernelNet:
    torch.manual_seed(0)
    return KernelNet(SMALL).eval()


def scenes(count: int, height: int, width: int) -> Tensor:
    """Return (count, 3, height, width) light with edges of every direction and brightness."""
    torch.manual_seed(1)
    scene = torch.zeros(count, 3, height, width)
    for cells in (4, 11, 29):
        blocks = torch.rand(count, 3, cells, cells)
        scene += F.interpolate(blocks, (height, width), mode="nearest") / 3
    return scene


@pytest.mark.parametrize("shape", [(128, 128), (131, 250)])
@torch.no_grad()
def test_kernels_are_kernels_for_every_size(net, shape):
    estimate = net(scenes(2, *shape))
    assert estimate.kernels.shape == (2, 25, 25)
    assert estimate.confidence.shape == (2,)
    assert [stage.kernels.shape[-1] for stage in estimate.stages] == [13, 25]
    assert estimate.stages[-1].edges.shape == (2, 2, 2, *shape)
    assert (estimate.kernels >= 0).all()
    torch.testing.assert_close(estimate.kernels.sum(dim=(1, 2)), torch.ones(2))


@torch.no_grad()
def test_a_picture_that_repeats_has_the_same_kernel_at_any_size(net):
    # A tile that goes on without a seam: a larger crop shows more of the same.
    tile = scenes(1, 128, 128)
    small, large = net(tile.repeat(1, 1, 2, 2)), net(tile.repeat(1, 1, 3, 3))
    other = net(scenes(1, 256, 256).flip(3))
    cosine = [
        F.cosine_similarity(small.kernels.flatten(), found.kernels.flatten(), dim=0)
        for found in (large, other)
    ]
    assert cosine[0] > 0.95
    assert cosine[0] > cosine[1]


@torch.no_grad()
def test_less_light_does_not_change_the_kernel(net):
    light = scenes(1, 128, 160) * 0.8
    torch.testing.assert_close(net(light).kernels, net(light / 16).kernels, rtol=1e-2, atol=1e-5)


@torch.no_grad()
def test_every_picture_of_a_batch_stands_for_itself(net):
    light = scenes(3, 128, 128)
    alone = torch.cat([net(one[None]).kernels for one in light])
    torch.testing.assert_close(net(light).kernels, alone, rtol=1e-3, atol=1e-6)


def test_a_configuration_survives_its_description():
    assert KernelNetConfig.from_dict(SMALL.to_dict()) == SMALL
    with pytest.raises(ValueError, match="kernel_size 27"):
        KernelNetConfig(kernel_size=27)
    with pytest.raises(ValueError, match="fall to 1"):
        KernelNetConfig(scales=(1, 2))
