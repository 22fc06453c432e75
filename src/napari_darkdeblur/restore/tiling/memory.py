"""How much memory there is, and how much a computation takes.

What a network takes is not guessed from its widths but measured on small inputs: on a CPU by
counting every tensor's coming and going, on a GPU by asking the allocator.
"""

from __future__ import annotations

import ctypes
import functools
import re
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ...errors import DarkDeblurError

# Of what is free, what restoring takes by default: others live here, too.
FREE_SHARE = {"cpu": 0.6, "cuda": 0.8, "mps": 0.5}

CGROUP = Path("/sys/fs/cgroup")


class PeakTracker(TorchFunctionMode):
    """Counts the bytes of tensors that are made while it is active.

    It sees what torch's functions return, not what they need on the way.

    Attributes
    ----------
    live : int
        Bytes of the tensors that still exist.
    peak : int
        Greatest value that ``live`` has had.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._storages: dict[int, weakref.finalize[Any, Any]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call one of torch's functions and count the storage of what it returns."""
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, Tensor):
                self._count(value.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        address, size = storage.data_ptr(), storage.nbytes()
        if size == 0 or address in self._storages:
            return
        self._storages[address] = weakref.finalize(storage, self._forget, address, size)
        self.live += size
        self.peak = max(self.peak, self.live)

    def _forget(self, address: int, size: int) -> None:
        del self._storages[address]
        self.live -= size


def peak_bytes(compute: Callable[[], object], device: torch.device) -> int:
    """Return the most bytes that a function allocates on a device at any time.

    Parameters
    ----------
    compute : callable
        Makes its inputs itself if they are to be counted.
    device : torch.device
        Device that the function computes on.
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
    limits = (
        _cgroup_room("memory.max", "memory.current", "memory.stat"),
        _cgroup_room(
            "memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"
        ),
    )
    return min([available, *(limit for limit in limits if limit is not None)])


def default_budget(device: torch.device, reserved: int = 0) -> int:
    """Return how many bytes restoring may take if the user does not say.

    Parameters
    ----------
    device : torch.device
        Device whose memory is taken.
    reserved : int
        Bytes that will be taken in any case. They are part of the result, and do not count
        towards the share of free memory that is taken.
    """
    return int(FREE_SHARE.get(device.type, 0.5) * max(free_memory(device) - reserved, 0)) + reserved


def _cgroup_room(limit: str, usage: str, statistics: str) -> int | None:
    """Return what a cgroup leaves, or None where there is no limit to be read."""
    try:
        allowed = int((CGROUP / limit).read_text())
        used = int((CGROUP / usage).read_text())
        stat = (CGROUP / statistics).read_text()
    except (OSError, ValueError):
        return None
    # Cached files count as used, yet make room when it is needed.
    cached = re.search(r"^(?:total_)?inactive_file (\d+)$", stat, re.MULTILINE)
    return max(allowed - used + (int(cached[1]) if cached else 0), 0)


# Parameters of mallopt, from malloc.h.
_TRIM_THRESHOLD = -1  # bytes free at the end of the heap that are given back
_MMAP_THRESHOLD = -3  # bytes of the smallest block that is a mapping of its own
_MMAP_MAX = -4  # number of such blocks

_MIB = 2**20
KEEP_FREED = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}
# What the library starts with, but for the two thresholds: the library raises them whenever a
# larger block is freed, up to these, and stops doing so once a program has set any of them.
MALLOC_DEFAULTS = {
    _MMAP_MAX: 65536,
    _TRIM_THRESHOLD: 64 * _MIB,
    _MMAP_THRESHOLD: 32 * _MIB,
}

_lock = threading.Lock()
_users = 0


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Make the process keep freed memory for its next tensors, until the context ends.

    At the end everything that is free is given back to the system. Meanwhile the process holds
    more than its tensors take, since what was freed in pieces does not always fit what is needed
    next: up to 1.8 times as much was seen. It serves the main thread best: what other threads
    allocate in blocks of more than 64 MiB still comes from the system.

    It acts on the whole process, so it is for programs, not for libraries: `deblur` does not
    use it. Where the C library is not glibc, it does nothing. Contexts may be nested, and used
    in several threads.
    """
    global _users
    libc = glibc()
    if libc is None:
        yield
        return
    with _lock:
        _users += 1
        if _users == 1:
            _set(libc, KEEP_FREED)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _set(libc, MALLOC_DEFAULTS)
                libc.malloc_trim(0)


def _set(libc: ctypes.CDLL, parameters: dict[int, int]) -> None:
    for parameter, value in parameters.items():
        libc.mallopt(parameter, value)


@functools.cache
def glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc, whose malloc has these parameters."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None


# What devices say of too little memory. The last two are cuDNN's, when there is too little for
# any way of computing a convolution.
_OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "allocate memory",
    "ALLOC_FAILED",
    "Invalid buffer size",
    "unable to find an engine",
    "Unable to find a valid cuDNN algorithm",
)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an exception says that a device has too little memory."""
    if isinstance(error, DarkDeblurError):
        return False
    # Most raise a plain RuntimeError.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)
    )
