"""The least squares that a kernel is found with, at one scale of the picture."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.fft
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage

from .kernel import PSF
from .light import to_values

Image = NDArray[np.float32]
Kernel = NDArray[np.float32]

# Of the kernel's largest value; below it nothing is believed.
_FLOOR = 0.03


class Level:
    """The picture at one scale, and the least squares for its kernel.

    Parameters
    ----------
    light, image : ndarray
        (H, W, 3) picture in light, and as it is stored.
    saturated : ndarray
        (H, W) bool; these pixels do not count.
    scale : float
        How fine the scale is; 1 is the full one.
    """

    def __init__(
        self, light: Image, image: Image, saturated: NDArray[np.bool_], scale: float
    ) -> None:
        self.light, self.image, self.saturated, self.scale = light, image, saturated, scale
        self.grey = np.ascontiguousarray(light.mean(axis=-1))
        self.gradients = [g * ~saturated for g in differences(self.grey)]

    @classmethod
    def of(
        cls, light: Image, saturated: NDArray[np.bool_], scale: float, linear_light: bool
    ) -> Level:
        """Return the picture, given at full scale, at another one."""
        if scale < 1:
            shape = (round(light.shape[0] * scale), round(light.shape[1] * scale))
            light = np.clip(resized(light, shape), 0, 1)
            saturated = resized(saturated, shape) > 0.05
        return cls(light, to_values(light, linear_light), saturated, scale)

    def solve(
        self,
        sharp: Image,
        before: Kernel,
        share: float,
        caution: float = 1.0,
        even: bool = True,
        within: NDArray[np.bool_] | None = None,
        iterations: int = 100,
    ) -> Kernel | None:
        """Return the kernel between the strongest gradients of a sharp picture and this one's.

        Parameters
        ----------
        sharp : ndarray
            (H, W, 3) light of the picture as sharp as it is known.
        before : ndarray
            (K, K) kernel so far; its size is the largest that the result may have.
        share : float
            Share of the gradients that is used, the strongest: of weak ones a network is not
            sure, and noise has made some of them.
        caution : float
            How much more than assumed noise and unexplained gradients weigh.
        even : bool
            Whether gradients count relative to the local brightness.
        within : ndarray, optional
            (H, W) bool; gradients elsewhere are not used.
        iterations : int
            Steps of the solver.

        Returns
        -------
        ndarray or None
            (K, K), of sum 1, not centred; None where nothing can be said.
        """
        height, width = self.saturated.shape
        radius = before.shape[0] // 2
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
        gradients = differences(sharp.mean(axis=-1))
        weight = np.ones_like(self.grey)
        if even:
            local = ndimage.gaussian_filter(self.grey, max(2, radius / 2))
            weight = 1 / (local + 0.3 * local.mean())
            weight /= weight.mean()
        strength = np.hypot(*gradients) * usable * weight
        if usable.sum() < 100:
            return None
        threshold = max(float(np.quantile(strength[usable], 1 - share)), 1e-6)
        chosen = (strength >= threshold) * weight
        shape = tuple(scipy.fft.next_fast_len(n + 2 * radius, real=True) for n in (height, width))
        gram = np.zeros((4 * radius + 1,) * 2, np.float32)
        right = np.zeros((2 * radius + 1,) * 2, np.float32)
        if not chosen.any():
            return None
        total = 0.0
        for of_sharp, of_picture in zip(gradients, self.gradients, strict=True):
            transformed = rfft2(of_sharp * chosen, shape)
            total += float(((of_picture * weight) ** 2).sum())
            gram += _near(np.conj(transformed) * transformed, shape, 2 * radius)
            right += _near(np.conj(transformed) * rfft2(of_picture * weight, shape), shape, radius)
        count = float((~self.saturated).sum())
        kernel = _non_negative(gram, right, before, caution, total, count, iterations)
        return cleaned(kernel, _FLOOR) if kernel.max() > 0 else None


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
    spectrum = rfft2(np.roll(ring, (1 - side, 1 - side), (0, 1)), (size, size)).real
    energy = float(gram[side - 1, side - 1])

    def product(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
        return irfft2(rfft2(kernel, (size, size)) * spectrum, (size, size))[:side, :side]

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


def differences(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return differences to the next column and the next row, zero in the last."""
    dx, dy = np.zeros_like(values), np.zeros_like(values)
    dx[:, :-1] = np.diff(values, axis=1)
    dy[:-1] = np.diff(values, axis=0)
    return dx, dy


