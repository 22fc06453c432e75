"""The Deblur widget in a real viewer: it runs, cancels, explains, and survives what happens."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils import progress
from qtpy.QtCore import QEvent, QObject, QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QAbstractButton, QApplication, QWidget

from napari_darkdeblur import deblur, load_weights, save_weights
from napari_darkdeblur.napari_plugin.deblur import job_runner
from napari_darkdeblur.napari_plugin.deblur.clock import Durations, Progress
from napari_darkdeblur.napari_plugin.deblur.jobs import Outcome, Preparing, Restored, run_job
from napari_darkdeblur.napari_plugin.deblur.widget import DeblurWidget
from napari_darkdeblur.napari_plugin.provenance import input_of, provenance_of
from napari_darkdeblur.network import AUTO_MODEL, DEFAULT_MODEL, THOROUGH_MODEL
from napari_darkdeblur.restore import Retried, TileDone

from ...conftest import make_network

LONG = 30_000  # milliseconds: the machine may be busy


@pytest.fixture
def viewer(make_napari_viewer_proxy) -> Any:
    return make_napari_viewer_proxy()


@pytest.fixture
def model(models_folder: Path) -> str:
    """Put a small model into the models folder."""
    models_folder.mkdir()
    save_weights(models_folder / "tiny.safetensors", make_network(), summary="A tiny one.")
    return "tiny"


def opened(viewer: Any, qtbot: Any, model: str = "tiny") -> DeblurWidget:
    """Dock a widget, wait until it knows the machine, and choose a model."""
    widget = DeblurWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Deblur")
    qtbot.waitUntil(lambda: widget.models.model is not None, timeout=LONG)
    widget.models.model_box.setCurrentText(model)
    return widget


def finished(widget: DeblurWidget, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: not widget.busy, timeout=LONG)


def image(shape: tuple[int, ...] = (40, 48), dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4000, shape).astype(dtype)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Replace the job by one that goes on, tile by tile, until the event is set."""
    release = threading.Event()

    def job(spec: Any, stop: threading.Event):
        yield Preparing("Loading")
        number = 0
        while not release.wait(0.005):
            if stop.is_set():
                return Outcome("cancelled", "Restoring was cancelled.")
            number += 1
            yield TileDone(min(number, 9), 10, 1, 4, "stage", min(number / 1000, 0.9), 41.0)
        return Outcome("failed", "It was let go.")

    monkeypatch.setattr(job_runner, "run_job", job)
    return release


# --- what it does


def test_the_model_is_chosen_by_itself_unless_somebody_does(
    viewer: Any, qtbot: Any, models_folder: Path
):
    widget = DeblurWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Deblur")
    qtbot.waitUntil(lambda: widget.models.model is not None, timeout=LONG)
    assert widget.models.model.automatic
    # What it can do and what not stands in its card.
    summary = load_weights(DEFAULT_MODEL).card.summary
    assert summary
    assert widget.models.card.text() == f"Uses {DEFAULT_MODEL}: {summary.rstrip('.')}."


def test_the_dock_says_between_which_models_it_is_chosen(
    viewer: Any, qtbot: Any, models_folder: Path
):
    models_folder.mkdir()
    save_weights(models_folder / f"{THOROUGH_MODEL}.safetensors", make_network())
    widget = opened(viewer, qtbot, AUTO_MODEL)
    assert THOROUGH_MODEL in widget.models.card.text()
    assert DEFAULT_MODEL in widget.models.card.text()


@pytest.mark.usefixtures("model")
def test_a_stack_is_restored_in_a_layer_of_its_own(viewer, qtbot):
    stack = image((3, 40, 48))
    before = stack.copy()
    layer = viewer.add_image(
        stack, name="cells", scale=(1, 0.5, 0.5), colormap="green", axis_labels=("t", "y", "x")
    )
    widget = opened(viewer, qtbot)
    assert widget.source.axes == "TYX"
    widget.run.run_button.click()
    assert widget.run.run_button.text() == "Cancel"
    finished(widget, qtbot)
    result = viewer.layers["cells [darkdeblur]"]
    np.testing.assert_array_equal(
        result.data, deblur(stack, "tiny", axes="TYX", value_range="percentile")
    )
    np.testing.assert_array_equal(stack, before)
    assert layer.visible
    assert result.colormap.name == "green"
    np.testing.assert_array_equal(result.scale, layer.scale)
    known = provenance_of(result)
    assert known.kind == "restored"
    assert known.model.name == "tiny"
    assert len(known.model.sha256) == 64
    assert known.device == "cpu"
    assert input_of(result, viewer.layers).unique_id == layer.unique_id
    assert "cells [darkdeblur]" in widget.run.result.text()
    assert widget.run.run_button.text() == "Run"
    assert widget.run.run_button.isEnabled()


