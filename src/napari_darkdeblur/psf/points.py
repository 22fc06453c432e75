"""Kernels from lights and beads: what should be a point has drawn the blur itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy import ndimage

from .kernel import PSF, PSFError, largest_part, similarity, without_background
from .light import SATURATED, to_light

Rectangle = tuple[float, float, float, float]

# Kernels alike to this degree (see `similarity`) are two drawings of the same shake.
_ALIKE = 0.8


def from_points(
    image: NDArray[Any], rectangles: Sequence[Rectangle], *, linear_light: bool = True
) -> PSF:
    """Return the kernel that small lights or beads in a picture have drawn.

    The background of each is removed, they are aligned by cross-correlation and averaged.
    Where one is saturated, the others decide; where all are, the kernel is flatter than the
    blur was, and its note says so.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, channels), values in 0..1.
    rectangles : sequence of tuple of float
        (top, left, bottom, right) in pixels for each light, bottom and right exclusive. Each
        holds one light and some dark background on all sides.
    linear_light : bool
        Whether the sRGB curve is undone first (photographs); False where values are
        proportional to light (microscopes).

    Returns
    -------
    PSF
        Its origin says how many lights it is from.

    Raises
    ------
    PSFError
        There is no rectangle, or one lies outside the image, is smaller than 3 × 3 pixels, or
        holds nothing bright.
    """
    if not len(rectangles):
        raise PSFError("A kernel from lights needs at least one rectangle around a light.")
    pixels = _as_colour(image)
    patches = []
    for number, rectangle in enumerate(rectangles, 1):
        top, left, bottom, right = (round(float(edge)) for edge in rectangle)
        top, left = max(top, 0), max(left, 0)
        patch = pixels[top : max(bottom, 0), left : max(right, 0)]
        if min(patch.shape[:2]) < 3:
            raise PSFError(
                f"Rectangle {number} covers {patch.shape[1]} × {patch.shape[0]} pixels of the "
                "image; draw it around a light, at least 3 × 3 pixels."
            )
        light = _Light(patch, linear_light)
        if light.shape.max() <= 0:
            raise PSFError(
                f"Nothing in rectangle {number} is brighter than its border; draw it around "
                "a light, with some dark background on all sides."
            )
        patches.append(light)
    return _average(patches)


class _Light:
    """One light: its shape without background, and which pixels are saturated."""

    def __init__(self, patch: NDArray[np.float32], linear_light: bool) -> None:
        # Of a coloured light only some channels are saturated. Taken are those that are least.
        clipped = (patch >= SATURATED).sum(axis=(0, 1))
        spread = np.ptp(patch, axis=(0, 1))
        usable = (clipped == clipped.min()) & (spread >= 0.25 * spread.max())
        if not usable.any():
            usable = spread >= 0.25 * spread.max()
        chosen = patch[..., usable]
        self.saturated = (chosen >= SATURATED).any(axis=-1)
        light = to_light(chosen, linear_light).mean(axis=-1).astype(np.float64)
        self.shape = without_background(light)
        bright = self.shape > 0
        self.saturated &= bright
        self.saturated_share = float(self.saturated.sum() / max(bright.sum(), 1))

    def padded(self, side: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return shape and saturation in the middle of a square."""
        height, width = self.shape.shape
        before = (side - height) // 2, (side - width) // 2
        pad = [(b, side - n - b) for b, n in zip(before, (height, width), strict=True)]
        return np.pad(self.shape, pad), np.pad(self.saturated, pad)


def _average(lights: list[_Light]) -> PSF:
    """Align lights to the one that is saturated least and brightest, and average them."""
    lights = sorted(lights, key=lambda light: (light.saturated_share, -light.shape.sum()))
    side = max(max(light.shape.shape) for light in lights) * 2 + 1
    reference, cut = lights[0].padded(side)
    # Every light counts as bright as it is: a bright one has less noise. Saturated pixels do
    # not count at all, as long as another light knows better.
    weight = np.where(cut, 1e-6, 1.0) * reference.sum()
    total = weight * reference / reference.sum()
    for light in lights[1:]:
        shape, cut = light.padded(side)
        shift = _offset(reference, shape)
        shape = np.clip(ndimage.shift(shape, shift, order=3), 0, None)
        cut = ndimage.shift(cut.astype(np.float64), shift, order=1) > 0.05
        good = ~cut & (weight > 1e-3 * weight.max())
        both = good & ((reference > 0) | (shape > 0))
        # Brightness relative to the reference, from what neither cut off.
        scale = (
            float((shape * reference)[both].sum()) / max(float((reference[both] ** 2).sum()), 1e-30)
            if both.any()
            else 0.0
        )
        if scale <= 0:
            scale = float(shape.sum() / reference.sum())
        share = np.where(cut, 1e-6, 1.0) * scale * reference.sum()
        total += share * shape / (scale * reference.sum())
        weight += share
    kernel = largest_part(total / weight)
    worst = lights[0].saturated_share
    note = (
        f"Every light is saturated, at best in {100 * worst:.0f} % of its area: the kernel is "
        "flatter there than the blur was. A fainter light would give a better one."
        if worst > 0.02
        else ""
    )
    count = len(lights)
    origin = "a light in the picture" if count == 1 else f"{count} lights in the picture"
    return PSF.from_array(kernel, origin=origin, note=note)


