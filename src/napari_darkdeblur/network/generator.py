"""The DarkDeblurNet generator."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import ContextualGate, DenseAttentionBlock, Upsample, conv3x3
from .config import GeneratorConfig


class DarkDeblurNet(nn.Module):
    """Generator of the paper's section 2.1: a feature pyramid that predicts a correction.

    The encoder passes every level but the coarsest through a contextual gate to the
    decoder. What comes out of the last level is added to the input; nothing bounds the sum,
    so the network can return any image unchanged, black and white included. Callers that
    need 0..1 clamp.

    Parameters
    ----------
    config : GeneratorConfig
        What to build. ``net.config`` keeps it, ``net.config.stride`` and
        ``net.config.reach`` are what a tiler needs to know.

    Examples
    --------
    >>> import torch
    >>> net = DarkDeblurNet(GeneratorConfig.small())
    >>> net(torch.rand(1, 3, 7, 513)).shape
    torch.Size([1, 3, 7, 513])
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        folded = 3 * config.fold**2

        # Stem and transitions down are linear, so a block's channel means can be computed
        # from sums over the input of the convolution before it.
        self.stem = conv3x3(folded, widths[0])
        self.encoder = nn.ModuleList(self._block(width) for width in widths)
        self.down = nn.ModuleList(
            conv3x3(fine, coarse, stride=2) for fine, coarse in pairwise(widths)
        )
        self.gates = nn.ModuleList(
            ContextualGate(width, config.negative_slope)
            if config.contextual_gate
            else nn.Identity()
            for width in widths[:-1]
        )
        self.up = nn.ModuleList(
            Upsample(coarse, fine, config.negative_slope) for fine, coarse in pairwise(widths)
        )
        # The finest level has none: its work would cost as much as half the network.
        self.decoder = nn.ModuleList(
            self._block(width) if level > 0 else nn.Identity()
            for level, width in enumerate(widths[:-1])
        )
        self.head = nn.Conv2d(widths[0], folded, kernel_size=1)
        self._start_near_identity()

    def _block(self, channels: int) -> DenseAttentionBlock:
        config = self.config
        return DenseAttentionBlock(
            channels,
            growth=config.growth,
            layers=config.dense_layers,
            attention=config.channel_attention,
            reduction=config.attention_reduction,
            negative_slope=config.negative_slope,
        )

    @torch.no_grad()
    def _start_near_identity(self) -> None:
        """Make the first correction small, and as dark as the image is.

        With biases a random network adds the same error to a black image as to a bright one, and
        the first thousand steps go into taking it away again.
        """
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
        self.head.weight.mul_(0.1)

    def forward(self, image: Tensor) -> Tensor:
        """Restore a batch of images.

        Parameters
        ----------
        image : Tensor
            (N, 3, H, W), any height and width from 1, values nominally in 0..1.

        Returns
        -------
        Tensor
            The same shape; not clamped.
        """
        height, width = image.shape[-2:]
        stride = self.config.stride
        padded = F.pad(image, (0, -width % stride, 0, -height % stride), mode="replicate")
        return image + self.correction(padded)[..., :height, :width]

    def correction(self, image: Tensor) -> Tensor:
        """Return what is to be added to an image whose sides are multiples of the stride.

        Parameters
        ----------
        image : Tensor
            (N, 3, H, W).

        Returns
        -------
        Tensor
            The same shape.
        """
        in_place = not torch.is_grad_enabled()
        fold = self.config.fold
        x = F.pixel_unshuffle(image, fold)
        if in_place:
            # Faster in inference, and then everything after it is channels last, too.
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.stem(x)
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(x)
            if level < len(self.down):
                skips.append(self.gates[level](x))
                x = self.down[level](x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](x)
            skip = skips.pop()
            x = x.add_(skip) if in_place else x + skip
            del skip  # the largest tensors of all: they are not kept longer than needed
            x = self.decoder[level](x)
        return F.pixel_shuffle(self.head(x), fold)
