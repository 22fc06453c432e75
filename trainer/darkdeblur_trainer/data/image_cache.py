"""All training images in one file of pixels, decoded once.

The file is mapped, not read: several runs and loader workers share its pages, and on a GPU it
is copied to the device in one piece. Cache files are never removed; whoever needs the space can
delete them at any time when no training is running.

Pixels are kept as they are in the image files: 8-bit values in one byte, 16-bit values in two.
Which of them are black and white is decided for the whole set, see `common_value_ranges`; only
what is cut from the cache is scaled to 0..1.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from napari_darkdeblur.atomic import atomic_write
from napari_darkdeblur.datasets import DataError
from napari_darkdeblur.imagefiles import ImageFileError, read_image

_VERSION = 3
# Values of this share of the pixels, from below, are certainly in the value range. What is above
# may be hot pixels, which would spend the range on themselves.
_BRIGHT_SHARE = 0.9999
# A set whose brightest values are below this share of white is almost black.
_DARK = 0.05

ValueRange = tuple[float, float]
# By the bits per value of an image file; 32 are floats, whose range is stored as 0..65535.
_TYPE_RANGES: dict[int, ValueRange] = {8: (0.0, 255.0), 16: (0.0, 65535.0), 32: (0.0, 65535.0)}


@dataclass(frozen=True)
class ImageCache:
    """Decoded images, one after the other.

    Parameters
    ----------
    pixels : Tensor
        RGB values of all images in reading order, flat: uint8, or int16 that holds the bits of
        unsigned 16-bit values (which torch hardly computes with).
    heights, widths : Tensor
        Heights and widths of the images in pixels, (N,) int64.
    offsets : Tensor
        Places in ``pixels`` at which the images begin, (N,) int64.
    bits : Tensor
        Bits per value of the image files, (N,) int64: 8, 16, or 32 for floating-point values,
        whose 0..1 is stored as 0..65535.
    names : tuple of str
        Names of the image files.
    value_ranges : dict of int to tuple of float
        For each number of bits, the stored values of black and of white; see
        `common_value_ranges`.
    bright : dict of int to float
        For each number of bits, the value below which nearly all of the values are.
    left_out : dict of str
        Files that could not be used, by path, and why.
    sha256 : str
        SHA-256 of all pixels, in hexadecimal.
    file : pathlib.Path, optional
        File of which ``pixels`` is a mapping; another process is given its path, not the pixels.
    """

    pixels: Tensor
    heights: Tensor
    widths: Tensor
    offsets: Tensor
    bits: Tensor
    names: tuple[str, ...]
    value_ranges: dict[int, ValueRange] = field(default_factory=_TYPE_RANGES.copy)
    bright: dict[int, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    sha256: str = ""
    file: Path | None = None
    _places: tuple[int, ...] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        if self.file is None:
            raise TypeError("An image cache that is no file cannot be given to another process.")
        return _restored, (self.file, self._places, self.value_ranges)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def kinds(self) -> list[int]:
        """Different numbers of bits per value, see ``bits``, ascending."""
        return sorted(set(self.bits.tolist()))

    @property
    def byte_count(self) -> int:
        """Number of bytes of the pixels."""
        return self.pixels.numel() * self.pixels.element_size()

    @property
    def megapixels(self) -> float:
        """Millions of pixels of all images together."""
        return float((self.heights * self.widths).sum()) / 1e6

    def limits(self) -> tuple[Tensor, Tensor]:
        """Return the stored values of black and of white of every image, (N,) float32."""
        of_8, of_16, of_32 = (self.value_ranges[kind] for kind in (8, 16, 32))
        black, white = (
            torch.where(
                self.bits == 8, of_8[end], torch.where(self.bits == 16, of_16[end], of_32[end])
            )
            for end in (0, 1)
        )
        return black, white

    def image(self, index: int) -> Tensor:
        """Return one image, (3, H, W): uint8 where that is exact, else float32 in 0..1."""
        height, width = int(self.heights[index]), int(self.widths[index])
        start = int(self.offsets[index])
        stored = self.pixels[start : start + height * width * 3]
        stored = stored.view(height, width, 3).permute(2, 0, 1)
        if not self.needs_scaling:
            return stored
        black, white = (limit[index] for limit in self.limits())
        return scaled(stored, black, white)

    @property
    def needs_scaling(self) -> bool:
        """Whether the stored values are other than bytes of which 255 is white."""
        return self.pixels.dtype != torch.uint8 or self.value_ranges[8] != _TYPE_RANGES[8]

    def select(self, places: Sequence[int]) -> ImageCache:
        """Return a cache of the same pixels with some of the images, by their places."""
        index = torch.tensor(list(places), dtype=torch.int64)
        before = range(len(self)) if self._places is None else self._places
        return replace(
            self,
            heights=self.heights[index],
            widths=self.widths[index],
            offsets=self.offsets[index],
            bits=self.bits[index],
            names=tuple(self.names[place] for place in places),
            _places=tuple(before[place] for place in places),
        )

    def to(self, device: torch.device) -> ImageCache:
        """Return the cache with everything on a device."""
        moved = {
            name: getattr(self, name).to(device)
            for name in ("pixels", "heights", "widths", "offsets", "bits")
        }
        return replace(self, **moved, file=None)


def scaled(stored: Tensor, black: Tensor, white: Tensor) -> Tensor:
    """Return stored values as float32 in 0..1, black and white being given as stored values."""
    values = stored.float() if stored.dtype == torch.uint8 else (stored.int() & 0xFFFF).float()
    return ((values - black) / (white - black)).clamp(0, 1)


def as_unit_range(pixels: Tensor) -> Tensor:
    """Return pixels of an `ImageCache`, uint8 or float32 in 0..1, as float32 in 0..1."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def common_value_ranges(
    caches: Sequence[ImageCache], given: ValueRange | None = None
) -> dict[int, ValueRange]:
    """Return the values of black and of white for images that belong together.

    8-bit values are taken as they are. A camera of 10, 12 or 14 bits stores its values in 16: of
    65535 they would be almost black. So white is the smallest 2^n - 1 that nearly all values of
    all 16-bit images lie below, whatever a few hot pixels say, and black is 0.

    Parameters
    ----------
    caches : sequence of ImageCache
        Training images and all others that share their range, such as their blurred partners.
    given : tuple of float, optional
        Values of black and white that the user gives.

    Returns
    -------
    dict of int to tuple of float
        For each number of bits, the stored values of black and of white.

    Raises
    ------
    DataError
        The images are almost black in this range; or a range is given for images of several
        types together.
    """
    kinds = sorted({kind for cache in caches for kind in cache.kinds})
    ranges = dict(_TYPE_RANGES)
    bright = {kind: max(cache.bright.get(kind, 0.0) for cache in caches) for kind in kinds}
    if given is not None:
        if len(kinds) > 1:
            names = " and ".join("float" if kind == 32 else f"{kind}-bit" for kind in kinds)
            raise DataError(
                f"data.value_range {list(given)} cannot be right for {names} images together; "
                "use images of one type, or leave it out."
            )
        # Floats were put into the range when they were stored.
        ranges |= {kind: given for kind in kinds if kind != 32}
    elif 16 in kinds:
        ranges[16] = (0.0, float(2 ** max(1, math.ceil(math.log2(bright[16] + 1))) - 1))
    shares = {
        kind: (bright[kind] - ranges[kind][0]) / (ranges[kind][1] - ranges[kind][0])
        for kind in kinds
    }
    if max(shares.values()) < _DARK:
        kind = max(shares, key=shares.__getitem__)
        unit = 65535 if kind == 32 else 1
        raise DataError(
            f"The images are almost black: {100 * _BRIGHT_SHARE:g} % of their values are at most "
            f"{bright[kind] / unit:.3g}, where white is {ranges[kind][1] / unit:g}. If they use a "
            "small part of their type's range only, give data.value_range=[LOW,HIGH], the values "
            "of black and white."
        )
    return ranges


