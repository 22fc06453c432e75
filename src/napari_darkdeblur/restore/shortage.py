"""Lack of memory: how it is told from other failures."""

from __future__ import annotations

import torch

from ..errors import DarkDeblurError

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
