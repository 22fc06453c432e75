"""The parts of the generator: dense-attention block, contextual gate, level transitions.

Where no gradient is wanted, the same sums are computed with less memory and fewer passes over
it: in place, and without copies. No part ever writes to the tensor that it is given.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3 × 3 convolution, zero-padded by 1."""
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1)


def leaky_relu(x: Tensor, negative_slope: float) -> Tensor:
    """Return LeakyReLU of a tensor that nobody else needs, in place where no gradient is."""
    return F.leaky_relu(x, negative_slope, inplace=not torch.is_grad_enabled())


# oneDNN's convolution that adds to a tensor, where torch has it. It is made for torch's own
# compiler and may change with any release, so it is used only once it was tried.
ONEDNN_CONVOLUTION = getattr(torch.ops.mkldnn, "_convolution_pointwise_", None)


@functools.cache
def onednn_add_conv3x3_(operator: Any) -> Callable[[Tensor, Tensor, Tensor], None] | None:
    """Return `add_conv3x3_` by oneDNN, if it computes what it should.

    Parameters
    ----------
    operator : OpOverloadPacket or None
        `ONEDNN_CONVOLUTION`. It is called once, on numbers whose result is known.

    Returns
    -------
    callable or None
        None if there is no such operator, or its parameters or results are not the expected ones.
    """

    def add(total: Tensor, x: Tensor, weight: Tensor) -> None:
        padding = stride = dilation = [1, 1]
        operator.binary(
            total, x, weight, None, padding, stride, dilation, 1, "add", 1.0, None, [], None
        )

    with torch.device("cpu"), torch.autocast("cpu", enabled=False):
        x = torch.linspace(-1, 1, 40, dtype=torch.float32).reshape(1, 2, 5, 4)
        weight = torch.linspace(-1, 2, 54, dtype=torch.float32).reshape(3, 2, 3, 3)
        x = x.contiguous(memory_format=torch.channels_last)
        expected = 1 + F.conv2d(x, weight, padding=1)
        total = torch.ones_like(expected)
        try:
            add(total, x, weight)
        except (AttributeError, RuntimeError, TypeError):  # not there, or it takes other things
            return None
        return add if torch.allclose(total, expected, atol=1e-5) else None


def onednn_flops(total: Sequence[int], x: Sequence[int], weight: Sequence[int], *_: Any) -> int:
    """Return the operations of oneDNN's convolution, of the shapes of its first arguments."""
    return 2 * math.prod(total) * math.prod(weight[1:])


if ONEDNN_CONVOLUTION is not None:
    # For `torch.utils.flop_counter.FlopCounterMode`, which knows torch's own convolutions only.
    # A version that knows this one, too, refuses a second formula.
    with contextlib.suppress(RuntimeError):
        register_flop_formula(ONEDNN_CONVOLUTION)(
            lambda *shapes, out_shape=None, **_: onednn_flops(*shapes)
        )


def add_conv3x3_(total: Tensor, x: Tensor, weight: Tensor) -> None:
    """Add to ``total`` the 3 × 3 convolution of ``x``, without a bias.

    Parameters
    ----------
    total : Tensor
        (N, K, H, W), channels last; it is written to.
    x : Tensor
        Input, (N, C, H, W), channels last.
    weight : Tensor
        Weights of the convolution, (K, C, 3, 3).
    """
    # Under autocast the total may have another type than x: torch's own convolution follows.
    single = x.dtype == total.dtype == torch.float32
    onednn = onednn_add_conv3x3_(ONEDNN_CONVOLUTION) if single else None
    if onednn is None:
        total.add_(F.conv2d(x, weight, padding=1))
    else:
        onednn(total, x, weight)


def global_average(x: Tensor) -> Tensor:
    """Average (N, C, H, W) over height and width: (N, C, 1, 1) (eq. 2)."""
    return x.mean(dim=(2, 3), keepdim=True)


