"""The Metrics widget measures what is on screen, and says why if it does not."""

from __future__ import annotations

import csv
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QFileDialog, QPushButton, QWidget

from napari_darkdeblur.metrics import measure
from napari_darkdeblur.napari_plugin.measure import jobs
from napari_darkdeblur.napari_plugin.measure import widget as metrics_widget
from napari_darkdeblur.napari_plugin.measure.overlays import overlays_of
from napari_darkdeblur.napari_plugin.measure.widget import MeasureWidget
from napari_darkdeblur.napari_plugin.provenance import (
    ModelRecord,
    Provenance,
    provenance_of,
    record_psf,
)
from napari_darkdeblur.napari_plugin.settings import PluginSettings
from napari_darkdeblur.restore import deblur

from ...conftest import assert_sentence
from .test_alignment import pixels, restored_of

BUTTONS = {
    "tiles": "overlay_tiles",
    "error": "overlay_error",
    "SSIM": "overlay_SSIM",
    "change": "overlay_change",
    "uncertainty": "overlay_uncertainty",
}


@pytest.fixture
def viewer(make_napari_viewer_proxy: Any) -> Any:
    return make_napari_viewer_proxy()


@pytest.fixture
def open_widget(viewer: Any, qtbot: Any) -> Any:
    widgets = []

    def opened() -> MeasureWidget:
        widget = MeasureWidget(viewer)
        viewer.window.add_dock_widget(widget, name="Measure")
        widgets.append(widget)
        return widget

    yield opened
    for widget in widgets:
        settle(qtbot, widget)


def settle(qtbot: Any, widget: MeasureWidget) -> None:
    qtbot.waitUntil(lambda: not widget.busy, timeout=60_000)


def add(viewer: Any, layer: Image) -> Image:
    viewer.add_layer(layer)
    return layer


def movie(viewer: Any, reference: bool = True) -> tuple[Image, Image | None, Image]:
    """Return a source, its reference, and a result of a part of it."""
    source = add(viewer, Image(pixels(3, 60, 70), name="night", contrast_limits=(0, 255)))
    sharp = None
    if reference:
        data = pixels(3, 60, 70, seed=1)
        sharp = add(viewer, Image(data, name="night (reference)", contrast_limits=(0, 255)))
    result = add(viewer, restored_of(source, pixels(3, 40, 50, seed=2), start=(0, 8, 9)))
    viewer.dims.set_current_step(0, 1)
    return source, sharp, result


def button(widget: QWidget, name: str) -> QPushButton:
    return widget.findChild(QPushButton, name)


def numbers(widget: MeasureWidget) -> dict[str, dict[str, float]]:
    return {one.layer: one.numbers for one in widget.tables.comparison.measurements}


def history(widget: MeasureWidget) -> list[tuple[str, str]]:
    return [(one.layer, one.where) for one in widget.tables.history.measurements]


def test_it_measures_the_newest_result_and_its_input_against_the_known_reference(
    viewer, open_widget, qtbot
):
    source, sharp, result = movie(viewer)
    widget = open_widget()
    settle(qtbot, widget)
    assert widget.measured.reference is sharp
    crop = (1, slice(8, 48), slice(9, 59))
    restored, original, reference = (
        array / 255 for array in (result.data[1], source.data[crop], sharp.data[crop])
    )
    shown = numbers(widget)
    assert [*shown] == ["night", "night [darkdeblur]"]
    expected = measure(restored, reference, original)
    assert shown["night [darkdeblur]"] == pytest.approx(expected, rel=1e-4)
    assert shown["night"] == pytest.approx(measure(original, reference), rel=1e-4)
    assert "Compared with night (reference)" in widget.tables.caption.text()
    kept = provenance_of(result).metrics["planes"]["1"]
    assert kept["psnr"] == pytest.approx(expected["PSNR (dB)"], rel=1e-4)


def test_without_a_reference_nothing_is_called_psnr(viewer, open_widget, qtbot):
    movie(viewer, reference=False)
    widget = open_widget()
    settle(qtbot, widget)
    labels = {label for row in numbers(widget).values() for label in row}
    assert "Noise (%)" in labels
    assert "Mean change (%)" in labels
    assert not {label for label in labels if "PSNR" in label or "SSIM" in label}
    assert "do not say which is better" in widget.tables.caption.text()


