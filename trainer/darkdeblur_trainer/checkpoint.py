"""Checkpoints that are either whole or not there."""

from __future__ import annotations

import contextlib
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from napari_darkdeblur.atomic import atomic_write
from napari_darkdeblur.errors import DarkDeblurError


class CheckpointError(DarkDeblurError, RuntimeError):
    """A checkpoint cannot be written or read; the message is for the user."""


class CheckpointFolder:
    """The checkpoints of one run, ``step_00001000.pt`` and so on.

    Parameters
    ----------
    folder : pathlib.Path
        Folder for checkpoints, which is made when the first one is saved.
    keep : int
        How many are kept; older ones are removed after a new one is safely written.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints, ascending."""
        return sorted(int(path.stem.removeprefix("step_")) for path in self._files())

    def path(self, step: int) -> Path:
        """Return where the checkpoint of a step lies."""
        return self.folder / f"step_{step:08d}.pt"

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write a checkpoint, and only then remove what is too old.

        Parameters
        ----------
        step : int
            Number of steps done.
        state : dict
            Tensors, numbers, strings and containers of those.

        Raises
        ------
        CheckpointError
            It cannot be written (a full disk, say). Earlier checkpoints are untouched.
        """
        # Serialised in memory first: a failing disk then gives an OSError that names its cause.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.path(step)) as part:
                part.write_bytes(buffer.getbuffer())
        except OSError as error:
            kept = self.steps()
            last = f"the last good one is step {kept[-1]}" if kept else "there is no earlier one"
            raise CheckpointError(
                f"The checkpoint of step {step} cannot be written to {self.folder}: "
                f"{error.strerror or error}; {last}."
            ) from error
        for old in self.steps()[: -self.keep]:
            # One that is open elsewhere (on Windows) is removed the next time.
            with contextlib.suppress(OSError):
                self.path(old).unlink(missing_ok=True)
        return self.path(step)

    def load_latest(self) -> dict[str, Any] | None:
        """Return the state of the newest checkpoint that can be read, on the CPU.

        Returns
        -------
        dict or None
            None when there is no checkpoint.

        Raises
        ------
        CheckpointError
            There are checkpoints, but none can be read.
        """
        problems = []
        for step in reversed(self.steps()):
            try:
                state = torch.load(self.path(step), map_location="cpu", weights_only=True)
            except (
                OSError,
                RuntimeError,
                EOFError,
                pickle.UnpicklingError,
                zipfile.BadZipFile,
            ) as error:
                problems.append(f"{self.path(step).name}: {error}")
                continue
            assert isinstance(state, dict)
            return state
        if problems:
            raise CheckpointError(
                f"No checkpoint in {self.folder} can be read ({'; '.join(problems)})."
            )
        return None

    def remove_parts(self) -> None:
        """Remove what a killed process left half written."""
        for part in self.folder.glob(".*.part*"):
            part.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return list(self.folder.glob("step_" + "[0-9]" * 8 + ".pt"))
