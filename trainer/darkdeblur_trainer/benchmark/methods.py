"""Methods that restore a pair by a model: without a PSF, with the true or an estimated one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from napari_darkdeblur.dataset_evaluation import FOUND_PSF
from napari_darkdeblur.network import LoadedModel
from napari_darkdeblur.psf import PSF
from napari_darkdeblur.restore import deblur

from ..validation import ValidationPair

Method = Callable[[ValidationPair], Tensor]
# What `--psf` calls them, and what is added to a model's name in the table.
PSF_LABELS = {"none": "", "true": ", true PSF", "auto": FOUND_PSF}


def model_method(model: LoadedModel, psf: str, tiling: str = "whole") -> Method:
    """Return the method that restores by a model, as `deblur` does.

    Parameters
    ----------
    model : LoadedModel
        Model that restores, on the device that it runs on.
    psf : {"none", "true", "auto"}
        Whether it is given no PSF, the true one, or the one that is found in the blurred image,
        if the search is confident of that. All but ``"none"`` take a model that takes guides.
    tiling : {"auto", "whole", "exact", "local", "fast"}
        Tiling mode of `deblur`; see `make_plan`.

    Returns
    -------
    callable
        Maps a `ValidationPair` to what is restored, of the shape of ``pair.blurred``.
    """
    device = str(next(model.network.parameters()).device)

    def given(pair: ValidationPair) -> PSF | str | None:
        if psf != "true":
            return None if psf == "none" else psf
        assert pair.kernel is not None
        return PSF.from_array(pair.kernel.numpy())

    def restore(pair: ValidationPair) -> Tensor:
        grey = len(pair.blurred) == 1
        pixels = (pair.blurred[0] if grey else pair.blurred.permute(1, 2, 0)).numpy()
        restored = torch.from_numpy(
            deblur(
                pixels,
                model,
                device,
                axes="YX" if grey else "YXC",
                # White is 1 however dark the picture is.
                value_range=(0.0, 1.0),
                tiling=tiling,
                psf=given(pair),
                light="srgb" if pair.linear_light else "linear",
            )
        )
        return restored[None] if grey else restored.permute(2, 0, 1)

    return restore
