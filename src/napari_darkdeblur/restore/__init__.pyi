"""Restoring images: what the plugin and the command line have in common."""

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
    Note,
    PlaneDone,
    PSFFound,
    PSFSearch,
    Result,
    Retried,
    TileDone,
)
from .image.axes import Axes, AxesError
from .image.pixels import PixelError, ValueRangeError
from .image.plane_io import RestoreError
from .image.ranges import ChosenRange, ValueRange, choose_range, depends_on_values
from .image.view import ImageView
from .job import OutOfMemoryError
from .models import load_model
from .options import RestoreOptions
from .psfs import LIGHTS, Light, PSFGrid, describe_psf, takes_guides
from .search import find_psf
from .tiling.plan import TILINGS, Plan, Tiling
from .tiling.planner import BudgetError, make_plan
from .uncertainty import UncertaintyResult
from .units import format_bytes, parse_bytes

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
    "Note",
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
