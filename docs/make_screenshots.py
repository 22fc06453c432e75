"""Make the pictures of the napari widgets, ``docs/images/napari-*.jpg``, from the samples.

Run it after a widget or the bundled weights have changed: ``python docs/make_screenshots.py``, on
Debian without a display (with the packages that the tests need, and xauth) under
``xvfb-run -a -s "-screen 0 1400x900x24"``. It takes a few minutes; leave the windows alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The pictures shall not depend on the user's settings. Before napari is imported.
os.environ["NAPARI_CONFIG"] = ""

import napari
from napari.layers import Image
from PIL import Image as Picture
from qtpy.QtWidgets import QAbstractButton, QApplication, QComboBox

from napari_darkdeblur.napari_plugin.docks import DISPLAY_NAME, open_dock

PLUGIN = "napari-darkdeblur"
FOLDER = Path(__file__).parent / "images"
WIDTH, HEIGHT = 1280, 840
PATIENCE = 600  # seconds


def wait(seconds: float) -> None:
    """Let napari work for some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def wait_until(reached: Callable[[], object], what: str) -> None:
    """Let napari work until something has come about."""
    end = time.monotonic() + PATIENCE
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError(f"Still no {what} after {PATIENCE} seconds.")
        wait(0.1)


def choose(widget: Any, name: str, value: str) -> None:
    """Choose what a combo box means by a value."""
    box = widget.findChild(QComboBox, name)
    box.setCurrentIndex(box.findData(value))


def click(widget: Any, name: str) -> None:
    """Click a button as soon as it can be clicked."""
    button = widget.findChild(QAbstractButton, name)
    wait_until(button.isEnabled, f"button {name!r} that can be clicked")
    button.click()


class Scene:
    """A viewer with a sample in it.

    Parameters
    ----------
    sample : str
        The sample's key.
    """

    def __init__(self, sample: str) -> None:
        self.viewer = napari.Viewer()
        self.viewer.window.resize(WIDTH, HEIGHT)
        self.image: Image = self.viewer.open_sample(PLUGIN, sample)[-1]

    def dock(self, name: str) -> Any:
        """Open one of the plugin's docks, or bring it to the front."""
        return open_dock(self.viewer, name)

    def restore(self, *, brighten: bool = False, **choices: str) -> Image:
        """Restore the sample with the Deblur widget, and return the result.

        Parameters
        ----------
        brighten : bool
            Whether image and result are shown brighter.
        **choices : str
            What is chosen in combo boxes, by their names.
        """
        deblur = self.dock("Deblur")
        if brighten:
            click(deblur, "brighten")
        for name, value in choices.items():
            choose(deblur, name, value)
        click(deblur, "run")
        wait_until(lambda: deblur.busy, "job")
        wait_until(lambda: not deblur.busy, "result")
        return self.viewer.layers[-1]

    def close_dock(self, name: str) -> None:
        """Close one of the plugin's widgets."""
        docks = self.viewer.window.dock_widgets
        self.viewer.window.remove_dock_widget(docks[f"{name} ({DISPLAY_NAME})"])

    def look_at(self, row: float, column: float, zoom: float) -> None:
        """Bring a point of the image to the middle of the canvas."""
        self.viewer.scene.camera.center = (row, column)
        self.viewer.scene.camera.zoom = zoom

    def save(self, name: str) -> None:
        """Save what the window shows, and close it."""
        wait(1.0)
        pixels = self.viewer.screenshot(canvas_only=False, flash=False)
        picture = Picture.fromarray(pixels).convert("RGB")
        # A display of twice the density gives twice the pixels.
        picture.thumbnail((WIDTH, WIDTH), Picture.Resampling.LANCZOS)
        path = FOLDER / f"napari-{name}.jpg"
        picture.save(path, quality=85)
        print(path)
        self.viewer.close()


def show_deblur() -> None:
    """Show a photograph that has just been restored."""
    scene = Scene("night_photograph")
    scene.restore(brighten=True)
    scene.look_at(150, 220, 2.2)
    scene.save("deblur")


def show_blur() -> None:
    """Show a shake that was found, and the photograph without it."""
    scene = Scene("night_street")
    scene.restore(brighten=True, blur="find")
    scene.look_at(240, 360, 1.05)
    scene.save("blur")


def show_curtain() -> None:
    """Show half of the photograph before, half after."""
    scene = Scene("night_photograph")
    result = scene.restore()
    scene.close_dock("Deblur")
    compare = scene.dock("Compare")
    compare.set_pair(scene.image, result)
    compare.set_mode("curtain")
    scene.look_at(150, 220, 2.6)
    click(compare, "centre_edge")
    scene.save("curtain")


def show_side_by_side() -> None:
    """Show a frame of the movie before, and beside it after."""
    scene = Scene("night_stack")
    scene.viewer.dims.set_current_step(0, 6)
    result = scene.restore(planes="current")
    scene.close_dock("Deblur")
    scene.dock("Compare").set_pair(scene.image, result)
    scene.save("side-by-side")


def show_metrics() -> None:
    """Show the PSNR of every tile of the tissue."""
    scene = Scene("microscopy")
    metrics = scene.dock("Measure")
    result = scene.restore()
    scene.close_dock("Deblur")
    metrics.set_result(result)
    wait_until(lambda: not metrics.busy, "measures")
    click(metrics, "overlay_tiles")
    wait_until(lambda: not metrics.busy, "tiles")
    scene.viewer.fit_to_view()
    scene.save("metrics")


def show_large() -> None:
    """Show a part of the mosaic: what was on the canvas has been restored."""
    scene = Scene("large_mosaic")
    scene.dock("Deblur")
    scene.look_at(4300, 4840, 1.1)
    wait(0.5)
    scene.restore(area="visible")
    scene.save("large")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for show in (
        show_deblur,
        show_blur,
        show_curtain,
        show_side_by_side,
        show_metrics,
        show_large,
    ):
        show()
