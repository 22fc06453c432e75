"""Images to try the plugin on: made here, offline, and the same on every machine.

The scenes are photographs inside scikit-image's own package. Motion, darkness and noise are
simulated, so that what the image should be is known, and comes with it.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..demo import EXPOSURE, convolve_valid, make_demo_pair, path_kernel, shake_kernel
from ..srgb import linear_to_srgb, srgb_to_linear
from .provenance import Provenance
from .result_layers import REFERENCE_SUFFIX

if TYPE_CHECKING:
    import dask.array

LayerData = tuple[Any, dict[str, Any], str]

SEED = 7

# The night street: so much of the daylight, in the colour of street lamps, and so many photons in
# white. The lamps (row, column, brightness in units of white, before the blur) are small: some
# are too bright for the camera even when they are blurred, others draw the shake.
STREET_EXPOSURE = 0.25
STREET_TINT = (1.0, 0.9, 0.72)
STREET_PHOTONS = 2500
STREET_LAMP_COLOUR = (1.0, 0.88, 0.65)
STREET_LAMPS = (
    (28, 245, 9.0),
    (30, 430, 40.0),
    (66, 318, 6.0),
    (320, 60, 5.0),
    (452, 610, 4.0),
    (140, 575, 60.0),
)

# The movie: a 12-bit camera that sees a quarter of its range, and about so many photons in white.
STACK_FRAMES, STACK_SIDE = 12, 256
STACK_WHITE = 1023
STACK_PHOTONS = 400
SECONDS_PER_FRAME = 0.5

# The microscope's stage moves by so many pixels during an exposure.
STAGE_PIXELS = 9
TISSUE_PHOTONS = 600

# The mosaic: so many pictures along each side, at full resolution and at halves of it.
MOSAIC_PICTURES, MOSAIC_LEVELS, PICTURE_SIDE = 16, 5, 512


def night_photograph() -> list[LayerData]:
    """Return a dark, shaken photograph and its reference.

    Returns
    -------
    list of LayerData
        The reference, which is not shown at first, and above it the photograph; (H, W, 3) uint8.
    """
    pair = make_demo_pair()
    note = (
        "Eileen Collins, photographed by NASA (public domain), from scikit-image; darkness, shake "
        "and noise are simulated."
    )
    return _pair("night photograph", pair.blurred, pair.reference, "YXS", (0, 255), note)


def night_street() -> list[LayerData]:
    """Return a photograph of a night scene with lamps, shaken once and for long, and its reference.

    The shake is one kernel for the whole picture, of 4 pixels RMS: more than a network can guess
    by itself, and what "Find it" in the Deblur dock is for.

    Returns
    -------
    list of LayerData
        The reference, which is not shown at first, and above it the photograph; (H, W, 3) uint8.
    """
    from skimage.data import stereo_motorcycle

    day = srgb_to_linear(np.asarray(stereo_motorcycle()[0]) / 255)
    light = np.clip(STREET_EXPOSURE * day * STREET_TINT, 0, None)
    for row, column, brightness in STREET_LAMPS:
        light[row : row + 2, column : column + 2] = brightness * np.asarray(STREET_LAMP_COLOUR)
    kernel = street_kernel()
    margin = kernel.shape[0] // 2
    blurred = _photographed(_moved(light, kernel), STREET_PHOTONS, np.random.default_rng(SEED))
    sharp = light[margin:-margin, margin:-margin]
    note = (
        "A motorcycle, photographed for the Middlebury stereo data set of 2014, from "
        "scikit-image; night, lamps, shake and noise are simulated."
    )
    picture, reference = (_quantised(linear_to_srgb(values), 255) for values in (blurred, sharp))
    return _pair("night street", picture, reference, "YXS", (0, 255), note)


def street_kernel() -> NDArray[np.float64]:
    """Return the blur kernel of the night street's shake.

    Returns
    -------
    ndarray
        (K, K), K odd, not negative, of sum 1, its centroid in the middle.
    """
    # A hand drifts and trembles: a slow arc, and on it faster swings.
    time = (np.arange(4000) + 0.5) / 4000
    drift = 15 * time**1.3 - 7 * time**3
    x = drift + 1.5 * np.sin(2 * np.pi * 1.1 * time + 0.4)
    y = -9.5 * time**1.1 + 2.6 * np.sin(2 * np.pi * 1.6 * time)
    return path_kernel(np.stack([x, y], axis=1))


def night_stack() -> list[LayerData]:
    """Return a movie whose camera pans while it shakes, and its reference.

    Returns
    -------
    list of LayerData
        The reference, which is not shown at first, and above it the movie; (T, Y, X) uint16 of
        a 12-bit camera.
    """
    from skimage.data import camera

    scene = np.asarray(camera()) / 255
    rng = np.random.default_rng(SEED)
    blurred, sharp = [], []
    for frame in range(STACK_FRAMES):
        # Shaken the same way every time, but in another direction.
        kernel = np.rot90(shake_kernel(), frame)
        margin = kernel.shape[0] // 2
        rows, columns = (
            slice(start - margin, start + STACK_SIDE + margin)
            for start in (60 + 2 * frame, 40 + 12 * frame)
        )
        view = scene[rows, columns]
        blurred.append(_photographed(_moved(view, kernel), STACK_PHOTONS, rng))
        sharp.append(view[margin:-margin, margin:-margin])
    note = (
        "A cameraman, photographed by Lav Varshney (CC0), from scikit-image; panning, shake, "
        "darkness and noise are simulated."
    )
    placed = {
        "axis_labels": ("t", "y", "x"),
        "scale": (SECONDS_PER_FRAME, 1, 1),
        "units": ("second", "pixel", "pixel"),
        "contrast_limits": (0, STACK_WHITE),
        "colormap": "gray",
    }
    movie, reference = (_quantised(frames, STACK_WHITE, 4095) for frames in (blurred, sharp))
    return _pair("night movie", movie, reference, "TYX", (0, STACK_WHITE), note, placed)


def microscopy() -> list[LayerData]:
    """Return stained tissue on a stage that moved, and its reference.

    Returns
    -------
    list of LayerData
        The reference, which is not shown at first, and above it the frame; (H, W, 3) uint8. The
        size of the pixels is not known.
    """
    from skimage.data import immunohistochemistry

    light = EXPOSURE * srgb_to_linear(np.asarray(immunohistochemistry()) / 255)
    # At constant speed, along X.
    moved = _moved(light, np.full((1, STAGE_PIXELS), 1 / STAGE_PIXELS))
    frame = _photographed(moved, TISSUE_PHOTONS, np.random.default_rng(SEED))
    sharp = light[:, STAGE_PIXELS // 2 :][:, : moved.shape[1]]
    note = (
        "Stained colonic glands, photographed at the CMMI, from scikit-image; motion, darkness "
        "and noise are simulated."
    )
    blurred, reference = (_quantised(linear_to_srgb(values), 255) for values in (frame, sharp))
    return _pair("tissue", blurred, reference, "YXS", (0, 255), note)


def large_mosaic() -> list[LayerData]:
    """Return a large mosaic of dark, shaken photographs; its parts are made when they are read.

    Returns
    -------
    list of LayerData
        A multiscale layer of dask arrays, the finest (8192, 8192, 3) uint8.
    """
    levels = [_mosaic_level(level) for level in range(MOSAIC_LEVELS)]
    note = (
        "Pictures by NASA, CMMI, Mikael Häggström and Lav Varshney, all from scikit-image; "
        "darkness, shake and noise are simulated."
    )
    described = _described("mosaic", "YXS", (0, 255), note)
    return [(levels, described | {"multiscale": True, "rgb": True}, "image")]


def _mosaic_level(level: int) -> dask.array.Array:
    """Return the mosaic, averaged over squares of 2**level pixels."""
    import dask.array

    chunks = (PICTURE_SIDE,) * (MOSAIC_PICTURES >> level)
    return dask.array.map_blocks(
        mosaic_chunk,
        level=level,
        chunks=(chunks, chunks, (3,)),
        dtype=np.uint8,
        meta=np.empty((0, 0, 0), np.uint8),
    )


def mosaic_chunk(level: int, block_id: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a chunk, which holds 2**level pictures along each side."""
    pictures = _pictures(level)
    numbers = range(2**level)
    top, left = (index * 2**level for index in block_id[:2])
    rows = [
        np.concatenate(
            [pictures[(2 * (top + row) + left + column) % len(pictures)] for column in numbers],
            axis=1,
        )
        for row in numbers
    ]
    return np.concatenate(rows, axis=0)


