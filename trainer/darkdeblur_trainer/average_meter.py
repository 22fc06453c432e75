"""Averages of the scalars that every step measures, kept on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from .distributed import ProcessGroup


class AverageMeter:
    """Average scalars over steps without reading a number from the device.

    Parameters
    ----------
    device : torch.device
        Device on which the scalars are computed.
    state : dict of Tensor, optional
        State from which to continue, as `state_dict` returned it.
    """

    def __init__(self, device: torch.device, state: dict[str, Tensor] | None = None) -> None:
        state = {} if state is None else state
        self._counts = {
            name.removesuffix("#"): float(value)
            for name, value in state.items()
            if name.endswith("#")
        }
        self._sums = {name: state[name].to(device) for name in self._counts}

    @torch.no_grad()
    def update(self, values: dict[str, Tensor]) -> None:
        """Add the scalars of one step."""
        for name, value in values.items():
            if name not in self._sums:
                self._sums[name], self._counts[name] = torch.zeros_like(value), 0.0
            self._counts[name] += 1
        # One kernel for all of them, where adding each would be ten.
        torch._foreach_add_([self._sums[name] for name in values], list(values.values()))

    def compute_and_reset(self, group: ProcessGroup) -> dict[str, Tensor]:
        """Return the averages over steps and ranks, on the CPU, and start again from zero."""
        names = list(self._sums)
        values = torch.stack([self._sums[name] / self._counts[name] for name in names])
        self._sums, self._counts = {}, {}
        return dict(zip(names, group.all_reduce_mean(values).cpu().unbind(), strict=True))

    def state_dict(self, group: ProcessGroup) -> dict[str, Tensor]:
        """Return sums and counts, the same on all ranks; every rank must call it."""
        if not self._sums:
            return {}
        sums = group.all_reduce_mean(torch.stack(list(self._sums.values()))).unbind()
        self._sums = dict(zip(self._sums, sums, strict=True))
        counts = {f"{name}#": torch.tensor(count) for name, count in self._counts.items()}
        # A view would be saved with all of the stack that it is part of.
        return {name: value.clone() for name, value in self._sums.items()} | counts
