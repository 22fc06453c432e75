"""Which bundled model restores what: the thorough one where it is quick, else the fast one."""

from __future__ import annotations

import torch

from ..network import DEFAULT_MODEL, THOROUGH_MODEL, list_models

# A CPU takes about 16 times as long with the thorough model: half a minute for this many pixels.
SMALL_IMAGE = 512 * 512


def choose_model(device: torch.device, pixels: int | None = None) -> str:
    """Choose the model that ``"auto"`` stands for.

    Parameters
    ----------
    device : torch.device
        Where it will run.
    pixels : int, optional
        How many it will restore, over all planes; not known if not given.

    Returns
    -------
    str
        `THOROUGH_MODEL` on a GPU, or for at most `SMALL_IMAGE` pixels; else, or if it is neither
        bundled nor in the models folder, `DEFAULT_MODEL`.
    """
    quick = device.type != "cpu" or (pixels is not None and pixels <= SMALL_IMAGE)
    if quick and any(entry.name == THOROUGH_MODEL and entry.usable for entry in list_models()):
        return THOROUGH_MODEL
    return DEFAULT_MODEL
