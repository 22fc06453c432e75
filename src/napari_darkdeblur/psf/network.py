"""A network that finds the blur kernel of a shaken picture.

The design follows Schuler et al. ("Learning to deblur", TPAMI 38(7), 2016): a convolutional network
turns the picture into pairs of feature maps, what the edges of the sharp scene were and what they
have become; the kernel that leads from one to the other is a quotient of spectra, which is exact
for a kernel of any shape; and with this kernel the picture is sharpened, so that the next stage has
an easier task. Stages go from coarse to fine, as in Fergus et al. ("Removing camera shake from a
single photograph", SIGGRAPH 2006): at a quarter of the resolution every blur is short. All stages
share their weights. What is new here: the pairs are weighted gradients plus a correction, a second
network works on the kernels themselves and also sees what the picture's own spectrum says about the
blur (Goldstein and Fattal, "Blur-kernel estimation from spectral irregularities", ECCV 2012), and
the network says how far its kernel can be trusted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import DarkDeblurError
from ..network.guides import wiener

FORMAT = "kernel-net"
# Smaller pictures are smaller than the kernels at the coarsest scale.
SMALLEST_SIDE = 128
# Light from which on a pixel may have been cut off at white.
_SATURATED = 0.85
# Mean luminance to which a picture's light is scaled.
_MEAN_LIGHT = 0.2


class KernelNetError(DarkDeblurError, ValueError):
    """A kernel network cannot be read; the message is for the user."""


@dataclass(frozen=True)
class KernelNetConfig:
    """What a `KernelNet` is built like.

    Parameters
    ----------
    kernel_size : int
        Width and height in pixels of the kernels; one more than a multiple of twice the largest
        scale.
    widths : tuple of int
        Channels of the picture's network at 1/2, 1/4, 1/8, ... of its resolution.
    blocks : int
        Residual blocks at each of its resolutions, on the way down and on the way up.
    groups : int
        Independent quotients per stage; each has a pair of feature maps for horizontal and one
        for vertical gradients.
    kernel_widths : tuple of int
        Channels of the kernel's network at 1, 1/2, 1/4, ... of the kernel's resolution.
    scales : tuple of int
        For each stage by how much the picture is made smaller: powers of 2 that do not grow, the
        last one 1.
    wiener : tuple of float
        Regularisations of the Wiener filters whose results the next stage is given.
    """

    kernel_size: int = 73
    widths: tuple[int, ...] = (32, 72, 128)
    blocks: int = 1
    groups: int = 4
    kernel_widths: tuple[int, ...] = (32, 48, 80)
    scales: tuple[int, ...] = (4, 4, 2, 2, 1)
    wiener: tuple[float, ...] = (0.01, 0.1)

    def __post_init__(self) -> None:
        coarsest = max(self.scales)
        if (self.kernel_size - 1) % (2 * coarsest) != 0:
            raise ValueError(
                f"kernel_size {self.kernel_size} must be one more than a multiple of "
                f"{2 * coarsest}, twice the largest scale."
            )
        if list(self.scales) != sorted(self.scales, reverse=True) or self.scales[-1] != 1:
            raise ValueError(f"scales {self.scales} must fall to 1.")

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain numbers and lists."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KernelNetConfig:
        """Return the configuration that `to_dict` described."""
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**given)


@dataclass(frozen=True)
class KernelEstimate:
    """The kernels of a batch of pictures.

    Parameters
    ----------
    kernels : Tensor
        (N, K, K) float32, not negative, each of sum 1. The middle pixel is the origin.
    confidence : Tensor
        (N,) logits of the probability that a kernel is right: that its normalised
        cross-correlation with the true one exceeds 0.85.
    stages : tuple of KernelStage
        What each stage found, the last one included: what a training looks at.
    """

    kernels: Tensor
    confidence: Tensor
    stages: tuple[KernelStage, ...]


@dataclass(frozen=True)
class KernelStage:
    """What one stage found.

    Parameters
    ----------
    kernels : Tensor
        (N, K, K), not negative, each of sum 1, in pixels of the stage's scale.
    confidence : Tensor
        (N,) logits.
    scale : int
        By how much the picture was made smaller.
    quotients : Tensor
        (N, G + 1, K, K) least-squares kernels of the groups and of all pairs together, of any
        sign and sum.
    edges : Tensor
        (N, G, 2, H, W), each group's horizontal and vertical gradients of the sharp scene.
    """

    kernels: Tensor
    confidence: Tensor
    scale: int
    quotients: Tensor
    edges: Tensor


class KernelNet(nn.Module):
    """Finds the blur kernel of a picture, and says how sure it is.

    Parameters
    ----------
    config : KernelNetConfig
        What to build; ``net.config`` keeps it.

    Examples
    --------
    >>> import torch
    >>> net = KernelNet(KernelNetConfig())
    >>> net(torch.rand(1, 3, 130, 200)).kernels.shape
    torch.Size([1, 73, 73])
    """

    def __init__(self, config: KernelNetConfig) -> None:
        super().__init__()
        self.config = config
        pairs = 2 * config.groups
        # Colours, saturation, and the luminance after each Wiener filter; folded by 2.
        self.picture = UNet(
            4 * (4 + len(config.wiener)), 4 * 4 * pairs, config.widths, config.blocks
        )
        # Quotients of the groups and of all, the kernel of the stage before, the autocorrelation
        # and the cepstrum.
        self.kernel = UNet(config.groups + 4, 1, config.kernel_widths, config.blocks)
        self.log_beta = nn.Parameter(torch.linspace(-5.0, -1.0, config.groups + 1))
        self.context = nn.Linear(config.widths[-1] + 1, config.kernel_widths[0])
        features = 2 * config.kernel_widths[-1] + config.widths[-1]
        measures = config.groups + 3 + len(config.wiener)
        self.confidence = nn.Sequential(
            nn.Linear(features + measures, 64), nn.SiLU(), nn.Linear(64, 1)
        )

    def forward(self, light: Tensor, scales: Sequence[int] | None = None) -> KernelEstimate:
        """Find the kernels of a batch of pictures.

        Parameters
        ----------
        light : Tensor
            (N, 3, H, W), linear light in 0..1, where 1 is the value at which the sensor saturates;
            H and W at least 128.
        scales : sequence of int, optional
            The stages to go through, if not those of the configuration.

        Returns
        -------
        KernelEstimate
            One kernel for each picture.
        """
        light = light.float()
        saturated = ((light.amax(dim=1, keepdim=True) - _SATURATED) / (1 - _SATURATED)).clamp(0, 1)
        gain = _MEAN_LIGHT / light.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-4)
        finest = torch.cat([light * gain, saturated], dim=1)
        stages: list[KernelStage] = []
        for scale in self.config.scales if scales is None else scales:
            picture = F.avg_pool2d(finest, scale) if scale > 1 else finest
            luminance = picture[:, :3].mean(dim=1, keepdim=True)
            size = (self.config.kernel_size - 1) // scale + 1
            if stages:
                with torch.no_grad():
                    before = _enlarged(stages[-1].kernels, size)
                    sharpened = torch.cat(wiener(luminance, before, self.config.wiener), dim=1)
            else:
                before = luminance.new_zeros(len(light), size, size)
                sharpened = luminance.expand(-1, len(self.config.wiener), -1, -1)
            stages.append(self._stage(picture, luminance, sharpened, before, scale))
        return KernelEstimate(stages[-1].kernels, stages[-1].confidence, tuple(stages))

    def _stage(
        self, picture: Tensor, luminance: Tensor, sharpened: Tensor, before: Tensor, scale: int
    ) -> KernelStage:
        """Find kernels with what the stage before has found, if there was one."""
        size = before.shape[-1]
        seen = [_encoded(picture[:, :3]), picture[:, 3:], _encoded(sharpened)]
        maps, deepest = self.picture(_folded(torch.cat(seen, dim=1), self.picture.stride))
        height, width = luminance.shape[-2:]
        maps = F.pixel_shuffle(maps, 2)[..., :height, :width].float()
        x, y, x_gate, y_gate = maps.chunk(4, dim=1)
        window = _window(height, width, maps.device)
        # Horizontal and vertical gradients take turns.
        repeat = (1, self.config.groups, 1, 1)
        x = (x + torch.sigmoid(x_gate) * gradients(sharpened[:, :1]).repeat(repeat)) * window
        y = (y + torch.sigmoid(y_gate) * gradients(luminance).repeat(repeat)) * window
        quotients = self._quotients(x, y, size)
        scaled = quotients / quotients.amax(dim=(2, 3), keepdim=True).clamp(min=1e-4)
        scaled = scaled.clamp(min=-1)
        last = before[:, None] / before.amax(dim=(1, 2), keepdim=True)[:, None].clamp(min=1e-6)
        pooled = deepest.float().mean(dim=(2, 3))
        evidence = torch.cat([scaled, last, _spectral_features(luminance, size)], dim=1)
        logits, kernel_deepest = self.kernel(
            _padded(evidence, self.kernel.stride),
            self.context(F.pad(pooled, (0, 1), value=float(scale))),
        )
        # The joint quotient itself is where the network starts from.
        start = torch.log(scaled[:, -1].clamp(min=0) + 0.02)
        logits = logits[:, 0, :size, :size].float() + start
        kernels = torch.softmax(logits.flatten(1), dim=1).view(-1, size, size)
        kernel_deepest = kernel_deepest.float()
        summary = [kernel_deepest.mean(dim=(2, 3)), kernel_deepest.amax(dim=(2, 3)), pooled]
        with torch.no_grad():
            measures = self._measures(luminance, kernels, before, quotients)
        confidence = self.confidence(torch.cat([*summary, measures], dim=1))[:, 0]
        edges = x.view(len(x), -1, 2, height, width)
        return KernelStage(kernels, confidence, scale, quotients, edges)

    def _measures(
        self, luminance: Tensor, kernels: Tensor, before: Tensor, quotients: Tensor
    ) -> Tensor:
        """Return what speaks for or against kernels, (N, groups + 3 + filters)."""
        others = torch.cat([before[:, None], quotients], dim=1)
        agreement = F.cosine_similarity(kernels.flatten(1)[:, None], others.flatten(2), dim=2)
        concentration = kernels.square().sum(dim=(1, 2)).log()[:, None]
        # The share of the picture's power that stays when it is sharpened and blurred again: much
        # where the kernel's spectrum is low, unless the picture's is low there, too.
        shape = luminance.shape[-2:]
        power = _power(
            torch.fft.rfft2(gradients(luminance) * _window(shape[0], shape[1], luminance.device))
        )
        power = power.sum(dim=1, keepdim=True)
        transfer = _power(torch.fft.rfft2(_origin_first(kernels, shape)))[:, None]
        weights = torch.tensor(self.config.wiener, device=power.device)[:, None, None]
        left = (weights / (transfer + weights)).square() * power
        residual = left.sum(dim=(2, 3)) / power.sum(dim=(2, 3)).clamp(min=1e-9)
        return torch.cat([agreement, concentration, residual.clamp(min=1e-6).log()], dim=1)

    def _quotients(self, x: Tensor, y: Tensor, size: int) -> Tensor:
        """Return the least-squares kernels of the groups and of all, (N, groups + 1, K, K)."""
        shape = x.shape[-2:]
        with torch.autocast(x.device.type, enabled=False):
            x_spectrum, y_spectrum = torch.fft.rfft2(x), torch.fft.rfft2(y)
            cross = x_spectrum.conj() * y_spectrum
            power = _power(x_spectrum)
            # Horizontal and vertical gradients of a group.
            cross = cross[:, 0::2] + cross[:, 1::2]
            power = power[:, 0::2] + power[:, 1::2]
            cross = torch.cat([cross, cross.sum(dim=1, keepdim=True)], dim=1)
            power = torch.cat([power, power.sum(dim=1, keepdim=True)], dim=1)
            beta = self.log_beta.exp()[:, None, None] * power.mean(dim=(2, 3), keepdim=True)
            return _central(torch.fft.irfft2(cross / (power + beta + 1e-6), s=shape), size)


def read_kernel_net(path: Path) -> KernelNet:
    """Read a network and its weights, ready to find kernels.

    Parameters
    ----------
    path : pathlib.Path
        A safetensors file that the training of the kernel network wrote.

    Returns
    -------
    KernelNet
        In fp32 on the CPU, in evaluation mode.

    Raises
    ------
    KernelNetError
        The file cannot be read, or is not a kernel network.
    """
    try:
        with safe_open(path, "pt") as file:
            description = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        if description.get("format") != FORMAT:
            raise KernelNetError(f"{path} holds no kernel network.")
        net = KernelNet(KernelNetConfig.from_dict(json.loads(description["config"])))
        net.load_state_dict(state)
    except (OSError, SafetensorError) as error:
        raise KernelNetError(f"{path} cannot be read: {error}.") from error
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise KernelNetError(f"{path} holds no kernel network of this version: {error}.") from error
    return net.eval().requires_grad_(False)


def find_kernels(
    net: KernelNet, light: Tensor, *, crop: int = 512, most: int = 3
) -> list[tuple[Tensor, float]]:
    """Find kernels in the parts of a picture that show most.

    Parameters
    ----------
    net : KernelNet
        What finds them.
    light : Tensor
        (3, H, W) linear light in 0..1, of any size from 128 pixels.
    crop : int
        Largest height and width of a part, at least 128.
    most : int
        Number of parts that are looked at, at most.

    Returns
    -------
    list of (Tensor, float)
        Kernels (K, K), each with the network's probability that it is right, most probable first;
        empty for a picture that is too small. They are not yet centred exactly.
    """
    height, width = light.shape[-2:]
    if min(height, width) < SMALLEST_SIDE:
        return []
    rows, columns = (
        torch.linspace(0, max(side - crop, 0), -(-side // crop)).long().tolist()
        for side in (height, width)
    )
    crops = [
        light[:, row : row + crop, column : column + crop] for row in rows for column in columns
    ]
    if len(crops) > most:
        detail = [_detail(one) for one in crops]
        order = sorted(range(len(crops)), key=detail.__getitem__, reverse=True)
        crops = [crops[place] for place in order[:most]]
    with torch.inference_mode():
        estimate = net(torch.stack(crops))
        probability = torch.sigmoid(estimate.confidence.float()).tolist()
    found = zip(estimate.kernels, probability, strict=True)
    return sorted(found, key=lambda candidate: candidate[1], reverse=True)


def _detail(light: Tensor) -> float:
    """Return how much a part of a picture shows where it is not saturated."""
    shades = torch.log(light.mean(dim=0)[None, None] + 0.02)
    # Blurred edges are still there at a quarter of the resolution, noise is not.
    differences = gradients(F.avg_pool2d(shades, 4)).abs().sum(dim=1)
    exposed = F.max_pool2d(light.amax(dim=0)[None], 4) < _SATURATED
    return float((differences * exposed).mean())


class UNet(nn.Module):
    """Residual blocks at several resolutions, without normalisation.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    widths : sequence of int
        Channels at 1, 1/2, 1/4, ... of the resolution.
    blocks : int
        Residual blocks per resolution and way; twice as many at the coarsest one.
    """

    def __init__(self, inputs: int, outputs: int, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.stride = 2 ** (len(widths) - 1)

        def several(width: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))

        self.stem = nn.Conv2d(inputs, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(several(width, blocks) for width in widths[:-1])
        self.down = nn.ModuleList(
            nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairwise(widths)
        )
        self.deepest = several(widths[-1], 2 * blocks)
        self.up = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in pairwise(widths))
        self.decoder = nn.ModuleList(several(width, blocks) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], outputs, 1)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the network.

        Parameters
        ----------
        x : Tensor
            (N, inputs, H, W), H and W multiples of ``stride``.
        bias : Tensor, optional
            (N, widths[0]), added to the first features everywhere.

        Returns
        -------
        maps, deepest : Tensor
            (N, outputs, H, W), and the coarsest features.
        """
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        if bias is not None:
            x = x + bias[:, :, None, None].to(x.dtype)
        skips = []
        for block, down in zip(self.encoder, self.down, strict=True):
            x = block(x)
            skips.append(x)
            x = down(x)
        deepest = x = self.deepest(x)
        for block, up in zip(reversed(self.decoder), reversed(self.up), strict=True):
            x = block(F.pixel_shuffle(up(x), 2) + skips.pop())
        return self.head(x), deepest


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity, to which channels weighted by their means are added.

    Parameters
    ----------
    width : int
        Channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (N, width, H, W)."""
        change: Tensor = self.second(F.silu(self.first(F.silu(x))))
        return x + change


def _origin_first(kernels: Tensor, shape: Sequence[int]) -> Tensor:
    """Return (N, K, K) kernels on the canvas of an FFT, their middle pixel at (0, 0)."""
    size = kernels.shape[-1]
    canvas = F.pad(kernels, (0, shape[1] - size, 0, shape[0] - size))
    return canvas.roll((-(size // 2),) * 2, dims=(1, 2))


def _enlarged(kernels: Tensor, size: int) -> Tensor:
    """Return kernels for pixels that are as many times smaller as the kernels become larger."""
    if kernels.shape[-1] == size:
        return kernels
    larger = F.interpolate(kernels[:, None], (size, size), mode="bilinear", align_corners=True)
    return larger[:, 0] / larger.sum(dim=(2, 3))[..., None].clamp(min=1e-6)


def _power(spectrum: Tensor) -> Tensor:
    """Return the squared magnitudes of complex numbers."""
    return spectrum.real.square() + spectrum.imag.square()


def _central(correlation: Tensor, size: int) -> Tensor:
    """Return the ``size`` pixels around (0, 0) of what an FFT left wrapped around."""
    return correlation.roll((size // 2,) * 2, dims=(-2, -1))[..., :size, :size]


def _spectral_features(luminance: Tensor, size: int) -> Tensor:
    """Return the autocorrelation of the gradients and the cepstrum, (N, 2, size, size)."""
    shape = luminance.shape[-2:]
    window = _window(shape[0], shape[1], luminance.device)
    # Logarithms, or lamps would say all there is to say.
    shades = gradients(torch.log(luminance.clamp(min=0) + 0.05)) * window
    spectrum = torch.fft.rfft2(shades)
    power = _power(spectrum).sum(dim=1, keepdim=True)
    power = power / power.mean(dim=(2, 3), keepdim=True).clamp(min=1e-9)
    both = torch.cat([power, torch.log(power + 1e-3)], dim=1)
    central = _central(torch.fft.irfft2(both, s=shape), size)
    # At the origin there is only the power as a whole.
    middle = size // 2
    central[..., middle, middle] = 0
    return central / central.square().mean(dim=(2, 3), keepdim=True).sqrt().clamp(min=1e-9)


def _encoded(light: Tensor) -> Tensor:
    """Return light as the network sees it: shades in the dark are spread."""
    return torch.sqrt(light.clamp(0, 8) + 0.01)


def gradients(image: Tensor) -> Tensor:
    """Return an image's differences between neighbours.

    Parameters
    ----------
    image : Tensor
        (N, 1, H, W).

    Returns
    -------
    Tensor
        (N, 2, H, W), horizontal and vertical; 0 at the last column and row.
    """
    horizontal = F.pad(image[..., 1:] - image[..., :-1], (0, 1))
    vertical = F.pad(image[..., 1:, :] - image[..., :-1, :], (0, 0, 0, 1))
    return torch.cat([horizontal, vertical], dim=1)


def _window(height: int, width: int, device: torch.device) -> Tensor:
    """Return a window that fades in at every border, over 16 pixels or an eighth of the side."""
    rows, columns = (
        torch.arange(1, n + 1, device=device) / (min(16, n // 8) + 1) for n in (height, width)
    )
    rows, columns = (
        torch.sin(torch.minimum(ramp, ramp.flip(0)).clamp(max=1) * torch.pi / 2).square()
        for ramp in (rows, columns)
    )
    return rows[:, None] * columns


def _padded(image: Tensor, multiple: int) -> Tensor:
    """Continue an image to the right and below until its sides are multiples."""
    height, width = image.shape[-2:]
    return F.pad(image, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def _folded(image: Tensor, stride: int) -> Tensor:
    """Return an image at half its resolution, its pixels as channels, for a network of a stride."""
    return F.pixel_unshuffle(_padded(image, 2 * stride), 2)
