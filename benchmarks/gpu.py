"""The forward pass on a CUDA device, in three precisions, eager and as a CUDA graph."""

from __future__ import annotations

import functools
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from .forward import PRESETS, flops, make_network
from .timing import print_table


def milliseconds(compute: Callable[[], object], rounds: int) -> list[float]:
    """Return the times of several runs, after three to warm up."""
    times = []
    for _ in range(rounds + 3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        compute()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return times[3:]


def captured(compute: Callable[[], Tensor]) -> torch.cuda.CUDAGraph:
    """Return the work of a function as a graph, which always runs on the same memory."""
    # As torch asks: what is chosen or allocated only once must not happen while capturing.
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            compute()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        compute()
    return graph


def best_convolution(dtype: torch.dtype, rounds: int) -> float:
    """Return the most TFLOP/s of several 3 × 3 convolutions."""
    best = 0.0
    for channels, size in [(64, 1024), (128, 512), (256, 512), (512, 256)]:
        x = torch.randn(1, channels, size, size, dtype=dtype, device="cuda")
        weight = torch.randn(channels, channels, 3, 3, dtype=dtype, device="cuda")
        x, weight = (tensor.to(memory_format=torch.channels_last) for tensor in (x, weight))

        def compute(x: Tensor = x, weight: Tensor = weight) -> Tensor:
            return F.conv2d(x, weight, padding=1)

        work = 18 * channels**2 * size**2
        best = max(best, work / min(milliseconds(compute, rounds)) / 1e9)
    return best


@torch.inference_mode()
def run(quick: bool, rounds: int) -> None:
    """Print a table for both presets. Means are accumulated in fp32 in every precision."""
    if not torch.cuda.is_available():
        print("skipped: no CUDA device")
        return
    # fp32 means fp32, here and in the comparison.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    print(torch.cuda.get_device_name(), "\n")
    types = (torch.float32, torch.bfloat16, torch.float16)
    peaks = {dtype: best_convolution(dtype, rounds) for dtype in types}
    rows = []
    for preset in PRESETS:
        for size in (256,) if quick else (512, 1024, 2048):
            work = flops(preset, size) / 1e9
            reference = None
            for dtype in types:
                net = make_network(preset).to("cuda", dtype)
                net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
                torch.manual_seed(1)
                image = torch.rand(1, 3, size, size, device="cuda", dtype=torch.float32)
                given = image.to(dtype)
                compute = functools.partial(net, given)
                restored = net(given).float()
                reference = restored if reference is None else reference
                difference = (restored - reference).abs().max().item()
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                eager = median(milliseconds(compute, rounds))
                memory = (torch.cuda.max_memory_allocated() - before) / 2**20
                graph = captured(compute)
                replayed = median(milliseconds(graph.replay, rounds))
                for name, time in {"eager": eager, "CUDA graph": replayed}.items():
                    row = [preset, size, str(dtype).removeprefix("torch."), name, f"{time:.2f}"]
                    share = f"{work / time / peaks[dtype]:.0%} of {peaks[dtype]:.0f} TFLOP/s"
                    rows.append([*row, share, f"{memory:.0f}", f"{difference:.0e}"])
    head = ["network", "size", "type", "how", "median ms", "of peak", "peak MiB"]
    print_table([*head, "difference to fp32"], rows)
