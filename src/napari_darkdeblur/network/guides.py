"""Guides: what a known blur kernel makes of a picture, shown to the network beside it.

Most hand shake is nearly one kernel for the whole picture. Where the kernel is known, deconvolution
undoes far more than a small network can guess, but amplifies noise and rings at lamps and borders.
So the network is given several deconvolved pictures, from cautious to bold, and the picture itself,
and makes of them what it has learned to trust.

Two methods complement each other. Wiener filters (Wiener 1949) are one division, cheap, and keep
noise down in what is flat. Richardson and Lucy's iterations (Richardson 1972, Lucy 1974) know that
light is not negative, and can leave out what says nothing: saturated pixels, which make a Wiener
filter ring, and what lies beyond the border.
"""

from __future__ import annotations

import scipy.fft
import torch
import torch.nn.functional as F
from torch import Tensor

# Strengths of the Wiener filters' regularisation, from bold to cautious; one guide each.
REGULARISATION = (0.005, 0.03, 0.2)
# Numbers of Richardson-Lucy iterations, from cautious to bold; one guide each, if a network takes
# more guides than there are Wiener filters.
ITERATIONS = (5, 20)
# What networks may take: the Wiener filters alone, or all.
GUIDE_COUNTS = (len(REGULARISATION), len(REGULARISATION) + len(ITERATIONS))
# Besides what is smooth, which is what the Laplacian weighs, everything is held back a little.
_LEAST = 0.1
# The picture is continued beyond its border by the kernel's radius and so many pixels more.
_EXTRA = 8
# Light from which on a pixel may be saturated: there, the true light may be anything above.
_SATURATED = 0.98
# Each iteration's correction is taken to this power, which makes two iterations of one; from 2 on
# it would not converge.
_OVER_RELAXATION = 1.8
# Light below this is dark noise, which must not be divided by; a correction is within a factor 10.
_DARK, _LARGEST_CORRECTION = 1e-5, 10.0
# Pixels beyond the border of which the picture sees less than this share are not corrected.
_SEEN = 0.05


def srgb_to_linear(value: Tensor) -> Tensor:
    """Undo the sRGB transfer curve (IEC 61966-2-1); 0..1 to 0..1."""
    return torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(value: Tensor) -> Tensor:
    """Apply the sRGB transfer curve; 0..1 to 0..1, negative values become 0."""
    value = value.clamp(min=0)
    return torch.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)


def mirrored(places: Tensor, length: Tensor | int) -> Tensor:
    """Return which of 0..length - 1 is seen at places of a row that goes on as its mirror image.

    ... 2 1 0 0 1 2 ..., as often as needed.
    """
    places = places % (2 * length)
    return torch.minimum(places, 2 * length - 1 - places)


def deconvolved(
    picture: Tensor, kernels: Tensor, linear_light: Tensor | bool = True, count: int = 3
) -> Tensor:
    """Deconvolve pictures with their kernels in several ways: the guides of a network.

    Parameters
    ----------
    picture : Tensor
        Blurred pictures, (N, C, H, W) float32, encoded values in 0..1.
    kernels : Tensor
        Blur kernel of each, (N, K, K) with K odd, or (1, K, K) for all of them; not negative, of
        sum 1, its centroid in the middle.
    linear_light : Tensor or bool
        Whether the blur happened in linear light, as in photographs, whose sRGB curve is then
        undone and redone; False for values that are the light themselves, as a microscope's
        camera gives them. As a tensor: (N,) bool, picture by picture.
    count : int
        Number of guides, one of `GUIDE_COUNTS`: the Wiener filters of `REGULARISATION`, and after
        them Richardson-Lucy's results after `ITERATIONS`.

    Returns
    -------
    Tensor
        (N, C count, H, W), encoded values in 0..1: all channels of one guide, then those of the
        next.

    Raises
    ------
    ValueError
        There is no such number of guides.
    """
    if count not in GUIDE_COUNTS:
        raise ValueError(f"{count} guides cannot be made; there are {GUIDE_COUNTS}.")
    linear = torch.as_tensor(linear_light, device=picture.device).reshape(-1, 1, 1, 1)
    light = torch.where(linear, srgb_to_linear(picture), picture)
    found = wiener(light, kernels, REGULARISATION)
    if count > len(REGULARISATION):
        found += richardson_lucy(light, kernels, ITERATIONS)
    guides = [
        torch.where(linear, linear_to_srgb(guide), guide)
        for guide in (part.clamp(0, 1) for part in found)
    ]
    return torch.cat(guides, dim=1)