@functools.lru_cache(maxsize=MOSAIC_LEVELS)
def _pictures(level: int) -> list[NDArray[np.uint8]]:
    """Return the pictures of the mosaic, averaged over squares of 2**level pixels."""
    if level > 0:
        side = PICTURE_SIDE >> level
        squares = [finer.reshape(side, 2, side, 2, 3) for finer in _pictures(level - 1)]
        return [_quantised(square.mean(axis=(1, 3)), 1) for square in squares]

    from skimage import data

    corner = np.s_[:PICTURE_SIDE, :PICTURE_SIDE]
    sharp = [
        data.astronaut(),
        data.immunohistochemistry(),
        data.retina()[450:, 100:][corner],
        np.stack([data.camera()] * 3, axis=-1),
        data.hubble_deep_field()[corner],
    ]
    # The exposure makes a picture smaller by this much on each side.
    margin = shake_kernel().shape[0] // 2
    padding = ((margin, margin), (margin, margin), (0, 0))
    return [make_demo_pair(np.pad(picture, padding, "symmetric")).blurred for picture in sharp]


def _pair(
    name: str,
    blurred: NDArray[Any],
    reference: NDArray[Any],
    axes: str,
    limits: tuple[float, float],
    note: str,
    placed: dict[str, Any] | None = None,
) -> list[LayerData]:
    """Return a reference, hidden, and above it what there is to restore."""
    shown = {"rgb": "S" in axes, **(placed or {})}
    below = _described(f"{name} {REFERENCE_SUFFIX}", axes, limits, note)
    above = _described(name, axes, limits, note)
    return [
        (reference, below | shown | {"visible": False}, "image"),
        (blurred, above | shown, "image"),
    ]


def _described(name: str, axes: str, limits: tuple[float, float], note: str) -> dict[str, Any]:
    from .. import __version__

    black, white = limits
    known = Provenance(
        kind="sample", version=__version__, axes=axes, black=black, white=white, notes=(note,)
    )
    return {"name": name, "metadata": known.as_metadata()}


def _moved(light: NDArray[Any], kernel: NDArray[Any]) -> NDArray[np.float64]:
    """Blur, and keep only what no border had a part in."""
    # Not scipy.signal's: importing it would keep the window waiting for seconds. The Fourier
    # transform's rounding must not make light negative.
    moved: NDArray[np.float64] = np.clip(convolve_valid(light, kernel), 0, None)
    return moved


def _photographed(
    light: NDArray[Any], photons: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Count photons, `photons` of them in white, which stays 1."""
    return rng.poisson(light * photons) / photons


def _quantised(values: Any, white: int, most: int = 255) -> NDArray[Any]:
    levels: NDArray[Any] = np.rint(np.asarray(values) * white).clip(0, most)
    return levels.astype(np.uint8 if most <= 255 else np.uint16)
