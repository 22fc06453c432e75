"""Blurred and sharp image pairs from sharp crops, on any device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .camera import Camera, Kinds, blur
from .degradation import Degradation
from .kernels import ShakeSettings, camera_shake_kernels, kernel_radius
from .sample_random import SampleRandom, sample_numbers
from .settings import SettingsTable

# Kernels are made for this many consecutive samples at once: walking a path is a long chain of
# tiny operations, as quick for a thousand samples as for one; on a GPU for eight thousand.
_KERNEL_BLOCK = 1024
_KERNEL_BLOCK_ON_GPU = 8192


@dataclass(frozen=True)
class Pairs:
    """A batch of training pairs.

    Parameters
    ----------
    blurred, sharp : Tensor
        (B, 3, H, W) in 0..1.
    kernels : Tensor
        (B, K, K), each of sum 1.
    """

    blurred: Tensor
    sharp: Tensor
    kernels: Tensor


class PairSynthesizer:
    """Makes pairs of a list of degradations; everything random follows (seed, sample index).

    Parameters
    ----------
    degradations : sequence of Degradation
        For each sample one is drawn, by their shares.
    seed : int
        Of the run.
    device : torch.device or str
        Where pairs are made.
    fixed_shapes : bool, optional
        Whether all samples go through all steps together, and each takes what it needs, as a GPU
        and a compiler want it. By default everywhere but on a CPU, where every sample goes
        through its own steps only. Pairs are the same but for rounding.
    compile : bool
        Whether the steps are compiled, with fixed shapes; crops must then be all of one size.

    Attributes
    ----------
    block_size : int
        For how many consecutive samples kernels are made at once.
    """

    def __init__(
        self,
        degradations: Sequence[Degradation],
        seed: int,
        device: torch.device | str = "cpu",
        *,
        fixed_shapes: bool | None = None,
        compile: bool = False,
    ) -> None:
        self.degradations = tuple(degradations)
        self.seed = seed
        self.device = torch.device(device)
        on_cpu = self.device.type == "cpu"
        self.fixed_shapes = compile or (not on_cpu if fixed_shapes is None else fixed_shapes)
        longest = max(degradation.kernel_length[1] for degradation in self.degradations)
        self.radius = kernel_radius(longest)
        self.block_size = _KERNEL_BLOCK if on_cpu else _KERNEL_BLOCK_ON_GPU
        self._blocks: dict[int, Tensor] = {}
        self._settings = SettingsTable(self.degradations, self.device)
        camera = Camera(seed, self.device, self.fixed_shapes)
        self._expose, self._encode, self._record = camera.expose, camera.encode, camera.record
        if compile:
            # The transforms between them are torch's own, which a compiler leaves alone.
            self._expose, self._encode, self._record = (
                torch.compile(step, dynamic=False)
                for step in (self._expose, self._encode, self._record)
            )

    @property
    def margin(self) -> int:
        """Pixels that a sharp crop must have beyond the pair on every side."""
        return self.radius

    def kernels(self, samples: Sequence[int]) -> Tensor:
        """Return the blur kernels of samples.

        Parameters
        ----------
        samples : sequence of int
            Their B indices.

        Returns
        -------
        Tensor
            (B, K, K) with K = 2 * `margin` + 1, on the device; each of sum 1.
        """
        places = [divmod(sample, self.block_size) for sample in samples]
        found = {block: self._kernel_block(block) for block in sorted({b for b, _ in places})}
        # Batches move on through the samples: what this one did not use is not used again.
        self._blocks = found
        return torch.stack([found[block][row] for block, row in places])

    def _kernel_block(self, block: int) -> Tensor:
        if block in self._blocks:
            return self._blocks[block]
        start = block * self.block_size
        random = SampleRandom(
            self.seed, sample_numbers(range(start, start + self.block_size), self.device)
        )
        drawn = self._settings.draw(random)
        length = torch.where(drawn["blur"] > 0, drawn["kernel_length"], 0.0)
        shake = ShakeSettings(length, drawn["exposed_fraction"], drawn["curl"])
        return camera_shake_kernels(random, shake, self.radius)

    def __call__(self, sharp: Tensor, samples: Sequence[int]) -> Pairs:
        """Degrade sharp crops.

        Parameters
        ----------
        sharp : Tensor
            (B, 3, H + 2 m, W + 2 m) uint8 or float in 0..1, where m is `margin`.
        samples : sequence of int
            Their B indices.

        Returns
        -------
        Pairs
            Of (B, 3, H, W).
        """
        sharp = sharp.to(self.device, non_blocking=True)
        numbers = sample_numbers(samples, self.device)
        drawn = self._settings.draw(SampleRandom(self.seed, numbers))
        kernels = self.kernels(samples)
        if self.fixed_shapes:
            blurred, target = self._degrade(sharp, kernels, drawn, numbers, self.degradations)
            return Pairs(blurred, target, kernels)
        m = self.margin
        blurred = torch.empty(len(sharp), 3, sharp.shape[2] - 2 * m, sharp.shape[3] - 2 * m)
        target = torch.empty_like(blurred)
        for place, degradation in enumerate(self.degradations):
            rows = (drawn["choice"] == place).nonzero()[:, 0]
            if len(rows):
                of_rows = {name: value[rows] for name, value in drawn.items()}
                blurred[rows], target[rows] = self._degrade(
                    sharp[rows], kernels[rows], of_rows, numbers[rows], (degradation,)
                )
        return Pairs(blurred, target, kernels)

    def _degrade(
        self,
        sharp: Tensor,
        kernels: Tensor,
        drawn: dict[str, Tensor],
        numbers: Tensor,
        kinds: Kinds,
    ) -> tuple[Tensor, Tensor]:
        """Return the blurred images and their targets."""
        drawn = {name: value[:, None, None, None] for name, value in drawn.items()}
        m = self.margin
        light = self._expose(sharp, drawn, kinds)
        blurred = self._record(blur(light, kernels), drawn, numbers, kinds)
        inner = light[..., m : light.shape[-2] - m, m : light.shape[-1] - m]
        return blurred, self._encode(inner, drawn, kinds)