def test_it_follows_the_slider_and_fills_the_history(viewer, open_widget, qtbot):
    _, _, result = movie(viewer)
    widget = open_widget()
    settle(qtbot, widget)
    before = numbers(widget)
    viewer.dims.set_current_step(0, 2)
    assert widget.busy
    settle(qtbot, widget)
    assert numbers(widget) != before
    both = ["night", "night [darkdeblur]"]
    assert history(widget) == [(name, where) for where in ("Z 1", "Z 2") for name in both]
    assert provenance_of(result).metrics["planes"].keys() == {"1", "2"}
    widget.measured.follow_box.setChecked(False)
    settle(qtbot, widget)
    viewer.dims.set_current_step(0, 0)
    assert not widget.busy


def test_pixels_that_change_are_measured_again(viewer, open_widget, qtbot):
    _, sharp, result = movie(viewer)
    widget = open_widget()
    settle(qtbot, widget)
    assert np.isfinite(numbers(widget)["night [darkdeblur]"]["PSNR (dB)"])
    result.data[:] = sharp.data[:, 8:48, 9:59]
    result.events.data(value=result.data)
    settle(qtbot, widget)
    assert numbers(widget)["night [darkdeblur]"]["PSNR (dB)"] == np.inf
    widget.measured.follow_box.setChecked(False)
    result.data[:] = 0
    result.events.data(value=result.data)
    settle(qtbot, widget)
    assert_sentence(widget.measured.problem.text())
    assert "changed" in widget.measured.problem.text()


def test_what_comes_too_late_is_dropped(viewer, open_widget, qtbot, monkeypatch):
    movie(viewer)
    entered, go_on = threading.Event(), threading.Event()
    measure_here = jobs.measure

    def slow(*arguments: Any) -> Any:
        first = not entered.is_set()
        entered.set()
        if first:
            assert go_on.wait(30)
        return measure_here(*arguments)

    monkeypatch.setattr(jobs, "measure", slow)
    widget = open_widget()
    widget.measure()
    qtbot.waitUntil(entered.is_set)
    viewer.dims.set_current_step(0, 2)
    # It would arrive before the plane on screen is measured.
    go_on.set()
    settle(qtbot, widget)
    assert {where for _, where in history(widget)} == {"Z 2"}
    assert {one.where for one in widget.tables.comparison.measurements} == {"Z 2"}


def test_what_takes_long_is_not_measured_by_itself(viewer, open_widget, qtbot, monkeypatch):
    monkeypatch.setattr(metrics_widget, "MOST_AUTOMATIC", 3999)
    movie(viewer)
    widget = open_widget()
    settle(qtbot, widget)
    assert numbers(widget) == {}
    assert_sentence(widget.measured.problem.text())
    qtbot.mouseClick(button(widget, "measure"), Qt.MouseButton.LeftButton)
    settle(qtbot, widget)
    assert len(numbers(widget)) == 2


def test_measuring_that_takes_long_can_be_cancelled(viewer, open_widget, qtbot, monkeypatch):
    movie(viewer)
    widget = open_widget()
    settle(qtbot, widget)
    entered, go_on = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        entered.set()
        assert go_on.wait(30)
        return {}

    monkeypatch.setattr(jobs, "measure", slow)
    control = button(widget, "measure")
    qtbot.mouseClick(control, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: control.text() == "Cancel")
    qtbot.mouseClick(control, Qt.MouseButton.LeftButton)
    go_on.set()
    settle(qtbot, widget)
    assert control.text() == "Measure"
    assert numbers(widget) == {}
    assert "cancelled" in widget.measured.problem.text()


def test_all_planes_and_their_mean_go_to_the_history(viewer, open_widget, qtbot):
    _, _, result = movie(viewer)
    widget = open_widget()
    settle(qtbot, widget)
    widget.tables.clear_history()
    qtbot.mouseClick(button(widget, "measure_all"), Qt.MouseButton.LeftButton)
    settle(qtbot, widget)
    places = [where for name, where in history(widget) if name == result.name]
    assert places == ["Z 0", "Z 1", "Z 2", "mean of 3"]
    assert widget.tables.tabs.currentWidget() is widget.tables.history_view
    assert provenance_of(result).metrics["planes"].keys() == {"0", "1", "2"}


