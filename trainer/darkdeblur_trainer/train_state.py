"""Networks, EMA and optimizers: the resumable training state."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from napari_darkdeblur.network import (
    DarkDeblurNet,
    GeneratorConfig,
    RestorationNetwork,
    build_network,
    describe_network,
    load_weights,
)
from napari_darkdeblur.network.blocks import ContextualGate, Upsample

from .config import ConfigError, OptimizerConfig, TrainConfig
from .discriminator import Discriminator
from .optimizers import build_optimizers

Network = TypeVar("Network", bound=nn.Module)

# Smoothing over the first steps, so that the average is not held back by its random start.
_EMA_WARMUP = 10
# Logit of a gate that is open: 0.999.
_OPEN = 7.0


class ExponentialMovingAverage(Generic[Network]):
    """Exponential moving average (EMA) of a network's parameters.

    Not torch's ``AveragedModel``, whose counter is read from the device in every step, and whose
    decay is the same in the first step and the last.

    Parameters
    ----------
    network : nn.Module
        Network that is averaged; it is copied and must have no buffers.
    decay : float
        Weight of the past in each update; smaller during the first steps.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network: Network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Average in the network's parameters after a step, counted from 0."""
        decay = min(self.decay, (1 + step) / (_EMA_WARMUP + step))
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), 1 - decay)


class TrainState:
    """Generator and discriminator with their optimizers and the generator's EMA.

    Parameters
    ----------
    config : TrainConfig
        Configuration of the run: sizes, seed and optimizer settings.
    device : torch.device
        Device on which the networks are.
    init : str, optional
        Weights (name or path) that the generator starts from instead of random ones; those of a
        network with fewer blocks, levels or guides are grown into it, see `grow_into`.

    Raises
    ------
    ConfigError
        The weights cannot be grown into the configuration's network; see `grow_into`.
    WeightsError, FileNotFoundError
        The weights cannot be loaded.
    """

    def __init__(self, config: TrainConfig, device: torch.device, init: str | None = None) -> None:
        torch.manual_seed(config.seed)
        self.generator = build_network(config.generator)
        self.discriminator = Discriminator(config.discriminator_width)
        self.init_sha256: str | None = None
        if init is not None:
            loaded = load_weights(init)
            try:
                grow_into(self.generator, loaded.network)
            except ValueError as error:
                raise ConfigError(f"The weights {init} do not fit: {error}") from error
            self.init_sha256 = loaded.sha256
        for network in (self.generator, self.discriminator):
            # Faster on GPUs and CPUs alike: 15 % of a step of `small` on two AVX2 cores.
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        decay = config.ema_decay
        self.ema = ExponentialMovingAverage(self.generator, decay) if decay is not None else None
        settings = config.optimizer
        self.generator_optimizers = build_optimizers(
            self.generator.parameters(), settings.method, betas=settings.betas
        )
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), betas=settings.betas, fused=True
        )

    @property
    def inference_network(self) -> nn.Module:
        """The generator that is validated and exported: its EMA, if one is kept."""
        return self.generator if self.ema is None else self.ema.network

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the learning rate of all optimizers."""
        for optimizer in (*self.generator_optimizers, self.discriminator_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate

    def first_nonfinite(self) -> str | None:
        """Return the name of the first tensor that is not finite, or None."""
        tensors = {}
        for part, state in self.state_dict().items():
            for name, value in _tensors(state):
                tensors[f"{part}.{name}"] = value
        # One question for all of them: each answer would wait for the GPU.
        device = next(self.generator.parameters()).device
        finite = torch.stack([torch.isfinite(v).all().to(device) for v in tensors.values()])
        return next((n for n, ok in zip(tensors, finite.tolist(), strict=True) if not ok), None)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that resuming needs."""
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "generator_optimizers": [o.state_dict() for o in self.generator_optimizers],
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "ema": {} if self.ema is None else self.ema.network.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        pairs = zip(self.generator_optimizers, state["generator_optimizers"], strict=True)
        for optimizer, saved in pairs:
            optimizer.load_state_dict(saved)
        self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
        if self.ema is not None:
            self.ema.network.load_state_dict(state["ema"])


