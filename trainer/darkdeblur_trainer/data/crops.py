"""Random crops from cached images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from napari_darkdeblur.network.guides import mirrored

from ..synthesis.sample_random import SampleRandom, Stream, sample_indices
from .image_cache import ImageCache, scaled


class CropSampler:
    """Cuts the crop that belongs to a sample index: same index, same crop, on any device.

    Images are chosen in proportion to their area, and places inside them evenly (the paper cuts
    its images into non-overlapping patches and draws from those; section 2.3.1).
    Crops are flipped and turned at random. An image smaller than the crop is continued by
    mirroring.

    Parameters
    ----------
    caches : sequence of ImageCache
        One for sharp images, or a blurred and a sharp one with images of the same sizes in the
        same order.
    side : int
        Height and width of a crop in pixels.
    seed : int
        Seed of the run, from which the places of crops follow.
    """

    def __init__(self, caches: tuple[ImageCache, ...], side: int, seed: int) -> None:
        self.caches = caches
        self.side = side
        self.seed = seed
        area = (caches[0].heights * caches[0].widths).double().cumsum(0)
        self._edges = area / area[-1]

    def __call__(self, samples: Sequence[int]) -> tuple[Tensor, ...]:
        """Cut crops.

        Parameters
        ----------
        samples : sequence of int
            Indices of the B samples in the run.

        Returns
        -------
        tuple of Tensors
            For every cache (B, 3, side, side), the same place for all of them; uint8, or float32
            in 0..1 where the cache holds other values (`ImageCache.needs_scaling`).
        """
        device = self.caches[0].pixels.device
        draw = SampleRandom(self.seed, sample_indices(samples, device)).uniform(Stream.CROP, 6)
        image = torch.searchsorted(self._edges, draw[:, 0].double().contiguous(), right=True)
        image = image.clamp(max=len(self.caches[0]) - 1)
        height, width = self.caches[0].heights[image], self.caches[0].widths[image]
        along = torch.arange(self.side, device=device)
        flip_rows, flip_columns, turn = (draw[:, 3:] < 0.5).unbind(dim=1)
        rows = self._places(draw[:, 1], height, along, flip_rows)
        columns = self._places(draw[:, 2], width, along, flip_columns)
        # (B, side, side): which row and which column of the image each crop pixel shows.
        turned = turn[:, None, None]
        row = torch.where(turned, rows[:, None, :], rows[:, :, None])
        column = torch.where(turned, columns[:, :, None], columns[:, None, :])
        place = row * width[:, None, None] + column
        crops = []
        for cache in self.caches:
            # Counted in pixels: three values at a time are a third of the work.
            start = cache.offsets[image][:, None, None] // 3
            pixels = cache.pixels.view(-1, 3)[start + place].permute(0, 3, 1, 2).contiguous()
            if cache.needs_scaling:
                black, white = (limit[image][:, None, None, None] for limit in cache.limits())
                pixels = scaled(pixels, black, white)
            crops.append(pixels)
        return tuple(crops)

    def _places(self, draw: Tensor, extent: Tensor, along: Tensor, flip: Tensor) -> Tensor:
        """Return (B, side) row (or column) numbers inside each image."""
        room = (extent - self.side).clamp(min=0)
        # A uniform number below 1 can still round up to the number of places.
        first = torch.minimum((draw * (room + 1)).long(), room)
        steps = torch.where(flip[:, None], self.side - 1 - along, along)
        return mirrored(first[:, None] + steps, extent[:, None])


def central_crop(image: Tensor, height: int, width: int | None = None) -> Tensor:
    """Cut the middle of (3, H, W), a square if no width is given, mirroring what is too small."""
    for dim, length in ((1, height), (2, height if width is None else width)):
        extent = image.shape[dim]
        places = torch.arange(length) + (extent - length) // 2
        image = image.index_select(dim, mirrored(places, extent))
    return image
