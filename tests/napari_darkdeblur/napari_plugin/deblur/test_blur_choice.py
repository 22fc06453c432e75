"""The Blur box: kernels are found, drawn, read and given; shown, used, and written down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from qtpy.QtCore import QPoint
from scipy.ndimage import convolve

from napari_darkdeblur import deblur, save_weights
from napari_darkdeblur.commands.deblur import DEFAULT_PSF
from napari_darkdeblur.napari_plugin.deblur import jobs
from napari_darkdeblur.napari_plugin.deblur.blur_panel import kernel_details
from napari_darkdeblur.napari_plugin.deblur.widget import DeblurWidget
from napari_darkdeblur.napari_plugin.provenance import provenance_of
from napari_darkdeblur.napari_plugin.settings import PluginSettings, read_settings
from napari_darkdeblur.psf import PSF, motion, point, similarity, write_psf
from napari_darkdeblur.restore import search

from ...conftest import GUIDED, assert_sentence, make_network

LONG = 30_000  # milliseconds: the machine may be busy
SHAKE = motion(12, 45).kernel


@pytest.fixture
def viewer(make_napari_viewer_proxy: Any) -> Any:
    return make_napari_viewer_proxy()


@pytest.fixture(autouse=True)
def models(models_folder: Path) -> None:
    """Put a small model that takes kernels, and one that does not, into the models folder."""
    models_folder.mkdir()
    save_weights(models_folder / "guided.safetensors", make_network(GUIDED))
    save_weights(models_folder / "plain.safetensors", make_network())


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the search by one that always finds the same; return the confidences to come.

    Each search takes the first of them; there is none for a search that should not be.
    """
    confidences: list[float] = []

    def find(image: Any, restorer: Any, *, progress: Callable[[float], None], **_: Any) -> PSF:
        progress(0.5)
        return PSF(SHAKE, "found", confidences.pop(0))

    monkeypatch.setattr(search, "estimate", find)
    return confidences


def opened(viewer: Any, qtbot: Any, model: str = "guided", kind: str = "find") -> DeblurWidget:
    """Dock a widget, wait until it knows the machine, and choose a model and a kind of blur."""
    widget = DeblurWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Deblur")
    qtbot.waitUntil(lambda: widget.models.model is not None, timeout=LONG)
    widget.models.model_box.setCurrentText(model)
    widget.blur.choose_kind(kind)  # type: ignore[arg-type]
    return widget


def found(widget: DeblurWidget, qtbot: Any) -> None:
    widget.blur.find_button.click()
    qtbot.waitUntil(lambda: not widget.finding, timeout=LONG)


def ran(widget: DeblurWidget, qtbot: Any) -> None:
    widget.run.run_button.click()
    assert widget.busy
    qtbot.waitUntil(lambda: not widget.busy, timeout=LONG)


def image() -> Any:
    return np.random.default_rng(0).integers(0, 256, (70, 80), dtype=np.uint8)


def is_shown(widget: DeblurWidget) -> bool:
    return not widget.blur.picture.pixmap().isNull()


def test_what_is_found_is_shown_and_used(viewer: Any, qtbot: Any, searches: list[float]) -> None:
    layer = viewer.add_image(image(), name="street")
    widget = opened(viewer, qtbot)
    assert not is_shown(widget)
    assert not widget.blur.add_button.isEnabled()
    searches.append(0.93)
    found(widget, qtbot)
    assert is_shown(widget)
    assert widget.blur.text.text() == "Found a shake of 12 px, towards the upper right; used."
    assert "93 %" in widget.blur.details.text()
    # The run does not look for it again.
    ran(widget, qtbot)
    result = viewer.layers["street [darkdeblur]"]
    expected = deblur(layer.data, "guided", psf=PSF(SHAKE, "found"), light="srgb")
    np.testing.assert_array_equal(result.data, expected)
    known = provenance_of(result)
    assert known is not None
    assert known.psf is not None
    assert (known.psf.origin, known.psf.confidence) == ("found", 0.93)
    np.testing.assert_allclose(known.psf.kernel, SHAKE, atol=1e-7)
    assert "Found a shake of 12 px, towards the upper right; used." in known.notes
    assert "12 px" in widget.run.result.text()


