"""One training step: generator, then discriminator; nothing in it waits for the GPU."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .config import TrainConfig
from .discriminator import adversarial_loss
from .distributed import ProcessGroup
from .objective import Objective, gradient_shares
from .perceptual import VggFeatures
from .train_state import TrainState


@dataclass(frozen=True)
class StepResult:
    """What one training step computed.

    Parameters
    ----------
    restored : Tensor
        Restored patches (B, 3, H, W), float32, detached.
    metrics : dict of Tensor
        Scalars on the device, by name: the weighted terms of the objective, their sum
        ``"total"``, ``"gradient_norm"`` where it is clipped, and ``"discriminator"``, the
        discriminator's loss, where the adversarial term is on.
    gradient_shares : dict of float, optional
        See `gradient_shares`; only where they were asked for.
    """

    restored: Tensor
    metrics: dict[str, Tensor]
    gradient_shares: dict[str, float] | None = None


class TrainingStep:
    """The computation of one step on one batch.

    Parameters
    ----------
    config : TrainConfig
        Configuration of the run; its precision must be settled, not ``"auto"``.
    state : TrainState
        Networks and optimizers that the step updates.
    vgg : VggFeatures, optional
        Feature network on the group's device; needed where the feature term is on.
    group : ProcessGroup
        Processes that share the run.
    """

    def __init__(
        self, config: TrainConfig, state: TrainState, vgg: VggFeatures | None, group: ProcessGroup
    ) -> None:
        assert config.precision != "auto"
        self.config = config
        self.state = state
        self._device_type = group.device.type
        networks: list[nn.Module | None] = [state.generator, state.discriminator, vgg]
        if config.compile:
            # All batches have one shape, so one set of kernels is made for each.
            networks = [
                None if network is None else torch.compile(network, dynamic=False)  # type: ignore[misc]
                for network in networks
            ]
        generator, discriminator, features = networks
        assert generator is not None
        assert discriminator is not None
        self._generator = group.wrap_ddp(generator)
        self._discriminator_ddp = group.wrap_ddp(discriminator)
        self._discriminator = discriminator
        self.objective = Objective(config.losses, features, self._autocast)

    def __call__(
        self, step: int, inputs: Tensor, sharp: Tensor, *, with_gradient_shares: bool = False
    ) -> StepResult:
        """Update generator and discriminator by one batch.

        Parameters
        ----------
        step : int
            Number of steps done before, which decides which terms are on.
        inputs : Tensor
            Blurred patches (B, 3, H, W) in 0..1, or with guides (B, 3 (1 + guides), H, W).
        sharp : Tensor
            Sharp patches (B, 3, H, W) in 0..1.
        with_gradient_shares : bool
            Whether to measure how much each term pulls at the output, which costs a backward
            pass for each and waits for the GPU.

        Returns
        -------
        StepResult
            Restored patches and all scalars of the step.
        """
        restored, terms = self.forward(step, inputs, sharp)
        shares = gradient_shares(terms, restored) if with_gradient_shares else None
        metrics = {**terms, **self.update_generator(step, terms)}
        if self.objective.is_adversarial_at(step):
            metrics["discriminator"] = self.update_discriminator(inputs[:, :3], restored, sharp)
        return StepResult(restored.detach(), metrics, shares)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.config.precision == "bf16":
            return torch.autocast(self._device_type, torch.bfloat16)
        return nullcontext()

    def generate(self, inputs: Tensor) -> Tensor:
        """Return the generator's output in float32; the input is that of `__call__`."""
        with self._autocast():
            restored: Tensor = self._generator(inputs)
        return restored.float()

    def forward(self, step: int, inputs: Tensor, sharp: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return restored patches and the weighted terms of the objective, with their graph."""
        restored = self.generate(inputs)
        discriminate = functools.partial(self.discriminate, inputs[:, :3])
        return restored, self.objective(step, restored, sharp, discriminate)

    def discriminate(self, blurred: Tensor, candidate: Tensor) -> Tensor:
        """Return the discriminator's logits, with gradients for the candidate only."""
        # Its weights need none, and in several processes it then has none to share.
        self.state.discriminator.requires_grad_(False)
        with self._autocast():
            logits: Tensor = self._discriminator(blurred, candidate)
        return logits.float()

    def update_generator(self, step: int, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Back-propagate the sum of the terms and update generator and EMA.

        Returns
        -------
        dict of Tensor
            ``"total"``, the sum of the terms, and ``"gradient_norm"`` where it is clipped.
        """
        total = torch.stack(list(terms.values())).sum()
        for optimizer in self.state.generator_optimizers:
            optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        return {"total": total} | self.apply_gradients(step)

    def apply_gradients(self, step: int) -> dict[str, Tensor]:
        """Update the generator by the gradients that it holds, and its EMA after it.

        Returns
        -------
        dict of Tensor
            ``"gradient_norm"`` where it is clipped.
        """
        state, clip_norm = self.state, self.config.optimizer.clip_norm
        measured = {}
        if clip_norm is not None:
            parameters = state.generator.parameters()
            measured["gradient_norm"] = nn.utils.clip_grad_norm_(parameters, clip_norm)
        for optimizer in state.generator_optimizers:
            optimizer.step()
        if state.ema is not None:
            state.ema.update(state.generator, step)
        return measured

    def update_discriminator(self, blurred: Tensor, restored: Tensor, sharp: Tensor) -> Tensor:
        """Update the discriminator by one real and one restored batch; return its loss."""
        self.state.discriminator.requires_grad_(True)
        # Two passes, as in the generator's step: batch normalisation sees one kind at a time.
        with self._autocast():
            real = self._discriminator_ddp(blurred, sharp).float()
            fake = self._discriminator_ddp(blurred, restored.detach()).float()
        loss = adversarial_loss(real, True) + adversarial_loss(fake, False)
        self.state.discriminator_optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.state.discriminator_optimizer.step()
        return loss
