"""Tiling modes: time against `whole`, and the peak of memory against its prediction.

Modes take turns in one process; each peak is measured in a process of its own, above what that
process took before it began to restore.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from napari_darkdeblur import DarkDeblurNet, GeneratorConfig, save_weights
from napari_darkdeblur.imagefiles import create_image
from napari_darkdeblur.network import LoadedModel, load_weights
from napari_darkdeblur.restore import Finished, RestoreOptions, estimate, format_bytes, restore
from napari_darkdeblur.restore.tiling.plan import Tiling

from .timing import print_table, resident

MODES: tuple[Tiling, ...] = ("whole", "exact", "local", "fast")


@dataclass(frozen=True)
class Case:
    """One row of the table of peaks.

    Parameters
    ----------
    network : {"small", "paper"}
        Which network; weights do not matter here.
    side : int
        Of the square RGB image, in pixels.
    tiling : str
        The mode.
    memory : int or None
        The budget in bytes.
    files : bool
        Whether a TIFF file is read and another one written; otherwise arrays in memory.
    """

    network: str
    side: int
    tiling: Tiling
    memory: int | None = None
    files: bool = False


def load(network: str) -> LoadedModel:
    """Return the bundled small weights, or paper-sized ones that were never trained."""
    if network == "small":
        return load_weights()
    path = Path(tempfile.mkdtemp()) / "paper-untrained.safetensors"
    return load_weights(save_weights(path, DarkDeblurNet(GeneratorConfig.paper()).eval()))


def picture(side: int) -> NDArray[np.uint8]:
    """Return a noisy RGB image (side, side, 3), uint8."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (side, side, 3), np.uint8)


def run_once(image: NDArray[np.uint8], output: NDArray[np.uint8], options: RestoreOptions) -> float:
    """Restore and return the seconds that it took."""
    for event in restore(image, output, options):
        if isinstance(event, Finished):
            if event.result.status != "done":
                raise SystemExit(f"{options.tiling}: {event.result.message}")
            return event.result.seconds
    raise AssertionError


def compare_times(network: str, side: int, tile: int, rounds: int) -> None:
    """Print a row for each mode."""
    model = load(network)
    image = picture(side)
    output = np.empty_like(image)
    options = {
        mode: RestoreOptions(model, "cpu", tiling=mode, tile=None if mode == "whole" else tile)
        for mode in MODES
    }
    for chosen in options.values():
        estimate(image.shape, image.dtype, chosen)  # measures the network, once
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    results = {}
    for _ in range(rounds):
        for mode, chosen in options.items():
            seconds[mode].append(run_once(image, output, chosen))
            results[mode] = output.astype(int)
    medians = {mode: statistics.median(values) for mode, values in seconds.items()}
    for mode in MODES:
        row = [network, f"{side} × {side}", mode, "" if mode == "whole" else str(tile)]
        row += [f"{medians[mode]:.1f}", f"{min(seconds[mode]):.1f}"]
        row += [f"{medians[mode] / medians[other]:.2f}" for other in ("whole", "fast")]
        row += [str(np.abs(results[mode] - results["whole"]).max())]
        print(f"| {' | '.join(row)} |", flush=True)


def measure_peak(case: Case) -> dict[str, Any]:
    """Restore in this process; return bytes above the start and predicted, and seconds."""
    model = load(case.network)
    options = RestoreOptions(model, "cpu", tiling=case.tiling, memory=case.memory)
    process = psutil.Process()
    if not case.files:
        image = picture(case.side)
        plan, _ = estimate(image.shape, image.dtype, options)
        before = process.memory_info().rss
        run_once(image, np.empty_like(image), options)
    else:
        from napari_darkdeblur.filejobs import FileJob, restore_file

        folder = Path(tempfile.mkdtemp())
        source = folder / "source.tif"
        rng = np.random.default_rng(0)
        shape = (case.side, case.side, 3)
        with create_image(source, shape, np.uint8) as pixels:
            for top in range(0, case.side, 256):
                rows = min(256, case.side - top)
                block = rng.integers(0, 256, (rows, case.side, 3), np.uint8)
                pixels[top : top + rows] = block
        plan, _ = estimate(shape, np.uint8, options)
        before = process.memory_info().rss
        for event in restore_file(FileJob(source, folder / "out.tif"), options):
            if isinstance(event, Finished) and event.result.status != "done":
                raise SystemExit(event.result.message)
    # Not getrusage's: that one begins with the size of the process that started this one.
    return {
        "peak": resident("VmHWM") * 2**20 - before,
        "predicted": plan.peak_bytes,
        "scratch": plan.scratch_bytes,
        "tiles": plan.tile_count,
        "recomputed": ", ".join(n for n, place in plan.storage.items() if place == "recompute"),
    }


def print_peak(case: Case) -> None:
    """Measure a peak in a process of its own and print its row."""
    command = [sys.executable, "-m", "benchmarks.tiling", json.dumps(asdict(case))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured = json.loads(done.stdout)
    row = [case.network, f"{case.side} × {case.side}", "file" if case.files else "memory"]
    row += [case.tiling, format_bytes(case.memory) if case.memory else ""]
    row += [str(measured["tiles"]), format_bytes(measured["peak"])]
    row += [format_bytes(measured["predicted"])]
    row += [format_bytes(measured["scratch"]) if measured["scratch"] else ""]
    row.append(measured["recomputed"])
    print(f"| {' | '.join(row)} |", flush=True)


def run(quick: bool, rounds: int) -> None:
    """Print both tables."""
    head = ["network", "pixels", "mode", "tile", "median s", "best s", "/ whole", "/ fast"]
    print_table([*head, "greatest difference of 255"], [])
    if quick:
        compare_times("small", 512, 256, rounds)
    else:
        compare_times("small", 2048, 512, rounds)
        compare_times("paper", 1024, 512, max(rounds // 2, 1))
    print(flush=True)
    head = ["network", "pixels", "from and to", "mode", "budget", "tiles", "peak", "predicted"]
    print_table([*head, "scratch files", "computed again"], [])
    cases = [Case("small", 512, mode) for mode in MODES]
    if not quick:
        cases = [
            *(Case("small", 2048, mode) for mode in MODES),
            Case("small", 4096, "auto", 3 * 10**9),
            Case("small", 4096, "auto", 10**9),
            Case("small", 8192, "auto", 4 * 10**9, files=True),
            Case("paper", 1024, "whole"),
            Case("paper", 1024, "exact", 10**9),
            Case("paper", 4096, "auto", 3 * 10**9),
        ]
    for case in cases:
        print_peak(case)


if __name__ == "__main__":
    print(json.dumps(measure_peak(Case(**json.loads(sys.argv[1])))))
