"""Memory is counted, read and written as people mean it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from napari_darkdeblur.restore import format_bytes, parse_bytes
from napari_darkdeblur.restore.tiling import memory
from napari_darkdeblur.restore.tiling.memory import (
    PeakTracker,
    default_budget,
    free_memory,
    freed_memory_kept,
    peak_bytes,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GB", 4 * 10**9),
        ("4 gb", 4 * 10**9),
        ("1.5G", 1_500_000_000),
        ("900MB", 900_000_000),
        ("2GiB", 2 * 2**30),
        ("64 KiB", 65536),
        ("123456", 123456),
        ("2e9", 2 * 10**9),
        ("1T", 10**12),
    ],
)
def test_amounts_are_read(text: str, size: int):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "-4GB", "0", "4XB", "GB", "4 4GB", "nan", "1e999GB"])
def test_what_is_no_amount_is_refused(text: str):
    with pytest.raises(ValueError, match="4GB"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "1 MB"), (240_000_000, "240 MB"), (1_340_000_000, "1.3 GB"), (999_700_000, "1.0 GB")],
)
def test_amounts_are_written_for_people(size: int, text: str):
    assert format_bytes(size) == text


def test_the_tracker_counts_what_lives_at_the_same_time():
    def compute():
        a = torch.zeros(1000)  # 4000 bytes
        b = a + 1  # 8000
        del a  # 4000
        c = b.double()  # 12 000
        view = c[10:]  # the same memory
        return view.sum()

    assert peak_bytes(compute, CPU) == 12_000 + 8


def test_the_tracker_forgets_what_is_gone():
    with PeakTracker() as tracker:
        for _ in range(5):
            x = torch.zeros(100)
            del x
    assert (tracker.live, tracker.peak) == (0, 400)


def test_no_more_is_taken_than_a_container_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    without = free_memory(CPU)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("300000000\n")
    (tmp_path / "memory.stat").write_text("anon 100000000\ninactive_file 50000000\n")
    # Other processes come and go while this runs.
    assert free_memory(CPU) == pytest.approx(without, rel=0.5)
    (tmp_path / "memory.max").write_text("400000000\n")
    assert free_memory(CPU) == 150_000_000
    assert default_budget(CPU) == 90_000_000


def test_older_containers_are_asked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("400000000\n")
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text("350000000\n")
    (tmp_path / "memory" / "memory.stat").write_text("total_inactive_file 0\n")
    assert free_memory(CPU) == 50_000_000


# --- freed memory is kept while restoring, and given back afterwards


class Libc:
    """Records what is asked of the C library."""

    def __init__(self) -> None:
        self.values: dict[int, int] = {}
        self.trimmed = 0

    def mallopt(self, parameter: int, value: int) -> int:
        self.values[parameter] = value
        return 1

    def malloc_trim(self, pad: int) -> int:
        self.trimmed += 1
        return 1


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> Libc:
    recorder = Libc()
    monkeypatch.setattr(memory, "glibc", lambda: recorder)
    return recorder


def test_the_last_of_nested_contexts_gives_everything_back(libc: Libc):
    with freed_memory_kept():
        with freed_memory_kept():
            pass
        assert libc.values == memory.KEEP_FREED
        assert libc.trimmed == 0
    assert libc.values == memory.MALLOC_DEFAULTS
    assert libc.trimmed == 1


def test_an_error_inside_gives_everything_back_too(libc: Libc):
    def fail() -> None:
        with freed_memory_kept():
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert libc.values == memory.MALLOC_DEFAULTS
    assert libc.trimmed == 1


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "glibc", lambda: None)
    with freed_memory_kept():
        pass


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_have_no_glibc(platform: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", platform)
    assert memory.glibc.__wrapped__() is None


@pytest.mark.skipif(memory.glibc() is None, reason="needs glibc")
def test_a_freed_block_is_used_again_without_page_faults():
    # In a process of its own: others' blocks at the end of this one's heap would change it.
    program = """
import resource
import torch
from napari_darkdeblur.restore.tiling.memory import freed_memory_kept

def faults(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(count)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with freed_memory_kept():
    # A little larger than the next one, which has to fit where this one was.
    faults(2**24 + 2**16)
    print(faults(2**24))  # 64 MiB, 16384 pages
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 1000