def test_it_can_be_cancelled(viewer, open_widget, qtbot, monkeypatch):
    movie(viewer)
    widget = open_widget()
    settle(qtbot, widget)
    before = history(widget)
    entered, go_on = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        entered.set()
        assert go_on.wait(30)
        return {}

    monkeypatch.setattr(jobs, "measure", slow)
    widget.on_demand.measure_all_planes()
    qtbot.waitUntil(entered.is_set)
    qtbot.mouseClick(button(widget, "metrics_cancel"), Qt.MouseButton.LeftButton)
    go_on.set()
    settle(qtbot, widget)
    assert "cancelled" in widget.work.status.text()
    assert history(widget) == before
    assert button(widget, "measure_all").isEnabled()


def test_overlays_are_made_of_the_layer_that_is_chosen(viewer, open_widget, qtbot):
    source, _, result = movie(viewer)
    widget = open_widget()
    settle(qtbot, widget)
    assert widget.overlays.layer_id == str(result.unique_id)
    for kind in ("tiles", "error", "SSIM", "change"):
        qtbot.mouseClick(button(widget, BUTTONS[kind]), Qt.MouseButton.LeftButton)
        settle(qtbot, widget)
        (overlay,) = overlays_of(result, kind, viewer.layers)
        assert_sentence(widget.work.status.text())
        assert overlay.data_to_world([0] * 3)[0] == (0 if kind == "tiles" else 1)
    widget.overlays.choose_layer(source)
    widget.on_demand.make_overlay("error")
    settle(qtbot, widget)
    assert len(overlays_of(source, "error", viewer.layers)) == 1
    # They are no images to measure.
    assert widget.measured.layers == [source, result]
    assert widget.measured.checks.count() == 3


def test_what_tiles_are_made_with_is_read_whole(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1280, 720)
    widget = MeasureWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Measure")
    size, metric = widget.overlays.tile_spin, widget.overlays.metric_box

    def read_whole() -> bool:
        for control, text in ((size, size.text()), (metric, metric.currentText())):
            # Beside the text lie the signs to click on, and margins.
            width = control.fontMetrics().horizontalAdvance(text)
            if control.width() < width + 60:
                return False
        return True

    assert metric.currentText()
    qtbot.waitUntil(read_whole)


def test_tiles_show_another_metric_at_once(viewer, open_widget, qtbot):
    _, _, result = movie(viewer)
    widget = open_widget()
    settle(qtbot, widget)
    widget.on_demand.make_overlay("tiles")
    settle(qtbot, widget)
    (tiles,) = overlays_of(result, "tiles", viewer.layers)
    before = [*tiles.text.values]
    box = widget.overlays.metric_box
    box.setCurrentText("Noise (%)")
    box.activated.emit(box.currentIndex())
    assert [*tiles.text.values] != before
    assert not widget.busy


def test_the_uncertainty_is_that_of_the_model_that_restored(
    viewer, open_widget, qtbot, random_model
):
    data = pixels(2, 32, 40)
    source = add(viewer, Image(data, name="night", contrast_limits=(0, 255)))
    result = restored_of(source, deblur(data[:, 4:28, 6:38], random_model), start=(0, 4, 6))
    name(result, random_model)
    viewer.add_layer(result)
    viewer.dims.set_current_step(0, 1)
    widget = open_widget()
    settle(qtbot, widget)
    qtbot.mouseClick(button(widget, BUTTONS["uncertainty"]), Qt.MouseButton.LeftButton)
    settle(qtbot, widget)
    (overlay,) = overlays_of(result, "uncertainty", viewer.layers)
    assert overlay.data.shape == (1, 24, 32)
    assert overlay.data.max() > 0
    assert overlay.data_to_world((0, 0, 0)) == (1, 4, 6)
    assert provenance_of(overlay).kind == "uncertainty"
    assert "guesses" in widget.work.status.text()
    assert widget.work.status.isVisibleTo(widget)
    assert not widget.work.isVisibleTo(widget)


def test_the_uncertainty_is_that_of_the_kernel_that_was_undone():
    from napari_darkdeblur.napari_plugin.measure import jobs
    from napari_darkdeblur.psf import motion

    kernel = motion(9, 30)
    made = Provenance(kind="restored", psf=record_psf(kernel), options={"psf": "auto"})
    found = jobs.recorded_kernel(made)
    np.testing.assert_allclose(found.kernel, kernel.kernel, atol=1e-6)
    assert jobs.recorded_kernel(Provenance(kind="restored", options={"psf": "none"})) is None
    several = Provenance(kind="restored", options={"psf": "each"})
    large = made.model_copy(update={"psf": made.psf.model_copy(update={"kernel": ()})})
    for record in (several, large):
        with pytest.raises(jobs.KernelGoneError) as caught:
            jobs.recorded_kernel(record)
        assert_sentence(str(caught.value))


