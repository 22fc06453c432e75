"""From a run to the weights file that ``darkdeblur`` loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from napari_darkdeblur.network import (
    RestorationNetwork,
    WeightsError,
    build_network,
    describe_network,
    save_weights,
)

from .checkpoint import CheckpointError, CheckpointFolder
from .config import TrainConfig
from .run_folder import RunError, RunFolder


def export_run(
    run: Path,
    output: Path,
    *,
    dtype: torch.dtype = torch.float32,
    summary: str | None = None,
    licence: str = "",
    overwrite: bool = False,
) -> Path:
    """Write the newest checkpoint's generator (its EMA, if kept) as weights; return the path.

    Parameters
    ----------
    run : pathlib.Path
        Folder of the run.
    output : pathlib.Path
        The file, ending in ``.safetensors``.
    dtype : torch.dtype
        How numbers are stored: ``torch.float32`` or ``torch.float16``.
    summary : str, optional
        The card's line; by default made from the run.
    licence : str
        Licence of the weights, which is written into the file.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    RunError
        The folder is not a run's, or has no checkpoint yet.
    CheckpointError
        No checkpoint can be read.
    FileExistsError, WeightsError
        See `save_weights`.
    """
    folder = RunFolder(run)
    config = folder.config()
    state = CheckpointFolder(folder.checkpoints).load_latest()
    if state is None:
        raise RunError(f"{run} has no checkpoint yet.")
    provenance = training_summary(folder, config, state)
    return save_weights(
        output,
        _inference_network(config, state),
        provenance,
        summary=_line(config, state) if summary is None else summary,
        licence=licence,
        dtype=dtype,
        overwrite=overwrite,
    )


def write_weights(folder: RunFolder, config: TrainConfig, state: dict[str, Any]) -> None:
    """Replace the run's own weights file by what a checkpoint holds, in full precision.

    Parameters
    ----------
    folder : RunFolder
        Folder of the run.
    config : TrainConfig
        Configuration of the run.
    state : dict
        Content of the checkpoint.

    Raises
    ------
    CheckpointError
        It cannot be written (a full disk, say). The earlier file and the checkpoint stay.
    """
    provenance = training_summary(folder, config, state)
    network, line = _inference_network(config, state), _line(config, state)
    try:
        save_weights(folder.weights, network, provenance, summary=line, overwrite=True)
    except WeightsError as error:
        raise CheckpointError(
            f"{error} The checkpoint of step {state['step']} is whole."
        ) from error


def _inference_network(config: TrainConfig, state: dict[str, Any]) -> RestorationNetwork:
    """Return the generator of a checkpoint: the moving average of the weights, if one is kept."""
    with torch.device("meta"):  # no numbers of its own
        network = build_network(config.generator)
    network.load_state_dict(state["ema"] or state["generator"], assign=True)
    return network


def training_summary(
    folder: RunFolder, config: TrainConfig, state: dict[str, Any]
) -> dict[str, Any]:
    """Return what a weights file tells about its training; JSON values."""
    losses = config.losses.model_dump()
    on = {
        name: term for name, term in losses.items() if term["weight"] > 0
        and term["from_step"] < state["step"]
    }  # fmt: skip
    return {
        "steps": state["step"],
        "samples": state["step"] * config.batch_size,
        "hours": round(state["seconds"] / 3600, 2),
        "seed": config.seed,
        "losses": on,
        "ema_decay": config.ema_decay,
        "precision": config.precision,
        "optimizer": config.optimizer.model_dump(mode="json"),
        "synthesis": [d.model_dump(mode="json") for d in config.synthesis]
        if config.data.layout == "sharp"
        else config.data.layout,
        "run": folder.run_info(),
        "validation": folder.last_validation(state["step"]),
    }


def _line(config: TrainConfig, state: dict[str, Any]) -> str:
    return (
        f"{describe_network(config.generator)}, {state['step']} steps of {config.batch_size} "
        f"{config.patch} px patches"
    )
