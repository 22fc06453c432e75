"""The training loop: generator step, discriminator step, average, log, validate, save."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from napari_darkdeblur.errors import DarkDeblurError

from .checkpoint import CheckpointFolder
from .config import ConfigError, TrainConfig
from .data.image_cache import default_cache_folder
from .export import write_weights
from .feed import TrainingImages, batches, load_images
from .learners import Learners, learning_rate
from .objective import gradient_shares
from .parallel import Processes
from .perceptual import VggFeatures, find_vgg
from .precision import computes_bf16, measure_precisions
from .records import Recorder, RunFolder
from .running_means import RunningMeans
from .signals import collected_signals
from .step import TrainingStep
from .synthesis import PairSynthesizer
from .validation import validate, validation_pairs

# What processes agree on at the end of a step, besides the number of a signal.
_GO_ON, _SAVE, _OUT_OF_TIME = -3, -2, -1


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
    bit for bit, given the same number of threads. With precision ``"auto"``, a run that goes on
    keeps what was measured to be the faster one when it began.

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
        stack.enter_context(torch_settings(processes.device))
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
            synthesizer = PairSynthesizer(
                config.synthesis, config.seed, processes.device, compile=config.compile
            )
        pairs = []
        if images.held_out and processes.is_first:
            pairs = validation_pairs(config.validation, images.held_out)

        # --- What learns, from which objective, in which precision
        learners = Learners(config, processes.device, init)
        vgg = None
        if vgg_file is not None:
            vgg = VggFeatures(vgg_file)
            vgg.to(processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        folder = RunFolder(out)
        measured: dict[str, Any] = {}
        if config.precision == "auto":
            config, measured = _settle_precision(
                config, folder, images, synthesizer, vgg, processes
            )
        if progress and processes.is_first:
            _tell_precision(config, measured, processes.device)
        training_step = TrainingStep(config, learners, vgg, processes)

        # --- Where it stands
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
            folder.prepare(config, facts, measured)
            checkpoints.remove_parts()
            return checkpoints.load_latest()

        state = processes.first_does(open_run)
        step, seconds_before = 0, 0.0
        if state is not None:
            learners.load_state_dict(state)
            step, seconds_before = state["step"], state["seconds"]
        means = RunningMeans(state["sums"] if state is not None else None, processes.device)

        # --- Learning
        reason: Literal["finished", "time", "signal"] = "finished"
        received = stack.enter_context(collected_signals())
        recorder = stack.enter_context(
            Recorder(folder, step, config.steps, enabled=processes.is_first, progress=progress)
        )
        saved = started
        for given, sharp in batches(config, images, synthesizer, processes, step):
            rate = learning_rate(config.optimizer, step, config.steps)
            learners.set_learning_rate(rate)
            restored, terms = training_step.restore(step, given, sharp)
            if _due(config.log.gradient_shares, step + 1):
                shares = gradient_shares(terms, restored)
                named = {f"gradient/{name}": share for name, share in shares.items()}
                recorder.scalars(step + 1, named)
            measured = training_step.update_generator(step, terms)
            if training_step.objective.adversarial_at(step):
                measured["discriminator"] = training_step.update_discriminator(
                    given[:, :3], restored, sharp
                )
            means.add({**terms, **measured})
            step += 1
            recorder.advance(config.batch_size)

            # --- Records
            validates = _due(config.validation.every, step) or step == config.steps
            if _due(config.log.scalars, step):
                values = means.take(processes)
                _require_finite(values, step, checkpoints)
                losses = {f"loss/{name}": float(value) for name, value in values.items()}
                recorder.scalars(step, {**losses, "learning_rate": rate}, with_speed=True)
            if _due(config.log.images, step):
                recorder.images(step, "patches", [given[:, :3], restored.detach(), sharp])
            if pairs and validates:
                _require_sound(learners, step, checkpoints)
                recorder.validation(step, validate(learners.released, pairs, processes.device))

            # --- Saving and stopping
            now = time.monotonic()
            wish = _GO_ON
            if _over(config.checkpoint.minutes, now - saved):
                wish = _SAVE
            if _over(max_minutes, now - started):
                wish = _OUT_OF_TIME
            stop = processes.agree(max([wish, *received]))
            ends = step == config.steps or stop > _SAVE
            if ends or stop == _SAVE or _due(config.checkpoint.every, step):
                # Counted from here: what an interruption costs is the time since this step.
                saved = now
                # Checked first: a checkpoint of broken weights would be resumed.
                _require_sound(learners, step, checkpoints)
                sums = means.state_dict(processes)
                recorder.sync()
                if processes.is_first:
                    seconds = seconds_before + now - started
                    state = {"step": step, "seconds": seconds, "sums": sums}
                    state |= learners.state_dict()
                    checkpoints.save(step, state)
                    write_weights(folder, config, state)
            if stop > _SAVE and step < config.steps:
                reason = "time" if stop == _OUT_OF_TIME else "signal"
                break
        return FitResult(step, reason, stop if reason == "signal" else 0)


def _check_machine(config: TrainConfig, processes: Processes) -> None:
    if config.batch_size % processes.world_size:
        raise ConfigError(
            f"batch_size {config.batch_size} cannot be shared by {processes.world_size} processes."
        )


def _settle_precision(
    config: TrainConfig,
    folder: RunFolder,
    images: TrainingImages,
    synthesizer: PairSynthesizer | None,
    vgg: VggFeatures | None,
    processes: Processes,
) -> tuple[TrainConfig, dict[str, Any]]:
    """Return the configuration with a precision, and what was measured to find it."""
    measured: dict[str, Any] = {}
    # What a run began with it keeps: it would not go on exactly with the other.
    precision = processes.first_does(folder.precision)
    if precision is None:
        alone = config.data.model_copy(update={"workers": 0})
        feed = batches(config.model_copy(update={"data": alone}), images, synthesizer, processes, 0)
        seconds = measure_precisions(config, next(feed), vgg, processes)
        precision = min(seconds, key=seconds.__getitem__, default="fp32")
        measured = {"seconds_per_step": {name: round(s, 5) for name, s in seconds.items()}}
    return config.model_copy(update={"precision": precision}), measured


def _tell_precision(config: TrainConfig, measured: dict[str, Any], device: torch.device) -> None:
    lines = []
    if measured:
        times = [f"{1e3 * s:.0f} ms in {name}" for name, s in measured["seconds_per_step"].items()]
        why = f"a step takes {' and '.join(times)}" if times else "there are no bf16 instructions"
        lines.append(f"Precision {config.precision}: {why}.")
    if config.precision == "bf16" and not computes_bf16(device):
        lines.append(
            "This processor has no instructions for bf16: a step may take a hundred times as long "
            "as in fp32. With precision=auto a new run takes the faster one."
        )
    for line in lines:
        print(line, file=sys.stderr, flush=True)


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


def _due(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0


def _over(minutes: float | None, seconds: float) -> bool:
    return minutes is not None and seconds > 60 * minutes


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
def torch_settings(device: torch.device) -> Iterator[None]:
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
