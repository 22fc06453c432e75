"""Which bundled model restores what: the thorough one where it is quick, else the fast one."""

from __future__ import annotations

import torch

from ..network import DEFAULT_MODEL, THOROUGH_MODEL, has_model

# The thorough model is 16 times the work: on a CPU more than that keeps people waiting.
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
    return THOROUGH_MODEL if quick and has_model(THOROUGH_MODEL) else DEFAULT_MODEL
