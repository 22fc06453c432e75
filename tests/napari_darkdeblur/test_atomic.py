"""A file written atomically is whole or not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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


def test_a_name_may_be_as_long_as_the_file_system_has_room_for(tmp_path: Path):
    for name in ("x" * 251 + ".txt", "ä" * 125 + ".tif"):
        with atomic_write(tmp_path / name) as part:
            part.write_text("new")
        assert (tmp_path / name).read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_takes_the_place_of_another(tmp_path: Path):
    target = tmp_path / "a.zarr"
    for text in ("old", "new"):
        with atomic_write(target) as part:
            part.mkdir()
            (part / "data").write_text(text)
        assert (target / "data").read_text() == text
        assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def run_until_it_writes(folder: Path) -> subprocess.Popen[str]:
    """Start the command's way of writing in another process, which then waits for its end."""
    script = (
        "import pathlib, sys, time\n"
        "from napari_darkdeblur import cli, commands\n"
        "from napari_darkdeblur.atomic import atomic_write\n"
        "def write(arguments):\n"
        "    with atomic_write(pathlib.Path(sys.argv[1], 'a.tif')) as part:\n"
        "        part.write_bytes(b'half')\n"
        "        print('writing', flush=True)\n"
        "        time.sleep(60)\n"
        "commands.models._run = write\n"
        "cli.main(['models'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
def test_signals_remove_what_is_half_written_and_the_next_run_what_was_killed(tmp_path: Path):
    for number in (signal.SIGTERM, signal.SIGHUP):
        with run_until_it_writes(tmp_path) as process:
            process.send_signal(number)
            assert process.wait(120) == 128 + number
        assert list(tmp_path.iterdir()) == []
    with run_until_it_writes(tmp_path) as process:
        process.kill()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".a.")
    others = tmp_path / f".b.00000000.{process.pid}.part.tif"  # of another computer
    others.write_text("half")
    with atomic_write(tmp_path / "c.txt") as part:
        part.write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [others.name, "c.txt"]
