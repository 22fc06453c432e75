"""Microscopy frames that come with scikit-image's package; none is downloaded."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data
from torch import Tensor

from ..data import ImageCache

_LUMA = torch.tensor([0.299, 0.587, 0.114])


def microscopy_frames() -> list[tuple[str, Tensor]]:
    """Return grey frames by name, each (3, H, W) uint8 with three equal channels.

    They are all that the package holds of a useful size: a cell in saline, by quantitative phase
    (CC0), and a stained tissue section in bright field, of which the luma is taken (no known
    copyright).
    """
    cell: NDArray[np.uint8] = data.cell()
    tissue: NDArray[np.uint8] = data.immunohistochemistry()
    colour = torch.from_numpy(tissue.copy()).permute(2, 0, 1)
    return [
        ("cell", torch.from_numpy(cell.copy()).expand(3, -1, -1)),
        ("immunohistochemistry", _grey(colour)),
    ]


def grey_frames(cache: ImageCache) -> list[tuple[str, Tensor]]:
    """Return the luma of images by name, (3, H, W) uint8 with three equal channels."""
    return [(name, _grey(cache.image(index))) for index, name in enumerate(cache.names)]


def _grey(image: Tensor) -> Tensor:
    luma = torch.einsum("c,chw->hw", _LUMA, image.float())
    return luma.round().to(torch.uint8).expand(3, -1, -1)
