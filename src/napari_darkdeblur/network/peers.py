"""Architectures of the networks that the paper compares with, at the work of `small`.

Written after their papers, to be trained by the same data and budget as DarkDeblurNet: a
comparison of architectures, not of the weights that their authors published.

- `MultiScaleNet`: coarse to fine. With one set of weights for all scales it is of the kind of SRN
  (Tao, Gao, Shen, Wang and Jia, CVPR 2018), without its recurrent state; with weights of each
  scale's own and without an encoder of the kind of DeepDeblur (Nah, Kim and Lee, CVPR 2017).
- `FeaturePyramidNet`: of the kind of DeblurGAN-v2 (Kupyn, Martyniuk, Wu and Wang, ICCV 2019), with
  the inverted residual blocks of MobileNetV2 (Sandler et al., CVPR 2018), without normalisation.

None of them takes guides, and none pools over the whole image: tiles need nothing but a halo.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag
from torch import Tensor, nn

from .blocks import conv3x3
from .config import Blocks, Channels, GeneratorConfig
from .generator import DarkDeblurNet
from .stages import IMAGE, RESIDUAL, Feature, RestorationNetwork, Stage, StageInput


class _PeerConfig(BaseModel):
    """What all of them have in common: what a tiler needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @property
    def guides(self) -> int:
        """Number of guides: none."""
        return 0

    @property
    def input_channels(self) -> int:
        """Channels of the input."""
        return 3

    @property
    def unshuffle_factor(self) -> int:
        """Side of the square of pixels that the first layer takes as channels."""
        return 1


class MultiScaleConfig(_PeerConfig):
    """Configuration of a `MultiScaleNet`.

    Parameters
    ----------
    architecture : {"multi-scale"}
        Name of the architecture.
    width : int
        Channels of the finest level of the encoder; each level has twice those of the one before.
    levels : int
        Levels of the encoder and decoder within a scale; 1: residual blocks at one resolution, as
        in DeepDeblur.
    blocks : int
        Residual blocks of each level, and as many again on the way back.
    scales : int
        Number of scales, each half as fine as the one before (3 in both papers).
    shared : bool
        Whether all scales have the same weights, as in SRN.
    """

    architecture: Literal["multi-scale"] = "multi-scale"
    width: Channels = 16
    levels: Annotated[int, Field(ge=1, le=5)] = 3
    blocks: Annotated[int, Field(ge=1, le=32)] = 2
    scales: Annotated[int, Field(ge=1, le=4)] = 3
    shared: bool = True

    @classmethod
    def srn(cls) -> MultiScaleConfig:
        """Return the network of SRN's kind."""
        return cls()

    @classmethod
    def deepdeblur(cls) -> MultiScaleConfig:
        """Return the network of DeepDeblur's kind."""
        return cls(width=24, levels=1, blocks=3, shared=False)

    @property
    def size_multiple(self) -> int:
        """Multiple that height and width are padded to."""
        return 1 << (self.levels + self.scales - 2)

    @property
    def receptive_field_radius(self) -> int:
        """Distance in pixels within which the input can influence an output pixel, at most."""
        within = 2 + 4 * self.blocks  # first and last convolution, blocks there and back
        for level in range(1, self.levels):
            downscale = 1 << level
            # Strided convolution, blocks, and upsampling with the pixels that it shuffles.
            within += downscale // 2 + 4 * self.blocks * downscale + 2 * downscale
        # Each scale reads what the coarser one made, two pixels of it around.
        return sum((within << scale) + (4 << scale) for scale in range(self.scales))