def rfft2(values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.complex64]:
    """Transform, padded with zeros to a shape, with as many threads as torch uses."""
    return np.asarray(scipy.fft.rfft2(values, s=shape, workers=torch.get_num_threads()))


def irfft2(values: NDArray[np.complex64], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Transform back, see `rfft2`."""
    return np.asarray(scipy.fft.irfft2(values, s=shape, workers=torch.get_num_threads()))


def _near(
    spectrum: NDArray[np.complex64], shape: tuple[int, ...], radius: int
) -> NDArray[np.float32]:
    """Return the part of a correlation that is within a radius of zero shift."""
    shifts = np.arange(-radius, radius + 1)
    return irfft2(spectrum, shape)[np.ix_(shifts % shape[0], shifts % shape[1])]


def resized(values: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resize (H, W) or (H, W, C) bicubically, without aliasing."""
    array = np.array(values, dtype=np.float32, order="C")  # torch takes no read-only ones
    tensor = torch.from_numpy(array[..., None] if array.ndim == 2 else array).permute(2, 0, 1)
    larger = F.interpolate(
        tensor[None], size=shape, mode="bicubic", antialias=True, align_corners=False
    )[0].permute(1, 2, 0)
    result = np.ascontiguousarray(larger.numpy())
    return result[..., 0] if array.ndim == 2 else result


def rescaled(kernel: Kernel, factor: float) -> Kernel:
    """Return a kernel as it is at a scale that is ``factor`` times as fine."""
    framed = np.pad(kernel, 2)
    side = round(framed.shape[0] * factor) | 1
    larger = np.clip(resized(framed, (side, side)), 0, None)
    return centred(cleaned(larger, 0.02))


def fitted(kernel: Kernel, radius: int) -> Kernel:
    """Return a kernel padded or cut to a radius, of sum 1."""
    margin = radius - kernel.shape[0] // 2
    result = np.pad(kernel, margin) if margin >= 0 else kernel[-margin:margin, -margin:margin]
    return np.asarray(result / result.sum(), dtype=np.float32)


def centred(kernel: NDArray[Any]) -> Kernel:
    """Return a kernel as `PSF.from_array` centres and trims it."""
    return PSF.from_array(kernel).kernel.copy()


def cleaned(kernel: NDArray[np.float32], floor: float) -> NDArray[np.float32]:
    """Cut off small values and parts that hold less than a tenth of the largest part's light."""
    kernel = np.where(kernel < floor * kernel.max(), 0, np.clip(kernel, 0, None))
    parts, count = ndimage.label(kernel > 0, np.ones((3, 3)))
    if count > 1:
        sums = ndimage.sum_labels(kernel, parts, np.arange(1, count + 1))
        kernel = kernel * np.isin(parts, 1 + np.flatnonzero(sums > 0.1 * sums.max()))
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def noise_level(grey: NDArray[np.float32], usable: NDArray[np.bool_]) -> float:
    """Return the standard deviation of a picture's noise, from its finest diagonal details."""
    detail = (grey[1:, 1:] - grey[1:, :-1] - grey[:-1, 1:] + grey[:-1, :-1]) / 2
    values = np.abs(detail[usable[1:, 1:]])
    return float(np.median(values)) / 0.6745 if values.size else 0.0


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
    spectrum = rfft2(kernel, shape)
    planes = [
        # The kernel begins at its corner: the sum is what the mirrored border is wide further on.
        irfft2(rfft2(framed[..., c], shape) * spectrum, shape)[
            2 * radius : 2 * radius + light.shape[0], 2 * radius : 2 * radius + light.shape[1]
        ]
        for c in range(light.shape[2])
    ]
    return np.stack(planes, axis=-1)
