"""Odd files, some 300 of them: what people's cameras, microscopes, programs and disks leave."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import tifffile
import zarr

RNG = np.random.default_rng(7)
SIZES = [(1, 1), (1, 40), (40, 1), (17, 23), (64, 5)]
DTYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]

Writer = Callable[[Path], Any]


def noise(shape: tuple[int, ...], dtype: str = "u1") -> np.ndarray:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (RNG.random(shape) * 3 - 1).astype(kind)
    if kind.kind == "b":
        return RNG.random(shape) > 0.5
    if kind.kind == "c":
        return RNG.random(shape).astype(kind)
    limits = np.iinfo(kind)
    return RNG.integers(limits.min, limits.max, shape, kind, endpoint=True)


def zoo() -> Iterator[tuple[str, Writer]]:
    """Yield the name of each file and what writes it, always the same ones."""
    for kind in (_plain_tiffs, _tiff_bits, _tiff_layouts, _tiff_kinds, _stills, _zarrs):
        yield from kind()
    whole = [*_sources_of_damage()]
    for (name, write), share in itertools.product(whole, (0.0, 0.02, 0.1, 0.3, 0.6, 0.95)):
        stem, suffix = name.rsplit(".", 1)
        yield f"cut{int(share * 100):02}-{stem}.{suffix}", _cut(write, share)
    for name, write in whole:
        stem, suffix = name.rsplit(".", 1)
        yield f"scratched-{stem}.{suffix}", _scratched(write)
    for suffix in ("png", "jpg", "tif", "webp", "bmp", "gif", "avif", "heic", "nef", "mp4"):
        yield f"text.{suffix}", lambda path: path.write_text("no image")
        yield f"noise.{suffix}", lambda path: path.write_bytes(noise((500,)).tobytes())


def _tiff(values: np.ndarray, **options: Any) -> Writer:
    return lambda path: tifffile.imwrite(path, values, **options)


def _plain_tiffs() -> Iterator[tuple[str, Writer]]:
    for dtype, size in itertools.product(DTYPES, SIZES):
        yield (
            f"{dtype}-{size[0]}x{size[1]}.tif",
            _tiff(noise(size, dtype), photometric="minisblack", metadata=None),
        )
    for dtype in ("?", "c8"):
        yield f"refused-{dtype.strip('?') or 'bool'}.tif", _tiff(noise((9, 8), dtype))
    for dtype, value in itertools.product(("u1", "u2", "f4"), (0, 1, "max")):
        top = np.finfo("f4").max if dtype == "f4" else np.iinfo(dtype).max
        values = np.full((9, 8), top if value == "max" else value, dtype)
        yield f"flat-{dtype}-{value}.tif", _tiff(values)
    for value in (np.nan, np.inf, -np.inf):
        values = noise((9, 8), "f4")
        values[2:4, 3] = value
        yield f"{value}.tif", _tiff(values)
        yield f"all-{value}.tif", _tiff(np.full((9, 8), value, "f4"))


def _tiff_bits() -> Iterator[tuple[str, Writer]]:
    for bits, photometric in itertools.product(range(2, 15), ("minisblack", "miniswhite", "rgb")):
        if bits == 8:
            continue
        shape = (13, 21, 3) if photometric == "rgb" else (13, 21)
        values = noise(shape, "u1" if bits < 8 else "u2") & (2**bits - 1)
        yield (
            f"bits{bits}-{photometric}.tif",
            _tiff(values, bitspersample=bits, photometric=photometric, metadata=None),
        )


def _tiff_layouts() -> Iterator[tuple[str, Writer]]:
    for samples, planar, compression in itertools.product(
        (2, 3, 4, 5), ("contig", "separate"), (None, "zlib", "lzw")
    ):
        values = noise((18, 33, samples) if planar == "contig" else (samples, 18, 33), "u2")
        photometric = "rgb" if samples in (3, 4) else "minisblack"
        yield (
            f"samples{samples}-{planar}-{compression}.tif",
            _tiff(
                values, photometric=photometric, planarconfig=planar, compression=compression,
                metadata=None,
            ),
        )  # fmt: skip
    for tile, byteorder, predictor in itertools.product((None, (16, 32)), "<>", (False, True)):
        yield (
            f"tile{bool(tile)}-{'le' if byteorder == '<' else 'be'}-{predictor}.tif",
            _tiff(
                noise((3, 40, 50), "u2"), tile=tile, byteorder=byteorder, photometric="minisblack",
                compression="zlib", predictor=predictor,
            ),
        )  # fmt: skip
    for orientation in range(10):
        yield (
            f"orientation{orientation}.tif",
            _tiff(noise((9, 20, 3)), extratags=[(274, "H", 1, orientation, True)]),
        )
    for axes, shape in (
        ("ZYX", (4, 9, 8)),
        ("TZCYX", (2, 3, 2, 9, 8)),
        ("CYX", (2, 9, 8)),
        ("TYXS", (2, 9, 8, 3)),
    ):
        yield f"imagej-{axes}.tif", _tiff(noise(shape), imagej=True, metadata={"axes": axes})
        ome = axes.replace("TZCYX", "TCZYX")
        shape = (2, 2, 3, 9, 8) if axes == "TZCYX" else shape
        yield (
            f"{axes}.ome.tif",
            _tiff(
                noise(shape), ome=True, metadata={"axes": ome},
                photometric="rgb" if "S" in axes else "minisblack",
            ),
        )  # fmt: skip


def _tiff_kinds() -> Iterator[tuple[str, Writer]]:
    table = RNG.integers(0, 65536, (3, 256), np.uint16)
    yield "palette.tif", _tiff(noise((9, 8)), colormap=table)
    yield "palettes.tif", _tiff(noise((3, 9, 8)), colormap=table)
    yield "big.tif", _tiff(noise((9, 8)), bigtiff=True)
    yield "darker.tif", _tiff(noise((3, 9, 8), "u2"), photometric="miniswhite")
    yield "darker-float.tif", _tiff(noise((9, 8), "f4"), photometric="miniswhite")
    for value in (0, 1, 100, 4095, 65535):
        yield (
            f"max{value}.tif",
            _tiff(noise((9, 8), "u2"), extratags=[(281, "H", 1, value, True)]),
        )

    def several(path: Path) -> None:
        with tifffile.TiffWriter(path) as writer:
            for size in (5, 12, 8):
                writer.write(noise((size, 9)), photometric="minisblack", metadata=None)

    yield "several.tif", several
    for mode in ("CMYK", "YCbCr", "LAB"):
        yield f"{mode}.tif", lambda path, mode=mode: _rgb().convert(mode).save(path)
    yield "1.tif", lambda path: _rgb().convert("1").save(path)
    yield "no-pages.tif", lambda path: path.write_bytes(b"II*\0\0\0\0\0")
    yield "circle.tif", lambda path: path.write_bytes(b"II*\0\x08\0\0\0\0\0\x08\0\0\0")
    huge = struct.pack("<HHII", 256, 4, 1, 2**31) + struct.pack("<HHII", 257, 4, 1, 2**31)
    yield "huge.tif", lambda path: path.write_bytes(b"II*\0\x08\0\0\0\x02\0" + huge + b"\0" * 4)


def _rgb(size: tuple[int, int] = (30, 20)) -> PIL.Image.Image:
    return PIL.Image.fromarray(noise((*size[::-1], 3)))


def _stills() -> Iterator[tuple[str, Writer]]:
    for suffix, mode in itertools.product(
        ("png", "jpg", "webp", "bmp", "gif"), ("L", "RGB", "RGBA", "P", "LA", "1", "CMYK", "I;16")
    ):
        name = mode.replace(";", "")

        def write(path: Path, mode: str = mode, suffix: str = suffix) -> None:
            image = _rgb()
            if mode == "I;16":
                image = PIL.Image.fromarray(noise((20, 30), "u2"))
            elif mode != "RGB":
                image = image.convert("L" if mode == "LA" else mode).convert(mode)
            try:
                image.save(path)
            except (OSError, KeyError, ValueError):  # no such kind of this format
                _rgb().save(path)

        yield f"{name}.{suffix}", write
    for size in SIZES:
        yield f"{size[0]}x{size[1]}.jpg", lambda path, size=size: _rgb(size).save(path)
        yield f"{size[0]}x{size[1]}.png", lambda path, size=size: _rgb(size).save(path)
    for suffix in ("png", "gif", "webp"):
        yield (
            f"moving.{suffix}",
            lambda path: _rgb().save(path, save_all=True, append_images=[_rgb(), _rgb()]),
        )
    for orientation in (0, 1, 3, 6, 8, 9):
        exif = PIL.Image.Exif()
        exif[274] = orientation
        for suffix in ("jpg", "png", "webp"):
            yield (
                f"turned{orientation}.{suffix}",
                lambda path, exif=exif: _rgb().save(path, exif=exif),
            )
    yield "exif.jpg", lambda path: _rgb().save(path, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    yield "profile.png", lambda path: _rgb().save(path, icc_profile=b"no profile")


def _zarrs() -> Iterator[tuple[str, Writer]]:
    for version, dtype, shape in itertools.product(
        (2, 3), ("u1", "u2", "f4"), ((9, 8), (3, 9, 8), (2, 2, 3, 9, 8))
    ):

        def write(
            path: Path, version: int = version, dtype: str = dtype, shape: Any = shape
        ) -> None:
            array = zarr.create_array(str(path), shape=shape, dtype=dtype, zarr_format=version)
            array[...] = noise(shape, dtype)

        yield f"v{version}-{dtype}-{len(shape)}.zarr", write
    yield "empty.zarr", lambda path: zarr.open_group(str(path), mode="w")


def _sources_of_damage() -> Iterator[tuple[str, Writer]]:
    yield "plain.tif", _tiff(noise((30, 40), "u2"))
    yield "zlib.tif", _tiff(noise((3, 30, 40), "u2"), compression="zlib")
    yield "tiled.tif", _tiff(noise((64, 64)), tile=(16, 16), compression="lzw")
    yield "bits.tif", _tiff(noise((30, 40)) & 15, bitspersample=4)
    for suffix in ("png", "jpg", "webp", "bmp", "gif"):
        yield f"photograph.{suffix}", lambda path: _rgb().save(path)
    yield "deep.png", lambda path: PIL.Image.fromarray(noise((20, 30), "u2")).save(path)


def _cut(write: Writer, share: float) -> Writer:
    def cut(path: Path) -> None:
        write(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return cut


def _scratched(write: Writer) -> Writer:
    def scratched(path: Path) -> None:
        write(path)
        data = bytearray(path.read_bytes())
        for place in range(20, len(data), 37):
            data[place] ^= 0x5A
        path.write_bytes(data)

    return scratched
