"""Whether a kernel is the right one: what speaks for it, and how much."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy import ndimage

from .kernel import PSF, point, similarity
from .least_squares import (
    Image,
    Kernel,
    Level,
    blurred,
    differences,
    fitted,
    noise_level,
    rescaled,
    resized,
    rfft2,
)

# Both from `python -m benchmarks.shake fit` for small-v2, rounded: 160 pictures (training
# photographs, any blur and noise, 384 pixels a side). In its ten-fold cross-validation 68 % of the
# pictures had a kernel of more than 0.85; 95 % of these made their picture better, by 2.8 dB in the
# mean, the worst made it worse by 1.1 dB. `round_microscope` was fitted later, to 49 frames that
# are soft by their optics, with the rest kept (`--only`): without it 37 of these had a kernel of
# more than 0.85, and 11 lost up to 12 dB by kernels that were not there; with it 11 have one,
# and none loses. Another model needs another fit.
# Which of a picture's kernels is best: ridge regression of the gain in dB, within pictures.
CHOICE = {
    "residual": -0.11,
    "against_plain": -0.11,
    "spectrum": 0.70,
    "sharpness": 1.70,
    "change": 0.27,
    "quadrants": 0.0,
    "worst_quadrant": 0.0,
    "agreement": 1.36,
    "seconded": 0.99,
    "network_confidence": 11.84,
}
# Whether it is better than none: logistic regression.
CONFIDENCE = {
    "constant": -12.59,
    "residual": 0.0,
    "against_plain": -0.08,
    "spectrum": 0.92,
    "sharpness": 2.98,
    "quadrants": 4.90,
    "worst_quadrant": 2.30,
    "noise": -0.12,
    "rms": 0.51,
    "agreement": 3.02,
    "seconded": 2.40,
    "network_confidence": 2.59,
    "round_microscope": -4.2,
}
# What becomes sharper still than this, rings.
_SHARPEST = 0.5


def preference(features: dict[str, float]) -> float:
    """Return how good a kernel of these features is among others of the same picture."""
    return sum(value * features[name] for name, value in CHOICE.items())


def log_odds(features: dict[str, float]) -> float:
    """Return the logarithm of the odds that a kernel of these features improves its picture."""
    return sum(value * features.get(name, 1.0) for name, value in CONFIDENCE.items())


class Judge:
    """What speaks for a kernel, measured at one scale.

    Parameters
    ----------
    level : Level
        The picture at that scale.
    plain : ndarray
        (H, W, 3) light that the network restores without a kernel.
    half : Level
        The picture at half the full scale, where quadrants are compared: finer, every second
        pixel is noise.
    """

    def __init__(self, level: Level, plain: Image, half: Level) -> None:
        self.level, self.plain, self.half = level, plain, half
        cut = level.saturated
        self.inside = ~ndimage.binary_dilation(cut, iterations=8) if cut.any() else ~cut
        if self.inside.mean() < 0.05:
            self.inside = ~cut
        self.noise = max(noise_level(level.grey, ~cut), 1e-4)
        self.contrast = float(level.grey.std()) + 1e-6
        self.plain_residual = self._residual(point().kernel, plain)
        self.plain_sharpness = self._sharpness(plain)
        height, width = level.grey.shape
        window = np.outer(*(np.hanning(n + 2)[1:-1] for n in (height, width))) * ~cut
        frequency = np.hypot(scipy.fft.fftfreq(height)[:, None], scipy.fft.rfftfreq(width)[None])
        power = np.zeros(frequency.shape, np.float32)
        # Of gradients, whose spectrum is nearly flat, so that little leaks.
        for gradient in level.gradients:
            spectrum = rfft2((gradient * window).astype(np.float32), (height, width))
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
        psf = PSF(kernel, "")
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
            "sharpness": min(self._sharpness(restored) - self.plain_sharpness, _SHARPEST),
            # Whether all parts of the picture ask for this kernel.
            "quadrants": quadrants,
            "worst_quadrant": worst,
            "change": math.log((float((difference**2).mean()) ** 0.5 + noise) / self.contrast),
            "noise": math.log(self.noise / self.contrast),
            "rms": math.log(psf.rms_radius / self.level.scale + 0.3),
            "roundness": psf.roundness,
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
        dx, dy = differences(ndimage.gaussian_filter(light.mean(axis=-1), 0.7))
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
        transfer = np.abs(rfft2(kernel[:height, :width], (height, width))) ** 2
        model = transfer[self.used] * self.level_of_rings[self.rings] + self.floor
        expected = self._flattened(np.log(model))
        norm = math.sqrt(float((expected**2).sum() * (self.spectrum**2).sum()))
        return float((expected * self.spectrum).sum()) / (norm + 1e-6)

    def _quadrants(self, kernel: Kernel, restored: Image) -> tuple[float, float]:
        """Solve for the kernel in each quadrant; return how alike they are: mean and least."""
        half = self.half
        if half is not self.level:
            kernel = rescaled(kernel, half.scale / self.level.scale)
            restored = resized(restored, half.grey.shape)
        height, width = half.grey.shape
        before = fitted(kernel, min(kernel.shape[0] // 2 + 3, min(height, width) // 4))
        likeness, weights = [], []
        for rows in (slice(0, height // 2), slice(height // 2, height)):
            for columns in (slice(0, width // 2), slice(width // 2, width)):
                within = np.zeros((height, width), bool)
                within[rows, columns] = True
                solved = half.solve(restored, before, 0.15, within=within, iterations=30)
                likeness.append(0.0 if solved is None else similarity(solved, kernel))
                weights.append(
                    float((half.gradients[0] ** 2 + half.gradients[1] ** 2)[within].sum())
                )
        total = sum(weights) + 1e-12
        mean = sum(a * w for a, w in zip(likeness, weights, strict=True)) / total
        # A quadrant that is all sky says nothing.
        telling = [a for a, w in zip(likeness, weights, strict=True) if w > 0.1 * total]
        return mean, min(telling, default=0.0)
