"""Finding the kernel of a shaken picture, and judging whether it is the right one.

Coarse to fine, as in Cho and Lee (ACM TOG 28(5), 2009): at each scale a network restores the
picture as sharp as it can, and the kernel is what turns the strongest gradients of that into
those of the blurred picture. The network takes the place of their shock filter: with the
kernel of the scale before it restores what no filter could. Several starts give candidates;
that one is best whose restored picture, blurred again with it, is the picture.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.fft
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import DarkDeblurError
from .kernel import PSF, PSFError, similarity
from .light import saturated, to_light, to_values
from .points import find_streaks

Image = NDArray[np.float32]
Kernel = NDArray[np.float32]

# From this confidence on `--psf auto` uses a kernel: see `_confidence`.
CONFIDENT = 0.5


class StoppedError(DarkDeblurError):
    """The search was stopped by its caller."""


class Restorer(Protocol):
    """What the search needs of a model: images (H, W, 3) float32 in 0..1, as they are stored."""

    def blind(self, image: Image) -> Image:
        """Return the image restored without a kernel."""

    def guided(self, image: Image, kernel: Kernel) -> Image:
        """Return the image restored with a kernel (K, K), K odd, of sum 1."""


@dataclass(frozen=True)
class _Start:
    """One way of searching.

    Parameters
    ----------
    radius : int
        Largest radius of the kernel in pixels.
    ridge, sparsity : float
        Weights of the kernel's squares and of its sum in the least squares, relative to the
        gradients' energy and to the strongest correlation.
    floor : float
        Share of the kernel's maximum below which values are cut off.
    """

    radius: int
    ridge: float = 0.02
    sparsity: float = 0.01
    floor: float = 0.03


@dataclass(frozen=True)
class _Candidate:
    kernel: Kernel
    restored: Image
    residual: float
    origin: str


def estimate(
    image: NDArray[Any],
    restorer: Restorer,
    *,
    max_radius: int = 32,
    candidates: Iterable[PSF] = (),
    linear_light: bool = True,
    progress: Callable[[float], None] | None = None,
    stop: threading.Event | None = None,
) -> PSF:
    """Find the one kernel that a whole picture is blurred with.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, 3), values in 0..1. Of images larger than 512 pixels the part with the
        most structure is searched.
    restorer : Restorer
        The network's two ways of restoring.
    max_radius : int
        Largest radius in pixels that the kernel may have.
    candidates : iterable of PSF
        Further kernels to judge beside those found, for instance a learned estimator's.
    linear_light : bool
        Whether the blur happened in the light behind the sRGB curve (photographs); False
        where values are proportional to light (microscopes).
    progress : callable, optional
        Called with the share of the work that is done, 0 to 1.
    stop : threading.Event, optional
        Ends the search soon after it is set.

    Returns
    -------
    PSF
        The best kernel. Its ``confidence`` is the probability that restoring with it is
        better than without; from `CONFIDENT` on it should be used.

    Raises
    ------
    PSFError
        The image has another shape, or is smaller than 64 pixels.
    StoppedError
        ``stop`` was set.
    """
    search = _Search(_checked(image), restorer, linear_light, progress, stop)
    return search.run(max_radius, list(candidates))


def _checked(image: NDArray[Any]) -> Image:
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype.kind != "f":
        raise PSFError(
            f"No shake can be searched in an image of shape {np.shape(image)} and dtype "
            f"{pixels.dtype}; it takes (H, W) or (H, W, 3) of floats in 0..1."
        )
    if min(pixels.shape[:2]) < 64:
        raise PSFError(
            f"An image of {pixels.shape[1]} × {pixels.shape[0]} pixels is too small to find a "
            "shake in; 64 pixels are the least."
        )
    return np.ascontiguousarray(pixels, dtype=np.float32)


class _Search:
    """One search: the picture in light, and the steps that all starts share."""

    def __init__(
        self,
        image: Image,
        restorer: Restorer,
        linear_light: bool,
        progress: Callable[[float], None] | None,
        stop: threading.Event | None,
    ) -> None:
        self.image = _part_to_search(image, linear_light)
        self.restorer, self.linear_light = restorer, linear_light
        self.progress, self.stop = progress, stop
        self.light = to_light(self.image, linear_light)
        self.saturated = saturated(self.image)
        self.done, self.total = 0.0, 1.0

    def run(self, max_radius: int, given: list[PSF]) -> PSF:
        starts = [
            _Start(max_radius),
            _Start(max(4, max_radius // 3)),
            _Start(max_radius, ridge=0.05, sparsity=0.05),
        ]
        others = [(psf.kernel, psf.origin) for psf in given]
        others += [
            (psf.kernel, psf.origin)
            for psf in find_streaks(
                self.image, linear_light=self.linear_light, max_radius=max_radius
            )
        ]
        self.total = 2.5 * len(starts) * _ITERATIONS + 3 * len(others)
        found = []
        for start in starts:
            kernel = self._coarse_to_fine(start)
            if kernel is not None:
                found.append(self._candidate(kernel, "found"))
        found += [self._candidate(kernel, origin) for kernel, origin in others]
        if not found:
            return PSF(np.ones((1, 1), np.float32), "found", 0.0, "There is too little structure.")
        # A point explains every picture without residual; it is not chosen by it.
        found = [c for c in found if PSF(c.kernel, "").rms_radius > 0.5] or found
        best = min(found, key=lambda candidate: candidate.residual)
        agreement = float(np.median([similarity(best.kernel, c.kernel) for c in found]))
        if self.progress is not None:
            self.progress(1.0)
        return PSF(best.kernel, best.origin, confidence=float(agreement > 0.7))

    def _blind(self, image: Image) -> Image:
        self._step(image)
        return self.restorer.blind(image)

    def _guided(self, image: Image, kernel: Kernel) -> Image:
        self._step(image)
        return self.restorer.guided(image, kernel)

    def _step(self, image: Image) -> None:
        """Report progress in units of the work that restoring the whole part is."""
        if self.stop is not None and self.stop.is_set():
            raise StoppedError("The search for the shake was stopped.")
        self.done += image.size / self.image.size
        if self.progress is not None:
            self.progress(min(self.done / self.total, 0.99))

    def _coarse_to_fine(self, start: _Start) -> Kernel | None:
        """Return the kernel that one start finds; None where the picture has no structure."""
        kernel: Kernel | None = None
        for scale in _scales(start.radius, min(self.image.shape[:2])):
            level = _Level.of(self.light, self.saturated, scale, self.linear_light)
            largest = max(2, math.ceil(start.radius * scale))
            if kernel is None:
                radius = largest
                current = np.zeros((2 * radius + 1,) * 2, np.float32)
                current[radius, radius] = 1
                sharp = self._blind(level.image)
            else:
                grown = _enlarged(kernel, _STEP)
                # The kernel may have been cut too narrow at the coarser scale.
                radius = min(largest, max(3, math.ceil(grown.shape[0] // 2 * 1.3) + 1))
                current = _fitted(grown, radius)
                sharp = self._guided(level.image, current)
            for iteration in range(_ITERATIONS):
                keep = min(0.6, _FIRST_SHARE * _SHARE_GROWTH**iteration)
                light = to_light(sharp, self.linear_light)
                solved = level.solve(light, current, keep, start)
                if solved is None:
                    break
                current = _fitted(PSF.from_array(solved).kernel, radius)
                sharp = self._guided(level.image, current)
            else:
                kernel = current
                continue
            return None
        return None if kernel is None else PSF.from_array(kernel).kernel

    def _candidate(self, kernel: Kernel, origin: str) -> _Candidate:
        restored = self._guided(self.image, kernel)
        residual = reblurred_residual(
            self.light, to_light(restored, self.linear_light), kernel, self.saturated
        )
        return _Candidate(kernel, restored, residual, origin)


_ITERATIONS = 4
_STEP = math.sqrt(2)
# Share of gradients, the strongest, that the first iteration at a scale uses; and its growth.
_FIRST_SHARE = 0.08
_SHARE_GROWTH = 1.3
_SIDE = 512


def _part_to_search(image: Image, linear_light: bool) -> Image:
    """Return the square part with the most structure that is not saturated."""
    height, width = image.shape[:2]
    if max(height, width) <= _SIDE:
        return image
    light = to_light(image, linear_light).mean(axis=-1)
    gy, gx = np.gradient(ndimage.uniform_filter(light, 5)[::4, ::4])
    energy = np.hypot(gx, gy) * ~ndimage.maximum_filter(saturated(image), 9)[::4, ::4]
    side = _SIDE // 4
    rows, columns = (max(0, n - side) for n in energy.shape)
    sums = np.pad(np.cumsum(np.cumsum(energy, 0), 1), ((1, 0), (1, 0)))
    tall, wide = min(side, energy.shape[0]), min(side, energy.shape[1])
    windows = sums[tall:, wide:] - sums[:-tall, wide:] - sums[tall:, :-wide] + sums[:-tall, :-wide]
    top, left = np.unravel_index(int(windows.argmax()), (rows + 1, columns + 1))
    return image[4 * int(top) : 4 * int(top) + _SIDE, 4 * int(left) : 4 * int(left) + _SIDE]


def _scales(radius: int, side: int) -> list[float]:
    """Return the scales from where a kernel of that radius is about two pixels wide, up to 1."""
    count = max(1, math.ceil(math.log(max((2 * radius + 1) / 5, 1.01)) / math.log(_STEP)))
    return [
        _STEP**-level for level in range(count, -1, -1) if level == 0 or side * _STEP**-level >= 40
    ]


def _resized(values: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resize (H, W) or (H, W, C) bicubically, without aliasing."""
    array = np.ascontiguousarray(values, dtype=np.float32)
    tensor = torch.from_numpy(array[..., None] if array.ndim == 2 else array).permute(2, 0, 1)
    resized = F.interpolate(
        tensor[None], size=shape, mode="bicubic", antialias=True, align_corners=False
    )[0].permute(1, 2, 0)
    result = np.ascontiguousarray(resized.numpy())
    return result[..., 0] if array.ndim == 2 else result