class ChannelAttention(nn.Module):
    """Squeeze and excitation: scale each channel by a factor in 0..1 (eqs. 2-4).

    Parameters
    ----------
    channels : int
        Number of input and of output channels.
    reduction : int
        The bottleneck has ``channels // reduction`` channels, at least 4.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        bottleneck = max(channels // reduction, 4)
        self.squeeze = nn.Conv2d(channels, bottleneck, kernel_size=1)
        self.excite = nn.Conv2d(bottleneck, channels, kernel_size=1)

    def scale(self, mean: Tensor) -> Tensor:
        """Map channel means (N, C, 1, 1) to channel scales of the same shape (eq. 3)."""
        return torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return x * self.scale(global_average(x))


class DenseAttentionBlock(nn.Module):
    """Densely connected convolutions beside a scaled shortcut of their input (eqs. 1-5).

    The attention descriptors come from the block's *input*, and the re-scaled input is
    added to the output of the last convolution: ``D = X_l + S(x)``.

    Parameters
    ----------
    channels : int
        Number of input and of output channels.
    growth : int
        Channels that each convolution but the last adds to the stack.
    layers : int
        Number of convolutions, one after the other.
    attention : bool
        Whether channel attention scales the shortcut. If not, the input itself is added.
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
        self.growth = growth
        self.negative_slope = negative_slope

    def forward(self, x: Tensor, channel_scale: Tensor | None = None) -> Tensor:
        """Apply the block.

        Parameters
        ----------
        x : Tensor
            (N, C, H, W); it is not written to.
        channel_scale : Tensor, optional
            Factor of the shortcut, (N, C, 1, 1) or (N, C, H, W), in place of the one that
            follows from the block's own channel means. Without attention it is ignored.

        Returns
        -------
        Tensor
            (N, C, H, W).
        """
        in_place = not torch.is_grad_enabled()
        by_sums = in_place and x.device.type == "cpu"
        features = self._dense_by_sums(x) if by_sums else self._dense(x)
        if not isinstance(self.shortcut, ChannelAttention):
            return features.add_(x) if in_place else features + x
        if channel_scale is None:
            channel_scale = self.shortcut.scale(global_average(x))
        return features.addcmul_(x, channel_scale) if in_place else features + x * channel_scale

    def _dense(self, x: Tensor) -> Tensor:
        """Return X_l, the output of the last convolution (eq. 1)."""
        features = [x]
        for conv in self.convs:
            stacked = torch.cat(features, dim=1) if len(features) > 1 else x
            features.append(leaky_relu(conv(stacked), self.negative_slope))
        return features[-1]

    def _dense_by_sums(self, x: Tensor) -> Tensor:
        """Return X_l without stacking features.

        The convolution of a stack is the sum of the convolutions of its parts. On a CPU that
        saves the copies, almost half of the memory, and time: narrow convolutions stay in the
        cache. On a GPU one wide convolution is fewer launches, and rounds once in half precision.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        features: list[Tensor] = []
        for conv in self.convs:
            assert isinstance(conv, nn.Conv2d)
            starts = list(range(x.shape[1], conv.in_channels, self.growth))
            of_x, *of_features = conv.weight.tensor_split(starts, dim=1)
            total = F.conv2d(x, of_x, conv.bias, padding=1)
            for feature, weight in zip(features, of_features, strict=True):
                add_conv3x3_(total, feature, weight)
            features.append(leaky_relu(total, self.negative_slope))
        return features[-1]


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
        both = self.conv(x)
        features, gate = both.chunk(2, dim=1)
        if torch.is_grad_enabled():
            return F.leaky_relu(features, self.negative_slope) * torch.sigmoid(gate)
        F.leaky_relu_(features, self.negative_slope)
        return F.glu(both, dim=1)  # first half * sigmoid(second half), in one pass


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
        # The four pixels that one becomes start out equal, so that no checkerboard has to be
        # unlearned (ICNR initialisation, Aitken et al. 2017).
        with torch.no_grad():
            weight = self.expand.weight[::4].repeat_interleave(4, dim=0)
            bias = self.expand.bias
            assert bias is not None
            self.expand.weight.copy_(weight)
            bias.copy_(bias[::4].repeat_interleave(4))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, 2 H, 2 W)."""
        x = self.expand(leaky_relu(self.reduce(x), self.negative_slope))
        if torch.is_grad_enabled():
            activated: Tensor = self.activation(F.pixel_shuffle(x, 2))
            return activated
        # The same before the shuffle, where it is quicker.
        x = F.prelu(x, self.activation.weight.repeat_interleave(4))
        return F.pixel_shuffle(x, 2)
