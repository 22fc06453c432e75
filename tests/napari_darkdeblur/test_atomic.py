"""A file written atomically is whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_darkdeblur.atomic import atomic_write


def test_the_file_is_there_under_its_name_only(tmp_path: Path):
    with atomic_write(tmp_path / "a.txt") as part:
        part.write_text("new")
        assert part.suffix == ".txt"
        assert not (tmp_path / "a.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "new"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail() -> None:
        with atomic_write(target) as part:
            part.write_text("half of the n")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert target.read_text() == "old"
