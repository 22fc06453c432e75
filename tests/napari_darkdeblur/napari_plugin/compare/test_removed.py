"""What was taken away is seen between fixed limits, wherever the two layers lie."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
from qtpy.QtWidgets import QLabel

from napari_darkdeblur.napari_plugin.compare.removed import SUFFIX, limit_of
from napari_darkdeblur.napari_plugin.compare.widget import CompareWidget
from napari_darkdeblur.napari_plugin.provenance import provenance_of

from .test_widget import image, restored


@pytest.fixture
def viewer(make_napari_viewer_proxy: Any) -> Any:
    return make_napari_viewer_proxy()


def removed_layer(viewer: Any, before: Any, after: Any) -> tuple[CompareWidget, Any]:
    widget = CompareWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Compare")
    widget.set_pair(before, after)
    widget.set_mode("removed")
    assert widget.mode == "removed"
    return widget, next(layer for layer in viewer.layers if SUFFIX in layer.name)


def test_grey_is_the_difference_in_the_layers_units(viewer: Any):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 4000, (3, 20, 24)).astype(np.uint16)
    result = rng.integers(0, 4000, (3, 20, 24)).astype(np.uint16)
    before = image(viewer, pixels, name="cells", scale=(1, 2, 2))
    after = restored(viewer, before, da.from_array(result, chunks=(1, 20, 24)))
    widget, layer = removed_layer(viewer, before, after)
    expected = pixels.astype(float) - result
    for plane in range(3):
        np.testing.assert_array_equal(np.asarray(layer.data[plane]), expected[plane])
    limit = limit_of(widget.pair)
    assert list(layer.contrast_limits) == [-limit, limit]
    np.testing.assert_array_equal(layer.scale, before.scale)
    assert provenance_of(layer).kind == "map"
    assert (before.visible, after.visible) == (False, False)
    note = widget.findChild(QLabel, "compare_note")
    assert f"{limit:.3g}" in note.text()
    widget.set_mode("off")
    assert [one.name for one in viewer.layers] == ["cells", after.name]
    assert before.visible


def test_colours_are_grey_where_nothing_changed(viewer: Any):
    rng = np.random.default_rng(0)
    pixels = rng.integers(60, 200, (20, 24, 4)).astype(np.uint8)
    result = pixels.copy()
    result[:10, :, :3] += 20
    before = image(viewer, pixels, name="night", rgb=True)
    after = restored(viewer, before, result, rgb=True)
    _, layer = removed_layer(viewer, before, after)
    shown = np.asarray(layer.data)
    np.testing.assert_allclose(shown[10:, :, :3], 0.5)
    # 20 of the 25.5 that are a tenth of white.
    np.testing.assert_allclose(shown[:10, :, :3], 0.5 - 20 / 51, atol=1e-6)
    np.testing.assert_array_equal(shown[..., 3], 1)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_part_is_compared_in_its_place(viewer: Any, swapped: bool):
    pixels = np.random.default_rng(0).random((20, 24)).astype(np.float32)
    before = image(viewer, pixels, name="cells")
    after = restored(viewer, before, pixels[5:15, 8:20] - 0.25, start=(5, 8))
    first, second = (after, before) if swapped else (before, after)
    _, layer = removed_layer(viewer, first, second)
    expected = np.zeros((20, 24))
    expected[5:15, 8:20] = -0.25 if swapped else 0.25
    np.testing.assert_allclose(np.asarray(layer.data), expected, atol=1e-6)
