"""Running the network over one plane, as a plan says: one piece or tile by tile.

All modes go through here, and hard crops are put side by side: nothing is blended, since
blending would only hide a difference between tiles that must not be there.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ..network import DarkDeblurNet
from ..network.stages import (
    CORRECTION,
    GUIDES,
    IMAGE,
    Feature,
    FeatureGraph,
    Region,
    Stage,
    StageInput,
    run_stages,
    stages_of,
)
from .means import ChannelMeans, Gate, GlobalMeans, LocalMeans
from .parking import Parking, park
from .plan import LOCAL_BLOCK, LOCAL_WINDOW, Plan, needed_now


class Plane(Protocol):
    """A plane to be restored: padded to multiples of the stride, on the network's device."""

    def read(self, region: Region) -> Tensor:
        """Return (1, 3 or more, h, w) of a region, in the network's precision."""
        ...

    def write(self, region: Region, correction: Tensor) -> None:
        """Take in what is to be added to a region: (1, 3, h, w)."""
        ...

    def make_guides(self, block: Region) -> None:
        """Make and keep the guides of a block of pixels; `read` gives them from then on."""
        ...

    def release_guides(self) -> None:
        """Give back what guides take; nothing is read any more."""
        ...


def restore_plane(
    net: DarkDeblurNet, plan: Plan, plane: Plane, bounds: Region, scratch: Path | None = None
) -> Generator[tuple[str, Region], None, None]:
    """Restore a plane.

    Parameters
    ----------
    net : DarkDeblurNet
        In evaluation mode.
    plan : Plan
        How.
    plane : Plane
        Where pixels come from and corrections go.
    bounds : Region
        The whole plane.
    scratch : pathlib.Path, optional
        Folder for scratch files; see `ScratchFolder`.

    Yields
    ------
    stage : str
        What was computed of a tile.
    tile : Region
        Which one. Whoever does not ask for the next one stops the work; memory and files are
        given back when the iterator is closed.
    """
    try:
        for block in plan.tiles.get(GUIDES, ()):
            plane.make_guides(block)
            yield GUIDES, block
        if plan.mode == "whole":
            image = plane.read(bounds)
            plane.release_guides()
            plane.write(bounds, net.correction(image))
            yield "network", bounds
        elif plan.mode == "fast":
            yield from _with_sampled_gates(net, plan, plane, bounds)
        else:
            with _StagedPlane(net, plan, plane, bounds, scratch) as staged:
                yield from staged.run()
    finally:
        plane.release_guides()


def _with_sampled_gates(
    net: DarkDeblurNet, plan: Plan, plane: Plane, bounds: Region
) -> Iterator[tuple[str, Region]]:
    """Run the whole network on each tile, with gates that all tiles share: so no seams.

    The gates are those of a sample of the plane at full resolution. A thumbnail would see more
    of the plane, but neither its noise nor its blur as they are.
    """
    stages = stages_of(net)
    sample = torch.cat([plane.read(region) for region in plan.sample])
    _, gates = run_stages(stages, sample, pool_batch=True)
    del sample
    for tile in plan.tiles["network"]:
        outer = tile.grown(net.config.reach, net.config.stride, bounds)
        correction, _ = run_stages(stages, plane.read(outer), gates)
        plane.write(tile, tile.relative_to(outer).of(correction, 1))
        yield "network", tile


class _StagedPlane:
    """One stage after the other over the whole plane, as `network.stages` explains."""

    def __init__(
        self, net: DarkDeblurNet, plan: Plan, plane: Plane, bounds: Region, scratch: Path | None
    ) -> None:
        self._net, self._plan, self._plane = net, plan, plane
        self._bounds, self._scratch = bounds, scratch
        self._stages = stages_of(net)
        self._graph = FeatureGraph(self._stages, net.config.input_channels)
        self._parked: dict[str, Parking] = {}
        self._gates: dict[str, Gate] = {}
        weight = next(net.parameters())
        self._device, self._dtype = weight.device, weight.dtype

    def __enter__(self) -> _StagedPlane:
        return self

    def __exit__(self, *error: object) -> None:
        self._release(self._parked)

    def run(self) -> Iterator[tuple[str, Region]]:
        """Restore the plane; see `restore_plane`."""
        kept = [name for name, place in self._plan.places.items() if place != "recompute"]
        alive = self._graph.alive(kept)
        for index, stage in enumerate(self._stages):
            if stage.name in self._plan.tiles:
                yield from self._pass(stage)
            later = {name for other in self._stages[index + 1 :] for name in alive[other.name]}
            self._release(self._parked.keys() - later)
            if GUIDES not in later:
                self._plane.release_guides()

    def _pass(self, stage: Stage) -> Iterator[tuple[str, Region]]:
        wanted = needed_now(stage, self._plan.places)
        means = {}
        for output in stage.outputs:
            if output.averaged:
                means[output.name] = self._means(output)
            if self._plan.places.get(output.name, "recompute") != "recompute":
                self._parked[output.name] = self._park(output)
        for tile in self._plan.tiles[stage.name]:
            for name, x in self._compute(stage, tile, wanted).items():
                if name in means:
                    means[name].add(x, tile)
                if name in self._parked:
                    self._parked[name].write(x, tile)
                if name == CORRECTION:
                    self._plane.write(tile, x)
            yield stage.name, tile
        for consumer in self._stages:
            if consumer.source in means:
                self._gates[consumer.name] = means[consumer.source].gate(consumer)

    def _compute(self, stage: Stage, tile: Region, wanted: Collection[str]) -> dict[str, Tensor]:
        outer = tile.grown(stage.halo, self._net.config.stride, self._bounds)
        source = self._feature(stage.source, outer)
        skip = self._feature(stage.skip, tile) if stage.skip is not None else None
        gate = self._gates[stage.name].over(outer) if stage.gated is not None else None
        return stage(StageInput(source, skip, gate, tile.relative_to(outer), wanted))

    def _feature(self, name: str, region: Region) -> Tensor:
        """Return a feature map on a region: read, or computed again from what there is."""
        if name == IMAGE:
            return self._plane.read(region)
        if name in self._parked:
            return self._parked[name].read(region)
        return self._compute(self._graph.producer[name], region, (name,))[name]

    def _means(self, feature: Feature) -> ChannelMeans:
        height, width = self._bounds.height, self._bounds.width
        if self._plan.mode == "local":
            block = max(LOCAL_BLOCK, self._net.config.stride)
            return LocalMeans(feature, height, width, LOCAL_WINDOW, block, self._device)
        return GlobalMeans(feature, height, width)

    def _park(self, feature: Feature) -> Parking:
        height, width = self._bounds.height, self._bounds.width
        place = self._plan.places[feature.name]
        return park(feature, height, width, self._dtype, place, self._scratch, self._device)

    def _release(self, names: Collection[str]) -> None:
        for name in list(names):
            self._parked.pop(name).close()