@torch.no_grad()
def grow_into(target: RestorationNetwork, source: RestorationNetwork) -> None:
    """Start a network from the weights of a smaller one of the same widths.

    Blocks that the smaller one does not have begin as the identity: their last convolution is
    zero, and the gate of their short-cut open. Guides begin without influence. So the larger
    network computes what the smaller one does, to within a thousandth. Not so with more levels:
    what passes to a new coarsest level through a contextual gate has negative values weakened,
    which training has to mend.

    Parameters
    ----------
    target : RestorationNetwork
        Network that takes the weights over.
    source : RestorationNetwork
        Network whose weights are taken over.

    Raises
    ------
    ValueError
        The networks differ in more than blocks, levels and guides, or the source has more of
        them.
    """
    new, old = target.config, source.config
    if not (isinstance(target, DarkDeblurNet) and isinstance(source, DarkDeblurNet)):
        if new != old:
            raise ValueError(
                f"their network is {describe_network(old)}, the configuration's "
                f"{describe_network(new)}; networks of other architectures do not grow."
            )
        target.load_state_dict(source.state_dict())
        return
    _require_growth(old, new)
    for part in ("encoder", "decoder"):
        theirs = getattr(old, f"{part}_blocks")
        for level, blocks in enumerate(getattr(target, part)):
            for block in blocks[theirs[level] if level < len(theirs) else 0 :]:
                block.convs[-1].weight.zero_()
                block.convs[-1].bias.zero_()
                if new.channel_attention:
                    block.shortcut.excite.weight.zero_()
                    block.shortcut.excite.bias.fill_(_OPEN)
    for level in range(old.levels - 1, new.levels - 1):
        gate, up = target.contextual_gates[level], target.up[level]
        if isinstance(gate, ContextualGate):
            channels = gate.conv.in_channels
            bias = gate.conv.bias
            assert bias is not None
            gate.conv.weight.zero_()
            nn.init.dirac_(gate.conv.weight[:channels])
            bias[channels:] = _OPEN
        assert isinstance(up, Upsample)
        up.expand.weight.zero_()
    state = source.state_dict()
    # Stem and head fold each channel's square of pixels into channels that lie side by side: those
    # of further guides, and of their weights, come last.
    for name in ("stem.weight", "head.weight", "head.bias"):
        larger = torch.zeros_like(target.get_parameter(name))
        larger[tuple(slice(size) for size in state[name].shape)] = state[name]
        state[name] = larger
    target.load_state_dict({**target.state_dict(), **state})


def _require_growth(old: GeneratorConfig, new: GeneratorConfig) -> None:
    """Refuse a network that has less than the old one, or differs in what does not grow."""
    grown = {"encoder_blocks", "decoder_blocks", "levels", "guides", "fuse_guides"}
    for name in sorted(set(type(new).model_fields) - grown):
        if getattr(new, name) != getattr(old, name):
            raise ValueError(
                f"their network has {name} {getattr(old, name)!r}, the configuration's "
                f"{getattr(new, name)!r}."
            )
    for name in ("levels", "guides", "fuse_guides"):
        if getattr(old, name) > getattr(new, name):
            raise ValueError(
                f"their network has {getattr(old, name)} {name}, the configuration's only "
                f"{getattr(new, name)}."
            )
    for part in ("encoder", "decoder"):
        counts = zip(getattr(old, f"{part}_blocks"), getattr(new, f"{part}_blocks"), strict=False)
        for level, (theirs, ours) in enumerate(counts):
            if theirs > ours:
                raise ValueError(
                    f"their network has {theirs} blocks at {part} level {level}, the "
                    f"configuration's only {ours}."
                )


def _tensors(state: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of nested dictionaries and lists with its name."""
    if isinstance(state, Tensor):
        yield prefix.removeprefix("."), state
    elif isinstance(state, (dict, list)):
        for key, value in state.items() if isinstance(state, dict) else enumerate(state):
            yield from _tensors(value, f"{prefix}.{key}")


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Return the learning rate of a step, counted from 0, of a run of so many steps."""
    peak = config.learning_rate
    if step < config.warmup_steps:
        return peak * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return peak
    progress = (step - config.warmup_steps) / max(steps - config.warmup_steps, 1)
    low = config.final_learning_rate
    return low + (peak - low) * (1 + math.cos(math.pi * progress)) / 2
