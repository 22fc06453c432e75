"""Overlays lie on what was measured, look the same each time, and touch nobody else's layers."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes

from napari_darkdeblur.metrics import METRICS, metric_of
from napari_darkdeblur.napari_plugin.measure.measuring_job import TilesMeasured, measuring_tiles
from napari_darkdeblur.napari_plugin.measure.measuring_plan import plan_measuring
from napari_darkdeblur.napari_plugin.measure.metric_layers import (
    LOOKS,
    add_map,
    add_tiles,
    overlays_of,
    show_metric,
)
from napari_darkdeblur.napari_plugin.measure.metric_text import CanvasText, line_of
from napari_darkdeblur.napari_plugin.provenance import provenance_of
from napari_darkdeblur.rectangle import Rectangle

from .test_matching import TRANSFORMS, pixels, restored_of
from .test_measuring import run
from .test_metrics_models import make


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


def subject_of(viewer: ViewerModel, layer: Image, reference: Any = None, **options: Any) -> Any:
    point = viewer.dims.point
    return plan_measuring([layer], reference, viewer.layers, point, **options).subjects[0]


def tiles_of(viewer: ViewerModel, layer: Image, tile: int = 16, **options: Any) -> TilesMeasured:
    return run(measuring_tiles(subject_of(viewer, layer, **options), tile))[1]


def corners(layer: Any, start: tuple[float, ...], stop: tuple[float, ...]) -> np.ndarray:
    return np.array([layer.data_to_world(start), layer.data_to_world(stop)])


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("colour", [(), (3,)], ids=["grey", "RGB"])
def test_overlays_lie_on_the_pixels_whatever_the_transform(viewer, transform, colour):
    source = viewer.add_layer(Image(pixels(60, 70, *colour), name="night", **transform))
    result = viewer.add_layer(restored_of(source, pixels(40, 50, *colour), start=(9, 11)))
    measured = tiles_of(viewer, result, border=4)
    tiles = add_tiles(viewer, result, measured, "Noise (%)")
    area = measured.subject.picture.area
    assert area == Rectangle(4, 4, 32, 42)
    for tile, data in zip(measured.tiles, tiles.data, strict=True):
        start = np.array([area.top + tile.top, area.left + tile.left]) - 0.5
        np.testing.assert_allclose(
            corners(tiles, data.min(axis=0), data.max(axis=0)),
            corners(result, start, np.add(start, (tile.height, tile.width))),
        )
    values = np.zeros((area.height, area.width), np.float32)
    image = add_map(viewer, result, measured.subject.picture, "change", values)
    # The same pixels of the input, which lie 9 and 11 further.
    np.testing.assert_allclose(
        corners(image, (0, 0), (31, 41)), corners(source, (13, 15), (44, 56)), atol=1e-9
    )


@pytest.mark.parametrize("axes", ["TYX", "TXY", "YTX"])
def test_on_a_stack_they_lie_on_their_plane(viewer, axes):
    shape = {"T": 5, "Y": 40, "X": 50}
    stack = pixels(*(shape[letter] for letter in axes))
    layer = viewer.add_layer(Image(stack, name="movie", axis_labels=[*axes.lower()]))
    axis = axes.index("T")
    viewer.dims.set_current_step(axis, 3)
    subject = subject_of(viewer, layer)
    assert subject.picture.read().shape == (40, 50)
    values = subject.picture.read()
    image = add_map(viewer, layer, subject.picture, "error", values)
    assert image.ndim == 3
    np.testing.assert_allclose(np.take(stack, [3], axis=axis) / 255, image.data, atol=1e-6)
    assert image.data_to_world((0, 0, 0)) == tuple(3.0 if i == axis else 0.0 for i in range(3))
    tiles = add_tiles(viewer, layer, tiles_of(viewer, layer), "Noise (%)")
    assert {float(corner) for data in tiles.data for corner in data[:, axis]} == {3.0}


def test_contrast_limits_are_fixed_and_there_is_a_colour_bar(viewer):
    layer = viewer.add_layer(Image(pixels(40, 50), name="night"))
    picture = subject_of(viewer, layer).picture
    for kind, look in LOOKS.items():
        for scale in (1e-4, 0.5):
            values = np.random.default_rng(0).random((40, 50), dtype=np.float32) * scale
            image = add_map(viewer, layer, picture, kind, values)
            assert tuple(image.contrast_limits) == look.limits
            assert image.colorbar.visible
            assert image.data.dtype == np.float32


def test_measuring_again_replaces_only_ones_own(viewer):
    layer = viewer.add_layer(Image(pixels(40, 50), name="night"))
    other = viewer.add_layer(Image(pixels(40, 50), name="other"))
    foreign = viewer.add_layer(Image(pixels(40, 50), name="night [error]"))
    viewer.layers.selection.active = layer
    values = np.zeros((40, 50), np.float32)
    for one in (layer, other, layer):
        add_map(viewer, one, subject_of(viewer, one).picture, "error", values)
        add_tiles(viewer, one, tiles_of(viewer, one), "Noise (%)")
    assert foreign in viewer.layers
    assert len(viewer.layers) == 3 + 4
    for one in (layer, other):
        assert len(overlays_of(one, "error", viewer.layers)) == 1
        assert len(overlays_of(one, "tiles", viewer.layers)) == 1
    assert viewer.layers.selection.active is layer


def test_one_overlay_is_seen_at_a_time(viewer):
    layer = viewer.add_layer(Image(pixels(40, 50), name="night"))
    picture = subject_of(viewer, layer).picture
    values = np.zeros((40, 50), np.float32)
    overlays = [add_map(viewer, layer, picture, kind, values) for kind in ("error", "SSIM")]
    assert [one.visible for one in overlays] == [False, True]
    overlays.append(add_tiles(viewer, layer, tiles_of(viewer, layer), "Noise (%)"))
    assert [one.visible for one in overlays] == [False, False, True]
    assert layer.visible


def test_tiles_are_coloured_by_a_feature_and_written_on(viewer):
    layer = viewer.add_layer(Image(pixels(64, 64), name="night"))
    sharp = viewer.add_layer(Image(pixels(64, 64, seed=1), name="sharp"))
    measured = tiles_of(viewer, layer, reference=sharp)
    tiles = add_tiles(viewer, layer, measured, "PSNR (dB)")
    assert isinstance(tiles, Shapes)
    assert provenance_of(tiles).kind == "tiles"
    psnr = measured.columns["PSNR (dB)"]
    np.testing.assert_array_equal(tiles.features["PSNR (dB)"], psnr)
    assert tiles.face_color_mode == "colormap"
    assert tiles.face_contrast_limits == (psnr.min(), psnr.max())
    assert [*tiles.text.values] == [f"{value:.2f}" for value in psnr]
    alpha = np.asarray(tiles.face_color)[:, 3]
    assert (alpha < 0.5).all()
    assert (alpha > 0.2).all()
    # Another metric needs no measuring.
    show_metric(tiles, layer, "SSIM")
    ssim = measured.columns["SSIM"]
    assert tiles.face_contrast_limits == (np.nanmin(ssim), np.nanmax(ssim))
    assert [*tiles.text.values] == ["–" if np.isnan(v) else f"{v:.4f}" for v in ssim]
    np.testing.assert_allclose(np.asarray(tiles.face_color)[:, 3][~np.isnan(ssim)], alpha[0])


@pytest.mark.parametrize(("value", "written"), [(0, 1), (255, 0)], ids=["dark", "bright"])
@pytest.mark.parametrize("colour", [(), (3,)], ids=["grey", "RGB"])
def test_numbers_can_be_read_on_dark_and_bright_images(viewer, value, written, colour):
    flat = np.full((64, 64, *colour), value, np.uint8)
    options = {} if colour else {"contrast_limits": (0, 255)}
    layer = viewer.add_layer(Image(flat, name="flat", **options))
    tiles = add_tiles(viewer, layer, tiles_of(viewer, layer), "At black (%)")
    assert (np.asarray(tiles.text.color.array)[:, :3] == written).all()


@pytest.mark.filterwarnings("error")
def test_tiles_that_equal_the_reference_are_shown(viewer):
    layer = viewer.add_layer(Image(pixels(64, 64), name="night"))
    tiles = add_tiles(viewer, layer, tiles_of(viewer, layer, reference=layer), "PSNR (dB)")
    assert {*tiles.text.values} == {metric_of("PSNR (dB)").text(np.inf)}


def test_the_canvas_text_is_put_back():
    viewer = ViewerModel()
    overlay = viewer.canvas.overlays.text
    overlay.text, overlay.visible, overlay.position = "mine", True, "top_left"
    text = CanvasText(viewer)
    text.write("PSNR 30")
    text.write("PSNR 31")
    assert (overlay.text, overlay.visible, overlay.position) == ("PSNR 31", True, "bottom_center")
    text.write("")
    assert not overlay.visible
    text.take_away()
    assert (overlay.text, overlay.visible, overlay.position) == ("mine", True, "top_left")


def test_somebody_elses_canvas_text_stays():
    viewer = ViewerModel()
    overlay = viewer.canvas.overlays.text
    text = CanvasText(viewer)
    text.write("PSNR 30")
    overlay.text = "recording"
    text.take_away()
    assert (overlay.text, overlay.visible) == ("recording", True)


def test_a_line_has_what_matters_and_no_psnr_without_a_reference():
    numbers = {"psnr": 30.126, "ssim": 0.9, "noise": 1.5, "sharpness": 2.0}
    assert line_of(make("night", 3, **numbers)) == "night  ·  Z 3  ·  PSNR 30.13 dB  ·  SSIM 0.9000"
    plain = make("night", 3, sharpness=2.0, noise=1.5)
    object.__setattr__(plain, "reference", "")
    assert line_of(plain) == "night  ·  Z 3  ·  Sharpness 2.00 %/px  ·  Noise 1.50 %"


def test_many_tiles_are_stopped_between_metrics(viewer):
    layer = viewer.add_layer(Image(pixels(64, 64), name="night"))
    stop = threading.Event()
    steps = measuring_tiles(subject_of(viewer, layer), 16)(stop)
    next(steps)
    stop.set()
    assert not {*steps} & {f"Measured {metric.label}" for metric in METRICS}
