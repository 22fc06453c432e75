"""How much memory there is, and how much a computation takes.

What a network takes is not guessed from its widths but measured on small inputs: on a CPU by
counting every tensor's coming and going, on a GPU by asking the allocator.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Of what is free, what restoring takes by default: others live here, too.
FREE_SHARE = {"cpu": 0.6, "cuda": 0.8, "mps": 0.5}

_CGROUP = Path("/sys/fs/cgroup")


class PeakTracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that are made while it is active.

    Attributes
    ----------
    live : int
        Bytes of the tensors that still exist.
    peak : int
        The most that ``live`` has been.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        self._known: dict[int, weakref.finalize[Any, Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._see(value)
        return result

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known[key] = weakref.finalize(storage, self._forget, key, size)
        self.live += size
        self.peak = max(self.peak, self.live)

    def _forget(self, key: int, size: int) -> None:
        del self._known[key]
        self.live -= size


def peak_bytes(compute: Callable[[], object], device: torch.device) -> int:
    """Return the most bytes that a function allocates on a device at any time.

    Parameters
    ----------
    compute : callable
        Makes its inputs itself if they are to be counted.
    device : torch.device
        Where it computes.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        compute()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    with PeakTracker() as tracker:
        compute()
    return int(tracker.peak)


def free_memory(device: torch.device) -> int:
    """Return how many bytes can be allocated on a device now.

    For a CPU that is what the system has available, or what the container is allowed to take
    (cgroups), whichever is less.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + unused)
    available = int(psutil.virtual_memory().available)
    limits = [_cgroup_room("memory.max", "memory.current", "memory.stat")]
    limits.append(
        _cgroup_room(
            "memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"
        )
    )
    return min(available, *(limit for limit in limits if limit is not None), available)


def default_budget(device: torch.device, held: int = 0) -> int:
    """Return how many bytes restoring may take if the user does not say.

    Parameters
    ----------
    device : torch.device
        Whose memory.
    held : int
        Bytes that will be taken in any case. They are part of the result, and do not count
        towards the share of free memory that is taken.
    """
    return int(FREE_SHARE.get(device.type, 0.5) * max(free_memory(device) - held, 0)) + held


def _cgroup_room(limit: str, usage: str, statistics: str) -> int | None:
    """Return what a cgroup leaves, or None where there is no limit to be read."""
    try:
        allowed = int((_CGROUP / limit).read_text())
        used = int((_CGROUP / usage).read_text())
        stat = (_CGROUP / statistics).read_text()
    except (OSError, ValueError):
        return None
    # Cached files count as used, yet make room when it is needed.
    cached = re.search(r"^(?:total_)?inactive_file (\d+)$", stat, re.MULTILINE)
    return max(allowed - used + (int(cached[1]) if cached else 0), 0)
