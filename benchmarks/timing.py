"""Measuring several things side by side, each in a process of its own.

A worker process prepares something, then runs it once for every line that it reads. Whoever
measures asks the workers in turn, so that whatever else the machine does meets all of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any


def serve(compute: Callable[[], dict[str, Any] | None]) -> None:
    """Be a worker: time ``compute`` for every line of standard input, answer in JSON."""
    for _ in sys.stdin:
        memory = resident("VmRSS")
        started, cpu = time.perf_counter(), time.process_time()
        extra = compute() or {}
        result = {
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - cpu,
            # Of the first run this is its peak; later the peak is never below earlier ones.
            "peak_mib": resident("VmHWM") - memory,
        }
        print(json.dumps(result | extra), flush=True)


def resident(field: str) -> float:
    """Return ``VmRSS`` or its peak ``VmHWM`` of this process in MiB, nan where unknown."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next(
        (int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), float("nan")
    )


class Worker:
    """A process that runs ``python -m MODULE ARGUMENTS`` and calls `serve`."""

    def __init__(self, module: str, *arguments: object) -> None:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self) -> dict[str, Any]:
        """Run once, and return what `serve` measured."""
        pipes = self._process.stdin, self._process.stdout
        assert pipes[0] is not None
        assert pipes[1] is not None
        pipes[0].write("\n")
        pipes[0].flush()
        answer = pipes[1].readline()
        if not answer:
            raise RuntimeError(f"worker {self._process.args!r} ended")
        result: dict[str, Any] = json.loads(answer)
        return result

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def interleaved(workers: Sequence[Worker], rounds: int) -> list[list[dict[str, Any]]]:
    """Return every worker's results: a first run to warm up, then ``rounds`` more."""
    try:
        turns = [[worker.run() for worker in workers] for _ in range(rounds + 1)]
    finally:
        for worker in workers:
            worker.close()
    return [list(results) for results in zip(*turns, strict=True)]


def middle(results: Iterable[dict[str, Any]], key: str) -> float:
    """Return the median of a measurement, the first run left out."""
    return float(median([result[key] for result in results][1:]))


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table in Markdown."""
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(map(str, row)) + " |", flush=True)
