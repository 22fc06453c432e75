"""All training images in one file of bytes, decoded once.

The file is mapped, not read: several runs and loader workers share its pages, and on a GPU it
is copied to the device in one piece. Cache files are never removed; whoever needs the space can
delete them at any time when no training is running.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from napari_darkdeblur.atomic import atomic_write
from napari_darkdeblur.imagefiles import ImageFileError, read_image

from .layouts import DataError

_VERSION = 2


@dataclass(frozen=True)
class ImageCache:
    """Decoded images, one after the other.

    Parameters
    ----------
    pixels : Tensor
        Flat uint8: the images' RGB pixels in reading order.
    heights, widths : Tensor
        Heights and widths of the images in pixels, (N,) int64.
    offsets : Tensor
        (N,) int64, where in ``pixels`` each image begins.
    names : tuple of str
        Names of the image files.
    sha256 : str
        SHA-256 of all pixels, in hexadecimal.
    file : pathlib.Path, optional
        What ``pixels`` is a mapping of; another process gets the path, not the pixels.
    """

    pixels: Tensor
    heights: Tensor
    widths: Tensor
    offsets: Tensor
    names: tuple[str, ...]
    sha256: str = ""
    file: Path | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        if self.file is None:
            raise TypeError("An image cache that is no file cannot be given to another process.")
        return _map_cache, (self.file, self.names)

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> Tensor:
        """Return one image, (3, H, W) uint8."""
        height, width = int(self.heights[index]), int(self.widths[index])
        start = int(self.offsets[index])
        flat = self.pixels[start : start + height * width * 3]
        return flat.view(height, width, 3).permute(2, 0, 1)

    def to(self, device: torch.device) -> ImageCache:
        """Return the cache with everything on a device."""
        return ImageCache(
            self.pixels.to(device),
            self.heights.to(device),
            self.widths.to(device),
            self.offsets.to(device),
            self.names,
            self.sha256,
        )


def default_cache_folder() -> Path:
    """Return where caches lie unless told otherwise: the user's cache folder."""
    return Path(platformdirs.user_cache_dir("darkdeblur", appauthor=False)) / "images"


def cache_images(files: Sequence[Path], folder: Path, progress: bool = False) -> ImageCache:
    """Decode images into a cache file, or map the one that an earlier call made.

    The file's name is a digest of the images' paths, sizes and times, so a changed image makes
    a new cache.

    Parameters
    ----------
    files : sequence of pathlib.Path
        JPEG, PNG or TIFF; grey or RGB, 8 or 16 bit. Alpha is dropped, grey becomes RGB, 16 bit
        become 8.
    folder : pathlib.Path
        Folder for cache files, which is made if need be.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    ImageCache
        Mapped into memory.

    Raises
    ------
    DataError
        An image cannot be read or used, or the folder cannot be written.
    """
    digest = hashlib.sha256(f"version {_VERSION}".encode())
    for path in files:
        try:
            state = path.stat()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        digest.update(f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}\n".encode())
    bytes_file = folder / f"{digest.hexdigest()[:20]}.u8"
    names = tuple(path.name for path in files)
    try:
        cached = _map_cache(bytes_file, names)
        if cached is None:
            folder.mkdir(parents=True, exist_ok=True)
            _remove_old_parts(folder)
            sizes, sha256 = _decode_all(files, bytes_file, progress)
            with atomic_write(_index_of(bytes_file)) as part:
                index = {"sizes": sizes, "sha256": sha256}
                part.write_text(json.dumps(index), encoding="utf-8")
            cached = _map_cache(bytes_file, names)
    except OSError as error:
        raise DataError(f"The image cache in {folder} failed: {error}.") from error
    if cached is None:
        raise DataError(f"The image cache {bytes_file} was changed while it was being read.")
    return cached


def _index_of(bytes_file: Path) -> Path:
    return bytes_file.with_suffix(".json")


def _map_cache(bytes_file: Path, names: tuple[str, ...]) -> ImageCache | None:
    """Map a cache file, or return None if it is not there or not whole."""
    try:
        # The index is written last, so it vouches for the bytes.
        index = json.loads(_index_of(bytes_file).read_text(encoding="utf-8"))
        sizes, sha256 = index["sizes"], index["sha256"]
        counts = [height * width * 3 for height, width in sizes]
        if bytes_file.stat().st_size != sum(counts) or len(names) != len(sizes):
            return None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    pixels = torch.from_file(str(bytes_file), shared=False, size=sum(counts), dtype=torch.uint8)
    heights, widths = torch.tensor(sizes, dtype=torch.int64).unbind(dim=1)
    offsets = torch.tensor([0, *counts[:-1]], dtype=torch.int64).cumsum(0)
    return ImageCache(pixels, heights, widths, offsets, names, sha256, bytes_file)


def _remove_old_parts(folder: Path) -> None:
    """Remove what processes killed while decoding have left: parts nobody wrote to for an hour."""
    for part in folder.glob(".*.part*"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > 3600:
                part.unlink()


def _decode_all(
    files: Sequence[Path], target: Path, progress: bool
) -> tuple[list[tuple[int, int]], str]:
    """Write all pixels to the target; return the images' sizes and the digest of the pixels."""
    sizes = []
    digest = hashlib.sha256()
    hidden = None if progress else True  # None: hidden where there is no terminal
    with atomic_write(target) as part, part.open("wb") as stream:
        for path in tqdm(files, desc="decoding images", unit="image", disable=hidden):
            try:
                pixels = as_rgb8(read_image(path).pixels)
            except (ImageFileError, ValueError, OSError) as error:
                raise DataError(f"{path} cannot be used for training: {error}") from error
            content = np.ascontiguousarray(pixels).tobytes()
            stream.write(content)
            digest.update(content)
            sizes.append((pixels.shape[0], pixels.shape[1]))
    return sizes, digest.hexdigest()


def as_rgb8(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Turn a grey, RGB or RGBA image into 8-bit RGB.

    Parameters
    ----------
    pixels : ndarray
        (H, W) or (H, W, 1..4); uint8, uint16, or floats in 0..1.

    Returns
    -------
    ndarray
        (H, W, 3) uint8, rounded.

    Raises
    ------
    ValueError
        Another dtype or shape, or floats outside 0..1.
    """
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4 or 0 in pixels.shape:
        raise ValueError(f"shape {pixels.shape} is not that of one grey or RGB image.")
    colour = pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels[:, :, :1]
    if colour.dtype == np.uint8:
        eight = colour.astype(np.uint8)
    elif colour.dtype == np.uint16:
        eight = ((colour.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif np.issubdtype(colour.dtype, np.floating):
        values = colour.astype(np.float64)
        if not (math.isfinite(values.sum()) and values.min() >= 0 and values.max() <= 1):
            raise ValueError("floating-point values must lie in 0..1.")
        eight = np.rint(values * 255).astype(np.uint8)
    else:
        raise ValueError(f"dtype {colour.dtype} is none of uint8, uint16 and float.")
    return np.broadcast_to(eight, (*eight.shape[:2], 3)) if eight.shape[2] == 1 else eight
