"""The samples as napari opens them: made in a thread, so that the window lives on meanwhile."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np
from napari.layers import Image
from napari.utils import progress

from . import sample_data
from .background import import_soon, run_beside_window
from .sample_data import LayerData

# What napari itself loads with its first layer, for which the window would wait.
_NAPARI_NEEDS = "scipy.ndimage"
# What is opened next, as the documents have it.
_NEXT = "napari_darkdeblur.napari_plugin.deblur.widget"


def night_photograph() -> list[LayerData]:
    """Return a dark, shaken photograph and its reference; see `sample_data`."""
    return _made(sample_data.night_photograph)


def night_street() -> list[LayerData]:
    """Return a night scene with one long shake and its reference; see `sample_data`."""
    return _made(sample_data.night_street)


def night_stack() -> list[LayerData]:
    """Return a movie taken at night and its reference; see `sample_data`."""
    return _made(sample_data.night_stack)


def microscopy() -> list[LayerData]:
    """Return a microscopy frame and its reference; see `sample_data`."""
    return _made(sample_data.microscopy)


def large_mosaic() -> list[LayerData]:
    """Return a large mosaic of photographs; see `sample_data`."""

    def make() -> list[LayerData]:
        sample_data.mosaic_chunk(sample_data.MOSAIC_LEVELS - 1, (0, 0, 0))  # made of all pictures
        return sample_data.large_mosaic()

    return _made(make)


def _made(make: Callable[[], list[LayerData]]) -> list[LayerData]:
    with progress(total=0, desc="Making the sample"):
        run_beside_window(lambda: importlib.import_module(_NAPARI_NEEDS))
        layers = run_beside_window(make, _make_first_layer)
    import_soon(_NEXT)
    return layers


def _make_first_layer() -> None:
    """Make a layer that nobody sees: napari reads its units with the first of all."""
    Image(np.zeros((1, 1)))