def name(result: Image, model: Path, sha256: str = "") -> None:
    """Write down that a model restored a layer."""
    made = provenance_of(result)
    options = {"model": str(model), "device": "cpu", "tiling": "auto", "tile": None}
    record = ModelRecord(name=model.stem, sha256=sha256)
    result.metadata = made.model_copy(update={"model": record, "options": options}).as_metadata()


def test_a_model_that_is_not_the_same_any_more_is_not_used(
    viewer, open_widget, qtbot, random_model
):
    source = add(viewer, Image(pixels(32, 40), name="night"))
    result = restored_of(source, source.data)
    name(result, random_model, sha256="0" * 64)
    viewer.add_layer(result)
    widget = open_widget()
    widget.on_demand.make_overlay("uncertainty")
    settle(qtbot, widget)
    assert_sentence(widget.work.status.text())
    assert "not the one that restored" in widget.work.status.text()
    assert not overlays_of(result, "uncertainty", viewer.layers)


def test_a_device_of_another_machine_does_no_harm(viewer, open_widget, qtbot, identity):
    source = add(viewer, Image(pixels(32, 40), name="night"))
    result = restored_of(source, source.data)
    name(result, identity)
    result.metadata["darkdeblur"]["options"] |= {"device": "cuda:7", "precision": "bf16"}
    viewer.add_layer(result)
    widget = open_widget()
    widget.on_demand.make_overlay("uncertainty")
    settle(qtbot, widget)
    (overlay,) = overlays_of(result, "uncertainty", viewer.layers)
    assert overlay.data.max() < 1e-6  # a network that changes nothing is sure of it


def test_what_is_not_possible_says_why(viewer, open_widget, qtbot):
    widget = open_widget()
    settle(qtbot, widget)
    controls = [button(widget, each) for each in (*BUTTONS.values(), "measure", "measure_all")]
    assert not any(control.isEnabled() for control in controls)
    assert {control.toolTip() for control in controls} == {"Check an image to measure."}

    picture = add(viewer, Image(pixels(40, 50), name="picture"))
    widget.measured.checks.check([picture])
    settle(qtbot, widget)
    possible = {kind: button(widget, each) for kind, each in BUTTONS.items()}
    assert possible["tiles"].isEnabled()
    assert "reference" in possible["error"].toolTip()
    assert "was not made of" in possible["change"].toolTip()
    assert "was not restored" in possible["uncertainty"].toolTip()
    assert "one plane" in button(widget, "measure_all").toolTip()
    for control in possible.values():
        assert_sentence(control.toolTip())


def test_3d_and_rolled_dimensions_are_explained(viewer, open_widget, qtbot):
    movie(viewer)
    widget = open_widget()
    settle(qtbot, widget)
    viewer.dims.ndisplay = 3
    settle(qtbot, widget)
    assert "2D" in widget.measured.problem.text()
    assert "2D" in button(widget, "measure").toolTip()
    assert numbers(widget) == {}
    viewer.dims.ndisplay = 2
    settle(qtbot, widget)
    assert len(numbers(widget)) == 2
    viewer.dims.order = (1, 0, 2)
    settle(qtbot, widget)
    assert "other axes" in widget.measured.problem.text()


def test_a_layer_that_is_removed_meanwhile_does_no_harm(viewer, open_widget, qtbot, monkeypatch):
    source, _, result = movie(viewer)
    widget = open_widget()
    settle(qtbot, widget)
    entered, go_on = threading.Event(), threading.Event()
    make = jobs.error_map

    def slow(*arguments: Any) -> Any:
        entered.set()
        assert go_on.wait(30)
        return make(*arguments)

    monkeypatch.setattr(jobs, "error_map", slow)
    widget.on_demand.make_overlay("error")
    qtbot.waitUntil(entered.is_set)
    viewer.layers.remove(result)
    go_on.set()
    settle(qtbot, widget)
    assert "removed" in widget.work.status.text()
    assert [*numbers(widget)] == [source.name]
    viewer.layers.clear()
    settle(qtbot, widget)
    assert numbers(widget) == {}


