"""Deciding how a plane is restored: in one piece or in tiles, of which size, kept where.

The passes of a tiled plane are the network's stages (`network.stages`). What one stage makes for
a later one waits in memory; where that does not fit the budget, in a file, or it is computed
again when it is needed, whichever is faster.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from ..errors import DarkDeblurError
from ..network import DarkDeblurNet
from ..network.stages import CORRECTION, Feature, FeatureGraph, Region, Stage, stages_of
from .costs import Costs, measure_costs
from .memory import default_budget, format_bytes
from .parking import DiskParking
from .tiles import tile_grid

Tiling = Literal["auto", "whole", "exact", "local", "fast"]
Mode = Literal["whole", "exact", "local", "fast"]
Place = Literal["memory", "host", "disk", "recompute"]

TILINGS: tuple[Tiling, ...] = ("auto", "whole", "exact", "local", "fast")

# Side of the windows of mode "local": 1.5 times the patches that networks are trained on.
LOCAL_WINDOW = 192
LOCAL_BLOCK = 32

# Larger tiles bring nothing; on a GPU, small ones do not keep it busy.
_LARGEST_TILE = {"cuda": 2048}
_LARGEST_TILE_ELSEWHERE = 1024
_TILE_WITH_SPILL = 512
_SMALLEST_TILE = 64

_SAMPLE_SIDE = 192
_SAMPLES_PER_SIDE = 3

# What reading, converting and writing pixels takes beside the network: a few float32 copies of
# the three planes.
_BYTES_PER_PIXEL = 72
# Allocators do not give back every hole, libraries take buffers of their own.
_SLACK = 1.15
_SLACK_BYTES = 64_000_000


class BudgetError(DarkDeblurError, MemoryError):
    """The memory allowed is too little; the message is one sentence for the user."""


@dataclass(frozen=True)
class Plan:
    """How a plane is restored, and what that will take.

    Parameters
    ----------
    mode : {"whole", "exact", "local", "fast"}
        In one piece; in tiles with the means of the whole plane; in tiles with means over
        windows; in tiles with gates from a sample of the plane.
    tiles : dict of str to list of Region
        The tiles of each pass, by the stage's name; for ``"whole"`` and ``"fast"`` of the one
        pass ``"network"``.
    places : dict of str to {"memory", "host", "disk", "recompute"}
        Where each feature map waits: in the device's memory, in the computer's (if the device
        has its own), in a file, or nowhere.
    peak_bytes : int
        The most memory that it will take, predicted, the output included.
    scratch_bytes : int
        Size of the scratch files.
    seconds : float
        Roughly how long a plane takes.
    seconds_per_pixel : dict of str to float
        Of each pass, halos aside.
    """

    mode: Mode
    tiles: Mapping[str, list[Region]]
    places: Mapping[str, Place] = field(default_factory=dict)
    peak_bytes: int = 0
    scratch_bytes: int = 0
    seconds: float = 0.0
    seconds_per_pixel: Mapping[str, float] = field(default_factory=dict)

    @property
    def tile_count(self) -> int:
        """Number of tiles, all passes together."""
        return sum(map(len, self.tiles.values()))

    @property
    def tile(self) -> int:
        """Longest side of a tile in pixels, in the pass with the smallest tiles."""
        sides = (max(max(t.height, t.width) for t in tiles) for tiles in self.tiles.values())
        return min(sides, default=0)

    def describe(self) -> str:
        """Return it in words, e.g. ``"exact, 12 tiles, about 1.3 GB, about 40 s"``."""
        parts: list[str] = [self.mode]
        if self.mode != "whole":
            parts.append(f"{self.tile_count} tiles")
        parts.append(f"about {format_bytes(self.peak_bytes)}")
        if self.scratch_bytes:
            parts.append(f"{format_bytes(self.scratch_bytes)} of scratch files")
        if recomputed := [name for name, place in self.places.items() if place == "recompute"]:
            parts.append(f"{', '.join(recomputed)} computed twice to save memory")
        parts.append(f"about {_duration(self.seconds)}")
        return ", ".join(parts)


def make_plan(
    net: DarkDeblurNet,
    height: int,
    width: int,
    budget: int,
    *,
    tiling: Tiling = "auto",
    tile: int | None = None,
    origin: tuple[int, int] = (0, 0),
    held: int = 0,
    scratch: Path | None = None,
) -> Plan:
    """Decide how to restore a plane.

    Parameters
    ----------
    net : DarkDeblurNet
        On the device and in the precision that it will be run with. It is measured the first
        time.
    height, width : int
        Of the plane, in pixels.
    budget : int
        Bytes of memory that restoring may take.
    tiling : {"auto", "whole", "exact", "local", "fast"}
        The mode; ``"auto"`` is ``"whole"`` where that fits the budget, else ``"exact"``.
    tile : int, optional
        Side of a tile in pixels, of the finest stages; the default is what fits. With it,
        ``"auto"`` is ``"exact"``.
    origin : tuple of int
        Where four tiles meet.
    held : int
        Bytes that are taken besides: the output, for instance.
    scratch : pathlib.Path, optional
        Folder for scratch files; the default is the system's.

    Returns
    -------
    Plan
        What to do.

    Raises
    ------
    BudgetError
        It does not fit in any way, or not in the way asked for.
    ScratchError
        The scratch folder cannot be written to.
    """
    if tile is not None and tile < 1:
        raise BudgetError(f"A tile of {tile} pixels is none; it takes 1 or more.")
    planner = _Planner(net, height, width, budget, held, origin, scratch)
    if tiling == "whole" or (tiling == "auto" and tile is None):
        plan = planner.whole()
        if plan.peak_bytes <= budget:
            return plan
        if tiling == "whole":
            raise BudgetError(
                f"Restoring {width} × {height} pixels at once takes about "
                f"{format_bytes(plan.peak_bytes)}, and {format_bytes(budget)} may be taken; "
                "tiling 'exact' gives the same with less."
            )
    if tiling == "fast":
        return planner.fast(tile)
    return planner.staged("local" if tiling == "local" else "exact", tile)


def needed_now(stage: Stage, places: Mapping[str, Place]) -> list[str]:
    """Return the outputs for which a stage has to be run in a pass of its own.

    What is computed again when it is needed is not among them, unless its means are.
    """
    return [
        output.name
        for output in stage.outputs
        if output.averaged or places.get(output.name, "recompute") != "recompute"
        or output.name == CORRECTION
    ]  # fmt: skip


class _Planner:
    def __init__(
        self,
        net: DarkDeblurNet,
        height: int,
        width: int,
        budget: int,
        held: int,
        origin: tuple[int, int],
        scratch: Path | None,
    ) -> None:
        self.net, self.budget, self.held, self.origin = net, budget, held, origin
        self.stride = net.config.stride
        self.height, self.width = height + -height % self.stride, width + -width % self.stride
        self.bounds = Region(0, 0, self.height, self.width)
        self.pixels = self.height * self.width
        self.stages = stages_of(net)
        self.graph = FeatureGraph(self.stages)
        self.costs: Costs = measure_costs(net)
        weight = next(net.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self.scratch = scratch

    # --- In one piece

    def whole(self) -> Plan:
        taken = self.costs.whole.bytes(self.pixels) + _BYTES_PER_PIXEL * self.pixels
        return Plan(
            "whole",
            {"network": [self.bounds]},
            peak_bytes=self._predict(taken),
            seconds=self.costs.whole.seconds_per_pixel * self.pixels,
            seconds_per_pixel={"network": self.costs.whole.seconds_per_pixel},
        )

    # --- In tiles, the whole network on each

    def fast(self, tile: int | None) -> Plan:
        def taken(side: int) -> int:
            pixels = self._region_pixels(side, self.net.config.reach)
            return self.costs.whole.bytes(pixels) + _BYTES_PER_PIXEL * pixels

        sample = sample_regions(self.bounds, self.stride)
        sampled = self.costs.whole.bytes(len(sample) * sample[0].height * sample[0].width)
        side = tile or self._largest_side(taken, self._room())
        tiles = tile_grid(self.height, self.width, side, self.stride, self.origin)
        pixels = sum(self._outer_pixels(t, self.net.config.reach) for t in tiles)
        plan = Plan(
            "fast",
            {"network": tiles},
            peak_bytes=self._predict(max(taken(side), sampled)),
            seconds=self.costs.whole.seconds_per_pixel * pixels,
            seconds_per_pixel={"network": self.costs.whole.seconds_per_pixel},
        )
        return self._affordable(plan)

    # --- In tiles, stage by stage

    def staged(self, mode: Literal["exact", "local"], tile: int | None) -> Plan:
        align = self.stride
        if mode == "local":
            align = max(align, LOCAL_BLOCK)

        def taken(stage: Stage, side: int) -> int:
            pixels = self._region_pixels(side, stage.halo)
            per_pixel = float(_BYTES_PER_PIXEL)
            if mode == "local":
                # The map, and a copy of it in the making.
                per_pixel += 2 * self.costs.gate_maps.get(stage.name, 0)
            return self.costs.stages[stage.name].bytes(pixels) + round(per_pixel * pixels)

        def most(side: int) -> int:
            return max(taken(stage, side) for stage in self.stages)

        # Tiles first: without a wish, as large as possible with everything kept in memory; if
        # that does not go, of a middling size, and some features are kept elsewhere.
        places: dict[str, Place] = dict.fromkeys(self.graph.kept, "memory")
        if tile is not None:
            work = most(tile)
        else:
            resident = max(self._resident(places).values())
            fitting = [s for s in self._ladder(align) if most(s) + resident <= self._room()]
            with_spill = [
                s
                for s in self._ladder(align)
                if s <= _TILE_WITH_SPILL and 2 * most(s) <= self._room()
            ]
            if fitting and fitting[0] >= min(_TILE_WITH_SPILL, max(self.height, self.width)) // 2:
                work = most(fitting[0])
            else:
                work = most(with_spill[0] if with_spill else self._ladder(align)[-1])
        places = self._spill(places, self._room() - work)

        # Coarse levels take less memory per pixel, so their tiles may be larger.
        tiles: dict[str, list[Region]] = {}
        seconds = 0.0
        for stage in self.stages:
            if not needed_now(stage, places):
                continue
            cell = self.graph.features[stage.source].cell
            if tile is not None and cell <= self.net.config.fold:
                side = tile
            else:
                sides = [s for s in self._ladder(align, cell) if taken(stage, s) <= work]
                side = max(sides[0] if sides else 0, tile or self._ladder(align)[-1])
            tiles[stage.name] = tile_grid(self.height, self.width, side, align, self.origin)
            cost = self.costs.stages[stage.name].seconds_per_pixel
            seconds += cost * sum(self._outer_pixels(t, stage.halo) for t in tiles[stage.name])
        for name, place in places.items():
            if place == "recompute":
                seconds += self._recompute_seconds(name)
        resident = max(self._resident(places).values())
        on_disk = {name for name, place in places.items() if place == "disk"}
        plan = Plan(
            mode,
            tiles,
            places,
            peak_bytes=self._predict(work + resident),
            scratch_bytes=sum(self._bytes_of(name) for name in on_disk),
            seconds=seconds,
            seconds_per_pixel={n: self.costs.stages[n].seconds_per_pixel for n in tiles},
        )
        return self._affordable(plan)

    def _spill(self, places: dict[str, Place], room: int) -> dict[str, Place]:
        """Move features out of memory, the largest first, until the rest fits."""
        places = dict(places)
        rates = None
        while True:
            resident = self._resident(places)
            worst = max(resident, key=lambda name: resident[name])
            if resident[worst] <= room:
                return places
            alive = [n for n in self._alive(places)[worst] if places[n] == "memory"]
            if not alive:
                return places  # `_affordable` says that it does not fit
            largest = max(alive, key=self._bytes_of)
            size = self._bytes_of(largest)
            if self.device.type == "cuda":
                in_host = sum(self._bytes_of(n) for n, p in places.items() if p == "host")
                if in_host + size <= default_budget(torch.device("cpu")):
                    places[largest] = "host"
                    continue
            rates = rates or _Rates.measure(self.scratch)
            on_disk = sum(self._bytes_of(n) for n, p in places.items() if p == "disk")
            disk_seconds = 2 * size / rates.disk_bytes_per_second
            if on_disk + size > rates.disk_free or disk_seconds > self._recompute_seconds(largest):
                places[largest] = "recompute"
            else:
                places[largest] = "disk"

    def _recompute_seconds(self, name: str) -> float:
        """Return how long it takes to compute a feature again from the image."""
        seconds, stage = 0.0, self.graph.producer.get(name)
        while stage is not None:
            seconds += self.costs.stages[stage.name].seconds_per_pixel * self.pixels
            stage = self.graph.producer.get(stage.source)
        return seconds

    def _resident(self, places: Mapping[str, Place]) -> dict[str, int]:
        """Return how many bytes of features are in memory during each pass."""
        return {
            stage: sum(self._bytes_of(name) for name in alive if places[name] == "memory")
            for stage, alive in self._alive(places).items()
        }

    def _alive(self, places: Mapping[str, Place]) -> dict[str, set[str]]:
        return self.graph.alive([n for n, place in places.items() if place != "recompute"])

    def _bytes_of(self, name: str) -> int:
        feature = self.graph.features[name]
        return feature.channels * self.dtype.itemsize * (self.pixels // feature.cell**2)

    # --- Sizes

    def _ladder(self, align: int, cell: int = 1) -> list[int]:
        """Return the sides that are tried, the largest first."""
        largest = _LARGEST_TILE.get(self.device.type, _LARGEST_TILE_ELSEWHERE) * cell
        largest = min(largest, max(self.height, self.width))
        sides = {largest}
        for power in range(4, 24):
            sides |= {2**power, 3 * 2**power // 2}
        smallest = max(_SMALLEST_TILE, align)
        return sorted({s + -s % align for s in sides if smallest <= s <= largest}
                      or {smallest}, reverse=True)  # fmt: skip

    def _largest_side(self, taken: Callable[[int], int], room: int) -> int:
        sides = self._ladder(self.stride)
        return next((side for side in sides if taken(side) <= room), sides[-1])

    def _room(self) -> int:
        return int((self.budget - self.held - _SLACK_BYTES) / _SLACK)

    def _predict(self, taken: int) -> int:
        return round(taken * _SLACK) + _SLACK_BYTES + self.held

    def _affordable(self, plan: Plan) -> Plan:
        if plan.peak_bytes > self.budget:
            raise BudgetError(
                f"Restoring {self.width} × {self.height} pixels takes at least "
                f"{format_bytes(plan.peak_bytes)} in tiles of {plan.tile} pixels, and "
                f"{format_bytes(self.budget)} may be taken; allow more memory, or choose smaller "
                "tiles or a smaller model."
            )
        return plan

    def _region_pixels(self, side: int, halo: int) -> int:
        outer = side + 2 * (halo + -halo % self.stride)
        return min(outer, self.height) * min(outer, self.width)

    def _outer_pixels(self, tile: Region, halo: int) -> int:
        outer = tile.grown(halo, self.stride, self.bounds)
        return outer.height * outer.width


def sample_regions(bounds: Region, stride: int) -> list[Region]:
    """Return squares, evenly spread over a plane, from which mode "fast" takes its gates.

    Parameters
    ----------
    bounds : Region
        The whole plane.
    stride : int
        What positions and sizes are multiples of.

    Returns
    -------
    list of Region
        Up to 9, all of one size.
    """
    side = _SAMPLE_SIDE - _SAMPLE_SIDE % stride

    def starts(length: int) -> list[int]:
        count = min(_SAMPLES_PER_SIDE, max(length // side, 1))
        last = max(length - side, 0)
        places = [last // 2] if count == 1 else [last * i // (count - 1) for i in range(count)]
        return [place - place % stride for place in places]

    height, width = min(side, bounds.height), min(side, bounds.width)
    return [
        Region(top, left, height, width)
        for top in starts(bounds.height)
        for left in starts(bounds.width)
    ]


@dataclass(frozen=True)
class _Rates:
    """How fast the scratch folder is, and how much room it has."""

    disk_bytes_per_second: float
    disk_free: int

    @classmethod
    def measure(cls, folder: Path | None) -> _Rates:
        folder = folder if folder is not None else Path(tempfile.gettempdir())
        # A feature map of 32 MB, written and read as tiles are.
        feature = Feature("probe", 64, 1)
        side, cpu = 354, torch.device("cpu")
        region = Region(0, 0, side, side)
        tile = torch.zeros((1, 64, side, side)).contiguous(memory_format=torch.channels_last)
        parking = DiskParking(feature, side, side, torch.float32, folder, cpu)
        start = time.perf_counter()
        parking.write(tile, region)
        parking.read(region)
        seconds = time.perf_counter() - start
        parking.close()
        return cls(2 * tile.nbytes / seconds, int(0.9 * shutil.disk_usage(folder).free))


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "1 s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
