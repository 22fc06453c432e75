"""What is asked for, checked as a whole: it gives a job, or the sentence why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...errors import DarkDeblurError
from ...restore.image.pixels import check_dtype
from ...weights import AUTO_MODEL
from ..layer_pixels import axes_of, full_resolution
from ..regions import Area, Planes, choose_region
from .job import JobSpec
from .machine import ModelInfo
from .options import Options

if TYPE_CHECKING:
    from napari.layers import Image, Shapes

    from ...psf import PSF
    from ...restore.image.pixels import PixelArray


class RequestError(DarkDeblurError, ValueError):
    """Something is missing or does not fit; the message is one sentence."""


@dataclass(frozen=True)
class Blur:
    """What is to be done about the blur.

    Parameters
    ----------
    psf : PSF or {"auto", "none"}
        The kernel; ``"auto"`` finds it first, ``"none"`` leaves the blur to the network.
    note : str
        A sentence that the result shall keep about it; may be empty.
    problem : str
        Why there is no kernel although one is wanted; empty if all is well.
    """

    psf: PSF | Literal["auto", "none"] = "none"
    note: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Parameters
    ----------
    layer : napari.layers.Image or None
        What to restore.
    model : ModelInfo or Path or str or None
        The weights.
    axes : str, optional
        Of the layer's array; guessed if not given.
    planes, area, shapes
        See `choose_region`.
    reference : napari.layers.Image, optional
        What the layer should look like.
    blur : Blur
        What is to be done about the blur.
    options : Options
        Everything else.
    results_folder : pathlib.Path, optional
        For large results.
    """

    layer: Image | None
    model: ModelInfo | Path | str | None
    axes: str = ""
    planes: Planes = "all"
    area: Area = "whole"
    shapes: Shapes | None = None
    reference: Image | None = None
    blur: Blur = field(default_factory=Blur)
    options: Options = field(default_factory=Options)
    results_folder: Path | None = None

    def spec(self, point: Sequence[float], ndisplay: int = 2) -> JobSpec:
        """Return the job.

        Parameters
        ----------
        point : sequence of float
            ``viewer.dims.point``: where the sliders are.
        ndisplay : int
            ``viewer.dims.ndisplay``: what the canvas shows, is an area in 2D only.

        Raises
        ------
        DarkDeblurError
            There is none; the message says why and what to do.
        """
        layer = self.layer
        if layer is None:
            raise RequestError("There is no image layer; open an image or a sample.")
        array = full_resolution(layer)
        check_dtype(array.dtype)
        axes = axes_of(layer, self.axes)
        if self.area == "visible" and ndisplay != 2:
            raise RequestError("What the canvas shows is an area in the 2D view only; go to 2D.")
        region = choose_region(layer, point, axes.letters, self.planes, self.area, self.shapes)
        model = self._checked_model()
        if self.blur.problem:
            raise RequestError(self.blur.problem)
        options = self.options.for_engine(layer, axes.letters, model, self.blur.psf)
        return JobSpec(
            name=str(layer.name),
            array=array,
            region=region,
            options=options,
            output_dtype=self.options.output_dtype,
            reference=self._checked_reference(array.shape),
            results_folder=self.results_folder,
            notes=(self.blur.note,) if self.blur.note else (),
        )

    def _checked_model(self) -> Path | str:
        if self.model is None:
            raise RequestError("No model is chosen; choose one, or open a weights file.")
        if not isinstance(self.model, ModelInfo):
            return self.model
        if not self.model.usable:
            raise RequestError(self.model.summary)
        return AUTO_MODEL if self.model.automatic else self.model.path

    def _checked_reference(self, shape: tuple[int, ...]) -> PixelArray | None:
        if self.reference is None:
            return None
        if self.reference is self.layer:
            raise RequestError("The reference is the image itself; choose another layer or none.")
        reference = full_resolution(self.reference)
        if tuple(reference.shape) != tuple(shape):
            raise RequestError(
                f"The reference {self.reference.name!r} has shape {tuple(reference.shape)}, the "
                f"image {tuple(shape)}; choose one of the same shape, or none."
            )
        return reference
