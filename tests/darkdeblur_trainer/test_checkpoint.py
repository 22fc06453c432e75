"""Checkpoints are whole or not there."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from darkdeblur_trainer.checkpoint import CheckpointError, CheckpointFolder


def _state(step: int) -> dict:
    return {"step": step, "weights": torch.full((1000,), float(step))}


def test_the_newest_is_loaded_and_old_ones_are_removed(tmp_path):
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    assert folder.load_latest() is None
    for step in (5, 10, 100):
        folder.save(step, _state(step))
    assert folder.steps() == [10, 100]
    state = folder.load_latest()
    assert state["step"] == 100
    assert torch.equal(state["weights"], torch.full((1000,), 100.0))


def test_a_damaged_newest_gives_way_to_the_one_before(tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.save(1, _state(1))
    folder.save(2, _state(2))
    damaged = folder.path(2)
    damaged.write_bytes(damaged.read_bytes()[:500])
    assert folder.load_latest()["step"] == 1
    folder.path(1).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"No checkpoint .* can be read"):
        folder.load_latest()


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path, keep=1)
    folder.save(1, _state(1))

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(bytes(data)[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CheckpointError, match=r"step 2 .*No space left.*last good one is step 1"):
        folder.save(2, _state(2))
    monkeypatch.undo()
    assert folder.steps() == [1]
    assert folder.load_latest()["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001.pt"]


def test_what_a_killed_process_left_is_not_a_checkpoint_and_is_removed(tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.save(1, _state(1))
    part = tmp_path / ".step_00000002.123.part.pt"
    part.write_bytes(b"half")
    assert folder.steps() == [1]
    folder.remove_parts()
    assert not part.exists()
