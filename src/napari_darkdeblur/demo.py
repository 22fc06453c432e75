"""A photograph spoilt the way a hand-held phone spoils it in the dark, to try a model on.

Everything is fixed, noise included, so that everybody sees the same picture and the same
numbers. It needs no network access: the photograph comes with scikit-image.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .srgb import linear_to_srgb, srgb_to_linear

# Fraction of the photograph's light that reaches the sensor: two stops under.
EXPOSURE = 0.25

# Sensor noise in linear light, white being 1; about that of a phone at ISO 200:
# variance = SHOT_GAIN * signal + READ_NOISE ** 2.
SHOT_GAIN = 5e-4
READ_NOISE = 1e-3
NOISE_SEED = 20

# The camera's path while the shutter is open: control points (x, y) in pixels of a Bézier
# curve. It is a hook, as hands draw it: up, and down again on the other side, 16 pixels long
# (4.3 pixels RMS).
SHAKE = ((0.0, 0.0), (1.5, -4.5), (6.0, -3.0), (9.8, 6.0), (6.8, 8.2))
_TIMES = 2000

# (row, column) in the pair of what is worth a closer look: the face and the mission patch.
DETAILS = ((110, 216), (376, 164))


class DemoPair(NamedTuple):
    """A blurred image and what it would be without blur and noise.

    Parameters
    ----------
    blurred, reference : ndarray of uint8
        (H, W, 3), sRGB.
    """

    blurred: NDArray[np.uint8]
    reference: NDArray[np.uint8]


def photograph() -> NDArray[np.uint8]:
    """Return the photograph of the demonstration.

    Returns
    -------
    ndarray of uint8
        (512, 512, 3), sRGB: Eileen Collins, photographed by NASA (public domain). One of
        the pictures inside scikit-image's own package; none is downloaded.
    """
    from skimage.data import astronaut

    image: NDArray[np.uint8] = np.asarray(astronaut())
    return image


def make_demo_pair(image: NDArray[np.uint8] | None = None) -> DemoPair:
    """Darken an image, shake the camera and add sensor noise.

    In linear light: exposure, blur along `SHAKE`, photon and read noise; then back to sRGB
    and to 8 bits. The reference has the same exposure and neither blur nor noise.

    Parameters
    ----------
    image : ndarray of uint8, optional
        (H, W, 3), sRGB, larger than the shake on both sides; the default is `photograph`.

    Returns
    -------
    DemoPair
        Smaller than the image by half the size of the kernel on each side: the scene goes
        on beyond the frame, and no border had to be made up.
    """
    light = EXPOSURE * srgb_to_linear((photograph() if image is None else image) / 255)
    kernel = shake_kernel()
    margin = kernel.shape[0] // 2
    height, width = light.shape[:2]
    if min(height, width) <= 2 * margin:
        raise ValueError(
            f"The image is {width} × {height} pixels; the demonstration's blur needs more "
            f"than {2 * margin} on both sides."
        )
    # Rounded, because Fourier transforms differ from machine to machine in the last digits, and
    # with them the photons that are counted.
    blurred = add_noise(np.round(convolve_valid(light, kernel), 9))
    sharp = light[margin : height - margin, margin : width - margin]
    return DemoPair(_to_bytes(linear_to_srgb(blurred)), _to_bytes(linear_to_srgb(sharp)))


def shake_kernel() -> NDArray[np.float64]:
    """Return the blur kernel of `SHAKE`.

    Returns
    -------
    ndarray
        (K, K), K odd, non-negative, sum 1. Its centroid is the centre, so that a sharp
        image and its blurred one stay in register.
    """
    # Bézier curve at equal steps of time, by de Casteljau's construction.
    time = (np.arange(_TIMES) + 0.5)[:, None, None] / _TIMES
    points = np.broadcast_to(np.asarray(SHAKE), (_TIMES, len(SHAKE), 2))
    while points.shape[1] > 1:
        points = (1 - time) * points[:, :-1] + time * points[:, 1:]
    return path_kernel(points[:, 0])


def path_kernel(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draw a camera's path as a blur kernel.

    Parameters
    ----------
    path : ndarray
        Positions (x, y) in pixels at equal steps of time, (T, 2).

    Returns
    -------
    ndarray
        (K, K), K odd, non-negative, sum 1, its centroid in the centre.
    """
    path = path - path.mean(axis=0)
    # Every moment's light is shared by the four pixels around its position, in proportion
    # to how near they are: this keeps the centroid exactly where it is.
    radius = int(np.ceil(np.abs(path).max()))
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    corner = np.floor(path).astype(int)
    part = path - corner
    for dx in (0, 1):
        for dy in (0, 1):
            weight = np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1])
            rows, columns = corner[:, 1] + dy + radius, corner[:, 0] + dx + radius
            np.add.at(kernel, (rows, columns), weight)
    normalised: NDArray[np.float64] = kernel / kernel.sum()
    return normalised


def convolve_valid(image: NDArray[Any], kernel: NDArray[Any]) -> NDArray[np.float64]:
    """Convolve every channel, and keep only what no border had a part in.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, C).
    kernel : ndarray
        (K, L), smaller than the image.

    Returns
    -------
    ndarray
        (H - K + 1, W - L + 1) or with channels.
    """
    size = image.shape[:2]
    transfer = np.fft.rfft2(kernel, size)
    if image.ndim == 3:
        transfer = transfer[..., None]
    spectrum = np.fft.rfft2(image, axes=(0, 1)) * transfer
    full: NDArray[np.float64] = np.fft.irfft2(spectrum, size, axes=(0, 1))
    return full[kernel.shape[0] - 1 :, kernel.shape[1] - 1 :]


def add_noise(light: NDArray[Any]) -> NDArray[np.float64]:
    """Return light with the demonstration's shot and read noise, the same in every call.

    Parameters
    ----------
    light : ndarray
        Light in 0..1, of any shape.
    """
    rng = np.random.default_rng(NOISE_SEED)
    photons = rng.poisson(np.clip(light, 0, None) / SHOT_GAIN)
    noisy: NDArray[np.float64] = SHOT_GAIN * photons + rng.normal(0, READ_NOISE, light.shape)
    return noisy


def _to_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    quantised: NDArray[np.uint8] = np.rint(255 * values).astype(np.uint8)
    return quantised
