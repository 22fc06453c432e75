"""Where the network runs: only devices that are really there are offered."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Literal

import torch

from ..errors import DarkDeblurError

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "tf32", "bf16", "fp16")

_float32_precision_in_use = threading.Lock()


class DeviceError(DarkDeblurError, ValueError):
    """The device asked for is not there; the message is one sentence for the user."""


def available_devices() -> list[str]:
    """Return the devices of this machine by name, the best first.

    Returns
    -------
    list of str
        For instance ``["cuda:0", "cuda:1", "cpu"]``; ``"cpu"`` is always among them.
    """
    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps:0")
    return [*names, "cpu"]


def choose_device(device: str = "auto") -> torch.device:
    """Return the device that a name stands for.

    Parameters
    ----------
    device : str
        ``"auto"`` is the first CUDA device if there is one and else the CPU; ``"cuda"`` and
        ``"mps"`` are the first of their kind; or one of `available_devices`.

    Returns
    -------
    torch.device
        A device that is there.

    Raises
    ------
    DeviceError
        There is no such device.
    """
    available = available_devices()
    if device == "auto":
        # Not MPS: it has to be asked for by name until it is tested as well as the others.
        return torch.device("cuda:0" if "cuda:0" in available else "cpu")
    # A tensor's device has an index: with one here, too, the two can be compared.
    name = f"{device}:0" if device in ("cuda", "mps") else device
    if name not in available:
        raise DeviceError(
            f"There is no device {device!r} on this machine; available are "
            f"{', '.join(available)}, and 'auto' chooses."
        )
    return torch.device(name)


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the dtype in which a network computes.

    Parameters
    ----------
    precision : {"fp32", "tf32", "bf16", "fp16"}
        ``"tf32"`` is float32 whose products are rounded to 10 bits, on CUDA devices.
    device : torch.device
        Device that computes.

    Returns
    -------
    torch.dtype
        float32, bfloat16 or float16.

    Raises
    ------
    DeviceError
        There is no such precision, or the device is much slower with it than without.
    """
    if precision not in PRECISIONS:
        raise DeviceError(
            f"There is no precision {precision!r}; there are {', '.join(PRECISIONS)}."
        )
    if precision != "fp32" and device.type == "cpu":
        raise DeviceError(
            f"Precision {precision} needs a GPU: a CPU computes it slower than fp32, most of "
            "them a hundred times slower."
        )
    if precision == "tf32" and device.type != "cuda":
        raise DeviceError("Precision tf32 needs a CUDA device.")
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)


@contextlib.contextmanager
def float32_precision(precision: Precision, device: torch.device) -> Iterator[None]:
    """Let float32 on a GPU be float32, unless TF32 was asked for (torch's own default is TF32).

    The setting is the process's. On other devices it has no meaning and is left alone; on CUDA
    devices one user at a time has it.

    Parameters
    ----------
    precision : {"fp32", "tf32", "bf16", "fp16"}
        See `choose_dtype`.
    device : torch.device
        Device that computes.
    """
    if device.type != "cuda":
        yield
        return
    settings: Any = getattr(torch.backends.cudnn, "conv", None)
    name, strict, fast = "fp32_precision", "ieee", "tf32"
    if not hasattr(settings, name):  # torch before 2.9
        settings, name, strict, fast = torch.backends.cudnn, "allow_tf32", False, True  # type: ignore[assignment]
    with _float32_precision_in_use:
        before = getattr(settings, name)
        setattr(settings, name, fast if precision == "tf32" else strict)
        try:
            yield
        finally:
            setattr(settings, name, before)


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def free_unused(device: torch.device) -> None:
    """Give back the memory that torch keeps for later; after a fatal error it may be lost."""
    with contextlib.suppress(RuntimeError):
        if device.type == "cuda":
            torch.cuda.empty_cache()
        elif device.type == "mps":
            torch.mps.empty_cache()
