"""Validation on pairs that are the same every time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_darkdeblur.metrics import compare
from napari_darkdeblur.network import RestorationNetwork
from napari_darkdeblur.network.guides import deconvolved

from .config import ValidationConfig
from .data import ImageCache, as_unit_range
from .data.crops import central_crop
from .synthesis import Degradation, PairSynthesizer

# Validation pairs must not depend on the run's seed: runs are compared by them.
_SEED = 20_211


@dataclass(frozen=True)
class ValidationPair:
    """One blurred image with its reference.

    Parameters
    ----------
    group : str
        What the pair counts towards: the degradation's name, or ``"pairs"``.
    name : str
        File name of the image.
    blurred, sharp : Tensor
        (3, H, W) in 0..1; (1, H, W) if grey.
    kernel : Tensor, optional
        (K, K), what the sharp image was convolved with, if it was.
    linear_light : bool
        Whether it was convolved in linear light, and not as it is encoded.
    clean : Tensor, optional
        Of the shape of ``blurred``: the blurred image without noise, rounding and JPEG.
    """

    group: str
    name: str
    blurred: Tensor
    sharp: Tensor
    kernel: Tensor | None = None
    linear_light: bool = False
    clean: Tensor | None = None


def validation_pairs(
    config: ValidationConfig, caches: tuple[ImageCache, ...]
) -> list[ValidationPair]:
    """Make (or read) the fixed pairs.

    Parameters
    ----------
    config : ValidationConfig
        Number and size of the pairs, and their degradations.
    caches : tuple of ImageCache
        Sharp images, or blurred and sharp ones.
    """
    count = min(config.images, len(caches[0]))
    pairs = []
    if len(caches) == 2:
        for index in range(count):
            blurred, sharp = (
                central_crop(as_unit_range(cache.image(index)), config.crop) for cache in caches
            )
            pairs.append(ValidationPair("pairs", caches[0].names[index], blurred, sharp))
        return pairs
    presets = [degradation.preset for degradation in config.degradations]
    for place, degradation in enumerate(config.degradations):
        preset = degradation.preset
        group = preset if presets.count(preset) == 1 else f"{preset}-{place}"
        named = ((caches[0].names[index], caches[0].image(index)) for index in range(count))
        pairs += degraded(group, named, degradation, config.crop)
    return pairs


def degraded(
    group: str,
    images: Iterable[tuple[str, Tensor]],
    degradation: Degradation,
    crop: int,
    *,
    clean: bool = False,
) -> Iterator[ValidationPair]:
    """Degrade images: the n-th one the same way every time, however many there are.

    Parameters
    ----------
    group : str
        Name of the group that the pairs belong to.
    images : iterable of (str, Tensor)
        Names and sharp images, (3, H, W) uint8 or float32 in 0..1.
    degradation : Degradation
        Degradation that makes the blurred images.
    crop : int
        Side in pixels of the central crop.
    clean : bool
        Whether pairs get the blurred image without noise, too.
    """
    synthesizer = PairSynthesizer([degradation], _SEED)
    for index, (name, image) in enumerate(images):
        wide = central_crop(image, crop + 2 * synthesizer.margin)
        made = synthesizer(wide[None], [index], clean=clean)
        yield ValidationPair(
            group,
            name,
            made.blurred[0],
            made.sharp[0],
            made.kernels[0],
            degradation.linear_light,
            None if made.clean is None else made.clean[0],
        )


@torch.no_grad()
def validate(
    network: nn.Module, pairs: list[ValidationPair], device: torch.device
) -> dict[str, float]:
    """Measure what a network makes of the pairs.

    Images are compared as they would be saved, rounded to 8 bits.

    Parameters
    ----------
    network : nn.Module
        On ``device``; maps (1, 3, H, W) to the same shape. Its mode is kept.
    pairs : list of ValidationPair
        Pairs to validate on, as `validation_pairs` returned them.
    device : torch.device
        Device on which the network is.

    Returns
    -------
    dict of float
        ``"GROUP/METRIC"`` for the restored and ``"GROUP/METRIC_input"`` for the blurred images,
        means over images: ``psnr`` in dB, ``ssim``, ``ciede2000`` (mean colour difference).
        ``"GROUP/METRIC_guided"``: what a network with guides makes of them with the true kernel.

    Raises
    ------
    ValueError
        What was restored is not finite.
    """
    sums: dict[str, list[float]] = {}
    guides = network.config.guides if isinstance(network, RestorationNetwork) else 0
    was_training = network.training
    network.eval()
    try:
        for pair in pairs:
            picture = pair.blurred[None].to(device)
            images = {"": network(picture), "_input": picture}
            if guides and pair.kernel is not None:
                kernel = pair.kernel[None].to(device)
                beside = deconvolved(picture, kernel, pair.linear_light, guides)
                images["_guided"] = network(torch.cat([picture, beside], dim=1))
            reference = as_saved(pair.sharp)
            for suffix, made in images.items():
                image = made[0].float().clamp(0, 1).cpu()
                measured = compare(as_saved(image), reference)
                for metric, value in (
                    ("psnr", measured.psnr),
                    ("ssim", measured.ssim),
                    ("ciede2000", measured.ciede2000_mean),
                ):
                    sums.setdefault(f"{pair.group}/{metric}{suffix}", []).append(value)
    finally:
        network.train(was_training)
    return {name: float(np.mean(values)) for name, values in sums.items()}


def as_saved(image: Tensor) -> NDArray[np.float64]:
    """Return (3, H, W) or (1, H, W) in 0..1 as a file of 8 bits would give it back, for metrics.

    Returns
    -------
    ndarray
        (H, W, 3) or (H, W), in 0..1.
    """
    pixels: NDArray[np.float64] = image.permute(1, 2, 0).double().numpy()
    rounded = np.rint(pixels * 255) / 255
    return rounded if rounded.shape[2] == 3 else rounded[:, :, 0]