def test_run_finds_it_first_if_nobody_did(viewer: Any, qtbot: Any, searches: list[float]) -> None:
    viewer.add_image(image(), name="street")
    widget = opened(viewer, qtbot)
    searches.append(0.93)
    ran(widget, qtbot)
    known = provenance_of(viewer.layers["street [darkdeblur]"])
    assert known is not None
    assert known.options["psf"] == "auto"
    assert known.psf is not None
    assert any(note.endswith("upper right; used.") for note in known.notes)
    assert is_shown(widget)
    # It stands beside the kernel; it is no warning.
    assert "shake" not in widget.run.warning.text()
    ran(widget, qtbot)  # and holds: there is no second search


def test_an_unsure_kernel_is_shown_but_not_used(
    viewer: Any, qtbot: Any, searches: list[float]
) -> None:
    layer = viewer.add_image(image(), name="street")
    widget = opened(viewer, qtbot)
    searches.append(0.2)
    found(widget, qtbot)
    assert "No single shake found; restored without." in widget.blur.text.text()
    ran(widget, qtbot)
    result = viewer.layers["street [darkdeblur]"]
    np.testing.assert_array_equal(result.data, deblur(layer.data, "guided"))
    known = provenance_of(result)
    assert known is not None
    assert known.psf is None
    assert "No single shake found; restored without." in known.notes


