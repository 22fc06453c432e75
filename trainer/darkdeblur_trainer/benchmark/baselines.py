"""What restoring gains without learning: by denoising, with the true kernel, and blindly.

A deblurrer that does not beat a denoiser is none: `perfect_denoiser` is the bound of all of them,
`nl_means` and `bm3d` are real ones.

Nobody who restores a photograph has its kernel; `wiener` and `richardson_lucy` have it here, so
that what they reach is the most that such methods can. They work where the blur happened: in linear
light, if it was there. Where the blur varies over the picture, the kernel is that of its middle.

`BlindDeconvolution` finds the kernel itself, as users of such methods must: by the dark channel
prior or by light streaks, the classical methods that the paper compares itself with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from skimage import restoration
from torch import Tensor

from napari_darkdeblur.atomic import write_csv_rows
from napari_darkdeblur.errors import DarkDeblurError
from napari_darkdeblur.imagefiles import write_image
from napari_darkdeblur.network.guides import linear_to_srgb, srgb_to_linear
from napari_darkdeblur.network.guides import wiener as wiener_filtered

from ..validation import ValidationPair
from .blind import DarkChannel, LightStreaks, saturated_richardson_lucy
from .blind.light_streaks import similarity
from .methods import Method
from .scores import PERFECT_DENOISER

# From bold to cautious; each image is given the best of them.
WIENER_REGULARISATION = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
# More iterations sharpen more, and make more of the noise. Each image is given the best of these;
# 40 were never better, for any of the presets.
RICHARDSON_LUCY_ITERATIONS = (2, 5, 10, 20)

Image = NDArray[Any]
_LUMA = np.array([0.299, 0.587, 0.114])


class DenoiserError(DarkDeblurError, RuntimeError):
    """A denoiser is not installed; the message says what to do."""


def perfect_denoiser(pair: ValidationPair) -> Tensor:
    """Return the blurred image as it was before noise, rounding and JPEG.

    What a model gains beyond this is deblurring.

    Parameters
    ----------
    pair : ValidationPair
        With its noise-free image, `ValidationPair.clean`.

    Returns
    -------
    Tensor
        Of the shape of ``pair.blurred``, in 0..1.
    """
    assert pair.clean is not None
    return pair.clean


def nl_means(pair: ValidationPair) -> Tensor:
    """Denoise by non-local means (Buades, Coll and Morel, CVPR 2005), the noise estimated.

    Parameters and result are those of `perfect_denoiser`; the noise-free image is not needed.
    """
    require_wavelets()
    image = pair.blurred.permute(1, 2, 0).double().numpy()
    sigma = float(np.mean(restoration.estimate_sigma(image, channel_axis=-1)))
    denoised = restoration.denoise_nl_means(
        image, patch_size=5, patch_distance=6, h=0.8 * sigma, sigma=sigma, channel_axis=-1
    )
    return torch.from_numpy(denoised.reshape(image.shape)).permute(2, 0, 1).float()


def bm3d(pair: ValidationPair) -> Tensor:
    """Denoise by BM3D (Dabov et al., IEEE TIP 16(8), 2007), by its authors' package.

    Half a minute for a photograph of 512 pixels. See `nl_means` for the rest.

    Raises
    ------
    DenoiserError
        The package is not installed.
    """
    package = require_bm3d()
    require_wavelets()
    image = pair.blurred.permute(1, 2, 0).double().numpy()
    sigma = restoration.estimate_sigma(image, channel_axis=-1)
    denoised = package.bm3d(image, [max(float(value), 1e-4) for value in sigma])
    return torch.from_numpy(np.asarray(denoised).reshape(image.shape)).permute(2, 0, 1).float()


def require_wavelets() -> None:
    """Check that PyWavelets is there, with which scikit-image estimates the noise.

    Raises
    ------
    DenoiserError
        It is not installed.
    """
    try:
        import_module("pywt")
    except ImportError as error:
        raise DenoiserError(
            "The plain denoisers need PyWavelets: pip install 'napari-darkdeblur[train]'."
        ) from error


def require_bm3d() -> Any:
    """Return the package ``bm3d``, which its user installs: its licence is not a free one.

    Raises
    ------
    DenoiserError
        It is not installed.
    """
    try:
        return import_module("bm3d")
    except ImportError as error:
        raise DenoiserError(
            "The denoiser bm3d needs the package bm3d (pip install bm3d), whose licence allows "
            "non-commercial use only."
        ) from error


def wiener(pair: ValidationPair) -> Tensor:
    """Restore by a Wiener filter, at the strength whose result is nearest the truth.

    How strong to be is known here only because the reference is; see
    `napari_darkdeblur.network.guides.wiener` for the filter.

    Parameters
    ----------
    pair : ValidationPair
        Pair with the kernel that it was blurred with.

    Returns
    -------
    Tensor
        Of the shape of ``pair.blurred``, in 0..1.
    """
    assert pair.kernel is not None
    light = srgb_to_linear(pair.blurred) if pair.linear_light else pair.blurred
    found = wiener_filtered(light[None], pair.kernel[None], WIENER_REGULARISATION)
    return _nearest([_encoded(image[0], pair) for image in found], pair)


def richardson_lucy(pair: ValidationPair) -> Tensor:
    """Restore by Richardson and Lucy's iterations, stopped where the result is nearest the truth.

    Channel by channel, on a frame of mirrored pixels; see `wiener` for the rest.
    """
    assert pair.kernel is not None
    kernel = _trimmed(pair.kernel.double().numpy())
    blurred = pair.blurred.double()
    light = (srgb_to_linear(blurred) if pair.linear_light else blurred).numpy()
    frame = 2 * (kernel.shape[0] // 2) + 1

    def after(iterations: int) -> Tensor:
        restored = [
            restoration.richardson_lucy(
                np.pad(channel, frame, mode="symmetric"),
                kernel,
                num_iter=iterations,
                clip=False,
                filter_epsilon=1e-6,
            )[frame:-frame, frame:-frame]
            for channel in light
        ]
        return _encoded(torch.from_numpy(np.stack(restored)), pair)

    with fft.set_workers(torch.get_num_threads()):
        return _nearest([after(iterations) for iterations in RICHARDSON_LUCY_ITERATIONS], pair)


@dataclass(frozen=True)
class FoundKernel:
    """Kernel that a blind method estimated for a pair.

    Parameters
    ----------
    group, image, method : str
        Group and file name of the image, and name of the method.
    kernel : ndarray or None
        Kernel (K, K) of sum 1; None if the method found nothing to estimate it from.
    similarity : float or None
        Largest normalised cross-correlation with the true kernel over shifts, in 0..1; None
        without a true one or without an estimate.
    """

    group: str
    image: str
    method: str
    kernel: Image | None
    similarity: float | None


class BlindDeconvolution:
    """Restore by a kernel that is estimated from the blurred image alone.

    The kernel is estimated from the luma of the light that was blurred. The last step is that of
    Whyte et al. for saturated images, stopped where the result is nearest the truth, like
    `richardson_lucy`. The estimator is told how large the kernel is, as its users have to tell it.

    Parameters
    ----------
    name : str
        Name of the method in the tables.
    estimate : callable
        Estimator, such as `DarkChannel`: a function of a blurred image (H, W) of light and the
        side of the kernel in pixels that returns the kernel or None.
    bright : bool
        Whether the estimator is given an image whose brightest half per cent is white, or one in
        which white is the sensor's.

    Attributes
    ----------
    found : list of FoundKernel
        Kernels that were estimated so far.
    """

    def __init__(
        self, name: str, estimate: Callable[[Any, int], Any], *, bright: bool = False
    ) -> None:
        self.name = name
        self.found: list[FoundKernel] = []
        self._estimate = estimate
        self._bright = bright

    def __call__(self, pair: ValidationPair) -> Tensor:
        """Restore a pair's blurred image; unchanged if no kernel was found."""
        blurred = pair.blurred.double()
        light = (srgb_to_linear(blurred) if pair.linear_light else blurred).float().numpy()
        grey = np.tensordot(_LUMA, light, 1) if len(light) == 3 else light[0]
        grey = grey.astype(np.float32)
        if self._bright:
            grey = np.minimum(grey / max(float(np.percentile(grey, 99.5)), 1e-3), 1)
        true = None if pair.kernel is None else _trimmed(pair.kernel.double().numpy())
        side = 31 if true is None else max(9, true.shape[0] + 4)
        with fft.set_workers(torch.get_num_threads()):
            kernel = self._estimate(grey, side)
            alike = None
            if kernel is not None and true is not None:
                padded = np.pad(true, (side - true.shape[0]) // 2)
                alike = similarity(kernel, padded.astype(np.float32))
            self.found.append(FoundKernel(pair.group, pair.name, self.name, kernel, alike))
            if kernel is None:
                return pair.blurred
            channels = [
                saturated_richardson_lucy(channel, kernel, RICHARDSON_LUCY_ITERATIONS)
                for channel in light
            ]
        results = [
            _encoded(torch.from_numpy(np.stack(images)), pair)
            for images in zip(*channels, strict=True)
        ]
        return _nearest(results, pair)


# By what `--blind` calls them: their names in the tables, and how they are made.
BLIND: dict[str, tuple[str, Callable[[str], BlindDeconvolution]]] = {
    "dark-channel": (
        "dark channel prior",
        lambda name: BlindDeconvolution(name, DarkChannel(), bright=True),
    ),
    "light-streaks": ("light streaks", lambda name: BlindDeconvolution(name, LightStreaks())),
}


def write_kernels(folder: Path, found: Sequence[FoundKernel]) -> None:
    """Write estimated kernels as pictures, and ``kernels.csv`` with their similarities.

    Parameters
    ----------
    folder : pathlib.Path
        Folder for the files, which is made if need be.
    found : sequence of FoundKernel
        Kernels of all methods.

    Raises
    ------
    OSError, ImageFileError
        A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for entry in found:
        name = re.sub(r"[^\w.-]+", "-", f"{entry.group} {Path(entry.image).stem} {entry.method}")
        if entry.kernel is not None:
            picture = np.sqrt(entry.kernel / entry.kernel.max())
            enlarged = np.kron(np.rint(255 * picture), np.ones((4, 4))).astype(np.uint8)
            write_image(folder / f"{name}.png", enlarged, overwrite=True)
        written = "" if entry.kernel is None else f"{name}.png"
        alike = "" if entry.similarity is None else entry.similarity
        lines.append([entry.group, entry.image, entry.method, alike, written])
    head = ["blur", "image", "method", "similarity to the true kernel", "picture"]
    write_csv_rows(folder / "kernels.csv", [head, *lines])


# By what the tables call them.
BASELINES: dict[str, Method] = {
    PERFECT_DENOISER: perfect_denoiser,
    "NL-means": nl_means,
    "BM3D": bm3d,
    "Wiener, true PSF": wiener,
    "Richardson-Lucy, true PSF": richardson_lucy,
}


def _encoded(light: Tensor, pair: ValidationPair) -> Tensor:
    """Turn restored light back into the values of the pair."""
    clipped = light.clamp(0, 1)
    return (linear_to_srgb(clipped) if pair.linear_light else clipped).float()


def _nearest(results: Sequence[Tensor], pair: ValidationPair) -> Tensor:
    return min(results, key=lambda result: float((result - pair.sharp).square().mean()))


def _trimmed(kernel: Image) -> Image:
    """Cut a kernel to the smallest square around its middle that holds all of it."""
    middle = kernel.shape[0] // 2
    rows, columns = np.nonzero(kernel > 0)
    radius = int(max(np.abs(rows - middle).max(), np.abs(columns - middle).max(), 1))
    inside = slice(middle - radius, middle + radius + 1)
    trimmed: Image = kernel[inside, inside] / kernel[inside, inside].sum()
    return trimmed
