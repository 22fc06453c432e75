"""What napari is told about the plugin, and that it is true."""

from __future__ import annotations

from typing import Any

import pytest
from npe2 import PluginManifest

from napari_darkdeblur.napari_plugin.settings import PLUGIN

MANIFEST = PluginManifest.from_distribution(PLUGIN)
SAMPLES = [sample.key for sample in MANIFEST.contributions.sample_data or []]


def test_everything_the_manifest_names_can_be_imported() -> None:
    MANIFEST.validate_imports()


def test_every_command_has_the_plugins_name() -> None:
    commands = MANIFEST.contributions.commands or []
    assert commands
    assert all(command.id.startswith(f"{PLUGIN}.") for command in commands)


@pytest.mark.parametrize("key", SAMPLES)
def test_samples_open_with_what_is_to_be_restored_selected(
    make_napari_viewer_proxy: Any, key: str
) -> None:
    viewer = make_napari_viewer_proxy()
    layers = viewer.open_sample(PLUGIN, key)
    # Behind the proxy, layers are different objects each time.
    assert viewer.layers.selection.active.unique_id == layers[-1].unique_id
    assert [layer.visible for layer in layers] == [False] * (len(layers) - 1) + [True]