@pytest.mark.usefixtures("model")
def test_running_again_overwrites_nothing(viewer, qtbot):
    viewer.add_image(image(), name="cells")
    widget = opened(viewer, qtbot)
    for _ in range(2):
        widget.run.run_button.click()
        finished(widget, qtbot)
    names = [layer.name for layer in viewer.layers]
    assert names == ["cells", "cells [darkdeblur]", "cells [darkdeblur] [1]"]


@pytest.mark.usefixtures("model")
def test_a_rectangle_of_the_plane_on_screen_lies_on_its_place(viewer, qtbot):
    layer = viewer.add_image(image((3, 40, 48)), name="cells", scale=(2, 3, 3), translate=(0, 5, 7))
    corners = [layer.data_to_world((0, y, x))[1:] for y, x in ((9.5, 4.5), (29.5, 40.5))]
    (top, left), (bottom, right) = corners
    viewer.add_shapes([[(top, left), (top, right), (bottom, right), (bottom, left)]], name="box")
    viewer.layers.selection.active = layer
    widget = opened(viewer, qtbot)
    viewer.dims.set_current_step(0, 2)
    widget.source.planes_box.setCurrentIndex(1)
    widget.source.area_box.setCurrentIndex(2)
    assert widget.source.shapes.name == "box"
    widget.run.run_button.click()
    finished(widget, qtbot)
    result = viewer.layers["cells [darkdeblur]"]
    assert result.data.shape == (1, 20, 36)
    np.testing.assert_allclose(result.data_to_world((0, 0, 0)), layer.data_to_world((2, 10, 5)))


@pytest.mark.usefixtures("model")
def test_a_reference_gives_numbers_before_and_after(viewer, qtbot):
    viewer.add_image(image(), name="cells (reference)")
    viewer.add_image(image(dtype="uint16")[::-1].copy(), name="cells")
    widget = opened(viewer, qtbot)
    # Known by its name, and not the layer to restore.
    assert widget.source.layer.name == "cells"
    assert widget.source.reference.name == "cells (reference)"
    widget.run.run_button.click()
    finished(widget, qtbot)
    measured = provenance_of(viewer.layers["cells [darkdeblur]"]).metrics
    assert set(measured) == {"input", "restored"}
    text = widget.run.result.text()
    assert f"{measured['restored']['PSNR (dB)']:.2f}" in text
    assert "middle" not in text
    # They are not those of a mixture.
    assert "full strength" not in text
    widget.before_after.strength_slider.setValue(50)
    qtbot.waitUntil(lambda: "full strength" in widget.run.result.text(), timeout=LONG)
    widget.before_after.strength_slider.setValue(100)
    qtbot.waitUntil(lambda: widget.run.result.text() == text, timeout=LONG)


@pytest.mark.usefixtures("model")
def test_it_says_which_plane_of_a_stack_the_numbers_are_of(viewer, qtbot):
    viewer.add_image(image((3, 40, 48)), name="cells (reference)")
    viewer.add_image(image((3, 40, 48)), name="cells")
    widget = opened(viewer, qtbot)
    widget.run.run_button.click()
    finished(widget, qtbot)
    assert "the middle one of 3 planes" in widget.run.result.text()


@pytest.mark.usefixtures("model")
def test_it_says_what_the_job_will_take(viewer, qtbot):
    viewer.add_image(image((3, 40, 48)))
    widget = opened(viewer, qtbot)
    qtbot.waitUntil(lambda: "3 planes" in widget.run.estimate.text(), timeout=LONG)
    assert "MB" in widget.run.estimate.text()
    # What cannot be done is known before it is tried.
    widget.options.memory_edit.setText("1 MB")
    qtbot.waitUntil(lambda: not widget.run.run_button.isEnabled(), timeout=LONG)
    assert "1 MB" in widget.run.status.text()


