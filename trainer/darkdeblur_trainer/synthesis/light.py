"""The sRGB transfer curve."""

from __future__ import annotations

import torch
from torch import Tensor


def srgb_to_linear(value: Tensor) -> Tensor:
    """Undo the sRGB transfer curve (IEC 61966-2-1); 0..1 to 0..1."""
    return torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(value: Tensor) -> Tensor:
    """Apply the sRGB transfer curve; 0..1 to 0..1, negative values become 0."""
    value = value.clamp(min=0)
    return torch.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)
