"""The generator, cut where it needs the mean over the whole image.

Squeeze and excitation (eqs. 2-4) pools over the whole image, so a tile on its own gives another
result however far it overlaps its neighbours. Between two such poolings, however, the network is
local: a `Stage` can be run tile by tile with a few pixels of halo, and the means that the next
stage needs are gathered on the way. `DarkDeblurNet.forward` runs the same stages over the whole
image: the network is written down here, once.

Sizes and positions are in pixels of the image and multiples of the network's size multiple, so
that they are whole numbers of pixels in every feature map.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..rectangle import Rectangle
from .blocks import ChannelAttention, DenseAttentionBlock

if TYPE_CHECKING:
    from .generator import DarkDeblurNet

IMAGE = "image"
# Input channels beside the picture's, where they are made once and stored.
GUIDES = "guides"
RESIDUAL = "residual"

_Path = Literal["encoder", "decoder"]

# What the head gives times this is the weight of a guide. Weights are of the size of 1, the
# residual of some hundredths: so both are learned in the same time.
GUIDE_WEIGHT_SCALE = 8.0


@dataclass(frozen=True)
class Feature:
    """A feature map that one stage makes and others read.

    Parameters
    ----------
    name : str
        Name, for instance ``"x1"`` (the input of encoder level 1) or ``"skip0"``.
    channels : int
        Number of channels.
    downscale : int
        Pixels of the image per side of one of the map's.
    pooled : bool
        Whether channel attention needs the map's global average.
    """

    name: str
    channels: int
    downscale: int
    pooled: bool = False


@dataclass(frozen=True)
class StageInput:
    """What a stage is given to compute a tile.

    Parameters
    ----------
    source : Tensor
        (1, C, h, w): the tile with the halo that `Stage.halo` asks for. Where it ends at the
        border of the image there is no halo, and the convolutions' zero padding is the right one.
    skip : Tensor or None
        (1, C, h', w'): the tile without halo; None if the stage takes none.
    channel_scale : Tensor or None
        Factor of the block's shortcut: (1, C, 1, 1), or a map of the source's size. None: the
        one that follows from the channel means of the source itself, sample by sample.
    tile : Rectangle
        Where the tile lies in the source.
    required_outputs : collection of str
        Names of the outputs to compute.
    """

    source: Tensor
    skip: Tensor | None
    channel_scale: Tensor | None
    tile: Rectangle
    required_outputs: Collection[str]


class Stage(ABC):
    """A part of the generator that can be run tile by tile.

    Attributes
    ----------
    name : str
        Name for plans and messages.
    source : str
        Feature map (or the image) that it takes with a halo.
    skip : str or None
        Feature map that it adds at the end, taken without halo.
    outputs : tuple of Feature
        Feature maps that it makes.
    halo : int
        Radius in pixels within which the source influences a tile's result.
    attention_block : DenseAttentionBlock or None
        Block whose channel scale follows from the global average of ``source``; None if there
        is no channel attention.
    """

    name: str
    source: str
    skip: str | None = None
    outputs: tuple[Feature, ...]
    halo: int
    attention_block: DenseAttentionBlock | None = None

    @abstractmethod
    def __call__(self, given: StageInput) -> dict[str, Tensor]:
        """Return the required outputs for a tile.

        Returns
        -------
        dict of str to Tensor
            (1, C, h', w') each.
        """

    def channel_scale(self, mean: Tensor) -> Tensor:
        """Return the channel scale that follows from channel means (N, C, H, W) of the source."""
        assert self.attention_block is not None
        assert isinstance(self.attention_block.shortcut, ChannelAttention)
        return self.attention_block.shortcut.scale(mean)


class RestorationNetwork(nn.Module):
    """A network that adds a residual to a picture, and can be run tile by tile.

    Attributes
    ----------
    config : GeneratorConfig, MultiScaleConfig or FeaturePyramidConfig
        What it looks like; ``config.size_multiple`` and ``config.receptive_field_radius`` are what
        a tiler needs to know.
    """

    config: Any

    def stages(self) -> tuple[Stage, ...]:
        """Return the network's parts, in the order in which they are to be run.

        Returns
        -------
        tuple of Stage
            They hold no weights of their own. Each takes the image or what an earlier one makes;
            the last makes ``"residual"``.
        """
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        """Restore a batch of images.

        Parameters
        ----------
        image : Tensor
            Pictures, (N, 3, H, W), of any height and width from 1, values nominally in 0..1; or
            pictures and their guides, (N, 3 (1 + guides), H, W). Without guides, a network that
            takes some is given the picture itself in their place.

        Returns
        -------
        Tensor
            (N, 3, H, W), not clamped.
        """
        height, width = image.shape[-2:]
        multiple = self.config.size_multiple
        padded = F.pad(image, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        return image[:, :3] + self.residual(padded)[..., :height, :width]

    def residual(self, image: Tensor) -> Tensor:
        """Return what is to be added to pictures whose sides are multiples of `size_multiple`.

        Parameters
        ----------
        image : Tensor
            (N, 3, H, W) or (N, 3 (1 + guides), H, W), as in `forward`.

        Returns
        -------
        Tensor
            (N, 3, H, W).
        """
        return run_stages(self.stages(), image)[0]

    @torch.no_grad()
    def _start_near_identity(self) -> None:
        """Make the first residual small, and as dark as the image is.

        With biases a random network adds the same error to a black image as to a bright one, and
        the first thousand steps go into taking it away again.
        """
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif name.endswith("head.weight"):
                parameter.mul_(0.1)


class _Stem(Stage):
    """The first convolution: cheap enough never to store what it makes."""

    def __init__(self, net: DarkDeblurNet) -> None:
        self.net = net
        self.name, self.source = "stem", IMAGE
        self.outputs = (_block_input(net, "encoder", 0, 0),)
        self.halo = net.config.unshuffle_factor

    def __call__(self, given: StageInput) -> dict[str, Tensor]:
        config = self.net.config
        image = given.source
        if image.shape[1] == 3:  # no guides: the picture takes their place
            image = image.repeat(1, 1 + config.guides, 1, 1)
        x = F.pixel_unshuffle(image, config.unshuffle_factor)
        if not torch.is_grad_enabled():
            # Faster in inference, and then everything after it is channels last, too.
            x = x.contiguous(memory_format=torch.channels_last)
        x = given.tile.crop(self.net.stem(x), config.unshuffle_factor)
        return {self.outputs[0].name: x}


class _BlockStage(Stage):
    """A dense-attention block; subclasses add what follows it before the next one.

    Level 0 is the finest, and ``index`` counts the blocks of a level from 0.
    """

    def __init__(self, net: DarkDeblurNet, path: _Path, level: int, index: int) -> None:
        config = net.config
        blocks = getattr(net, path)[level]
        assert isinstance(blocks, nn.ModuleList)
        self.net, self.level, self.block = net, level, cast(DenseAttentionBlock, blocks[index])
        self.downscale = config.unshuffle_factor << level
        self.name = f"{path} {level}" + (f".{index}" if len(blocks) > 1 else "")
        self.source = _block_input(net, path, level, index).name
        self.attention_block = self.block if config.channel_attention else None
        self.halo = config.dense_layers * self.downscale
        if index + 1 < len(blocks):
            self.outputs = (_block_input(net, path, level, index + 1),)

    def __call__(self, given: StageInput) -> dict[str, Tensor]:
        x = self.block(given.source, given.channel_scale)
        return {self.outputs[0].name: given.tile.crop(x, self.downscale)}


class _EncoderStage(_BlockStage):
    """The last block of an encoder level, the gated skip, and the strided convolution."""

    def __init__(self, net: DarkDeblurNet, level: int) -> None:
        super().__init__(net, "encoder", level, net.config.encoder_blocks[level] - 1)
        self.outputs = (
            Feature(f"skip{level}", net.config.widths[level], self.downscale),
            _block_input(net, "encoder", level + 1, 0),
        )
        # Either the gate's convolution or the strided one: both take the block's output.
        self.halo += self.downscale

    def __call__(self, given: StageInput) -> dict[str, Tensor]:
        x = self.block(given.source, given.channel_scale)
        made = {}
        for output, layer in zip(
            self.outputs,
            (self.net.contextual_gates[self.level], self.net.down[self.level]),
            strict=True,
        ):
            if output.name in given.required_outputs:
                made[output.name] = given.tile.crop(layer(x), output.downscale)
        return made


class _DecoderStage(_BlockStage):
    """The last block of a level, the upsampling to the next finer one, and its skip.

    The coarsest level's blocks are the encoder's.
    """

    def __init__(self, net: DarkDeblurNet, path: _Path, level: int) -> None:
        super().__init__(net, path, level, len(getattr(net, path)[level]) - 1)
        self.skip = f"skip{level - 1}"
        self.halo += 2 * self.downscale  # the two convolutions of the upsampling
        self.outputs = (_block_input(net, "decoder", level - 1, 0),)

    def __call__(self, given: StageInput) -> dict[str, Tensor]:
        return {self.outputs[0].name: self._upsampled(given)}

    def _upsampled(self, given: StageInput) -> Tensor:
        x = self.block(given.source, given.channel_scale)
        x = self.net.up[self.level - 1](x)
        x = given.tile.crop(x, self.downscale // 2)
        assert given.skip is not None
        upsampled: Tensor = x + given.skip if torch.is_grad_enabled() else x.add_(given.skip)
        return upsampled


class _LastDecoderStage(_DecoderStage):
    """A decoder stage after which no block follows, as in the paper, but the head."""

    def __init__(self, net: DarkDeblurNet, path: _Path, level: int) -> None:
        super().__init__(net, path, level)
        self.outputs = (Feature(RESIDUAL, net.config.output_channels, 1),)

    def __call__(self, given: StageInput) -> dict[str, Tensor]:
        return {RESIDUAL: _head(self.net, self._upsampled(given))}


class _HeadStage(_BlockStage):
    """The last block of the finest level, and the head."""

    def __init__(self, net: DarkDeblurNet, path: _Path) -> None:
        super().__init__(net, path, 0, len(getattr(net, path)[0]) - 1)
        self.outputs = (Feature(RESIDUAL, net.config.output_channels, 1),)

    def __call__(self, given: StageInput) -> dict[str, Tensor]:
        x = self.block(given.source, given.channel_scale)
        return {RESIDUAL: _head(self.net, given.tile.crop(x, self.downscale))}


def _head(net: DarkDeblurNet, x: Tensor) -> Tensor:
    """Map the finest level's features to the head's channels, in pixels of the image."""
    return F.pixel_shuffle(net.head(x), net.config.unshuffle_factor)


def fused(output: Tensor, image: Tensor) -> Tensor:
    """Return the residual that follows from the head's output and the guides.

    Parameters
    ----------
    output : Tensor
        (N, 3, H, W), the residual itself; or (N, 3 + guides, H, W), with each guide's weight.
    image : Tensor
        Pictures (N, 3, H, W), which take the guides' place, or pictures and guides
        (N, 3 (1 + guides), H, W).

    Returns
    -------
    Tensor
        (N, 3, H, W): what is to be added to the pictures.
    """
    residual, weights = output[:, :3], GUIDE_WEIGHT_SCALE * output[:, 3:]
    if weights.shape[1] == 0 or image.shape[1] == 3:
        return residual
    picture, *guides = torch.split(image, 3, dim=1)
    for index, guide in enumerate(guides):
        residual = residual + weights[:, index : index + 1] * (guide - picture)
    return residual


def _block_input(net: DarkDeblurNet, path: _Path, level: int, index: int) -> Feature:
    """Return the feature map that a block takes: ``"x1"``, or ``"x1.2"`` for the third block."""
    config = net.config
    return Feature(
        f"{'x' if path == 'encoder' else 'y'}{level}" + (f".{index}" if index else ""),
        config.widths[level],
        config.unshuffle_factor << level,
        pooled=config.channel_attention,
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
        Each takes the image or what an earlier one makes; the last makes ``"residual"``, of which
        `fused` makes what is added to the picture.
    """
    config = net.config
    coarsest = config.levels - 1

    def inner(path: _Path, level: int) -> list[Stage]:
        """Return the stages of all blocks of a level but the last."""
        return [
            _BlockStage(net, path, level, index)
            for index in range(len(getattr(net, path)[level]) - 1)
        ]

    stages: list[Stage] = [_Stem(net)]
    for level in range(coarsest):
        stages += [*inner("encoder", level), _EncoderStage(net, level)]
    path: _Path = "encoder"  # the coarsest level's blocks are the end of the encoder
    for level in range(coarsest, 0, -1):
        ends = config.decoder_blocks[level - 1] == 0
        last = _LastDecoderStage if ends else _DecoderStage
        stages += [*inner(path, level), last(net, path, level)]
        if ends:
            return tuple(stages)
        path = "decoder"
    return (*stages, *inner(path, 0), _HeadStage(net, path))


