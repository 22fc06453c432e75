"""What can be chosen besides the image and the model, in the plugin's own terms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...errors import DarkDeblurError
from ...restore.options import RestoreOptions
from ...restore.units import parse_bytes
from ..settings import EngineChoices, PluginSettings

if TYPE_CHECKING:
    from napari.layers import Image

    from ...psf import PSF
    from ...restore import ValueRange

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
            Layer that is restored.
        axes : str
            Axes of its array.
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
