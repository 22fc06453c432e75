"""Poisson numbers from uniform ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Below this mean the distribution is inverted exactly, up to so many events.
_FEW = 4
_MOST_EVENTS = 24


def poisson(mean: Tensor, uniform: Tensor, *, fixed_shapes: bool = False) -> Tensor:
    """Draw Poisson numbers from given uniform ones.

    Below a mean of 4 the cumulative distribution is inverted exactly (up to 24 events); above,
    a normal number is bent by the Cornish-Fisher expansion, whose mean, variance and skewness
    are those of the distribution to within a few percent.

    Parameters
    ----------
    mean : Tensor
        Means of the distributions, not negative.
    uniform : Tensor
        Uniform random numbers in [0, 1), of the same shape.
    fixed_shapes : bool
        Whether both ways are computed everywhere, and one is taken: what suits a GPU. Otherwise
        only the elements with a small mean go through the first.

    Returns
    -------
    Tensor
        Whole numbers as float32; the same either way.
    """
    normal = math.sqrt(2) * torch.erfinv((2 * uniform - 1).clamp(-1 + 1e-7, 1 - 1e-7))
    # Rounding adds a variance of 1/12, which is taken off beforehand.
    bent = mean + (mean - 1 / 12).clamp(min=0).sqrt() * normal + (normal.square() - 1) / 6
    many = torch.round(bent).clamp(min=0)
    few = mean < _FEW
    if fixed_shapes:
        return torch.where(few, _inverted(mean.clamp(max=_FEW), uniform), many)
    many[few] = _inverted(mean[few], uniform[few])
    return many


def _inverted(mean: Tensor, uniform: Tensor) -> Tensor:
    """Return how many events there are by inverting the cumulative distribution."""
    probability = torch.exp(-mean)
    cumulative = probability.clone()
    count = torch.zeros_like(mean)
    for events in range(1, _MOST_EVENTS + 1):
        count += uniform > cumulative
        probability = probability * mean / events
        cumulative += probability
    return count
