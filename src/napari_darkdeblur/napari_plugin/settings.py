"""What the user has chosen on the plugin's page of napari's preferences.

The page is described in ``napari.yaml``; napari keeps its values. They are what widgets start
with, and are asked for each time: nothing here changes the process or the command line.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from ..errors import DarkDeblurError, sentence_of

if TYPE_CHECKING:
    from ..restore.devices import Precision
    from ..restore.psfs import Light
    from ..restore.tiling.plan import Tiling

PLUGIN = "napari-darkdeblur"

# Where on the page each value is.
_GROUPS = {
    "restoring": ("device", "precision", "tiling", "tile", "memory", "blur", "light"),
    "files": ("models_folder", "results_folder"),
    "results": ("output_dtype", "text_overlay", "tile_overlay"),
}


class SettingsError(DarkDeblurError):
    """The settings cannot be kept."""


@dataclass(frozen=True, kw_only=True)
class EngineChoices:
    """What the settings and the dock alike let the user choose about the engine.

    Parameters
    ----------
    device : str
        See `napari_darkdeblur.restore.RestoreOptions`. It may not be on this machine.
    precision : {"fp32", "tf32", "bf16", "fp16"}
        See `RestoreOptions`.
    tiling : {"auto", "whole", "exact", "local", "fast"}
        See `RestoreOptions`.
    tile : int
        Side of a tile in pixels; 0 is what fits.
    memory : str
        What restoring may take, such as ``"4 GB"``, as it was typed, whether or not it makes
        sense; empty is a share of what is free.
    light : {"auto", "srgb", "linear"}
        See `RestoreOptions`.
    output_dtype : {"same", "float32"}
        Data type of results: the input's, or float32.
    """

    device: str = "auto"
    precision: Precision = "fp32"
    tiling: Tiling = "auto"
    tile: int = 0
    memory: str = ""
    light: Light = "auto"
    output_dtype: Literal["same", "float32"] = "same"

    def engine_choices(self) -> dict[str, Any]:
        """Return the fields of this class by name, those of subclasses left out."""
        return {field.name: getattr(self, field.name) for field in fields(EngineChoices)}


@dataclass(frozen=True, kw_only=True)
class PluginSettings(EngineChoices):
    """What widgets start with: the engine's choices (see `EngineChoices`), and these.

    Parameters
    ----------
    blur : {"find", "unknown"}
        Whether the shake is looked for, if the model takes kernels, or left to the network.
    models_folder : pathlib.Path, optional
        Where the user's models are, for `napari_darkdeblur.network.list_models`; None is the
        folder of the command line.
    results_folder : pathlib.Path, optional
        Where results are kept that do not fit into memory; see `result_store.make_store`.
    text_overlay : bool
        Whether the values of a new result are written on the canvas.
    tile_overlay : bool
        Whether a new result is measured tile by tile.
    """

    blur: Literal["find", "unknown"] = "find"
    models_folder: Path | None = None
    results_folder: Path | None = None
    text_overlay: bool = False
    tile_overlay: bool = False


def read_settings() -> PluginSettings:
    """Return what the user has chosen; the defaults where nothing is to be found."""
    try:
        stored = _stored()
        values = {
            name: getattr(getattr(stored, group), name)
            for group, names in _GROUPS.items()
            for name in names
        }
    except Exception:
        # The plugin is disabled, or the page of another plugin is broken: napari reads all
        # at once. No widget may fail to open for that.
        return PluginSettings()
    for name in ("models_folder", "results_folder"):
        text = values[name].strip()
        values[name] = Path(text).expanduser() if text else None
    return PluginSettings(**values)


def save_as_defaults(settings: PluginSettings) -> None:
    """Write what the user has chosen into napari's preferences, which keep it.

    Parameters
    ----------
    settings : PluginSettings
        What widgets shall start with from now on.

    Raises
    ------
    SettingsError
        napari has no page for them, cannot write it, or a value is none that it offers.
    """
    values: dict[str, Any] = {
        field.name: getattr(settings, field.name) for field in fields(settings)
    }
    for name in ("models_folder", "results_folder"):
        values[name] = "" if values[name] is None else str(values[name])
    try:
        stored = _stored()
        for group, names in _GROUPS.items():
            getattr(stored, group).update({name: values[name] for name in names})
    except KeyError as error:
        raise SettingsError(
            f"napari has no settings for {PLUGIN}; is it disabled in the plugin manager?"
        ) from error
    except ValidationError as error:
        wrong = error.errors()[0]
        raise SettingsError(
            f"The setting {wrong['loc'][-1]} cannot be {wrong['input']!r}."
        ) from error
    except OSError as error:
        raise SettingsError(f"The settings cannot be kept: {sentence_of(error)}") from error


def _stored() -> Any:
    from napari.settings import get_plugin_settings

    return get_plugin_settings(PLUGIN)