def _enlarged(kernel: Kernel, factor: float) -> Kernel:
    """Return a kernel as it is at a scale that is ``factor`` times as fine."""
    framed = np.pad(kernel, 2)
    side = round(framed.shape[0] * factor) | 1
    larger = np.clip(_resized(framed, (side, side)), 0, None)
    return PSF.from_array(_cleaned(larger, 0.02)).kernel


def _fitted(kernel: Kernel, radius: int) -> Kernel:
    """Return a kernel padded or cut to a radius, of sum 1."""
    margin = radius - kernel.shape[0] // 2
    fitted = np.pad(kernel, margin) if margin >= 0 else kernel[-margin:margin, -margin:margin]
    return np.asarray(fitted / fitted.sum(), dtype=np.float32)


def _cleaned(kernel: NDArray[np.float32], floor: float) -> NDArray[np.float32]:
    """Cut off small values and parts that hold less than a tenth of the largest part's light."""
    kernel = np.where(kernel < floor * kernel.max(), 0, np.clip(kernel, 0, None))
    parts, count = ndimage.label(kernel > 0, np.ones((3, 3)))
    if count > 1:
        sums = ndimage.sum_labels(kernel, parts, np.arange(1, count + 1))
        kernel = kernel * np.isin(parts, 1 + np.flatnonzero(sums > 0.1 * sums.max()))
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


