"""Kernels that a network with guides is trained with: the true one, a perturbed one, or none.

Nobody has the true kernel. A network that was only ever guided by true ones trusts every guide; one
that has seen what finders get wrong leans on guides as far as they deserve.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from .pairs import Pairs
from .sample_random import SampleRandom, Stream

Share = Annotated[float, Field(ge=0, le=1)]
# What is left below this share of the largest value is cut off, as finders do.
_SPECKS = (0.0, 0.12)
# Standard deviations in pixels of the smear, turns in degrees, and factors on the length.
_SMEAR, _TURN, _STRETCH = (0.3, 1.5), 10.0, 0.15
_NOISE = 0.15


class KnownKernels(BaseModel):
    """Shares of samples whose guides come from the true kernel, another one, or none.

    Parameters
    ----------
    none : float
        Share of samples without a kernel, in whose guides' place the picture is shown.
    spoilt : float
        Share of samples whose kernel is smeared, turned by up to 10 degrees, up to 15 % too long
        or too short, speckled and thinned out, each to a random amount.
    wrong : float
        Share of samples with a kernel that has nothing to do with the blur. All others have
        the true one.
    wiener_only : float
        Share of the samples with a kernel that are shown the Wiener filters alone, and the picture
        in the place of Richardson-Lucy's results, which take several times as long: so that a
        search may leave them out.
    margin : int
        Pixels of blurred picture around a patch that its guides are computed from: at a
        picture's border they are worse than inside, and most patches are inside. Each patch is
        cut at random from the larger picture, so that some lie at its border.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    none: Share = 0.3
    spoilt: Share = 0.3
    wrong: Share = 0.06
    wiener_only: Share = 0.2
    margin: Annotated[int, Field(ge=0, le=128)] = 24


def guide_kernels(
    settings: KnownKernels, pairs: Pairs, seed: int, indices: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the kernels from which guides are computed, and which samples have which guides.

    Parameters
    ----------
    settings : KnownKernels
        Shares of samples that are given the true kernel, a worse one, or none.
    pairs : Pairs
        Pairs of the B samples.
    seed : int
        Seed of the run, from which everything random follows.
    indices : Tensor
        (B,) int64 indices of the samples.

    Returns
    -------
    kernels : Tensor
        (B, K, K), not negative, each of sum 1 and with its centroid in the middle.
    has_kernel : Tensor
        Whether a sample has a kernel, (B,) bool; the others are shown the picture as guides.
    all_guides : Tensor
        Whether a sample with a kernel is shown all guides, and not the Wiener filters alone,
        (B,) bool.
    """
    draw = SampleRandom(seed, indices).uniform(Stream.KNOWN_KERNEL, 8)
    choice = draw[:, 0]
    kernels = pairs.kernels
    wrong = 1 - settings.wrong
    spoilt = wrong - settings.spoilt
    # A quarter turn and a mirror, and half as long again: of a straight line nothing is left.
    other = _moved(kernels, torch.full_like(choice, math.pi / 2), torch.full_like(choice, 1.5))
    worse = _spoilt(kernels, draw, SampleRandom(seed, indices))
    chosen = torch.where((choice > spoilt)[:, None, None], worse, kernels)
    chosen = torch.where((choice > wrong)[:, None, None], other, chosen)
    return chosen, choice >= settings.none, draw[:, 7] >= settings.wiener_only


def _spoilt(kernels: Tensor, draw: Tensor, random: SampleRandom) -> Tensor:
    """Return kernels as a finder may give them."""
    batch, side, _ = kernels.shape
    # Most are spoilt a little, few a lot.
    amount = draw[:, 1]
    angle = math.radians(_TURN) * (2 * draw[:, 2] - 1) * amount
    factor = 1 + _STRETCH * (2 * draw[:, 3] - 1) * amount
    moved = _moved(kernels, angle, factor)
    deviation = _SMEAR[0] + (_SMEAR[1] - _SMEAR[0]) * amount * draw[:, 4]
    smeared = _smeared(moved, deviation)
    peak = smeared.amax(dim=(1, 2), keepdim=True)
    noise = random.normal(Stream.KNOWN_KERNEL, side * side).view(batch, side, side)
    # Specks lie on and beside the path, not far from it.
    near = _smeared(smeared, 2 + 0 * deviation)
    near = near / near.amax(dim=(1, 2), keepdim=True).clamp(min=1e-9)
    level = (_NOISE * amount * draw[:, 5])[:, None, None]
    rough = (smeared * (1 + noise * 3 * level) + peak * noise * level * near).clamp(min=0)
    least = (_SPECKS[0] + (_SPECKS[1] - _SPECKS[0]) * draw[:, 6])[:, None, None]
    rough = torch.where(rough < least * rough.amax(dim=(1, 2), keepdim=True), 0.0, rough)
    return _normalised(rough)


def _moved(kernels: Tensor, angle: Tensor, factor: Tensor) -> Tensor:
    """Turn kernels by angles in radians and stretch them by factors."""
    cos, sin = torch.cos(angle) / factor, torch.sin(angle) / factor
    zero = torch.zeros_like(cos)
    matrix = torch.stack(
        [torch.stack([cos, -sin, zero], dim=1), torch.stack([sin, cos, zero], dim=1)], dim=1
    )
    grid = F.affine_grid(matrix, [len(kernels), 1, *kernels.shape[1:]], align_corners=True)
    moved = F.grid_sample(kernels[:, None], grid, align_corners=True)[:, 0]
    return _normalised(moved)


def _smeared(kernels: Tensor, deviation: Tensor) -> Tensor:
    """Convolve kernels with Gaussians of standard deviations (B,) in pixels."""
    side = kernels.shape[-1]
    frequency = 2 * math.pi * torch.fft.fftfreq(2 * side, device=kernels.device)
    half = 2 * math.pi * torch.fft.rfftfreq(2 * side, device=kernels.device)
    square = frequency[:, None].square() + half[None, :].square()
    damping = torch.exp(-square * deviation[:, None, None].square() / 2)
    spectrum = torch.fft.rfft2(kernels, s=(2 * side, 2 * side)) * damping
    smeared: Tensor = torch.fft.irfft2(spectrum, s=(2 * side, 2 * side))
    return smeared[:, :side, :side].clamp(min=0)


def _normalised(kernels: Tensor) -> Tensor:
    """Scale kernels to a sum of 1 and shift their centroid to the middle."""
    kernels = kernels / kernels.sum(dim=(1, 2), keepdim=True).clamp(min=1e-9)
    side = kernels.shape[-1]
    offset = torch.arange(side, device=kernels.device, dtype=kernels.dtype) - side // 2
    x = (kernels.sum(dim=1) * offset).sum(dim=1)
    y = (kernels.sum(dim=2) * offset).sum(dim=1)
    unit = torch.eye(2, device=kernels.device).repeat(len(kernels), 1, 1)
    shift = torch.stack([x, y], dim=1)[:, :, None] * 2 / (side - 1)
    grid = F.affine_grid(
        torch.cat([unit, shift], dim=2), [len(kernels), 1, side, side], align_corners=True
    )
    centred = F.grid_sample(kernels[:, None], grid, align_corners=True)[:, 0]
    total = centred.sum(dim=(1, 2), keepdim=True)
    # A kernel that left the picture altogether becomes a point.
    point = torch.zeros_like(centred)
    point[:, side // 2, side // 2] = 1
    return torch.where(total > 0.1, centred / total.clamp(min=1e-9), point)
