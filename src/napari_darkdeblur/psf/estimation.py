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
from ..network.guides import wiener, wiener_guides
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


class NetworkRestorer:
    """Restores with a whole network at once, where it lies: for the search, not for large images.

    Parameters
    ----------
    network : torch.nn.Module
        Takes (1, 3, H, W), and (1, 3 (1 + guides), H, W) with `wiener_guides`.
    linear_light : bool
        See `estimate`.
    """

    def __init__(self, network: torch.nn.Module, *, linear_light: bool = True) -> None:
        self.network, self.linear_light = network, linear_light
        self.device = next(network.parameters()).device

    @torch.inference_mode()
    def blind(self, image: Image) -> Image:
        """Return the image restored without a kernel."""
        return self._restored(self._tensor(image))

    @torch.inference_mode()
    def guided(self, image: Image, kernel: Kernel) -> Image:
        """Return the image restored with a kernel."""
        picture = self._tensor(image)
        kernels = torch.tensor(kernel, device=self.device)[None]
        guides = wiener_guides(picture, kernels, self.linear_light)
        return self._restored(torch.cat([picture, guides], dim=1))

    def _tensor(self, image: Image) -> torch.Tensor:
        return torch.tensor(image, device=self.device).permute(2, 0, 1)[None]

    def _restored(self, given: torch.Tensor) -> Image:
        restored = self.network(given)[0].float().clamp(0, 1).permute(1, 2, 0)
        return np.ascontiguousarray(restored.cpu().numpy())


@dataclass(frozen=True)
class _Start:
    """One way of searching.

    Parameters
    ----------
    radius : int
        Largest radius of the kernel in pixels.
    caution : float
        How much more than assumed the picture's noise and unexplained gradients may spoil the
        least squares: above 1 kernels are more sparse and more even.
    even : bool
        Whether gradients count relative to the local brightness: dark parts then say as much
        as bright ones, and so does their noise.
    unguided : bool
        Whether the picture is made sharp by a Wiener filter and the network without a kernel,
        instead of by the network with the kernel.
    """

    radius: int
    caution: float = 1.0
    even: bool = True
    unguided: bool = False


@dataclass(frozen=True)
class Candidate:
    """A kernel, what the network makes of the picture with it, and what speaks for it."""

    kernel: Kernel
    origin: str
    start: _Start
    restored: Image
    features: dict[str, float]
    score: float = 0.0


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
    search = Search(image, restorer, linear_light=linear_light, progress=progress, stop=stop)
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
    if not np.isfinite(pixels).all():
        raise PSFError("No shake can be searched in an image that is not finite everywhere.")
    return np.ascontiguousarray(pixels, dtype=np.float32)


