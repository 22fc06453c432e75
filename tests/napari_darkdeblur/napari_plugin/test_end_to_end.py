"""From the menu to a measured, compared result, as a new user goes, with the real widgets."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog

from napari_darkdeblur import save_weights
from napari_darkdeblur.napari_plugin.docks import open_dock
from napari_darkdeblur.napari_plugin.provenance import provenance_of

from ..conftest import make_network

PLUGIN = "napari-darkdeblur"
LONG = 120_000  # milliseconds: the machine may be busy


@pytest.fixture
def viewer(make_napari_viewer_proxy: Any, models_folder: Path) -> Any:
    """Return a viewer beside a models folder with a small model."""
    models_folder.mkdir()
    save_weights(models_folder / "tiny.safetensors", make_network(), summary="A tiny one.")
    return make_napari_viewer_proxy()


def opened(viewer: Any, name: str) -> Any:
    return viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=True)[1]


def test_from_the_sample_to_a_file_of_numbers(
    viewer: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer.open_sample(PLUGIN, "night_photograph")
    photograph = viewer.layers["night photograph"]
    before = np.array(photograph.data)

    deblur = opened(viewer, "Deblur")
    qtbot.waitUntil(lambda: deblur.models.model is not None, timeout=LONG)
    deblur.models.model_box.setCurrentText("tiny")
    # The sample and its reference are chosen already: nothing is left but to run.
    assert deblur.run.run_button.isEnabled()

    # In tiles, and then no more of them.
    deblur.options.tile_spin.setValue(64)
    deblur.run.run_button.click()
    qtbot.waitUntil(lambda: "tile" in deblur.run.status.text() or not deblur.busy, timeout=LONG)
    deblur.run.run_button.click()
    qtbot.waitUntil(lambda: not deblur.busy, timeout=LONG)
    if "cancelled" in deblur.run.result.text():  # a fast machine may be done before
        assert len(viewer.layers) == 2
        deblur.run.run_button.click()
        qtbot.waitUntil(lambda: not deblur.busy, timeout=LONG)
    result = viewer.layers["night photograph [darkdeblur]"]
    assert result.data.shape == before.shape
    assert result.data.dtype == before.dtype
    np.testing.assert_array_equal(photograph.data, before)

    deblur.before_after.compare_button.click()
    compare = open_dock(viewer, "Compare")  # the one that is there
    assert compare.mode == "side by side"
    assert viewer.canvas.grid.enabled
    assert not viewer.layers["night photograph (reference)"].visible
    compare.set_mode("off")
    assert not viewer.canvas.grid.enabled

    deblur.before_after.measure_button.click()
    metrics = open_dock(viewer, "Measure")
    table = tmp_path / "numbers.csv"
    monkeypatch.setattr(QFileDialog, "exec", lambda dialog: 1)
    monkeypatch.setattr(QFileDialog, "selectedFiles", lambda dialog: [str(table)])
    qtbot.waitUntil(metrics.tables.save_button.isEnabled, timeout=LONG)
    qtbot.waitUntil(lambda: not metrics.busy, timeout=LONG)
    metrics.tables.save_button.click()
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    names = {value for row in rows for value in row.values()}
    assert "night photograph [darkdeblur]" in names
    # The file, the dock and the layer's record say the same.
    said = provenance_of(result).metrics["restored"]["PSNR (dB)"]
    written = [float(row["PSNR (dB)"]) for row in rows if row["PSNR (dB)"]]
    assert any(abs(value - said) < 1e-6 for value in written)


@pytest.mark.parametrize("sample", ["night_stack", "microscopy", "large_mosaic"])
def test_what_is_on_screen_of_every_sample_can_be_restored(viewer: Any, qtbot: Any, sample: str):
    viewer.open_sample(PLUGIN, sample)
    deblur = opened(viewer, "Deblur")
    qtbot.waitUntil(lambda: deblur.models.model is not None, timeout=LONG)
    deblur.models.model_box.setCurrentText("tiny")
    layer = deblur.source.layer
    viewer.scene.camera.zoom = 8
    viewer.window.resize(700, 600)
    deblur.source.planes_box.setCurrentIndex(1)
    deblur.source.area_box.setCurrentIndex(1)
    qtbot.waitUntil(deblur.run.run_button.isEnabled, timeout=LONG)
    deblur.run.run_button.click()
    qtbot.waitUntil(lambda: not deblur.busy, timeout=LONG)
    result = next(o for o in viewer.layers if o.name.endswith("[darkdeblur]"))
    region = provenance_of(result).region
    np.testing.assert_allclose(
        result.data_to_world([0] * result.ndim), layer.data_to_world(region.start), atol=1e-6
    )
    assert result.dtype == layer.dtype
