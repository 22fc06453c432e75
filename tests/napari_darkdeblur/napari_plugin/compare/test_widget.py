"""The Compare dock shows two layers in three ways, and leaves the viewer as it was."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.experimental import link_layers
from napari.layers import Image
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QAbstractButton, QDoubleSpinBox, QLabel, QSlider

from napari_darkdeblur.napari_plugin.compare.widget import CompareWidget
from napari_darkdeblur.napari_plugin.deblur.before_after import (
    mixed,
    record_strength,
    set_strength,
)
from napari_darkdeblur.napari_plugin.provenance import Provenance, provenance_of, record_input
from napari_darkdeblur.napari_plugin.result_layers import placement_of, result_name

from .test_curtain import Spy, noise, pyramid

MODES = ("side by side", "curtain", "blink", "removed")


def image(viewer: Any, data: Any, **options: Any) -> Image:
    layer = Image(data, **options)
    viewer.add_layer(layer)
    return layer


def restored(viewer: Any, source: Image, data: Any, start: Any = None, **options: Any) -> Image:
    made = Provenance(kind="restored", input=record_input(source)).as_metadata()
    return image(
        viewer,
        data,
        name=result_name(source),
        metadata=made,
        **placement_of(source, start),
        **options,
    )


def names_of(layers: list[Any]) -> list[tuple[bool, str]]:
    """Return whether each layer's name is shown on the canvas, and the name."""
    return [(layer.name_overlay.visible, layer.name) for layer in layers]


def state(viewer: Any) -> dict[str, Any]:
    """Return all that comparing may change and must put back."""
    grid, layers = viewer.canvas.grid, list(viewer.layers)
    return {
        "layers": layers,
        "grid": (grid.enabled, grid.stride, grid.shape, grid.spacing),
        "visible": [layer.visible for layer in layers],
        "names": names_of(layers),
        "overlays": {key: text.visible for key, text in viewer.canvas.overlays.items()},
        "contrast": [
            (tuple(layer.contrast_limits), tuple(layer.contrast_limits_range), layer.gamma)
            for layer in layers
            if isinstance(layer, Image)
        ],
        "selection": set(viewer.layers.selection),
        "camera": (viewer.scene.camera.center, viewer.scene.camera.zoom),
        "dims": (viewer.dims.point, viewer.dims.order, viewer.dims.ndisplay),
        "mouse": (list(viewer.mouse_drag_callbacks), list(viewer.mouse_move_callbacks)),
        "cursor": viewer.cursor.style,
    }


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[[], Any]) -> Any:
    return make_napari_viewer_proxy()


@pytest.fixture
def busy_viewer(viewer: Any) -> Any:
    """Return a viewer with a state worth restoring, and a result in it."""
    source = image(viewer, noise(64, 96), name="cells", contrast_limits=(10, 200))
    image(viewer, noise(64, 96), name="other", visible=False)
    result = restored(viewer, source, noise(64, 96, seed=1), contrast_limits=(0, 180), gamma=0.7)
    viewer.add_points([[1, 2]], name="points")
    result.name_overlay.visible = True
    viewer.canvas.grid.stride, viewer.canvas.grid.shape = 2, (2, -1)
    viewer.canvas.grid.enabled = True
    viewer.canvas.overlays.text.text = "mine"
    viewer.canvas.overlays.text.visible = True
    viewer.layers.selection.active = source
    viewer.scene.camera.zoom = 3
    return viewer


def dock(viewer: Any) -> CompareWidget:
    widget = CompareWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Compare")
    return widget


def control(widget: CompareWidget, name: str, kind: type = QAbstractButton) -> Any:
    found = widget.findChild(kind, name)
    assert found is not None, name
    return found


def said(widget: CompareWidget) -> str:
    label = control(widget, "compare_note", QLabel)
    return label.text()


def curtain_of(viewer: Any) -> Image:
    """Return the layer that a curtain adds."""
    (found,) = (
        layer
        for layer in viewer.layers
        if isinstance(layer, Image)
        and (made := provenance_of(layer)) is not None
        and made.kind == "curtain"
    )
    return found


def visible(viewer: Any) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible]


# --- what is chosen


def test_the_newest_result_and_its_input_are_chosen(busy_viewer):
    widget = dock(busy_viewer)
    assert [layer.name for layer in widget.pair] == ["cells", "cells [darkdeblur]"]
    assert widget.mode == "off"
    source = busy_viewer.layers["cells"]
    restored(busy_viewer, source, noise(64, 96))
    assert widget.pair.after.name == "cells [darkdeblur] [1]"


