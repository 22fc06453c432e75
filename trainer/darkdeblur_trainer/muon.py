"""Muon: momentum whose every matrix is made orthogonal before it becomes a step.

A convolution's gradient is dominated by few directions; Adam scales numbers one by one and leaves
it so. Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks") replaces
the momentum of a weight, as a matrix of outputs × (inputs × 3 × 3), by the nearest orthogonal one:
all directions learn alike. What is no matrix of some size (biases, the attention's bottlenecks,
slopes) is left to Adam.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

# Coefficients of the iteration that brings all singular values near 1 within five rounds; they
# need not be 1 exactly (Jordan et al. 2024).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
# A step's root mean square in units of the learning rate: about that of an Adam step, so that both
# can share a learning rate (Liu et al. 2025, "Muon is scalable for LLM training").
_STEP_SIZE = 0.2
_SMALLEST_SIDE = 16


def orthogonal(matrices: Tensor) -> Tensor:
    """Return the orthogonal matrices that are nearest to others, approximately.

    Parameters
    ----------
    matrices : Tensor
        (N, R, C), not all zero.

    Returns
    -------
    Tensor
        (N, R, C); singular values between about 0.7 and 1.2.
    """
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon for convolutions, Adam for the rest.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
        Of a network.
    lr : float
        Learning rate, of the same meaning as Adam's for both.
    momentum : float
        Weight of the past in Muon's average; Nesterov's variant.
    betas : tuple of float
        Decay of Adam's running averages.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
    ) -> None:
        parameters = list(parameters)
        matrices = [p for p in parameters if _is_matrix(p)]
        # Those of one shape are made orthogonal together.
        matrices.sort(key=lambda p: tuple(p.shape))
        others = [p for p in parameters if not _is_matrix(p)]
        groups = [{"params": matrices, "muon": True}, {"params": others, "muon": False}]
        defaults = {"lr": lr, "momentum": momentum, "betas": betas, "step": 0}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step; every parameter must have a gradient."""
        for group in self.param_groups:
            group["step"] += 1
            if group["muon"]:
                for _, alike in groupby(group["params"], key=lambda p: tuple(p.shape)):
                    self._muon(list(alike), group)
            else:
                self._adam(group["params"], group)

    def _muon(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        gradients = [_gradient(p) for p in parameters]
        averages = [self._state(p, "average") for p in parameters]
        torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, averages, group["momentum"])
        steps = orthogonal(torch.stack([value.flatten(1) for value in ahead]))
        size = _STEP_SIZE * max(steps.shape[1:]) ** 0.5
        for parameter, step in zip(parameters, steps, strict=True):
            parameter.add_(step.view(parameter.shape), alpha=-size * group["lr"])

    def _adam(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        first, second = group["betas"]
        gradients = [_gradient(p) for p in parameters]
        means = [self._state(p, "mean") for p in parameters]
        squares = [self._state(p, "square") for p in parameters]
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        deviations = torch._foreach_sqrt(squares)
        torch._foreach_div_(deviations, (1 - second ** group["step"]) ** 0.5)
        torch._foreach_add_(deviations, 1e-8)
        rate = group["lr"] / (1 - first ** group["step"])
        torch._foreach_addcdiv_([*parameters], means, deviations, -rate)

    def _state(self, parameter: nn.Parameter, name: str) -> Tensor:
        state: dict[str, Tensor] = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter)
        return state[name]


def _is_matrix(parameter: nn.Parameter) -> bool:
    return parameter.ndim == 4 and min(parameter.flatten(1).shape) >= _SMALLEST_SIDE


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