@pytest.mark.usefixtures("model")
def test_the_result_appears_before_it_is_measured(viewer, qtbot, monkeypatch):
    release = threading.Event()

    def job(spec: Any, stop: threading.Event):
        events = run_job(spec, stop)
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                return end.value
            yield event
            while isinstance(event, Restored) and not release.wait(0.005):
                yield Preparing("Measuring")

    monkeypatch.setattr(job_runner, "run_job", job)
    viewer.add_image(image(), name="cells (reference)")
    viewer.add_image(image()[::-1].copy(), name="cells")
    widget = opened(viewer, qtbot)
    widget.run.run_button.click()
    qtbot.waitUntil(lambda: "cells [darkdeblur]" in viewer.layers, timeout=LONG)
    assert widget.busy
    assert "PSNR" not in widget.run.result.text()
    release.set()
    finished(widget, qtbot)
    assert "PSNR" in widget.run.result.text()
    assert provenance_of(viewer.layers["cells [darkdeblur]"]).metrics
    assert len(viewer.layers) == 3


@pytest.mark.usefixtures("model")
def test_selected_images_are_restored_one_after_the_other(viewer, qtbot):
    arrays = {name: image((40, 48 + 8 * k)) for k, name in enumerate("abc")}
    layers = {name: viewer.add_image(array, name=name) for name, array in arrays.items()}
    widget = opened(viewer, qtbot)
    viewer.layers.selection = {layers["a"], layers["c"]}
    viewer.layers.selection.active = layers["a"]
    viewer.layers.selection = {layers["a"], layers["c"]}
    assert widget.run.run_button.text() == "Run on 2 images"
    widget.source.layer_choice.value = layers["a"]
    widget.run.run_button.click()
    seen = []
    qtbot.waitUntil(
        lambda: seen.append(widget.run.status.text()) or "c [darkdeblur]" in viewer.layers,
        timeout=LONG,
    )
    finished(widget, qtbot)
    assert any("of 2" in text for text in seen)
    assert "b [darkdeblur]" not in viewer.layers
    for name in "ac":
        np.testing.assert_array_equal(
            viewer.layers[f"{name} [darkdeblur]"].data,
            deblur(arrays[name], "tiny", value_range="percentile"),
        )


@pytest.mark.usefixtures("model")
def test_several_images_have_one_progress(viewer, qtbot, monkeypatch):
    def job(spec: Any, stop: threading.Event):
        yield Preparing("Loading")
        for tile in range(1, 6):
            event = TileDone(tile, 5, 0, 1, "stage", tile / 5, None)
            # A thousand seconds each, so that the test's own time does not count.
            yield Progress(tile / 5, 1000 - 200 * tile, event, Durations(restoring=1000))
        return Outcome("cancelled" if stop.is_set() else "failed", "No result.")

    monkeypatch.setattr(job_runner, "run_job", job)
    layers = [viewer.add_image(image(), name=name) for name in "abc"]
    widget = opened(viewer, qtbot)
    viewer.layers.selection = set(layers)
    texts = []
    show_progress = widget.run.show_progress

    def listen(text: str, seconds_left: float | None, after: float = 0.0) -> None:
        show_progress(text, seconds_left, after)
        texts.append(widget.run.status.text())

    monkeypatch.setattr(widget.run, "show_progress", listen)
    widget.run.run_button.click()
    finished(widget, qtbot)
    # After the first tile all but 200 of 3000 seconds are left.
    assert texts[0] == "image 1 of 3 · tile 1 of 5 · 46:40 left"
    assert texts[5] == "image 2 of 3 · tile 1 of 5 · 30:00 left"
    assert texts[-1].startswith("image 3 of 3 · tile 5 of 5")


