"""Ways of restoring a pair by a model: without a PSF, with the true one, with one that it finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_darkdeblur.network import LoadedModel
from napari_darkdeblur.network.guides import wiener_guides
from napari_darkdeblur.psf import PSFError, estimate
from napari_darkdeblur.psf.estimation import CONFIDENT
from napari_darkdeblur.restore import deblur

from ..validation import ValidationPair

Way = Callable[[ValidationPair], Tensor]
# What `--psf` calls them, and what is added to a model's name in the table.
PSF_LABELS = {"none": "", "true": ", true PSF", "auto": ", found PSF"}


def takes_psf(model: LoadedModel) -> bool:
    """Return whether the model can be given a PSF."""
    return model.network.config.guides > 0


def model_way(model: LoadedModel, psf: str, tiling: str = "whole") -> Way:
    """Return a way of restoring.

    Parameters
    ----------
    model : LoadedModel
        On the device that it is to work on.
    psf : {"none", "true", "auto"}
        Whether it is given no PSF, the true one, or the one that is found in the blurred image,
        if the search is confident of that. All but ``"none"`` take a model of which `takes_psf`
        is true.
    tiling : {"auto", "whole", "exact", "local", "fast"}
        See `make_plan`; with a PSF it is ``"whole"``.

    Returns
    -------
    callable
        Maps a `ValidationPair` to what is restored, of the shape of ``pair.blurred``.
    """
    if psf == "none":
        return _without_psf(model, tiling)
    return _with_true_psf(model) if psf == "true" else _with_found_psf(model)


def _without_psf(model: LoadedModel, tiling: str) -> Way:
    device = str(next(model.network.parameters()).device)

    def restore(pair: ValidationPair) -> Tensor:
        grey = len(pair.blurred) == 1
        pixels = (pair.blurred[0] if grey else pair.blurred.permute(1, 2, 0)).numpy()
        axes = "YX" if grey else "YXC"
        restored = torch.from_numpy(deblur(pixels, model, device, axes=axes, tiling=tiling))
        return restored[None] if grey else restored.permute(2, 0, 1)

    return restore


def _with_true_psf(model: LoadedModel) -> Way:
    def restore(pair: ValidationPair) -> Tensor:
        assert pair.kernel is not None
        return _guided(model, pair.blurred, pair.kernel, pair.linear_light)

    return restore


def _with_found_psf(model: LoadedModel) -> Way:
    def restore(pair: ValidationPair) -> Tensor:
        restorer = _Restorer(model, pair.linear_light)
        image = pair.blurred.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
        try:
            psf = estimate(image, restorer, linear_light=pair.linear_light)
        except PSFError:  # too small an image: what a user gets then is restored without
            return _guided(model, pair.blurred, None, pair.linear_light)
        sure = psf.confidence is not None and psf.confidence >= CONFIDENT
        kernel = torch.tensor(psf.kernel) if sure else None
        return _guided(model, pair.blurred, kernel, pair.linear_light)

    return restore


class _Restorer:
    """What `estimate` needs of a model."""

    def __init__(self, model: LoadedModel, linear_light: bool) -> None:
        self.model, self.linear_light = model, linear_light

    def blind(self, image: NDArray[Any]) -> NDArray[Any]:
        return self._restored(image, None)

    def guided(self, image: NDArray[Any], kernel: NDArray[Any]) -> NDArray[Any]:
        return self._restored(image, torch.tensor(kernel))

    def _restored(self, image: NDArray[Any], kernel: Tensor | None) -> NDArray[Any]:
        blurred = torch.tensor(image).permute(2, 0, 1)
        restored = _guided(self.model, blurred, kernel, self.linear_light)
        return np.ascontiguousarray(restored.clamp(0, 1).permute(1, 2, 0).numpy())


@torch.no_grad()
def _guided(
    model: LoadedModel, blurred: Tensor, kernel: Tensor | None, linear_light: bool
) -> Tensor:
    """Restore (C, H, W) whole, with the guides of a kernel (K, K) or without any."""
    device = next(model.network.parameters()).device
    picture = blurred.expand(3, -1, -1)[None].to(device)
    beside = []
    if kernel is not None:
        beside = [wiener_guides(picture, kernel[None].to(device), linear_light)]
    restored: Tensor = model.network(torch.cat([picture, *beside], dim=1))[0].float().cpu()
    return restored if len(blurred) == 3 else restored.mean(dim=0, keepdim=True)
