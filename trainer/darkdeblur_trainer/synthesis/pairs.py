"""Blurred and sharp image pairs from sharp crops, on any device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .camera import Camera, Kinds, blur, soften
from .degradation import Degradation
from .kernels import (
    blur_points,
    draw_kernels,
    kernel_radius,
    scaled_to,
    smooth_paths,
    turned_points,
)
from .sample_random import SampleRandom, Stream, sample_indices
from .settings import MOVING, QUARTERS, TURNING, SettingsTable

# Paths are walked for this many consecutive samples at once: a path is a long chain of tiny
# operations, as quick for a thousand samples as for one; on a GPU for eight thousand.
_PATH_BLOCK = 1024
_PATH_BLOCK_ON_GPU = 8192
# Blur that varies is computed at 3 × 3 places and blended between them.
_PLACES = 3

# Which samples of a batch are meant.
Rows = slice | list[int] | Tensor


@dataclass(frozen=True)
class Pairs:
    """A batch of training pairs.

    Parameters
    ----------
    blurred, sharp : Tensor
        Blurred and sharp images, (B, 3, H, W) in 0..1.
    kernels : Tensor
        (B, K, K), each of sum 1. Where the blur varies: the kernel in the middle of the picture,
        or the background's.
    uniform : Tensor
        (B,) bool: whether the whole picture was blurred with its kernel.
    linear_light : Tensor
        (B,) bool: whether it was blurred in linear light, and not as it is encoded.
    clean : Tensor, optional
        (B, 3, H, W) in 0..1: the blurred pictures before noise, rounding and JPEG, which is what
        a perfect denoiser would make of them; if it was asked for.
    """

    blurred: Tensor
    sharp: Tensor
    kernels: Tensor
    uniform: Tensor
    linear_light: Tensor
    clean: Tensor | None = None


class PairSynthesizer:
    """Makes pairs of a list of degradations; everything random follows (seed, sample index).

    Parameters
    ----------
    degradations : sequence of Degradation
        For each sample one is drawn, by their shares.
    seed : int
        Seed of the run, from which everything random follows.
    device : torch.device or str
        Device on which pairs are made.
    fixed_shapes : bool, optional
        Whether all samples go through all steps together, and each takes what it needs, as a GPU
        and a compiler want it. By default everywhere but on a CPU, where every sample goes
        through its own steps only. Pairs are the same but for rounding.
    compile : bool
        Whether the steps are compiled, with fixed shapes; crops must then be all of one size.

    Attributes
    ----------
    block_size : int
        For how many consecutive samples paths are walked at once.
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
        self.radius = max(kernel_radius(degradation) for degradation in self.degradations)
        self.block_size = _PATH_BLOCK if on_cpu else _PATH_BLOCK_ON_GPU
        self._blocks: dict[int, Tensor] = {}
        by_size = [degradation.blur_radius is not None for degradation in self.degradations]
        self._by_size = torch.tensor(by_size, device=self.device)
        self._turning = any(d.camera_turn_probability > 0 for d in self.degradations)
        self._moving = any(d.moving_object_probability > 0 for d in self.degradations)
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
            Indices of the B samples in the run.

        Returns
        -------
        Tensor
            (B, K, K) with K = 2 * `margin` + 1, on the device; each of sum 1.
        """
        return draw_kernels(self._points(samples), self.radius)

    def _points(self, samples: Sequence[int]) -> Tensor:
        """Return the paths (B, 500, 2) of samples."""
        places = [divmod(sample, self.block_size) for sample in samples]
        found = {block: self._path_block(block) for block in sorted({b for b, _ in places})}
        # Batches move on through the samples: what this one did not use is not used again.
        self._blocks = found
        return torch.stack([found[block][row] for block, row in places])

    def _path_block(self, block: int) -> Tensor:
        if block in self._blocks:
            return self._blocks[block]
        start = block * self.block_size
        random = SampleRandom(
            self.seed, sample_indices(range(start, start + self.block_size), self.device)
        )
        drawn = self._settings.draw(random)
        return blur_points(random, drawn, self._by_size[drawn["choice"]])

    def __call__(self, sharp: Tensor, samples: Sequence[int], *, clean: bool = False) -> Pairs:
        """Degrade sharp crops.

        Parameters
        ----------
        sharp : Tensor
            (B, 3, H + 2 m, W + 2 m) uint8 or float in 0..1, where m is `margin`.
        samples : sequence of int
            Indices of the B samples in the run.
        clean : bool
            Whether the blurred pictures without noise are wanted, too.

        Returns
        -------
        Pairs
            Of (B, 3, H, W).
        """
        sharp = sharp.to(self.device, non_blocking=True)
        indices = sample_indices(samples, self.device)
        drawn = self._settings.draw(SampleRandom(self.seed, indices))
        points = self._points(samples)
        kernels = draw_kernels(points, self.radius)
        uniform = (drawn["turns"] + drawn["moves"]) == 0
        linear = drawn["linear_light"] > 0
        if self.fixed_shapes:
            quarters = _quarters_of(samples)
            blurred, target, noiseless = self._degrade(
                sharp, kernels, points, drawn, indices, self.degradations, quarters, clean
            )
            return Pairs(blurred, target, kernels, uniform, linear, noiseless)
        m = self.margin
        blurred = torch.empty(len(sharp), 3, sharp.shape[2] - 2 * m, sharp.shape[3] - 2 * m)
        target = torch.empty_like(blurred)
        noiseless = torch.empty_like(blurred) if clean else None
        for place, degradation in enumerate(self.degradations):
            rows = (drawn["choice"] == place).nonzero()[:, 0]
            if len(rows):
                of_rows = {name: value[rows] for name, value in drawn.items()}
                varying: dict[int, Rows] = {
                    TURNING: of_rows["turns"].nonzero()[:, 0],
                    MOVING: of_rows["moves"].nonzero()[:, 0],
                }
                blurred[rows], target[rows], found = self._degrade(
                    sharp[rows], kernels[rows], points[rows], of_rows, indices[rows],
                    (degradation,), varying, clean,
                )  # fmt: skip
                if noiseless is not None and found is not None:
                    noiseless[rows] = found
        return Pairs(blurred, target, kernels, uniform, linear, noiseless)

    def _degrade(
        self,
        sharp: Tensor,
        kernels: Tensor,
        points: Tensor,
        drawn: dict[str, Tensor],
        indices: Tensor,
        kinds: Kinds,
        varying: dict[int, Rows],
        clean: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the blurred images, their targets and, if asked for, `Pairs.clean`.

        ``varying`` says which samples may turn and which may have a moving object.
        """
        wide = {name: value[:, None, None, None] for name, value in drawn.items()}
        m = self.margin
        light = self._expose(sharp, wide, indices, kinds)
        if any(kind.softness[1] > 0 for kind in kinds):
            light = soften(light, wide["softness"])
        blurred = blur(light, kernels)
        for some, change, wanted in (
            (TURNING, self._turned, self._turning),
            (MOVING, self._with_moving_object, self._moving),
        ):
            rows = varying[some]
            if wanted and len(indices[rows]):
                of_rows = {name: value[rows] for name, value in drawn.items()}
                changed = change(light[rows], blurred[rows], points[rows], of_rows, indices[rows])
                flag = of_rows["turns" if some == TURNING else "moves"][:, None, None, None]
                blurred[rows] = torch.where(flag > 0, changed, blurred[rows])
        noiseless = self._encode(blurred, wide, kinds) if clean else None
        blurred = self._record(blurred, wide, indices, kinds)
        inner = light[..., m : light.shape[-2] - m, m : light.shape[-1] - m]
        return blurred, self._encode(inner, wide, kinds), noiseless

    def _turned(
        self,
        light: Tensor,
        blurred: Tensor,
        points: Tensor,
        drawn: dict[str, Tensor],
        indices: Tensor,
    ) -> Tensor:
        """Blur with kernels that differ over the picture, as of a camera that also turns."""
        height, width = blurred.shape[-2:]
        device = light.device
        random = SampleRandom(self.seed, indices)
        angle = scaled_to(smooth_paths(random, Stream.CAMERA_TURN, axes=1), drawn["camera_turn"])
        angle = angle[..., 0] / (math.hypot(height, width) / 2)
        y = torch.linspace(-height / 2, height / 2, _PLACES, device=device)
        x = torch.linspace(-width / 2, width / 2, _PLACES, device=device)
        places = torch.stack([x.repeat(_PLACES), y.repeat_interleave(_PLACES)], dim=1)
        everywhere = turned_points(points, angle, places)
        rows, columns = _hats(height, device), _hats(width, device)
        total = torch.zeros_like(blurred)
        for place in range(len(places)):
            weight = rows[place // _PLACES][:, None] * columns[place % _PLACES][None, :]
            total += weight * blur(light, draw_kernels(everywhere[:, place], self.radius))
        return total

    def _with_moving_object(
        self,
        light: Tensor,
        blurred: Tensor,
        points: Tensor,
        drawn: dict[str, Tensor],
        indices: Tensor,
    ) -> Tensor:
        """Let an elliptic part of the scene move by itself, before the blurred background."""
        random = SampleRandom(self.seed, indices)
        path = scaled_to(smooth_paths(random, Stream.MOVING_OBJECT), drawn["object_radius"])
        kernels = draw_kernels(path, self.radius)
        draw = random.uniform(Stream.MOVING_OBJECT, 8)[:, :5, None, None].unbind(dim=1)
        height, width = light.shape[-2:]
        rows = torch.arange(height, device=light.device)[None, :, None] - draw[0] * height
        columns = torch.arange(width, device=light.device)[None, None, :] - draw[1] * width
        cos, sin = torch.cos(math.pi * draw[2]), torch.sin(math.pi * draw[2])
        long = (0.1 + 0.3 * draw[3]) * height
        short = long * (0.3 + 0.7 * draw[4])
        distance = torch.hypot(
            (columns * cos + rows * sin) / long, (rows * cos - columns * sin) / short
        )
        mask = ((1 - distance) * short + 0.5).clamp(0, 1)[:, None]
        layers = blur(torch.cat([light * mask, mask], dim=1), kernels)
        return layers[:, :3] + (1 - layers[:, 3:]) * blurred


def _quarters_of(samples: Sequence[int]) -> dict[int, Rows]:
    """Return which of the samples may turn, and which may have a moving object."""
    if isinstance(samples, range) and samples.step == 1:
        # Slices, which no GPU has to wait for.
        return {
            some: slice((some - samples.start) % QUARTERS, None, QUARTERS)
            for some in (TURNING, MOVING)
        }
    return {
        some: [row for row, sample in enumerate(samples) if sample % QUARTERS == some]
        for some in (TURNING, MOVING)
    }


def _hats(length: int, device: torch.device) -> Tensor:
    """Return the weights (3, length) that interpolate linearly between start, middle and end."""
    place = torch.linspace(0, _PLACES - 1, length, device=device)
    nodes = torch.arange(_PLACES, device=device)
    return (1 - (place[None, :] - nodes[:, None]).abs()).clamp(min=0)