def wiener(light: Tensor, kernels: Tensor, regularisation: tuple[float, ...]) -> list[Tensor]:
    """Deconvolve light by Wiener filters of several strengths of regularisation.

    With K the kernel's transfer function and D the Laplacian's, the filter is
    ``conj(K) (1 + r c) / (|K|^2 + r (c + D))``: mean brightness is kept.

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
    padded, top, left = _continued(light, kernels.shape[-1] // 2 + _EXTRA)
    rows, columns = padded.shape[-2:]
    mean = light.mean(dim=(2, 3), keepdim=True)
    window = _fade(rows, top, height, light)[:, None] * _fade(columns, left, width, light)[None, :]
    spectrum = torch.fft.rfft2(mean + (padded - mean) * window)
    transfer = _transfer(kernels, rows, columns)
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


def richardson_lucy(light: Tensor, kernels: Tensor, iterations: tuple[int, ...]) -> list[Tensor]:
    """Deconvolve light by Richardson and Lucy's iterations, over-relaxed.

    Where the camera saturated, a pixel that is predicted to be brighter still says nothing, and
    is left out (the idea of Whyte, Sivic and Zisserman, IJCV 110, 2014). What lies beyond the
    border is left out, too, and is found as far as it shines into the picture.

    Parameters
    ----------
    light : Tensor
        (N, C, H, W) float32, not negative, 1 where it saturates.
    kernels : Tensor
        (N or 1, K, K).
    iterations : tuple of int
        Numbers of iterations whose results are wanted, rising.

    Returns
    -------
    list of Tensor
        (N, C, H, W) for each number, not negative; above 1 where the camera saturated.
    """
    height, width = light.shape[-2:]
    observed, top, left = _continued(light, kernels.shape[-1] // 2 + _EXTRA)
    rows, columns = observed.shape[-2:]
    transfer = _transfer(kernels, rows, columns)

    inside = torch.zeros_like(observed[:1, :1])
    inside[..., top : top + height, left : left + width] = 1
    back = transfer.conj().resolve_conj()
    seen = _filtered(inside, back)
    # Where the picture sees too little, the correction is 1; where it is saturated, never below.
    unseen = (seen <= _SEEN).to(seen.dtype)
    weight = (1 - unseen) / seen.clamp(min=_SEEN)
    least = (observed >= _SATURATED).to(observed.dtype)
    estimate = observed.clamp(min=_DARK)
    found = []
    for iteration in range(1, max(iterations) + 1):
        predicted = _filtered(estimate, transfer).clamp_(min=_DARK)
        ratio = torch.maximum(observed / predicted, least).mul_(inside)
        correction = torch.addcmul(unseen, _filtered(ratio, back), weight)
        correction.clamp_(1 / _LARGEST_CORRECTION, _LARGEST_CORRECTION)
        # The power by a logarithm takes half as long as `pow`.
        estimate = estimate * correction.log_().mul_(_OVER_RELAXATION).exp_()
        if iteration in iterations:
            found.append(estimate[..., top : top + height, left : left + width])
    return found


def _filtered(images: Tensor, transfer: Tensor) -> Tensor:
    """Multiply the spectra of images (N, C, rows, columns) by transfer functions of `_transfer`.

    On a CPU, SciPy transforms: PyTorch's MKL takes up to twice as long on AMD's processors.
    """
    rows, columns = images.shape[-2:]
    if images.device.type != "cpu":
        result: Tensor = torch.fft.irfft2(torch.fft.rfft2(images) * transfer, s=(rows, columns))
        return result
    threads = torch.get_num_threads()
    spectrum = scipy.fft.rfft2(images.numpy(), workers=threads)
    product = spectrum * transfer.numpy()
    return torch.from_numpy(
        scipy.fft.irfft2(product, s=(rows, columns), overwrite_x=True, workers=threads)
    )


def _transfer(kernels: Tensor, rows: int, columns: int) -> Tensor:
    """Return the transfer functions (N, 1, rows, columns // 2 + 1) of kernels (N, K, K)."""
    side = kernels.shape[-1]
    padded = F.pad(kernels, (0, columns - side, 0, rows - side))
    middle = torch.roll(padded, (-(side // 2), -(side // 2)), dims=(1, 2))
    transfer: Tensor = torch.fft.rfft2(middle)[:, None]
    return transfer


def _continued(light: Tensor, padding: int) -> tuple[Tensor, int, int]:
    """Mirror a picture beyond its borders, to a size that transforms fast."""
    places, starts = [], []
    for length in light.shape[-2:]:
        whole = scipy.fft.next_fast_len(length + 2 * padding, real=True)
        start = (whole - length) // 2
        places.append(mirrored(torch.arange(whole, device=light.device) - start, length))
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
