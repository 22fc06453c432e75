"""Blur kernels of a shaking hand: random trajectories, drawn as point-spread functions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from .sample_random import SampleRandom, Stream

# Boracchi and Foi (IEEE TIP 21(8), 2012) walk 2000 steps on a path of 60 pixels, with one of
# these amounts of "anxiety". Fewer steps with rescaled rates give the same statistics.
_REFERENCE_STEPS = 2000
_REFERENCE_LENGTH = 60.0
_ANXIETY = (0.003, 0.005, 0.007, 0.008, 0.009, 0.01)
_STEPS = 500


@dataclass(frozen=True)
class ShakeSettings:
    """Per-sample settings of a batch of kernels.

    Parameters
    ----------
    length : Tensor
        (B,) length in pixels of the path over the full exposure; 0 gives a point.
    fraction : Tensor
        (B,) share of the path that the exposure covers, in 0..1.
    curl : Tensor
        (B,) factor on everything that bends the path: 1 gives the published model, whose
        paths curl up to a quarter of their length; 0 gives straight lines.
    """

    length: Tensor
    fraction: Tensor
    curl: Tensor


def kernel_radius(longest: float) -> int:
    """Return the radius in pixels that holds any kernel whose path is ``longest`` pixels.

    No point of a path walked at constant speed is further than half the path from its
    centroid; one pixel more holds the bilinear splat.
    """
    return math.ceil(longest / 2) + 1


@cache
def _anxieties(device: torch.device) -> Tensor:
    """Return the amounts of anxiety; kept on the device, as copying them would wait for it."""
    return torch.tensor(_ANXIETY, device=device)


def camera_shake_paths(random: SampleRandom, curl: Tensor) -> Tensor:
    """Walk random paths of 60 pixels (Boracchi and Foi 2012; paper, section 2.3.1).

    A point moves at constant speed. At each step its direction is jittered, pulled towards the
    start, and, rarely, nearly reversed. Every rate is drawn per sample.

    Parameters
    ----------
    random : SampleRandom
        For B samples.
    curl : Tensor
        (B,), see `ShakeSettings`.

    Returns
    -------
    Tensor
        (B, 500, 2) positions in pixels, starting at the origin.
    """
    draw = random.uniform(Stream.KERNEL, 5)
    pull = 0.7 * draw[:, 0] * curl
    jump_rate = 0.2 * draw[:, 1] * curl
    jitter = 10.0 * draw[:, 2] * curl
    heading = 2 * math.pi * draw[:, 3]
    anxiety = _anxieties(draw.device)[
        (draw[:, 4] * len(_ANXIETY)).long().clamp(max=len(_ANXIETY) - 1)
    ]

    coarser = _REFERENCE_STEPS / _STEPS
    stride = _REFERENCE_LENGTH / (_STEPS - 1)
    batch = draw.shape[0]
    shocks = random.normal(Stream.KERNEL_NOISE, 2 * _STEPS).view(batch, _STEPS, 2)
    # Variance of a diffusion grows with time, its drift and its rate of events too.
    shocks = shocks * (anxiety * jitter * math.sqrt(coarser))[:, None, None]
    drift = (anxiety * pull * coarser)[:, None]
    jumps = random.uniform(Stream.KERNEL_JUMPS, 2 * _STEPS).view(batch, _STEPS, 2)
    jumping = jumps[:, :, 0] < (jump_rate * anxiety * coarser)[:, None]
    turn = math.pi + (jumps[:, :, 1] - 0.5)
    # Twice the velocity, turned: added to the velocity it nearly reverses it.
    turn_cos = torch.where(jumping, 2 * torch.cos(turn), 0.0)
    turn_sin = torch.where(jumping, 2 * torch.sin(turn), 0.0)

    velocity = torch.stack([torch.cos(heading), torch.sin(heading)], dim=1)
    position = torch.zeros_like(velocity)
    path = [position]
    for step in range(_STEPS - 1):
        vx, vy = velocity[:, 0], velocity[:, 1]
        cos, sin = turn_cos[:, step], turn_sin[:, step]
        jump = torch.stack([vx * cos - vy * sin, vx * sin + vy * cos], dim=1)
        velocity = velocity + jump + shocks[:, step] - drift * position
        velocity = velocity / velocity.norm(dim=1, keepdim=True).clamp(min=1e-12)
        position = position + stride * velocity
        path.append(position)
    return torch.stack(path, dim=1)


def splat(points: Tensor, weights: Tensor, radius: int) -> Tensor:
    """Draw weighted points as images, each shared out bilinearly to its four pixels.

    Parameters
    ----------
    points : Tensor
        (B, T, 2) positions (x, y) in pixels; (0, 0) is the middle of the middle pixel.
    weights : Tensor
        (B, T), not negative.
    radius : int
        Images are 2 * radius + 1 pixels wide and high; points must lie within.

    Returns
    -------
    Tensor
        (B, 2 * radius + 1, 2 * radius + 1); each sums to the sum of its weights.
    """
    side = 2 * radius + 1
    corner = points.floor()
    fx, fy = (points - corner).unbind(dim=2)
    column, row = (corner.long() + radius).unbind(dim=2)
    image = points.new_zeros(points.shape[0], side * side)
    for dy, wy in ((0, 1 - fy), (1, fy)):
        for dx, wx in ((0, 1 - fx), (1, fx)):
            cell = (row + dy).clamp(0, side - 1) * side + (column + dx).clamp(0, side - 1)
            image.scatter_add_(1, cell, weights * wy * wx)
    return image.view(-1, side, side)


def camera_shake_kernels(random: SampleRandom, shake: ShakeSettings, radius: int) -> Tensor:
    """Return blur kernels whose centroid is the middle pixel.

    Off-centre kernels would shift the blurred image against its sharp partner by a random
    amount, to which the best answer is a blurred one.

    Parameters
    ----------
    random : SampleRandom
        For B samples.
    shake : ShakeSettings
        Lengths and exposed fractions for the same samples.
    radius : int
        See `kernel_radius`.

    Returns
    -------
    Tensor
        (B, 2 * radius + 1, 2 * radius + 1) float32, not negative, each of sum 1.
    """
    path = (
        camera_shake_paths(random, shake.curl) * (shake.length / _REFERENCE_LENGTH)[:, None, None]
    )
    time = torch.arange(_STEPS, device=path.device)
    exposed = (time < shake.fraction[:, None] * _STEPS).float()
    exposed[:, 0] = 1.0
    exposed = exposed / exposed.sum(dim=1, keepdim=True)
    centroid = (path * exposed[:, :, None]).sum(dim=1, keepdim=True)
    # Unexposed points have no weight; they are moved to the middle to stay inside the image.
    points = torch.where(exposed[:, :, None] > 0, path - centroid, 0.0)
    return splat(points, exposed, radius)