@pytest.mark.parametrize("way", ["dock", "viewer"])
def test_closing_while_measuring_ends_the_work(viewer, qtbot, monkeypatch, way):
    movie(viewer)
    overlay = viewer.canvas.overlays.text
    overlay.text = "mine"
    entered, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        entered.set()
        assert go_on.wait(30)
        ended.set()
        return {}

    widget = MeasureWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Measure")
    widget.overlays.text_box.setChecked(True)
    settle(qtbot, widget)
    assert "PSNR" in overlay.text
    monkeypatch.setattr(jobs, "measure", slow)
    widget.on_demand.measure_all_planes()
    qtbot.waitUntil(entered.is_set)
    if way == "dock":
        viewer.window.remove_dock_widget(widget)
        assert (overlay.text, overlay.visible) == ("mine", False)
        viewer.dims.set_current_step(0, 2)
        viewer.layers.selection.active = viewer.layers[0]
        assert not widget.busy
    go_on.set()
    if way == "viewer":
        viewer.close()
    qtbot.waitUntil(ended.is_set)
    qtbot.wait(100)


def test_numbers_on_the_canvas_follow_the_layer_and_are_put_back(viewer, open_widget, qtbot):
    source, _, result = movie(viewer)
    overlay = viewer.canvas.overlays.text
    overlay.text, overlay.visible = "mine", True
    widget = open_widget()
    settle(qtbot, widget)
    assert overlay.text == "mine"
    widget.overlays.text_box.setChecked(True)
    assert overlay.text.startswith("night [darkdeblur]  ·  Z 1  ·  PSNR")
    viewer.layers.selection.active = source
    assert overlay.text.startswith("night  ·  Z 1")
    viewer.dims.set_current_step(0, 2)
    settle(qtbot, widget)
    assert overlay.text.startswith("night  ·  Z 2")
    viewer.layers.selection.active = result
    assert overlay.text.startswith("night [darkdeblur]  ·  Z 2")
    widget.overlays.text_box.setChecked(False)
    assert (overlay.text, overlay.visible) == ("mine", True)


def test_a_new_result_is_measured_with_its_relatives(viewer, open_widget, qtbot):
    source, _, first = movie(viewer)
    unrelated = add(viewer, Image(pixels(40, 50), name="unrelated"))
    widget = open_widget()
    widget.measured.checks.check([unrelated])
    second = add(viewer, restored_of(source, pixels(3, 40, 50, seed=9), start=(0, 8, 9)))
    settle(qtbot, widget)
    assert widget.measured.layers == [source, first, second]
    assert len(numbers(widget)) == 3


def test_set_result_measures_and_overlays_as_the_settings_say(
    viewer, open_widget, qtbot, monkeypatch
):
    chosen = PluginSettings(text_overlay=True, tile_overlay=True)
    monkeypatch.setattr(
        "napari_darkdeblur.napari_plugin.measure.widget.read_settings", lambda: chosen
    )
    source, sharp, result = movie(viewer)
    widget = open_widget()
    widget.measured.checks.check([])
    widget.measured.reference_choice.value = None
    widget.set_result(result, sharp)
    settle(qtbot, widget)
    assert widget.measured.layers == [source, result]
    assert widget.measured.reference is sharp
    assert len(overlays_of(result, "tiles", viewer.layers)) == 1
    assert viewer.canvas.overlays.text.text.startswith(result.name)


def test_renaming_is_followed(viewer, open_widget, qtbot):
    source, _, _ = movie(viewer)
    widget = open_widget()
    settle(qtbot, widget)
    source.name = "dusk"
    settle(qtbot, widget)
    assert "dusk" in numbers(widget)
    assert widget.overlays.layer_box.findText("dusk") >= 0


def test_the_reference_is_not_measured_against_itself(viewer, open_widget, qtbot):
    _, sharp, _ = movie(viewer)
    widget = open_widget()
    widget.measured.checks.check([*viewer.layers])
    settle(qtbot, widget)
    assert sharp.name not in numbers(widget)


