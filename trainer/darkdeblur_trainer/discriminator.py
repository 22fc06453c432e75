"""The conditional discriminator (paper, section 2.1, "Conditional Discriminator")."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


class _SumOverProcesses(torch.autograd.Function):
    """Sum of a tensor over processes; the gradient is summed the same way.

    As ``torch.distributed.nn.functional.all_reduce`` is, which torch has deprecated.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _sum_over_processes(value: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(value)  # type: ignore[no-untyped-call]
    return total


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the global batch, however many processes share it.

    torch's ``SyncBatchNorm`` does this on CUDA only; this one works with every backend, so
    that a run on two CPU processes can be compared with a run on one.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        count = x.numel() / x.shape[1] * dist.get_world_size()
        # Two reductions, not one of sum and sum of squares: their difference loses digits.
        mean = _sum_over_processes(x.sum(dim=(0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = _sum_over_processes(centred.square().sum(dim=(0, 2, 3))) / count
        with torch.no_grad():
            momentum = self.momentum if self.momentum is not None else 0.1
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
            unbiased = variance * count / max(count - 1, 1)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        normalised: Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        return normalised


class Discriminator(nn.Module):
    """Tells sharp images from restored ones, given the blurred image they belong to.

    3 × 3 convolutions with batch normalisation and swish; every odd one halves the size, and
    the channels double up to eight times the first layer's. A 1 × 1 convolution gives a map of
    logits, one per patch.

    Parameters
    ----------
    width : int
        Channels of the first layer (paper: 64).
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 6
        for factor in (1, 2, 4, 8):
            for stride in (2, 1):
                # The normalisation has a bias of its own.
                layers += [
                    nn.Conv2d(inputs, factor * width, 3, stride, padding=1, bias=False),
                    BatchNorm2d(factor * width),
                    nn.SiLU(inplace=True),
                ]
                inputs = factor * width
        self.features = nn.Sequential(*layers)
        self.head = nn.Conv2d(inputs, 1, kernel_size=1)

    def forward(self, blurred: Tensor, candidate: Tensor) -> Tensor:
        """Judge candidates.

        Parameters
        ----------
        blurred, candidate : Tensor
            Blurred images and candidates for sharp ones, (N, 3, H, W) in 0..1.

        Returns
        -------
        Tensor
            (N, 1, H / 16, W / 16) logits; positive means "a real sharp image".
        """
        # Centred on 0, where the first convolution starts out balanced.
        pair = torch.cat([blurred, candidate], dim=1) * 2 - 1
        logits: Tensor = self.head(self.features(pair))
        return logits


def adversarial_loss(logits: Tensor, real: bool) -> Tensor:
    """Return the cross-entropy of judging everything real (or not); a scalar (eq. 15)."""
    target = torch.full_like(logits, float(real))
    return F.binary_cross_entropy_with_logits(logits, target)
