"""The generator's multi-term objective (paper, section 2.2, eqs. 11-16)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_msssim import ms_ssim
from torch import Tensor, nn

from .config import LossConfig
from .discriminator import adversarial_loss

# Five scales with the usual window of 11 need more than 160 pixels; patches have 128.
_MS_SSIM_WINDOW = 7


@cache
def _structure_window(device: torch.device) -> Tensor:
    """Return the Gaussian window (3, 1, 1, 7) of standard deviation 1.5.

    Kept on the device: moving it there in every step would wait for the GPU.
    """
    offset = torch.arange(_MS_SSIM_WINDOW) - _MS_SSIM_WINDOW // 2
    weights = torch.exp(-offset.square() / (2 * 1.5**2))
    return (weights / weights.sum()).repeat(3, 1, 1, 1).to(device)


def l1_loss(restored: Tensor, sharp: Tensor) -> Tensor:
    """Return the mean absolute difference (eq. 12); a scalar."""
    return F.l1_loss(restored, sharp)


def structure_loss(restored: Tensor, sharp: Tensor) -> Tensor:
    """Return 1 - MS-SSIM (eq. 13) of images in 0..1 of at least 97 × 97 pixels; a scalar."""
    # The index is defined for values in the data range; what leaves it is L1's business.
    similarity: Tensor = ms_ssim(
        restored.clamp(0, 1),
        sharp,
        data_range=1.0,
        win=_structure_window(restored.device),
    )
    return 1 - similarity


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

    def adversarial_at(self, step: int) -> bool:
        """Whether the adversarial term (and so the discriminator) is on at a step."""
        return self.config.adversarial.on_at(step)

    def __call__(
        self,
        step: int,
        restored: Tensor,
        sharp: Tensor,
        judge: Callable[[Tensor], Tensor],
    ) -> dict[str, Tensor]:
        """Return the weighted terms by name; their sum is what the generator minimises.

        Parameters
        ----------
        step : int
            Decides which terms are on.
        restored, sharp : Tensor
            (N, 3, H, W) fp32; sharp in 0..1.
        judge : callable
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
                judge(restored), real=True
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
        The generator's output.

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
