"""What a network costs on a device: memory and time per pixel, measured on two small tiles."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...network.guides import deconvolved
from ...network.stages import (
    IMAGE,
    Feature,
    RestorationNetwork,
    Stage,
    StageInput,
    run_stages,
)
from ...rectangle import Rectangle
from ..devices import synchronize
from .memory import peak_bytes

# On a GPU workspaces only settle at sizes that keep it busy.
_SIDES = {"cuda": (256, 512)}
_OTHER_SIDES = (64, 128)


@dataclass(frozen=True)
class Cost:
    """Of computing something on a rectangle of pixels.

    Parameters
    ----------
    fixed_bytes, bytes_per_pixel : float
        Most memory in use at a time, inputs included, as a line through two measurements.
    seconds_per_pixel : float
        Wall-clock time. A rough figure: it is used to say how long it may take, and to choose
        between computing and reading.
    """

    fixed_bytes: float
    bytes_per_pixel: float
    seconds_per_pixel: float

    def bytes(self, pixels: int) -> int:
        """Return the memory that so many pixels take."""
        return round(self.fixed_bytes + self.bytes_per_pixel * pixels)


@dataclass(frozen=True)
class Costs:
    """Of a network on a device.

    Parameters
    ----------
    whole : Cost
        Of the whole network at once.
    stages : dict of str to Cost
        Of each stage, by its name.
    scale_maps : dict of str to float
        By stage: bytes per pixel of a channel scale that differs from place to place.
    """

    whole: Cost
    stages: dict[str, Cost]
    scale_maps: dict[str, float]


_measured: dict[tuple[object, torch.device, torch.dtype], Costs] = {}
# Two measurements at a time would count each other's memory.
_measuring = threading.Lock()


def measure_costs(net: RestorationNetwork) -> Costs:
    """Measure what a network costs where it is, once per configuration, device and dtype.

    Parameters
    ----------
    net : RestorationNetwork
        Network, in evaluation mode.

    Returns
    -------
    Costs
        For paper-sized networks it takes about half a second on a CPU.
    """
    weight = next(net.parameters())
    key = (net.config, weight.device, weight.dtype)
    with _measuring:
        if key not in _measured:
            with torch.inference_mode():
                _measured[key] = _measure(net, weight.device, weight.dtype)
        return _measured[key]


_guides_measured: dict[tuple[int, int, int, int, torch.device], Cost] = {}


def measure_guides(height: int, width: int, side: int, count: int, device: torch.device) -> Cost:
    """Measure what the guides of a block cost on a device, once per size and device.

    Parameters
    ----------
    height, width : int
        Size of the block in pixels, with what is read around it.
    side : int
        Width and height of the kernel.
    count : int
        Number of guides, see `deconvolved`.
    device : torch.device
        Device that computes the guides.

    Returns
    -------
    Cost
        Of one colour of such a block, its memory all in ``fixed_bytes``.
    """
    key = (height, width, side, count, device)

    def run() -> object:
        kernel = torch.zeros((1, side, side), device=device)
        kernel[:, side // 2, side // 2] = 1
        light = torch.zeros((1, 1, height, width), device=device)
        return deconvolved(light, kernel, count=count)

    with _measuring:
        if key not in _guides_measured:
            with torch.inference_mode():
                peak = peak_bytes(run, device)
                start = time.perf_counter()
                run()
                synchronize(device)
                seconds = (time.perf_counter() - start) / (height * width)
            _guides_measured[key] = Cost(peak, 0, seconds)
        return _guides_measured[key]


def _measure(net: RestorationNetwork, device: torch.device, dtype: torch.dtype) -> Costs:
    stages = net.stages()
    features = {IMAGE: Feature(IMAGE, net.config.input_channels, 1)}
    features |= {output.name: output for stage in stages for output in stage.outputs}
    sides = [
        side + -side % net.config.size_multiple for side in _SIDES.get(device.type, _OTHER_SIDES)
    ]

    def zeros(name: str, side: int) -> Tensor:
        feature = features[name]
        length = side // feature.downscale
        blank = torch.zeros((1, feature.channels, length, length), dtype=dtype, device=device)
        return blank.contiguous(memory_format=torch.channels_last)

    def run_stage(stage: Stage, side: int) -> None:
        source = zeros(stage.source, side)
        skip = zeros(stage.skip, side) if stage.skip is not None else None
        scale = (
            source.new_zeros((1, source.shape[1], 1, 1))
            if stage.attention_block is not None
            else None
        )
        names = {output.name for output in stage.outputs}
        stage(StageInput(source, skip, scale, Rectangle(0, 0, side, side), names))

    def line(run: Callable[[int], object]) -> Cost:
        run(sides[0])  # the first time takes longer
        small, large = (peak_bytes(functools.partial(run, side), device) for side in sides)
        pixels = [side**2 for side in sides]
        slope = max(large - small, 0) / (pixels[1] - pixels[0])
        start = time.perf_counter()
        run(sides[1])
        synchronize(device)
        seconds = (time.perf_counter() - start) / pixels[1]
        return Cost(max(small - slope * pixels[0], 0), slope, seconds)

    return Costs(
        whole=line(lambda side: run_stages(stages, zeros(IMAGE, side))),
        stages={stage.name: line(functools.partial(run_stage, stage)) for stage in stages},
        scale_maps={
            stage.name: features[stage.source].channels * dtype.itemsize
            / features[stage.source].downscale ** 2
            for stage in stages
            if stage.attention_block is not None
        },
    )  # fmt: skip