def default_cache_folder() -> Path:
    """Return where caches lie unless told otherwise: the user's cache folder."""
    return Path(platformdirs.user_cache_dir("darkdeblur", appauthor=False)) / "images"


def cache_images(
    files: Sequence[Path],
    folder: Path,
    progress: bool = False,
    value_range: ValueRange | None = None,
) -> ImageCache:
    """Decode images into a cache file, or map the one that an earlier call made.

    The file's name is a digest of the images' paths, sizes and times, so a changed image makes
    a new cache. Images that cannot be used are left out; the cache names them.

    Parameters
    ----------
    files : sequence of pathlib.Path
        Image files; grey or RGB, integers of 8 or 16 bits, or floats. Alpha is dropped,
        grey becomes RGB.
    folder : pathlib.Path
        Folder for cache files, which is made if need be.
    progress : bool
        Whether to show a progress bar.
    value_range : tuple of float, optional
        Values of black and of white of floating-point images; 0 and 1 by default.

    Returns
    -------
    ImageCache
        Images of the files that can be used, mapped into memory, in the files' order.

    Raises
    ------
    DataError
        No image can be used, or the folder cannot be written.
    """
    digest = hashlib.sha256(f"version {_VERSION} {value_range}".encode())
    for path in files:
        try:
            state = path.stat()
        except OSError:  # left out when it is decoded
            continue
        digest.update(f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}\n".encode())
    pixels_file = folder / f"{digest.hexdigest()[:20]}.pixels"
    try:
        cached = _map_cache(pixels_file)
        if cached is None:
            folder.mkdir(parents=True, exist_ok=True)
            _remove_old_parts(folder)
            index = _decode_all(files, pixels_file, value_range or (0.0, 1.0), progress)
            with atomic_write(_index_of(pixels_file)) as part:
                part.write_text(json.dumps(index), encoding="utf-8")
            cached = _map_cache(pixels_file)
    except OSError as error:
        raise DataError(f"The image cache in {folder} failed: {error}.") from error
    if cached is None:
        raise DataError(f"The image cache {pixels_file} was changed while it was being read.")
    cache, left_out = cached
    return replace(cache, left_out={str(files[place]): why for place, why in left_out})