class Search:
    """One search: the picture in light, and the steps that all starts share."""

    def __init__(
        self,
        image: NDArray[Any],
        restorer: Restorer,
        *,
        linear_light: bool = True,
        progress: Callable[[float], None] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.image = _part_to_search(_checked(image), linear_light)
        self.restorer, self.linear_light = restorer, linear_light
        self.progress, self.stop = progress, stop
        self.light = to_light(self.image, linear_light)
        self.saturated = saturated(self.image)
        self.noise = noise_level(self.light.mean(axis=-1), ~self.saturated)
        self.done, self.total = 0.0, 1.0

    def run(self, max_radius: int, given: Iterable[PSF] = ()) -> PSF:
        """Return the best kernel, see `estimate`."""
        found = self.candidates(max_radius, given)
        if not found:
            return PSF(np.ones((1, 1), np.float32), "found", 0.0, "There is too little structure.")
        best = max(found, key=lambda candidate: candidate.score)
        if self.progress is not None:
            self.progress(1.0)
        return PSF(best.kernel, best.origin, confidence=1 / (1 + math.exp(-best.score)))

    def candidates(self, max_radius: int, given: Iterable[PSF] = ()) -> list[Candidate]:
        """Return kernels at full scale, each with what speaks for it."""
        base = _Start(max_radius)
        starts = [
            base,
            _Start(max_radius, caution=4.0, even=False),
            _Start(max_radius, caution=2.0, unguided=True),
            _Start(max(4, max_radius // 3), caution=2.0),
        ]
        drawn = list(given) + find_streaks(
            self.image, linear_light=self.linear_light, max_radius=max_radius
        )
        half = _Level.of(self.light, self.saturated, _HALF, self.linear_light)
        early: list[tuple[Kernel, str, _Start]] = []
        self.total = 2.5 * len(starts) + 1.5 * len(drawn) + 5 * _REFINED + 3
        for start in starts:
            kernel = self._coarse_to_fine(start)
            if kernel is not None:
                early.append((kernel, "found", start))
        for psf in drawn:
            kernel = _enlarged(np.array(psf.kernel), _HALF)
            refined = self._improved(half, kernel, base, 2)
            early.append((kernel, psf.origin, base))
            if refined is not None:
                early.append((refined, f"{psf.origin}, refined", base))
        judged = self._judged(half, early)
        self.early = judged
        full = _Level.of(self.light, self.saturated, 1.0, self.linear_light)
        finals = []
        for candidate in _distinct(judged)[:_REFINED]:
            finals.append((self._refined(candidate), candidate.origin, candidate.start))
        finals += [(np.array(psf.kernel), psf.origin, base) for psf in drawn[:2]]
        return self._judged(full, finals, judged, half)

    def _judged(
        self,
        level: _Level,
        found: list[tuple[Kernel, str, _Start]],
        others: list[Candidate] | None = None,
        half: _Level | None = None,
    ) -> list[Candidate]:
        plain = self._blind(level.image)
        judge = _Judge(level, to_light(plain, self.linear_light), half or level)
        kernels = [kernel for kernel, _, _ in found]
        # Agreement is that of the early kernels, of which there are more.
        pool = kernels if others is None else [other.kernel for other in others]
        result = []
        for kernel, origin, start in found:
            restored = self._guided(level.image, kernel)
            features = judge.features(kernel, to_light(restored, self.linear_light))
            compared = kernel if others is None else _enlarged(kernel, _HALF)
            alike = sorted(similarity(compared, other) for other in pool)
            features["agreement"] = float(np.median(alike))
            # The best is itself, or what it was made from.
            features["seconded"] = alike[-2] if len(alike) > 1 else 0.0
            result.append(Candidate(kernel, origin, start, restored, features, log_odds(features)))
        return result

    def _improved(
        self, level: _Level, kernel: Kernel, start: _Start, iterations: int, keep: float = 0.1
    ) -> Kernel | None:
        """Alternate between restoring with a kernel and solving for it."""
        largest = max(3, math.ceil(start.radius * level.scale))
        radius = min(largest, math.ceil(kernel.shape[0] // 2 * 1.2) + 1)
        current = _fitted(kernel, radius)
        for _ in range(iterations):
            sharp = self._guided(level.image, current)
            solved = level.solve(to_light(sharp, self.linear_light), current, keep, start)
            if solved is None:
                return None
            current = _fitted(_centred_kernel(solved), radius)
            keep = min(0.6, keep * _SHARE_GROWTH)
        return _centred_kernel(current)

    def _refined(self, candidate: Candidate) -> Kernel:
        """Carry a candidate of half the scale to the full one."""
        kernel = candidate.kernel
        scale = _HALF
        for finer, iterations in ((math.sqrt(0.5), 2), (1.0, 2)):
            grown = _enlarged(kernel, finer / scale)
            level = _Level.of(self.light, self.saturated, finer, self.linear_light)
            improved = self._improved(level, grown, candidate.start, iterations)
            kernel = grown if improved is None else improved
            scale = finer
        return kernel

    def _blind(self, image: Image) -> Image:
        self._step(image)
        return self.restorer.blind(image)

    def _guided(self, image: Image, kernel: Kernel) -> Image:
        self._step(image)
        return self.restorer.guided(image, kernel)

    def _sharpened(self, level: _Level, kernel: Kernel, start: _Start) -> Image:
        """Return the picture at one scale as sharp as the kernel so far makes it."""
        if not start.unguided:
            return self._guided(level.image, kernel)
        light = torch.from_numpy(level.light).permute(2, 0, 1)[None]
        divided = wiener(light, torch.from_numpy(kernel)[None], (_UNGUIDED,))[0][0]
        divided_light = divided.permute(1, 2, 0).numpy()
        return self._blind(to_values(divided_light, self.linear_light))

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
        for scale in _scales(start.radius, min(self.image.shape[:2]), _HALF):
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
                sharp = self._sharpened(level, current, start)
            for iteration in range(_ITERATIONS):
                keep = min(0.6, _FIRST_SHARE * _SHARE_GROWTH**iteration)
                light = to_light(sharp, self.linear_light)
                solved = level.solve(light, current, keep, start)
                if solved is None:
                    break
                current = _fitted(_centred_kernel(solved), radius)
                if iteration + 1 < _ITERATIONS:
                    sharp = self._sharpened(level, current, start)
            else:
                kernel = current
                continue
            return None
        return None if kernel is None else _centred_kernel(kernel)


_ITERATIONS = 3
_STEP = math.sqrt(2)
# Share of gradients, the strongest, that the first iteration at a scale uses; and its growth.
_FIRST_SHARE = 0.05
_SHARE_GROWTH = 1.3
_SIDE = 512
# Of the kernel's largest value; below it nothing is believed.
_FLOOR = 0.03
# The scale up to which all starts go; only the best are carried on to the full one.
_HALF = 0.5
# Regularisation of the Wiener filter where the network is not told the kernel.
_UNGUIDED = 0.05
_REFINED = 2


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


def _scales(radius: int, side: int, finest: float) -> list[float]:
    """Return the scales from where a kernel of that radius is about two pixels wide."""
    widest = max((2 * radius + 1) / 5 * finest, 1.01)
    count = max(1, math.ceil(math.log(widest) / math.log(_STEP)))
    scales = [finest * _STEP**-level for level in range(count, -1, -1)]
    return [scale for scale in scales if scale == finest or side * scale >= 40]


def _centred_kernel(kernel: NDArray[Any]) -> Kernel:
    """Return a kernel as `PSF.from_array` centres and trims it."""
    return PSF.from_array(kernel).kernel.copy()


def _distinct(candidates: list[Candidate]) -> list[Candidate]:
    """Return candidates, the best first, without those that are like a better one."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: -c.score):
        if all(similarity(candidate.kernel, other.kernel) < 0.97 for other in kept):
            kept.append(candidate)
    return kept


def _resized(values: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resize (H, W) or (H, W, C) bicubically, without aliasing."""
    array = np.array(values, dtype=np.float32, order="C")  # torch takes no read-only ones
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
    return _centred_kernel(_cleaned(larger, 0.02))


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

    def __init__(
        self, light: Image, image: Image, saturated: NDArray[np.bool_], scale: float
    ) -> None:
        self.light, self.image, self.saturated, self.scale = light, image, saturated, scale
        self.grey = np.ascontiguousarray(light.mean(axis=-1))
        self.gradients = [g * ~saturated for g in _differences(self.grey)]

    @classmethod
    def of(
        cls, light: Image, saturated: NDArray[np.bool_], scale: float, linear_light: bool
    ) -> _Level:
        if scale < 1:
            shape = (round(light.shape[0] * scale), round(light.shape[1] * scale))
            light = np.clip(_resized(light, shape), 0, 1)
            saturated = _resized(saturated, shape) > 0.05
        return cls(light, to_values(light, linear_light), saturated, scale)

    def solve(
        self,
        sharp: Image,
        start_from: Kernel,
        keep: float,
        start: _Start,
        within: NDArray[np.bool_] | None = None,
        iterations: int = 100,
    ) -> Kernel | None:
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
        if within is not None:
            usable &= within
        gradients = _differences(sharp.mean(axis=-1))
        weight = np.ones_like(self.grey)
        if start.even:
            local = ndimage.gaussian_filter(self.grey, max(2, radius / 2))
            weight = 1 / (local + 0.3 * local.mean())
            weight /= weight.mean()
        strength = np.hypot(*gradients) * usable * weight
        if usable.sum() < 100:
            return None
        threshold = max(float(np.quantile(strength[usable], 1 - keep)), 1e-6)
        chosen = (strength >= threshold) * weight
        shape = tuple(scipy.fft.next_fast_len(n + 2 * radius, real=True) for n in (height, width))
        gram = np.zeros((4 * radius + 1,) * 2, np.float32)
        right = np.zeros((2 * radius + 1,) * 2, np.float32)
        if not chosen.any():
            return None
        total = 0.0
        for of_sharp, of_picture in zip(gradients, self.gradients, strict=True):
            transformed = _rfft2(of_sharp * chosen, shape)
            total += float(((of_picture * weight) ** 2).sum())
            gram += _near(np.conj(transformed) * transformed, shape, 2 * radius)
            right += _near(np.conj(transformed) * _rfft2(of_picture * weight, shape), shape, radius)
        kernel = _non_negative(
            gram,
            right,
            start_from,
            start.caution,
            total,
            float((~self.saturated).sum()),
            iterations,
        )
        return _cleaned(kernel, _FLOOR) if kernel.max() > 0 else None


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
    gram: NDArray[np.float32],
    right: NDArray[np.float32],
    before: Kernel,
    caution: float,
    total: float,
    count: float,
    iterations: int,
) -> NDArray[np.float32]:
    """Solve the normal equations for a kernel that is not negative, sparse and even.

    FISTA (Beck and Teboulle, SIAM J. Imaging Sci. 2(1), 2009). The normal matrix is a
    correlation with ``gram``, so that an iteration costs two small Fourier transforms.
    ``total`` is the sum of squares of ``count`` pixels' gradients on the left side. What the
    kernel ``before`` leaves of it, noise and gradients that were not chosen, is how much less
    than the data the assumptions weigh.
    """
    side = right.shape[0]
    size = scipy.fft.next_fast_len(3 * side - 2, real=True)
    ring = np.zeros((size, size), np.float32)
    ring[: 2 * side - 1, : 2 * side - 1] = gram
    spectrum = _rfft2(np.roll(ring, (1 - side, 1 - side), (0, 1)), (size, size)).real
    energy = float(gram[side - 1, side - 1])

    def product(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
        return _irfft2(_rfft2(kernel, (size, size)) * spectrum, (size, size))[:side, :side]

    fit = float((before * right).sum())
    explained = max(fit, 0.0) ** 2 / max(float((before * product(before)).sum()), 1e-20)
    left_over = caution * max(total - explained, 0.05 * total) / (2 * count)
    # The kernel is small where it and its surroundings were small before: each value's
    # variance is the square of what it was, smoothed.
    near = ndimage.gaussian_filter(before, 1.5)
    ridge = 6 * left_over / (near + 0.03 * near.max()) ** 2 + 0.005 * energy
    # And values change little from pixel to pixel, compared with their mean square.
    rows, columns = scipy.fft.fftfreq(size)[:, None], scipy.fft.rfftfreq(size)[None]
    laplacian = 4 - 2 * np.cos(2 * np.pi * rows) - 2 * np.cos(2 * np.pi * columns)
    mean_square = float((before**2).sum()) / max(int((near > 0.1 * near.max()).sum()), 1)
    spectrum = (spectrum + 3 * left_over / mean_square * laplacian).astype(np.float32)
    pull = min(0.5 * math.sqrt(left_over * energy), 0.5 * float(right.max()))

    lipschitz = max(float(spectrum.max()), 1e-20)
    shrink = 1 / (1 + ridge / lipschitz)
    kernel = ahead = before
    momentum = 1.0
    for _ in range(iterations):
        slope = product(ahead) - right + pull
        following = np.maximum((ahead - slope / lipschitz) * shrink, 0).astype(np.float32)
        next_momentum = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + np.float32((momentum - 1) / next_momentum) * (following - kernel)
        kernel, momentum = following, next_momentum
    return np.asarray(kernel, dtype=np.float32)


class _Judge:
    """What speaks for a kernel, measured at one scale.

    Parameters
    ----------
    level : _Level
        The picture at that scale.
    plain : ndarray
        (H, W, 3) light that the network restores without a kernel.
    half : _Level
        The picture at half the full scale, where quadrants are compared: finer, every second
        pixel is noise.
    """

    def __init__(self, level: _Level, plain: Image, half: _Level) -> None:
        self.level, self.plain, self.half = level, plain, half
        cut = level.saturated
        self.inside = ~ndimage.binary_dilation(cut, iterations=8) if cut.any() else ~cut
        if self.inside.mean() < 0.05:
            self.inside = ~cut
        self.noise = max(noise_level(level.grey, ~cut), 1e-4)
        self.contrast = float(level.grey.std()) + 1e-6
        self.plain_residual = self._residual(_POINT, plain)
        self.plain_sharpness = self._sharpness(plain)
        height, width = level.grey.shape
        window = np.outer(*(np.hanning(n + 2)[1:-1] for n in (height, width))) * ~cut
        frequency = np.hypot(scipy.fft.fftfreq(height)[:, None], scipy.fft.rfftfreq(width)[None])
        power = np.zeros(frequency.shape, np.float32)
        # Of gradients, whose spectrum is nearly flat, so that little leaks.
        for gradient in level.gradients:
            spectrum = _rfft2((gradient * window).astype(np.float32), (height, width))
            power += np.abs(spectrum) ** 2
        power /= float((window**2).sum()) + 1e-6
        # Noise has, in gradients, the power of the differences.
        response = 2 * self.noise**2 * frequency**2 * 2 * math.pi**2
        self.used = (frequency > 0.02) & (frequency < 0.45)
        self.floor = (response + 1e-10)[self.used]
        self.rings = (frequency[self.used] * 40).astype(int)
        smooth = ndimage.uniform_filter(power, 3, mode="wrap")
        self.spectrum = self._flattened(np.log(smooth[self.used] + 1e-10))
        self.level_of_rings = np.bincount(self.rings, power[self.used]) / np.maximum(
            np.bincount(self.rings), 1
        )

    def features(self, kernel: Kernel, restored: Image) -> dict[str, float]:
        """Return numbers of about one, of which some speak for and some against the kernel.

        Parameters
        ----------
        kernel : ndarray
            (K, K) at the scale of the level.
        restored : ndarray
            (H, W, 3) light that the network restores with the kernel.
        """
        residual = self._residual(kernel, restored)
        noise = 0.1 * self.noise
        difference = ndimage.gaussian_filter(restored - self.plain, (0.7, 0.7, 0))[self.inside]
        quadrants, worst = self._quadrants(kernel, restored)
        return {
            # How well the restored picture, blurred again, explains the picture.
            "residual": math.log(residual / self.noise + 0.1),
            "relative": math.log((residual + noise) / self.contrast),
            "against_plain": math.log((residual + noise) / (self.plain_residual + noise)),
            # Whether the kernel's zeros are those of the picture's spectrum.
            "spectrum": self._spectral_agreement(kernel),
            "sharpness": self._sharpness(restored) - self.plain_sharpness,
            # Whether all parts of the picture ask for this kernel.
            "quadrants": quadrants,
            "worst_quadrant": worst,
            "change": math.log((float((difference**2).mean()) ** 0.5 + noise) / self.contrast),
            "noise": math.log(self.noise / self.contrast),
            "rms": math.log(PSF(kernel, "").rms_radius / self.level.scale + 0.3),
            "usable": float(self.inside.mean()),
        }

    def _residual(self, kernel: Kernel, restored: Image) -> float:
        again = blurred(restored, kernel)
        edge = min(kernel.shape[0] // 2, min(self.inside.shape) // 4)
        inside = self.inside.copy()
        if edge:
            inside[:edge] = inside[-edge:] = False
            inside[:, :edge] = inside[:, -edge:] = False
        # Lightly smoothed: the noise of single pixels is no concern of the kernel's.
        difference = ndimage.gaussian_filter(again - self.level.light, (1.2, 1.2, 0))
        return math.sqrt(float((difference[inside] ** 2).mean())) if inside.any() else 1.0

    def _sharpness(self, light: Image) -> float:
        """Return the log of the gradients' L2 over L1 norm: high where they are sparse."""
        dx, dy = _differences(ndimage.gaussian_filter(light.mean(axis=-1), 0.7))
        gradient = np.hypot(dx, dy)[self.inside]
        square = math.sqrt(float((gradient**2).mean())) if gradient.size else 0.0
        return math.log((square + 1e-6) / (float(gradient.mean() if gradient.size else 0) + 1e-6))

    def _flattened(self, log_power: NDArray[Any]) -> NDArray[np.float64]:
        """Subtract each ring's mean: what is left is what depends on the direction."""
        means = np.bincount(self.rings, log_power) / np.maximum(np.bincount(self.rings), 1)
        return np.asarray(log_power - means[self.rings], dtype=np.float64)

    def _spectral_agreement(self, kernel: Kernel) -> float:
        """Return the correlation of the kernel's log spectrum and the picture's in each ring."""
        height, width = self.level.grey.shape
        transfer = np.abs(_rfft2(kernel[:height, :width], (height, width))) ** 2
        model = transfer[self.used] * self.level_of_rings[self.rings] + self.floor
        expected = self._flattened(np.log(model))
        norm = math.sqrt(float((expected**2).sum() * (self.spectrum**2).sum()))
        return float((expected * self.spectrum).sum()) / (norm + 1e-6)

    def _quadrants(self, kernel: Kernel, restored: Image) -> tuple[float, float]:
        """Solve for the kernel in each quadrant; return how alike they are: mean and least."""
        half = self.half
        if half is not self.level:
            kernel = _enlarged(kernel, half.scale / self.level.scale)
            restored = _resized(restored, half.grey.shape)
        height, width = half.grey.shape
        start_from = _fitted(kernel, min(kernel.shape[0] // 2 + 3, min(height, width) // 4))
        likeness, weights = [], []
        for rows in (slice(0, height // 2), slice(height // 2, height)):
            for columns in (slice(0, width // 2), slice(width // 2, width)):
                within = np.zeros((height, width), bool)
                within[rows, columns] = True
                solved = half.solve(restored, start_from, 0.15, _Start(0), within, 30)
                likeness.append(0.0 if solved is None else similarity(solved, kernel))
                weights.append(
                    float((half.gradients[0] ** 2 + half.gradients[1] ** 2)[within].sum())
                )
        total = sum(weights) + 1e-12
        mean = sum(a * w for a, w in zip(likeness, weights, strict=True)) / total
        # A quadrant that is all sky says nothing.
        telling = [a for a, w in zip(likeness, weights, strict=True) if w > 0.1 * total]
        return mean, min(telling, default=0.0)


_POINT: Kernel = np.ones((1, 1), np.float32)


def noise_level(grey: NDArray[np.float32], usable: NDArray[np.bool_]) -> float:
    """Return the standard deviation of a picture's noise, from its finest diagonal details."""
    detail = (grey[1:, 1:] - grey[1:, :-1] - grey[:-1, 1:] + grey[:-1, :-1]) / 2
    values = np.abs(detail[usable[1:, 1:]])
    return float(np.median(values)) / 0.6745 if values.size else 0.0


# Fitted by `python -m benchmarks.shake fit` (logistic regression, ten-fold cross-validation).
_COEFFICIENTS = {
    "constant": 0.0,
    "residual": -1.0,
    "relative": 0.0,
    "against_plain": 0.0,
    "spectrum": 2.0,
    "sharpness": 0.0,
    "quadrants": 3.0,
    "worst_quadrant": 0.0,
    "change": 0.0,
    "noise": 0.0,
    "rms": 0.0,
    "usable": 0.0,
    "agreement": 3.0,
    "seconded": 0.0,
}
FEATURES = tuple(name for name in _COEFFICIENTS if name != "constant")


def log_odds(features: dict[str, float]) -> float:
    """Return the logarithm of the odds that a kernel of these features improves a picture."""
    return _COEFFICIENTS["constant"] + sum(
        _COEFFICIENTS[name] * features[name] for name in FEATURES
    )


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
