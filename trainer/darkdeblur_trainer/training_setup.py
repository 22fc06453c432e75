"""Everything that a run needs before its first step: images, networks, folder, checkpoint."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .average_meter import AverageMeter
from .batches import TrainingImages, batches, load_images
from .checkpoint import CheckpointFolder
from .config import ConfigError, TrainConfig
from .distributed import ProcessGroup
from .metrics_logger import MetricsLogger
from .perceptual import VggFeatures, find_vgg
from .precision import measure_precisions, supports_bf16
from .run_folder import RunFolder
from .synthesis import PairSynthesizer
from .train_state import TrainState
from .training_step import TrainingStep
from .validation import ValidationPair, validation_pairs


@dataclass
class TrainingRun:
    """A run that is ready to train, with what the training loop needs.

    Parameters
    ----------
    config : TrainConfig
        Configuration of the run, its precision settled.
    group : ProcessGroup
        Processes that share the run.
    images : TrainingImages
        Training images.
    synthesizer : PairSynthesizer, optional
        Maker of pairs from sharp images; none for paired data.
    validation_pairs : list of ValidationPair
        Fixed pairs to validate on; empty on all ranks but rank 0, or without validation images.
    state : TrainState
        Networks, EMA and optimizers.
    training_step : TrainingStep
        Computation of one step.
    meter : AverageMeter
        Averages of the scalars since they were last logged.
    folder : RunFolder
        Folder of the run, locked for this process.
    checkpoints : CheckpointFolder
        Checkpoints of the run.
    logger : MetricsLogger
        Writer of metrics, images and progress.
    step : int
        Number of steps done before.
    seconds : float
        Seconds of training before.
    """

    config: TrainConfig
    group: ProcessGroup
    images: TrainingImages
    synthesizer: PairSynthesizer | None
    validation_pairs: list[ValidationPair]
    state: TrainState
    training_step: TrainingStep
    meter: AverageMeter
    folder: RunFolder
    checkpoints: CheckpointFolder
    logger: MetricsLogger
    step: int
    seconds: float


@contextlib.contextmanager
def prepared_run(
    config: TrainConfig,
    data: Path,
    out: Path,
    group: ProcessGroup,
    *,
    validation_data: Path | None,
    vgg_path: Path | None,
    init: str | None,
    cache_folder: Path,
    progress: bool,
) -> Iterator[TrainingRun]:
    """Set a run up, or restore it from its newest checkpoint; see `fit` for parameters and errors.

    Yields
    ------
    TrainingRun
        The run; its folder is locked and its log open until the context ends.
    """
    if config.batch_size % group.world_size:
        raise ConfigError(
            f"batch_size {config.batch_size} cannot be shared by {group.world_size} processes."
        )
    vgg_file = None
    if config.losses.features.weight > 0:
        vgg_file = group.on_rank_zero(lambda: find_vgg(vgg_path))
    images = _load_images_once(config, data, validation_data, cache_folder, group, progress)
    if group.is_rank_zero:
        for line in images.describe():
            print(line, file=sys.stderr, flush=True)
    synthesizer = None
    if len(images.caches) == 1:
        synthesizer = PairSynthesizer(
            config.synthesis, config.seed, group.device, compile=config.compile
        )
    pairs = []
    if images.held_out and group.is_rank_zero:
        pairs = validation_pairs(config.validation, images.held_out)
    state = TrainState(config, group.device, init)
    vgg = None
    if vgg_file is not None:
        vgg = VggFeatures(vgg_file)
        vgg.to(group.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    folder = RunFolder(out)
    config, measured = _settle_precision(config, folder, images, synthesizer, vgg, group)
    if progress and group.is_rank_zero:
        _report_precision(config, measured, group.device)
    checkpoints = CheckpointFolder(folder.checkpoints, config.checkpoint.keep)
    run_info = _run_info(images, vgg, state, init)
    with contextlib.ExitStack() as stack:

        def open_folder() -> dict[str, Any] | None:
            stack.enter_context(folder.locked())
            folder.prepare(config, run_info, measured)
            checkpoints.remove_parts()
            return checkpoints.load_latest()

        checkpoint = group.on_rank_zero(open_folder) or {"step": 0, "seconds": 0.0, "meter": {}}
        if checkpoint["step"] > 0:
            state.load_state_dict(checkpoint)
        logger = MetricsLogger(
            folder,
            checkpoint["step"],
            config.steps,
            enabled=group.is_rank_zero,
            progress=progress,
        )
        yield TrainingRun(
            config=config,
            group=group,
            images=images,
            synthesizer=synthesizer,
            validation_pairs=pairs,
            state=state,
            training_step=TrainingStep(config, state, vgg, group),
            meter=AverageMeter(group.device, checkpoint["meter"]),
            folder=folder,
            checkpoints=checkpoints,
            logger=stack.enter_context(logger),
            step=checkpoint["step"],
            seconds=checkpoint["seconds"],
        )


def _run_info(
    images: TrainingImages, vgg: VggFeatures | None, state: TrainState, init: str | None
) -> dict[str, Any]:
    """Return what a run's results depend on besides its configuration, as JSON values."""
    return {
        "images": len(images.caches[-1]),
        "megapixels": round(images.caches[-1].megapixels, 1),
        "images_sha256": [cache.sha256 for cache in images.caches],
        "value_ranges": _used_ranges(images),
        "vgg": vgg.name if vgg is not None else None,
        "vgg_sha256": vgg.sha256 if vgg is not None else None,
        # Its name says enough; the path would be about the machine.
        "init": Path(init).stem if init is not None else None,
        "init_sha256": state.init_sha256,
    }


