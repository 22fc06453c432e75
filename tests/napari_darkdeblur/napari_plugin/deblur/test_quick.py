"""Restoring the selected image by one command."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from napari._app_model import get_app_model
from napari.utils import cancelable_progress
from napari.utils.notifications import notification_manager
from numpy.typing import NDArray

from napari_darkdeblur import deblur
from napari_darkdeblur.napari_plugin.deblur import job_runner, quick
from napari_darkdeblur.napari_plugin.provenance import provenance_of
from napari_darkdeblur.napari_plugin.settings import PluginSettings, save_as_defaults

from ...conftest import assert_sentence

COMMAND = "napari-darkdeblur.deblur_quick"


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (20, 24, 3)).astype(np.uint8)


@pytest.fixture
def run(qtbot: Any) -> Any:
    """Return a function that gives the command as a menu does, and waits for what it started."""

    def give_command() -> list[str]:
        """Return what napari was told to tell the user."""
        before = len(notification_manager.records)
        get_app_model().commands.execute_command(COMMAND)
        qtbot.waitUntil(lambda: not quick._under_way, timeout=120_000)
        return [str(record.message) for record in notification_manager.records[before:]]

    return give_command


def test_the_selected_image_is_restored_into_a_layer_of_its_own(
    make_napari_viewer_proxy: Any, run: Any, picture: NDArray[np.uint8]
) -> None:
    viewer = make_napari_viewer_proxy()
    layer = viewer.add_image(picture, rgb=True, name="night", scale=(2, 2), translate=(5, -3))
    told = run()
    result = viewer.layers["night [darkdeblur]"]
    assert "night [darkdeblur]" in told[-1]
    np.testing.assert_array_equal(result.data, deblur(picture))
    np.testing.assert_array_equal(result.extent.world, layer.extent.world)
    known = provenance_of(result)
    assert known is not None
    assert known.kind == "restored"
    assert known.input is not None
    assert known.input.name == "night"
    np.testing.assert_array_equal(layer.data, picture)


def test_the_viewer_is_not_kept_waiting(
    make_napari_viewer_proxy: Any, qtbot: Any, picture: NDArray[np.uint8]
) -> None:
    viewer = make_napari_viewer_proxy()
    viewer.add_image(picture, rgb=True)
    get_app_model().commands.execute_command(COMMAND)
    # The result can only come once the viewer's events are attended to again.
    assert len(viewer.layers) == 1
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=120_000)
    qtbot.waitUntil(lambda: not quick._under_way)


def test_it_says_that_the_image_was_removed_meanwhile(
    make_napari_viewer_proxy: Any, qtbot: Any, picture: NDArray[np.uint8]
) -> None:
    viewer = make_napari_viewer_proxy()
    layer = viewer.add_image(picture, rgb=True, name="night")
    get_app_model().commands.execute_command(COMMAND)
    viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: not quick._under_way, timeout=120_000)
    assert [one.name for one in viewer.layers] == ["night [darkdeblur]"]
    assert "The image was removed" in str(notification_manager.records[-1].message)


def test_all_planes_are_restored(make_napari_viewer_proxy: Any, run: Any) -> None:
    movie = np.random.default_rng(1).integers(0, 255, (3, 16, 16)).astype(np.uint8)
    viewer = make_napari_viewer_proxy()
    viewer.add_image(movie, name="movie", axis_labels=("t", "y", "x"))
    run()
    result = viewer.layers["movie [darkdeblur]"].data
    np.testing.assert_array_equal(result, deblur(movie, axes="TYX"))
    assert all((result[frame] != movie[frame]).any() for frame in range(3))


def test_a_second_run_overwrites_nothing(
    make_napari_viewer_proxy: Any, run: Any, picture: NDArray[np.uint8]
) -> None:
    viewer = make_napari_viewer_proxy()
    viewer.add_image(picture, rgb=True, name="night")
    run()
    first = viewer.layers["night [darkdeblur]"]
    first.data = np.zeros_like(picture)
    viewer.layers.selection.active = viewer.layers["night"]
    run()
    assert len(viewer.layers) == 3
    assert not first.data.any()


def test_the_settings_count(
    make_napari_viewer_proxy: Any, run: Any, picture: NDArray[np.uint8]
) -> None:
    save_as_defaults(PluginSettings(output_dtype="float32", tiling="exact", tile=16))
    viewer = make_napari_viewer_proxy()
    viewer.add_image(picture, rgb=True, name="night")
    run()
    result = viewer.layers["night [darkdeblur]"]
    assert result.data.dtype == np.float32
    known = provenance_of(result)
    assert known is not None
    assert known.plan.startswith("exact")


@pytest.mark.parametrize("selected", [0, 2])
def test_the_user_is_told_to_select_one_image(
    make_napari_viewer_proxy: Any, run: Any, picture: NDArray[np.uint8], selected: int
) -> None:
    viewer = make_napari_viewer_proxy()
    viewer.add_image(picture, rgb=True)
    viewer.add_image(picture, rgb=True)
    viewer.add_labels(np.zeros((4, 4), np.uint8))
    viewer.layers.selection = set(list(viewer.layers)[:selected])
    (message,) = run()
    assert_sentence(message)
    assert "Select one image layer" in message
    assert len(viewer.layers) == 3


def test_a_job_that_fails_is_told_of_in_a_sentence(
    make_napari_viewer_proxy: Any, run: Any, picture: NDArray[np.uint8]
) -> None:
    save_as_defaults(PluginSettings(device="cpu", precision="bf16"))
    viewer = make_napari_viewer_proxy()
    viewer.add_image(picture, rgb=True)
    *_, message = run()
    assert_sentence(message)
    assert "bf16" in message
    assert len(viewer.layers) == 1


def test_a_setting_that_makes_no_sense_is_told_of_before_anything_begins(
    make_napari_viewer_proxy: Any, run: Any, picture: NDArray[np.uint8]
) -> None:
    save_as_defaults(PluginSettings(memory="much"))
    viewer = make_napari_viewer_proxy()
    viewer.add_image(picture, rgb=True)
    (message,) = run()
    assert_sentence(message)
    assert "'much'" in message


def test_the_activity_dock_has_room_for_its_cancel_button(
    make_napari_viewer_proxy: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are as wide as their texts, and what does not fit is out of sight."""
    shown: list[str] = []
    described: list[str] = []

    class Watched(cancelable_progress):  # type: ignore[misc]
        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            super().display(msg, pos)
            shown.append(str(self).split("|")[-1])
            described.append(self.desc)

    monkeypatch.setattr(job_runner, "cancelable_progress", Watched)
    viewer = make_napari_viewer_proxy()
    picture = np.random.default_rng(0).integers(0, 255, (20, 24, 3)).astype(np.uint8)
    viewer.add_image(picture, rgb=True, name="a photograph with a name as long as a sentence")
    run()
    assert all(re.fullmatch(r"(\d+:\d\d left)?", time) for time in shown), shown
    assert set(described) == {"Deblurring a photogr… sentence"}, described