def test_copying_and_saving_take_the_table_in_front(
    viewer, open_widget, qtbot, tmp_path, monkeypatch
):
    movie(viewer)
    widget = open_widget()
    settle(qtbot, widget)
    viewer.dims.set_current_step(0, 2)
    settle(qtbot, widget)
    qtbot.mouseClick(button(widget, "metrics_copy"), Qt.MouseButton.LeftButton)
    head, *rows = QGuiApplication.clipboard().text().splitlines()
    assert head.split("\t")[:3] == ["time", "layer", "plane"]
    assert [row.split("\t")[2] for row in rows] == ["Z 2", "Z 2"]

    path = tmp_path / "metrics.csv"
    monkeypatch.setattr(QFileDialog, "exec", lambda dialog: 1)
    monkeypatch.setattr(QFileDialog, "selectedFiles", lambda dialog: [str(path)])
    widget.tables.show_history()
    qtbot.mouseClick(button(widget, "metrics_save"), Qt.MouseButton.LeftButton)
    with path.open(encoding="utf-8", newline="") as file:
        saved = list(csv.DictReader(file))
    assert [row["plane"] for row in saved] == ["Z 1", "Z 1", "Z 2", "Z 2"]
    psnr = numbers(widget)["night"]["PSNR (dB)"]
    assert float(saved[2]["PSNR (dB)"]) == psnr
    # Of the history only the rows that are selected.
    widget.tables.history_view.selectRow(1)
    assert [one.layer for one in widget.tables.chosen] == ["night [darkdeblur]"]


def test_clicking_a_heading_sorts_by_the_numbers(viewer, open_widget, qtbot):
    movie(viewer)
    widget = open_widget()
    settle(qtbot, widget)
    widget.on_demand.measure_all_planes()
    settle(qtbot, widget)
    view = widget.tables.history_view
    column = [one.heading for one in widget.tables.history.columns].index("PSNR (dB) ↑")
    view.sortByColumn(column, Qt.SortOrder.DescendingOrder)
    psnr = [one.numbers["PSNR (dB)"] for one in widget.tables.chosen]
    assert psnr == sorted(psnr, reverse=True)
    assert len(psnr) == 8


def test_it_fits_a_narrow_dock(viewer, open_widget, qtbot):
    movie(viewer)
    widget = open_widget()
    settle(qtbot, widget)
    inner = widget.findChild(QWidget, "qt_scrollarea_viewport").findChild(QWidget)
    assert widget.minimumSizeHint().width() <= 300
    assert inner.minimumSizeHint().width() <= 300
    for control in widget.findChildren(QPushButton):
        if control.objectName():
            assert control.toolTip()
            assert control.mapTo(inner, QPoint(0, 0)).x() >= 0


def test_two_widgets_of_two_viewers_do_not_disturb_each_other(make_napari_viewer_proxy, qtbot):
    viewers = [make_napari_viewer_proxy() for _ in range(2)]
    widgets = []
    for each in viewers:
        movie(each)
        widget = MeasureWidget(each)
        each.window.add_dock_widget(widget, name="Measure")
        widgets.append(widget)
    for widget in widgets:
        settle(qtbot, widget)
    viewers[0].dims.set_current_step(0, 0)
    assert not widgets[1].busy
    settle(qtbot, widgets[0])
    assert {where for _, where in history(widgets[0])} == {"Z 0", "Z 1"}
    assert {where for _, where in history(widgets[1])} == {"Z 1"}


def test_nothing_is_read_until_it_is_measured_and_then_only_the_plane(viewer, open_widget, qtbot):
    class Lazy:
        """Notes what is read of it."""

        def __init__(self, array: np.ndarray) -> None:
            self._array, self.shape, self.dtype = array, array.shape, array.dtype
            self.ndim, self.planes = array.ndim, set()

        def __getitem__(self, index: Any) -> np.ndarray:
            self.planes |= set(np.ravel(np.arange(self.shape[0])[index[0]]).tolist())
            return self._array[index]

        def __array__(self, *_: Any, **__: Any) -> np.ndarray:
            raise AssertionError("The whole array was asked for.")

    lazy = Lazy(pixels(9, 40, 50))
    viewer.dims.ndim = 3
    layer = Image(lazy, name="lazy", contrast_limits=(0, 255))
    viewer.add_layer(layer)
    viewer.dims.set_current_step(0, 5)
    lazy.planes.clear()
    widget = open_widget()
    widget.measured.checks.check([layer])
    widget.measure()
    settle(qtbot, widget)
    assert lazy.planes == {5}
    assert numbers(widget)["lazy"]["Noise (%)"] > 0
