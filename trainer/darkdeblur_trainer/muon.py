"""Muon: momentum whose every matrix is made orthogonal before it becomes a step.

A convolution's gradient is dominated by few directions; Adam scales numbers one by one and leaves
it so. Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks") replaces
the momentum of a weight, as a matrix of outputs × (inputs × 3 × 3), by the nearest orthogonal one:
all directions learn alike. What is no matrix of some size (biases, the attention's bottlenecks,
slopes) is left to Adam.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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


def orthogonal(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Return the orthogonal matrices that are nearest to others, approximately.

    That of X is (X X^T)^(-1/2) X. Jordan's iteration multiplies X by a polynomial of X X^T, five
    times; here it is carried out on X X^T alone, which for a 3 × 3 convolution is a ninth of the
    size, and X is multiplied once, by the product of all five polynomials.

    Parameters
    ----------
    matrices : sequence of Tensor
        (N, R, C) each, the shorter side being the same in all; N, R and C may differ. No matrix
        may be all zero.

    Returns
    -------
    list of Tensor
        Of the same shapes; singular values between about 0.7 and 1.2.
    """
    wide = [x.mT if x.shape[1] > x.shape[2] else x for x in matrices]
    wide = [x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7) for x in wide]
    with _exact_products(wide[0].device):
        roots = _inverse_square_root(torch.cat([x @ x.mT for x in wide]))
        parts = torch.split(roots, [len(x) for x in wide])
        made = [root @ x for root, x in zip(parts, wide, strict=True)]
    return [
        x.mT if given.shape[1] > given.shape[2] else x
        for x, given in zip(made, matrices, strict=True)
    ]


def _inverse_square_root(squares: Tensor) -> Tensor:
    """Return about A^(-1/2) of symmetric A (N, R, R) whose eigenvalues lie in 0..1."""
    a, b, c = _COEFFICIENTS
    root: Tensor | None = None
    for left in reversed(range(_ROUNDS)):
        polynomial = torch.baddbmm(squares, squares, squares, beta=b, alpha=c)
        polynomial.diagonal(dim1=1, dim2=2).add_(a)
        root = polynomial if root is None else root @ polynomial
        if left > 0:
            squares = polynomial @ squares @ polynomial
    assert root is not None
    return root


@contextmanager
def _exact_products(device: torch.device) -> Iterator[None]:
    """Let a GPU compute products in fp32 where training lets it use TF32.

    TF32 would make small eigenvalues of X X^T negative, and the iteration diverges from those.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


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
                self._muon(group["params"], group)
            else:
                self._adam(group["params"], group)

    def _muon(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        gradients = [_gradient(p) for p in parameters]
        averages = [self._state(p, "average") for p in parameters]
        torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, averages, group["momentum"])
        # Matrices of one shape are stacked, and those with one shorter side orthogonal together.
        alike: dict[int, dict[torch.Size, list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, value in enumerate(ahead):
            shape = value.flatten(1).shape
            alike[min(shape)][shape].append(place)
        for shapes in alike.values():
            stacks = [
                torch.stack([ahead[place].flatten(1) for place in places])
                for places in shapes.values()
            ]
            for places, steps in zip(shapes.values(), orthogonal(stacks), strict=True):
                size = _STEP_SIZE * max(steps.shape[1:]) ** 0.5
                for place, step in zip(places, steps, strict=True):
                    parameter = parameters[place]
                    parameter.add_(step.reshape(parameter.shape), alpha=-size * group["lr"])

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