class FeaturePyramidConfig(_PeerConfig):
    """Configuration of a `FeaturePyramidNet`.

    Parameters
    ----------
    architecture : {"feature-pyramid"}
        Name of the architecture.
    width : int
        Channels at half of the resolution; those of further levels are multiples of it.
    blocks : tuple of int
        Inverted residual blocks of the levels at 1/4, 1/8, ... of the resolution.
    expansion : int
        Factor by which an inverted residual block is wider inside.
    pyramid : int
        Channels of the pyramid's levels.
    """

    architecture: Literal["feature-pyramid"] = "feature-pyramid"
    width: Channels = 48
    blocks: Annotated[tuple[Blocks, ...], Field(strict=False, min_length=1, max_length=5)] = (
        2, 3, 4,
    )  # fmt: skip
    expansion: Annotated[int, Field(ge=1, le=12)] = 6
    pyramid: Channels = 128

    @classmethod
    def deblurgan_v2(cls) -> FeaturePyramidConfig:
        """Return the network of DeblurGAN-v2's kind."""
        return cls()

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at 1/2, 1/4, 1/8, ... of the resolution."""
        return tuple(self.width * (level + 1) for level in range(len(self.blocks) + 1))

    @property
    def size_multiple(self) -> int:
        """Multiple that height and width are padded to."""
        return 2 << len(self.blocks)

    @property
    def receptive_field_radius(self) -> int:
        """Distance in pixels within which the input can influence an output pixel, at most."""
        radius = 1 + 1  # the first convolution and the last
        for level, blocks in enumerate(self.blocks):
            downscale = 4 << level
            radius += downscale // 2 + max(blocks - 1, 0) * downscale  # depthwise convolutions
            radius += downscale  # nearest neighbours on the way back
        # The pyramid's convolutions at its coarsest level, and those that smooth.
        return radius + 2 * (2 << len(self.blocks)) + 4 + 2 * 2 + 2


def _architecture_of(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("architecture", "darkdeblurnet"))
    return str(getattr(value, "architecture", "darkdeblurnet"))


ARCHITECTURES = ("darkdeblurnet", "multi-scale", "feature-pyramid")
# A network's configuration, of whichever architecture: what says none is DarkDeblurNet's.
NetworkConfig = Annotated[
    Annotated[GeneratorConfig, Tag("darkdeblurnet")]
    | Annotated[MultiScaleConfig, Tag("multi-scale")]
    | Annotated[FeaturePyramidConfig, Tag("feature-pyramid")],
    Discriminator(
        _architecture_of,
        custom_error_type="architecture",
        custom_error_message=f"there is no such architecture, but {', '.join(ARCHITECTURES)}",
    ),
]


class _LocalStage(Stage):
    """All of a network that pools nowhere."""

    def __init__(self, net: _PeerNetwork) -> None:
        self.net = net
        self.name, self.source = "network", IMAGE
        self.outputs = (Feature(RESIDUAL, 3, 1),)
        self.halo = net.config.receptive_field_radius

    def __call__(self, given: StageInput) -> dict[str, Tensor]:
        image = given.source
        if not torch.is_grad_enabled():
            image = image.contiguous(memory_format=torch.channels_last)
        return {RESIDUAL: given.tile.crop(self.net.predict(image), 1)}


class _PeerNetwork(RestorationNetwork):
    """A network without global pooling, which predicts a residual in one piece."""

    config: MultiScaleConfig | FeaturePyramidConfig

    def stages(self) -> tuple[Stage, ...]:
        """Return the network as one stage; see `RestorationNetwork.stages`."""
        return (_LocalStage(self),)

    def predict(self, image: Tensor) -> Tensor:
        """Return the residual of pictures whose sides are multiples of the size multiple."""
        raise NotImplementedError


class ResidualBlock(nn.Module):
    """Two convolutions around a short-cut, without normalisation (Nah et al. 2017)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = conv3x3(channels, channels), conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        result: Tensor = x + self.second(F.relu(self.first(x)))
        return result


def _residual_blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