def _index_of(pixels_file: Path) -> Path:
    return pixels_file.with_suffix(".json")


def _restored(
    file: Path, places: tuple[int, ...] | None, value_ranges: dict[int, ValueRange]
) -> ImageCache:
    """Map a cache file in another process."""
    cached = _map_cache(file)
    if cached is None:
        raise DataError(f"The image cache {file} was removed or changed.")
    cache, _ = cached
    chosen = cache if places is None else cache.select(places)
    return replace(chosen, value_ranges=value_ranges)


def _map_cache(pixels_file: Path) -> tuple[ImageCache, list[tuple[int, str]]] | None:
    """Map a cache file, or return None if it is not there or not whole.

    Beside the cache come the places of the files that are left out, and why.
    """
    try:
        # The index is written last, so it vouches for the pixels.
        index = json.loads(_index_of(pixels_file).read_text(encoding="utf-8"))
        counts = [height * width * 3 for height, width in index["sizes"]]
        width = index["bytes"]
        bits = torch.tensor(index["bits"], dtype=torch.int64)
        names, sha256 = tuple(index["names"]), index["sha256"]
        left_out = [(int(place), str(why)) for place, why in index["left_out"]]
        bright = {int(kind): float(value) for kind, value in index["bright"].items()}
        if pixels_file.stat().st_size != sum(counts) * width or len(names) != len(counts):
            return None
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    dtype = torch.uint8 if width == 1 else torch.int16
    pixels = torch.from_file(str(pixels_file), shared=False, size=sum(counts), dtype=dtype)
    heights, widths = torch.tensor(index["sizes"], dtype=torch.int64).unbind(dim=1)
    offsets = torch.tensor([0, *counts[:-1]], dtype=torch.int64).cumsum(0)
    cache = ImageCache(
        pixels, heights, widths, offsets, bits, names, bright=bright, sha256=sha256,
        file=pixels_file,
    )  # fmt: skip
    return cache, left_out


