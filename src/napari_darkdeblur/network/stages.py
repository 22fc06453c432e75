"""The generator, cut where it needs the mean over the whole image.

Squeeze and excitation (eqs. 2-4) looks at the whole image, so a tile on its own gives another
result however far it overlaps its neighbours. Between two such places, however, the network is
local: a `Stage` can be run tile by tile with a few pixels of halo, and the means that the next
stage needs are gathered on the way. `DarkDeblurNet.forward` runs the same stages over the whole
image: the network is written down here, once.

Sizes and positions are in pixels of the image and multiples of the network's stride, so that
every feature map has a whole number of cells in them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import ChannelAttention, DenseAttentionBlock

if TYPE_CHECKING:
    from .generator import DarkDeblurNet

IMAGE = "image"
# What the image has beside the picture, where it is made once and kept.
GUIDES = "guides"
CORRECTION = "correction"


@dataclass(frozen=True)
class Feature:
    """A map of features that one stage makes and others read.

    Parameters
    ----------
    name : str
        For instance ``"x1"`` (what encoder level 1 takes) or ``"skip0"``.
    channels : int
        Its number of channels.
    cell : int
        Pixels of the image per side of one of its cells.
    averaged : bool
        Whether a gate needs its channel means.
    """

    name: str
    channels: int
    cell: int
    averaged: bool = False


@dataclass(frozen=True)
class Region:
    """A rectangle of the image.

    Parameters
    ----------
    top, left, height, width : int
        Pixels of the image, multiples of the stride.
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """First row below."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """First column to the right."""
        return self.left + self.width

    def grown(self, halo: int, stride: int, bounds: Region) -> Region:
        """Return the rectangle with at least ``halo`` pixels around, but inside ``bounds``."""
        halo += -halo % stride
        top, left = max(self.top - halo, bounds.top), max(self.left - halo, bounds.left)
        bottom, right = min(self.bottom + halo, bounds.bottom), min(self.right + halo, bounds.right)
        return Region(top, left, bottom - top, right - left)

    def relative_to(self, outer: Region) -> Region:
        """Return where the rectangle lies in another one."""
        return Region(self.top - outer.top, self.left - outer.left, self.height, self.width)

    def of(self, x: Tensor, cell: int) -> Tensor:
        """Return a view of the rectangle in a map (..., H, W) with ``cell`` pixels per cell."""
        rows = slice(self.top // cell, self.bottom // cell)
        columns = slice(self.left // cell, self.right // cell)
        return x[..., rows, columns]


@dataclass(frozen=True)
class StageInput:
    """What a stage is given to compute a tile.

    Parameters
    ----------
    source : Tensor
        (1, C, h, w): the region around the tile that `Stage.halo` asks for. Where it ends at the
        border of the image there is no halo, and the convolutions' zero padding is the right one.
    skip : Tensor or None
        (1, C, h', w'): the tile without halo; None if the stage takes none.
    gate : Tensor or None
        What the block's short-cut is multiplied by: (1, C, 1, 1), or a map of the source's size.
        None: the gate that follows from the channel means of the source itself, sample by
        sample.
    tile : Region
        Where the tile lies in the source.
    wanted : collection of str
        Names of the outputs to compute.
    """

    source: Tensor
    skip: Tensor | None
    gate: Tensor | None
    tile: Region
    wanted: Collection[str]


class Stage(ABC):
    """A part of the generator that can be run tile by tile.

    Attributes
    ----------
    name : str
        For messages.
    source : str
        The feature (or the image) that it takes with a halo around.
    skip : str or None
        The feature that it adds at the end, taken without halo.
    outputs : tuple of Feature
        What it makes.
    halo : int
        Pixels around a tile that its result depends on.
    gated : DenseAttentionBlock or None
        The block whose gate follows from the channel means of ``source``; None if no gate is
        needed.
    """

    name: str
    source: str
    skip: str | None = None
    outputs: tuple[Feature, ...]
    halo: int
    gated: DenseAttentionBlock | None = None

    @abstractmethod
    def __call__(self, given: StageInput) -> dict[str, Tensor]:
        """Return the wanted outputs for a tile.

        Returns
        -------
        dict of str to Tensor
            (1, C, h', w') each.
        """

    def gate(self, mean: Tensor) -> Tensor | None:
        """Return the gate that follows from channel means (N, C, 1, 1) of the source."""
        if self.gated is None:
            return None
        assert isinstance(self.gated.shortcut, ChannelAttention)
        return self.gated.shortcut.gate(mean)


class _Stem(Stage):
    """The first convolution: cheap enough never to keep what it makes."""

    def __init__(self, net: DarkDeblurNet) -> None:
        config = net.config
        self.net = net
        self.name, self.source = "stem", IMAGE
        self.outputs = (_block_input(net, "x", 0, 0),)
        self.halo = config.fold

    def __call__(self, given: StageInput) -> dict[str, Tensor]:
        config = self.net.config
        image = given.source
        if image.shape[1] == 3:  # no guides: the picture takes their place
            image = image.repeat(1, 1 + config.guides, 1, 1)
        x = F.pixel_unshuffle(image, config.fold)
        if not torch.is_grad_enabled():
            # Faster in inference, and then everything after it is channels last, too.
            x = x.contiguous(memory_format=torch.channels_last)
        return {"x0": given.tile.of(self.net.stem(x), config.fold)}


class _BlockStage(Stage):
    """A dense-attention block; subclasses add what follows it before the next one.

    Parameters
    ----------
    net : DarkDeblurNet
        Network that the stage is a part of.
    letter : {"x", "y"}
        Encoder or decoder, as in the names of features.
    level, place : int
        Level of the block, and its place among the level's blocks.
    """

    def __init__(self, net: DarkDeblurNet, letter: str, level: int, place: int) -> None:
        config = net.config
        part, path = (net.encoder, "encoder") if letter == "x" else (net.decoder, "decoder")
        self.net, self.level = net, level
        self.cell = config.fold << level
        blocks = part[level]
        assert isinstance(blocks, nn.ModuleList)
        self.block = blocks[place]
        self.name = f"{path} {level}" + (f".{place}" if len(blocks) > 1 else "")
        self.source = _block_input(net, letter, level, place).name
        self.gated = self.block if config.channel_attention else None  # type: ignore[assignment]
        self.halo = config.dense_layers * self.cell
        self._next = None
        if place + 1 < len(blocks):
            self._next = _block_input(net, letter, level, place + 1)
            self.outputs = (self._next,)

    def __call__(self, given: StageInput) -> dict[str, Tensor]:
        x = self.block(given.source, given.gate)
        assert self._next is not None
        return {self._next.name: given.tile.of(x, self.cell)}


class _Descend(_BlockStage):
    """The last block of an encoder level, the gated skip, and the way down."""

    def __init__(self, net: DarkDeblurNet, level: int) -> None:
        super().__init__(net, "x", level, net.config.encoder_blocks[level] - 1)
        self.outputs = (
            Feature(f"skip{level}", net.config.widths[level], self.cell),
            _block_input(net, "x", level + 1, 0),
        )
        # Either the gate's convolution or the one down, beside each other.
        self.halo += self.cell

    def __call__(self, given: StageInput) -> dict[str, Tensor]:
        level = self.level
        x = self.block(given.source, given.gate)
        made = {}
        if f"skip{level}" in given.wanted:
            made[f"skip{level}"] = given.tile.of(self.net.gates[level](x), self.cell)
        if f"x{level + 1}" in given.wanted:
            made[f"x{level + 1}"] = given.tile.of(self.net.down[level](x), 2 * self.cell)
        return made


class _Ascend(_BlockStage):
    """The last block of a level, and the way up; where no block follows there, the head."""

    def __init__(self, net: DarkDeblurNet, level: int) -> None:
        config = net.config
        coarsest = level == config.levels - 1
        blocks = config.encoder_blocks if coarsest else config.decoder_blocks
        super().__init__(net, "x" if coarsest else "y", level, blocks[level] - 1)
        self.skip = f"skip{level - 1}"
        self.halo += 2 * self.cell  # the two convolutions of the way up
        self.ends = config.decoder_blocks[level - 1] == 0
        finer = _block_input(net, "y", level - 1, 0)
        self.outputs = (Feature(CORRECTION, 3, 1) if self.ends else finer,)

    def __call__(self, given: StageInput) -> dict[str, Tensor]:
        net, level = self.net, self.level
        x = self.block(given.source, given.gate)
        x = given.tile.of(net.up[level - 1](x), self.cell // 2)
        assert given.skip is not None
        x = x + given.skip if torch.is_grad_enabled() else x.add_(given.skip)
        if self.ends:
            x = F.pixel_shuffle(net.head(x), net.config.fold)
        return {self.outputs[0].name: x}


class _Finish(_BlockStage):
    """The last block of the finest level, and the head."""

    def __init__(self, net: DarkDeblurNet) -> None:
        config = net.config
        letter, blocks = ("x", config.encoder_blocks) if config.levels == 1 else (
            "y", config.decoder_blocks
        )  # fmt: skip
        super().__init__(net, letter, 0, blocks[0] - 1)
        self.outputs = (Feature(CORRECTION, 3, 1),)

    def __call__(self, given: StageInput) -> dict[str, Tensor]:
        x = given.tile.of(self.block(given.source, given.gate), self.cell)
        return {CORRECTION: F.pixel_shuffle(self.net.head(x), self.net.config.fold)}


def _block_input(net: DarkDeblurNet, letter: str, level: int, place: int) -> Feature:
    """Return the feature map that a block takes: ``"x1"``, or ``"x1.2"`` for the third block."""
    config = net.config
    return Feature(
        f"{letter}{level}" + (f".{place}" if place else ""),
        config.widths[level],
        config.fold << level,
        averaged=config.channel_attention,
    )


def stages_of(net: DarkDeblurNet) -> tuple[Stage, ...]:
    """Cut a generator into stages, in the order in which they are to be run.

    Parameters
    ----------
    net : DarkDeblurNet
        Network whose layers the stages run; they hold no weights of their own.

    Returns
    -------
    tuple of Stage
        Each takes the image or what an earlier one makes; the last makes ``"correction"``.
    """
    config = net.config
    coarsest = config.levels - 1

    def inner(letter: str, level: int) -> list[Stage]:
        blocks = config.encoder_blocks if letter == "x" else config.decoder_blocks
        return [_BlockStage(net, letter, level, place) for place in range(blocks[level] - 1)]

    stages: list[Stage] = [_Stem(net)]
    for level in range(coarsest):
        stages += [*inner("x", level), _Descend(net, level)]
    stages += inner("x", coarsest)
    for level in range(coarsest, 0, -1):
        if level < coarsest:
            stages += inner("y", level)
        stages.append(_Ascend(net, level))
    if coarsest == 0:
        stages.append(_Finish(net))
    elif config.decoder_blocks[0] > 0:
        stages += [*inner("y", 0), _Finish(net)]
    return tuple(stages)


def run_stages(
    stages: tuple[Stage, ...],
    image: Tensor,
    gates: Mapping[str, Tensor] | None = None,
    *,
    pool_batch: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run all stages on whole images.

    Parameters
    ----------
    stages : tuple of Stage
        Stages of one network, in order.
    image : Tensor
        (N, C, H, W), pictures with or without guides, sides multiples of the stride.
    gates : mapping of str to Tensor, optional
        Gate (1, C, 1, 1) of each stage that has one, by the stage's name. Without them every
        block computes its own.
    pool_batch : bool
        Whether gates follow from channel means over the *whole batch*, which are then samples of
        one image, rather than sample by sample.

    Returns
    -------
    correction : Tensor
        (N, 3, H, W).
    gates : dict of str to Tensor
        Gates that were given or pooled over the batch.
    """
    height, width = image.shape[-2:]
    everything = Region(0, 0, height, width)
    features = {IMAGE: image}
    used = dict(gates or {})
    for index, stage in enumerate(stages):
        source = features[stage.source]
        if stage.gated is not None and gates is None and pool_batch:
            mean = source.mean(dim=(0, 2, 3), keepdim=True, dtype=torch.float32)
            gate = stage.gate(mean.to(source.dtype))
            assert gate is not None
            used[stage.name] = gate
        skip = features[stage.skip] if stage.skip is not None else None
        names = {output.name for output in stage.outputs}
        features |= stage(StageInput(source, skip, used.get(stage.name), everything, names))
        # The largest tensors of all: they are not kept longer than needed.
        del source, skip
        later = stages[index + 1 :]
        needed = {CORRECTION, *(s.source for s in later), *(s.skip for s in later if s.skip)}
        features = {name: value for name, value in features.items() if name in needed}
    return features[CORRECTION], used


