"""Where feature maps wait between two stages: in memory, or in a file."""

from __future__ import annotations

import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil
import torch
from torch import Tensor

from ...errors import DarkDeblurError
from ...network.stages import Feature
from ...rectangle import Rectangle
from .plan import Storage


class ScratchError(DarkDeblurError, OSError):
    """The scratch file cannot be written; the message is for the user."""


class FeatureStore(Protocol):
    """Keeps one feature map of a plane."""

    def write(self, x: Tensor, region: Rectangle) -> None:
        """Keep a tile (1, C, h, w) that covers a region of the plane."""
        ...

    def read(self, region: Rectangle) -> Tensor:
        """Return (1, C, h, w) of a region that was written, channels last."""
        ...

    def close(self) -> None:
        """Give the memory or the file back."""
        ...


class MemoryFeatureStore:
    """In the memory of a device: as fast as it gets.

    Parameters
    ----------
    feature : Feature
        Feature map that is stored.
    height, width : int
        Size of the plane in pixels.
    dtype : torch.dtype
        Data type of the features.
    storage_device : torch.device
        Device that stores the features.
    device : torch.device
        Device that `read` copies tiles to.
    """

    def __init__(
        self,
        feature: Feature,
        height: int,
        width: int,
        dtype: torch.dtype,
        storage_device: torch.device,
        device: torch.device,
    ) -> None:
        self._downscale, self._device = feature.downscale, device
        shape = (1, feature.channels, height // feature.downscale, width // feature.downscale)
        self._features = torch.empty(
            shape, dtype=dtype, device=storage_device, memory_format=torch.channels_last
        )

    def write(self, x: Tensor, region: Rectangle) -> None:
        """Keep a tile; see `FeatureStore`."""
        region.crop(self._features, self._downscale).copy_(x)

    def read(self, region: Rectangle) -> Tensor:
        """Return a region; see `FeatureStore`."""
        view = region.crop(self._features, self._downscale)
        return view.to(self._device).contiguous(memory_format=torch.channels_last)

    def close(self) -> None:
        """Give the memory back."""
        del self._features


class DiskFeatureStore:
    """In a file without a name, which is gone with the process whatever happens.

    It is written and read by plain calls: the pages of a memory map would count as memory in
    use.

    Parameters
    ----------
    feature, height, width, dtype, device
        See `MemoryFeatureStore`.
    folder : pathlib.Path
        Folder that the file is made in.

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
        self._downscale, self._channels, self._device = feature.downscale, feature.channels, device
        self._folder, self._dtype = folder, dtype
        # 16-bit floats that numpy does not know are kept as they are, bit by bit.
        self._stored = torch.float32 if dtype == torch.float32 else torch.int16
        self._pixel_bytes = feature.channels * dtype.itemsize
        self._row_bytes = width // feature.downscale * self._pixel_bytes
        try:
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise _scratch_error(self._folder, error) from error

    def write(self, x: Tensor, region: Rectangle) -> None:
        """Keep a tile; see `FeatureStore`."""
        pixels = x[0].permute(1, 2, 0).contiguous().view(self._stored).cpu().numpy()
        try:
            for row, values in enumerate(pixels, start=region.top // self._downscale):
                self._file.seek(row * self._row_bytes + self._offset(region))
                data = memoryview(np.ascontiguousarray(values).data).cast("B")
                while data:
                    data = data[self._file.write(data) :]
        except OSError as error:
            raise _scratch_error(self._folder, error) from error

    def read(self, region: Rectangle) -> Tensor:
        """Return a region; see `FeatureStore`."""
        height, width = region.height // self._downscale, region.width // self._downscale
        pixels = torch.empty((height, width, self._channels), dtype=self._dtype)
        rows = pixels.view(self._stored).numpy()
        try:
            for row, values in enumerate(rows, start=region.top // self._downscale):
                self._file.seek(row * self._row_bytes + self._offset(region))
                data = memoryview(values.data).cast("B")
                while data:
                    count = self._file.readinto(data)
                    if not count:
                        raise _scratch_error(self._folder, OSError("it ends too early"))
                    data = data[count:]
        except OSError as error:
            raise _scratch_error(self._folder, error) from error
        return pixels.permute(2, 0, 1)[None].to(self._device)

    def close(self) -> None:
        """Delete the file."""
        self._file.close()

    def _offset(self, region: Rectangle) -> int:
        return region.left // self._downscale * self._pixel_bytes


def _scratch_error(folder: Path, error: OSError) -> ScratchError:
    return ScratchError(
        f"The scratch file in {folder} failed ({error.strerror or error}); name a folder with "
        "more room as scratch folder, or allow more memory."
    )


def make_feature_store(
    feature: Feature,
    height: int,
    width: int,
    dtype: torch.dtype,
    storage: Storage,
    scratch: Path | None,
    device: torch.device,
) -> FeatureStore:
    """Return a place for a feature map.

    Parameters
    ----------
    feature, height, width, dtype
        See `MemoryFeatureStore`.
    storage : {"memory", "host", "disk"}
        Where the feature map is stored, see `Plan`.
    scratch : pathlib.Path or None
        Folder for files, see `ScratchFolder`.
    device : torch.device
        Device that the network runs on.
    """
    if storage == "disk":
        folder = ScratchFolder(scratch).path
        return DiskFeatureStore(feature, height, width, dtype, folder, device)
    storage_device = torch.device("cpu") if storage == "host" else device
    return MemoryFeatureStore(feature, height, width, dtype, storage_device, device)


# What is kept in these is kept in memory.
_IN_MEMORY = {"tmpfs", "ramfs"}


class ScratchFolder:
    """Folder for feature maps for which there is no memory. It is looked at only when needed.

    Parameters
    ----------
    chosen : pathlib.Path or None
        The user's choice; None is the system's folder for temporary files, or ``/var/tmp`` if
        that one is kept in memory.
    """

    def __init__(self, chosen: Path | None) -> None:
        self._chosen = chosen

    @property
    def path(self) -> Path:
        """The folder."""
        return self._chosen if self._chosen is not None else _default_folder()

    @property
    def free(self) -> int:
        """Bytes that may be written; 0 if the system's folder cannot be written to.

        Raises
        ------
        ScratchError
            The user's folder cannot be written to.
        """
        try:
            tempfile.TemporaryFile(dir=self.path).close()
        except OSError as error:
            if self._chosen is not None:
                raise _scratch_error(self.path, error) from error
            return 0
        return int(0.9 * shutil.disk_usage(self.path).free)


@functools.cache
def _default_folder() -> Path:
    folder = Path(tempfile.gettempdir())
    fallback = Path("/var/tmp")
    if not sys.platform.startswith("linux") or not os.access(fallback, os.W_OK):
        return folder
    mounts = {p.mountpoint: p.fstype for p in psutil.disk_partitions(all=True)}
    resolved = folder.resolve()
    nearest = next((str(p) for p in (resolved, *resolved.parents) if str(p) in mounts), None)
    in_memory = nearest is not None and mounts[nearest] in _IN_MEMORY
    return fallback if in_memory else folder
