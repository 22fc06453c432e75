"""What napari is told about the plugin, and that it is true."""

from __future__ import annotations

from npe2 import PluginManifest


def test_the_manifest_is_valid_and_everything_it_names_can_be_imported() -> None:
    manifest = PluginManifest.from_distribution("napari-darkdeblur")
    manifest.validate_imports()
