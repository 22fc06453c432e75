"""The parts of the generator: dense-attention block, contextual gate, level transitions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3 × 3 convolution, zero-padded by 1."""
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1)


class SpatialMean(nn.Module):
    """Mean over height and width (eq. 2).

    A module of its own so that tiled restoring can find every place where the network
    looks at the whole image, and replace what it sees there.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, 1, 1)."""
        return x.mean(dim=(2, 3), keepdim=True)


class ChannelAttention(nn.Module):
    """Squeeze and excitation: scale each channel by a gate in 0..1 (eqs. 2-4).

    Parameters
    ----------
    channels : int
        Channels in and out.
    reduction : int
        The bottleneck has ``channels // reduction`` channels, at least 4.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        bottleneck = max(channels // reduction, 4)
        self.mean = SpatialMean()
        self.squeeze = nn.Conv2d(channels, bottleneck, kernel_size=1)
        self.excite = nn.Conv2d(bottleneck, channels, kernel_size=1)

    def gate(self, mean: Tensor) -> Tensor:
        """Map channel means (N, C, 1, 1) to gates of the same shape (eq. 3)."""
        return torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return x * self.gate(self.mean(x))


class DenseAttentionBlock(nn.Module):
    """Densely connected convolutions beside a gated short-cut of their input (eqs. 1-5).

    The attention descriptors come from the block's *input*, and the re-scaled input is
    added to the output of the last convolution: ``D = X_l + S(x)``.

    Parameters
    ----------
    channels : int
        Channels in and out.
    growth : int
        Channels that each convolution but the last adds to the stack.
    layers : int
        Number of convolutions.
    attention : bool
        Whether the short-cut is gated. If not, the input itself is added.
    reduction : int
        See `ChannelAttention`.
    negative_slope : float
        Slope of LeakyReLU below zero.
    """

    def __init__(
        self,
        channels: int,
        growth: int,
        layers: int,
        attention: bool,
        reduction: int,
        negative_slope: float,
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            conv3x3(channels + i * growth, channels if i == layers - 1 else growth)
            for i in range(layers)
        )
        self.shortcut = ChannelAttention(channels, reduction) if attention else nn.Identity()
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        features = [x]
        for conv in self.convs:
            stacked = torch.cat(features, dim=1) if len(features) > 1 else x
            features.append(F.leaky_relu(conv(stacked), self.negative_slope))
        shortcut: Tensor = self.shortcut(x)
        return features[-1] + shortcut


class ContextualGate(nn.Module):
    """Gated convolution on a skip: ``leaky_relu(G(x)) * sigmoid(F(x))`` (eqs. 6-8).

    The two convolutions share their input and are computed as one with twice the outputs:
    the features first, then the gate.
    """

    def __init__(self, channels: int, negative_slope: float) -> None:
        super().__init__()
        self.conv = conv3x3(channels, 2 * channels)
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        features, gate = self.conv(x).chunk(2, dim=1)
        return F.leaky_relu(features, self.negative_slope) * torch.sigmoid(gate)


class Upsample(nn.Module):
    """To the next finer level: convolution, then pixel-shuffle convolution (eq. 10).

    Parameters
    ----------
    inputs, outputs : int
        Channels of the coarse and of the fine level.
    negative_slope : float
        Slope of LeakyReLU below zero, after the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, negative_slope: float) -> None:
        super().__init__()
        self.reduce = conv3x3(inputs, outputs)
        self.expand = conv3x3(outputs, 4 * outputs)
        self.activation = nn.PReLU(outputs)
        self.negative_slope = negative_slope
        # The four sub-pixels of a cell start out equal, so that no checkerboard has to be
        # unlearned (ICNR initialisation, Aitken et al. 2017).
        with torch.no_grad():
            weight = self.expand.weight[::4].repeat_interleave(4, dim=0)
            bias = self.expand.bias
            assert bias is not None
            self.expand.weight.copy_(weight)
            bias.copy_(bias[::4].repeat_interleave(4))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, 2 H, 2 W)."""
        x = F.leaky_relu(self.reduce(x), self.negative_slope)
        activated: Tensor = self.activation(F.pixel_shuffle(self.expand(x), 2))
        return activated
