"""The generator's multi-term objective (paper, section 2.2, eqs. 11-16)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import LossConfig
from .discriminator import adversarial_loss

# Five scales with the usual window of 11 need more than 160 pixels; patches have 128.
_MS_SSIM_WINDOW = 7
# Exponents of the scales, finest first, and constants of the index for a data range of 1 (Wang,
# Simoncelli and Bovik 2003, "Multi-scale structural similarity for image quality assessment").
_MS_SSIM_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_MS_SSIM_C1, _MS_SSIM_C2 = 0.01**2, 0.03**2


@cache
def _gaussian_window(channels: int, device: torch.device) -> Tensor:
    """Return a Gaussian of standard deviation 1.5 for each channel, (C, 1, 7, 1).

    Kept on the device: moving it there in every step would wait for the GPU.
    """
    offset = torch.arange(_MS_SSIM_WINDOW) - _MS_SSIM_WINDOW // 2
    weights = torch.exp(-offset.square() / (2 * 1.5**2))
    return (weights / weights.sum()).view(-1, 1).repeat(channels, 1, 1, 1).to(device)


@cache
def _ms_ssim_exponents(device: torch.device) -> Tensor:
    """Return the exponents of the scales, (5, 1), kept on the device."""
    return torch.tensor(_MS_SSIM_EXPONENTS).view(-1, 1).to(device)


def l1_loss(restored: Tensor, sharp: Tensor) -> Tensor:
    """Return the mean absolute difference (eq. 12); a scalar."""
    return F.l1_loss(restored, sharp)


def structure_loss(restored: Tensor, sharp: Tensor) -> Tensor:
    """Return 1 - MS-SSIM (eq. 13).

    The index is that of ``pytorch_msssim.ms_ssim`` with a window of 7, in less time: the batch is
    one image of many channels, variances are filtered as their sum, and only the coarsest scale
    computes the luminance, which is all that the index takes from it.

    Parameters
    ----------
    restored, sharp : Tensor
        (N, 3, H, W) fp32 of at least 97 × 97 pixels. The index is defined for values in 0..1:
        what leaves them in ``restored`` is clipped, and L1's business.

    Returns
    -------
    Tensor
        A scalar.
    """
    x, y = _as_channels(restored.clamp(0, 1)), _as_channels(sharp)
    window = _gaussian_window(x.shape[1], x.device)
    scales = []
    for scale in range(len(_MS_SSIM_EXPONENTS)):
        if scale > 0:
            odd = [side % 2 for side in x.shape[2:]]
            x, y = F.avg_pool2d(x, 2, padding=odd), F.avg_pool2d(y, 2, padding=odd)
        mean_x, mean_y = _filtered(x, window), _filtered(y, window)
        squares = mean_x * mean_x + mean_y * mean_y
        product = mean_x * mean_y
        covariance = _filtered(x * y, window) - product
        variances = _filtered(x * x + y * y, window) - squares
        similarity = (2 * covariance + _MS_SSIM_C2) / (variances + _MS_SSIM_C2)
        if scale == len(_MS_SSIM_EXPONENTS) - 1:
            similarity = similarity * (2 * product + _MS_SSIM_C1) / (squares + _MS_SSIM_C1)
        scales.append(F.relu(similarity.mean(dim=(0, 2, 3))))
    index = torch.stack(scales).pow(_ms_ssim_exponents(x.device)).prod(dim=0)
    return 1 - index.mean()


def _as_channels(images: Tensor) -> Tensor:
    """Return (N, C, H, W) as one image (1, N × C, H, W), in the order that its device filters best.

    On a CPU a filter then works on many channels at a time, which lie side by side in memory.
    """
    on_cpu = images.device.type == "cpu"
    order = torch.channels_last if on_cpu else torch.contiguous_format
    return images.reshape(1, -1, *images.shape[2:]).contiguous(memory_format=order)


def _filtered(image: Tensor, window: Tensor) -> Tensor:
    """Return what a separable window sees, where it lies inside the image."""
    channels = image.shape[1]
    columns = F.conv2d(image, window, groups=channels)
    return F.conv2d(columns, window.mT, groups=channels)


class Objective:
    """The weighted sum of the terms that are switched on (eq. 16).

    Parameters
    ----------
    config : LossConfig
        Weights, and the step from which each term counts.
    features : nn.Module, optional
        `VggFeatures`, or compiled ones; needed when the feature term is on.
    autocast : callable
        Gives the context in which networks run; the terms themselves are computed in fp32.
    """

    def __init__(
        self,
        config: LossConfig,
        features: nn.Module | None,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.config = config
        self.features = features
        self.autocast = autocast

    def is_adversarial_at(self, step: int) -> bool:
        """Whether the adversarial term (and so the discriminator) is on at a step."""
        return self.config.adversarial.on_at(step)

    def __call__(
        self,
        step: int,
        restored: Tensor,
        sharp: Tensor,
        discriminate: Callable[[Tensor], Tensor],
    ) -> dict[str, Tensor]:
        """Return the weighted terms by name; their sum is what the generator minimises.

        Parameters
        ----------
        step : int
            Number of steps done before, which decides which terms are on.
        restored, sharp : Tensor
            (N, 3, H, W) fp32; sharp in 0..1.
        discriminate : callable
            Maps candidates to the discriminator's logits.

        Returns
        -------
        dict of Tensor
            Scalars, already multiplied by their weights.
        """
        config = self.config
        terms = {}
        if config.l1.on_at(step):
            terms["l1"] = config.l1.weight * l1_loss(restored, sharp)
        if config.ms_ssim.on_at(step):
            terms["ms_ssim"] = config.ms_ssim.weight * structure_loss(restored, sharp)
        if config.features.on_at(step):
            terms["features"] = config.features.weight * self.feature_loss(restored, sharp)
        if config.adversarial.on_at(step):
            terms["adversarial"] = config.adversarial.weight * adversarial_loss(
                discriminate(restored), real=True
            )
        return terms

    def feature_loss(self, restored: Tensor, sharp: Tensor) -> Tensor:
        """Return the mean absolute difference of VGG features (eq. 14); a scalar."""
        assert self.features is not None
        with self.autocast():
            with torch.no_grad():
                wanted = self.features(sharp)
            found = self.features(restored)
        return l1_loss(found.float(), wanted.float())


def gradient_shares(terms: dict[str, Tensor], restored: Tensor) -> dict[str, float]:
    """Return how much each term pulls at the restored image, as shares of 1.

    Parameters
    ----------
    terms : dict of Tensors
        Weighted scalars that depend on ``restored``; the graph is kept.
    restored : Tensor
        Output of the generator, with its graph.

    Returns
    -------
    dict of float
        Norm of each term's gradient with respect to the output, divided by their sum.

    Raises
    ------
    RuntimeError
        A term does not depend on ``restored``.
    """
    norms = {
        name: torch.autograd.grad(term, restored, retain_graph=True)[0].norm()
        for name, term in terms.items()
    }
    total = max(float(sum(norms.values())), 1e-30)
    return {name: float(norm) / total for name, norm in norms.items()}
