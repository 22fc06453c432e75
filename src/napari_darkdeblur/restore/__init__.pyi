"""Restoring images: what the plugin and the command line have in common."""

from .amounts import format_bytes, parse_bytes
from .axes import Axes, AxesError
from .devices import (
    PRECISIONS,
    DeviceError,
    Precision,
    available_devices,
    choose_device,
    choose_dtype,
)
from .engine import NonFiniteWarning, deblur, estimate, restore
from .events import (
    Event,
    Finished,
    ModelReady,
    PlaneDone,
    PSFFound,
    PSFSearch,
    Result,
    Retried,
    TileDone,
)
from .image_view import ImageView
from .job import OutOfMemoryError
from .options import RestoreOptions, load_model
from .pixels import PixelError, StoppedError, ValueRangeError
from .plan import TILINGS, Plan, Tiling
from .plane_io import RestoreError
from .planner import BudgetError, make_plan
from .psfs import LIGHTS, Light, PSFGrid, describe_psf, takes_guides
from .ranges import ChosenRange, ValueRange, choose_range, depends_on_values
from .search import find_psf
from .uncertainty import UncertaintyResult

__all__ = [
    "LIGHTS",
    "PRECISIONS",
    "TILINGS",
    "Axes",
    "AxesError",
    "BudgetError",
    "ChosenRange",
    "DeviceError",
    "Event",
    "Finished",
    "ImageView",
    "Light",
    "ModelReady",
    "NonFiniteWarning",
    "OutOfMemoryError",
    "PSFFound",
    "PSFGrid",
    "PSFSearch",
    "PixelError",
    "Plan",
    "PlaneDone",
    "Precision",
    "RestoreError",
    "RestoreOptions",
    "Result",
    "Retried",
    "StoppedError",
    "TileDone",
    "Tiling",
    "UncertaintyResult",
    "ValueRange",
    "ValueRangeError",
    "available_devices",
    "choose_device",
    "choose_dtype",
    "choose_range",
    "deblur",
    "depends_on_values",
    "describe_psf",
    "estimate",
    "find_psf",
    "format_bytes",
    "load_model",
    "make_plan",
    "parse_bytes",
    "restore",
    "takes_guides",
]
