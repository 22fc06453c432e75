"""The DarkDeblurNet generator."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from torch import nn

from .blocks import ContextualGate, DenseAttentionBlock, Upsample, conv3x3
from .config import GeneratorConfig
from .stages import RestorationNetwork, Stage, stages_of


class DarkDeblurNet(RestorationNetwork):
    """Generator of the paper's section 2.1: a feature pyramid that predicts a residual.

    The encoder passes every level but the coarsest through a contextual gate to the
    decoder. What comes out of the last level is added to the input; nothing bounds the sum,
    so the network can return any image unchanged, black and white included. Callers that
    need 0..1 clamp.

    Parameters
    ----------
    config : GeneratorConfig
        What to build. ``net.config`` keeps it, ``net.config.size_multiple`` and
        ``net.config.receptive_field_radius`` are what a tiler needs to know.

    Examples
    --------
    >>> import torch
    >>> net = DarkDeblurNet(GeneratorConfig.small())
    >>> net(torch.rand(1, 3, 7, 513)).shape
    torch.Size([1, 3, 7, 513])
    """

    config: GeneratorConfig

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        area = config.unshuffle_factor**2
        self.stem = conv3x3(config.input_channels * area, widths[0])
        self.encoder = nn.ModuleList(
            self._blocks(width, count)
            for width, count in zip(widths, config.encoder_blocks, strict=True)
        )
        self.down = nn.ModuleList(
            conv3x3(fine, coarse, stride=2) for fine, coarse in pairwise(widths)
        )
        self.contextual_gates = nn.ModuleList(
            ContextualGate(width, config.negative_slope)
            if config.contextual_gate
            else nn.Identity()
            for width in widths[:-1]
        )
        self.up = nn.ModuleList(
            Upsample(coarse, fine, config.negative_slope) for fine, coarse in pairwise(widths)
        )
        self.decoder = nn.ModuleList(
            self._blocks(width, count)
            for width, count in zip(widths[:-1], config.decoder_blocks, strict=True)
        )
        self.head = nn.Conv2d(widths[0], config.output_channels * area, kernel_size=1)
        self._start_near_identity()
        self.register_load_state_dict_pre_hook(_rename_old_tensors)  # type: ignore[no-untyped-call]

    def _blocks(self, channels: int, count: int) -> nn.ModuleList:
        """Return the dense-attention blocks of a level."""
        config = self.config
        return nn.ModuleList(
            DenseAttentionBlock(
                channels,
                growth=config.growth,
                layers=config.dense_layers,
                attention=config.channel_attention,
                reduction=config.attention_reduction,
                negative_slope=config.negative_slope,
            )
            for _ in range(count)
        )

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages between its poolings; see `RestorationNetwork.stages`."""
        return stages_of(self)


def current_name(name: str) -> str:
    """Return what a tensor of a network's state is called today.

    In schema version 1 of weights files a level was one block, not a list of them; up to version
    2 the skips' gates were ``gates``.
    """
    name = re.sub(r"^(encoder|decoder)\.(\d+)\.(?!\d)", r"\1.\2.0.", name)
    return re.sub(r"^gates\.", "contextual_gates.", name)


def _rename_old_tensors(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Give the tensors of an older state, for instance a checkpoint's, their current names."""
    for name in [name for name in state if name.startswith(prefix)]:
        current = prefix + current_name(name.removeprefix(prefix))
        if current != name:
            state[current] = state.pop(name)
