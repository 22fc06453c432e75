"""How long a user waits before anything happens."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from .timing import print_table

COMMANDS = {
    "`python -c pass`": ["-c", "pass"],
    "`import napari_darkdeblur`": ["-c", "import napari_darkdeblur"],
    "`darkdeblur --version`": ["-m", "napari_darkdeblur.cli", "--version"],
    "`darkdeblur models`": ["-m", "napari_darkdeblur.cli", "models"],
    "`import torch`": ["-c", "import torch"],
}


def run(quick: bool, rounds: int) -> None:
    """Print the wall time of each command, started in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds + 1):
        for name, arguments in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - started)
    # The first of each reads files that are not in memory yet.
    rows = [[name, f"{1e3 * median(times[1:]):.0f}"] for name, times in seconds.items()]
    print_table(["command", "median ms"], rows)
