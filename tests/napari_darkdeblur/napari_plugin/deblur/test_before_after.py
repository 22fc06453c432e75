"""Before and after: what is mixed, held down and brightened, and how it is written down."""

from __future__ import annotations

from typing import Any

import dask.array
import numpy as np
import pytest
from napari.layers import Image

from napari_darkdeblur.napari_plugin.deblur.before_after import (
    BeforeAfter,
    BeforeAfterPanel,
    Brightening,
    MixedArray,
    look_of,
    mixed,
    set_strength,
    strength_of,
)
from napari_darkdeblur.napari_plugin.provenance import (
    Provenance,
    RegionRecord,
    provenance_of,
    record_input,
)


def made_of(source: Image, pixels: Any, start: tuple[int, ...] = (0, 0), **others: Any) -> Image:
    """Return a layer as if it had been restored from a part of another one."""
    shape = pixels[0].shape if others.get("multiscale") else pixels.shape
    stop = tuple(a + b for a, b in zip(start, shape, strict=False))
    record = Provenance(
        kind="restored", input=record_input(source), region=RegionRecord(start=start, stop=stop)
    )
    return Image(pixels, metadata=record.as_metadata(), **others)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_a_mixture_is_between_the_two_in_their_units(dtype):
    before, after = np.array([[0, 100, 50]], dtype), np.array([[100, 0, 53]], dtype)
    np.testing.assert_array_equal(mixed(before, after, 0.0), before)
    np.testing.assert_array_equal(mixed(before, after, 1.0), after)
    quarter = mixed(before, after, 0.25)
    assert quarter.dtype == dtype
    expected = np.array([[25, 75, 50.75]])
    if np.dtype(dtype).kind != "f":
        expected = np.rint(expected)
    np.testing.assert_allclose(quarter, expected)


def test_what_is_not_finite_stays():
    before, after = np.array([1.0, 2.0]), np.array([np.nan, np.inf])
    np.testing.assert_array_equal(mixed(before, after, 0.5), after)


def test_only_what_is_looked_at_is_mixed():
    after = np.arange(2 * 6 * 8, dtype=np.uint16).reshape(2, 6, 8)
    lazy = dask.array.from_array(after[:, ::-1], chunks=(1, 6, 8))
    mixture = MixedArray(lazy, after, 0.5)
    whole = mixed(after[:, ::-1], after, 0.5)
    for index in (0, (1, slice(2, 5)), (slice(None), slice(None, None, 2)), (..., 3), (-1, -2)):
        np.testing.assert_array_equal(mixture[index], whole[index])
    np.testing.assert_array_equal(np.asarray(mixture), whole)


@pytest.mark.parametrize("multiscale", [False, True])
def test_the_strength_of_a_part_of_a_layer(multiscale):
    pixels = np.random.default_rng(0).integers(0, 4000, (40, 48)).astype(np.uint16)
    source = Image(pixels)
    restored = pixels[4:36, 8:40] // 2
    levels = [restored, restored[::2, ::2]]
    result = made_of(source, levels if multiscale else restored, (4, 8), multiscale=multiscale)
    set_strength(result, source, 0.25)
    assert strength_of(result) == 0.25
    shown = np.asarray(result.data[0] if multiscale else result.data)
    np.testing.assert_array_equal(shown, mixed(pixels[4:36, 8:40], restored, 0.25))
    if multiscale:
        np.testing.assert_array_equal(np.asarray(result.data[1]), shown[::2, ::2])
    set_strength(result, source, 1.0)
    np.testing.assert_array_equal(
        np.asarray(result.data[0] if multiscale else result.data), restored
    )


@pytest.fixture
def viewer(make_napari_viewer_proxy: Any) -> Any:
    return make_napari_viewer_proxy()


def test_the_slider_mixes_and_is_recorded(viewer: Any, qtbot: Any):
    pixels = np.random.default_rng(0).integers(0, 4000, (40, 48)).astype(np.uint16)
    source = viewer.add_image(pixels, name="cells")
    result = viewer.add_layer(made_of(source, pixels // 2, name="cells [darkdeblur]"))
    panel = BeforeAfterPanel()
    qtbot.addWidget(panel)
    both = BeforeAfter(viewer, panel, panel)
    assert not panel.strength_slider.isEnabled()
    both.show_result(result)
    assert panel.strength_slider.isEnabled()
    panel.strength_slider.setValue(70)
    qtbot.waitUntil(lambda: provenance_of(result).strength == 0.7, timeout=10_000)
    # The second time the same array has other pixels: who shows or measures them is told.
    told = []
    result.events.data.connect(told.append)
    panel.strength_slider.setValue(40)
    qtbot.waitUntil(lambda: provenance_of(result).strength == 0.4, timeout=10_000)
    assert len(told) == 1
    np.testing.assert_array_equal(np.asarray(result.data), mixed(pixels, pixels // 2, 0.4))
    # Whoever comes back to it finds it as it was left.
    both.show_result(None)
    assert not panel.strength_slider.isEnabled()
    both.show_result(result)
    assert panel.strength_slider.value() == 40
    source.data = pixels[:20]
    both.show_result(result)
    assert not panel.strength_slider.isEnabled()
    assert "changed" in panel.strength_slider.toolTip()
    both.disconnect_viewer()


def test_the_original_is_seen_while_the_button_or_the_key_is_held(viewer: Any, qtbot: Any):
    pixels = np.zeros((40, 48), np.uint8)
    source = viewer.add_image(pixels, name="cells", visible=False)
    result = viewer.add_layer(made_of(source, pixels, name="cells [darkdeblur]"))
    panel = BeforeAfterPanel()
    qtbot.addWidget(panel)
    both = BeforeAfter(viewer, panel, panel)
    both.show_result(result)
    panel.hold_button.pressed.emit()
    assert (source.visible, result.visible) == (True, False)
    panel.hold_button.released.emit()
    assert (source.visible, result.visible) == (False, True)
    key = next(function for bound, function in viewer.keymap.items() if str(bound) == "B")
    held = key(viewer)
    next(held)
    assert (source.visible, result.visible) == (True, False)
    assert next(held, None) is None
    assert (source.visible, result.visible) == (False, True)
    both.disconnect_viewer()
    assert "B" not in map(str, viewer.keymap)


def test_dark_pictures_are_brightened_alike_and_put_back(viewer: Any):
    rng = np.random.default_rng(0)
    dark = (rng.random((40, 48)) ** 4 * 900).astype(np.uint16)
    source = viewer.add_image(dark, name="cells", contrast_limits=(0, 65535))
    reference = viewer.add_image(dark * 2, name="reference", contrast_limits=(0, 4095))
    brightening = Brightening(viewer)
    before = dark.copy()
    brightening.start(source, [reference])
    assert brightening.active
    assert source.contrast_limits[1] < 1000
    assert source.gamma < 1
    assert list(reference.contrast_limits) == list(source.contrast_limits)
    assert reference.gamma == source.gamma
    np.testing.assert_array_equal(source.data, before)
    brightening.stop()
    assert list(source.contrast_limits) == [0, 65535]
    assert list(reference.contrast_limits) == [0, 4095]
    assert source.gamma == reference.gamma == 1


def test_a_bright_picture_is_left_as_it_is():
    (low, high), gamma = look_of(Image(np.linspace(0, 1, 100).reshape(10, 10)), (0, 0))
    assert (low, high) == pytest.approx((0, 1), abs=0.01)
    assert gamma == 1
