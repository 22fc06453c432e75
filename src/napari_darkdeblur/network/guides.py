"""Guides: what a known blur kernel makes of a picture, shown to the network beside it.

Most hand shake is nearly one kernel for the whole picture. Where the kernel is known, dividing it
out (Wiener 1949) undoes far more than a small network can guess, but amplifies noise and rings at
lamps and borders. So the network is given several such divisions, from cautious to bold, and the
picture itself, and makes of them what it has learned to trust.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len  # type: ignore[import-untyped, unused-ignore]
from torch import Tensor

# Strengths of regularisation, from bold to cautious; one guide each.
REGULARISATION = (0.005, 0.03, 0.2)
# Besides what is smooth, which is what the Laplacian weighs, everything is held back a little.
_LEAST = 0.1
# The picture is continued beyond its border by the kernel's radius and so many pixels more.
_EXTRA = 8


def srgb_to_linear(value: Tensor) -> Tensor:
    """Undo the sRGB transfer curve (IEC 61966-2-1); 0..1 to 0..1."""
    return torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(value: Tensor) -> Tensor:
    """Apply the sRGB transfer curve; 0..1 to 0..1, negative values become 0."""
    value = value.clamp(min=0)
    return torch.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)


def wiener_guides(picture: Tensor, kernels: Tensor, linear_light: Tensor | bool = True) -> Tensor:
    """Deconvolve pictures with their kernels, once for each strength of regularisation.

    With K the kernel's transfer function and D the Laplacian's, the filter is
    ``conj(K) (1 + r c) / (|K|^2 + r (c + D))``: mean brightness is kept.

    Parameters
    ----------
    picture : Tensor
        Blurred pictures, (N, 3, H, W) float32, encoded values in 0..1.
    kernels : Tensor
        Blur kernel of each, (N, K, K) with K odd, or (1, K, K) for all of them; not negative, of
        sum 1, its centroid in the middle.
    linear_light : Tensor or bool
        Whether the blur happened in linear light, as in photographs, whose sRGB curve is then
        undone and redone; False for values that are the light themselves, as a microscope's
        camera gives them. As a tensor: (N,) bool, picture by picture.

    Returns
    -------
    Tensor
        (N, 3 len(REGULARISATION), H, W), encoded values in 0..1: all channels of one guide, then
        those of the next.
    """
    linear = torch.as_tensor(linear_light, device=picture.device).reshape(-1, 1, 1, 1)
    light = torch.where(linear, srgb_to_linear(picture), picture)
    guides = [
        torch.where(linear, linear_to_srgb(guide), guide)
        for guide in (part.clamp(0, 1) for part in wiener(light, kernels, REGULARISATION))
    ]
    return torch.cat(guides, dim=1)


def wiener(light: Tensor, kernels: Tensor, regularisation: tuple[float, ...]) -> list[Tensor]:
    """Deconvolve light with several strengths of regularisation; see `wiener_guides`.

    Beyond the border the picture goes on as its mirror image, which fades to the mean: a Fourier
    transform takes a picture for periodic, and a step where opposite borders meet would ring.

    Parameters
    ----------
    light : Tensor
        (N, C, H, W) float32.
    kernels : Tensor
        (N or 1, K, K).
    regularisation : tuple of float
        Strengths.

    Returns
    -------
    list of Tensor
        (N, C, H, W) for each strength, not clipped.
    """
    height, width = light.shape[-2:]
    side = kernels.shape[-1]
    padding = side // 2 + _EXTRA
    padded, top, left = _continued(light, padding)
    rows, columns = padded.shape[-2:]
    mean = light.mean(dim=(2, 3), keepdim=True)
    window = _fade(rows, top, height, light)[:, None] * _fade(columns, left, width, light)[None, :]
    spectrum = torch.fft.rfft2(mean + (padded - mean) * window)
    transfer = torch.fft.rfft2(
        torch.roll(
            F.pad(kernels, (0, columns - side, 0, rows - side)),
            (-(side // 2), -(side // 2)),
            dims=(1, 2),
        )
    )[:, None]
    y = torch.fft.fftfreq(rows, device=light.device)[:, None]
    x = torch.fft.rfftfreq(columns, device=light.device)[None, :]
    laplacian = 4 - 2 * torch.cos(2 * torch.pi * y) - 2 * torch.cos(2 * torch.pi * x)
    power = transfer.abs().square()
    numerator = spectrum * transfer.conj()
    found = []
    for strength in regularisation:
        weight = (1 + strength * _LEAST) / (power + strength * (_LEAST + laplacian))
        whole = torch.fft.irfft2(numerator * weight, s=(rows, columns))
        found.append(whole[..., top : top + height, left : left + width])
    return found


def _continued(light: Tensor, padding: int) -> tuple[Tensor, int, int]:
    """Mirror a picture beyond its borders, to a size that transforms fast."""
    places, starts = [], []
    for length in light.shape[-2:]:
        whole = next_fast_len(length + 2 * padding, real=True)
        start = (whole - length) // 2
        place = (torch.arange(whole, device=light.device) - start) % (2 * length)
        places.append(torch.minimum(place, 2 * length - 1 - place))
        starts.append(start)
    rows, columns = places
    return light[..., rows, :][..., columns], starts[0], starts[1]


def _fade(whole: int, start: int, length: int, like: Tensor) -> Tensor:
    """Return 1 inside, falling to 0 at both ends of the continued length."""
    place = torch.arange(whole, device=like.device, dtype=like.dtype)
    inside = torch.minimum(
        place / max(start, 1), (whole - 1 - place) / max(whole - start - length, 1)
    )
    return inside.clamp(0, 1)
