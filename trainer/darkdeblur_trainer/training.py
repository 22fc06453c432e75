"""The training loop: generator step, discriminator step, average, log, validate, save."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from napari_darkdeblur.errors import DarkDeblurError

from .checkpoint import CheckpointFolder
from .config import ConfigError, TrainConfig
from .data.image_cache import default_cache_folder
from .discriminator import adversarial_loss
from .feed import TrainingImages, batches, load_images
from .learners import Learners, learning_rate
from .objective import Objective, gradient_shares
from .parallel import Processes
from .perceptual import VggFeatures, find_vgg
from .records import Recorder, RunFolder
from .synthesis import PairSynthesizer
from .validation import validate, validation_pairs

# What processes agree on at the end of a step, besides the number of a signal.
_GO_ON, _OUT_OF_TIME = -2, -1


class TrainingError(DarkDeblurError, RuntimeError):
    """Training cannot go on; the message is for the user."""


@dataclass(frozen=True)
class FitResult:
    """How a call of `fit` ended.

    Parameters
    ----------
    step : int
        Steps done in all.
    reason : {"finished", "time", "signal"}
        Why it ended: all steps done, ``max_minutes`` over, or told to stop.
    signal_number : int
        The signal, if it was one; else 0.
    """

    step: int
    reason: Literal["finished", "time", "signal"]
    signal_number: int = 0


def fit(
    config: TrainConfig,
    data: Path,
    out: Path,
    *,
    validation_data: Path | None = None,
    vgg_path: Path | None = None,
    init: str | None = None,
    device: str = "auto",
    max_minutes: float | None = None,
    cache_folder: Path | None = None,
    progress: bool = True,
) -> FitResult:
    """Train, or continue a run where it stopped.

    Everything random follows from the configuration's seed and the samples' indices, so a run
    that was stopped (or killed) and continued computes what an uninterrupted one does: on a CPU
    bit for bit, given the same number of threads.

    Parameters
    ----------
    config : TrainConfig
        What to train and how.
    data : pathlib.Path
        Folder of training images.
    out : pathlib.Path
        The run's folder; made, or continued.
    validation_data : pathlib.Path, optional
        Folder of images (in the layout of ``data``; with layout ``"folders"`` the sharp ones,
        those of ``validation.blurred`` being the others) to validate on. Without it, what the
        split list leaves out; without a list, there is no validation.
    vgg_path : pathlib.Path, optional
        VGG weights; see `find_vgg`.
    init : str, optional
        Weights (name or path) to start from instead of random ones.
    device : str
        ``"auto"`` or a torch device.
    max_minutes : float, optional
        Save and stop after so much time.
    cache_folder : pathlib.Path, optional
        Where decoded images are kept.
    progress : bool
        Whether to show a bar (on a terminal) or lines (elsewhere).

    Returns
    -------
    FitResult
        Where and why it stopped.

    Raises
    ------
    ConfigError, DataError, DeviceError, VggError, WeightsError
        Something given is wrong or missing.
    CheckpointError, RecordError
        Something cannot be written or read.
    RunError
        ``out`` holds something else, or a run that differs in what it computes.
    TrainingError
        The loss is no longer finite.
    """
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        processes = stack.enter_context(Processes.join(device))
        stack.enter_context(_torch_settings(processes.device))
        _check_machine(config, processes)
        wants_vgg = config.losses.features.weight > 0
        vgg_file = processes.first_does(lambda: find_vgg(vgg_path)) if wants_vgg else None

        # --- What to learn from
        images = _load_images_once(
            config, data, validation_data, cache_folder or default_cache_folder(),
            processes, progress,
        )  # fmt: skip
        synthesizer = None
        if len(images.caches) == 1:
            synthesizer = PairSynthesizer(config.synthesis, config.seed, processes.device)
        pairs = []
        if images.held_out and processes.is_first:
            pairs = validation_pairs(config.validation, images.held_out)

        # --- What learns, and from which objective
        learners = Learners(config, processes.device, init)
        generator, discriminator = learners.generator, learners.discriminator
        vgg = None
        if vgg_file is not None:
            vgg = VggFeatures(vgg_file)
            vgg.to(processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

        def autocast() -> contextlib.AbstractContextManager[Any]:
            enabled = config.precision == "bf16"
            return torch.autocast(processes.device.type, torch.bfloat16, enabled=enabled)

        objective = Objective(config.losses, vgg, autocast)

        # --- Where it stands
        folder = RunFolder(out)
        checkpoints = CheckpointFolder(folder.checkpoints, config.checkpoint.keep)
        facts = {
            "images": len(images.caches[-1]),
            "megapixels": round(images.megapixels, 1),
            "images_sha256": [cache.sha256 for cache in images.caches],
            "vgg": vgg.name if vgg is not None else None,
            "vgg_sha256": vgg.sha256 if vgg is not None else None,
            # Its name tells enough; the path would tell about the machine.
            "init": Path(init).stem if init is not None else None,
            "init_sha256": learners.init_sha256,
        }

        def open_run() -> dict[str, Any] | None:
            stack.enter_context(folder.locked())
            folder.prepare(config, facts)
            checkpoints.remove_parts()
            return checkpoints.load_latest()

        state = processes.first_does(open_run)
        step, seconds_before = 0, 0.0
        sums: dict[str, Tensor] = {}
        if state is not None:
            learners.load_state_dict(state)
            step, seconds_before = state["step"], state["seconds"]
            sums = {name: value.to(processes.device) for name, value in state["sums"].items()}
        networks: list[nn.Module] = [generator, discriminator]
        if config.compile:
            networks = [torch.compile(network) for network in networks]  # type: ignore[misc]
        run_generator, run_discriminator = (processes.wrap(network) for network in networks)
        run_judge = networks[1]

        # --- Learning
        reason: Literal["finished", "time", "signal"] = "finished"
        received = stack.enter_context(_signals())
        recorder = stack.enter_context(
            Recorder(folder, step, config.steps, enabled=processes.is_first, progress=progress)
        )
        for blurred, sharp in batches(config, images, synthesizer, processes, step):
            rate = learning_rate(config.optimizer, step, config.steps)
            learners.set_learning_rate(rate)

            # Generator. The discriminator only judges; its weights need no gradient.
            discriminator.requires_grad_(False)
            with autocast():
                restored = run_generator(blurred).float()

            def judge(candidate: Tensor, blurred: Tensor = blurred) -> Tensor:
                with autocast():
                    logits: Tensor = run_judge(blurred, candidate)
                return logits.float()

            terms = objective(step, restored, sharp, judge)
            total = torch.stack(list(terms.values())).sum()
            if _due(config.log.gradient_shares, step + 1):
                shares = gradient_shares(terms, restored)
                named = {f"gradient/{name}": share for name, share in shares.items()}
                recorder.scalars(step + 1, named)
            learners.optimizer_g.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            if config.optimizer.clip_norm is not None:
                terms["gradient_norm"] = nn.utils.clip_grad_norm_(
                    generator.parameters(), config.optimizer.clip_norm
                )
            learners.optimizer_g.step()
            if learners.average is not None:
                learners.average.update(generator, step)

            # Discriminator: real and restored apart, as each is apart in the other step.
            discriminator.requires_grad_(True)
            if objective.adversarial_at(step):
                with autocast():
                    real = run_discriminator(blurred, sharp).float()
                    fake = run_discriminator(blurred, restored.detach()).float()
                loss_d = adversarial_loss(real, True) + adversarial_loss(fake, False)
                learners.optimizer_d.zero_grad()
                loss_d.backward()  # type: ignore[no-untyped-call]
                learners.optimizer_d.step()
                terms["discriminator"] = loss_d

            _add(sums, {**terms, "total": total})
            step += 1
            recorder.advance(config.batch_size)

            # --- Records
            validates = _due(config.validation.every, step) or step == config.steps
            if _due(config.log.scalars, step):
                means = _means(sums, processes)
                _require_finite(means, step, checkpoints)
                sums.clear()
                losses = {f"loss/{name}": float(value) for name, value in means.items()}
                recorder.scalars(step, {**losses, "learning_rate": rate}, with_speed=True)
            if _due(config.log.images, step):
                recorder.images(step, "patches", [blurred, restored.detach(), sharp])
            if pairs and validates:
                _require_sound(learners, step, checkpoints)
                measured = validate(learners.released, pairs, processes.device)
                recorder.validation(step, measured)

            # --- Saving and stopping
            seconds = time.monotonic() - started
            late = max_minutes is not None and seconds > 60 * max_minutes
            stop = processes.agree(max([_OUT_OF_TIME if late else _GO_ON, *received]))
            ends = step == config.steps or stop != _GO_ON
            if ends or _due(config.checkpoint.every, step):
                # Checked first: a checkpoint of broken weights would be resumed.
                _require_sound(learners, step, checkpoints)
                sums = _shared(sums, processes)
                recorder.sync()
                if processes.is_first:
                    state = {"step": step, "seconds": seconds_before + seconds, "sums": sums}
                    checkpoints.save(step, state | learners.state_dict())
            if stop != _GO_ON and step < config.steps:
                reason = "time" if stop == _OUT_OF_TIME else "signal"
                break
        return FitResult(step, reason, stop if reason == "signal" else 0)


def _check_machine(config: TrainConfig, processes: Processes) -> None:
    if config.batch_size % processes.world_size:
        raise ConfigError(
            f"batch_size {config.batch_size} cannot be shared by {processes.world_size} processes."
        )
    if config.precision == "bf16" and processes.device.type == "cpu":
        raise ConfigError(
            "precision bf16 needs a GPU: most CPUs compute it a hundred times slower than fp32."
        )


def _load_images_once(
    config: TrainConfig,
    data: Path,
    validation_data: Path | None,
    cache_folder: Path,
    processes: Processes,
    progress: bool,
) -> TrainingImages:
    """Load a run's images; one process decodes them, the others then find its cache."""

    def load(show: bool) -> TrainingImages:
        images = load_images(config, data, cache_folder, show)
        if validation_data is None:
            return images
        # The split list is of the training images.
        whole = config.data.model_copy(update={"split": None})
        others = config.model_copy(update={"data": whole})
        held_out = load_images(
            others, validation_data, cache_folder, show, blurred=config.blurred_for_validation()
        )
        return TrainingImages(images.caches, held_out.caches)

    def decode() -> None:
        load(progress)

    if processes.world_size > 1:
        processes.first_does(decode)
    return load(progress and processes.is_first)


