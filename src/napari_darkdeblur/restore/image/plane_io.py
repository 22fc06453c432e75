"""A plane of an image as the network takes it, and the way back."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import DarkDeblurError
from ...network import LoadedModel
from ...rectangle import Rectangle
from ..guides import PlaneGuides
from .view import ImageView


class RestoreError(DarkDeblurError, RuntimeError):
    """Restoring failed; the message is one sentence for the user."""


class Output(Protocol):
    """What takes restored pixels: a numpy, zarr or memory-mapped array."""

    def __setitem__(self, index: Any, values: Any, /) -> None:
        """Take in a block; indices are tuples of ints and slices."""
        ...


class PlaneIO:
    """A plane of the image as `restore_plane` takes it.

    On a CUDA device copies run beside the computation, from and to pinned memory: what was
    computed of a tile is put into the output when the next tile is under way.

    Parameters
    ----------
    view : ImageView
        Image that the plane is of.
    plane : int
        Index of the plane among the image's.
    output : Output
        Array that takes the restored pixels.
    loaded : LoadedModel
        On the device that it runs on.
    guides : PlaneGuides, optional
        Guides that the network is given beside the picture.
    asynchronous : bool, optional
        Whether copies run beside the computation; the default is on CUDA devices only.
    """

    def __init__(
        self,
        view: ImageView,
        plane: int,
        output: Output,
        loaded: LoadedModel,
        guides: PlaneGuides | None = None,
        *,
        asynchronous: bool | None = None,
    ) -> None:
        self._view, self._plane, self._output, self._loaded = view, plane, output, loaded
        weight = next(loaded.network.parameters())
        self._device, self._dtype = weight.device, weight.dtype
        self._guides = guides
        on_cuda = self._device.type == "cuda"
        self._asynchronous = on_cuda if asynchronous is None else asynchronous
        self._pending: tuple[Rectangle, Tensor, torch.cuda.Event] | None = None
        multiple = loaded.size_multiple
        self.bounds = Rectangle(
            0, 0, view.height + -view.height % multiple, view.width + -view.width % multiple
        )

    def read(self, region: Rectangle) -> Tensor:
        """Return the picture, (1, 3, h, w), or picture and guides, (1, 12, h, w).

        Beyond the lower and right border the last pixels repeat.
        """
        rows, columns = self._real(region)
        image = torch.from_numpy(self._view.read(self._plane, rows, columns))[None]
        image = self._as_network(image, region)
        if self._asynchronous:
            image = image.pin_memory().to(self._device, non_blocking=True)
        image = image.to(self._device)
        if self._guides is None:
            return image
        guides = self._as_network(self._guides.read(rows, columns).float(), region)
        # Of tensors that are channels last, so is what they are joined to.
        return torch.cat([image, guides], dim=1)

    def make_guides(self, block: Rectangle) -> None:
        """Make and keep the guides of a block of pixels."""
        if self._guides is not None:
            self._guides.make(block)

    def release_guides(self) -> None:
        """Give back what guides take."""
        if self._guides is not None:
            self._guides.close()

    def _as_network(self, image: Tensor, region: Rectangle) -> Tensor:
        """Bring values in 0..1 to the size, value range and precision of the network."""
        below = region.height - image.shape[2]
        right = region.width - image.shape[3]
        if below or right:
            image = F.pad(image, (0, right, 0, below), mode="replicate")
        black, white = self._loaded.value_range
        if (black, white) != (0, 1):
            image = image * (white - black) + black
        return image.to(self._dtype, memory_format=torch.channels_last)

    def write(self, region: Rectangle, residual: Tensor) -> None:
        """Take in a tile's residual; it is in the output after `flush` at the latest."""
        if not self._asynchronous:
            self._finish(region, residual.to("cpu", torch.float32), None)
            return
        copied = torch.empty(residual.shape, pin_memory=True)
        copied.copy_(residual.float(), non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        self.flush()
        self._pending = (region, copied, event)

    def flush(self) -> None:
        """Put the last tile where it belongs."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._finish(*pending)

    def _finish(self, region: Rectangle, residual: Tensor, copied: torch.cuda.Event | None) -> None:
        """Add the residual to the image and put the result where it belongs."""
        if copied is not None:
            copied.synchronize()
        rows, columns = self._real(region)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        black, white = self._loaded.value_range
        restored = self._view.read(self._plane, rows, columns)
        restored += residual[0, :, :height, :width].numpy() / np.float32(white - black)
        if not np.isfinite(restored).all():
            raise RestoreError(
                f"Model {self._loaded.name!r} gave values that are not finite on {self._device}; "
                "try another device, precision fp32, or another model."
            )
        block = self._view.restored_block(self._plane, rows, columns, restored)
        self._output[self._view.axes.index(self._plane, rows, columns)] = block

    def _real(self, region: Rectangle) -> tuple[slice, slice]:
        """Return the part of a region that is not padding."""
        return (
            slice(region.top, min(region.bottom, self._view.height)),
            slice(region.left, min(region.right, self._view.width)),
        )
