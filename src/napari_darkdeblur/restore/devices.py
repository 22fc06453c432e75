"""Where the network runs: only devices that are really there are offered."""

from __future__ import annotations

import torch

from ..errors import DarkDeblurError


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
