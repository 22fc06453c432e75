"""Blur kernels: random paths of the camera during the exposure, drawn as point-spread functions.

A kernel is a cloud of 500 points, the places that a point of the scene takes on the sensor at equal
intervals of time. Points can be scaled, turned and shifted before they are drawn (`splat`).
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from .degradation import Degradation
from .sample_random import SampleRandom, Stream
from .settings import SHAPES

# Boracchi and Foi (IEEE TIP 21(8), 2012) walk 2000 steps on a path of 60 pixels, with one of
# these amounts of "anxiety". Fewer steps with rescaled rates give the same statistics.
_REFERENCE_STEPS = 2000
_REFERENCE_LENGTH = 60.0
_ANXIETY = (0.003, 0.005, 0.007, 0.008, 0.009, 0.01)
_STEPS = 500
# Smooth paths are sums of so many half waves over the exposure.
_WAVES = 10
# A kernel reaches at most so many times its rms radius from its centroid: what reaches further
# is made smaller. A straight line reaches 1.7 times as far.
_REACH = 3.0
# Defocus is slight: a larger disc (rms radius in pixels) leaves nothing that could be restored.
_LARGEST_DISC = 4.0
# Turns a circle by the golden angle from point to point: such points fill a disc evenly.
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def kernel_radius(degradation: Degradation) -> int:
    """Return the radius in pixels that holds any kernel of a degradation.

    No point of a path walked at constant speed is further than half the path from its
    centroid; one pixel more holds the bilinear splat.
    """
    if degradation.blur_radius is None:
        return math.ceil(degradation.kernel_length[1] / 2) + 1
    turn = degradation.camera_turn[1] if degradation.camera_turn_probability > 0 else 0.0
    reach = _REACH * degradation.blur_radius[1] + degradation.defocus_radius[1] + turn
    return math.ceil(reach) + 1


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
        Random numbers for B samples.
    curl : Tensor
        (B,) factor on everything that bends the path: 1 gives the published model, whose
        paths curl up to a quarter of their length; 0 gives straight lines.

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


def smooth_paths(random: SampleRandom, stream: Stream, axes: int = 2) -> Tensor:
    """Draw smooth random paths, as recorded hand shakes are: few turns, pauses where they turn.

    Each axis is a sum of half waves over the exposure whose amplitudes fall with their
    frequency, some paths faster than others; the axes differ in strength.

    Parameters
    ----------
    random : SampleRandom
        Random numbers for B samples.
    stream : Stream
        Stream of the random numbers that are used.
    axes : int
        Number of coordinates of a point.

    Returns
    -------
    Tensor
        (B, 500, axes), mean 0 over time, of no particular size.
    """
    draw = random.normal(stream, axes * _WAVES + 4)
    batch, device = draw.shape[0], draw.device
    frequency = torch.arange(1, _WAVES + 1, device=device)
    # Half to nearly all of the strength is in the first wave, which is a drift.
    decay = 1.2 + 1.3 * torch.sigmoid(1.5 * draw[:, :1])
    amplitude = draw[:, 4:].view(batch, axes, _WAVES) * (frequency**-decay)[:, None, :]
    time = (torch.arange(_STEPS, device=device) + 0.5) / _STEPS
    waves = torch.cos(math.pi * frequency[:, None] * time[None, :])
    path = (amplitude @ waves).transpose(1, 2)
    if axes == 2:
        # One direction is stronger than the other; which one is random.
        narrow = torch.sigmoid(draw[:, 1:2]).clamp(min=0.1)
        path = path * torch.cat([torch.ones_like(narrow), narrow], dim=1)[:, None]
        path = _turned(path, math.pi * draw[:, 2:3])
    return path


def disc_points(count: int, device: torch.device) -> Tensor:
    """Return points that fill a disc of radius 1 evenly, (count, 2)."""
    number = torch.arange(count, device=device)
    radius = ((number + 0.5) / count).sqrt()
    angle = _GOLDEN_ANGLE * number
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)


def blur_points(random: SampleRandom, drawn: dict[str, Tensor], by_size: Tensor) -> Tensor:
    """Return where a point of the scene is on the sensor over time, relative to its centroid.

    Off-centre kernels would shift the blurred image against its sharp partner by a random
    amount, to which the best answer is a blurred one.

    Parameters
    ----------
    random : SampleRandom
        Random numbers for B samples.
    drawn : dict of Tensor
        Settings of the samples, as `SettingsTable.draw` returned them.
    by_size : Tensor
        (B,) bool: which samples have a blur of a given rms radius rather than a path of a given
        length.

    Returns
    -------
    Tensor
        (B, 500, 2) positions (x, y) in pixels. All have the same weight.
    """
    walk = camera_shake_paths(random, drawn["curl"])
    # The paper's: of a path of a given length the exposure covers a part, which is spread over
    # all of the points.
    last = (drawn["exposed_fraction"] * (_STEPS - 1)).clamp(0, _STEPS - 1)
    place = torch.linspace(0, 1, _STEPS, device=walk.device) * last[:, None]
    before = place.floor().long().clamp(max=_STEPS - 2)
    share = (place - before)[:, :, None]
    rows = torch.arange(len(walk), device=walk.device)[:, None]
    exposed = walk[rows, before] * (1 - share) + walk[rows, before + 1] * share
    by_length = _centred(exposed) * (drawn["kernel_length"] / _REFERENCE_LENGTH)[:, None, None]

    straight = torch.linspace(-1, 1, _STEPS, device=walk.device)[None, :, None]
    heading = torch.stack([torch.cos(_heading(walk)), torch.sin(_heading(walk))], dim=1)
    shapes = {
        "markov_shake": _centred(exposed),
        "smooth_shake": smooth_paths(random, Stream.SMOOTH_PATH),
        "straight_motion": straight * heading[:, None],
        "defocus_disc": disc_points(_STEPS, walk.device).expand(len(walk), -1, -1),
    }
    chosen = torch.stack([shapes[name] for name in SHAPES], dim=1)[rows[:, 0], drawn["shape"]]
    is_disc = drawn["shape"] == SHAPES.index("defocus_disc")
    size = torch.where(is_disc, drawn["blur_radius"].clamp(max=_LARGEST_DISC), drawn["blur_radius"])
    sized = _centred(scaled_to(chosen, size))
    # In another order than time, so that every part of the path is widened by the whole disc.
    order = (torch.arange(_STEPS, device=walk.device) * 211) % _STEPS
    widening = disc_points(_STEPS, walk.device)[order] * drawn["defocus_radius"][:, None, None]
    points = torch.where(by_size[:, None, None], sized + _centred(widening), by_length)
    return points * drawn["blur"][:, None, None]


def scaled_to(points: Tensor, rms_radius: Tensor) -> Tensor:
    """Scale centred points (B, T, 2) to an rms distance (B,) from the middle, in pixels.

    Points that would still be more than three times as far away are moved in.
    """
    size = points.square().sum(dim=2).mean(dim=1).sqrt().clamp(min=1e-9)
    points = points * (rms_radius / size)[:, None, None]
    limit = (_REACH * rms_radius)[:, None, None]
    distance = points.norm(dim=2, keepdim=True).clamp(min=1e-9)
    moved_in: Tensor = points * (limit / distance).clamp(max=1)
    return moved_in


def turned_points(points: Tensor, angle: Tensor, places: Tensor) -> Tensor:
    """Return the paths at several places of the picture, of a camera that also turns.

    Parameters
    ----------
    points : Tensor
        (B, T, 2) path in the middle of the picture, in pixels.
    angle : Tensor
        (B, T) angle of the camera over time, in radians, of mean 0; small.
    places : Tensor
        (P, 2) positions (x, y) relative to the middle, in pixels.

    Returns
    -------
    Tensor
        (B, P, T, 2).
    """
    across = torch.stack([-places[:, 1], places[:, 0]], dim=1)
    return points[:, None] + angle[:, None, :, None] * across[None, :, None, :]


def _heading(walk: Tensor) -> Tensor:
    """Return the direction (B,) in radians in which walks (B, T, 2) begin."""
    return torch.atan2(walk[:, 1, 1], walk[:, 1, 0])


def _centred(points: Tensor) -> Tensor:
    return points - points.mean(dim=1, keepdim=True)


def _turned(points: Tensor, angle: Tensor) -> Tensor:
    """Turn points (B, T, 2) by angles (B, 1) in radians."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    x, y = points[..., 0], points[..., 1]
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=2)


def draw_kernels(points: Tensor, radius: int) -> Tensor:
    """Draw paths as blur kernels.

    Parameters
    ----------
    points : Tensor
        (B, T, 2) positions (x, y) in pixels, relative to the middle.
    radius : int
        Kernels are 2 * radius + 1 pixels wide and high; points beyond are moved to the border.

    Returns
    -------
    Tensor
        (B, 2 * radius + 1, 2 * radius + 1) float32, not negative, each of sum 1.
    """
    limit = radius - 1e-3
    weights = points.new_full(points.shape[:2], 1 / points.shape[1])
    return splat(points.clamp(-limit, limit), weights, radius)


def splat(points: Tensor, weights: Tensor, radius: int) -> Tensor:
    """Draw weighted points as images, each shared out bilinearly to its four pixels.

    Parameters
    ----------
    points : Tensor
        (B, T, 2) positions (x, y) in pixels; (0, 0) is the middle of the middle pixel.
    weights : Tensor
        Weights of the points, (B, T), not negative.
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