def _offset(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float]:
    """Return the shift (y, x) of ``b``, to parts of a pixel, that aligns it with ``a``."""
    product = scipy.fft.rfft2(a) * np.conj(scipy.fft.rfft2(b))
    correlation = scipy.fft.irfft2(product, s=a.shape)
    peak = np.unravel_index(int(correlation.argmax()), correlation.shape)
    shift = []
    for axis, place in enumerate(peak):
        line = np.take(correlation, peak[1 - axis], axis=1 - axis)
        size = line.size
        before, here, after = line[place - 1], line[place], line[(place + 1) % size]
        bend = before - 2 * here + after
        part = 0.5 * (before - after) / bend if bend < 0 else 0.0
        offset = int(place) + float(part)
        shift.append(offset - size if offset > size / 2 else offset)
    return shift[0], shift[1]


def find_streaks(
    image: NDArray[Any], *, linear_light: bool = True, max_radius: int = 32, most: int = 3
) -> list[PSF]:
    """Look for small, bright, isolated shapes that resemble each other: streaks of lights.

    Light Streaks (Hu, Cho, Wang, Yang, CVPR 2014) showed that at night such shapes are the
    best witnesses of a shake.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, channels), values in 0..1.
    linear_light : bool
        Whether the sRGB curve is undone first, see `from_points`.
    max_radius : int
        Largest radius in pixels of a streak.
    most : int
        How many kernels are returned at most.

    Returns
    -------
    list of PSF
        Candidates, the best supported first: averages of shapes that are alike, then single
        ones. Often empty. A candidate is no more than that: a lamp may be no point.
    """
    pixels = _as_colour(image)
    luminance = to_light(pixels, linear_light).mean(axis=-1)
    places = _bright_spots(luminance, max_radius)
    lights: list[_Light] = []
    for rows, columns in places:
        light = _Light(pixels[rows, columns], linear_light)
        area = int((light.shape > 0.1 * light.shape.max()).sum())
        if light.shape.max() > 0 and area >= 6 and light.saturated_share < 0.95:
            lights.append(light)
    if not lights:
        return []
    alike = np.eye(len(lights), dtype=bool)
    for i, first in enumerate(lights):
        for j in range(i):
            likeness = similarity(first.shape, lights[j].shape)
            alike[i, j] = alike[j, i] = likeness > _ALIKE
    found: list[PSF] = []
    support = alike.sum(axis=1)
    energy = np.array([light.shape.sum() * (1 - light.saturated_share) for light in lights])
    for index in np.lexsort((-energy, -support)):
        members = [lights[j] for j in np.flatnonzero(alike[index])]
        psf = _average(members)
        fits = psf.kernel.shape[0] // 2 <= max_radius
        if fits and all(similarity(psf.kernel, other.kernel) < 0.95 for other in found):
            found.append(psf)
        if len(found) == most:
            break
    return found


def _bright_spots(
    luminance: NDArray[np.float32], max_radius: int, most: int = 24
) -> list[tuple[slice, slice]]:
    """Return windows around bright shapes with nothing bright near them, the brightest first."""
    # The background is what a wide median leaves; on every fourth pixel, for speed.
    step = 4
    coarse = ndimage.median_filter(luminance[::step, ::step], size=2 * max_radius // step + 1)
    background = ndimage.zoom(coarse, step, order=1, mode="nearest", grid_mode=True)
    excess = luminance - background[: luminance.shape[0], : luminance.shape[1]]
    noise = 1.4826 * float(np.median(np.abs(excess)))
    smooth = ndimage.gaussian_filter(excess, 1.0)
    threshold = max(6 * noise, 0.1 * float(np.quantile(smooth, 0.9995)), 0.01)
    parts, count = ndimage.label(smooth > threshold, np.ones((3, 3)))
    if count == 0 or count > 2000:  # a texture, not lights
        return []
    windows = []
    height, width = luminance.shape
    for number, (rows, columns) in enumerate(ndimage.find_objects(parts), 1):
        tall, wide = rows.stop - rows.start, columns.stop - columns.start
        if max(tall, wide) > 2 * max_radius + 1 or max(tall, wide) < 3:
            continue
        margin = max(3, max(tall, wide) // 3)
        top, left = rows.start - margin, columns.start - margin
        bottom, right = rows.stop + margin, columns.stop + margin
        if top < 0 or left < 0 or bottom > height or right > width:
            continue
        window = slice(top, bottom), slice(left, right)
        others = (parts[window] > 0) & (parts[window] != number)
        own = parts[window] == number
        ring = ~ndimage.binary_dilation(own, iterations=2)
        peak = float(excess[window][own].max())
        if others.any() or float(np.quantile(excess[window][ring], 0.95)) > 0.15 * peak:
            continue
        windows.append((peak * math.sqrt(float(own.sum())), window))
    windows.sort(key=lambda item: -item[0])
    return [window for _, window in windows[:most]]


def _as_colour(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return an image as (H, W, channels) float32, or raise `PSFError`."""
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or pixels.dtype.kind not in "f":
        raise PSFError(
            f"An image of shape {np.shape(image)} and dtype {pixels.dtype} cannot be searched; "
            "it takes (H, W) or (H, W, channels) of floats in 0..1."
        )
    return pixels[..., :3].astype(np.float32, copy=False)