def _add(sums: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    """Add to sums (and, as "NAME#", to counts) on the device: reading would wait for the GPU."""
    for name, value in values.items():
        value = value.detach()
        sums[name] = sums[name] + value if name in sums else value
        one = torch.ones_like(value)
        sums[f"{name}#"] = sums[f"{name}#"] + one if f"{name}#" in sums else one


def _due(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0


def _shared(sums: dict[str, Tensor], processes: Processes) -> dict[str, Tensor]:
    """Return the sums averaged over processes, so that each can go on from them."""
    if not sums or processes.world_size == 1:
        return sums
    values = processes.mean(torch.stack(list(sums.values())))
    return dict(zip(sums, values.unbind(), strict=True))


def _means(sums: dict[str, Tensor], processes: Processes) -> dict[str, Tensor]:
    """Return the means since the last call, over all processes, on the CPU."""
    names = [name for name in sums if not name.endswith("#")]
    values = torch.stack([sums[name] / sums[f"{name}#"] for name in names])
    return dict(zip(names, processes.mean(values).cpu(), strict=True))


def _require_finite(values: dict[str, Tensor], step: int, checkpoints: CheckpointFolder) -> None:
    broken = [name for name, value in values.items() if not torch.isfinite(value).all()]
    if broken:
        raise TrainingError(_no_number(broken[0], step, checkpoints))


def _require_sound(learners: Learners, step: int, checkpoints: CheckpointFolder) -> None:
    broken = learners.broken()
    if broken is not None:
        raise TrainingError(_no_number(broken, step, checkpoints))


def _no_number(name: str, step: int, checkpoints: CheckpointFolder) -> str:
    kept = checkpoints.steps()
    last = f"The last good checkpoint is step {kept[-1]}" if kept else "No checkpoint exists yet"
    return (
        f"By step {step}, {name!r} is no longer a finite number. {last}. Usually a lower "
        "optimizer.learning_rate or an optimizer.clip_norm (0.1, say) helps, in a new run; "
        "--init lets it begin with the weights that darkdeblur-train export takes from this one."
    )


@contextlib.contextmanager
def _torch_settings(device: torch.device) -> Iterator[None]:
    """Set torch up: on a CPU the same bits every time, on a GPU all the speed there is."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    precision = torch.get_float32_matmul_precision()
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
    else:
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            "The GPU has too little memory for this training; lower batch_size or patch, or use "
            "precision=bf16."
        ) from error
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.benchmark = benchmark
        torch.set_float32_matmul_precision(precision)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of dying of them; the second one kills as usual."""
    received: list[int] = []
    previous: dict[int, Any] = {}
    number: int

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, previous[number])

    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            previous[number] = signal.signal(number, note)
    except ValueError:  # not in the main thread: the caller's signals are the caller's
        pass
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
