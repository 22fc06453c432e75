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

from ...network.stages import (
    GUIDES,
    IMAGE,
    RESIDUAL,
    Feature,
    FeatureGraph,
    RestorationNetwork,
    Stage,
    StageInput,
    fused,
    run_stages,
)
from ...rectangle import Rectangle
from .feature_store import FeatureStore, make_feature_store
from .plan import LOCAL_BLOCK, LOCAL_WINDOW, Plan, required_outputs
from .pooling import ChannelScale, GlobalPooling, LocalPooling, Pooling


class Plane(Protocol):
    """A plane to be restored: padded to multiples of the stride, on the network's device."""

    def read(self, region: Rectangle) -> Tensor:
        """Return (1, 3 or more, h, w) of a region, in the network's precision."""
        ...

    def write(self, region: Rectangle, residual: Tensor) -> None:
        """Take in what is to be added to a region: (1, 3, h, w)."""
        ...

    def make_guides(self, block: Rectangle) -> None:
        """Make and keep the guides of a block of pixels; `read` gives them from then on."""
        ...

    def release_guides(self) -> None:
        """Give back what guides take; nothing is read any more."""
        ...


def restore_plane(
    net: RestorationNetwork,
    plan: Plan,
    plane: Plane,
    bounds: Rectangle,
    scratch: Path | None = None,
) -> Generator[tuple[str, Rectangle], None, None]:
    """Restore a plane.

    Parameters
    ----------
    net : RestorationNetwork
        Network, in evaluation mode.
    plan : Plan
        Plan of the plane, for this network.
    plane : Plane
        Where pixels come from and residuals go.
    bounds : Rectangle
        Rectangle of the whole plane.
    scratch : pathlib.Path, optional
        Folder for scratch files; see `ScratchFolder`.

    Yields
    ------
    stage : str
        What was computed of a tile.
    tile : Rectangle
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
            plane.write(bounds, net.residual(image))
            yield "network", bounds
        elif plan.mode == "fast":
            yield from _with_sampled_pooling(net, plan, plane, bounds)
        else:
            with _StagedExecutor(net, plan, plane, bounds, scratch) as staged:
                yield from staged.run()
    finally:
        plane.release_guides()


def _with_sampled_pooling(
    net: RestorationNetwork, plan: Plan, plane: Plane, bounds: Rectangle
) -> Iterator[tuple[str, Rectangle]]:
    """Run the whole network on each tile, with channel scales that all tiles share: no seams.

    The scales are those of a sample of the plane at full resolution. A thumbnail would see more
    of the plane, but neither its noise nor its blur as they are.
    """
    stages = net.stages()
    sample = torch.cat([plane.read(region) for region in plan.sample])
    _, scales = run_stages(stages, sample, pool_batch=True)
    del sample
    for tile in plan.tiles["network"]:
        outer = tile.expanded(net.config.receptive_field_radius, net.config.size_multiple, bounds)
        residual, _ = run_stages(stages, plane.read(outer), scales)
        plane.write(tile, tile.relative_to(outer).crop(residual, 1))
        yield "network", tile


class _StagedExecutor:
    """One stage after the other over the whole plane, as `network.stages` explains."""

    def __init__(
        self,
        net: RestorationNetwork,
        plan: Plan,
        plane: Plane,
        bounds: Rectangle,
        scratch: Path | None,
    ) -> None:
        self._net, self._plan, self._plane = net, plan, plane
        self._bounds, self._scratch = bounds, scratch
        self._stages = net.stages()
        self._graph = FeatureGraph(self._stages, net.config.input_channels)
        self._stores: dict[str, FeatureStore] = {}
        self._scales: dict[str, ChannelScale] = {}
        weight = next(net.parameters())
        self._device, self._dtype = weight.device, weight.dtype

    def __enter__(self) -> _StagedExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        self._release(self._stores)

    def run(self) -> Iterator[tuple[str, Rectangle]]:
        """Restore the plane; see `restore_plane`."""
        stored = [name for name, kind in self._plan.storage.items() if kind != "recompute"]
        live = self._graph.live_features(stored)
        for index, stage in enumerate(self._stages):
            if stage.name in self._plan.tiles:
                yield from self._pass(stage)
            later = {name for other in self._stages[index + 1 :] for name in live[other.name]}
            self._release(self._stores.keys() - later)
            if GUIDES not in later:
                self._plane.release_guides()

    def _pass(self, stage: Stage) -> Iterator[tuple[str, Rectangle]]:
        required = required_outputs(stage, self._plan.storage)
        pooling = {}
        for output in stage.outputs:
            if output.pooled:
                pooling[output.name] = self._pooling(output)
            if self._plan.storage.get(output.name, "recompute") != "recompute":
                self._stores[output.name] = self._new_store(output)
        for tile in self._plan.tiles[stage.name]:
            for name, x in self._compute(stage, tile, required).items():
                if name in pooling:
                    pooling[name].add(x, tile)
                if name in self._stores:
                    self._stores[name].write(x, tile)
                if name == RESIDUAL:
                    self._plane.write(tile, self._fused(x, tile))
            yield stage.name, tile
        for consumer in self._stages:
            if consumer.source in pooling:
                self._scales[consumer.name] = pooling[consumer.source].channel_scale(consumer)

    def _compute(
        self, stage: Stage, tile: Rectangle, required: Collection[str]
    ) -> dict[str, Tensor]:
        outer = tile.expanded(stage.halo, self._net.config.size_multiple, self._bounds)
        source = self._feature(stage.source, outer)
        skip = self._feature(stage.skip, tile) if stage.skip is not None else None
        scale = self._scales[stage.name].over(outer) if stage.attention_block is not None else None
        return stage(StageInput(source, skip, scale, tile.relative_to(outer), required))

    def _fused(self, output: Tensor, tile: Rectangle) -> Tensor:
        """Return the residual of a tile, for which its guides may be needed once more."""
        return output if output.shape[1] == 3 else fused(output, self._plane.read(tile))

    def _feature(self, name: str, region: Rectangle) -> Tensor:
        """Return a feature map on a region: read, or computed again from what there is."""
        if name == IMAGE:
            return self._plane.read(region)
        if name in self._stores:
            return self._stores[name].read(region)
        return self._compute(self._graph.producer[name], region, (name,))[name]

    def _pooling(self, feature: Feature) -> Pooling:
        height, width = self._bounds.height, self._bounds.width
        if self._plan.mode == "local":
            block = max(LOCAL_BLOCK, self._net.config.size_multiple)
            return LocalPooling(feature, height, width, LOCAL_WINDOW, block, self._device)
        return GlobalPooling(feature, height, width)

    def _new_store(self, feature: Feature) -> FeatureStore:
        height, width = self._bounds.height, self._bounds.width
        storage = self._plan.storage[feature.name]
        return make_feature_store(
            feature, height, width, self._dtype, storage, self._scratch, self._device
        )

    def _release(self, names: Collection[str]) -> None:
        for name in list(names):
            self._stores.pop(name).close()
