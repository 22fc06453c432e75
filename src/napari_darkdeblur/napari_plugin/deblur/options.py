"""What can be chosen besides the image and the model, in the plugin's own terms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ...errors import DarkDeblurError
from ...restore.units import parse_bytes
from ..settings import PluginSettings

if TYPE_CHECKING:
    from napari.layers import Image

    from ...restore.devices import Precision
    from ...restore.psfs import Light
    from ...restore.tiling.plan import Tiling
    from .job import OutputDtype

Values = Literal["auto", "dtype", "data", "percentile", "contrast", "given"]


class OptionsError(DarkDeblurError, ValueError):
    """An option makes no sense; the message is one sentence."""


@dataclass(frozen=True)
class Options:
    """What can be chosen besides the image and the model.

    Parameters
    ----------
    device, tiling, tile, memory, precision, light
        See `RestoreOptions`; ``tile`` 0 and ``memory`` "" are automatic.
    values : str
        Which values are black and white: a name of `RestoreOptions`, ``"contrast"`` (the
        layer's contrast limits), ``"given"``, or ``"auto"``, see `value_range`.
    black, white : float
        For ``"given"``.
    output_dtype : {"same", "float32"}
        Of the result.
    """

    device: str = "auto"
    tiling: Tiling = "auto"
    tile: int = 0
    memory: str = ""
    precision: Precision = "fp32"
    values: Values = "auto"
    black: float = 0.0
    white: float = 1.0
    output_dtype: OutputDtype = "same"
    light: Light = "auto"

    @classmethod
    def of(cls, settings: PluginSettings) -> Options:
        """Return what the user's settings say."""
        return cls(
            device=settings.device,
            tiling=settings.tiling,
            tile=settings.tile,
            memory=settings.memory,
            precision=settings.precision,
            output_dtype=settings.output_dtype,
            light=settings.light,
        )

    def as_settings(self, settings: PluginSettings) -> PluginSettings:
        """Return settings with these options in place of theirs; see `of`."""
        return replace(
            settings,
            device=self.device.split(":")[0],
            tiling=self.tiling,
            tile=self.tile,
            memory=self.memory,
            precision=self.precision,
            output_dtype=self.output_dtype,
            light=self.light,
        )

    def value_range(self, layer: Image) -> str | tuple[float, float]:
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

    def for_engine(self, layer: Image) -> dict[str, Any]:
        """Return them as fields of `RestoreOptions`.

        Raises
        ------
        OptionsError
            One of them makes no sense.
        """
        memory = None
        if self.memory.strip():
            try:
                memory = parse_bytes(self.memory)
            except ValueError as error:
                raise OptionsError(f"Memory: {error}") from error
        return {
            "device": self.device,
            "tiling": self.tiling,
            "tile": self.tile or None,
            "memory": memory,
            "precision": self.precision,
            "value_range": self.value_range(layer),
            "light": self.light,
        }
