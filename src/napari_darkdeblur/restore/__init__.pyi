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
from .events import Event, Finished, ModelReady, PlaneDone, Result, Retried, TileDone
from .image_view import ImageView, ValueRange
from .job import OutOfMemoryError
from .options import RestoreOptions, load_model
from .pixels import PixelError, ValueRangeError
from .plan import TILINGS, Plan, Tiling
from .plane_io import RestoreError
from .planner import BudgetError, make_plan
from .uncertainty import UncertaintyResult

__all__ = [
    "PRECISIONS",
    "TILINGS",
    "Axes",
    "AxesError",
    "BudgetError",
    "DeviceError",
    "Event",
    "Finished",
    "ImageView",
    "ModelReady",
    "NonFiniteWarning",
    "OutOfMemoryError",
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
    "deblur",
    "estimate",
    "format_bytes",
    "load_model",
    "make_plan",
    "parse_bytes",
    "restore",
]
