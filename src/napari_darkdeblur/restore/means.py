"""Channel means gathered tile by tile, and the gates that follow from them (eqs. 2-4).

Sums are taken over the cores of tiles, which cover every cell exactly once, and in double
precision, so that neither the tiles' sizes nor their order show in the result.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..network.stages import Feature, Region, Stage


class Gate(Protocol):
    """What a stage's residual is multiplied by."""

    def over(self, region: Region) -> Tensor:
        """Return it for a region: (1, C, 1, 1) or (1, C, h, w)."""
        ...


class ChannelMeans(Protocol):
    """Gathers the means of a feature map from its tiles."""

    def add(self, x: Tensor, region: Region) -> None:
        """Take in a tile (1, C, h, w) that covers a region of the plane."""
        ...

    def gate(self, stage: Stage) -> Gate:
        """Return the gate of the stage that takes this feature; all tiles must be in."""
        ...


class GlobalMeans:
    """One mean per channel, over the whole plane, as the network was trained.

    Parameters
    ----------
    feature : Feature
        What is averaged.
    height, width : int
        Of the plane, in pixels.
    """

    def __init__(self, feature: Feature, height: int, width: int) -> None:
        self._sum: Tensor | None = None
        self._count = (height // feature.cell) * (width // feature.cell)

    def add(self, x: Tensor, region: Region) -> None:
        """Take in a tile; see `ChannelMeans`."""
        # Rows first in single precision: a double-precision copy of the tile would be large.
        rows = x.sum(dim=3, dtype=torch.float32)
        total = rows.sum(dim=2, dtype=_double(x))[..., None, None]
        self._sum = total if self._sum is None else self._sum + total

    def gate(self, stage: Stage) -> Gate:
        """Return the gate; see `ChannelMeans`."""
        assert self._sum is not None
        return GlobalGate(_gate(stage, (self._sum / self._count).to(torch.float32)))


class GlobalGate:
    """A gate that is the same everywhere: (1, C, 1, 1)."""

    def __init__(self, value: Tensor) -> None:
        self._value = value

    def over(self, region: Region) -> Tensor:
        """Return it; the region does not matter."""
        return self._value


class LocalMeans:
    """Means over a window around each place (test-time local converter, Chu et al. 2022).

    The plane is cut into square blocks, and a window is an odd number of them; near the border
    it stays inside the plane. Between the blocks' centres gates are interpolated.

    Parameters
    ----------
    feature : Feature
        What is averaged.
    height, width : int
        Of the plane, in pixels.
    window : int
        Side of the window in pixels.
    block : int
        Side of a block in pixels; tiles must begin at multiples of it.
    device : torch.device
        Where the tiles are.
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

    def add(self, x: Tensor, region: Region) -> None:
        """Take in a tile; see `ChannelMeans`."""
        cells = self._block // self._feature.cell
        sums = _block_sums(x, cells)
        top, left = region.top // self._block, region.left // self._block
        self._sums[..., top : top + sums.shape[2], left : left + sums.shape[3]] = sums

    def gate(self, stage: Stage) -> Gate:
        """Return the gate; see `ChannelMeans`."""
        cell = self._feature.cell
        rows, columns = (
            torch.tensor([min(self._block, length - start) // cell
                          for start in range(0, length, self._block)])
            for length in (self._height, self._width)
        )  # fmt: skip
        counts = torch.outer(rows, columns)[None, None].to(self._sums)
        means = self._in_windows(self._sums) / self._in_windows(counts)
        return LocalGate(_gate(stage, means), self._block, cell)

    def _in_windows(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        window = (min(self._window, height), min(self._window, width))
        inside = F.avg_pool2d(x, window, stride=1, divisor_override=1)
        top, left = (window[0] - 1) // 2, (window[1] - 1) // 2
        bottom, right = window[0] - 1 - top, window[1] - 1 - left
        return F.pad(inside, (left, right, top, bottom), mode="replicate")


class LocalGate:
    """A gate for each block, interpolated in between.

    Parameters
    ----------
    values : Tensor
        (1, C, rows of blocks, columns of blocks).
    block, cell : int
        Pixels per side of a block, and of a cell of the feature map.
    """

    def __init__(self, values: Tensor, block: int, cell: int) -> None:
        self._values, self._block, self._cell = values, block, cell

    def over(self, region: Region) -> Tensor:
        """Return the gate of every cell of a region: (1, C, h, w)."""
        rows = self._lerp(self._values, 2, region.top, region.height)
        gate = self._lerp(rows, 3, region.left, region.width)
        return gate.contiguous(memory_format=torch.channels_last)

    def _lerp(self, values: Tensor, dim: int, start: int, length: int) -> Tensor:
        last = values.shape[dim] - 1
        centres = start + self._cell * (torch.arange(length // self._cell) + 0.5)
        place = (centres / self._block - 0.5).clamp(0, last).to(values.device)
        before = place.floor().long()
        after = (before + 1).clamp(max=last)
        shape = [1, 1, 1, 1]
        shape[dim] = -1
        fraction = (place - before).view(shape).to(values.dtype)
        low, high = values.index_select(dim, before), values.index_select(dim, after)
        return torch.lerp(low, high, fraction.expand_as(low))


def _block_sums(x: Tensor, cells: int) -> Tensor:
    """Return sums over squares of cells; at the lower and right border over what is there."""
    x = x.float()
    height, width = x.shape[-2:]
    x = F.pad(x, (0, -width % cells, 0, -height % cells))
    return F.avg_pool2d(x, cells, divisor_override=1)


def _gate(stage: Stage, means: Tensor) -> Tensor:
    assert stage.gated is not None
    weight = next(stage.gated.parameters())
    gate = stage.gate(means.to(weight.dtype))
    assert gate is not None
    return gate


def _double(x: Tensor) -> torch.dtype:
    # MPS has no double precision.
    return torch.float32 if x.device.type == "mps" else torch.float64