def _remove_old_parts(folder: Path) -> None:
    """Remove what processes killed while decoding have left: parts nobody wrote to for an hour."""
    for part in folder.glob(".*.part*"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > 3600:
                part.unlink()


def _decode_all(
    files: Sequence[Path], target: Path, value_range: ValueRange, progress: bool
) -> dict[str, Any]:
    """Write all pixels to the target; return the index of the cache."""
    index: dict[str, Any] = {"names": [], "sizes": [], "bits": [], "left_out": []}
    counts: dict[int, NDArray[np.int64]] = {}
    hidden = None if progress else True  # None: hidden where there is no terminal
    width, written = 1, 0
    with atomic_write(target) as part:
        with part.open("wb") as stream:
            bar = tqdm(files, desc="decoding images", unit="image", disable=hidden)
            for place, path in enumerate(bar):
                try:
                    pixels, bits = as_stored(read_image(path).pixels, value_range)
                except (ImageFileError, ValueError, OSError) as error:
                    index["left_out"].append((place, " ".join(str(error).split())))
                    continue
                if pixels.itemsize > width:
                    stream.flush()
                    _widen(part, written)
                    stream.seek(0, 2)
                    width = 2
                stored = np.ascontiguousarray(pixels, dtype=np.uint8 if width == 1 else "<u2")
                stream.write(stored.tobytes())
                written += stored.size
                # A part of the pixels tells the brightness of a set as well.
                some = pixels.ravel()[:: 1 + pixels.size // 300_000]
                counted = np.bincount(some, minlength=256 if bits == 8 else 65536)
                counts[bits] = counts.get(bits, 0) + counted
                index["names"].append(path.name)
                index["sizes"].append((pixels.shape[0], pixels.shape[1]))
                index["bits"].append(bits)
        if not index["names"]:
            listed = "".join(f"\n  {files[place]}: {why}" for place, why in index["left_out"])
            raise DataError(f"None of the images can be used for training:{listed}")
        with part.open("rb") as stream:
            index["sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
    index["bytes"] = width
    index["bright"] = {
        bits: int(np.searchsorted(counted.cumsum(), _BRIGHT_SHARE * counted.sum()))
        for bits, counted in counts.items()
    }
    return index


def _widen(part: Path, count: int) -> None:
    """Turn a file of so many bytes into one of 16-bit values, in place."""
    block = 1 << 24
    with part.open("r+b") as stream:
        stream.truncate(2 * count)
        # From the end, so that nothing is overwritten before it is read.
        for start in reversed(range(0, count, block)):
            stream.seek(start)
            content = np.frombuffer(stream.read(min(block, count - start)), np.uint8)
            stream.seek(2 * start)
            stream.write(content.astype("<u2").tobytes())


def as_stored(
    pixels: NDArray[np.generic], value_range: ValueRange = (0.0, 1.0)
) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], int]:
    """Turn a grey, RGB or RGBA image into RGB values of 8 or 16 bits.

    Parameters
    ----------
    pixels : ndarray
        Image (H, W) or (H, W, 1..4); uint8, uint16, or floats.
    value_range : tuple of float
        Values of black and white of floating-point images.

    Returns
    -------
    stored : ndarray
        Image (H, W, 3), uint8 or uint16; integers are unchanged, floats are rounded to 16 bits.
    bits : int
        Bits per value of the image: 8, 16, or 32 for floats.

    Raises
    ------
    ValueError
        Another dtype or shape, or floats beyond the value range.
    """
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4 or 0 in pixels.shape:
        raise ValueError(f"shape {pixels.shape} is not that of one grey or RGB image.")
    colour = pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels[:, :, :1]
    stored: NDArray[Any]
    if colour.dtype in (np.uint8, np.uint16):
        stored, bits = np.asarray(colour), 8 * colour.dtype.itemsize
    elif np.issubdtype(colour.dtype, np.floating):
        values = colour.astype(np.float64)
        low, high = value_range
        if not math.isfinite(values.sum()):
            raise ValueError("some of its values are not finite.")
        if value_range == (0.0, 1.0) and (values.min() < 0 or values.max() > 1):
            raise ValueError(
                f"its floating-point values go from {values.min():g} to {values.max():g}, beyond "
                "0..1; give data.value_range=[LOW,HIGH], the values of black and white."
            )
        unit = np.clip((values - low) / (high - low), 0, 1)
        stored, bits = np.rint(unit * 65535).astype(np.uint16), 32
    else:
        raise ValueError(f"dtype {colour.dtype} is none of uint8, uint16 and float.")
    shape = (*stored.shape[:2], 3)
    return (np.broadcast_to(stored, shape) if stored.shape[2] == 1 else stored), bits