class _Level:
    """The picture at one scale, and the least squares for its kernel."""

    def __init__(self, light: Image, image: Image, saturated: NDArray[np.bool_]) -> None:
        self.light, self.image, self.saturated = light, image, saturated
        valid = ~saturated
        # np.gradient would smooth over two pixels; the difference of neighbours does not.
        self.gradients = [g * valid for g in _differences(light.mean(axis=-1))]

    @classmethod
    def of(
        cls, light: Image, saturated: NDArray[np.bool_], scale: float, linear_light: bool
    ) -> _Level:
        if scale < 1:
            shape = (round(light.shape[0] * scale), round(light.shape[1] * scale))
            light = np.clip(_resized(light, shape), 0, 1)
            saturated = _resized(saturated, shape) > 0.05
        return cls(light, to_values(light, linear_light), saturated)

    def solve(self, sharp: Image, start_from: Kernel, keep: float, start: _Start) -> Kernel | None:
        """Return the kernel between the strongest gradients of ``sharp`` and the picture's."""
        height, width = self.saturated.shape
        radius = start_from.shape[0] // 2
        usable = ~self.saturated
        if self.saturated.any():
            # A lamp's light reaches as far as the kernel.
            near = ndimage.binary_dilation(self.saturated, iterations=max(1, radius // 2))
            if near.mean() < 0.7:
                usable = ~near
        edge = min(radius // 2 + 2, height // 8, width // 8)
        usable[:edge] = usable[-edge:] = False
        usable[:, :edge] = usable[:, -edge:] = False
        gradients = _differences(sharp.mean(axis=-1))
        strength = np.hypot(*gradients) * usable
        if usable.sum() < 100:
            return None
        threshold = max(float(np.quantile(strength[usable], 1 - keep)), 1e-6)
        chosen = strength >= threshold
        shape = tuple(scipy.fft.next_fast_len(n + 2 * radius, real=True) for n in (height, width))
        gram = np.zeros((4 * radius + 1,) * 2, np.float32)
        right = np.zeros((2 * radius + 1,) * 2, np.float32)
        for of_sharp, of_picture in zip(gradients, self.gradients, strict=True):
            transformed = _rfft2(of_sharp * chosen, shape)
            gram += _near(np.conj(transformed) * transformed, shape, 2 * radius)
            right += _near(np.conj(transformed) * _rfft2(of_picture, shape), shape, radius)
        kernel = _non_negative(gram, right, start_from, start)
        return _cleaned(kernel, start.floor) if kernel.max() > 0 else None


def _differences(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return differences to the next column and the next row, zero in the last."""
    dx, dy = np.zeros_like(values), np.zeros_like(values)
    dx[:, :-1] = np.diff(values, axis=1)
    dy[:-1] = np.diff(values, axis=0)
    return dx, dy


def _rfft2(values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.complex64]:
    return np.asarray(scipy.fft.rfft2(values, s=shape, workers=torch.get_num_threads()))


def _irfft2(values: NDArray[np.complex64], shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.asarray(scipy.fft.irfft2(values, s=shape, workers=torch.get_num_threads()))


def _near(
    spectrum: NDArray[np.complex64], shape: tuple[int, ...], radius: int
) -> NDArray[np.float32]:
    """Return the part of a correlation that is within a radius of zero shift."""
    shifts = np.arange(-radius, radius + 1)
    return _irfft2(spectrum, shape)[np.ix_(shifts % shape[0], shifts % shape[1])]


def _non_negative(
    gram: NDArray[np.float32], right: NDArray[np.float32], start_from: Kernel, start: _Start
) -> NDArray[np.float32]:
    """Solve the normal equations for a kernel that is not negative.

    FISTA (Beck and Teboulle, SIAM J. Imaging Sci. 2(1), 2009). The normal matrix is a
    correlation with ``gram``, so that an iteration costs two small Fourier transforms.
    """
    side = right.shape[0]
    size = scipy.fft.next_fast_len(3 * side - 2, real=True)
    ring = np.zeros((size, size), np.float32)
    ring[: 2 * side - 1, : 2 * side - 1] = gram
    spectrum = _rfft2(np.roll(ring, (1 - side, 1 - side), (0, 1)), (size, size)).real
    ridge = start.ridge * float(gram[side - 1, side - 1])
    lipschitz = max(float(spectrum.max()), 1e-20) + ridge
    pull = start.sparsity * float(right.max())
    kernel = ahead = start_from
    momentum = 1.0
    for _ in range(120):
        product = _irfft2(_rfft2(ahead, (size, size)) * spectrum, (size, size))[:side, :side]
        slope = product - right + ridge * ahead + pull
        following = np.maximum(ahead - slope / lipschitz, 0)
        next_momentum = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / next_momentum * (following - kernel)
        kernel, momentum = following, next_momentum
    return np.asarray(kernel, dtype=np.float32)


def reblurred_residual(
    light: Image, restored: Image, kernel: Kernel, saturated: NDArray[np.bool_]
) -> float:
    """Return how far a restored picture, blurred again, is from the blurred one.

    Parameters
    ----------
    light, restored : ndarray
        (H, W, 3) in light.
    kernel : ndarray
        (K, K).
    saturated : ndarray
        (H, W) bool; these pixels and their neighbours do not count.

    Returns
    -------
    float
        Root mean square of the lightly smoothed difference.
    """
    again = blurred(restored, kernel)
    radius = kernel.shape[0] // 2
    inside = ~ndimage.binary_dilation(saturated, iterations=8) if saturated.any() else ~saturated
    edge = min(radius, min(saturated.shape) // 4)
    if edge:
        inside[:edge] = inside[-edge:] = False
        inside[:, :edge] = inside[:, -edge:] = False
    if inside.sum() < 2000:
        inside[:] = True
    difference = ndimage.gaussian_filter(again - light, (1.2, 1.2, 0))
    return math.sqrt(float((difference[inside] ** 2).mean()))


def blurred(light: Image, kernel: Kernel) -> Image:
    """Blur a picture, mirrored at its borders.

    Parameters
    ----------
    light : ndarray
        (H, W, C).
    kernel : ndarray
        (K, K), K odd.
    """
    radius = kernel.shape[0] // 2
    framed = np.pad(light, ((radius, radius), (radius, radius), (0, 0)), mode="symmetric")
    shape = tuple(scipy.fft.next_fast_len(n, real=True) for n in framed.shape[:2])
    spectrum = _rfft2(kernel, shape)
    planes = [
        # The kernel begins at its corner: the sum is what the mirrored border is wide further on.
        _irfft2(_rfft2(framed[..., c], shape) * spectrum, shape)[
            2 * radius : 2 * radius + light.shape[0], 2 * radius : 2 * radius + light.shape[1]
        ]
        for c in range(light.shape[2])
    ]
    return np.stack(planes, axis=-1)
