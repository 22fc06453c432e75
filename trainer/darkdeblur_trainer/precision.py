"""What the networks compute in, measured on the run's own device."""

from __future__ import annotations

import platform
import time
from typing import Literal

import torch
from torch import Tensor

from napari_darkdeblur.restore.devices import synchronize

from .config import TrainConfig
from .learners import Learners
from .parallel import Processes
from .perceptual import VggFeatures
from .step import TrainingStep

NetworkPrecision = Literal["fp32", "bf16"]
_PRECISIONS: tuple[NetworkPrecision, ...] = ("fp32", "bf16")
# Steps that are timed in each precision, after one that compiles and chooses algorithms.
_ROUNDS = 3


def computes_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bf16; without them it is far slower than fp32.

    Parameters
    ----------
    device : torch.device
        A CUDA device or a CPU. On x86 the instructions are AVX-512 BF16 or AMX.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if platform.machine() in ("x86_64", "AMD64"):
        asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        # These ask the processor; oneDNN's own question is also answered yes where it emulates.
        return any(getattr(torch.cpu, name, bool)() for name in asked)
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(available and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def measure_precisions(
    config: TrainConfig,
    batch: tuple[Tensor, ...],
    vgg: VggFeatures | None,
    processes: Processes,
) -> dict[NetworkPrecision, float]:
    """Return how long a step of a run takes in each precision that its device computes in.

    Steps of copies are measured, in turn, so that whatever else the machine does meets both
    precisions; the terms are those of the run's first step. All processes must call it.

    Parameters
    ----------
    config : TrainConfig
        Of the run.
    batch : tuple of Tensor
        This process's share of a batch, as `batches` yields it.
    vgg : VggFeatures, optional
        See `TrainingStep`.
    processes : Processes
        Those that share the run.

    Returns
    -------
    dict of float
        Seconds of the fastest of several steps, a mean over processes; empty if the device
        of any process computes in fp32 only, so that there is nothing to choose.
    """
    if processes.agree(int(not computes_bf16(processes.device))):
        return {}
    # Each process for itself: what they would send each other is the same in both precisions.
    alone = Processes(0, 1, processes.device)
    steps = []
    for precision in _PRECISIONS:
        copied = config.model_copy(update={"precision": precision})
        learners = Learners(copied, processes.device, None)
        steps.append(TrainingStep(copied, learners, vgg, alone))
    rounds = [
        [_seconds(step, batch, processes.device) for step in steps] for _ in range(1 + _ROUNDS)
    ]
    fastest = processes.mean(torch.tensor(rounds[1:]).amin(dim=0).to(processes.device))
    return dict(zip(_PRECISIONS, fastest.tolist(), strict=True))


def _seconds(step: TrainingStep, batch: tuple[Tensor, ...], device: torch.device) -> float:
    synchronize(device)
    started = time.perf_counter()
    step(0, *batch)
    synchronize(device)
    return time.perf_counter() - started
