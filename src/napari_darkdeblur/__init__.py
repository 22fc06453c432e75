"""Remove motion blur from photographs and microscopy frames taken in too little light.

The public names below load what they need on first use: importing the package imports
neither torch nor Qt.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import psf
    from .errors import DarkDeblurError
    from .network import (
        DarkDeblurNet,
        GeneratorConfig,
        LoadedModel,
        WeightsError,
        load_weights,
        save_weights,
    )
    from .psf import PSF
    from .restore import deblur

    __version__: str

_HOME_OF = {
    "DarkDeblurError": "errors",
    "DarkDeblurNet": "network",
    "GeneratorConfig": "network",
    "LoadedModel": "network",
    "PSF": "psf",
    "WeightsError": "network",
    "deblur": "restore",
    "load_weights": "network",
    "save_weights": "network",
}

__all__ = [
    "PSF",
    "DarkDeblurError",
    "DarkDeblurNet",
    "GeneratorConfig",
    "LoadedModel",
    "WeightsError",
    "__version__",
    "deblur",
    "load_weights",
    "psf",
    "save_weights",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("napari-darkdeblur")
    if name == "psf":
        return importlib.import_module(".psf", __name__)
    if name in _HOME_OF:
        return getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
