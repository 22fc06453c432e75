"""What blind deconvolution consists of: latent image, kernel, pyramid, and the last restoring step.

All images are grey or single channels (H, W), float32, in light where white is 1; kernels are
(K, K), K odd, of sum 1, their centroid in the middle. Convolutions are cyclic, by FFT.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from skimage.transform import resize

Image = NDArray[np.float32]
Spectrum = NDArray[np.complex64]

# Sharpness of the bend at white in the model of a saturating sensor (Whyte et al. 2014, eq. 9).
_BEND = 50.0
# Latent light above this share of white is treated as saturated (ibid., section 5).
_NEARLY_WHITE = 0.9
# A kernel's values below this share of the largest are noise.
KERNEL_FLOOR = 0.05


def spectrum_of_kernel(kernel: Image, shape: tuple[int, int]) -> Spectrum:
    """Return the transfer function of a kernel whose middle is the origin."""
    padded = np.zeros(shape, np.float32)
    size = kernel.shape[0]
    padded[:size, :size] = kernel
    transfer: Spectrum = fft.rfft2(np.roll(padded, (-(size // 2),) * 2, axis=(0, 1)))
    return transfer


def taper_borders(image: Image, width: int) -> Image:
    """Blur an image towards its borders, so that it goes on cyclically without a jump."""
    soft = ndimage.gaussian_filter(image, max(width / 2, 1.0), mode="wrap")
    weight = np.ones((1, 1), np.float32)
    for axis, length in enumerate(image.shape):
        distance = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
        ramp = np.sin(np.pi / 2 * np.clip(distance / max(width, 1), 0, 1)) ** 2
        weight = weight * (ramp[:, None] if axis == 0 else ramp[None, :])
    tapered: Image = (weight * image + (1 - weight) * soft).astype(np.float32)
    return tapered


def gradients(image: Image) -> tuple[Image, Image]:
    """Return the cyclic differences to the next column and to the next row."""
    return np.roll(image, -1, axis=1) - image, np.roll(image, -1, axis=0) - image


def _divergence(horizontal: Image, vertical: Image) -> Image:
    """Return the adjoint of `gradients`."""
    return (np.roll(horizontal, 1, axis=1) - horizontal) + (np.roll(vertical, 1, axis=0) - vertical)


def _laplacian_spectrum(shape: tuple[int, int]) -> Image:
    """Return the sum of the squared transfer functions of both differences."""
    y = 2 - 2 * np.cos(2 * np.pi * np.fft.fftfreq(shape[0]))
    x = 2 - 2 * np.cos(2 * np.pi * np.fft.rfftfreq(shape[1]))
    total: Image = (y[:, None] + x[None, :]).astype(np.float32)
    return total


def dark_channel(image: Image, patch: int) -> Image:
    """Return the smallest value of the patch around each pixel (He, Sun and Tang 2009)."""
    darkest: Image = ndimage.minimum_filter(image, patch, mode="wrap")
    return darkest


def without_dark_pixels(image: Image, patch: int, threshold: float) -> Image:
    """Set the pixels to 0 that are the darkest of some patch and darker than a threshold.

    This is the solution for the auxiliary variable of the dark channel, put back into the image
    (Pan et al. 2016, eq. 8 and the reverse operator below eq. 11).
    """
    darkest = dark_channel(image, patch)
    # A pixel is the darkest of a patch that holds it where no patch around it has a darker one.
    is_minimum = image <= ndimage.maximum_filter(darkest, patch, mode="wrap")
    return np.where(is_minimum & (image < threshold), np.float32(0), image)


def latent_image(
    blurred: Image, kernel: Image, gradient_weight: float, dark_weight: float = 0.0, patch: int = 35
) -> Image:
    """Estimate the sharp image by sparse gradients and, if asked for, a sparse dark channel.

    Minimises |I * k - B|^2 + mu |grad I|_0 + lambda |D(I)|_0 by half-quadratic splitting (Xu, Lu,
    Xu and Jia 2011 for the gradients; Pan, Sun, Pfister and Yang 2016, eqs. 5-13).

    Parameters
    ----------
    blurred : ndarray
        Blurred image that goes on cyclically; see `taper_borders`.
    kernel : ndarray
        Blur kernel.
    gradient_weight : float
        Weight mu of the number of gradients.
    dark_weight : float
        Weight lambda of the number of pixels of the dark channel; 0 leaves the term out.
    patch : int
        Side in pixels of the patches of the dark channel.
    """
    shape = blurred.shape
    transfer = spectrum_of_kernel(kernel, (shape[0], shape[1]))
    data = np.conj(transfer) * fft.rfft2(blurred)
    power = np.abs(transfer) ** 2
    laplacian = _laplacian_spectrum((shape[0], shape[1]))
    image = blurred
    betas = [0.0]
    if dark_weight > 0:
        count = math.ceil(math.log2(8 / (2 * dark_weight)))
        betas = [2 * dark_weight * 2**step for step in range(count)]
    for beta in betas:
        numerator, denominator = data, power
        if beta > 0:
            darkened = without_dark_pixels(image, patch, math.sqrt(dark_weight / beta))
            numerator, denominator = data + beta * fft.rfft2(darkened), power + beta
        alpha = 2 * gradient_weight
        while alpha < 1e5:
            horizontal, vertical = gradients(image)
            small = horizontal**2 + vertical**2 < gradient_weight / alpha
            horizontal[small] = vertical[small] = 0
            pull = fft.rfft2(_divergence(horizontal, vertical))
            spectrum = (numerator + alpha * pull) / (denominator + alpha * laplacian)
            image = fft.irfft2(spectrum, s=shape).astype(np.float32)
            alpha *= 2
    return image


def kernel_from_gradients(
    sharp: Image,
    blurred: Image,
    size: int,
    ridge: float,
    extra: tuple[Spectrum, Image] | None = None,
) -> Image:
    """Estimate the kernel by least squares between gradients, in closed form by FFT.

    Minimises |grad I * k - grad B|^2 + gamma |k|^2 (Cho and Lee 2009; Pan et al. 2016, eq. 4);
    negative values are then set to 0.

    Parameters
    ----------
    sharp, blurred : ndarray
        Estimate of the sharp image, and the blurred image.
    size : int
        Side of the kernel in pixels, odd.
    ridge : float
        Weight gamma.
    extra : tuple of ndarray, optional
        Further numerator and denominator of the least squares, as spectra.
    """
    numerator = np.zeros((sharp.shape[0], sharp.shape[1] // 2 + 1), np.complex64)
    denominator = np.full(numerator.shape, ridge, np.float32)
    for latent, observed in zip(gradients(sharp), gradients(blurred), strict=True):
        spectrum = fft.rfft2(latent)
        numerator += np.conj(spectrum) * fft.rfft2(observed)
        denominator += np.abs(spectrum) ** 2
    if extra is not None:
        numerator, denominator = numerator + extra[0], denominator + extra[1]
    whole = np.roll(fft.irfft2(numerator / denominator, s=sharp.shape), (size // 2,) * 2, (0, 1))
    return cleaned_kernel(whole[:size, :size])


def cleaned_kernel(kernel: Image, floor: float = KERNEL_FLOOR) -> Image:
    """Remove negative and small values and specks, centre what is left, scale it to a sum of 1."""
    size = kernel.shape[0]
    kept = np.where(kernel < floor * max(float(kernel.max()), 0.0), 0, np.maximum(kernel, 0))
    labels, count = ndimage.label(kept > 0, np.ones((3, 3)))
    if count > 1:
        sums = ndimage.sum_labels(kept, labels, np.arange(count + 1))
        kept = np.where(sums[labels] < 0.1 * sums.sum(), 0, kept)
    if kept.sum() <= 0:
        kept = np.zeros_like(kernel)
        kept[size // 2, size // 2] = 1
    shift = size // 2 - np.array(ndimage.center_of_mass(kept))
    moved = ndimage.shift(kept, np.round(shift), order=0)
    cleaned: Image = (moved / moved.sum()).astype(np.float32)
    return cleaned


def kernel_sizes(largest: int) -> list[int]:
    """Return odd kernel sizes of a pyramid, coarse to fine, about a factor of sqrt(2) apart."""
    sizes = [largest]
    while sizes[-1] > 5:
        sizes.append(max(3, int(sizes[-1] / math.sqrt(2)) // 2 * 2 + 1))
        if sizes[-1] == sizes[-2]:
            sizes[-1] -= 2
    return sizes[::-1]


def coarse_to_fine(
    blurred: Image, size: int, estimate: Callable[[Image, Image, float], Image]
) -> Image:
    """Estimate a kernel over a pyramid of the blurred image.

    Parameters
    ----------
    blurred : ndarray
        Blurred image.
    size : int
        Side of the kernel in pixels, odd.
    estimate : callable
        Function of the blurred image at one scale, the kernel found so far, at that scale, and
        the scale (1 for the finest), that returns a better kernel of the same size.

    Returns
    -------
    ndarray
        Kernel (size, size).
    """
    kernel = np.zeros((3, 3), np.float32)
    kernel[1, 1:] = 0.5
    for side in kernel_sizes(size):
        scale = side / size
        shape = tuple(max(side + 2, round(length * scale)) for length in blurred.shape)
        small = resize(blurred, shape, order=1, anti_aliasing=scale < 1).astype(np.float32)
        grown = resize(kernel, (side, side), order=1, anti_aliasing=False)
        kernel = estimate(taper_borders(small, side), cleaned_kernel(grown), scale)
    return kernel


def saturated_richardson_lucy(
    blurred: Image, kernel: Image, iterations: tuple[int, ...] = (30,)
) -> list[Image]:
    """Restore an image with a known kernel, some of whose light is beyond white.

    Richardson-Lucy with a sensor that saturates: R(x) is x below 1 and bends to 1 above (Whyte,
    Sivic and Zisserman, "Deblurring shaken and partially saturated images", IJCV 110, 2014,
    eqs. 9-13). Dark latent pixels learn only from observed pixels that no nearly white one
    reaches, which keeps ringing away from lamps (ibid., section 5).

    Parameters
    ----------
    blurred : ndarray
        Blurred image (H, W) of light, white being 1.
    kernel : ndarray
        Blur kernel (K, K) of sum 1.
    iterations : tuple of int
        Numbers of iterations after which the image is returned, ascending.

    Returns
    -------
    list of ndarray
        Restored images (H, W), one for each number of iterations; values may exceed 1.
    """
    frame = kernel.shape[0]
    observed = np.pad(blurred.astype(np.float32), frame, mode="symmetric")
    shape = (observed.shape[0], observed.shape[1])
    transfer = spectrum_of_kernel(kernel, shape)
    reach = kernel > KERNEL_FLOOR * kernel.max()

    def blur(image: Image, spectrum: Spectrum) -> Image:
        blurred_image: Image = fft.irfft2(fft.rfft2(image) * spectrum, s=shape).astype(np.float32)
        return blurred_image

    latent = np.maximum(observed, 1e-4)
    restored = []
    for step in range(1, iterations[-1] + 1):
        expected = np.maximum(blur(latent, transfer), 1e-6)
        slope = 1 / (1 + np.exp(np.clip(_BEND * (expected - 1), -60, 60)))
        response = expected - np.logaddexp(0, _BEND * (expected - 1)) / _BEND
        ratio = observed * slope / np.maximum(response, 1e-6) + 1 - slope
        bright = latent >= _NEARLY_WHITE
        factor = blur(ratio.astype(np.float32), np.conj(transfer))
        if bright.any():
            near = ndimage.binary_dilation(bright, reach) if reach.sum() < 400 else bright
            trusted = np.where(ndimage.binary_dilation(near, iterations=1), 1.0, ratio)
            factor = np.where(bright, factor, blur(trusted.astype(np.float32), np.conj(transfer)))
        latent = np.maximum(latent * factor, 1e-6).astype(np.float32)
        if step in iterations:
            restored.append(latent[frame:-frame, frame:-frame])
    return restored
