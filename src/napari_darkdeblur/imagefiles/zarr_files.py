"""Zarr folders: OME-Zarr 0.4 and 0.5, and plain arrays, read and written chunk by chunk."""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metadata import ImageFile, ImageMetadata, ZarrHeader, distinct, listed
from .problems import ImageFileError, one_line

_CHUNK = 512  # pixels along Y and X, in images that are new
_TYPES = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
_OME_SIZE = re.compile(r'\bPhysicalSize([XYZ])(Unit)?\s*=\s*"([^"]*)"')
_MICROMETRES = ("µm", "\N{GREEK SMALL LETTER MU}m", "um", "micron", "microns", "\\u00b5m")


def is_zarr(path: Path) -> bool:
    """Return whether a path is a Zarr folder."""
    return path.is_dir() and any(
        (path / name).is_file() for name in ("zarr.json", ".zarray", ".zgroup")
    )


def open_zarr(path: Path, series: int | None = None) -> ImageFile:
    """Open an image in a Zarr folder; chunks are read when they are asked for.

    Parameters
    ----------
    path : pathlib.Path
        The folder: an OME-Zarr image, a collection of images as bioformats2raw writes it, an
        array, or a group of arrays.
    series : int, optional
        Which image of several to read, from 0. The default is the first of OME-Zarr images,
        the largest of other arrays.

    Returns
    -------
    ImageFile
        The image at full resolution.

    Raises
    ------
    ImageFileError
        There is no image in the folder, or no such one.
    """
    import zarr

    node = zarr.open(store=str(path), mode="r")
    if isinstance(node, zarr.Array):
        _check_number(path, series, 1)
        return _image(path, node, ZarrHeader(node.metadata.zarr_format), _dimensions(node))
    images = _images(path, node)
    _check_number(path, series, len(images))
    number = series or 0
    if series is None and not images[0][2]:
        number = max(range(len(images)), key=lambda i: (images[i][0].size, -i))
    array, group, multiscale = images[number]
    notes: tuple[str, ...] = ()
    if series is None and len(images) > 1:
        held = listed([each for each, _, _ in images])
        notes = (
            f"The folder holds {len(images)} images: {held}; image {number} was taken, "
            "--series chooses another.",
        )
    if not multiscale:
        return _image(
            path, array, ZarrHeader(array.metadata.zarr_format), _dimensions(array), notes
        )
    attributes = dict(group.attrs)
    levels = tuple(
        (data["path"], tuple(group[data["path"]].shape)) for data in multiscale["datasets"]
    )
    header = ZarrHeader(
        array.metadata.zarr_format, attributes, multiscale, levels, tuple(array.chunks)
    )
    axes = [axis if isinstance(axis, str) else axis["name"] for axis in multiscale.get("axes", "")]
    return _image(path, array, header, _letters(axes or "tczyx"), notes)


def _check_number(path: Path, number: int | None, count: int) -> None:
    if number is not None and not 0 <= number < count:
        raise ImageFileError(f"{path} has no image {number}; it holds {count}, from 0.")


def _images(path: Path, group: Any) -> list[tuple[Any, Any, dict[str, Any]]]:
    """Return the images in a group, each with the group it lies in and what OME-Zarr says."""
    import zarr

    ome = group.attrs.get("ome", group.attrs)
    if "plate" in ome or "well" in ome:
        raise ImageFileError(
            f"{path} is a plate or a well of many images; name one of them, such as "
            f"{path / 'A' / '1' / '0'}."
        )
    found = [
        (group[each["datasets"][0]["path"]], group, dict(each))
        for each in ome.get("multiscales", [])
    ]
    if found:
        return found
    # Collections have an image in each of the groups 0, 1, 2 ...
    for number in itertools.count():
        if str(number) not in group or isinstance(group[str(number)], zarr.Array):
            break
        inner = group[str(number)]
        scales = inner.attrs.get("ome", inner.attrs).get("multiscales", [])
        found += [(inner[each["datasets"][0]["path"]], inner, dict(each)) for each in scales]
    if not found:
        arrays = [array for _, array in sorted(group.arrays())]
        found = [(array, group, {}) for array in arrays if len(array.shape) >= 2]
    if not found:
        raise ImageFileError(f"{path} is a Zarr folder without an image.")
    return found


def _dimensions(array: Any) -> str | None:
    """Return the axes that an array itself names (Zarr 3), if it does."""
    names = getattr(array.metadata, "dimension_names", None)
    return _letters(names) if names else None


def _letters(names: Any) -> str | None:
    letters = "".join(str(name or "Q")[0].upper() for name in names)
    known = letters.isascii() and letters.isalpha()
    return distinct(letters) if known and letters.count("Y") == letters.count("X") == 1 else None


def _image(
    path: Path,
    array: Any,
    header: ZarrHeader,
    axes: str | None,
    notes: tuple[str, ...] = (),
) -> ImageFile:
    if array.dtype.kind not in "uif":
        raise ImageFileError(
            f"{path} holds {array.dtype} values; convert them to integers or to float32 first."
        )
    if axes is not None and len(axes) != len(array.shape):
        axes = None
    return ImageFile(path, array, ImageMetadata(zarr=header), axes, notes)


