"""Where feature maps wait between two stages: in memory, or in a file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import DarkDeblurError
from ..network.stages import Feature, Region
from .plan import Place


class ScratchError(DarkDeblurError, OSError):
    """The scratch file cannot be written; the message is for the user."""


class Parking(Protocol):
    """Keeps one feature map of a plane."""

    def write(self, x: Tensor, region: Region) -> None:
        """Keep a tile (1, C, h, w) that covers a region of the plane."""
        ...

    def read(self, region: Region) -> Tensor:
        """Return (1, C, h, w) of a region that was written, channels last."""
        ...

    def close(self) -> None:
        """Give the memory or the file back."""
        ...


class MemoryParking:
    """In the memory of a device: as fast as it gets.

    Parameters
    ----------
    feature : Feature
        What is kept.
    height, width : int
        Of the plane, in pixels.
    dtype : torch.dtype
        Of the features.
    home : torch.device
        Whose memory.
    device : torch.device
        Where `read` puts tiles.
    """

    def __init__(
        self,
        feature: Feature,
        height: int,
        width: int,
        dtype: torch.dtype,
        home: torch.device,
        device: torch.device,
    ) -> None:
        self._cell, self._device = feature.cell, device
        shape = (1, feature.channels, height // feature.cell, width // feature.cell)
        self._features = torch.empty(
            shape, dtype=dtype, device=home, memory_format=torch.channels_last
        )

    def write(self, x: Tensor, region: Region) -> None:
        """Keep a tile; see `Parking`."""
        region.of(self._features, self._cell).copy_(x)

    def read(self, region: Region) -> Tensor:
        """Return a region; see `Parking`."""
        view = region.of(self._features, self._cell)
        return view.to(self._device).contiguous(memory_format=torch.channels_last)

    def close(self) -> None:
        """Give the memory back."""
        del self._features


class DiskParking:
    """In a file without a name, which is gone with the process whatever happens.

    It is written and read by plain calls: the pages of a memory map would count as memory in
    use.

    Parameters
    ----------
    feature : Feature
        What is kept.
    height, width : int
        Of the plane, in pixels.
    dtype : torch.dtype
        Of the features.
    folder : pathlib.Path
        Where the file is.
    device : torch.device
        Where `read` puts tiles.

    Raises
    ------
    ScratchError
        By `write` as well: the disk is full or cannot be written to.
    """

    def __init__(
        self,
        feature: Feature,
        height: int,
        width: int,
        dtype: torch.dtype,
        folder: Path,
        device: torch.device,
    ) -> None:
        self._cell, self._channels, self._device = feature.cell, feature.channels, device
        self._folder, self._dtype = folder, dtype
        # 16-bit floats that numpy does not know are kept as they are, bit by bit.
        self._stored = torch.float32 if dtype == torch.float32 else torch.int16
        self._cell_bytes = feature.channels * dtype.itemsize
        self._row_bytes = width // feature.cell * self._cell_bytes
        try:
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._failed(error) from error

    def write(self, x: Tensor, region: Region) -> None:
        """Keep a tile; see `Parking`."""
        cells = x[0].permute(1, 2, 0).contiguous().view(self._stored).cpu().numpy()
        try:
            for row, values in enumerate(cells, start=region.top // self._cell):
                self._file.seek(row * self._row_bytes + self._offset(region))
                data = memoryview(np.ascontiguousarray(values).data).cast("B")
                while data:
                    data = data[self._file.write(data) :]
        except OSError as error:
            raise self._failed(error) from error

    def read(self, region: Region) -> Tensor:
        """Return a region; see `Parking`."""
        height, width = region.height // self._cell, region.width // self._cell
        cells = torch.empty((height, width, self._channels), dtype=self._dtype)
        rows = cells.view(self._stored).numpy()
        try:
            for row, values in enumerate(rows, start=region.top // self._cell):
                self._file.seek(row * self._row_bytes + self._offset(region))
                data = memoryview(values.data).cast("B")
                while data:
                    count = self._file.readinto(data)
                    if not count:
                        raise self._failed(OSError("it ends too early"))
                    data = data[count:]
        except OSError as error:
            raise self._failed(error) from error
        return cells.permute(2, 0, 1)[None].to(self._device)

    def flush(self) -> None:
        """Put what was written on the disk itself, and out of the system's cache."""
        os.fsync(self._file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Delete the file."""
        self._file.close()

    def _offset(self, region: Region) -> int:
        return region.left // self._cell * self._cell_bytes

    def _failed(self, error: OSError) -> ScratchError:
        return ScratchError(
            f"The scratch file in {self._folder} failed ({error.strerror or error}); name a "
            "folder with more room as scratch folder, or allow more memory."
        )


def park(
    feature: Feature,
    height: int,
    width: int,
    dtype: torch.dtype,
    place: Place,
    scratch: Path | None,
    device: torch.device,
) -> Parking:
    """Return a place for a feature map.

    Parameters
    ----------
    feature, height, width, dtype
        See `MemoryParking`.
    place : {"memory", "host", "disk"}
        See `Plan`.
    scratch : pathlib.Path or None
        See `ScratchFolder`.
    device : torch.device
        Where the network runs.
    """
    if place == "disk":
        from .scratch import ScratchFolder  # which measures a parking's speed

        folder = ScratchFolder(scratch).path
        return DiskParking(feature, height, width, dtype, folder, device)
    home = torch.device("cpu") if place == "host" else device
    return MemoryParking(feature, height, width, dtype, home, device)
