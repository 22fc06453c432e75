"""What is asked for, checked as a whole: it gives a job, or the sentence why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...errors import DarkDeblurError
from ...restore.image.pixels import check_dtype
from ...restore.options import RestoreOptions
from ...restore.units import parse_bytes
from ...weights import AUTO_MODEL
from ..layer_pixels import axes_of, full_resolution
from ..regions import Area, Planes, choose_region
from ..settings import EngineChoices, PluginSettings
from .capabilities import ModelInfo
from .jobs import JobSpec

if TYPE_CHECKING:
    from napari.layers import Image, Shapes

    from ...psf import PSF
    from ...restore import ValueRange
    from ...restore.image.pixels import PixelArray


Values = Literal["auto", "dtype", "data", "percentile", "contrast", "given"]


class OptionsError(DarkDeblurError, ValueError):
    """An option makes no sense; the message is one sentence."""


@dataclass(frozen=True, kw_only=True)
class Options(EngineChoices):
    """What can be chosen besides the image and the model: the engine's choices, and these.

    Parameters
    ----------
    values : str
        Which values are black and white: a name of `RestoreOptions`, ``"contrast"`` (the
        layer's contrast limits), ``"given"``, or ``"auto"``, see `value_range`.
    black, white : float
        Values of black and of white for ``"given"``.
    """

    values: Values = "auto"
    black: float = 0.0
    white: float = 1.0

    @classmethod
    def of(cls, settings: PluginSettings) -> Options:
        """Return what the user's settings say."""
        return cls(**settings.engine_choices())

    def as_settings(self, settings: PluginSettings) -> PluginSettings:
        """Return settings with these options in place of theirs; see `of`."""
        # Settings do not know how many devices of a kind there are.
        chosen = replace(self, device=self.device.split(":")[0])
        return replace(settings, **chosen.engine_choices())

    def value_range(self, layer: Image) -> ValueRange:
        """Return a layer's value range as `RestoreOptions` takes it.

        Raises
        ------
        OptionsError
            White is not above black.
        """
        if self.values in ("auto", "dtype", "data", "percentile"):
            return self.values
        low, high = layer.contrast_limits if self.values == "contrast" else (self.black, self.white)
        if not low < high:
            raise OptionsError(f"White ({high:g}) is not above black ({low:g}); change the values.")
        return float(low), float(high)

    def for_engine(
        self, layer: Image, axes: str, model: Path | str, psf: PSF | Literal["auto", "none"]
    ) -> RestoreOptions:
        """Return the options with which the engine restores a layer.

        Parameters
        ----------
        layer : napari.layers.Image
            Image layer that is restored.
        axes : str
            Axes of the layer's array.
        model : Path or str
            Weights file, or name of a model.
        psf : PSF or {"auto", "none"}
            Blur to be undone, see `RestoreOptions`.

        Raises
        ------
        OptionsError
            One of the options makes no sense.
        """
        memory = None
        if self.memory.strip():
            try:
                memory = parse_bytes(self.memory)
            except ValueError as error:
                raise OptionsError(f"Memory: {error}") from error
        return RestoreOptions(
            model=model,
            device=self.device,
            axes=axes,
            value_range=self.value_range(layer),
            tiling=self.tiling,
            tile=self.tile or None,
            memory=memory,
            precision=self.precision,
            psf=psf,
            light=self.light,
        )


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
        Layer to restore; None if there is none.
    model : ModelInfo or Path or str or None
        Weights of the network.
    axes : str, optional
        Of the layer's array; guessed if not given.
    planes, area, shapes
        See `choose_region`.
    reference : napari.layers.Image, optional
        What the layer should look like.
    blur : Blur
        What is to be done about the blur.
    options : Options
        All other options.
    results_folder : pathlib.Path, optional
        Folder for results that do not fit into memory.
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