@contextmanager
def create_zarr(
    part: Path, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], axes: str, like: Any
) -> Iterator[Any]:
    """Create a Zarr folder, whose chunks go to the disk as they are assigned.

    A copy of an OME-Zarr image has its version, attributes and chunks, and as many levels of
    resolution, made by averaging. Other images become OME-Zarr 0.5 with one level if their axes
    are among TCZYX in this order, else a plain array with named dimensions.

    Parameters
    ----------
    part : pathlib.Path
        Temporary path to write to.
    path : pathlib.Path
        What to call the folder in errors.
    shape, dtype, axes
        Those of the pixels; a letter for each axis.
    like : ImageFile or None
        Where the metadata come from.

    Yields
    ------
    zarr.Array
        To be assigned to; zeros at first.
    """
    import zarr

    same = like is not None and tuple(like.pixels.shape) == shape
    header: ZarrHeader | None = like.metadata.zarr if same else None
    names = tuple(letter.lower() for letter in axes)
    try:
        if header is not None and header.multiscale is not None:
            group = zarr.open_group(str(part), mode="w", zarr_format=header.zarr_format)
            options = {"dimension_names": names} if header.zarr_format == 3 else {}
            array = group.create_array(
                header.levels[0][0], shape=shape, dtype=dtype, chunks=header.chunks, **options
            )
            yield array
            for (_, _), (name, level_shape) in itertools.pairwise(header.levels):
                chunks = tuple(map(min, header.chunks, level_shape))
                level = group.create_array(
                    name, shape=level_shape, dtype=dtype, chunks=chunks, **options
                )
                _average_into(level, array)
                array = level
            group.attrs.update(_attributes_of_one(header))
            return
        chunks = tuple(
            min(size, _CHUNK) if letter in "YX" else size if letter == "S" else 1
            for letter, size in zip(axes, shape, strict=True)
        )
        ordered = "".join(letter for letter in "TCZYX" if letter in axes) == axes
        if not ordered or header is not None:
            version = header.zarr_format if header is not None else 3
            options = {"dimension_names": names} if version == 3 else {}
            yield zarr.create_array(
                str(part), shape=shape, dtype=dtype, chunks=chunks, zarr_format=version, **options
            )
            return
        group = zarr.open_group(str(part), mode="w", zarr_format=3)
        yield group.create_array(
            "0", shape=shape, dtype=dtype, chunks=chunks, dimension_names=names
        )
        metadata = like.metadata if like is not None else ImageMetadata()
        group.attrs["ome"] = {
            "version": "0.5", "multiscales": [_new_multiscale(path.stem, axes, metadata)]
        }  # fmt: skip
    except ValueError as error:
        raise ImageFileError(f"{path} cannot be written: {one_line(error)}.") from error


def _attributes_of_one(header: ZarrHeader) -> dict[str, Any]:
    """Return a group's attributes with the image that is written, and no other."""
    attributes = copy.deepcopy(dict(header.attributes or {}))
    attributes.get("ome", attributes)["multiscales"] = [header.multiscale]
    return attributes


def _new_multiscale(name: str, axes: str, metadata: ImageMetadata) -> dict[str, Any]:
    sizes = pixel_sizes(metadata)
    described = []
    for letter in axes:
        axis = {"name": letter.lower(), "type": _TYPES[letter]}
        if letter in sizes:
            axis["unit"] = "micrometer"
        described.append(axis)
    scale = [sizes.get(letter, 1.0) for letter in axes]
    return {
        "name": name,
        "axes": described,
        "datasets": [
            {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        ],
    }


def pixel_sizes(metadata: ImageMetadata) -> dict[str, float]:
    """Return sizes of a pixel in micrometres by axis, as far as ImageJ's or OME's TIFF say."""
    header = metadata.tiff
    text = (header.description or b"").decode("utf-8", "replace") if header is not None else ""
    sizes = {}
    if header is not None and header.kind == "ome":
        found = {(axis, bool(unit)): value for axis, unit, value in _OME_SIZE.findall(text)}
        for (axis, is_unit), value in found.items():
            if not is_unit and found.get((axis, True), "µm") in _MICROMETRES:
                sizes[axis] = float(value)
    elif header is not None and header.kind == "imagej":
        items = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        if items.get("unit", "").strip().lower() in _MICROMETRES:
            if metadata.resolution is not None:
                sizes = {"X": 1 / metadata.resolution[0], "Y": 1 / metadata.resolution[1]}
            if "spacing" in items:
                sizes["Z"] = float(items["spacing"])
    return {axis: size for axis, size in sizes.items() if math.isfinite(size) and size > 0}


def _average_into(level: Any, finer: Any) -> None:
    """Fill a level of resolution with the averages of the next finer one, chunk by chunk."""
    factors = [max(1, round(a / b)) for a, b in zip(finer.shape, level.shape, strict=True)]
    starts = [range(0, n, c) for n, c in zip(level.shape, level.chunks, strict=True)]
    for place in itertools.product(*starts):
        stops = [min(s + c, n) for s, c, n in zip(place, level.chunks, level.shape, strict=True)]
        fine = tuple(
            slice(min(a * f, n - 1), min(b * f, n))
            for a, b, f, n in zip(place, stops, factors, finer.shape, strict=True)
        )
        size = tuple(b - a for a, b in zip(place, stops, strict=True))
        region = tuple(slice(a, b) for a, b in zip(place, stops, strict=True))
        level[region] = _averaged(finer[fine], factors, size)


def _averaged(block: NDArray[Any], factors: list[int], shape: tuple[int, ...]) -> NDArray[Any]:
    wanted = [n * f for n, f in zip(shape, factors, strict=True)]
    block = block[tuple(slice(n) for n in wanted)]
    # Past the edge the last values stand for those that are missing.
    missing = [(0, n - have) for n, have in zip(wanted, block.shape, strict=True)]
    block = np.pad(block, missing, mode="edge")
    split = [part for n, f in zip(shape, factors, strict=True) for part in (n, f)]
    mean = block.reshape(split).mean(axis=tuple(range(1, 2 * len(shape), 2)), dtype=np.float64)
    averaged: NDArray[Any] = np.rint(mean) if block.dtype.kind in "ui" else mean
    return averaged.astype(block.dtype)
