"""What a user chooses. Nothing here imports torch: options are described before it is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..weights import AUTO_MODEL

if TYPE_CHECKING:
    from ..network import LoadedModel
    from .devices import Precision
    from .image.ranges import ValueRange
    from .psfs import GivenPSF, Light, PSFLike
    from .tiling.plan import Tiling


@dataclass(frozen=True)
class RestoreOptions:
    """How an image is restored.

    Parameters
    ----------
    model : str, path-like or LoadedModel
        A model's name or the path of a weights file (see `load_weights`), or a loaded model.
        ``"auto"`` chooses by device and size (see `choose_model`).
    device : str
        ``"auto"`` (a CUDA device if there is one, else the CPU), ``"cpu"``, ``"cuda"``,
        ``"cuda:1"``, ``"mps"``. If ``"auto"`` chose a device that turns out to have too little
        memory, the CPU takes over.
    axes : str, optional
        The axes, such as ``"TZYX"``; guessed from the shape if not given (see `Axes`).
    value_range : {"auto", "dtype", "data", "percentile"} or tuple of float
        Which values are black and white (see `ImageView`).
    tiling : {"auto", "whole", "exact", "local", "fast"}
        See `make_plan`.
    tile : int, optional
        Side of a tile in pixels; the default is what fits.
    memory : int, optional
        Bytes that restoring may take on the device; the default is a share of what is free.
    precision : {"fp32", "tf32", "bf16", "fp16"}
        See `choose_dtype`.
    scratch : pathlib.Path, optional
        Folder for scratch files; the default is the system's for temporary files.
    auto_pixels : int, optional
        How many pixels the model ``"auto"`` is chosen for; the default is the image's. With it,
        a preview of a part has the same model as the whole.
    psf : PSF, PSFGrid, ndarray, str, or sequence of PSF, PSFGrid or ndarray; optional
        The blur to be undone: a kernel for all planes or, as a sequence, one for each. A text
        is what `parse_psf` takes, or ``"auto"``: the kernel is searched in the middle plane,
        and used for all if it is found with confidence; with ``"auto-each"`` in each plane;
        with ``"auto-grid"`` in parts of the middle plane, as a camera that also turns about its
        axis blurs differently from place to place. A model that takes no guides cannot use a
        kernel: one that is given is an error, and ``"auto"`` searches none. The default is none:
        the network finds its own way.
    light : {"auto", "srgb", "linear"}
        How values, black 0 and white 1, relate to light, where blur happens: by the sRGB
        curve, as in photographs, or in proportion, as in a microscope's images. ``"auto"`` is
        ``"srgb"`` for colour and for 8-bit images, else ``"linear"``. It matters for the PSF
        only.
    full_scale : tuple of float, optional
        The values of black and white in the pixels' format (see `ImageView`).

    Raises
    ------
    PSFError
        The PSF is none, or the light is unknown.
    """

    model: str | os.PathLike[str] | LoadedModel = AUTO_MODEL
    device: str = "auto"
    axes: str | None = None
    value_range: ValueRange = "auto"
    tiling: Tiling = "auto"
    tile: int | None = None
    memory: int | None = None
    precision: Precision = "fp32"
    scratch: Path | None = None
    auto_pixels: int | None = None
    psf: PSFLike = None
    light: Light = "auto"
    full_scale: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        from ..psf.kernel import PSFError
        from .psfs import LIGHTS, as_psf

        if self.light not in LIGHTS:
            raise PSFError(f"There is no light {self.light!r}; there are {', '.join(LIGHTS)}.")
        object.__setattr__(self, "psf", as_psf(self.psf))

    @property
    def known_psf(self) -> GivenPSF:
        """The PSF as it was checked, a tuple if there is one for each plane."""
        return self.psf  # type: ignore[return-value]

    def load_model(self, pixels: int) -> LoadedModel:
        """Load the model for an image of so many pixels, over all planes; see `load_model`."""
        from .models import load_model

        chosen_for = pixels if self.auto_pixels is None else self.auto_pixels
        return load_model(self.model, self.device, self.precision, chosen_for)
