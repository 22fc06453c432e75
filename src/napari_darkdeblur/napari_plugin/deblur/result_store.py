"""Where restored pixels go: into memory, or into a zarr array on the disk if they are many."""

from __future__ import annotations

import math
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import psutil

from ...restore.image.axes import Axes

# Larger results go to the disk, as do those that take more of the free memory than this.
LARGEST_IN_MEMORY = 2_000_000_000
_SHARE_OF_FREE_MEMORY = 0.25
_CHUNK = 512


@dataclass(frozen=True)
class Store:
    """Takes restored pixels.

    Parameters
    ----------
    array : ndarray or zarr.Array
        What is written to, and shown.
    path : pathlib.Path or None
        The zarr array's folder; None if it is in memory.
    """

    array: Any
    path: Path | None = None

    def discard(self) -> None:
        """Remove what is on the disk: it is incomplete."""
        if self.path is not None:
            shutil.rmtree(self.path, ignore_errors=True)


def default_results_folder() -> Path:
    """Return the folder for large results if the user names none."""
    return Path(platformdirs.user_data_dir("darkdeblur", appauthor=False)) / "results"


def goes_to_disk(shape: tuple[int, ...], dtype: Any) -> bool:
    """Whether a result of this shape is too large for memory."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    free = int(psutil.virtual_memory().available)
    return bool(size > min(LARGEST_IN_MEMORY, _SHARE_OF_FREE_MEMORY * free))


def make_store(
    shape: tuple[int, ...], dtype: Any, name: str, axes: str, folder: Path | None = None
) -> Store:
    """Return a place for a result.

    Parameters
    ----------
    shape, dtype
        Of the result.
    name : str
        What it is called; a part of the folder's name.
    axes : str
        Its axes: planes are cut into chunks, every plane has chunks of its own.
    folder : pathlib.Path, optional
        Where large results go; `default_results_folder` if not given.

    Raises
    ------
    OSError
        The folder cannot be written to.
    """
    if not goes_to_disk(shape, dtype):
        return Store(np.zeros(shape, dtype))
    import zarr

    folder = folder or default_results_folder()
    folder.mkdir(parents=True, exist_ok=True)
    safe = re.sub(r"[^\w.-]+", "_", name).strip("._") or "result"
    stem = f"{safe[:60]}-{time.strftime('%Y%m%d-%H%M%S')}"
    path = folder / f"{stem}.zarr"
    number = 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.zarr"
    planes = Axes.parse(axes, shape).plane_letters
    chunks = tuple(
        1 if letter in planes else min(length, _CHUNK)
        for letter, length in zip(axes, shape, strict=True)
    )
    array = zarr.create_array(path, shape=shape, chunks=chunks, dtype=np.dtype(dtype))
    return Store(array, path)
