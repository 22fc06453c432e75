"""What napari is told about the plugin, and that it is true."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from npe2 import PluginManifest

from napari_darkdeblur.napari_plugin import sample_data, samples
from napari_darkdeblur.napari_plugin.docks import Dock, open_dock
from napari_darkdeblur.napari_plugin.settings import PLUGIN

from ..test_import import modules_after

ROOT = Path(__file__).parents[3]
MANIFEST = PluginManifest.from_distribution(PLUGIN)
SAMPLES = [sample.key for sample in MANIFEST.contributions.sample_data or []]
# What a headless machine does not have.
GUI = ("napari", "npe2", "qtpy", "PyQt6", "PySide6", "superqt", "magicgui", "vispy", "dask", "zarr")
WIDGETS = [widget.display_name for widget in MANIFEST.contributions.widgets or []]


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


@pytest.mark.parametrize("key", SAMPLES)
def test_samples_are_made_beside_the_window(
    monkeypatch: pytest.MonkeyPatch, qtbot: Any, key: str
) -> None:
    make, threads = getattr(sample_data, key), []

    def watched() -> Any:
        threads.append(threading.current_thread())
        return make()

    monkeypatch.setattr(sample_data, key, watched)
    assert getattr(samples, key)()
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("name", WIDGETS)
def test_every_widget_docks(make_napari_viewer_proxy: Any, qtbot: Any, name: str) -> None:
    viewer = make_napari_viewer_proxy()
    dock, widget = viewer.window.add_plugin_dock_widget(PLUGIN, name)
    assert any(docked is widget for docked in viewer.window.dock_widgets.values())
    viewer.window.remove_dock_widget(dock)
    widget.deleteLater()


def _entries(viewer: Any, menu: str) -> dict[str, bool]:
    """Return this plugin's entries of a submenu of Layers, and whether they can be chosen."""
    layers = viewer.window.layers_menu
    layers.aboutToShow.emit()
    (found,) = [a.menu() for a in layers.actions() if a.menu() and a.menu().title() == menu]
    found.aboutToShow.emit()
    entries = {action.text(): action.isEnabled() for action in found.actions()}
    ending = f" ({MANIFEST.display_name})"
    return {t.removesuffix(ending): on for t, on in entries.items() if t.endswith(ending)}


def test_the_walk_through_the_plugin_names_what_is_in_the_menus(
    make_napari_viewer_proxy: Any,
) -> None:
    viewer = make_napari_viewer_proxy()
    text = " ".join((ROOT / "docs" / "plugin.md").read_text(encoding="utf-8").split())
    named = re.findall(r"\*Layers > (\w+) > ([^*]+?)\.?\*", text)
    assert {menu for menu, _ in named} == {"Filter", "Measure", "Visualize"}
    for menu, entry in named:
        assert entry.removesuffix(f" ({MANIFEST.display_name})") in _entries(viewer, menu)
        assert entry.endswith(f" ({MANIFEST.display_name})")
    names = [sample.display_name for sample in MANIFEST.contributions.sample_data or []]
    samples_named = re.findall(r"\*File > Open Sample > ([^>]+) > ([^*]+?)\.?\*", text)
    assert samples_named
    for plugin, sample in samples_named:
        assert plugin == MANIFEST.display_name
        assert any(name.startswith(sample) for name in names)


def test_every_widget_is_in_the_menu_of_what_it_does(make_napari_viewer_proxy: Any) -> None:
    viewer = make_napari_viewer_proxy()
    assert "Deblur" in _entries(viewer, "Filter")
    assert "Measure" in _entries(viewer, "Measure")
    assert "Compare" in _entries(viewer, "Visualize")


@pytest.mark.parametrize(("menu", "name"), [("Measure", "Measure"), ("Visualize", "Compare")])
@pytest.mark.parametrize("menu_first", [True, False])
def test_there_is_one_dock_of_a_kind_however_it_is_opened(
    make_napari_viewer_proxy: Any, menu: str, name: str, menu_first: bool
) -> None:
    viewer = make_napari_viewer_proxy()

    def choose_in_menu() -> None:
        layers = viewer.window.layers_menu
        layers.aboutToShow.emit()
        (found,) = [a.menu() for a in layers.actions() if a.menu() and a.menu().title() == menu]
        found.aboutToShow.emit()
        (action,) = [a for a in found.actions() if a.text() == f"{name} ({MANIFEST.display_name})"]
        action.trigger()

    ways = [choose_in_menu, lambda: open_dock(viewer, name)]
    for way in ways if menu_first else reversed(ways):
        way()
    docks = [one for one in viewer.window.dock_widgets.values() if isinstance(one, Dock)]
    assert [type(one).title for one in docks] == [name]


def test_the_quick_command_is_greyed_unless_one_image_is_selected(
    make_napari_viewer_proxy: Any,
) -> None:
    viewer = make_napari_viewer_proxy()
    quick = "Deblur the selected image now"
    assert _entries(viewer, "Filter") == {"Deblur": True, quick: False}
    viewer.add_image(np.zeros((8, 8)))
    assert _entries(viewer, "Filter") == {"Deblur": True, quick: True}
    viewer.add_labels(np.zeros((8, 8), np.uint8))
    assert _entries(viewer, "Filter") == {"Deblur": True, quick: False}
    viewer.layers.select_all()
    assert _entries(viewer, "Filter") == {"Deblur": True, quick: True}


def test_what_the_manifest_names_is_imported_without_torch() -> None:
    modules = {str(c.python_name).split(":")[0] for c in MANIFEST.contributions.commands or []}
    loaded = modules_after(f"import {', '.join(sorted(modules))}")
    assert "napari_darkdeblur" in loaded
    assert "torch" not in loaded


def test_everything_below_the_plugin_can_be_imported_without_napari_and_qt() -> None:
    code = f"""
import importlib, pkgutil, sys
for name in {GUI}:
    sys.modules[name] = None
import napari_darkdeblur
def below(package):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if module.name != "napari_darkdeblur.napari_plugin":
            loaded = importlib.import_module(module.name)
            if module.ispkg:
                below(loaded)
below(napari_darkdeblur)
"""
    loaded = modules_after(code)
    assert {"napari_darkdeblur", "torch"} <= loaded
