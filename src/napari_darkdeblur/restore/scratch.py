"""The folder for scratch files: which, how fast, and how much room it has."""

from __future__ import annotations

import functools
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch

from ..network.stages import Feature, Region
from .parking import DiskParking, ScratchError

# What is kept in these is kept in memory.
_IN_MEMORY = {"tmpfs", "ramfs"}


class ScratchFolder:
    """Where feature maps go for which there is no memory. It is looked at only when needed.

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
        if self.bytes_per_second == 0:
            return 0
        return int(0.9 * shutil.disk_usage(self.path).free)

    @property
    def bytes_per_second(self) -> float:
        """How fast it is written and read; see `free`."""
        try:
            return _measure(self.path)
        except ScratchError:
            if self._chosen is not None:
                raise
            return 0.0


@functools.cache
def _measure(folder: Path) -> float:
    """Write and read 32 MB as tiles are, past the system's cache where that can be done."""
    feature = Feature("probe", 64, 1)
    side = 354
    region = Region(0, 0, side, side)
    tile = torch.zeros((1, 64, side, side)).contiguous(memory_format=torch.channels_last)
    cpu = torch.device("cpu")
    parking = DiskParking(feature, side, side, torch.float32, folder, cpu)
    try:
        start = time.perf_counter()
        parking.write(tile, region)
        parking.flush()
        parking.read(region)
        return 2 * tile.nbytes / (time.perf_counter() - start)
    finally:
        parking.close()


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
