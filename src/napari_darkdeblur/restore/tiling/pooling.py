"""Average pooling tile by tile, and the channel scales that follow from it (eqs. 2-4).

Sums are taken over tiles without their halos, which cover every pixel exactly once, and in double
precision, so that neither the tiles' sizes nor their order show in the result.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ...network.stages import Feature, Stage
from ...rectangle import Rectangle


class ChannelScale(Protocol):
    """Factor of a stage's shortcut, see `StageInput`."""

    def over(self, region: Rectangle) -> Tensor:
        """Return it for a region: (1, C, 1, 1) or (1, C, h, w)."""
        ...


class Pooling(Protocol):
    """Averages a feature map from its tiles."""

    def add(self, x: Tensor, region: Rectangle) -> None:
        """Take in a tile (1, C, h, w) that covers a region of the plane."""
        ...

    def channel_scale(self, stage: Stage) -> ChannelScale:
        """Return the scale for the stage that takes this feature map; all tiles must be in."""
        ...


class GlobalPooling:
    """One average per channel, over the whole plane, as the network was trained.

    Parameters
    ----------
    feature : Feature
        Feature map that is averaged.
    height, width : int
        Size of the plane in pixels.
    """

    def __init__(self, feature: Feature, height: int, width: int) -> None:
        self._sum: Tensor | None = None
        self._count = (height // feature.downscale) * (width // feature.downscale)

    def add(self, x: Tensor, region: Rectangle) -> None:
        """Take in a tile; see `Pooling`."""
        # Rows first in single precision: a double-precision copy of the tile would be large.
        rows = x.sum(dim=3, dtype=torch.float32)
        total = rows.sum(dim=2, dtype=_double(x))[..., None, None]
        self._sum = total if self._sum is None else self._sum + total

    def channel_scale(self, stage: Stage) -> ChannelScale:
        """Return the channel scale; see `Pooling`."""
        assert self._sum is not None
        return GlobalChannelScale(_scale(stage, (self._sum / self._count).to(torch.float32)))


class GlobalChannelScale:
    """A channel scale that is the same everywhere: (1, C, 1, 1)."""

    def __init__(self, value: Tensor) -> None:
        self._value = value

    def over(self, region: Rectangle) -> Tensor:
        """Return it; the region does not matter."""
        return self._value


class LocalPooling:
    """Averages over a window around each place (test-time local converter, Chu et al. 2022).

    The plane is cut into square blocks, and a window is an odd number of them; near the border
    it stays inside the plane. Between the blocks' centres channel scales are interpolated.

    Parameters
    ----------
    feature, height, width
        See `GlobalPooling`.
    window : int
        Side of the window in pixels.
    block : int
        Side of a block in pixels; tiles must begin at multiples of it.
    device : torch.device
        Device of the tiles.
    """

    def __init__(
        self,
        feature: Feature,
        height: int,
        width: int,
        window: int,
        block: int,
        device: torch.device,
    ) -> None:
        self._feature, self._block = feature, block
        self._height, self._width = height, width
        blocks = (-(-height // block), -(-width // block))
        # The number of blocks nearest to the window's side that has a block in its middle.
        self._window = 2 * (window // (2 * block)) + 1
        self._sums = torch.zeros((1, feature.channels, *blocks), device=device)

    def add(self, x: Tensor, region: Rectangle) -> None:
        """Take in a tile; see `Pooling`."""
        side = self._block // self._feature.downscale
        sums = _block_sums(x, side)
        top, left = region.top // self._block, region.left // self._block
        self._sums[..., top : top + sums.shape[2], left : left + sums.shape[3]] = sums

    def channel_scale(self, stage: Stage) -> ChannelScale:
        """Return the channel scale; see `Pooling`."""
        downscale = self._feature.downscale
        rows, columns = (
            torch.tensor([min(self._block, length - start) // downscale
                          for start in range(0, length, self._block)])
            for length in (self._height, self._width)
        )  # fmt: skip
        counts = torch.outer(rows, columns)[None, None].to(self._sums)
        means = self._in_windows(self._sums) / self._in_windows(counts)
        return LocalChannelScale(_scale(stage, means), self._block, downscale)

    def _in_windows(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        window = (min(self._window, height), min(self._window, width))
        inside = F.avg_pool2d(x, window, stride=1, divisor_override=1)
        top, left = (window[0] - 1) // 2, (window[1] - 1) // 2
        bottom, right = window[0] - 1 - top, window[1] - 1 - left
        return F.pad(inside, (left, right, top, bottom), mode="replicate")


class LocalChannelScale:
    """A channel scale for each block, interpolated in between.

    Parameters
    ----------
    values : Tensor
        (1, C, rows of blocks, columns of blocks).
    block, downscale : int
        Pixels of the image per side of a block, and of a pixel of the feature map.
    """

    def __init__(self, values: Tensor, block: int, downscale: int) -> None:
        self._values, self._block, self._downscale = values, block, downscale

    def over(self, region: Rectangle) -> Tensor:
        """Return the scale of every pixel of the feature map in a region: (1, C, h, w)."""
        rows = self._lerp(self._values, 2, region.top, region.height)
        scale = self._lerp(rows, 3, region.left, region.width)
        return scale.contiguous(memory_format=torch.channels_last)

    def _lerp(self, values: Tensor, dim: int, start: int, length: int) -> Tensor:
        last = values.shape[dim] - 1
        centres = start + self._downscale * (torch.arange(length // self._downscale) + 0.5)
        place = (centres / self._block - 0.5).clamp(0, last).to(values.device)
        before = place.floor().long()
        after = (before + 1).clamp(max=last)
        shape = [1, 1, 1, 1]
        shape[dim] = -1
        fraction = (place - before).view(shape).to(values.dtype)
        low, high = values.index_select(dim, before), values.index_select(dim, after)
        return torch.lerp(low, high, fraction.expand_as(low))


def _block_sums(x: Tensor, side: int) -> Tensor:
    """Return sums over squares of pixels; at the lower and right border over what is there."""
    x = x.float()
    height, width = x.shape[-2:]
    x = F.pad(x, (0, -width % side, 0, -height % side))
    return F.avg_pool2d(x, side, divisor_override=1)


def _scale(stage: Stage, means: Tensor) -> Tensor:
    assert stage.attention_block is not None
    weight = next(stage.attention_block.parameters())
    return stage.channel_scale(means.to(weight.dtype))


def _double(x: Tensor) -> torch.dtype:
    # MPS has no double precision.
    return torch.float32 if x.device.type == "mps" else torch.float64
