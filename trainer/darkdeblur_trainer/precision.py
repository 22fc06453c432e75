"""Precision in which the networks compute, chosen by measurement on the run's own device."""

from __future__ import annotations

import platform
import time
from typing import Literal

import torch
from torch import Tensor

from napari_darkdeblur.restore.devices import synchronize

from .config import TrainConfig
from .distributed import ProcessGroup
from .perceptual import VggFeatures
from .train_state import TrainState
from .training_step import TrainingStep

NetworkPrecision = Literal["fp32", "bf16"]
_PRECISIONS: tuple[NetworkPrecision, ...] = ("fp32", "bf16")
# Steps that are timed in each precision, after one that compiles and chooses algorithms.
_ROUNDS = 3


def supports_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bf16; without them it is far slower than fp32.

    Parameters
    ----------
    device : torch.device
        CUDA device or CPU that is asked. On x86 the instructions are AVX-512 BF16 or AMX.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if platform.machine() in ("x86_64", "AMD64"):
        asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        # These ask the processor; oneDNN's own question is also answered yes where it emulates.
        return any(getattr(torch.cpu, name, bool)() for name in asked)
    # A private question: where torch no longer answers it, fp32 is the safe choice.
    probe = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(available and probe is not None and probe())


def measure_precisions(
    config: TrainConfig,
    batch: tuple[Tensor, ...],
    vgg: VggFeatures | None,
    group: ProcessGroup,
) -> dict[NetworkPrecision, float]:
    """Return how long a step of a run takes in each precision that its device computes in.

    Steps of copies are measured, in turn, so that whatever else the machine does meets both
    precisions; the terms are those of the run's first step. Every rank must call it.

    Parameters
    ----------
    config : TrainConfig
        Configuration of the run.
    batch : tuple of Tensor
        This rank's shard of a batch, as `batches` yields it.
    vgg : VggFeatures, optional
        Feature network, where the feature term is on; see `TrainingStep`.
    group : ProcessGroup
        Processes that share the run.

    Returns
    -------
    dict of float
        Seconds of the fastest of several steps, averaged over ranks; empty if the device
        of any rank computes in fp32 only, so that there is nothing to choose.
    """
    if group.all_reduce_max(int(not supports_bf16(group.device))):
        return {}
    # Each rank for itself: what they would send each other is the same in both precisions.
    alone = ProcessGroup.single(group.device)
    steps = []
    for precision in _PRECISIONS:
        copied = config.model_copy(update={"precision": precision})
        state = TrainState(copied, group.device)
        steps.append(TrainingStep(copied, state, vgg, alone))
    rounds = [[time_step(step, batch, group.device) for step in steps] for _ in range(1 + _ROUNDS)]
    fastest = group.all_reduce_mean(torch.tensor(rounds[1:]).amin(dim=0).to(group.device))
    return dict(zip(_PRECISIONS, fastest.tolist(), strict=True))


def time_step(step: TrainingStep, batch: tuple[Tensor, ...], device: torch.device) -> float:
    """Return the seconds that a step takes on a batch, as `batches` yields it."""
    synchronize(device)
    started = time.perf_counter()
    step(0, *batch)
    synchronize(device)
    return time.perf_counter() - started
