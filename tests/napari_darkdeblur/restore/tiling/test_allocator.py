"""Freed memory is kept while restoring, and given back afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

from napari_darkdeblur.restore.tiling import memory as allocator
from napari_darkdeblur.restore.tiling.memory import freed_memory_kept


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
    monkeypatch.setattr(allocator, "_glibc", lambda: recorder)
    return recorder


def test_the_last_of_nested_contexts_gives_everything_back(libc: Libc):
    with freed_memory_kept():
        with freed_memory_kept():
            pass
        assert libc.values == allocator._KEEP
        assert libc.trimmed == 0
    assert libc.values == allocator._USUAL
    assert libc.trimmed == 1


def test_an_error_inside_gives_everything_back_too(libc: Libc):
    def fail() -> None:
        with freed_memory_kept():
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert libc.values == allocator._USUAL
    assert libc.trimmed == 1


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    with freed_memory_kept():
        assert allocator._users == 0


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_have_no_glibc(platform: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", platform)
    assert allocator._glibc.__wrapped__() is None


@pytest.mark.skipif(allocator._glibc() is None, reason="needs glibc")
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
