"""Blurred and sharp image pairs from sharp crops, on any device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .degradation import Degradation
from .jpeg import jpeg
from .kernels import ShakeSettings, camera_shake_kernels, kernel_radius
from .sample_random import SampleRandom, Stream

# Kernels are made for this many consecutive samples at once: walking a path is a long chain of
# tiny operations, as quick for a thousand samples as for one.
_KERNEL_BLOCK = 1024


@dataclass(frozen=True)
class Pairs:
    """A batch of training pairs.

    Parameters
    ----------
    blurred, sharp : Tensor
        (B, 3, H, W) in 0..1.
    kernels : Tensor
        (B, K, K), each of sum 1.
    """

    blurred: Tensor
    sharp: Tensor
    kernels: Tensor


def srgb_to_linear(value: Tensor) -> Tensor:
    """Undo the sRGB transfer curve (IEC 61966-2-1); 0..1 to 0..1."""
    return torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(value: Tensor) -> Tensor:
    """Apply the sRGB transfer curve; 0..1 to 0..1, negative values become 0."""
    value = value.clamp(min=0)
    return torch.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)


def poisson(mean: Tensor, uniform: Tensor) -> Tensor:
    """Draw Poisson numbers from given uniform ones.

    Below a mean of 4 the cumulative distribution is inverted exactly (up to 24 events); above,
    a normal number is bent by the Cornish-Fisher expansion, whose mean, variance and skewness
    are those of the distribution to within a few percent.

    Parameters
    ----------
    mean : Tensor
        Not negative.
    uniform : Tensor
        In [0, 1), of the same shape.

    Returns
    -------
    Tensor
        Whole numbers as float32.
    """
    few = mean.clamp(max=4)
    probability = torch.exp(-few)
    cumulative = probability.clone()
    count = torch.zeros_like(mean)
    for events in range(1, 25):
        count += uniform > cumulative
        probability = probability * few / events
        cumulative += probability
    normal = math.sqrt(2) * torch.erfinv((2 * uniform - 1).clamp(-1 + 1e-7, 1 - 1e-7))
    # Rounding adds a variance of 1/12, which is taken off beforehand.
    bent = mean + (mean - 1 / 12).clamp(min=0).sqrt() * normal + (normal.square() - 1) / 6
    return torch.where(mean < 4, count, torch.round(bent).clamp(min=0))


class PairSynthesizer:
    """Makes pairs of a list of degradations; everything random follows (seed, sample index).

    Parameters
    ----------
    degradations : sequence of Degradation
        For each sample one is drawn, by their shares.
    seed : int
        Of the run.
    device : torch.device or str
        Where pairs are made.
    """

    def __init__(
        self,
        degradations: list[Degradation] | tuple[Degradation, ...],
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.degradations = tuple(degradations)
        self.seed = seed
        self.device = torch.device(device)
        longest = max(degradation.kernel_length[1] for degradation in self.degradations)
        self.radius = kernel_radius(longest)
        self._blocks: dict[int, Tensor] = {}
        self._table = self._settings_table()

    @property
    def margin(self) -> int:
        """Pixels that a sharp crop must have beyond the pair on every side."""
        return self.radius

    def kernels(self, indices: Tensor) -> Tensor:
        """Return the blur kernels of samples.

        Parameters
        ----------
        indices : Tensor
            (B,) int64 sample indices, on the CPU.

        Returns
        -------
        Tensor
            (B, K, K) with K = 2 * `margin` + 1, on the device; each of sum 1.
        """
        blocks = torch.div(indices, _KERNEL_BLOCK, rounding_mode="floor").tolist()
        rows = torch.remainder(indices, _KERNEL_BLOCK).tolist()
        found = {block: self._kernel_block(block) for block in sorted(set(blocks))}
        # Batches move on through the samples: what this one did not use is not used again.
        self._blocks = found
        return torch.stack([found[block][row] for block, row in zip(blocks, rows, strict=True)])

    def _kernel_block(self, block: int) -> Tensor:
        if block in self._blocks:
            return self._blocks[block]
        start = block * _KERNEL_BLOCK
        indices = torch.arange(start, start + _KERNEL_BLOCK, device=self.device)
        random = SampleRandom(self.seed, indices)
        drawn = self._draw(random)
        length = torch.where(drawn["blur"] > 0, drawn["kernel_length"], 0.0)
        shake = ShakeSettings(length, drawn["exposed_fraction"], drawn["curl"])
        return camera_shake_kernels(random, shake, self.radius)

    def __call__(self, sharp: Tensor, indices: Tensor) -> Pairs:
        """Degrade sharp crops.

        Parameters
        ----------
        sharp : Tensor
            (B, 3, H + 2 m, W + 2 m) uint8 or float in 0..1, where m is `margin`.
        indices : Tensor
            (B,) int64 sample indices, on the CPU.

        Returns
        -------
        Pairs
            Of (B, 3, H, W).
        """
        sharp = sharp.to(self.device, non_blocking=True)
        encoded = sharp.float() / 255 if sharp.dtype == torch.uint8 else sharp
        random = SampleRandom(self.seed, indices.to(self.device, non_blocking=True))
        drawn = {name: value[:, None, None, None] for name, value in self._draw(random).items()}
        kernels = self.kernels(indices)

        linear = drawn["linear_light"] > 0
        light = torch.where(linear, srgb_to_linear(encoded), encoded) * drawn["exposure"]
        # Relative to white after the exposure cut: a lamp saturates the sensor in the dark, too.
        # It grows from the threshold to white, as a lamp's rim does.
        threshold = drawn["highlight_threshold"]
        excess = (encoded.amax(dim=1, keepdim=True) - threshold) / (1 - threshold).clamp(min=1e-3)
        lamp = drawn["highlight"] * excess.clamp(0, 1) ** 2
        light = light + lamp * (encoded * drawn["highlight_gain"] - light)

        blurred = self._convolve(light, kernels).clamp(0, 1)
        blurred = self._sensor_noise(blurred, drawn, random)
        blurred = torch.where(linear, linear_to_srgb(blurred), blurred)
        blurred = self._gaussian_noise(blurred, drawn, random)
        blurred = self._encode(blurred, drawn)

        m = self.margin
        target = light[..., m : light.shape[-2] - m, m : light.shape[-1] - m].clamp(0, 1)
        target = torch.where(linear, linear_to_srgb(target), target)
        return Pairs(blurred, target, kernels)

    def _settings_table(self) -> dict[str, Tensor]:
        """Return every setting as one number per degradation, on the device.

        Made once: a tensor made from Python numbers in every step would wait for the GPU each
        time.
        """
        shares = torch.tensor([degradation.share for degradation in self.degradations])
        table = {"edges": (shares.cumsum(0) / shares.sum())[:-1].to(self.device)}
        for name in Degradation.model_fields.keys() - {"preset", "share"}:
            values = [getattr(degradation, name) for degradation in self.degradations]
            if any(isinstance(value, tuple) for value in values):
                # A range that is switched off becomes 0..0.
                for part in (0, 1):
                    ends = [0.0 if value is None else float(value[part]) for value in values]
                    table[f"{name}/{part}"] = torch.tensor(ends, device=self.device)
            elif all(value is not None for value in values):
                numbers = [float(value) for value in values]
                table[name] = torch.tensor(numbers, device=self.device)
            else:
                for part in (0, 1):
                    table[f"{name}/{part}"] = torch.zeros(len(values), device=self.device)
        return table

    def _draw(self, random: SampleRandom) -> dict[str, Tensor]:
        """Draw every per-sample setting, each of shape (B,)."""
        draw = random.uniform(Stream.PARAMETERS, 16).unbind(dim=1)
        choice = torch.searchsorted(self._table["edges"], draw[0].contiguous(), right=True)

        def field(name: str, part: int | None = None) -> Tensor:
            return self._table[name if part is None else f"{name}/{part}"][choice]

        def log_uniform(name: str, number: Tensor) -> Tensor:
            low, high = field(name, 0), field(name, 1)
            # Without a range both ends are 0, and so is what is drawn.
            return low * (high / low.clamp(min=1e-12)) ** number

        def uniform(name: str, number: Tensor) -> Tensor:
            low, high = field(name, 0), field(name, 1)
            return low + (high - low) * number

        absolute_normal = math.sqrt(2) * torch.erfinv(draw[7].clamp(max=1 - 1e-6))
        return {
            "linear_light": field("linear_light"),
            "kernel_length": log_uniform("kernel_length", draw[1]),
            "exposed_fraction": uniform("exposed_fraction", draw[2]),
            "curl": uniform("curl", draw[12]),
            "blur": (draw[3] >= field("unblurred")).float(),
            "exposure": log_uniform("exposure", draw[4]),
            "highlight": (draw[5] < field("highlight_probability")).float(),
            "highlight_threshold": field("highlight_threshold"),
            "highlight_gain": log_uniform("highlight_gain", draw[6]),
            "gaussian_noise": field("gaussian_noise") * absolute_normal,
            "shot_gain": log_uniform("shot_gain", draw[8]),
            "read_noise": log_uniform("read_noise", draw[9]),
            "levels": torch.where(field("bits") > 0, 2.0 ** field("bits") - 1, 0.0),
            "jpeg": (draw[10] < field("jpeg_probability")).float(),
            "jpeg_quality": uniform("jpeg_quality", draw[11]),
        }

    def _convolve(self, light: Tensor, kernels: Tensor) -> Tensor:
        """Convolve (B, 3, h, w) with (B, K, K), keeping where the kernel fits ("valid").

        By FFT: circular wrap-around only touches the margin that is cut off.
        """
        h, w = light.shape[-2:]
        r = self.radius
        spectrum = torch.fft.rfft2(light) * torch.fft.rfft2(kernels, s=(h, w))[:, None]
        # The kernel's middle lies at (r, r), so the result is shifted by as much: pixel (r, r)
        # of the crop's interior is found at (2 r, 2 r).
        wrapped: Tensor = torch.fft.irfft2(spectrum, s=(h, w))
        return wrapped[..., 2 * r :, 2 * r :]

    def _sensor_noise(
        self, light: Tensor, drawn: dict[str, Tensor], random: SampleRandom
    ) -> Tensor:
        """Add Poisson and read noise to light in 0..1 (Poisson-Gaussian sensor model)."""
        if all(d.shot_gain is None and d.read_noise is None for d in self.degradations):
            return light
        count = light[0].numel()
        gain = drawn["shot_gain"]
        safe_gain = torch.where(gain > 0, gain, 1.0)
        photons = poisson(
            light / safe_gain,
            random.uniform(Stream.SHOT_NOISE, count).view_as(light),
        )
        light = torch.where(gain > 0, photons * safe_gain, light)
        read = random.normal(Stream.READ_NOISE, count).view_as(light)
        return (light + drawn["read_noise"] * read).clamp(0, 1)

    def _gaussian_noise(
        self, image: Tensor, drawn: dict[str, Tensor], random: SampleRandom
    ) -> Tensor:
        """Add Gaussian noise to encoded values (paper, section 2.3.1)."""
        if all(d.gaussian_noise == 0 for d in self.degradations):
            return image
        noise = random.normal(Stream.GAUSSIAN_NOISE, image[0].numel()).view_as(image)
        return (image + drawn["gaussian_noise"] * noise).clamp(0, 1)

    def _encode(self, image: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        """Round to the camera's levels and compress, where a sample asks for it."""
        levels = drawn["levels"]
        image = torch.where(levels > 0, torch.round(image * levels) / levels.clamp(min=1), image)
        if all(d.jpeg_probability == 0 for d in self.degradations):
            return image
        compressed = jpeg(image, drawn["jpeg_quality"].flatten())
        return torch.where(drawn["jpeg"] > 0, compressed, image)
