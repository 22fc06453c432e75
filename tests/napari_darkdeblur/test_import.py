"""Importing the package is cheap, and offers the public names."""

from __future__ import annotations

import subprocess
import sys

import pytest

import napari_darkdeblur

HEAVY = ("torch", "qtpy", "PyQt6", "PySide6", "napari", "skimage", "scipy")


def modules_after(code: str) -> set[str]:
    """Run code in a fresh interpreter and return the top-level modules it has loaded."""
    code += "\nimport sys; print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stderr.split())


@pytest.mark.parametrize(
    "code",
    [
        "import napari_darkdeblur; napari_darkdeblur.__version__; dir(napari_darkdeblur)",
        "from napari_darkdeblur.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from napari_darkdeblur.cli import main\n"
        "try: main(['models', '--help'])\nexcept SystemExit: pass",
        "from napari_darkdeblur.cli import main\nmain(['deblur'])",
    ],
)
def test_nothing_heavy_is_imported(code: str):
    loaded = modules_after(code)
    assert "napari_darkdeblur" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_options_are_described_without_torch():
    loaded = modules_after(
        "from napari_darkdeblur.restore import RestoreOptions\n"
        "RestoreOptions('small', 'cuda', tiling='exact', psf='auto', light='linear')"
    )
    assert "napari_darkdeblur" in loaded
    assert "torch" not in loaded


def test_metrics_are_listed_without_what_measures_them():
    # A widget that is opened lists them: scipy.linalg and scipy.stats would take it a second.
    code = """
import sys
from napari_darkdeblur.metrics import METRICS
assert METRICS
assert not {"scipy.linalg", "scipy.stats", "skimage.color.colorconv"} & sys.modules.keys()
"""
    assert "skimage" in modules_after(code)


@pytest.mark.parametrize("module", ["restore", "network", "metrics", "imagefiles", "cli", "demo"])
def test_nothing_below_the_plugin_imports_qt(module: str):
    loaded = modules_after(f"import napari_darkdeblur.{module}")
    assert loaded.isdisjoint({"qtpy", "PyQt6", "PySide6", "napari", "darkdeblur_trainer"})


def test_every_public_name_is_there():
    for name in napari_darkdeblur.__all__:
        assert getattr(napari_darkdeblur, name) is not None
        assert name in dir(napari_darkdeblur)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_thing"):
        napari_darkdeblur.no_such_thing  # noqa: B018


def test_the_public_errors_share_a_base():
    assert issubclass(napari_darkdeblur.WeightsError, napari_darkdeblur.DarkDeblurError)
