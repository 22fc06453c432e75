"""Blind deblurring of low-light images by light streaks.

Z. Hu, S. Cho, J. Wang and M.-H. Yang, "Deblurring low-light images with light streaks", CVPR 2014:
a small lamp in the dark draws the blur kernel itself. Streaks are found by themselves, and the
kernel has to explain both them (a disc of light that saturates) and the gradients of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from .deconvolution import (
    Image,
    Spectrum,
    cleaned_kernel,
    gradients,
    kernel_from_gradients,
    latent_image,
    spectrum_of_kernel,
    taper_borders,
)

# A streak stands out from its patch's border by this factor at least, covers at most this share
# of the patch, and touches its border nowhere.
_CONTRAST, _LARGEST_SHARE = 5.0, 0.35
# Streaks of one picture are alike: those less similar to the best one are left out.
_ALIKE = 0.6


@dataclass(frozen=True)
class LightStreaks:
    """Estimator of the blur kernel by the streaks of small lamps and by gradients.

    Parameters
    ----------
    gradient_weight : float
        Weight of the number of gradients of the latent image.
    ridge : float
        Weight of the kernel's norm.
    streak_weight : float
        Weight of the streaks, beside the gradients of the whole image.
    most_streaks : int
        Number of streaks that are used at most.
    iterations : int
        Alternations between image and kernel.
    """

    gradient_weight: float = 4e-3
    ridge: float = 1.0
    streak_weight: float = 1.0
    most_streaks: int = 6
    iterations: int = 6

    def __call__(self, blurred: Image, size: int) -> Image | None:
        """Estimate the kernel of a blurred image.

        Parameters
        ----------
        blurred : ndarray
            Grey image (H, W) of light, white being 1.
        size : int
            Side of the kernel in pixels, odd.

        Returns
        -------
        ndarray or None
            Kernel (size, size), not negative, of sum 1; None if no streak was found.
        """
        streaks = find_streaks(blurred, size)[: self.most_streaks]
        if not streaks:
            return None
        kernel = cleaned_kernel(np.mean(streaks, axis=0), floor=0.15)
        image = taper_borders(np.minimum(blurred, 1), size)
        extra = self._streak_terms(image, streaks)
        weight = self.gradient_weight
        for _ in range(self.iterations):
            sharp = latent_image(image, kernel, weight)
            kernel = kernel_from_gradients(sharp, image, size, self.ridge, extra)
            weight = max(weight / 1.1, 1e-4)
        return kernel

    def _streak_terms(self, image: Image, streaks: list[Image]) -> tuple[Spectrum, Image]:
        """Return the streaks' part of the least squares: each is a lamp's disc blurred."""
        shape = (image.shape[0], image.shape[1])
        lamp = np.zeros(shape, np.float32)
        lamp[0, 0] = 1
        lamp = ndimage.gaussian_filter(lamp, 0.7, mode="wrap")
        numerator = np.zeros((shape[0], shape[1] // 2 + 1), np.complex64)
        denominator = np.zeros(numerator.shape, np.float32)
        # As heavy as the gradients of the whole image.
        energy = sum(float((part**2).sum()) for part in gradients(image))
        weight = self.streak_weight * energy / len(streaks)
        source = fft.rfft2(lamp)
        for streak in streaks:
            numerator += weight * np.conj(source) * spectrum_of_kernel(streak, shape)
            denominator += weight * np.abs(source) ** 2
        return numerator, denominator


def find_streaks(blurred: Image, size: int) -> list[Image]:
    """Find the streaks of small lamps.

    Parameters
    ----------
    blurred : ndarray
        Grey image (H, W) of light, white being 1.
    size : int
        Side in pixels of the patches in which streaks have to fit, odd.

    Returns
    -------
    list of ndarray
        Patches (size, size), background removed, centred, of sum 1; the clearest first, and those
        that are not like it left out.
    """
    half = size // 2
    ground = ndimage.median_filter(blurred, size=2 * half + 1, mode="reflect")
    above = np.maximum(blurred - ground, 0)
    threshold = max(0.1, 0.3 * float(np.percentile(above, 99.9)))
    labels, _ = ndimage.label(above > threshold, np.ones((3, 3)))
    found: list[tuple[float, Image]] = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        height, width = (part.stop - part.start for part in box)
        if max(height, width) >= size - 2 or max(height, width) < 3:
            continue
        inside = labels[box] == number
        row, column = ndimage.center_of_mass(np.where(inside, above[box], 0))
        row, column = round(box[0].start + row), round(box[1].start + column)
        if not (half <= row < blurred.shape[0] - half and half <= column < blurred.shape[1] - half):
            continue
        window = np.s_[row - half : row + half + 1, column - half : column + half + 1]
        patch, own = above[window], labels[window] == number
        around = patch[~ndimage.binary_dilation(own, iterations=2)]
        if own.mean() > _LARGEST_SHARE or around.size == 0:
            continue
        contrast = float(patch[own].mean() / max(float(np.percentile(around, 90)), 0.02))
        if contrast < _CONTRAST:
            continue
        streak = np.where(ndimage.binary_dilation(own, iterations=1), patch, 0)
        found.append((contrast, (streak / streak.sum()).astype(np.float32)))
    found.sort(key=lambda item: -item[0])
    streaks = [streak for _, streak in found[:32]]
    if not streaks:
        return []
    # The streak that is most like all others is the best witness of the blur.
    alike = np.array([[similarity(a, b) for b in streaks] for a in streaks])
    best = int(alike.mean(axis=1).argmax())
    order = np.argsort(-alike[best])
    return [streaks[place] for place in order if alike[best, place] >= _ALIKE]


def similarity(first: Image, second: Image) -> float:
    """Return the largest normalised cross-correlation of two patches over shifts, in 0..1."""
    shape = [2 * length for length in first.shape]
    product = np.conj(fft.rfft2(first, s=shape)) * fft.rfft2(second, s=shape)
    norm = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float(fft.irfft2(product, s=shape).max()) / max(norm, 1e-20)