def test_what_is_not_blurred_is_restored_as_sharp(
    viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(image: Any, restorer: Any, **_: Any) -> PSF:
        return PSF(point().kernel, "found", 0.0, "The picture is not blurred to speak of.")

    monkeypatch.setattr(search, "estimate", find)
    layer = viewer.add_image(image(), name="street")
    widget = opened(viewer, qtbot)
    found(widget, qtbot)
    assert "not blurred to speak of; restored as sharp." in widget.blur.text.text()
    assert widget.blur.details.text() == ""
    ran(widget, qtbot)
    result = viewer.layers["street [darkdeblur]"]
    expected = deblur(layer.data, "guided", psf=point(), light="srgb")
    np.testing.assert_array_equal(result.data, expected)
    assert not np.array_equal(result.data, deblur(layer.data, "guided"))
    assert "no blur undone: restored as sharp" in widget.run.result.text()


def test_an_unsure_kernel_is_used_if_somebody_wants_it(
    viewer: Any, qtbot: Any, searches: list[float]
) -> None:
    layer = viewer.add_image(image(), name="street")
    widget = opened(viewer, qtbot)
    assert not widget.blur.anyway_box.isEnabled()
    searches.append(0.2)
    found(widget, qtbot)
    assert widget.blur.anyway_box.isEnabled()
    widget.blur.anyway_box.click()
    assert "used all the same" in widget.blur.text.text()
    ran(widget, qtbot)
    result = viewer.layers["street [darkdeblur]"]
    expected = deblur(layer.data, "guided", psf=PSF(SHAKE, "found"), light="srgb")
    np.testing.assert_array_equal(result.data, expected)
    known = provenance_of(result)
    assert known is not None
    assert any("asked for" in note for note in known.notes)
    # It was wanted for this image, not for others.
    viewer.add_image(image()[::-1].copy(), name="other")
    widget.source.layer_choice.value = viewer.layers["other"]
    assert not widget.blur.anyway_box.isChecked()


def test_a_kernel_belongs_to_its_layer_and_its_pixels(
    viewer: Any, qtbot: Any, searches: list[float]
) -> None:
    first, second = (viewer.add_image(image(), name=name) for name in ("first", "second"))
    widget = opened(viewer, qtbot)
    widget.source.layer_choice.value = first
    searches.append(0.93)
    found(widget, qtbot)
    widget.source.layer_choice.value = second
    assert not is_shown(widget)
    assert widget.request().blur.psf == "auto"
    widget.source.layer_choice.value = first
    assert is_shown(widget)
    widget.options.light_box.setCurrentIndex(2)  # another kernel would be found in linear light
    assert not is_shown(widget)
    widget.options.light_box.setCurrentIndex(0)
    assert is_shown(widget)
    first.data = image()[::-1].copy()
    assert widget.request().blur.psf == "auto"


def test_a_search_can_be_cancelled_and_nothing_moves(
    viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(image: Any, restorer: Any, *, progress: Callable[[float], None], **_: Any) -> PSF:
        while True:
            progress(0.25)  # raises once it is to stop
            threading.Event().wait(0.005)

    monkeypatch.setattr(search, "estimate", find)
    viewer.add_image(image())
    widget = opened(viewer, qtbot)
    qtbot.waitUntil(lambda: bool(widget.run.estimate.text()), timeout=LONG)
    buttons = (widget.blur.find_button, widget.blur.add_button, widget.run.run_button)

    def places() -> list[QPoint]:
        return [each.mapTo(widget, QPoint(0, 0)) for each in buttons]

    qtbot.wait(50)
    before = places()
    widget.blur.find_button.click()
    qtbot.waitUntil(lambda: "25%" in widget.blur.text.text(), timeout=LONG)
    assert widget.blur.find_button.text() == "Cancel"
    assert places() == before
    widget.blur.find_button.click()
    qtbot.waitUntil(lambda: not widget.finding, timeout=LONG)
    qtbot.wait(50)
    assert places() == before
    assert "cancelled" in widget.blur.text.text()
    assert widget.request().blur.psf == "auto"


def test_lights_that_are_marked_draw_the_kernel(viewer: Any, qtbot: Any) -> None:
    frame = np.full((90, 100), 300.0)
    for row, column, light in ((30, 25, 3e4), (60, 70, 2e4)):
        frame[row, column] += light
    frame = convolve(frame, SHAKE[::-1, ::-1], mode="nearest")
    frame += np.random.default_rng(0).normal(0, 4, frame.shape)
    layer = viewer.add_image(frame.astype(np.uint16), name="beads", scale=(0.5, 0.5))
    widget = opened(viewer, qtbot, kind="points")
    assert not widget.run.run_button.isEnabled()
    assert "No light is marked" in widget.run.status.text()
    widget.blur.draw_button.click()
    shapes = widget.blur.shapes
    assert shapes is not None
    assert shapes.mode == "add_rectangle"
    for row, column in ((30, 25), (60, 70)):
        corners = [(row + dy, column + dx) for dy, dx in ((-13, -13), (13, 13))]
        shapes.add_rectangles(np.array(corners, float))
    qtbot.waitUntil(lambda: is_shown(widget), timeout=LONG)
    assert "2 lights drew 12 px, towards the upper right" in widget.blur.text.text()
    psf = widget.request().blur.psf
    assert isinstance(psf, PSF)
    assert similarity(psf.kernel, SHAKE) > 0.98
    qtbot.waitUntil(widget.run.run_button.isEnabled, timeout=LONG)

    # The kernel as a layer is not offered for restoring.
    widget.blur.add_button.click()
    added = viewer.layers["beads [psf]"]
    np.testing.assert_array_equal(added.data, psf.kernel)
    np.testing.assert_array_equal(added.scale, layer.scale)
    known = provenance_of(added)
    assert known is not None
    assert known.kind == "psf"
    assert added not in widget.source.layer_choice.choices

    # Without its lights there is no kernel any more.
    shapes.data = []
    qtbot.waitUntil(lambda: not is_shown(widget), timeout=LONG)


def test_a_file_or_a_formula_gives_the_kernel(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    viewer.add_image(image())
    widget = opened(viewer, qtbot, kind="file")
    assert "No file" in widget.run.status.text()
    write_psf(tmp_path / "shake.npy", PSF(SHAKE, ""))
    widget.blur.open(tmp_path / "shake.npy")
    psf = widget.request().blur.psf
    assert isinstance(psf, PSF)
    np.testing.assert_allclose(psf.kernel, SHAKE, atol=1e-6)
    assert widget.run.run_button.isEnabled()
    (tmp_path / "broken.npy").write_bytes(b"no array")
    widget.blur.open(tmp_path / "broken.npy")
    assert not widget.run.run_button.isEnabled()
    assert "broken.npy" in widget.run.status.text()
    assert_sentence(widget.run.status.text())

    widget.blur.choose_kind("motion")
    widget.blur.length_spin.setValue(20)
    widget.blur.angle_spin.setValue(90)
    psf = widget.request().blur.psf
    assert isinstance(psf, PSF)
    np.testing.assert_array_equal(psf.kernel, motion(20, 90).kernel)
    # The same again, or the preview would be made again and again.
    assert widget.request().blur.psf is psf
    assert "20 px, vertical" in widget.blur.text.text().lower()


def test_a_model_without_guides_says_so(viewer: Any, qtbot: Any) -> None:
    viewer.add_image(image(), name="street")
    widget = opened(viewer, qtbot, model="plain", kind="motion")
    assert not widget.blur.kind_box.isEnabled()
    assert "plain takes no kernel" in widget.blur.reason.text()
    assert widget.request().blur.psf == "none"
    assert widget.run.run_button.isEnabled()
    widget.models.model_box.setCurrentText("guided")
    assert widget.blur.kind_box.isEnabled()
    assert widget.blur.reason.isHidden()
    assert isinstance(widget.request().blur.psf, PSF)


def test_units_are_told_where_pixels_are_square() -> None:
    from napari.layers import Image

    psf = motion(12, 45)
    layer = Image(image(), scale=(0.5, 0.5), units=("um", "um"))
    sure = PSF(SHAKE, "found", 0.9996)
    assert kernel_details(sure, None)[-1] == "confidence over 99 %"
    assert kernel_details(psf, layer)[0].startswith(f"{psf.extent / 2:.3g} µm, ")
    assert "µm" not in kernel_details(psf, Image(image(), scale=(0.5, 2), units=("um", "um")))[0]
    side = psf.kernel.shape[0]
    assert kernel_details(psf, Image(image()))[0] == f"{side} × {side} px"


def test_it_begins_like_the_command_line_and_keeps_what_is_saved(viewer: Any, qtbot: Any) -> None:
    assert {"find": "auto", "unknown": "none"}[PluginSettings().blur] == DEFAULT_PSF
    assert read_settings().blur == PluginSettings().blur
    widget = opened(viewer, qtbot, kind="unknown")
    widget.options.save_button.click()
    assert read_settings().blur == "unknown"
    # A kernel belongs to one image: it is no default.
    widget.blur.choose_kind("motion")
    widget.options.save_button.click()
    assert read_settings().blur == "unknown"


def test_failing_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> NoReturn:
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(jobs, "prepared", broken)
    spec: Any = type("Spec", (), {"name": "street"})
    with pytest.raises(StopIteration) as end:
        next(jobs.find_kernel(spec, threading.Event()))
    assert end.value.value.status == "failed"
    assert_sentence(end.value.value.text)


def test_the_longest_sentences_have_room_beside_the_kernel(viewer: Any, qtbot: Any) -> None:
    viewer.add_image(image(), name="street")
    widget = opened(viewer, qtbot)
    qtbot.waitUntil(lambda: widget.blur.text.width() > 60)
    for sentence in (
        "No single shake found: what looks like one is round, and may be how soft the optics are; "
        "restored without.",
        "A light drew 14 px, towards the upper right; used. It is saturated; a fainter one would "
        "draw it better.",
    ):
        widget.blur.show_kernel(PSF(SHAKE, "found"), sentence)
        text = widget.blur.text
        assert text.heightForWidth(text.width()) <= text.height()
        assert text.toolTip() == sentence
