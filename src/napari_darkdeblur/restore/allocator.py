"""Keeping freed memory while an image is restored.

The C library of most Linux systems gives every large block back to the system as soon as it is
freed, and gets it again, page by page and zeroed, for the next tensor. A network frees dozens
of large tensors for every tile, and on a CPU that takes up to a fifth of its time.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of mallopt, from malloc.h.
_TRIM_THRESHOLD = -1  # bytes free at the end of the heap that are given back
_MMAP_THRESHOLD = -3  # bytes of the smallest block that is a mapping of its own
_MMAP_MAX = -4  # number of such blocks

_MIB = 2**20
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}
# What the library starts with, but for the two thresholds: the library raises them whenever a
# larger block is freed, up to these, and stops doing so once a program has set any of them.
_USUAL = {
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
    libc = _glibc()
    if libc is None:
        yield
        return
    with _lock:
        _users += 1
        if _users == 1:
            _set(libc, _KEEP)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _set(libc, _USUAL)
                libc.malloc_trim(0)


def _set(libc: ctypes.CDLL, parameters: dict[int, int]) -> None:
    for parameter, value in parameters.items():
        libc.mallopt(parameter, value)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc, whose malloc has these parameters."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
