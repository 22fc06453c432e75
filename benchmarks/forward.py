"""The forward pass on a CPU: time, share of the convolution peak, memory, and the same result."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from napari_darkdeblur import DarkDeblurNet, GeneratorConfig
from napari_darkdeblur.restore.tiling.memory import freed_memory_kept

from .baseline import baseline_of
from .timing import Worker, interleaved, middle, print_table, serve

PRESETS: dict[str, Callable[[], GeneratorConfig]] = {
    "paper": GeneratorConfig.paper,
    "small": GeneratorConfig.small,
}
# What is compared; the first is what the ratios refer to.
KINDS = {
    "baseline": "baseline",
    "plain": "ours",
    "kept": "ours, freed memory kept",
}


def make_network(preset: str) -> DarkDeblurNet:
    """Return a network, the same in every process, whose correction is not small."""
    torch.manual_seed(0)
    net = DarkDeblurNet(PRESETS[preset]()).eval()
    torch.nn.init.normal_(net.head.weight, std=2.5)  # a correction of about 0.5
    return net


def flops(preset: str, size: int) -> float:
    """Return the floating-point operations of a forward pass."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        DarkDeblurNet(PRESETS[preset]())(torch.empty(1, 3, size, size))
    return float(counter.get_total_flops())


def best_convolution() -> dict[str, Any]:
    """Return the most GFLOP/s of several 3 × 3 convolutions."""
    best = 0.0
    for inputs, outputs, size in [(64, 64, 256), (64, 128, 256), (128, 256, 128), (256, 256, 64)]:
        x = torch.randn(1, inputs, size, size).to(memory_format=torch.channels_last)
        weight = torch.randn(outputs, inputs, 3, 3).to(memory_format=torch.channels_last)
        for _ in range(3):
            started = time.perf_counter()
            F.conv2d(x, weight, padding=1)
            seconds = time.perf_counter() - started
            best = max(best, 18 * inputs * outputs * size**2 / seconds / 1e9)
    return {"gflops": best}


def work(kind: str, preset: str, size: str, output: str) -> None:
    """Serve one of the `KINDS`, or the peak; the first result of a network is written to a file."""
    torch.set_grad_enabled(False)
    with freed_memory_kept() if kind in ("kept", "peak") else nullcontext():
        if kind == "peak":
            serve(best_convolution)
            return
        ours = make_network(preset)
        image = torch.rand(1, 3, int(size), int(size))
        net: nn.Module = baseline_of(ours)
        if kind != "baseline":
            net = ours.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

        def compute() -> None:
            with torch.inference_mode():
                restored = net(image)
            if not Path(output).exists():
                np.save(output, restored.numpy())

        serve(compute)


def run(quick: bool, rounds: int) -> None:
    """Print a table for both presets."""
    head = ["network", "pixels", "what", "median ms", "best ms", "CPU ms", "ratio", "GFLOP/s"]
    print_table([*head, "of peak", "peak MiB", "difference"], [])
    for preset in PRESETS:
        for size in (256,) if quick else (256, 512, 1024):
            compare(preset, size, rounds)


def compare(preset: str, size: int, rounds: int) -> None:
    """Print the rows of one network and size."""
    module = "benchmarks.forward"
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: Path(folder, f"{kind}.npy") for kind in KINDS}
        workers = [Worker(module, kind, preset, size, file) for kind, file in files.items()]
        *results, peaks = interleaved([*workers, Worker(module, "peak", preset, size, "")], rounds)
        outputs = [np.load(file) for file in files.values()]
    peak = max(result["gflops"] for result in peaks)
    work = flops(preset, size) / 1e9
    reference = middle(results[0], "seconds")
    for name, result, output in zip(KINDS.values(), results, outputs, strict=True):
        seconds = middle(result, "seconds")
        difference = float(np.abs(output - outputs[0]).max())
        assert difference < 1e-4, f"{name} differs from the baseline by {difference}"
        times = [seconds, min(r["seconds"] for r in result), middle(result, "cpu_seconds")]
        row = [preset, f"{size} × {size}", name, *(f"{1e3 * value:.0f}" for value in times)]
        row += [f"{reference / seconds:.2f}", f"{work / seconds:.0f}"]
        row += [f"{work / seconds / peak:.0%} of {peak:.0f}"]
        row += [f"{result[0]['peak_mib']:.0f}", f"{difference:.0e}"]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    import sys

    work(*sys.argv[1:])