class _EncoderDecoder(nn.Module):
    """One scale of a `MultiScaleNet`: residual blocks down to the coarsest level and back."""

    def __init__(self, config: MultiScaleConfig) -> None:
        super().__init__()
        widths = [config.width << level for level in range(config.levels)]
        self.stem = conv3x3(6, widths[0])
        self.encoder = nn.ModuleList(_residual_blocks(width, config.blocks) for width in widths)
        self.down = nn.ModuleList(conv3x3(a, b, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(_residual_blocks(width, config.blocks) for width in widths)
        self.head = conv3x3(widths[0], 3)

    def forward(self, image: Tensor) -> Tensor:
        """Map a picture beside the coarser result, (N, 6, H, W), to a residual (N, 3, H, W)."""
        x = F.relu(self.stem(image))
        skips = []
        for level, blocks in enumerate(self.encoder):
            x = blocks(x)
            if level < len(self.down):
                skips.append(x)
                x = F.relu(self.down[level](x))
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](x)
            if level > 0:
                x = F.pixel_shuffle(F.relu(self.up[level - 1](x)), 2) + skips[level - 1]
        residual: Tensor = self.head(x)
        return residual


class MultiScaleNet(_PeerNetwork):
    """Restores the coarsest scale first; each finer one is shown the result of the one before.

    Parameters
    ----------
    config : MultiScaleConfig
        What to build.
    """

    config: MultiScaleConfig

    def __init__(self, config: MultiScaleConfig) -> None:
        super().__init__()
        self.config = config
        count = 1 if config.shared else config.scales
        self.scales = nn.ModuleList(_EncoderDecoder(config) for _ in range(count))
        self._start_near_identity()

    def predict(self, image: Tensor) -> Tensor:
        """Return the residual (N, 3, H, W) of pictures (N, 3, H, W)."""
        coarser: Tensor | None = None
        for scale in reversed(range(self.config.scales)):
            picture = F.avg_pool2d(image, 1 << scale) if scale else image
            before = picture
            if coarser is not None:
                before = F.interpolate(coarser, scale_factor=2.0, mode="bilinear")
            network = self.scales[0 if self.config.shared else scale]
            residual: Tensor = network(torch.cat([picture, before], dim=1))
            coarser = picture + residual
        return residual


class InvertedResidual(nn.Module):
    """A wide depthwise convolution between two narrow 1 × 1 ones (Sandler et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        inside = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        self.expand = nn.Conv2d(inputs, inside, 1)
        self.depthwise = nn.Conv2d(inside, inside, 3, stride, padding=1, groups=inside)
        self.project = nn.Conv2d(inside, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H / stride, W / stride)."""
        y: Tensor = self.project(F.relu6(self.depthwise(F.relu6(self.expand(x)))))
        return x + y if self.shortcut else y


class FeaturePyramidNet(_PeerNetwork):
    """Features of several resolutions, brought to one by a pyramid's way back.

    Parameters
    ----------
    config : FeaturePyramidConfig
        What to build.
    """

    config: FeaturePyramidConfig

    def __init__(self, config: FeaturePyramidConfig) -> None:
        super().__init__()
        self.config = config
        widths, pyramid = config.widths, config.pyramid
        self.stem = conv3x3(3, widths[0], stride=2)
        self.encoder = nn.ModuleList(
            nn.Sequential(
                InvertedResidual(before, width, config.expansion, 2),
                *(
                    InvertedResidual(width, width, config.expansion, 1)
                    for _ in range(max(blocks - 1, 0))
                ),
            )
            for (before, width), blocks in zip(pairwise(widths), config.blocks, strict=True)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, pyramid, 1) for width in widths[1:])
        self.pyramid = nn.ModuleList(
            nn.Sequential(
                conv3x3(pyramid, pyramid // 2), nn.ReLU(), conv3x3(pyramid // 2, pyramid // 2)
            )
            for _ in widths[1:]
        )
        self.smooth = conv3x3(pyramid // 2 * len(config.blocks), pyramid)
        self.refine = conv3x3(pyramid, widths[0])
        self.head = conv3x3(widths[0], 3)
        self._start_near_identity()

    def predict(self, image: Tensor) -> Tensor:
        """Return the residual (N, 3, H, W) of pictures (N, 3, H, W)."""
        half = x = F.relu6(self.stem(image))
        levels = []
        for blocks in self.encoder:
            x = blocks(x)
            levels.append(x)
        above: Tensor | None = None
        made: list[Tensor] = []
        for level in reversed(range(len(levels))):
            here = self.lateral[level](levels[level])
            if above is not None:
                here = here + F.interpolate(above, scale_factor=2.0, mode="nearest")
            above = here
            detail = F.relu(self.pyramid[level](here))
            factor = float(1 << level)
            made.append(F.interpolate(detail, scale_factor=factor) if level else detail)
        x = F.relu(self.smooth(torch.cat(made, dim=1)))
        x = F.relu(self.refine(F.interpolate(x, scale_factor=2.0, mode="nearest"))) + half
        residual: Tensor = self.head(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return residual


def build_network(config: NetworkConfig) -> RestorationNetwork:
    """Return a network of whichever architecture, with random weights.

    Parameters
    ----------
    config : GeneratorConfig, MultiScaleConfig or FeaturePyramidConfig
        What to build.
    """
    if isinstance(config, MultiScaleConfig):
        return MultiScaleNet(config)
    if isinstance(config, FeaturePyramidConfig):
        return FeaturePyramidNet(config)
    return DarkDeblurNet(config)


def describe_network(config: NetworkConfig) -> str:
    """Return in some words what a network looks like, for instance ``"width 32, ..."``."""
    if isinstance(config, GeneratorConfig):
        return f"width {config.width}, growth {config.growth}, {config.stem} stem"
    return f"{config.architecture}, width {config.width}"
