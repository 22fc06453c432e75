"""Deciding how a plane is restored, from what it takes and from how much memory there is.

The passes of a tiled plane are the network's stages (`network.stages`). What one stage makes for
a later one waits in memory; where that does not fit the budget, in a file on a CPU; on a GPU in the
computer's memory, or it is computed again when it is needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from ...errors import DarkDeblurError
from ...network.stages import GUIDES, IMAGE, FeatureGraph, RestorationNetwork, Stage
from ...rectangle import Rectangle
from ..guides import KEPT_AS, guide_blocks, with_margin
from ..units import format_bytes
from .costs import Costs, measure_costs, measure_guides
from .feature_store import ScratchFolder
from .memory import default_budget
from .plan import LOCAL_BLOCK, Plan, Storage, Tiling, TilingMode, required_outputs
from .tiles import tile_grid

# Larger tiles bring nothing; on a GPU, small ones do not keep it busy.
_LARGEST_TILE = {"cuda": 2048}
_LARGEST_TILE_ELSEWHERE = 1024
_TILE_WITH_SPILL = 512
# Pixels up to which "auto" takes an image as a whole: nothing can be said of a piece, nor can it
# be stopped, before it is done.
_LARGEST_WHOLE = {"cuda": 8_000_000}
_LARGEST_WHOLE_ELSEWHERE = 2_000_000
_LONGEST_WHOLE = 15  # seconds, for the same reason
_SMALLEST_TILE = 64

_SAMPLE_SIDE = 192
_SAMPLES_PER_SIDE = 3

# What reading, converting and writing pixels takes beside the network: a few float32 copies of
# the three planes.
_BYTES_PER_PIXEL = 72
# What reading a guide takes besides: as they are kept, in float32, and as the network has them.
_BYTES_PER_GUIDE_PIXEL = 6 + 12 + 12
# What a block takes beside the deconvolution of one colour: its pixels, and each guide in float32
# and as it is kept.
_BYTES_PER_BLOCK_PIXEL = 12
_BYTES_PER_BLOCK_GUIDE_PIXEL = 12 + 2 * 6
# Allocators do not give back every hole, libraries take buffers of their own.
_SLACK = 1.15
_SLACK_BYTES = 64_000_000


class BudgetError(DarkDeblurError, MemoryError):
    """The memory allowed is too little; the message is one sentence for the user."""


def make_plan(
    net: RestorationNetwork,
    height: int,
    width: int,
    budget: int,
    *,
    tiling: Tiling = "auto",
    tile: int | None = None,
    origin: tuple[int, int] = (0, 0),
    reserved: int = 0,
    scratch: Path | None = None,
    kernel: int | None = None,
    kernels: int = 1,
) -> Plan:
    """Decide how to restore a plane.

    Parameters
    ----------
    net : RestorationNetwork
        On the device and in the precision that it will be run with. It is measured the first
        time.
    height, width : int
        Size of the plane in pixels.
    budget : int
        Bytes of memory that restoring may take, ``reserved`` included.
    tiling : {"auto", "whole", "exact", "local", "fast"}
        The mode; ``"auto"`` is ``"whole"`` where that fits the budget and does not take so
        long that nobody could watch or stop it, else ``"exact"``.
    tile : int, optional
        Side of a tile in pixels, of the finest stages; the default is what fits. With it,
        ``"auto"`` is ``"exact"``.
    origin : tuple of int
        Row and column of a corner where four tiles meet.
    reserved : int
        Bytes that are taken besides: the output, for instance.
    scratch : pathlib.Path, optional
        Folder for scratch files; the default is the system's.
    kernel : int, optional
        Width and height in pixels of the kernel whose guides the network is given; without it,
        the picture alone is restored.
    kernels : int
        How many kernels a block of guides may be blended of.

    Raises
    ------
    BudgetError
        It does not fit in any way, or not in the way asked for.
    ScratchError
        The scratch folder cannot be written to.
    """
    if tile is not None and tile < 1:
        raise BudgetError(f"Tile size must be at least 1 pixel (got {tile} pixels).")
    planner = _Planner(net, height, width, budget, reserved, origin, ScratchFolder(scratch))
    if kernel is not None:
        planner.guides = _Guides.of(
            height, width, kernel, kernels, net.config.guides, planner.device
        )
    most = _LARGEST_WHOLE.get(planner.device.type, _LARGEST_WHOLE_ELSEWHERE)
    if tiling == "whole" or (tiling == "auto" and tile is None and height * width <= most):
        plan = planner.whole()
        quick = tiling == "whole" or plan.seconds <= _LONGEST_WHOLE
        if plan.peak_bytes <= budget and quick:
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


class _Planner:
    def __init__(
        self,
        net: RestorationNetwork,
        height: int,
        width: int,
        budget: int,
        reserved: int,
        origin: tuple[int, int],
        scratch: ScratchFolder,
    ) -> None:
        self.net, self.budget, self.reserved, self.origin = net, budget, reserved, origin
        self.multiple = net.config.size_multiple
        self.size = f"{width} × {height}"
        # From here on as the network takes it.
        self.height, self.width = height + -height % self.multiple, width + -width % self.multiple
        self.bounds = Rectangle(0, 0, self.height, self.width)
        self.pixels = self.height * self.width
        self.stages = net.stages()
        self.graph = FeatureGraph(self.stages, net.config.input_channels)
        self.guides: _Guides | None = None
        self.costs: Costs = measure_costs(net)
        weight = next(net.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self.scratch = scratch

    # --- In one piece

    def whole(self) -> Plan:
        taken = self.costs.whole.bytes(self.pixels) + self._per_pixel * self.pixels
        plan = Plan(
            "whole",
            {"network": [self.bounds]},
            peak_bytes=self._predict(taken),
            fixed_bytes=self._predict(0),
            seconds=self.costs.whole.seconds_per_pixel * self.pixels,
            seconds_per_pixel={"network": self.costs.whole.seconds_per_pixel},
        )
        return self._guided(plan, {GUIDES: "memory"})

    # --- In tiles, the whole network on each

    def fast(self, tile: int | None) -> Plan:
        radius = self.net.config.receptive_field_radius

        def taken(side: int) -> int:
            height, width = self._outer_size(side, radius)
            return self.costs.whole.bytes(height * width) + self._per_pixel * height * width

        def sampled(sample: list[Rectangle]) -> int:
            return self.costs.whole.bytes(len(sample) * sample[0].height * sample[0].width)

        sides = self._candidate_sides(self.multiple)
        storage = self._guides_beside(taken(sides[-1]))
        resident = self._bytes_in("memory", storage)

        samples = (
            sample_regions(self.bounds, self.multiple, count)
            for count in range(_SAMPLES_PER_SIDE, 0, -1)
        )
        room = self._available() - resident
        sample = next((s for s in samples if sampled(s) <= room), None)
        sample = sample or sample_regions(self.bounds, self.multiple, 1)
        side = tile or next((s for s in sides if taken(s) <= room), sides[-1])
        tiles = tile_grid(self.height, self.width, side, self.multiple, self.origin)
        pixels = sum(self._outer_pixels(t, radius) for t in tiles)
        plan = Plan(
            "fast",
            {"network": tiles},
            peak_bytes=self._predict(max(taken(side), sampled(sample)) + resident),
            fixed_bytes=self._predict(0),
            seconds=self.costs.whole.seconds_per_pixel * pixels,
            seconds_per_pixel={"network": self.costs.whole.seconds_per_pixel},
            sample=sample,
        )
        return self._within_budget(self._guided(plan, storage))

    # --- In tiles, stage by stage

    def staged(self, mode: Literal["exact", "local"], tile: int | None) -> Plan:
        align = max(self.multiple, LOCAL_BLOCK) if mode == "local" else self.multiple
        everything: dict[str, Storage] = dict.fromkeys(self.graph.storable, "memory")
        if self.guides is not None:
            everything[GUIDES] = "memory"

        sides = self._tile_sides(mode, tile, align, everything)
        storage = self._spill(everything, sides, mode)
        tiles: dict[str, list[Rectangle]] = {}
        seconds, peak = 0.0, 0
        resident_during = self._resident(storage)
        for stage in self.stages:
            if not required_outputs(stage, storage):
                continue
            side = sides[stage.name]
            tiles[stage.name] = tile_grid(self.height, self.width, side, align, self.origin)
            needed = self._requirements(stage, (side, side), storage, mode)
            # Per pixel of a tile in the middle, halos and what is computed again included.
            area = min(side, self.height) * min(side, self.width)
            seconds += needed.seconds / area * self.pixels
            peak = max(peak, needed.peak + resident_during[stage.name])
        plan = Plan(
            mode,
            tiles,
            storage,
            peak_bytes=self._predict(peak),
            fixed_bytes=self._predict(0),
            scratch_bytes=self._bytes_in("disk", storage),
            seconds=seconds,
            seconds_per_pixel={n: self.costs.stages[n].seconds_per_pixel for n in tiles},
        )
        return self._within_budget(self._guided(plan, storage))

    def _tile_sides(
        self, mode: TilingMode, tile: int | None, align: int, storage: Mapping[str, Storage]
    ) -> dict[str, int]:
        """Return the side of each stage's tiles, by the stage's name."""

        def taken(stage: Stage, side: int) -> int:
            return self._requirements(stage, (side, side), storage, mode).peak

        def most(side: int) -> int:
            return max(taken(stage, side) for stage in self.stages)

        # Without a wish, as large as possible with everything in memory; if that does not go, of a
        # middling size, and some features are stored elsewhere.
        sides_tried = self._candidate_sides(align)
        smallest = sides_tried[-1]
        if tile is None:
            resident = max(self._resident(storage).values())
            fitting = [side for side in sides_tried if most(side) + resident <= self._available()]
            if fitting and fitting[0] >= min(_TILE_WITH_SPILL, max(self.height, self.width)) // 2:
                work = most(fitting[0])
            else:
                middling = [s for s in sides_tried if s <= _TILE_WITH_SPILL]
                roomy = [s for s in middling if 2 * most(s) <= self._available()]
                work = most(roomy[0] if roomy else smallest)
        else:
            work = most(tile)

        # Coarse levels take less memory per pixel, so their tiles may be larger.
        sides: dict[str, int] = {}
        for stage in self.stages:
            downscale = self.graph.features[stage.source].downscale
            if tile is not None and downscale <= self.net.config.unshuffle_factor:
                sides[stage.name] = tile
                continue
            candidates = self._candidate_sides(align, downscale)
            fitting = [side for side in candidates if taken(stage, side) <= work]
            sides[stage.name] = max(fitting[0] if fitting else 0, tile or smallest)
        return sides

    # --- Guides

    def _guides_beside(self, work: int) -> dict[str, Storage]:
        """Return where guides wait if the network takes so much memory at the same time."""
        if self.guides is None:
            return {}
        work = max(work, self.guides.peak)
        if work + self._bytes_of(GUIDES) <= self._available():
            return {GUIDES: "memory"}
        return {GUIDES: self._storage_outside(GUIDES, {})}

    def _guided(self, plan: Plan, storage: Mapping[str, Storage]) -> Plan:
        """Add the pass that makes guides to a plan, if they are wanted."""
        if self.guides is None:
            return plan
        guides = self.guides
        kept = self._bytes_of(GUIDES) if storage[GUIDES] == "memory" else 0
        return dataclasses.replace(
            plan,
            tiles={GUIDES: guides.blocks, **plan.tiles},
            storage=dict(storage),
            peak_bytes=max(plan.peak_bytes, self._predict(guides.peak + kept)),
            scratch_bytes=self._bytes_in("disk", storage),
            seconds=plan.seconds + guides.seconds,
            seconds_per_pixel={
                GUIDES: guides.seconds / sum(b.height * b.width for b in guides.blocks),
                **plan.seconds_per_pixel,
            },
        )

    def _spill(
        self, storage: Mapping[str, Storage], sides: Mapping[str, int], mode: TilingMode
    ) -> dict[str, Storage]:
        """Move features out of memory, the largest first, until the rest fits."""
        storage = dict(storage)
        stuck: set[str] = set()
        while True:
            resident = self._resident(storage)
            totals = {
                stage.name: resident[stage.name]
                + self._requirements(stage, (sides[stage.name],) * 2, storage, mode).peak
                for stage in self.stages
                if required_outputs(stage, storage)
            }
            worst = max(totals, key=lambda name: totals[name])
            live = [
                n
                for n in self._live_features(storage)[worst]
                if storage[n] == "memory" and n not in stuck
            ]
            if totals[worst] <= self._available() or not live:
                return storage  # if it does not fit, `_within_budget` says so
            largest = max(live, key=self._bytes_of)
            storage[largest] = self._storage_outside(largest, storage)
            stuck |= {largest}

    def _storage_outside(self, name: str, storage: Mapping[str, Storage]) -> Storage:
        """Return where a feature map goes that cannot stay in the device's memory.

        A CPU computes it again in 0.3 to 20 µs per pixel of the image (one core, small and paper's
        network), and a disk of 550 MB/s writes and reads it in 0.01 to 1 µs: the disk is the
        faster one even if it is ten times slower. A GPU computes it again in a fraction of that.
        """
        size = self._bytes_of(name)
        if self.device.type == "cuda":
            room = default_budget(torch.device("cpu")) - self._bytes_in("host", storage)
            if size + self.reserved <= room:
                return "host"
        # Guides are made of the whole plane, in blocks of their own: never again tile by tile.
        if name != GUIDES and self.device.type != "cpu":
            return "recompute"
        if size <= self.scratch.free - self._bytes_in("disk", storage):
            return "disk"
        return "memory" if name == GUIDES else "recompute"

    def _requirements(
        self, stage: Stage, size: tuple[int, int], storage: Mapping[str, Storage], mode: TilingMode
    ) -> _Requirements:
        """Return what running a stage on a tile takes, with all that is computed for it."""
        outer = self._outer_size(size, stage.halo)
        source = self._read(stage.source, outer, storage, mode)
        peak, inputs, seconds = source.peak, source.result, source.seconds
        if stage.skip is not None:
            skip = self._read(stage.skip, size, storage, mode)
            peak = max(peak, inputs + skip.peak)
            inputs += skip.result
            seconds += skip.seconds
        pixels = outer[0] * outer[1]
        cost = self.costs.stages[stage.name]
        per_pixel = float(self._per_pixel)
        if mode == "local":
            # The map, and a copy of it in the making.
            per_pixel += 2 * self.costs.scale_maps.get(stage.name, 0)
        # A stage's cost includes what it is given.
        peak = max(peak, cost.bytes(pixels) + round(per_pixel * pixels))
        seconds += cost.seconds_per_pixel * pixels
        made = sum(self._bytes_of(output.name, size) for output in stage.outputs)
        return _Requirements(peak, made, seconds)

    def _read(
        self, name: str, size: tuple[int, int], storage: Mapping[str, Storage], mode: TilingMode
    ) -> _Requirements:
        """Return what having a feature on a region takes."""
        size = min(size[0], self.height), min(size[1], self.width)
        if name == IMAGE or storage.get(name, "recompute") != "recompute":
            read = self._bytes_of(name, size)
            return _Requirements(2 * read, read, 0.0)
        return self._requirements(self.graph.producer[name], size, storage, mode)

    def _resident(self, storage: Mapping[str, Storage]) -> dict[str, int]:
        """Return how many bytes of features are in the device's memory during each pass."""
        return {
            stage: sum(self._bytes_of(name) for name in live if storage[name] == "memory")
            for stage, live in self._live_features(storage).items()
        }

    def _live_features(self, storage: Mapping[str, Storage]) -> dict[str, set[str]]:
        return self.graph.live_features([n for n, kind in storage.items() if kind != "recompute"])

    def _bytes_in(self, where: Storage, storage: Mapping[str, Storage]) -> int:
        return sum(self._bytes_of(name) for name, kind in storage.items() if kind == where)

    def _bytes_of(self, name: str, size: tuple[int, int] | None = None) -> int:
        feature = self.graph.features[name]
        height, width = size or (self.height, self.width)
        itemsize = KEPT_AS.itemsize if name == GUIDES else self.dtype.itemsize
        return feature.channels * itemsize * (height * width // feature.downscale**2)

    @property
    def _per_pixel(self) -> int:
        """Bytes that a pixel takes beside the network while it is read and written."""
        guides = self.net.config.guides if self.guides is not None else 0
        return _BYTES_PER_PIXEL + guides * _BYTES_PER_GUIDE_PIXEL

    # --- Sizes

    def _candidate_sides(self, align: int, downscale: int = 1) -> list[int]:
        """Return the sides that are tried, the largest first."""
        largest = _LARGEST_TILE.get(self.device.type, _LARGEST_TILE_ELSEWHERE) * downscale
        largest = min(largest, max(self.height, self.width))
        smallest = max(_SMALLEST_TILE, align)
        powers = [2**power for power in range(4, 24)]
        sides = {largest, *powers, *(3 * power // 2 for power in powers)}
        aligned = {s + -s % align for s in sides if smallest <= s <= largest}
        return sorted(aligned or {smallest}, reverse=True)

    def _available(self) -> int:
        return int((self.budget - self.reserved - _SLACK_BYTES) / _SLACK)

    def _predict(self, taken: int) -> int:
        return round(taken * _SLACK) + _SLACK_BYTES + self.reserved

    def _within_budget(self, plan: Plan) -> Plan:
        if plan.peak_bytes > self.budget:
            output = format_bytes(self.reserved)
            besides = f", {output} of it for the output" if self.reserved else ""
            raise BudgetError(
                f"Restoring {self.size} pixels takes at least "
                f"{format_bytes(plan.peak_bytes)} in tiles of {plan.tile} pixels{besides}, and "
                f"{format_bytes(self.budget)} may be taken; allow more memory, close other "
                "programs, or choose a smaller model."
            )
        return plan

    def _outer_size(self, size: int | tuple[int, int], halo: int) -> tuple[int, int]:
        height, width = (size, size) if isinstance(size, int) else size
        added = 2 * (halo + -halo % self.multiple)
        return min(height + added, self.height), min(width + added, self.width)

    def _outer_pixels(self, tile: Rectangle, halo: int) -> int:
        outer = tile.expanded(halo, self.multiple, self.bounds)
        return outer.height * outer.width


@dataclass(frozen=True)
class _Guides:
    """What making a plane's guides takes."""

    blocks: list[Rectangle]
    peak: int  # bytes in use while a block is made, at most
    seconds: float  # of all blocks

    @classmethod
    def of(
        cls, height: int, width: int, side: int, kernels: int, count: int, device: torch.device
    ) -> _Guides:
        blocks = guide_blocks(height, width)
        outer = [with_margin(block, side, height, width) for block in blocks]
        largest = max(outer, key=lambda region: region.height * region.width)
        cost = measure_guides(largest.height, largest.width, side, count, device)
        beside = _BYTES_PER_BLOCK_PIXEL + count * _BYTES_PER_BLOCK_GUIDE_PIXEL
        beside *= largest.height * largest.width
        seconds = 3 * kernels * sum(cost.seconds_per_pixel * r.height * r.width for r in outer)
        return cls(blocks, cost.bytes(0) + beside, seconds)


@dataclass(frozen=True)
class _Requirements:
    """What a computation takes."""

    peak: int  # bytes in use while it runs, at most
    result: int  # bytes of its result
    seconds: float


def sample_regions(bounds: Rectangle, multiple: int, per_side: int) -> list[Rectangle]:
    """Return squares, evenly spread over a plane, from which mode "fast" takes its channel scales.

    Parameters
    ----------
    bounds : Rectangle
        Rectangle of the whole plane.
    multiple : int
        Number that positions and sizes are multiples of.
    per_side : int
        How many along each side, if there is room for them.

    Returns
    -------
    list of Rectangle
        All of one size.
    """
    side = _SAMPLE_SIDE - _SAMPLE_SIDE % multiple

    def starts(length: int) -> list[int]:
        count = min(per_side, max(length // side, 1))
        last = max(length - side, 0)
        starts = [last // 2] if count == 1 else [last * i // (count - 1) for i in range(count)]
        return [start - start % multiple for start in starts]

    height, width = min(side, bounds.height), min(side, bounds.width)
    return [
        Rectangle(top, left, height, width)
        for top in starts(bounds.height)
        for left in starts(bounds.width)
    ]