def _used_ranges(images: TrainingImages) -> dict[str, list[float]]:
    """Return the values of black and of white by bits per value, as JSON values."""
    kinds = sorted({kind for cache in images.caches for kind in cache.kinds})
    return {str(kind): list(images.caches[0].value_ranges[kind]) for kind in kinds}


def _settle_precision(
    config: TrainConfig,
    folder: RunFolder,
    images: TrainingImages,
    synthesizer: PairSynthesizer | None,
    vgg: VggFeatures | None,
    group: ProcessGroup,
) -> tuple[TrainConfig, dict[str, Any]]:
    """Replace precision ``"auto"`` by one; return what was measured to choose it, too."""
    if config.precision != "auto":
        return config, {}
    measured: dict[str, Any] = {}
    # A run keeps the precision that it began with: it would not go on exactly with the other.
    precision = group.on_rank_zero(folder.precision)
    if precision is None:
        in_process = config.data.model_copy(update={"workers": 0})
        single = config.model_copy(update={"data": in_process})
        batch = next(batches(single, images, synthesizer, group))
        seconds = measure_precisions(config, batch, vgg, group)
        precision = min(seconds, key=seconds.__getitem__, default="fp32")
        measured = {"seconds_per_step": {name: round(s, 5) for name, s in seconds.items()}}
    return config.model_copy(update={"precision": precision}), measured


def _report_precision(config: TrainConfig, measured: dict[str, Any], device: torch.device) -> None:
    """Print which precision was chosen and why, and warn of a bf16 that is emulated."""
    lines = []
    if measured:
        times = [f"{1e3 * s:.0f} ms in {name}" for name, s in measured["seconds_per_step"].items()]
        why = f"a step takes {' and '.join(times)}" if times else "there are no bf16 instructions"
        lines.append(f"Precision {config.precision}: {why}.")
    if config.precision == "bf16" and not supports_bf16(device):
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
    group: ProcessGroup,
    progress: bool,
) -> TrainingImages:
    """Load a run's images; rank 0 decodes them, the others then find its cache."""

    def load(show: bool) -> TrainingImages:
        return load_images(config, data, cache_folder, show, validation_data=validation_data)

    def decode() -> None:
        load(progress)

    if group.world_size > 1:
        group.on_rank_zero(decode)
    return load(progress and group.is_rank_zero)
