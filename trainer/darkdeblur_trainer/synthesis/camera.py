"""What light and a camera make of a scene: darkness, blur, sensor noise, an encoded image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

from napari_darkdeblur.network.guides import linear_to_srgb, srgb_to_linear

from .degradation import Degradation
from .jpeg import jpeg, jpeg_tables
from .poisson import poisson
from .sample_random import SampleRandom, Stream

Kinds = Sequence[Degradation]

_LUMA = (0.299, 0.587, 0.114)
# A bright area is a lamp or a reflection if it covers less than this share of its neighbourhood,
# a square of this side in pixels. A white sky covers all of it.
_LAMP_SHARE, _LAMP_NEIGHBOURHOOD = 0.12, 65


def blur(light: Tensor, kernels: Tensor) -> Tensor:
    """Convolve (B, 3, h, w) with (B, K, K), keeping where the kernel fits ("valid").

    By FFT: circular wrap-around only touches the margin that is cut off.
    """
    h, w = light.shape[-2:]
    size = (next_fast_len(h, real=True), next_fast_len(w, real=True))
    spectrum = torch.fft.rfft2(light, s=size) * torch.fft.rfft2(kernels, s=size)[:, None]
    wrapped: Tensor = torch.fft.irfft2(spectrum, s=size)
    # The kernel's middle lies at (r, r), so the result is shifted by as much: pixel (r, r)
    # of the crop's interior is found at (2 r, 2 r).
    first = kernels.shape[-1] - 1
    return wrapped[..., first:h, first:w]


def soften(light: Tensor, deviation: Tensor) -> Tensor:
    """Convolve (B, 3, h, w) with Gaussians of standard deviations (B, 1, 1, 1) in pixels.

    By FFT, as if the image went on periodically.
    """
    h, w = light.shape[-2:]
    y = torch.fft.fftfreq(h, device=light.device)[:, None]
    x = torch.fft.rfftfreq(w, device=light.device)[None, :]
    damping = torch.exp(-2 * (math.pi * deviation) ** 2 * (y**2 + x**2))
    soft: Tensor = torch.fft.irfft2(torch.fft.rfft2(light) * damping, s=(h, w))
    return soft.clamp(min=0)


class Camera:
    """Turns scenes into light, and blurred light into images; see `Degradation` for each step.

    All methods take tensors (B, 3, H, W), what `SettingsTable` drew for the samples as
    (B, 1, 1, 1), and ``kinds``, the degradations that may be among them: a step that none of
    them asks for is left out, and one that only some ask for is computed for all and taken by
    those.

    Parameters
    ----------
    seed : int
        Seed of the run, from which everything random follows.
    device : torch.device
        Device on which images are made.
    fixed_shapes : bool
        Whether the shapes of all tensors are the same whatever was drawn: a GPU need not wait
        for the indices then, and a compiler need not start again. Changes no result.
    """

    def __init__(self, seed: int, device: torch.device, fixed_shapes: bool) -> None:
        self.seed = seed
        self.fixed_shapes = fixed_shapes
        self._jpeg_tables = jpeg_tables(device)

    def expose(
        self, scene: Tensor, drawn: dict[str, Tensor], indices: Tensor, kinds: Kinds
    ) -> Tensor:
        """Turn a scene, uint8 or encoded values in 0..1, into light (or dark encoded values)."""
        encoded = scene.float() / 255 if scene.dtype == torch.uint8 else scene
        if any(kind.grey > 0 for kind in kinds):
            red, green, blue = encoded.unbind(dim=1)
            luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
            encoded = torch.where(drawn["grey"] > 0, luma[:, None], encoded)
        if any(kind.gamma != (1, 1) for kind in kinds):
            encoded = encoded ** drawn["gamma"]
        linear = [kind.linear_light for kind in kinds]
        light = _for_some(linear, drawn["linear_light"], srgb_to_linear, encoded)
        light = light * drawn["exposure"]
        if any(kind.highlight_probability > 0 for kind in kinds):
            light = self._lift_highlights(light, encoded, drawn)
        if any(kind.lamps > 0 for kind in kinds):
            light = self._add_lamps(light, drawn, indices, max(kind.lamps for kind in kinds))
        return light

    def _lift_highlights(self, light: Tensor, encoded: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        """Make small saturated areas brighter than white."""
        # Relative to white after the exposure cut: a lamp saturates the sensor in the dark, too.
        # It grows from the threshold to white, as a lamp's rim does.
        threshold = drawn["highlight_threshold"]
        excess = (encoded.amax(dim=1, keepdim=True) - threshold) / (1 - threshold).clamp(min=1e-3)
        excess = excess.clamp(0, 1)
        half = _LAMP_NEIGHBOURHOOD // 2
        # At a quarter of the size: the share of a neighbourhood needs no more.
        coarse = F.avg_pool2d(excess, 4, ceil_mode=True)
        covered = F.avg_pool2d(coarse, half // 2 + 1, 1, half // 4, count_include_pad=False)
        small = (covered < _LAMP_SHARE).float()
        small = F.interpolate(small, scale_factor=4.0, mode="nearest")
        small = small[..., : excess.shape[2], : excess.shape[3]]
        lamp = drawn["highlight"] * small * excess**2
        return light + lamp * (encoded * drawn["highlight_gain"] - light).clamp(min=0)

    def _add_lamps(
        self, light: Tensor, drawn: dict[str, Tensor], indices: Tensor, most: int
    ) -> Tensor:
        """Put round lamps of random colour into the scenes that have highlights."""
        random = SampleRandom(self.seed, indices).uniform(Stream.LAMPS, 1 + 8 * most)
        wanted = (random[:, 0] * (1 + drawn["lamps"].flatten())).floor()
        smallest, largest = drawn["smallest_lamp"][:, 0], drawn["largest_lamp"][:, 0]
        height, width = light.shape[-2:]
        rows = torch.arange(height, device=light.device, dtype=torch.float32)[None, :, None]
        columns = torch.arange(width, device=light.device, dtype=torch.float32)[None, None, :]
        for lamp in range(most):
            draw = random[:, 1 + 8 * lamp : 9 + 8 * lamp, None, None].unbind(dim=1)
            radius = smallest * (largest / smallest) ** draw[2]
            distance = torch.hypot(rows - draw[0] * height, columns - draw[1] * width)
            shape = (radius + 0.5 - distance).clamp(0, 1)
            shown = (wanted > lamp).float()[:, None, None] * drawn["highlight"][:, 0]
            brightness = drawn["highlight_gain"][:, 0] ** (2 * draw[3])
            colour = 0.4 + 0.6 * torch.stack(draw[4:7], dim=1)
            light = light + (shape * shown * brightness)[:, None] * colour
        return light

    def encode(self, light: Tensor, drawn: dict[str, Tensor], kinds: Kinds) -> Tensor:
        """Turn light into encoded values in 0..1, without noise."""
        linear = [kind.linear_light for kind in kinds]
        return _for_some(linear, drawn["linear_light"], linear_to_srgb, light.clamp(0, 1))

    def record(
        self, light: Tensor, drawn: dict[str, Tensor], indices: Tensor, kinds: Kinds
    ) -> Tensor:
        """Turn light into the image that a camera stores: noise, encoding, rounding, JPEG.

        ``indices`` are those of the samples in the run, (B,) int64.
        """
        random = SampleRandom(self.seed, indices)
        light = self._sensor_noise(light.clamp(0, 1), drawn, random, kinds)
        image = self.encode(light, drawn, kinds)
        if any(kind.gaussian_noise > 0 for kind in kinds):
            # Paper, section 2.3.1.
            noise = random.normal(Stream.GAUSSIAN_NOISE, image[0].numel()).view_as(image)
            image = (image + drawn["gaussian_noise"] * noise).clamp(0, 1)
        if any(kind.bits > 0 for kind in kinds):
            levels = drawn["levels"]
            rounded = torch.round(image * levels) / levels.clamp(min=1)
            image = torch.where(levels > 0, rounded, image)
        if any(kind.jpeg_probability > 0 for kind in kinds):
            image = self._compress(image, drawn)
        return image

    def _sensor_noise(
        self, light: Tensor, drawn: dict[str, Tensor], random: SampleRandom, kinds: Kinds
    ) -> Tensor:
        """Add Poisson and read noise to light in 0..1 (Poisson-Gaussian sensor model)."""
        count = light[0].numel()
        if any(kind.shot_gain is not None for kind in kinds):
            gain = drawn["shot_gain"]
            safe_gain = torch.where(gain > 0, gain, 1.0)
            photons = poisson(
                light / safe_gain,
                random.uniform(Stream.SHOT_NOISE, count).view_as(light),
                fixed_shapes=self.fixed_shapes,
            )
            light = torch.where(gain > 0, photons * safe_gain, light)
        if any(kind.read_noise is not None for kind in kinds):
            read = random.normal(Stream.READ_NOISE, count).view_as(light)
            light = light + drawn["read_noise"] * read
        return light.clamp(0, 1)

    def _compress(self, image: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        wanted, quality = drawn["jpeg"] > 0, drawn["jpeg_quality"].flatten()
        if self.fixed_shapes:
            return torch.where(wanted, jpeg(image, quality, self._jpeg_tables), image)
        some = wanted.flatten()
        image[some] = jpeg(image[some], quality[some], self._jpeg_tables)
        return image


def _for_some(
    flags: Sequence[bool], drawn: Tensor, change: Callable[[Tensor], Tensor], image: Tensor
) -> Tensor:
    """Change the images whose number in ``drawn`` is not 0, which the flags say beforehand."""
    if not any(flags):
        return image
    return change(image) if all(flags) else torch.where(drawn > 0, change(image), image)