@pytest.mark.usefixtures("model")
def test_the_bar_of_several_images_never_goes_back(viewer, qtbot, monkeypatch):
    def job(spec: Any, stop: threading.Event):
        yield Preparing("Looking", 0.9)
        for tile in range(1, 11):
            stop.wait(0.05)
            event = TileDone(tile, 10, 0, 1, "stage", tile / 10, None)
            yield Progress(tile / 10, 0.5 - 0.05 * tile, event, Durations(restoring=0.5))
        return Outcome("failed", "No result.")

    monkeypatch.setattr(job_runner, "run_job", job)
    layers = [viewer.add_image(image(), name=name) for name in "abc"]
    widget = opened(viewer, qtbot)
    viewer.layers.selection = set(layers)
    shown: list[int] = []
    ranges: list[int] = []

    def look() -> bool:
        if widget.busy:
            shown.append(widget.run.bar.value())
            ranges.append(widget.run.bar.maximum())
        return not widget.busy

    widget.run.run_button.click()
    qtbot.waitUntil(look, timeout=LONG)
    known = shown[ranges.index(1000) :]
    assert known == sorted(known)
    assert len(set(known)) > 10
    # Once it is known, how far it is, it stays known.
    assert set(ranges[ranges.index(1000) :]) == {1000}


class Moves(QObject):
    """Remembers which widgets were moved or resized."""

    def __init__(self, parent: QObject, watched: list[QWidget]) -> None:
        super().__init__(parent)
        self.seen: list[str] = []
        for widget in watched:
            widget.installEventFilter(self)

    def eventFilter(self, watched: Any, event: QEvent) -> bool:  # noqa: N802
        if event.type() in (QEvent.Type.Move, QEvent.Type.Resize):
            self.seen.append(f"{watched.objectName()} to {watched.geometry()}")
        return False