class FeatureGraph:
    """Who makes which feature, and who reads it.

    Parameters
    ----------
    stages : tuple of Stage
        Of one network, in order.
    image_channels : int
        Channels of the image: 3, or more with guides.

    Attributes
    ----------
    features : dict of str to Feature
        All of them, the image, and its guides if it has any.
    producer : dict of str to Stage
        The stage that makes a feature.
    kept : tuple of str
        Features worth keeping between stages: all but the stem's, which are made again in no
        time, and the correction.
    """

    def __init__(self, stages: tuple[Stage, ...], image_channels: int = 3) -> None:
        self._stages = stages
        self.features = {IMAGE: Feature(IMAGE, image_channels, 1)}
        if image_channels > 3:
            self.features[GUIDES] = Feature(GUIDES, image_channels - 3, 1)
        self.producer: dict[str, Stage] = {}
        for stage in stages:
            for output in stage.outputs:
                self.features[output.name] = output
                self.producer[output.name] = stage
        cheap = {output.name for output in stages[0].outputs}
        self.kept = tuple(n for n in self.producer if n not in cheap and n != CORRECTION)

    def alive(self, kept: Collection[str]) -> dict[str, set[str]]:
        """Return which features have to be there during each stage, by the stage's name.

        Parameters
        ----------
        kept : collection of str
            Features that are kept; all others are computed again when they are needed, from
            those that are kept. Guides, if they are among them, are there from the first stage
            to the last that reads the image.
        """
        last_use: dict[str, int] = {}
        for index, stage in enumerate(self._stages):
            for name in self._reads(stage, kept):
                last_use[name] = index
        made = {o.name: i for i, stage in enumerate(self._stages) for o in stage.outputs}
        made[GUIDES] = 0
        return {
            stage.name: {n for n in kept if made[n] <= index <= max(last_use.get(n, 0), made[n])}
            for index, stage in enumerate(self._stages)
        }

    def _reads(self, stage: Stage, kept: Collection[str]) -> set[str]:
        names = {stage.source} | ({stage.skip} if stage.skip is not None else set())
        found = {GUIDES} & set(kept) if IMAGE in names else set()
        for name in names - {IMAGE}:
            found |= {name} if name in kept else self._reads(self.producer[name], kept)
        return found
