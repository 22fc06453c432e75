"""One training step: generator, then discriminator; nothing in it waits for the GPU."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from .config import TrainConfig
from .discriminator import adversarial_loss
from .learners import Learners
from .objective import Objective
from .parallel import Processes
from .perceptual import VggFeatures


class TrainingStep:
    """What is done with a batch.

    Parameters
    ----------
    config : TrainConfig
        Of the run; its precision must be settled, not ``"auto"``.
    learners : Learners
        What learns.
    vgg : VggFeatures, optional
        On the processes' device; needed when the feature term is on.
    processes : Processes
        Those that share the run.
    """

    def __init__(
        self,
        config: TrainConfig,
        learners: Learners,
        vgg: VggFeatures | None,
        processes: Processes,
    ) -> None:
        assert config.precision != "auto"
        self.config = config
        self.learners = learners
        self._device_type = processes.device.type
        networks: list[nn.Module | None] = [learners.generator, learners.discriminator, vgg]
        if config.compile:
            # All batches have one shape, so one set of kernels is made for each.
            networks = [
                None if network is None else torch.compile(network, dynamic=False)  # type: ignore[misc]
                for network in networks
            ]
        generator, discriminator, features = networks
        assert generator is not None
        assert discriminator is not None
        self._generator = processes.wrap(generator)
        self._discriminator = processes.wrap(discriminator)
        self._judge = discriminator
        self.objective = Objective(config.losses, features, self._autocast)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.config.precision == "bf16":
            return torch.autocast(self._device_type, torch.bfloat16)
        return nullcontext()

    def generate(self, given: Tensor) -> Tensor:
        """Return what the generator makes of a batch, in fp32; see `restore`."""
        with self._autocast():
            restored: Tensor = self._generator(given)
        return restored.float()

    def restore(self, step: int, given: Tensor, sharp: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Restore a batch, and judge the result.

        Parameters
        ----------
        step : int
            Decides which terms are on.
        given : Tensor
            Blurred pictures (B, 3, H, W) in 0..1, or with guides (B, 3 (1 + guides), H, W).
        sharp : Tensor
            (B, 3, H, W) in 0..1.

        Returns
        -------
        restored : Tensor
            (B, 3, H, W) fp32.
        terms : dict of Tensor
            What the generator minimises the sum of; see `Objective`.
        """
        restored = self.generate(given)
        judge = functools.partial(self.judge, given[:, :3])
        return restored, self.objective(step, restored, sharp, judge)

    def judge(self, blurred: Tensor, candidate: Tensor) -> Tensor:
        """Return the discriminator's logits, with gradients for the candidate only."""
        # Its weights need none, and in several processes it then has none to share.
        self.learners.discriminator.requires_grad_(False)
        with self._autocast():
            logits: Tensor = self._judge(blurred, candidate)
        return logits.float()

    def update_generator(self, step: int, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Let the generator learn from the terms, and its average follow.

        Returns
        -------
        dict of Tensor
            ``"total"``, the sum of the terms, and, if it is limited, ``"gradient_norm"``.
        """
        measured = {"total": torch.stack(list(terms.values())).sum()}
        self.learners.optimizer_g.zero_grad()
        measured["total"].backward()  # type: ignore[no-untyped-call]
        return measured | self.follow_gradient(step)

    def follow_gradient(self, step: int) -> dict[str, Tensor]:
        """Move the generator along the gradient that it holds, and its average after it.

        Returns
        -------
        dict of Tensor
            ``"gradient_norm"``, if it is limited.
        """
        learners, limit = self.learners, self.config.optimizer.clip_norm
        measured = {}
        if limit is not None:
            parameters = learners.generator.parameters()
            measured["gradient_norm"] = nn.utils.clip_grad_norm_(parameters, limit)
        learners.optimizer_g.step()
        if learners.average is not None:
            learners.average.update(learners.generator, step)
        return measured

    def update_discriminator(self, blurred: Tensor, restored: Tensor, sharp: Tensor) -> Tensor:
        """Let the discriminator learn to tell sharp from restored; its loss is returned."""
        self.learners.discriminator.requires_grad_(True)
        # Real and restored apart, as each is apart in the generator's step.
        with self._autocast():
            real = self._discriminator(blurred, sharp).float()
            fake = self._discriminator(blurred, restored.detach()).float()
        loss = adversarial_loss(real, True) + adversarial_loss(fake, False)
        self.learners.optimizer_d.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.learners.optimizer_d.step()
        return loss

    def __call__(self, step: int, given: Tensor, sharp: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Do a whole step; return the restored batch and everything that was measured."""
        restored, terms = self.restore(step, given, sharp)
        measured = self.update_generator(step, terms)
        if self.objective.adversarial_at(step):
            measured["discriminator"] = self.update_discriminator(given[:, :3], restored, sharp)
        return restored, {**terms, **measured}
