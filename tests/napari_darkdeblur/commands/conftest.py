"""Images and models that the commands are tested with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_darkdeblur import demo, save_weights
from napari_darkdeblur.imagefiles import write_image
from napari_darkdeblur.network import library
from napari_darkdeblur.psf import PSF, motion
from napari_darkdeblur.restore import search

from ..conftest import GUIDED, IMAGE, make_network


@pytest.fixture
def small_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "photograph", lambda: np.tile(IMAGE, (7, 6, 1)))


@pytest.fixture
def guided_model(tmp_path: Path) -> Path:
    return save_weights(tmp_path / "guided.safetensors", make_network(GUIDED))


@pytest.fixture
def lamp(tmp_path: Path) -> Path:
    """Return a night picture in which a lamp, 12-bit grey, has drawn a shake of 15 pixels."""
    image = np.full((80, 90), 200, np.uint16)
    image[40, 30:45] = 3000
    return write_image(tmp_path / "lamp.tif", image)


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch):
    """Return a function that lets the search find a motion of 14 px with some confidence."""

    def choose(confidence: float) -> PSF:
        psf = PSF(motion(14, 45).kernel, "found", confidence)

        def estimate(image, restorer, *, progress, **rest):
            progress(0.5)
            return psf

        monkeypatch.setattr(search, "estimate", estimate)
        return psf

    return choose


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bundled"
    path.mkdir()
    monkeypatch.setattr(library, "files", lambda package: path)
    return path