def run_stages(
    stages: tuple[Stage, ...],
    image: Tensor,
    channel_scales: Mapping[str, Tensor] | None = None,
    *,
    pool_batch: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run all stages on whole images.

    Parameters
    ----------
    stages : tuple of Stage
        Stages of one network, in order.
    image : Tensor
        (N, C, H, W), pictures with or without guides, sides multiples of the size multiple.
    channel_scales : mapping of str to Tensor, optional
        Channel scale (1, C, 1, 1) of each stage that has one, by the stage's name. Without them
        every block computes its own.
    pool_batch : bool
        Whether channel scales follow from channel means over the *whole batch*, which are then
        samples of one image, rather than sample by sample.

    Returns
    -------
    residual : Tensor
        Residual, (N, 3, H, W).
    channel_scales : dict of str to Tensor
        Channel scales that were given or pooled over the batch.
    """
    height, width = image.shape[-2:]
    everything = Rectangle(0, 0, height, width)
    features = {IMAGE: image}
    scales = dict(channel_scales or {})
    for index, stage in enumerate(stages):
        source = features[stage.source]
        if stage.attention_block is not None and channel_scales is None and pool_batch:
            mean = source.mean(dim=(0, 2, 3), keepdim=True, dtype=torch.float32)
            scales[stage.name] = stage.channel_scale(mean.to(source.dtype))
        skip = features[stage.skip] if stage.skip is not None else None
        names = {output.name for output in stage.outputs}
        features |= stage(StageInput(source, skip, scales.get(stage.name), everything, names))
        # The largest tensors of all: they are not kept longer than needed.
        del source, skip
        later = stages[index + 1 :]
        needed = {RESIDUAL, *(s.source for s in later), *(s.skip for s in later if s.skip)}
        features = {name: value for name, value in features.items() if name in needed}
    return fused(features[RESIDUAL], image), scales


class FeatureGraph:
    """Which stage makes which feature map, and which stages read it.

    Parameters
    ----------
    stages : tuple of Stage
        Stages of one network, in order.
    image_channels : int
        Channels of the network's input: 3, or more with guides.

    Attributes
    ----------
    features : dict of str to Feature
        All feature maps by name, with the image, and its guides if it has any.
    producer : dict of str to Stage
        The stage that makes a feature map.
    storable : tuple of str
        Feature maps worth storing between stages: all but the stem's, which are made again in
        no time, and the residual.
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
        self.storable = tuple(n for n in self.producer if n not in cheap and n != RESIDUAL)

    def live_features(self, stored: Collection[str]) -> dict[str, set[str]]:
        """Return which feature maps have to be there during each stage, by the stage's name.

        Parameters
        ----------
        stored : collection of str
            Feature maps that are stored; all others are computed again when they are needed,
            from those that are stored. Guides, if they are among them, are there from the first
            stage to the last that reads the image.
        """
        last_use: dict[str, int] = {}
        for index, stage in enumerate(self._stages):
            for name in self._reads(stage, stored):
                last_use[name] = index
        made = {o.name: i for i, stage in enumerate(self._stages) for o in stage.outputs}
        made[GUIDES] = 0
        return {
            stage.name: {n for n in stored if made[n] <= index <= max(last_use.get(n, 0), made[n])}
            for index, stage in enumerate(self._stages)
        }

    def _reads(self, stage: Stage, stored: Collection[str]) -> set[str]:
        names = {stage.source} | ({stage.skip} if stage.skip is not None else set())
        fuses = any(o.name == RESIDUAL and o.channels > 3 for o in stage.outputs)
        found = {GUIDES} & set(stored) if fuses or IMAGE in names else set()
        for name in names - {IMAGE}:
            found |= {name} if name in stored else self._reads(self.producer[name], stored)
        return found
