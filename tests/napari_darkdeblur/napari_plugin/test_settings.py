"""The plugin's page in napari's preferences, and what becomes of it."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from napari.settings import get_plugin_settings
from npe2 import PluginManager, PluginManifest

from napari_darkdeblur import save_weights
from napari_darkdeblur.napari_plugin.settings import (
    PLUGIN,
    PluginSettings,
    SettingsError,
    read_settings,
    save_as_defaults,
)
from napari_darkdeblur.network.library import MODELS_FOLDER_VARIABLE, list_models, models_folder
from napari_darkdeblur.restore.devices import PRECISIONS
from napari_darkdeblur.restore.tiling.plan import TILINGS

from ..conftest import assert_sentence, make_identity

CHOSEN = PluginSettings(
    device="cpu",
    precision="bf16",
    tiling="local",
    tile=384,
    memory="1.5 GB",
    models_folder=Path("models").absolute(),
    results_folder=Path("results").absolute(),
    output_dtype="float32",
    text_overlay=True,
    tile_overlay=True,
)


def _page() -> dict[str, Any]:
    """Return every property of the manifest's configurations by name."""
    configurations = PluginManifest.from_distribution(PLUGIN).contributions.configurations
    return {
        name: value for group in configurations.values() for name, value in group.properties.items()
    }


def test_an_untouched_page_is_the_defaults() -> None:
    assert read_settings() == PluginSettings()


def test_the_page_has_every_setting_and_no_other() -> None:
    assert set(_page()) == {field.name for field in fields(PluginSettings)}


def test_the_page_offers_what_restoring_knows() -> None:
    page = _page()
    assert tuple(page["precision"].enum) == PRECISIONS
    assert tuple(page["tiling"].enum) == TILINGS


def test_what_is_chosen_in_the_preferences_is_read() -> None:
    stored = get_plugin_settings(PLUGIN)
    stored.restoring.device = "cpu"
    stored.restoring.memory = "900 MiB"
    stored.files.models_folder = "~/models"
    settings = read_settings()
    assert settings.device == "cpu"
    assert settings.memory == "900 MiB"
    assert settings.models_folder == Path.home() / "models"


def test_defaults_that_were_saved_are_read_again() -> None:
    save_as_defaults(CHOSEN)
    assert read_settings() == CHOSEN


def test_folders_can_be_taken_back() -> None:
    save_as_defaults(CHOSEN)
    save_as_defaults(replace(CHOSEN, models_folder=None, results_folder=None))
    settings = read_settings()
    assert settings.models_folder is None
    assert settings.results_folder is None


@pytest.fixture
def settings_file(plugin_settings: None, npe2pm: PluginManager, tmp_path: Path) -> Path:
    """Let napari keep this plugin's settings in a file, and return it."""
    npe2pm.register(PluginManifest.from_distribution(PLUGIN))
    return tmp_path / f"{PLUGIN}.yaml"


def _start_napari_again(npe2pm: PluginManager) -> None:
    # What the fixture plugin_settings connects to napari's memory of settings.
    npe2pm.events.plugins_registered.emit(set())


def test_settings_survive_a_restart(settings_file: Path, npe2pm: PluginManager) -> None:
    save_as_defaults(CHOSEN)
    assert settings_file.is_file()
    _start_napari_again(npe2pm)
    assert read_settings() == CHOSEN


def test_nonsense_in_the_file_is_replaced_by_defaults(settings_file: Path) -> None:
    settings_file.write_text("restoring: {device: abacus, tile: -3, tiling: local}\nfiles: 7\n")
    assert read_settings() == PluginSettings(tiling="local")


def test_a_plugin_that_napari_does_not_know_has_defaults(plugin_settings: None) -> None:
    assert read_settings() == PluginSettings()
    with pytest.raises(SettingsError) as caught:
        save_as_defaults(CHOSEN)
    assert_sentence(str(caught.value))


def test_a_value_that_is_not_offered_is_refused_in_a_sentence() -> None:
    with pytest.raises(SettingsError, match="'abacus'") as caught:
        save_as_defaults(replace(CHOSEN, device="abacus"))
    assert_sentence(str(caught.value))
    assert read_settings().device == "auto"


def test_the_models_folder_of_the_preferences_is_the_plugins_only(tmp_path: Path) -> None:
    before, folder = models_folder(), tmp_path / "mine"
    folder.mkdir()
    save_weights(folder / "mine.safetensors", make_identity())
    save_as_defaults(PluginSettings(models_folder=folder))
    found = [model.name for model in list_models(read_settings().models_folder)]
    assert "mine" in found
    # The command line, and scripts in napari's console, look where they always did.
    assert models_folder() == before
    assert os.environ[MODELS_FOLDER_VARIABLE] == str(before)
    assert "mine" not in [model.name for model in list_models()]