def test_the_choices_follow_the_layers(busy_viewer):
    widget = dock(busy_viewer)
    before, after = widget.pair
    before.name = "renamed"
    assert widget.pair == (before, after)
    added = image(busy_viewer, noise(64, 96), name="added")
    widget.set_pair(before, added)
    assert widget.pair == (before, added)
    busy_viewer.layers.remove(added)
    assert widget.pair is None


def test_a_pair_set_by_code_is_shown_side_by_side_at_once(busy_viewer):
    widget = dock(busy_viewer)
    widget.set_pair(busy_viewer.layers["other"], busy_viewer.layers["cells"])
    assert widget.mode == "side by side"
    assert visible(busy_viewer) == ["cells", "other"]
    widget.set_mode("blink")
    widget.set_pair(busy_viewer.layers["cells"], busy_viewer.layers["cells [darkdeblur]"])
    assert widget.mode == "blink"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda v: (v.layers["a"], v.layers["a"]), "both “a”"),
        (lambda v: (v.layers["a"], image(v, noise(3, 64, 96), name="b")), "“b” has 3"),
        (lambda v: (v.layers["a"], image(v, noise(9, 9), translate=(64, 0))), "beside each other"),
        (lambda v: (v.layers["a"], None), "Choose two"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(viewer, make, sentence):
    image(viewer, noise(64, 96), name="a")
    widget = dock(viewer)
    before = state(viewer)
    pair = make(viewer)
    widget.set_pair(*pair)
    assert widget.mode == "off"
    assert sentence in said(widget)
    assert said(widget).endswith(".")
    for mode in MODES:
        assert not control(widget, mode.replace(" ", "_")).isEnabled()
    assert state(viewer)["visible"][:1] == before["visible"][:1]


# --- the viewer is as it was


def leave_by_off(viewer, widget):
    control(widget, "off").click()


def leave_by_x(viewer, widget):
    widget.parent().destroyOnClose()


def leave_by_another_pair_and_off(viewer, widget):
    widget.set_pair(viewer.layers["other"], viewer.layers["cells"])
    widget.stop()
    widget.set_pair(viewer.layers["cells"], viewer.layers["cells [darkdeblur]"])
    widget.stop()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("leave", [leave_by_off, leave_by_x, leave_by_another_pair_and_off])
def test_the_viewer_is_put_back_exactly(busy_viewer, mode, leave):
    widget = dock(busy_viewer)
    before = state(busy_viewer)
    widget.set_mode(mode)
    assert state(busy_viewer) != before
    leave(busy_viewer, widget)
    assert state(busy_viewer) == before


@pytest.mark.parametrize("mode", MODES)
def test_a_dock_that_is_hidden_puts_the_viewer_back(make_napari_viewer_proxy, qtbot, mode):
    viewer = make_napari_viewer_proxy(show=True)
    source = image(viewer, noise(64, 96), name="cells")
    restored(viewer, source, noise(64, 96, seed=1))
    widget = dock(viewer)
    widget.stop()
    before = state(viewer)
    widget.set_mode(mode)
    widget.parent().setFloating(True)
    qtbot.wait(50)
    assert widget.mode == mode, "a dock that is torn off goes on"
    widget.parent().close()
    qtbot.waitUntil(lambda: widget.mode == "off")
    assert state(viewer) == before


def test_opening_the_dock_shows_the_newest_result(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    source = image(viewer, noise(64, 96), name="cells")
    restored(viewer, source, noise(64, 96, seed=1))
    widget = dock(viewer)
    qtbot.waitUntil(lambda: widget.mode == "side by side")


def test_opening_the_dock_without_a_result_changes_nothing(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    image(viewer, noise(64, 96))
    image(viewer, noise(64, 96))
    widget = dock(viewer)
    qtbot.waitUntil(widget.isVisible)
    assert widget.mode == "off"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("which", ["cells", "cells [darkdeblur]"])
def test_a_layer_of_the_pair_may_be_removed(busy_viewer, qtbot, mode, which):
    widget = dock(busy_viewer)
    before = state(busy_viewer)
    widget.set_mode(mode)
    removed = busy_viewer.layers[which]
    busy_viewer.layers.remove(removed)
    assert widget.mode == "off"
    qtbot.waitUntil(lambda: not any(map(provenance_is_curtain, busy_viewer.layers)))
    # Names on the canvas are hidden last: see `NameLabels`.
    qtbot.waitUntil(lambda: names_of(before["layers"]) == before["names"])
    after = state(busy_viewer)
    for what in ("grid", "overlays", "camera", "mouse", "cursor", "dims"):
        assert after[what] == before[what]
    index = [name for _, name in before["names"]].index(which)
    for what in ("layers", "visible", "names"):
        del before[what][index]
        assert after[what] == before[what]
    assert removed.visible


@pytest.mark.parametrize("mode", ["side by side", "blink"])
def test_a_layer_of_the_pair_is_removed_from_a_canvas_that_draws(
    make_napari_viewer_proxy, qtbot, mode
):
    """OpenGL ended the whole program here: only a window that is drawn shows it."""
    viewer = make_napari_viewer_proxy(show=True)
    source = image(viewer, noise(64, 96), name="cells")
    result = restored(viewer, source, noise(64, 96, seed=1))
    widget = dock(viewer)
    widget.set_mode(mode)
    qtbot.wait(300)
    assert source.name_overlay.visible or result.name_overlay.visible
    viewer.layers.remove(result)
    qtbot.waitUntil(lambda: not source.name_overlay.visible)
    qtbot.wait(100)
    assert widget.mode == "off"


def provenance_is_curtain(layer):
    made = provenance_of(layer)
    return made is not None and made.kind in ("curtain", "map")


@pytest.mark.parametrize("mode", ["curtain", "blink"])
def test_all_layers_may_be_removed_at_once(busy_viewer, qtbot, mode):
    widget = dock(busy_viewer)
    widget.set_mode(mode)
    grid = busy_viewer.canvas.grid
    layers = list(busy_viewer.layers)
    busy_viewer.layers.select_all()
    busy_viewer.layers.remove_selected()
    assert list(busy_viewer.layers) == []
    assert (widget.mode, grid.enabled, grid.stride) == ("off", True, 2)
    assert [layer.visible for layer in layers if layer.name == "cells"] == [True]
    qtbot.wait(10)  # what was left for later finds nothing to do


@pytest.mark.parametrize("mode", MODES)
def test_layers_may_come_and_go_meanwhile(busy_viewer, mode):
    widget = dock(busy_viewer)
    widget.set_mode(mode)
    added = image(busy_viewer, noise(64, 96), name="added")
    points = busy_viewer.layers["points"]
    busy_viewer.layers.remove(points)
    assert widget.mode == mode
    widget.stop()
    assert visible(busy_viewer) == ["cells", "cells [darkdeblur]", "added"]
    assert added.visible and points.visible


@pytest.mark.parametrize("mode", MODES)
def test_the_viewer_may_be_closed(busy_viewer, qtbot, mode):
    widget = dock(busy_viewer)
    widget.set_mode(mode)
    layers = list(busy_viewer.layers)
    busy_viewer.close()
    qtbot.wait(50)
    assert all(layer.visible for layer in layers if layer.name in ("cells", "points"))


def test_a_closed_dock_lets_go_of_the_viewer(busy_viewer):
    widget = dock(busy_viewer)
    widget.parent().destroyOnClose()
    restored(busy_viewer, busy_viewer.layers["cells"], noise(64, 96))
    assert widget.pair.after.name == "cells [darkdeblur]"
    assert widget.mode == "off"


def test_the_pixels_are_not_touched(viewer):
    arrays = noise(64, 96), noise(64, 96, seed=1)
    kept = [array.copy() for array in arrays]
    source = image(viewer, arrays[0])
    result = restored(viewer, source, arrays[1])
    widget = dock(viewer)
    for mode in (*MODES, "off"):
        widget.set_mode(mode)
    assert source.data is arrays[0] and result.data is arrays[1]
    for array, copy in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, copy)


# --- side by side


@pytest.mark.parametrize("after_below", [False, True])
def test_side_by_side_has_before_on_the_left_or_at_the_top(viewer, after_below):
    before = image(viewer, noise(64, 96), name="before")
    image(viewer, noise(64, 96), name="other")
    after = image(viewer, noise(64, 96), name="after")
    if after_below:
        viewer.layers.move(2, 0)
    widget = dock(viewer)
    widget.set_pair(before, after)
    assert cell(viewer, before) == (0, 0)
    assert cell(viewer, after) == (0, 1)
    assert sorted(visible(viewer)) == ["after", "before"]
    assert before.name_overlay.visible and after.name_overlay.visible
    control(widget, "top_bottom").click()
    assert cell(viewer, before) == (0, 0)
    assert cell(viewer, after) == (1, 0)
    viewer.layers.reverse()
    assert cell(viewer, before) == (0, 0)
    assert cell(viewer, after) == (1, 0)


def cell(viewer, layer):
    layers = list(viewer.layers)
    return viewer.canvas.grid.position(layers.index(layer), viewer.layers)


def test_a_picture_seen_as_a_whole_fits_its_cell(viewer):
    before, after = (image(viewer, noise(64, 96)) for _ in range(2))
    widget = dock(viewer)
    viewer.reset_view()
    camera, whole = viewer.scene.camera, viewer.scene.camera.zoom
    widget.set_pair(before, after)
    assert camera.zoom < 0.7 * whole
    widget.stop()
    assert camera.zoom == whole
    camera.zoom = close = 10 * whole
    widget.set_mode("side by side")
    assert camera.zoom == close
    camera.zoom = closer = 20 * whole
    widget.stop()
    assert camera.zoom == closer, "where one has moved to, one stays"


def test_contrast_is_shared_while_comparing(viewer):
    before = image(viewer, noise(64, 96), contrast_limits=(10, 200), gamma=0.5)
    after = image(viewer, noise(64, 96), contrast_limits=(0, 90))
    widget = dock(viewer)
    widget.set_pair(before, after)
    assert (after.contrast_limits, after.gamma) == ([10, 200], 0.5)
    after.contrast_limits = (20, 100)
    assert before.contrast_limits == [20, 100]
    after.visible = False
    assert before.visible
    control(widget, "same_contrast").click()
    assert after.contrast_limits == [0, 90]
    widget.stop()
    assert (before.contrast_limits, after.contrast_limits) == ([20, 100], [0, 90])
    before.contrast_limits = (1, 2)
    assert after.contrast_limits == [0, 90]


@pytest.mark.parametrize("mode", ["curtain", "blink"])
def test_what_lies_on_each_other_is_shown_without_a_grid(busy_viewer, mode):
    widget = dock(busy_viewer)
    for way in (mode, "side by side", mode):
        widget.set_mode(way)
        assert busy_viewer.canvas.grid.enabled == (way == "side by side")


def test_links_that_were_there_stay(viewer):
    before, after = (image(viewer, noise(64, 96), contrast_limits=(0, 90)) for _ in range(2))
    link_layers([before, after], ("contrast_limits", "gamma", "opacity"))
    widget = dock(viewer)
    widget.set_pair(before, after)
    before.contrast_limits = (5, 80)
    widget.stop()
    assert after.contrast_limits == [5, 80], "what the user chose meanwhile stays"
    before.contrast_limits, before.opacity = (1, 2), 0.5
    assert (after.contrast_limits, after.opacity) == ([1, 2], 0.5)


# --- curtain


def look(viewer: Any, row: int, column: int, *plane: int) -> Any:
    """Return the value of the curtain at a point, as napari's status bar reads it."""
    value = curtain_of(viewer).get_value((*plane, row, column))
    return value[1] if curtain_of(viewer).multiscale else value


@pytest.mark.parametrize("make", [np.asarray, Spy, lambda array: da.from_array(array, chunks=16)])
def test_the_curtain_of_a_stack_shows_each_layer_on_its_side(viewer, make):
    arrays = noise(3, 40, 60, dtype="uint16"), noise(3, 40, 60, seed=1, dtype="uint16")
    source = image(viewer, make(arrays[0]), contrast_limits=(0, 60000), scale=(1, 0.5, 0.5))
    restored(viewer, source, make(arrays[1]), contrast_limits=(0, 60000))
    widget = dock(viewer)
    widget.set_mode("curtain")
    slider = control(widget, "edge", QSlider)
    assert (slider.minimum(), slider.maximum(), slider.value()) == (0, 60, 30)
    for plane, position in ((0, 30), (2, 17), (2, 60), (1, 0)):
        viewer.dims.set_point(0, plane)
        slider.setValue(position)
        settle(widget)
        for column in {0, position - 1, position, 59} - {-1, 60}:
            array = arrays[0] if column < position else arrays[1]
            world = (plane, 7 * 0.5, column * 0.5)
            assert curtain_of(viewer).get_value(world, world=True) == array[plane, 7, column]


def settle(widget: CompareWidget) -> None:
    """Let a picture that waits for its turn be made."""
    for timer in widget.findChildren(QTimer):
        if timer.isActive():
            timer.timeout.emit()


def test_a_lazy_stack_is_read_one_plane_at_a_time_and_not_at_all_when_the_edge_moves(viewer):
    spies = [Spy(noise(5, 40, 60, seed=seed)) for seed in (0, 1)]
    source = image(viewer, spies[0], contrast_limits=(0, 255))
    restored(viewer, source, spies[1], contrast_limits=(0, 255))
    widget = dock(viewer)
    widget.set_mode("curtain")
    for spy in spies:
        assert max(spy.read) == 40 * 60
        spy.read.clear()
    slider = control(widget, "edge", QSlider)
    for position in range(0, 60, 10):
        slider.setValue(position)
        settle(widget)
    assert [spy.read for spy in spies] == [[], []]
    viewer.dims.set_point(0, 4)
    assert [spy.read for spy in spies] == [[40 * 60]] * 2


def test_the_curtain_of_colours(viewer):
    arrays = noise(40, 60, 3), noise(40, 60, 3, seed=1)
    source = image(viewer, arrays[0], contrast_limits=(0, 100))
    restored(viewer, source, arrays[1])
    widget = dock(viewer)
    widget.set_mode("curtain")
    assert curtain_of(viewer).rgb
    np.testing.assert_array_equal(look(viewer, 3, 29), arrays[0][3, 29])
    np.testing.assert_array_equal(look(viewer, 3, 30), arrays[1][3, 30])
    # As bright as the image, also when that is changed meanwhile.
    assert curtain_of(viewer).contrast_limits == [0, 100]
    source.contrast_limits = (0, 60)
    assert curtain_of(viewer).contrast_limits == [0, 60]


def test_the_curtain_of_a_region_shows_the_input_around_it(viewer):
    whole, region = noise(40, 60), noise(10, 20, seed=1)
    source = image(viewer, whole, scale=(2, 3), rotate=30, translate=(5, 6))
    restored(viewer, source, region, (12, 25))
    widget = dock(viewer)
    widget.set_mode("curtain")
    values = [look(viewer, row, column) for row, column in ((12, 30), (21, 44), (22, 44), (12, 29))]
    assert values == [region[0, 5], region[9, 19], whole[22, 44], whole[12, 29]]
    assert "is a part of" in said(widget)


def test_the_curtain_of_several_levels_shows_each_on_its_side_in_every_level(viewer):
    levels = [pyramid(noise(512, 640, seed=seed), 3) for seed in (0, 1)]
    source = image(viewer, levels[0], multiscale=True, contrast_limits=(0, 255))
    restored(viewer, source, levels[1], multiscale=True, contrast_limits=(0, 255))
    widget = dock(viewer)
    widget.set_mode("curtain")
    layer = curtain_of(viewer)
    for position in (320, 100):
        control(widget, "edge", QSlider).setValue(position)
        settle(widget)
        for level, factor in enumerate((1, 2, 4)):
            layer.locked_data_level = level
            for column in (position // factor - 1, position // factor):
                array = levels[column * factor >= position][level]
                assert look(viewer, 8 * factor, column * factor) == array[8, column]


def test_a_plane_that_was_not_restored_is_said_to_be_none(viewer):
    stack = noise(4, 40, 60)
    source = image(viewer, stack)
    restored(viewer, source, noise(1, 40, 60, seed=1), (2, 0, 0))
    viewer.dims.set_point(0, 2)
    widget = dock(viewer)
    widget.set_mode("curtain")
    assert said(widget) == ""
    viewer.dims.set_point(0, 3)
    assert "not part of" in said(widget)
    assert look(viewer, 5, 59, 3) == stack[3, 5, 59]


@pytest.mark.parametrize(
    "options",
    [{"scale": (2, 1)}, {"rotate": 10}, {"translate": (0, 0.5)}],
    ids=["scaled", "turned", "shifted"],
)
def test_there_is_no_curtain_for_pixels_that_do_not_match(viewer, options):
    before = image(viewer, noise(40, 60), name="a")
    after = image(viewer, noise(40, 60), name="b", **options)
    widget = dock(viewer)
    widget.set_pair(before, after)
    widget.set_mode("curtain")
    assert widget.mode == "side by side"
    assert not control(widget, "curtain").isEnabled()
    assert said(widget).startswith("There is no curtain")


@pytest.mark.parametrize(
    "options", [{}, {"scale": (1, -1)}, {"rotate": 90}, {"rotate": -90}], ids=str
)
def test_before_is_on_the_left_of_the_canvas_however_the_layer_is_turned(viewer, options):
    arrays = noise(40, 40), noise(40, 40, seed=1)
    before, after = (image(viewer, array, **options) for array in arrays)
    widget = dock(viewer)
    widget.set_pair(before, after)
    widget.set_mode("curtain")
    control(widget, "edge", QSlider).setValue(10)
    settle(widget)
    layer = curtain_of(viewer)
    leftmost = min(layer.data_to_world(corner)[1] for corner in ((0, 0), (0, 39), (39, 0)))
    sides = set()
    for pixel in ((3, 5), (3, 35), (35, 3), (35, 35), (20, 3), (3, 20)):
        right = bool(layer.data_to_world(pixel)[1] > leftmost + 9.5)
        assert layer.get_value(pixel) == arrays[right][pixel]
        sides.add(right)
    assert sides == {False, True}


def test_the_edge_is_dragged_on_the_canvas(viewer):
    source = image(viewer, noise(40, 60), scale=(2, 2))
    restored(viewer, source, noise(40, 60, seed=1))
    widget = dock(viewer)
    widget.set_mode("curtain")
    slider = control(widget, "edge", QSlider)
    (drag,), (hover,) = viewer.mouse_drag_callbacks[-1:], viewer.mouse_move_callbacks[-1:]
    zoom = viewer.scene.camera.zoom

    def mouse(column, kind="mouse_press"):
        return SimpleNamespace(type=kind, button=1, position=(10, column), handled=False)

    away = mouse(59 + 20 / zoom)
    assert list(drag(viewer, away)) == [] and not away.handled, "the camera pans"
    hover(viewer, away)
    assert viewer.cursor.style == "standard"
    event = mouse(59)
    hover(viewer, event)
    assert viewer.cursor.style == "pointing"
    steps = drag(viewer, event)
    next(steps)
    assert event.handled
    for column, position in ((19, 10), (99, 50), (-50, 0), (69, 35)):
        event.__dict__.update(vars(mouse(column, "mouse_move")))
        next(steps)
        assert event.handled
        assert slider.value() == position
    event.type = "mouse_release"
    assert list(steps) == []
    viewer.scene.camera.center = (0, 40, 29)
    control(widget, "centre_edge").click()
    assert slider.value() == 15


def test_the_edge_follows_the_dimensions_on_screen(viewer):
    stack, result = noise(8, 40, 60), noise(8, 40, 60, seed=1)
    source = image(viewer, stack)
    restored(viewer, source, result)
    widget = dock(viewer)
    widget.set_mode("curtain")
    viewer.dims.order = (1, 2, 0)
    viewer.dims.set_point(1, 5)
    slider = control(widget, "edge", QSlider)
    assert (slider.maximum(), slider.value()) == (8, 4)
    assert look(viewer, 5, 7, 3) == stack[3, 5, 7]
    assert look(viewer, 5, 7, 4) == result[4, 5, 7]
    control(widget, "top_bottom").click()
    assert control(widget, "edge", QSlider).maximum() == 60


def test_the_names_on_the_canvas_follow_the_layers(viewer):
    source = image(viewer, noise(40, 60), name="cells")
    restored(viewer, source, noise(40, 60, seed=1))
    widget = dock(viewer)
    widget.set_mode("curtain")
    texts = viewer.canvas.overlays
    assert texts["darkdeblur_before"].text == "cells"
    assert texts["darkdeblur_after"].text == "cells [darkdeblur]"
    source.name = "renamed"
    assert texts["darkdeblur_before"].text == "renamed"


def test_removing_the_curtain_ends_comparing(viewer, qtbot):
    source = image(viewer, noise(40, 60), name="cells")
    restored(viewer, source, noise(40, 60, seed=1))
    widget = dock(viewer)
    widget.set_mode("curtain")
    viewer.layers.remove(curtain_of(viewer))
    assert widget.mode == "off"
    qtbot.waitUntil(lambda: len(viewer.layers) == 2)
    assert visible(viewer) == ["cells", "cells [darkdeblur]"]


def test_volumes_have_a_curtain_and_no_line(viewer):
    volumes = noise(8, 40, 60), noise(8, 40, 60, seed=1)
    source = image(viewer, volumes[0])
    restored(viewer, source, volumes[1])
    widget = dock(viewer)
    widget.set_mode("curtain")
    viewer.dims.ndisplay = 3
    (line,) = (layer for layer in viewer.layers if layer.name.endswith("[edge]"))
    assert not line.visible
    joined = np.asarray(curtain_of(viewer).data)
    np.testing.assert_array_equal(joined[..., :30], volumes[0][..., :30])
    np.testing.assert_array_equal(joined[..., 30:], volumes[1][..., 30:])
    viewer.dims.ndisplay = 2
    assert line.visible


@pytest.mark.parametrize("mode", ["curtain", "removed"])
def test_another_strength_is_shown_and_the_edge_stays(viewer, mode):
    """The array is the same, and is read lazily: what was kept of it is not shown."""
    pixels = noise(40, 60), noise(40, 60, seed=1)
    source = image(viewer, da.from_array(pixels[0]))
    result = restored(viewer, source, da.from_array(pixels[1]))
    set_strength(result, source, 0.5)
    widget = dock(viewer)
    widget.set_mode(mode)
    shown = next(layer for layer in viewer.layers if provenance_is_curtain(layer))
    first = np.asarray(shown.data)
    set_strength(result, source, 0.25)
    record_strength(result)
    assert shown in viewer.layers, "it was made anew"
    assert not np.array_equal(np.asarray(shown.data), first)
    expected = mixed(*pixels, 0.25).astype(float)
    if mode == "curtain":
        np.testing.assert_array_equal(np.asarray(shown.data)[:, 30:], expected[:, 30:])
    else:
        np.testing.assert_allclose(np.asarray(shown.data), pixels[0] - expected)


def test_pixels_that_are_replaced_are_shown(viewer):
    source = image(viewer, noise(40, 60))
    result = restored(viewer, source, noise(40, 60, seed=1))
    widget = dock(viewer)
    widget.set_mode("curtain")
    result.data = again = noise(40, 60, seed=2)
    assert widget.mode == "curtain"
    assert look(viewer, 3, 59) == again[3, 59]
    result.data = noise(20, 30, seed=3)
    assert widget.mode == "curtain"
    assert "is a part of" in said(widget)


# --- blink


def test_blinking_shows_the_layers_in_turn_and_stops(viewer, qtbot):
    source = image(viewer, noise(40, 60), name="cells")
    restored(viewer, source, noise(40, 60, seed=1))
    widget = dock(viewer)
    control(widget, "interval", QDoubleSpinBox).setValue(0.1)
    widget.set_mode("blink")
    assert visible(viewer) == ["cells [darkdeblur]"]
    qtbot.waitUntil(lambda: visible(viewer) == ["cells"])
    assert [layer.name_overlay.visible for layer in viewer.layers] == [True, False]
    qtbot.waitUntil(lambda: visible(viewer) == ["cells [darkdeblur]"])
    widget.stop()
    assert not any(timer.isActive() for timer in widget.findChildren(QTimer))
    assert visible(viewer) == ["cells", "cells [darkdeblur]"]


def test_before_is_shown_as_long_as_the_button_is_held(viewer):
    source = image(viewer, noise(40, 60), name="cells")
    restored(viewer, source, noise(40, 60, seed=1))
    widget = dock(viewer)
    widget.set_mode("blink")
    hold = control(widget, "hold")
    for play in (True, False):
        control(widget, "play").setChecked(play)
        hold.pressed.emit()
        assert visible(viewer) == ["cells"]
        assert not any(timer.isActive() for timer in widget.findChildren(QTimer))
        hold.released.emit()
        assert visible(viewer) == ["cells [darkdeblur]"]
        assert any(timer.isActive() for timer in widget.findChildren(QTimer)) == play


def test_around_a_region_the_picture_does_not_blink(viewer):
    source = image(viewer, noise(40, 60), name="cells")
    restored(viewer, source, noise(10, 20, seed=1), (12, 25))
    widget = dock(viewer)
    widget.set_mode("blink")
    assert visible(viewer) == ["cells", "cells [darkdeblur]"]
    control(widget, "hold").pressed.emit()
    assert visible(viewer) == ["cells"]
