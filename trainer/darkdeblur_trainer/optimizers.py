"""Optimizers: torch's Adam, and Muon, whose steps are orthogonal matrices.

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
from typing import Literal

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


def orthogonalize(matrices: Sequence[Tensor]) -> list[Tensor]:
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
    """Muon with Nesterov momentum, for the weights of convolutions.

    ``torch.optim.Muon`` (torch 2.9 and later) takes two-dimensional parameters only, one after
    the other, and computes in bf16, for which most CPUs have no instructions. Here matrices with
    one shorter side are made orthogonal together, in fp32, whatever torch's version.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
        Weights of convolutions, (O, I, H, W), each of which is a matrix of O rows; see
        `is_hidden_matrix`.
    lr : float
        Learning rate; the size of a step is about that of Adam's at the same rate.
    momentum : float
        Weight of the past in the average of the gradients.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float = 1e-3, momentum: float = 0.95
    ) -> None:
        parameters = sorted(parameters, key=lambda parameter: tuple(parameter.shape))
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter; each must have a gradient."""
        for group in self.param_groups:
            self._update(group["params"], group["lr"], group["momentum"])

    def _update(self, parameters: list[nn.Parameter], lr: float, momentum: float) -> None:
        gradients = [_gradient(parameter) for parameter in parameters]
        averages = [self._momentum_buffer(parameter) for parameter in parameters]
        torch._foreach_lerp_(averages, gradients, 1 - momentum)
        ahead = torch._foreach_lerp(gradients, averages, momentum)
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
            for places, steps in zip(shapes.values(), orthogonalize(stacks), strict=True):
                size = _STEP_SIZE * max(steps.shape[1:]) ** 0.5
                for place, step in zip(places, steps, strict=True):
                    parameter = parameters[place]
                    parameter.add_(step.reshape(parameter.shape), alpha=-size * lr)

    def _momentum_buffer(self, parameter: nn.Parameter) -> Tensor:
        state: dict[str, Tensor] = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state["momentum_buffer"]


def build_optimizers(
    parameters: Iterable[nn.Parameter],
    method: Literal["adam", "muon"],
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.99),
) -> list[torch.optim.Optimizer]:
    """Return the optimizers that together update a network.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
        Parameters of the network.
    method : {"adam", "muon"}
        Adam for all of them, or Muon for the weights that are matrices (see `is_hidden_matrix`)
        and Adam for the rest.
    lr : float
        Learning rate of all of them.
    betas : tuple of float
        Decay of Adam's running averages.

    Returns
    -------
    list of torch.optim.Optimizer
        One or two, none of them without parameters.
    """
    parameters = list(parameters)
    matrices = [p for p in parameters if method == "muon" and is_hidden_matrix(p)]
    chosen = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in parameters if id(parameter) not in chosen]
    optimizers: list[torch.optim.Optimizer] = []
    if matrices:
        optimizers.append(Muon(matrices, lr=lr))
    if others:
        optimizers.append(torch.optim.Adam(others, lr=lr, betas=betas, fused=True))
    return optimizers


def is_hidden_matrix(parameter: nn.Parameter) -> bool:
    """Whether a parameter is the weight of a convolution whose matrix has some size."""
    return parameter.ndim == 4 and min(parameter.flatten(1).shape) >= _SMALLEST_SIDE


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
