"""Means of what every step measures, without reading a number from the device."""

from __future__ import annotations

import torch
from torch import Tensor

from .parallel import Processes


class RunningMeans:
    """Sums on the device, and how many numbers are in each.

    Parameters
    ----------
    state : dict of Tensor, optional
        What `state_dict` returned; nothing by default.
    device : torch.device
        Where the numbers come from.
    """

    def __init__(self, state: dict[str, Tensor] | None, device: torch.device) -> None:
        state = {} if state is None else state
        self._counts = {
            name.removesuffix("#"): float(value)
            for name, value in state.items()
            if name.endswith("#")
        }
        self._sums = {name: state[name].to(device) for name in self._counts}

    @torch.no_grad()
    def add(self, values: dict[str, Tensor]) -> None:
        """Take in the scalars of a step."""
        for name, value in values.items():
            if name not in self._sums:
                self._sums[name], self._counts[name] = torch.zeros_like(value), 0.0
            self._counts[name] += 1
        # One kernel for all of them, where adding each would be ten.
        torch._foreach_add_([self._sums[name] for name in values], list(values.values()))

    def take(self, processes: Processes) -> dict[str, Tensor]:
        """Return the means over steps and processes, on the CPU, and begin anew."""
        names = list(self._sums)
        values = torch.stack([self._sums[name] / self._counts[name] for name in names])
        self._sums, self._counts = {}, {}
        return dict(zip(names, processes.mean(values).cpu().unbind(), strict=True))

    def state_dict(self, processes: Processes) -> dict[str, Tensor]:
        """Return what goes on from here, the same for all processes."""
        if not self._sums:
            return {}
        sums = processes.mean(torch.stack(list(self._sums.values()))).unbind()
        self._sums = dict(zip(self._sums, sums, strict=True))
        counts = {f"{name}#": torch.tensor(count) for name, count in self._counts.items()}
        # A part of a stack would be saved with all of it.
        return {name: value.clone() for name, value in self._sums.items()} | counts
