"""The generator as it is usually written: what the benchmarks compare with.

The same architecture and widths as `napari_darkdeblur.DarkDeblurNet`, in the shape of a first
implementation: contiguous (N, C, H, W) tensors, two convolutions in the contextual gate, one
``torch.cat`` before every convolution of a dense block, a new tensor for every operation.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_darkdeblur import DarkDeblurNet, GeneratorConfig


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3 × 3 convolution, zero-padded by 1."""
    return nn.Conv2d(inputs, outputs, 3, stride, 1)


class Attention(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        bottleneck = max(channels // reduction, 4)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(channels, bottleneck, 1)
        self.excite = nn.Conv2d(bottleneck, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return x * torch.sigmoid(self.excite(torch.relu(self.squeeze(self.mean(x)))))


class DenseBlock(nn.Module):
    """Densely connected convolutions and a gated short-cut."""

    def __init__(self, channels: int, config: GeneratorConfig) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            conv3x3(
                channels + i * config.growth,
                channels if i == config.dense_layers - 1 else config.growth,
            )
            for i in range(config.dense_layers)
        )
        self.shortcut = Attention(channels, config.attention_reduction)
        self.slope = config.negative_slope

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        stack = x
        for conv in self.convs[:-1]:
            stack = torch.cat([stack, F.leaky_relu(conv(stack), self.slope)], dim=1)
        dense: Tensor = F.leaky_relu(self.convs[-1](stack), self.slope)
        shortcut: Tensor = self.shortcut(x)
        return dense + shortcut


class Gate(nn.Module):
    """Gated convolution on a skip, as two convolutions."""

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__()
        self.features = conv3x3(channels, channels)
        self.gate = conv3x3(channels, channels)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return F.leaky_relu(self.features(x), self.slope) * torch.sigmoid(self.gate(x))


class Up(nn.Module):
    """To the next finer level."""

    def __init__(self, inputs: int, outputs: int, slope: float) -> None:
        super().__init__()
        self.reduce = conv3x3(inputs, outputs)
        self.expand = conv3x3(outputs, 4 * outputs)
        self.activation = nn.PReLU(outputs)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, 2 H, 2 W)."""
        x = F.leaky_relu(self.reduce(x), self.slope)
        upsampled: Tensor = self.activation(F.pixel_shuffle(self.expand(x), 2))
        return upsampled


class Baseline(nn.Module):
    """The generator; attention, gates and either stem as in `GeneratorConfig`'s presets.

    Its guides are the picture itself.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        widths, slope = config.widths, config.negative_slope
        pairs = list(pairwise(widths))
        area = config.unshuffle_factor**2
        self.unshuffle_factor, self.pictures = config.unshuffle_factor, 1 + config.guides
        self.stem = conv3x3(config.input_channels * area, widths[0])
        self.encoder = nn.ModuleList(
            nn.ModuleList(DenseBlock(width, config) for _ in range(count))
            for width, count in zip(widths, config.encoder_blocks, strict=True)
        )
        self.down = nn.ModuleList(conv3x3(fine, coarse, stride=2) for fine, coarse in pairs)
        self.contextual_gates = nn.ModuleList(Gate(width, slope) for width in widths[:-1])
        self.up = nn.ModuleList(Up(coarse, fine, slope) for fine, coarse in pairs)
        self.decoder = nn.ModuleList(
            nn.ModuleList(DenseBlock(width, config) for _ in range(count))
            for width, count in zip(widths[:-1], config.decoder_blocks, strict=True)
        )
        self.head = nn.Conv2d(widths[0], config.output_channels * area, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, 3, H, W), both sides multiples of the stride, to the same shape."""
        given = image.repeat(1, self.pictures, 1, 1)
        x = self.stem(F.pixel_unshuffle(given, self.unshuffle_factor))
        skips = []
        for level, blocks in enumerate(self.encoder):
            for block in cast("nn.ModuleList", blocks):
                x = block(x)
            if level < len(self.down):
                skips.append(self.contextual_gates[level](x))
                x = self.down[level](x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](x) + skips[level]
            for block in cast("nn.ModuleList", self.decoder[level]):
                x = block(x)
        # Further channels weigh the guides, which do not differ from the picture.
        return image + F.pixel_shuffle(self.head(x), self.unshuffle_factor)[:, :3]


def baseline_of(net: DarkDeblurNet) -> Baseline:
    """Return the baseline with the weights of ``net``."""
    baseline = Baseline(net.config)
    weights = net.state_dict()
    for name in [name for name in weights if name.startswith("contextual_gates.")]:
        # Computed as one here: the features' outputs first, then the gate's.
        level, _, kind = name.removeprefix("contextual_gates.").split(".")
        features, gate = weights.pop(name).chunk(2)
        weights[f"contextual_gates.{level}.features.{kind}"] = features
        weights[f"contextual_gates.{level}.gate.{kind}"] = gate
    baseline.load_state_dict(weights)
    return baseline.eval()
