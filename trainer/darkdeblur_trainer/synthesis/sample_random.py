"""Random numbers that are a function of (seed, sample index) and of nothing else.

A counter-based generator needs no state: the k-th number of sample i is computed from
``(seed, i, k)``. Training can therefore stop and resume anywhere, be split over any number of
loader workers, processes or devices, and draw the same numbers for the same sample.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)


class Stream(enum.IntEnum):
    """What a random number is for. The values are part of what makes a run reproducible."""

    CROP = 0
    PARAMETERS = 1
    KERNEL = 2
    KERNEL_NOISE = 3
    KERNEL_JUMPS = 4
    GAUSSIAN_NOISE = 5
    SHOT_NOISE = 6
    READ_NOISE = 7
    SHAPE = 8
    SMOOTH_PATH = 9
    LAMPS = 10
    CAMERA_TURN = 11
    MOVING_OBJECT = 12
    KNOWN_KERNEL = 13
    PATCH_PLACE = 14


def sample_indices(samples: Sequence[int], device: torch.device) -> Tensor:
    """Return samples' indices as (B,) int64 on a device.

    A range is made there: nothing is copied from the host, which would wait for a GPU.
    """
    if isinstance(samples, range):
        return torch.arange(samples.start, samples.stop, samples.step, device=device)
    return torch.tensor(samples, dtype=torch.int64, device=device)


def philox_4x32(counter: tuple[Tensor, ...], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Philox-4x32 with 10 rounds (Salmon et al. 2011, "Parallel random numbers").

    Parameters
    ----------
    counter : tuple of four Tensors
        int64 tensors that hold unsigned 32-bit words; their shapes broadcast.
    key : tuple of two ints
        Key of the generator, two unsigned 32-bit words.

    Returns
    -------
    tuple of four Tensors
        Like the counter.
    """
    c0, c1, c2, c3 = torch.broadcast_tensors(*counter)  # type: ignore[no-untyped-call]
    k0, k1 = key
    for _ in range(10):
        # The products are 64-bit unsigned; int64 wraps to the same bits. Only what is multiplied
        # must be a 32-bit word: the bits above in the other two are masked off in the next round.
        p0 = c0 * _MULTIPLIERS[0]
        p1 = c2 * _MULTIPLIERS[1]
        c0 = (p1 >> 32).bitwise_xor_(c1).bitwise_xor_(k0).bitwise_and_(_WORD)
        c2 = (p0 >> 32).bitwise_xor_(c3).bitwise_xor_(k1).bitwise_and_(_WORD)
        c1, c3 = p1, p0
        k0 = (k0 + _KEY_STEPS[0]) & _WORD
        k1 = (k1 + _KEY_STEPS[1]) & _WORD
    return c0, c1 & _WORD, c2, c3 & _WORD


class SampleRandom:
    """Random numbers for a batch of samples.

    Parameters
    ----------
    seed : int
        Seed of the run, at least 0 and below 2**64.
    indices : Tensor
        (B,) int64, the samples' indices. Numbers come on their device.
    """

    def __init__(self, seed: int, indices: Tensor) -> None:
        self.seed = seed
        self.indices = indices

    def uniform(self, stream: Stream, count: int) -> Tensor:
        """Return (B, count) float32 in [0, 1)."""
        return self._fractions(stream, count).flatten(1)[:, :count] * 2.0**-24

    def normal(self, stream: Stream, count: int) -> Tensor:
        """Return (B, count) float32 of mean 0 and standard deviation 1 (Box-Muller)."""
        words = self._fractions(stream, count)
        first, second = words[:, :, 0::2], words[:, :, 1::2]
        # 1 is added to keep the logarithm's argument above 0.
        radius = torch.sqrt(-2.0 * torch.log((first + 1) * 2.0**-24))
        angle = second * (2 * math.pi * 2.0**-24)
        both = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=3)
        return both.flatten(1)[:, :count]

    def _fractions(self, stream: Stream, count: int) -> Tensor:
        """Return (B, blocks, 4) whole numbers below 2**24 as float32."""
        index = self.indices[:, None]
        blocks = (count + 3) // 4
        # 0, 1, 2, ..., but computed with what is loaded from memory: a compiler for GPUs takes
        # torch.arange alone (and a cumulative sum of ones, which it recognises) for an index of 32
        # bits, and the generator's multipliers do not fit those.
        block = torch.arange(blocks, device=self.indices.device) + (index - index)
        words = philox_4x32(
            (
                block,
                index & _WORD,
                (index >> 32) & _WORD,
                torch.full_like(block, int(stream)),
            ),
            (self.seed & _WORD, (self.seed >> 32) & _WORD),
        )
        return torch.stack([(word >> 8).float() for word in words], dim=2)
