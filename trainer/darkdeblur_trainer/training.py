"""The training loop."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch

from napari_darkdeblur.errors import DarkDeblurError

from .batches import batches
from .checkpoint import CheckpointFolder
from .config import TrainConfig
from .data.image_cache import default_cache_folder
from .distributed import ProcessGroup
from .export import write_weights
from .train_state import learning_rate
from .training_setup import TrainingRun, prepared_run
from .validation import validate


class TrainingError(DarkDeblurError, RuntimeError):
    """Training cannot go on; the message is for the user."""


@dataclass(frozen=True)
class FitResult:
    """How a call of `fit` ended.

    Parameters
    ----------
    step : int
        Number of steps done in all.
    reason : {"finished", "time", "signal"}
        Why it ended: all steps are done, ``max_minutes`` are over, or a signal came.
    signal_number : int
        Number of the signal, if that was the reason; else 0.
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
    bit for bit, given the same number of threads. With precision ``"auto"``, a run that continues
    keeps the precision that was measured to be the faster one when it began.

    Parameters
    ----------
    config : TrainConfig
        Configuration of the run.
    data : pathlib.Path
        Folder of training images.
    out : pathlib.Path
        Folder of the run, which is made or continued.
    validation_data : pathlib.Path, optional
        Folder of images (in the layout of ``data``; with layout ``"folders"`` the sharp ones,
        those of ``validation.blurred`` being the others) to validate on. Without it, what the
        split list leaves out; without a list, there is no validation.
    vgg_path : pathlib.Path, optional
        File of VGG weights; see `find_vgg`.
    init : str, optional
        Weights (name or path) to start from instead of random ones.
    device : str
        ``"auto"`` or a torch device.
    max_minutes : float, optional
        Minutes after which to save and stop.
    cache_folder : pathlib.Path, optional
        Folder for decoded images; by default in the user's cache folder.
    progress : bool
        Whether to show a bar (on a terminal) or lines (elsewhere).

    Returns
    -------
    FitResult
        Step at which it stopped, and why.

    Raises
    ------
    ConfigError, DataError, DeviceError, VggError, WeightsError
        Something that was given is wrong or missing.
    CheckpointError, MetricsError
        A file of the run cannot be written or read.
    RunError
        ``out`` holds something else, or a run that differs in what it computes.
    TrainingError
        The loss is no longer finite, or the GPU has too little memory.
    """
    deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
    with contextlib.ExitStack() as stack:
        group = stack.enter_context(ProcessGroup.join(device))
        stack.enter_context(torch_settings(group.device))
        run = stack.enter_context(
            prepared_run(
                config,
                data,
                out,
                group,
                validation_data=validation_data,
                vgg_path=vgg_path,
                init=init,
                cache_folder=cache_folder or default_cache_folder(),
                progress=progress,
            )
        )
        signals = stack.enter_context(collected_signals())
        return train(run, signals, deadline)


def train(run: TrainingRun, signals: list[int], deadline: float | None = None) -> FitResult:
    """Train until all steps are done, the time is over or a signal has come.

    Parameters
    ----------
    run : TrainingRun
        The run, as `prepared_run` gives it.
    signals : list of int
        Numbers of the signals received so far; see `collected_signals`.
    deadline : float, optional
        Value of ``time.monotonic()`` after which to save and stop.
    """
    config, state, logger, group = run.config, run.state, run.logger, run.group
    step, last_step = run.step, config.steps
    started = saved = time.monotonic()
    for inputs, sharp in batches(config, run.images, run.synthesizer, group, start=step):
        lr = learning_rate(config.optimizer, step, config.steps)
        state.set_learning_rate(lr)
        shares_due = is_due(config.log.gradient_shares, step + 1)
        result = run.training_step(step, inputs, sharp, with_gradient_shares=shares_due)
        run.meter.update(result.metrics)
        step += 1

        logger.advance(config.batch_size)
        if result.gradient_shares is not None:
            shares = result.gradient_shares.items()
            logger.scalars(step, {f"gradient/{name}": share for name, share in shares})
        if is_due(config.log.scalars, step):
            losses = {
                f"loss/{name}": float(value)
                for name, value in run.meter.compute_and_reset(group).items()
            }
            require_finite(losses, step, run.checkpoints)
            logger.scalars(step, losses | {"learning_rate": lr}, with_speed=True)
        if is_due(config.log.images, step):
            logger.images(step, "patches", [inputs[:, :3], result.restored, sharp])
        if run.validation_pairs and (step == last_step or is_due(config.validation.every, step)):
            require_finite_state(run, step)
            metrics = validate(state.inference_network, run.validation_pairs, group.device)
            logger.validation(step, metrics)

        now = time.monotonic()
        action = next_action(run, now - saved, deadline is not None and now > deadline, signals)
        if step == last_step or action > Action.CONTINUE or is_due(config.checkpoint.every, step):
            save(run, step, run.seconds + now - started)
            # Counted from here: what an interruption costs is the time since this step.
            saved = now
        if step < last_step and action == Action.STOP_FOR_SIGNAL:
            return FitResult(step, "signal", group.all_reduce_max(max(signals, default=0)))
        if step < last_step and action == Action.STOP_FOR_TIME:
            return FitResult(step, "time")
    return FitResult(step, "finished")


class Action(IntEnum):
    """What to do after a step, besides what is due at the step; the largest wins."""

    CONTINUE = 0
    SAVE = 1
    STOP_FOR_TIME = 2
    STOP_FOR_SIGNAL = 3


def next_action(
    run: TrainingRun, seconds_since_save: float, is_time_over: bool, signals: list[int]
) -> Action:
    """Return what all ranks do after this step: the most urgent of what each would do alone."""
    minutes = run.config.checkpoint.minutes
    action = Action.CONTINUE
    if minutes is not None and seconds_since_save > 60 * minutes:
        action = Action.SAVE
    if is_time_over:
        action = Action.STOP_FOR_TIME
    if signals:
        action = Action.STOP_FOR_SIGNAL
    return Action(run.group.all_reduce_max(action))


def is_due(every: int | None, step: int) -> bool:
    """Whether something that happens every so many steps (never, if None) happens now."""
    return every is not None and step % every == 0


def save(run: TrainingRun, step: int, seconds: float) -> None:
    """Write a checkpoint and the weights file beside it; every rank must call it.

    Parameters
    ----------
    run : TrainingRun
        Run whose state is saved.
    step : int
        Number of steps done.
    seconds : float
        Seconds of training so far, in all calls of `fit` together.

    Raises
    ------
    CheckpointError
        A file cannot be written. Earlier checkpoints are untouched.
    TrainingError
        Something in the state is not finite: such a checkpoint would be resumed.
    """
    require_finite_state(run, step)
    meter = run.meter.state_dict(run.group)
    run.logger.sync()
    if run.group.is_rank_zero:
        content = {"step": step, "seconds": seconds, "meter": meter, **run.state.state_dict()}
        run.checkpoints.save(step, content)
        write_weights(run.folder, run.config, content)


def require_finite(values: dict[str, float], step: int, checkpoints: CheckpointFolder) -> None:
    """Raise `TrainingError` if a value is not a finite number."""
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise TrainingError(_not_finite(broken[0], step, checkpoints))


def require_finite_state(run: TrainingRun, step: int) -> None:
    """Raise `TrainingError` if a weight or a state of an optimizer is not a finite number."""
    broken = run.state.first_nonfinite()
    if broken is not None:
        raise TrainingError(_not_finite(broken, step, run.checkpoints))


def _not_finite(name: str, step: int, checkpoints: CheckpointFolder) -> str:
    kept = checkpoints.steps()
    last = f"The last good checkpoint is step {kept[-1]}" if kept else "No checkpoint exists yet"
    return (
        f"By step {step}, {name!r} is no longer a finite number. {last}. Usually a lower "
        "optimizer.learning_rate or an optimizer.clip_norm (0.1, say) helps, in a new run; "
        "--init lets it begin with the weights that darkdeblur-train export takes from this one."
    )


@contextlib.contextmanager
def collected_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of dying of them; the second one kills as usual.

    Yields
    ------
    list of int
        Numbers of the signals received so far.
    """
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
