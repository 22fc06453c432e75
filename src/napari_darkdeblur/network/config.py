"""What the generator looks like: the numbers from which a network is rebuilt."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Side of the square of pixels that each stem unshuffles into channels.
_UNSHUFFLE_FACTORS = {"plain": 1, "unshuffle": 2, "unshuffle4": 4}

# Bounds exist because a configuration may come from a file that somebody else wrote:
# an absurd width must be refused before it is allocated.
Channels = Annotated[int, Field(ge=4, le=512)]
Blocks = Annotated[int, Field(ge=0, le=32)]


class GeneratorConfig(BaseModel):
    """Configuration of the DarkDeblurNet generator (paper, section 2.1).

    Parameters
    ----------
    architecture : {"darkdeblurnet"}
        Name of the architecture; see `peers` for others.
    width : int
        Channels of the finest feature level; level ``i`` (from 0) has
        ``(i + 1) * width`` of them. The paper's levels are 64, 128, 192 and 256.
    growth : int
        Channels that each convolution of a dense-attention block adds.
    dense_layers : int
        Convolutions in a dense-attention block (paper: 5).
    levels : int
        Feature levels of the pyramid (paper: 4), each half as fine as the one above.
    stem : {"plain", "unshuffle", "unshuffle4"}
        ``"plain"`` works at full resolution, as the paper does. ``"unshuffle"`` is a
        pixel unshuffle of 2 × 2 pixels into channels, undone by the head: a quarter of the
        work and twice the receptive field at the same width. ``"unshuffle4"`` takes 4 × 4.
    encoder_blocks : tuple of int
        Number of dense-attention blocks of each encoder level, finest first; at least 1 each.
        If not given, 1 each, as in the paper. Blocks at coarse levels cost little
        and have a wide receptive field.
    decoder_blocks : tuple of int
        Number of dense-attention blocks of each decoder level but the coarsest, finest first; at
        least 1 each, but 0 is allowed for the finest. If not given, none at the finest level and
        1 at the others, as in the paper.
    guides : int
        Number of images that the network is given beside the picture: versions of it that were
        deconvolved with a known blur kernel, see `deconvolved`. 0: the picture alone, as in
        the paper.
    fuse_guides : bool
        Whether the network says, pixel by pixel, also how much of each guide's difference from
        the picture is added to the result. Without it all of a guide has to pass through the
        network's features.
    channel_attention : bool
        Squeeze-excitation residual of the dense-attention block (eqs. 2-5). Off, the
        block's plain input is the residual (Table 4, "Base" and "CG").
    contextual_gate : bool
        Gate on the skip connections (eqs. 6-8). Off, skips pass unchanged (Table 4,
        "Base" and "CA").
    attention_reduction : int
        Factor by which the squeeze-excitation bottleneck is narrower than its level.
    negative_slope : float
        Slope of LeakyReLU below zero. The paper gives none; 0.2 is usual in restoration.

    Raises
    ------
    pydantic.ValidationError
        A value out of range, of the wrong type, or an unknown key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    # Files from before there were others do not have it, and readers of that time refuse it.
    architecture: Literal["darkdeblurnet"] = Field("darkdeblurnet", exclude=True)
    width: Channels = 64
    growth: Channels = 32
    dense_layers: Annotated[int, Field(ge=2, le=16)] = 5
    levels: Annotated[int, Field(ge=1, le=6)] = 4
    stem: Literal["plain", "unshuffle", "unshuffle4"] = "plain"
    encoder_blocks: tuple[Blocks, ...] = ()
    decoder_blocks: tuple[Blocks, ...] = ()
    guides: Annotated[int, Field(ge=0, le=8)] = 0
    fuse_guides: bool = False
    channel_attention: bool = True
    contextual_gate: bool = True
    attention_reduction: Annotated[int, Field(ge=1, le=512)] = 16
    negative_slope: Annotated[float, Field(ge=0, lt=1)] = 0.2

    @model_validator(mode="before")
    @classmethod
    def _fill_in_blocks(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        levels = given.get("levels", 4)
        if not isinstance(levels, int):
            return given  # refused with the right message by the field itself
        encoder = given.get("encoder_blocks") or (1,) * levels
        decoder = given.get("decoder_blocks") or (0, *(1,) * (levels - 2))[: levels - 1]
        # YAML has lists only, which strict validation would refuse.
        return {**given, "encoder_blocks": _as_tuple(encoder), "decoder_blocks": _as_tuple(decoder)}

    @model_validator(mode="after")
    def _blocks_fit_the_levels(self) -> GeneratorConfig:
        for name, blocks, count, least in (
            ("encoder_blocks", self.encoder_blocks, self.levels, 1),
            ("decoder_blocks", self.decoder_blocks, self.levels - 1, 0),
        ):
            if len(blocks) != count:
                raise ValueError(
                    f"{name} has {len(blocks)} numbers, but {self.levels} levels take {count}"
                )
            if min(blocks, default=1) < least or min(blocks[1:], default=1) < 1:
                raise ValueError(f"{name} {list(blocks)}: a level has at least one block")
        return self

    @classmethod
    def paper(cls) -> GeneratorConfig:
        """Return the paper's network: 16.0 GMAC for 128 × 128 pixels, 8.7 M parameters."""
        return cls()

    @classmethod
    def small(cls) -> GeneratorConfig:
        """Return the network for CPUs: about 1/13 of the paper's work, and five guides.

        It works at half of the resolution, and where a block costs little, at the two coarsest
        levels, it has more of them.
        """
        return cls(
            width=32,
            growth=16,
            stem="unshuffle",
            encoder_blocks=(1, 1, 2, 4),
            decoder_blocks=(0, 1, 2),
            guides=5,
            fuse_guides=True,
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of every level, finest first."""
        return tuple(self.width * (level + 1) for level in range(self.levels))

    @property
    def input_channels(self) -> int:
        """Channels of the input: three of the picture, and three of each guide."""
        return 3 * (1 + self.guides)

    @property
    def output_channels(self) -> int:
        """Channels of the head: three of the residual, and each guide's weight if it fuses them."""
        return 3 + (self.guides if self.fuse_guides else 0)

    @property
    def unshuffle_factor(self) -> int:
        """Side of the square of pixels that the stem unshuffles into channels."""
        return _UNSHUFFLE_FACTORS[self.stem]

    @property
    def size_multiple(self) -> int:
        """Multiple that height and width are padded to: the downscale of the coarsest level."""
        return self.unshuffle_factor << (self.levels - 1)

    @property
    def receptive_field_radius(self) -> int:
        """Distance in pixels within which the input can influence an output pixel.

        Global averages aside. In pixels of the image, a 3 × 3 convolution on a map of downscale
        ``s`` adds ``s``; so does a pixel shuffle to such a map, since it lets the neighbour in.
        """
        radius = 0
        for level in range(self.levels):
            downscale = self.unshuffle_factor * 2**level
            coarsest = level == self.levels - 1
            radius += self.encoder_blocks[level] * self.dense_layers * downscale
            if not coarsest:
                radius += downscale  # stride-2 convolution
                radius += downscale  # pixel shuffle back to this level
                radius += self.decoder_blocks[level] * self.dense_layers * downscale
            if level > 0:
                radius += 2 * downscale  # the two convolutions of the upsampling
        radius += self.unshuffle_factor  # stem convolution
        radius += self.unshuffle_factor - 1  # pixel shuffle of the head
        return radius


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
