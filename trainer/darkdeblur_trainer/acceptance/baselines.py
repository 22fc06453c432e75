"""What restoring gains without learning, by methods that are given the true blur kernel.

Nobody who restores a photograph has its kernel; here they have it, so that what they reach is the
most that such methods can. They work where the blur happened: in linear light, if it was there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft  # type: ignore[import-untyped]
from skimage.restoration import richardson_lucy, unsupervised_wiener
from torch import Tensor

from napari_darkdeblur.network.guides import linear_to_srgb, srgb_to_linear
from ..validation import ValidationPair

# More iterations sharpen more, and make more of the noise. Each image is given the best of these;
# 40 were never better, for any of the presets.
RICHARDSON_LUCY_ITERATIONS = (2, 5, 10, 20)

Image = NDArray[np.float64]


def wiener(pair: ValidationPair) -> Tensor:
    """Restore by the unsupervised Wiener filter, which estimates noise and smoothness itself.

    Parameters
    ----------
    pair : ValidationPair
        With its kernel.

    Returns
    -------
    Tensor
        Of the shape of ``pair.blurred``, in 0..1.
    """

    def restore(channel: Image, kernel: Image) -> Image:
        # It samples at random; the same numbers for every image keep the result the same.
        restored, _ = unsupervised_wiener(channel, kernel, clip=False, rng=0)
        return np.asarray(restored)

    return _by_channel(pair, restore, tapered=True)


def lucy(pair: ValidationPair) -> Tensor:
    """Restore by Richardson and Lucy's iterations, stopped where the result is nearest the truth.

    Where to stop is known here only because the reference is; see `wiener` for the rest.
    """

    def after(iterations: int) -> Tensor:
        def restore(channel: Image, kernel: Image) -> Image:
            restored = richardson_lucy(
                channel, kernel, num_iter=iterations, clip=False, filter_epsilon=1e-6
            )
            return np.asarray(restored)

        return _by_channel(pair, restore, tapered=False)

    results = [after(iterations) for iterations in RICHARDSON_LUCY_ITERATIONS]
    return min(results, key=lambda result: float((result - pair.sharp).square().mean()))


def _by_channel(
    pair: ValidationPair, restore: Callable[[Image, Image], Image], *, tapered: bool
) -> Tensor:
    """Restore each channel, in the light in which it was blurred, on a frame of mirrored pixels."""
    assert pair.kernel is not None
    kernel = _trimmed(pair.kernel.double().numpy())
    blurred = pair.blurred.double()
    light = srgb_to_linear(blurred) if pair.linear_light else blurred
    frame = 2 * (kernel.shape[0] // 2) + 1
    restored = []
    with fft.set_workers(torch.get_num_threads()):
        for channel in light.numpy():
            framed = np.pad(channel, frame, mode="symmetric")
            if tapered:
                framed = _tapered(framed, kernel)
            restored.append(restore(framed, kernel)[frame:-frame, frame:-frame])
    result = torch.from_numpy(np.stack(restored)).clamp(0, 1)
    return (linear_to_srgb(result) if pair.linear_light else result).float()


def _trimmed(kernel: Image) -> Image:
    """Cut a kernel to the smallest square around its middle that holds all of it."""
    middle = kernel.shape[0] // 2
    rows, columns = np.nonzero(kernel > 0)
    radius = int(max(np.abs(rows - middle).max(), np.abs(columns - middle).max(), 1))
    inside = slice(middle - radius, middle + radius + 1)
    trimmed: Image = kernel[inside, inside] / kernel[inside, inside].sum()
    return trimmed


def _tapered(image: Image, kernel: Image) -> Image:
    """Blend an image's border into what is opposite to it, as a periodic blur would.

    The filter takes the image for periodic. Where its two ends do not match it would see an edge,
    and surround it with waves.
    """
    weight = np.ones_like(image)
    for axis in (0, 1):
        length = image.shape[axis]
        profile = kernel.sum(axis=1 - axis)
        overlap = fft.irfft(np.abs(fft.rfft(profile, length)) ** 2, length)
        along = 1 - overlap / overlap.max()
        weight *= along[:, None] if axis == 0 else along[None, :]
    centred = np.zeros_like(image)
    centred[: kernel.shape[0], : kernel.shape[1]] = kernel
    centred = np.roll(centred, [-(side // 2) for side in kernel.shape], axis=(0, 1))
    blurred = fft.irfft2(fft.rfft2(image) * fft.rfft2(centred), image.shape)
    blended: Image = weight * image + (1 - weight) * blurred
    return blended
