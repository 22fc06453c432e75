"""Finding the kernel of a shaken picture, and judging whether it is the right one.

Coarse to fine, as in Cho and Lee (ACM TOG 28(5), 2009): at each scale a network restores the
picture as sharp as it can, and the kernel is what turns the strongest gradients of that into
those of the blurred picture. The network takes the place of their shock filter: with the
kernel of the scale before it restores what no filter could. Several starts, streaks of lights
and kernels from elsewhere are candidates, all judged by the same features.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import StoppedError
from ..network.guides import wiener
from .judgement import Judge, log_odds, preference
from .kernel import PSF, PSFError, point, similarity
from .least_squares import Image, Kernel, Level, centred, fitted, noise_level, rescaled
from .light import saturated, to_light, to_values
from .points import find_streaks

# From this confidence on a kernel should be used; see the figures of `benchmarks.shake fit`.
CONFIDENT = 0.85

# Larger pictures are searched in their best part of this side. With 512 pixels the search took
# twice as long, and restored the demonstration's picture no better.
_SIDE = 384
# Each scale is so many times as fine as the one before it.
_STEP = math.sqrt(2)
# All starts go up to this scale; only so many kernels are carried on to the full one.
_HALF = 0.5
_REFINED = 3
# How often the picture is sharpened and the kernel solved for at each scale.
_ITERATIONS = 3
# The share of gradients that the first of these uses, the strongest; and how it grows.
_SHARE = 0.05
_GROWTH = 1.3
# A kernel of which one pixel holds more than this is no blur, but a point.
POINT = 0.6
# Regularisation of the Wiener filter where the network is not told the kernel.
_UNGUIDED = 0.05
# The winner is refined once more. What it becomes is at least so much like it, and its rms radius
# at least so many times the winner's, or it is not taken.
_STILL_ALIKE, _STILL_AS_LARGE = 0.75, 0.95
# In a microscope kernels that are rounder may be the softness of the optics, see `PSF.roundness`.
ROUND = 0.8


class Restorer(Protocol):
    """What the search needs of a model: images (H, W, 3) float32 in 0..1, as they are stored.

    Attributes
    ----------
    can_be_thorough : bool
        Whether `guided` knows a better way than the quick one.
    """

    can_be_thorough: bool

    def blind(self, image: Image) -> Image:
        """Return the image restored without a kernel."""

    def guided(self, image: Image, kernel: Kernel, *, thorough: bool = False) -> Image:
        """Return the image restored with a kernel (K, K), K odd, of sum 1.

        ``thorough`` asks for the best that the model can do, and not for what is quick.
        """


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
    """A kernel, and what speaks for it.

    Parameters
    ----------
    kernel : ndarray
        (K, K) kernel at the scale that it was judged at.
    origin : str
        Where it came from, see `PSF`.
    start : _Start
        The way of searching that it was found in.
    restored : ndarray
        (H, W, 3) picture as the network restores it with the kernel.
    features : dict of str to float
        See `Judge`.
    score : float
        How good it is among the picture's others.
    """

    kernel: Kernel
    origin: str
    start: _Start
    restored: Image
    features: dict[str, float]
    score: float


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
        (H, W) or (H, W, 3), values in 0..1. Of images larger than 384 pixels the part with the
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
        better than without; from `CONFIDENT` on it should be used. It is 0, and the note says
        why, where the picture is not blurred or shows too little.

    Raises
    ------
    PSFError
        The image has another shape, or is smaller than 64 pixels.
    StoppedError
        ``stop`` was set.
    """
    search = Search(image, restorer, linear_light=linear_light, progress=progress, stop=stop)
    return search.run(max_radius, candidates)


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
    """One search in a picture, for those who want more of it than the best kernel.

    Parameters
    ----------
    image, restorer, linear_light, progress, stop
        See `estimate`.

    Attributes
    ----------
    noise : float
        Standard deviation of the picture's noise, in light.
    is_microscope : bool
        Whether the picture is grey and its values are proportional to light.
    early : list of Candidate
        What was found at half scale; only the best is carried on.
    """

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
        # Colours that are proportional to light are those of a camera's raw file.
        self.is_microscope = not linear_light and bool((self.image == self.image[..., :1]).all())
        self.progress, self.stop = progress, stop
        self.light = to_light(self.image, linear_light)
        self.saturated = saturated(self.image)
        self.noise = noise_level(self.light.mean(axis=-1), ~self.saturated)
        self.early: list[Candidate] = []
        self.from_network: list[tuple[Kernel, float]] = []
        self.done, self.total = 0.0, 1.0

    def run(self, max_radius: int, given: Iterable[PSF] = ()) -> PSF:
        """Return the best kernel, see `estimate`."""
        found = self.candidates(max_radius, given)
        if self.progress is not None:
            self.progress(1.0)
        if not found:
            return PSF(point().kernel, "found", 0.0, "There is too little structure.")
        best = max(found, key=lambda candidate: candidate.score)
        if best.kernel.max() > POINT:
            return PSF(point().kernel, best.origin, 0.0, "The picture is not blurred to speak of.")
        confidence = 1 / (1 + math.exp(-log_odds(best.features)))
        psf = PSF(self.polished(best), best.origin, confidence)
        if confidence < CONFIDENT and self.is_microscope and psf.roundness > ROUND:
            return replace(
                psf, note="What looks like one is round, and may be how soft the optics are."
            )
        return psf

    def candidates(self, max_radius: int, given: Iterable[PSF] = ()) -> list[Candidate]:
        """Return kernels at full scale, each with what speaks for it.

        Parameters
        ----------
        max_radius : int
            Largest radius in pixels that a kernel may have.
        given : iterable of PSF
            Kernels to judge beside those found.
        """
        starts = [_Start(max_radius), _Start(max_radius, caution=2.0, unguided=True)]
        drawn = [*given]
        self.from_network = [
            (rescaled(psf.kernel, _HALF), psf.confidence) for psf in drawn if psf.confidence
        ]
        if not drawn:
            starts += [
                _Start(max_radius, caution=4.0, even=False),
                # Of a short blur, wide kernels are mostly noise.
                _Start(max(4, max_radius // 3), caution=2.0),
            ]
        drawn += find_streaks(self.image, linear_light=self.linear_light, max_radius=max_radius)
        # In units of one restoration at full scale.
        self.total = 1.5 * len(starts) + 1.2 * len(drawn) + 3.5 * _REFINED + 4

        half = Level.of(self.light, self.saturated, _HALF, self.linear_light)
        early = []
        for start in starts:
            kernel = self._coarse_to_fine(start)
            if kernel is not None:
                early.append((kernel, "found", start))
        for psf in drawn:
            kernel = rescaled(psf.kernel, _HALF)
            early.append((kernel, psf.origin, starts[0]))
            improved = self._improved(half, kernel, starts[0], 0.1, 2)
            if improved is not None:
                early.append((improved, psf.origin, starts[0]))
        if not early:
            return []
        judge = self._judge(half, half)
        self.early = self._judged(judge, early, [kernel for kernel, _, _ in early])

        full = Level.of(self.light, self.saturated, 1.0, self.linear_light)
        best, *others = _distinct(self.early)
        # The second is of another origin, if there is one: what goes wrong in the search goes
        # wrong in all of its starts.
        others.sort(key=lambda other: (other.origin == best.origin, -other.score))
        # How much noise harms shows in the result, so the best is refined in both ways.
        ways = [(best, 1.0), (best, 10.0), *((other, 4.0) for other in others[:1])]
        final = [
            (self._refined(candidate, caution), candidate.origin, candidate.start)
            for candidate, caution in ways
        ]
        # As they were drawn: finding them needed no network.
        final += [(psf.kernel.copy(), psf.origin, starts[0]) for psf in drawn[:2]]
        judge = self._judge(full, half)
        return self._judged(judge, final, [candidate.kernel for candidate in self.early])

    def _judge(self, level: Level, half: Level) -> Judge:
        """Return the judge of kernels at one scale, who knows what no kernel would give."""
        return Judge(level, to_light(self._blind(level.image), self.linear_light), half)

    def _judged(
        self, judge: Judge, found: list[tuple[Kernel, str, _Start]], others: list[Kernel]
    ) -> list[Candidate]:
        """Restore with kernels, and judge them, also by how alike others at half scale are."""
        result = []
        for kernel, origin, start in found:
            thorough = self.restorer.can_be_thorough
            restored = self._guided(judge.level.image, kernel, thorough=thorough)
            features = judge.features(kernel, to_light(restored, self.linear_light))
            at_half = kernel if judge.level is judge.half else rescaled(kernel, _HALF)
            alike = sorted(similarity(at_half, other) for other in others)
            features["agreement"] = float(np.median(alike))
            # A microscope's round kernel may be no blur, but how soft its optics make everything.
            features["round_microscope"] = self.is_microscope * features["roundness"] ** 2
            # The most alike is the kernel itself, or what it was refined from.
            features["seconded"] = alike[-2] if len(alike) > 1 else 0.0
            # What a learned estimator thinks of its own kernels, for those that resemble them.
            features["network_confidence"] = max(
                (
                    probability * similarity(at_half, theirs)
                    for theirs, probability in self.from_network
                ),
                default=0.0,
            )
            result.append(
                Candidate(kernel, origin, start, restored, features, preference(features))
            )
        return result

    def polished(self, candidate: Candidate) -> Kernel:
        """Solve for a candidate's kernel once more, from the best restoration that it gives.

        Once: from then on it is fitted to what is wrong with the restoration.

        Parameters
        ----------
        candidate : Candidate
            One of `candidates`.

        Returns
        -------
        ndarray
            (K, K) new kernel; the candidate's, unless the new one `is_refinement` of it.
        """
        if not self.restorer.can_be_thorough:
            return candidate.kernel
        level = Level.of(self.light, self.saturated, 1.0, self.linear_light)
        start = replace(candidate.start, caution=1.0, even=True)
        kernel = self._improved(level, candidate.kernel, start, _SHARE, 1, thorough=True)
        if kernel is None or not is_refinement(kernel, candidate.kernel):
            return candidate.kernel
        return kernel

    def _improved(
        self,
        level: Level,
        kernel: Kernel,
        start: _Start,
        share: float,
        iterations: int,
        *,
        thorough: bool = False,
    ) -> Kernel | None:
        """Alternate between restoring with a kernel and solving for it."""
        largest = max(3, math.ceil(start.radius * level.scale))
        radius = min(largest, math.ceil(kernel.shape[0] // 2 * 1.2) + 1)
        current = fitted(kernel, radius)
        for iteration in range(iterations):
            restored = self._guided(level.image, current, thorough=thorough)
            sharp = to_light(restored, self.linear_light)
            solved = level.solve(
                sharp, current, share * _GROWTH**iteration, start.caution, start.even
            )
            if solved is None:
                return None
            current = fitted(centred(solved), radius)
        return centred(current)

    def _refined(self, candidate: Candidate, caution: float) -> Kernel:
        """Carry a candidate of half the scale to the full one."""
        kernel = candidate.kernel
        scale = _HALF
        for finer in (math.sqrt(0.5), 1.0):
            grown = rescaled(kernel, finer / scale)
            level = Level.of(self.light, self.saturated, finer, self.linear_light)
            # The finer the scale, the more noise.
            start = replace(candidate.start, caution=2 * caution * finer**2)
            improved = self._improved(level, grown, start, _SHARE, 2 if finer == 1 else 1)
            kernel = grown if improved is None else improved
            scale = finer
        return kernel

    def _blind(self, image: Image) -> Image:
        self._step(image)
        return self.restorer.blind(image)

    def _guided(self, image: Image, kernel: Kernel, *, thorough: bool = False) -> Image:
        self._step(image)
        return self.restorer.guided(image, kernel, thorough=thorough)

    def _sharpened(self, level: Level, kernel: Kernel, start: _Start) -> Image:
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
            level = Level.of(self.light, self.saturated, scale, self.linear_light)
            radius = max(2, math.ceil(start.radius * scale))
            if kernel is None:
                kernel = np.zeros((2 * radius + 1,) * 2, np.float32)
                kernel[radius, radius] = 1
                sharp = self._blind(level.image)
            else:
                grown = rescaled(kernel, _STEP)
                # The kernel may have been cut too narrow at the coarser scale.
                radius = min(radius, max(3, math.ceil(grown.shape[0] // 2 * 1.3) + 1))
                kernel = fitted(grown, radius)
                sharp = self._sharpened(level, kernel, start)
            for iteration in range(_ITERATIONS):
                if iteration:
                    sharp = self._sharpened(level, kernel, start)
                share = _SHARE * _GROWTH**iteration
                light = to_light(sharp, self.linear_light)
                solved = level.solve(light, kernel, share, start.caution, start.even)
                if solved is None:
                    return None
                kernel = fitted(centred(solved), radius)
        return None if kernel is None else centred(kernel)


def is_refinement(kernel: Kernel, before: Kernel) -> bool:
    """Whether a kernel that was solved for from the restoration with another improves on that.

    It must be alike, and not smaller: what blur the restoration leaves is missing from the kernel.

    Parameters
    ----------
    kernel, before : ndarray
        (K, K) the new kernel and the other, each of sum 1; their sides may differ.
    """
    radius, radius_before = (PSF(one, "").rms_radius for one in (kernel, before))
    alike = similarity(kernel, before) >= _STILL_ALIKE
    return alike and radius >= _STILL_AS_LARGE * radius_before


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


def _distinct(candidates: list[Candidate]) -> list[Candidate]:
    """Return candidates, the best first, without those that are like a better one."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: -c.score):
        if all(similarity(candidate.kernel, other.kernel) < 0.97 for other in kept):
            kept.append(candidate)
    return kept
