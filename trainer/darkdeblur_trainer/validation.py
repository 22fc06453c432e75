"""Validation on pairs that are the same every time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from napari_darkdeblur.metrics import compare

from .config import ValidationConfig
from .data import ImageCache
from .synthesis import PairSynthesizer

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
        The image's file name.
    blurred, sharp : Tensor
        (3, H, W) in 0..1.
    """

    group: str
    name: str
    blurred: Tensor
    sharp: Tensor


def central_crop(image: Tensor, side: int) -> Tensor:
    """Cut the middle of (3, H, W) to (3, side, side), mirroring what is too small."""
    for dim in (1, 2):
        extent = image.shape[dim]
        place = torch.arange(side) + (extent - side) // 2
        place = place % (2 * extent)
        image = image.index_select(dim, torch.minimum(place, 2 * extent - 1 - place))
    return image


def validation_pairs(
    config: ValidationConfig, caches: tuple[ImageCache, ...]
) -> list[ValidationPair]:
    """Make (or read) the fixed pairs.

    Parameters
    ----------
    config : ValidationConfig
        How many, how large, and how degraded.
    caches : tuple of ImageCache
        Sharp images, or blurred and sharp ones.
    """
    count = min(config.images, len(caches[0]))
    pairs = []
    if len(caches) == 2:
        for index in range(count):
            blurred, sharp = (
                central_crop(cache.image(index), config.crop).float() / 255 for cache in caches
            )
            pairs.append(ValidationPair("pairs", caches[0].names[index], blurred, sharp))
        return pairs
    presets = [degradation.preset for degradation in config.degradations]
    for place, degradation in enumerate(config.degradations):
        preset = degradation.preset
        group = preset if presets.count(preset) == 1 else f"{preset}-{place}"
        synthesizer = PairSynthesizer([degradation], _SEED)
        for index in range(count):
            crop = central_crop(caches[0].image(index), config.crop + 2 * synthesizer.margin)
            made = synthesizer(crop[None], [index])
            name = caches[0].names[index]
            pairs.append(ValidationPair(group, name, made.blurred[0], made.sharp[0]))
    return pairs


@torch.no_grad()
def validate(
    network: nn.Module, pairs: list[ValidationPair], device: torch.device
) -> dict[str, float]:
    """Measure what a network makes of the pairs.

    Parameters
    ----------
    network : nn.Module
        On ``device``; maps (1, 3, H, W) to the same shape. Its mode is kept.
    pairs : list of ValidationPair
        See `validation_pairs`.
    device : torch.device
        Where the network is.

    Returns
    -------
    dict of float
        See `measure`.
    """
    was_training = network.training
    network.eval()
    try:
        return measure(lambda blurred: network(blurred[None].to(device))[0].float(), pairs)
    finally:
        network.train(was_training)


def measure(
    restore: Callable[[Tensor], Tensor], pairs: list[ValidationPair], progress: bool = False
) -> dict[str, float]:
    """Measure what a way of restoring makes of the pairs.

    Images are compared as they would be saved, rounded to 8 bits.

    Parameters
    ----------
    restore : callable
        Maps (3, H, W) to the same shape.
    pairs : list of ValidationPair
        See `validation_pairs`.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    dict of float
        ``"GROUP/METRIC"`` for the restored and ``"GROUP/METRIC_input"`` for the blurred images,
        means over images: ``psnr`` in dB, ``ssim``, ``ciede2000`` (mean colour difference).

    Raises
    ------
    ValueError
        What was restored is not finite.
    """
    sums: dict[str, list[float]] = {}
    for pair in tqdm(pairs, desc="validating", unit="image", disable=None if progress else True):
        restored = restore(pair.blurred).clamp(0, 1).cpu()
        reference = _as_saved(pair.sharp)
        for suffix, image in (("", restored), ("_input", pair.blurred)):
            measured = compare(_as_saved(image), reference)
            for metric, value in (
                ("psnr", measured.psnr),
                ("ssim", measured.ssim),
                ("ciede2000", measured.ciede2000_mean),
            ):
                sums.setdefault(f"{pair.group}/{metric}{suffix}", []).append(float(value))
    return {name: float(np.mean(values)) for name, values in sums.items()}


def results_table(results: dict[str, dict[str, float]]) -> str:
    """Format what `validate` returned for several models as a Markdown table.

    Parameters
    ----------
    results : dict
        By model name; every model on the same pairs.
    """
    lines = [
        "| blur | image | PSNR, dB | SSIM | CIEDE2000 |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    first = next(iter(results.values()))
    for group in dict.fromkeys(name.partition("/")[0] for name in first):
        rows = [("blurred", "_input", first)]
        rows += [(model, "", values) for model, values in results.items()]
        for label, suffix, values in rows:
            psnr, ssim, colour = (
                values[f"{group}/{metric}{suffix}"] for metric in ("psnr", "ssim", "ciede2000")
            )
            lines.append(f"| {group} | {label} | {psnr:.2f} | {ssim:.4f} | {colour:.2f} |")
    return "\n".join(lines)


def _as_saved(image: Tensor) -> NDArray[np.float64]:
    pixels: NDArray[np.float64] = image.permute(1, 2, 0).double().numpy()
    return np.rint(pixels * 255) / 255