@pytest.mark.usefixtures("model")
def test_buttons_never_move(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.add_image(image(), name="cells (reference)")
    viewer.add_image(image()[::-1].copy(), name="cells")
    widget = opened(viewer, qtbot)
    qtbot.waitUntil(lambda: widget.run.estimate.text() != "", timeout=LONG)
    qtbot.wait(50)
    footer = widget.run.parentWidget()
    assert footer is not None
    moves = Moves(widget, [footer, *footer.findChildren(QWidget)])
    widget.run.run_button.click()
    finished(widget, qtbot)
    widget.run.warn("A sentence that is long enough to take two lines, and maybe three of them.")
    widget.run.allow("Another sentence that is too long for the two lines that are kept. " * 3)
    qtbot.wait(300)
    assert widget.result is not None
    assert moves.seen == []


@pytest.mark.usefixtures("model")
def test_what_one_looks_at_a_result_with_is_seen_without_scrolling(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1280, 720)
    viewer.add_image(image(), name="cells")
    widget = opened(viewer, qtbot)
    widget.run.run_button.click()
    finished(widget, qtbot)
    qtbot.wait(300)
    panel = widget.before_after
    for control in (
        widget.run.run_button, panel.hold_button, panel.strength_slider, widget.brighten_box
    ):  # fmt: skip
        assert control.visibleRegion().boundingRect() == control.rect()


@pytest.mark.usefixtures("model")
def test_the_tab_key_goes_from_top_to_bottom(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.add_image(image((3, 40, 48)), name="cells")
    widget = opened(viewer, qtbot)
    qtbot.waitUntil(lambda: widget.run.estimate.text() != "", timeout=LONG)
    advanced = widget.findChild(QWidget, "advanced_toggle")
    assert isinstance(advanced, QAbstractButton)

    def reached() -> list[QWidget]:
        one, seen = widget.source.layer_choice.native, []
        while one not in seen:
            seen.append(one)
            one = one.nextInFocusChain()
        return [
            o
            for o in seen
            if widget.isAncestorOf(o)
            and o.isVisible()
            and o.isEnabled()
            and o.focusPolicy() & Qt.FocusPolicy.TabFocus
            and not o.focusProxy()
        ]

    def places(controls: list[QWidget]) -> list[tuple[bool, int, int]]:
        footer, found = widget.run.parentWidget(), []
        assert footer is not None
        for one in controls:
            place = one.mapTo(widget, one.rect().center())
            # What scrolls is above what does not; and one row's centres are not quite as high.
            below = footer.isAncestorOf(one)
            found.append((below, round(place.y() / 8), place.x()))
        return found

    collapsed = reached()
    assert len(collapsed) > 8
    assert places(collapsed) == sorted(places(collapsed))
    assert widget.options.tiling_box not in collapsed
    advanced.click()
    qtbot.wait(100)
    opened_up = reached()
    assert places(opened_up) == sorted(places(opened_up))
    assert opened_up.index(widget.options.tiling_box) > opened_up.index(advanced)
    assert widget.options.save_button in opened_up


@pytest.mark.usefixtures("model")
def test_what_is_shown_belongs_to_the_chosen_image(viewer, qtbot):
    first = viewer.add_image(image(), name="first")
    second = viewer.add_image(image()[::-1].copy(), name="second")
    widget = opened(viewer, qtbot)
    widget.source.layer_choice.value = first
    places = [button.mapTo(widget, button.rect().topLeft()) for button in buttons(widget)]
    widget.run.run_button.click()
    finished(widget, qtbot)
    qtbot.wait(20)
    assert [b.mapTo(widget, b.rect().topLeft()) for b in buttons(widget)] == places
    assert "first [darkdeblur]" in widget.run.result.text()
    assert widget.result == viewer.layers["first [darkdeblur]"]
    assert widget.before_after.compare_button.isEnabled()
    widget.source.layer_choice.value = second
    assert widget.run.result.text() == ""
    assert widget.result is None
    assert not widget.before_after.compare_button.isEnabled()
    widget.source.layer_choice.value = first
    assert "first [darkdeblur]" in widget.run.result.text()
    viewer.layers.remove(viewer.layers["first [darkdeblur]"])
    assert widget.run.result.text() == ""
    assert not widget.before_after.hold_button.isEnabled()


def buttons(widget: DeblurWidget) -> list[QWidget]:
    return [
        widget.run.run_button,
        widget.before_after.hold_button,
        widget.before_after.strength_slider,
    ]


@pytest.mark.usefixtures("model")
def test_the_wheel_scrolls_and_changes_no_setting(viewer, qtbot):
    viewer.add_image(image())
    widget = opened(viewer, qtbot)
    before = widget.options.options
    for control in (widget.options.tiling_box, widget.options.tile_spin, widget.blur.kind_box):
        kind = control.currentIndex() if hasattr(control, "currentIndex") else control.value()
        place = QPointF(control.rect().center())
        turn = QWheelEvent(
            place, control.mapToGlobal(place), QPoint(0, -120), QPoint(0, -120),
            Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(control, turn)
        after = control.currentIndex() if hasattr(control, "currentIndex") else control.value()
        assert after == kind
    assert widget.options.options == before


# --- what it does not do


@pytest.mark.usefixtures("model")
def test_it_says_why_it_cannot_run(viewer, qtbot):
    widget = opened(viewer, qtbot)
    assert not widget.run.run_button.isEnabled()
    assert "no image layer" in widget.run.status.text()
    viewer.add_image(image())
    assert widget.run.run_button.isEnabled()
    widget.source.axes_edit.setText("TYX")
    widget.source.axes_edit.textEdited.emit("TYX")
    assert not widget.run.run_button.isEnabled()
    assert "TYX" in widget.run.status.text()
    assert widget.run.run_button.toolTip() == widget.run.status.text()
    widget.options.reset_button.click()
    assert widget.run.run_button.isEnabled()


@pytest.mark.usefixtures("model", "held")
def test_cancel_cancels(viewer, qtbot):
    viewer.add_image(image(), name="cells")
    widget = opened(viewer, qtbot)
    widget.run.run_button.click()
    qtbot.waitUntil(lambda: "tile" in widget.run.status.text(), timeout=LONG)
    assert "plane 2 of 4" in widget.run.status.text()
    assert "0:41 left" in widget.run.status.text()
    widget.run.run_button.click()
    assert widget.run.run_button.text() == "Cancelling…"
    finished(widget, qtbot)
    assert widget.run.run_button.text() == "Run"
    assert "cancelled" in widget.run.result.text()
    assert [layer.name for layer in viewer.layers] == ["cells"]
    assert not list(progress._all_instances)


@pytest.mark.usefixtures("model", "held")
def test_why_there_is_no_result_is_seen_without_scrolling(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1280, 500)
    viewer.add_image(image(), name="cells")
    widget = opened(viewer, qtbot)
    widget.run.run_button.click()
    widget.run.run_button.click()
    finished(widget, qtbot)
    shown = widget.run.result
    qtbot.waitUntil(lambda: shown.visibleRegion().boundingRect() == shown.rect(), timeout=LONG)


@pytest.mark.usefixtures("model")
def test_failing_leaves_it_usable(viewer, qtbot, held):
    viewer.add_image(image(), name="cells")
    widget = opened(viewer, qtbot)
    widget.run.run_button.click()
    held.set()
    finished(widget, qtbot)
    assert widget.run.result.text() == "It was let go."
    assert widget.run.run_button.isEnabled()


@pytest.mark.usefixtures("model")
def test_what_happened_on_the_way_stays_to_be_read(viewer, qtbot, monkeypatch):
    reason = "cpu ran out of memory; going on in tiles of 64 pixels."

    def job(spec: Any, stop: threading.Event):
        yield Retried(0, None, "cpu", reason)
        return Outcome("cancelled", "Restoring was cancelled.")

    monkeypatch.setattr(job_runner, "run_job", job)
    viewer.add_image(image())
    widget = opened(viewer, qtbot)
    widget.run.run_button.click()
    finished(widget, qtbot)
    assert widget.run.warning.text() == reason
    assert not widget.run.warning.isHidden()


@pytest.mark.usefixtures("model", "held")
def test_one_job_at_a_time_in_a_viewer(viewer, qtbot):
    viewer.add_image(image())
    first, second = opened(viewer, qtbot), opened(viewer, qtbot)
    first.run.run_button.click()
    second.run.run_button.click()
    assert not second.busy
    assert "Another image" in second.run.status.text()
    first.run.run_button.click()
    finished(first, qtbot)
    second.refresh()
    second.run.run_button.click()
    assert second.busy
    second.run.run_button.click()
    finished(second, qtbot)


def test_it_says_which_image_is_being_restored_while_another_is_chosen(viewer, qtbot, monkeypatch):
    go_on = threading.Event()

    def job(spec: Any, stop: threading.Event):
        yield Preparing("Loading")
        go_on.wait(30)
        return Outcome("failed", "No result.")

    monkeypatch.setattr(job_runner, "run_job", job)
    layer = viewer.add_image(image(), name="street at night, seen from the bridge")
    other = viewer.add_image(image(), name="other")
    widget = opened(viewer, qtbot)
    viewer.layers.selection = {layer}
    widget.run.run_button.click()
    qtbot.waitUntil(lambda: "Loading" in widget.run.status.text())
    assert widget.run.status.text().startswith("Loading")
    viewer.layers.selection = {other}
    assert widget.run.status.text().startswith("street at n… the bridge · Loading")
    viewer.layers.selection = {layer}
    assert widget.run.status.text().startswith("Loading")
    go_on.set()
    finished(widget, qtbot)


@pytest.mark.usefixtures("model")
def test_a_result_of_a_dock_that_was_closed_is_known_to_the_next_one(viewer, qtbot):
    layer = viewer.add_image(image(), name="street")
    first = opened(viewer, qtbot)
    first.run.run_button.click()
    finished(first, qtbot)
    viewer.window.remove_dock_widget("all")
    viewer.layers.selection = {layer}
    widget = opened(viewer, qtbot)
    assert "street [darkdeblur]" in widget.run.result.text()
    assert "restored before" in widget.run.result.text()
    for one in ("hold", "compare", "measure"):
        assert getattr(widget.before_after, f"{one}_button").isEnabled()
    viewer.layers.remove("street [darkdeblur]")
    assert not widget.run.result.text()
    assert not widget.before_after.compare_button.isEnabled()


@pytest.mark.usefixtures("model")
def test_the_layer_may_go_while_it_is_restored(viewer, qtbot):
    stack = image((6, 40, 48))
    layer = viewer.add_image(stack, name="cells", scale=(1, 2, 2))
    widget = opened(viewer, qtbot)
    widget.run.run_button.click()
    viewer.layers.remove(layer)
    finished(widget, qtbot)
    result = viewer.layers["cells [darkdeblur]"]
    assert result.data.shape == stack.shape
    np.testing.assert_array_equal(result.scale, (1, 2, 2))
    assert "removed while it was restored" in widget.run.warning.text()
    assert "cells [darkdeblur]" in widget.run.result.text() or widget.source.layer is not None


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("way", ["the dock", "the viewer"])
def test_closing_stops_the_job(viewer, qtbot, monkeypatch, way):
    stopped = threading.Event()

    def job(spec: Any, stop: threading.Event):
        try:
            while not stop.wait(0.005):
                yield Preparing("Working")
            return Outcome("cancelled", "Restoring was cancelled.")
        finally:
            stopped.set()

    monkeypatch.setattr(job_runner, "run_job", job)
    viewer.add_image(image())
    widget = DeblurWidget(viewer)
    dock = viewer.window.add_dock_widget(widget, name="Deblur")
    qtbot.waitUntil(lambda: widget.models.model is not None, timeout=LONG)
    widget.run.run_button.click()
    qtbot.waitUntil(lambda: "Working" in widget.run.status.text(), timeout=LONG)
    if way == "the dock":
        viewer.window.remove_dock_widget(dock)
        qtbot.addWidget(widget)
    else:
        viewer.close()
    qtbot.waitUntil(stopped.is_set, timeout=LONG)
    qtbot.wait(50)


# --- live preview


@pytest.mark.usefixtures("model")
def test_the_preview_follows_what_is_shown_and_goes(viewer, qtbot):
    layer = viewer.add_image(image((2, 40, 48)), name="cells")
    widget = opened(viewer, qtbot)

    def shown() -> Any:
        return next((o for o in viewer.layers if o.name == "cells [preview]"), None)

    widget.preview_box.click()
    qtbot.waitUntil(lambda: shown() is not None, timeout=LONG)
    expected = deblur(layer.data, "tiny", axes="TYX", value_range="percentile")
    plane = int(viewer.dims.current_step[0])
    assert provenance_of(shown()).region.start[0] == plane
    assert np.abs(shown().data[0].astype(int) - expected[plane]).max() <= 1
    # It can be chosen neither as an image to restore nor as a reference.
    assert shown() not in widget.source.layer_choice.choices
    assert viewer.layers.selection.active == layer

    viewer.dims.set_current_step(0, 1 - plane)
    qtbot.waitUntil(
        lambda: shown() is not None and provenance_of(shown()).region.start[0] == 1 - plane,
        timeout=LONG,
    )
    widget.preview_box.click()
    assert shown() is None


def test_the_preview_is_made_with_the_model_of_the_whole_stack(
    viewer: Any, qtbot: Any, models_folder: Path
):
    models_folder.mkdir()
    save_weights(models_folder / f"{THOROUGH_MODEL}.safetensors", make_network())
    # One plane alone would have the thorough one.
    viewer.add_image(image((5, 256, 256)), name="cells")
    widget = opened(viewer, qtbot, AUTO_MODEL)
    widget.preview_box.click()
    qtbot.waitUntil(lambda: "cells [preview]" in viewer.layers, timeout=LONG)
    assert provenance_of(viewer.layers["cells [preview]"]).model.name == DEFAULT_MODEL


def test_the_module_is_light_until_it_is_used():
    """Opening the menu must not load torch."""
    from ...test_import import modules_after

    loaded = modules_after("import napari_darkdeblur.napari_plugin.deblur.widget")
    assert "torch" not in loaded


def test_every_control_has_a_name_and_a_tooltip(viewer, qtbot):
    from qtpy.QtWidgets import QCheckBox, QComboBox, QLineEdit, QPushButton, QSpinBox

    widget = DeblurWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Deblur")
    kinds = (QPushButton, QCheckBox, QComboBox, QSpinBox)
    controls: list[QWidget] = [c for kind in kinds for c in widget.findChildren(kind)]
    controls += [widget.findChild(QLineEdit, name) for name in ("axes", "memory")]
    ours = [c for c in controls if "QCollapsible" not in type(c.parent()).__name__]
    assert len(ours) > 15
    assert [c.objectName() for c in ours if not c.toolTip()] == []
    assert [c for c in ours if not c.objectName()] == []
    qtbot.waitUntil(lambda: widget.models.model is not None, timeout=LONG)
