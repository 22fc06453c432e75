"""Guides of a plane: made once, block by block, and kept for the network's tiles.

A deconvolution looks far, so a tile's guides would depend on where the tile ends. Blocks depend
on plane and kernel alone: whatever tiles the network is run in, it is given the same guides. The
division by a straight motion rings far beyond any margin, and in each block a little differently:
so neighbouring blocks overlap, and fade into each other.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..network.guides import deconvolved
from ..network.stages import GUIDES, Feature
from ..rectangle import Rectangle
from .image.view import ImageView
from .psfs import AnyPSF, grid_weights, kernels_of
from .tiling.feature_store import FeatureStore

# Eleven bits of each value, however dark it is: more than the pixels of a photograph have.
KEPT_AS = torch.float16

BLOCK = 768
# Pixels along which neighbouring blocks fade into each other, an even number.
FADE = 128
# Pixels around that a block's guides are computed with, besides the kernel's width.
MARGIN = 64


def guide_blocks(height: int, width: int) -> list[Rectangle]:
    """Cut a plane into blocks of about 768 × 768 pixels.

    Parameters
    ----------
    height, width : int
        Of the plane, in pixels.

    Returns
    -------
    list of Rectangle
        Row by row, without overlap; as even as they can be, so that none is a sliver.
    """
    return Rectangle.grid(_even_edges(height), _even_edges(width))


def _even_edges(length: int) -> list[int]:
    count = max(1, round(length / BLOCK))
    return [length * i // count for i in range(count + 1)]


def faded(block: Rectangle, height: int, width: int) -> Rectangle:
    """Return a block of a plane with what it shares with its neighbours."""
    return block.expanded(FADE // 2, 1, Rectangle(0, 0, height, width))


def with_margin(block: Rectangle, side: int, height: int, width: int) -> Rectangle:
    """Return what a block's guides are computed from: the block and real pixels around it.

    Parameters
    ----------
    block : Rectangle
        The block.
    side : int
        Width and height of the kernel.
    height, width : int
        Of the plane.
    """
    return block.expanded(FADE // 2 + side + MARGIN, 1, Rectangle(0, 0, height, width))


def guides_feature(count: int) -> Feature:
    """Return what a plane's guides are to the network, so many of them."""
    return Feature(GUIDES, 3 * count, 1)


class PlaneGuides:
    """The guides of one plane.

    Parameters
    ----------
    view : ImageView
        The image.
    plane : int
        Which of its planes.
    psf : PSF or PSFGrid
        Its blur.
    linear_light : bool
        Whether the sRGB curve is undone first, see `deconvolved`.
    count : int
        Number of guides, see `deconvolved`.
    store : FeatureStore
        Where they are kept, of the plane's size; it is closed with them.
    device : torch.device
        Where they are computed.
    """

    def __init__(
        self,
        view: ImageView,
        plane: int,
        psf: AnyPSF,
        linear_light: bool,
        count: int,
        store: FeatureStore,
        device: torch.device,
    ) -> None:
        self._view, self._plane, self._linear_light = view, plane, linear_light
        self._count = count
        self._store: FeatureStore | None = store
        self._device = device
        self._kernels = torch.from_numpy(kernels_of(psf)).to(device)

    def make(self, block: Rectangle) -> None:
        """Make and keep the guides of one of the plane's `guide_blocks`, in their order."""
        assert self._store is not None
        height, width = self._view.height, self._view.width
        outer = with_margin(block, self._kernels.shape[-1], height, width)
        whole = faded(block, height, width)
        inside = whole.relative_to(outer)
        picture = self._view.read(self._plane, *outer.slices)
        grey = self._view.axes.colour == "grey"
        # (guide, colour, h, w). A colour at a time takes a third of the memory.
        made = torch.zeros((self._count, 3, whole.height, whole.width), device=self._device)
        for colour, values in enumerate(picture[:1] if grey else picture):
            light = torch.from_numpy(values)[None, None].to(self._device)
            for kernel, weight in self._kernels_for(whole):
                guides = deconvolved(light, kernel, self._linear_light, self._count)
                guides = inside.crop(guides[0], 1)
                made[:, colour] += guides if weight is None else guides * weight
        if grey:
            made[:, 1:] = made[:, :1]
        made = made.flatten(0, 1)[None]
        down = _fades(whole.top, whole.bottom, height)
        across = _fades(whole.left, whole.right, width)
        made *= torch.from_numpy(np.outer(down, across)).to(self._device)
        # What the blocks above and to the left have written of it already.
        above = min(FADE, whole.height) if block.top > 0 else 0
        before = min(FADE, whole.width) if block.left > 0 else 0
        if above:
            made[..., :above, :] += self._store.read(
                Rectangle(whole.top, whole.left, above, whole.width)
            )
        if before:
            made[..., above:, :before] += self._store.read(
                Rectangle(whole.top + above, whole.left, whole.height - above, before)
            )
        self._store.write(made.to(KEPT_AS), whole)

    def read(self, rows: slice, columns: slice) -> Tensor:
        """Return the guides of a region whose blocks were made: (1, 9, h, w) in 0..1."""
        assert self._store is not None
        return self._store.read(
            Rectangle(
                rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start
            )
        )

    def close(self) -> None:
        """Give back what they take."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _kernels_for(self, block: Rectangle) -> list[tuple[Tensor, Tensor | None]]:
        """Return the kernels (1, K, K) of a block and the weight (h, w) of each."""
        rows, columns = self._kernels.shape[:2]
        if rows == columns == 1:
            return [(self._kernels[0], None)]
        height, width = self._view.height, self._view.width
        down = grid_weights((np.arange(block.top, block.bottom) + 0.5) / height, rows)
        across = grid_weights((np.arange(block.left, block.right) + 0.5) / width, columns)
        return [
            (
                self._kernels[r, c][None],
                torch.from_numpy(np.outer(down[r], across[c])).to(self._device),
            )
            for r in range(rows)
            for c in range(columns)
            if down[r].any() and across[c].any()
        ]


def _fades(start: int, stop: int, length: int) -> NDArray[np.float32]:
    """Return how much a block counts at pixels of a line, 1 but where it meets a neighbour."""
    ramp = ((np.arange(FADE) + 0.5) / FADE).astype(np.float32)
    weights = np.ones(stop - start, np.float32)
    if start > 0:
        weights[:FADE] *= ramp
    if stop < length:
        weights[-FADE:] *= ramp[::-1]
    return weights
