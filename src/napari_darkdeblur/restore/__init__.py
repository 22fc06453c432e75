"""Restoring images: what the plugin and the command line have in common."""

from .devices import DeviceError, available_devices, choose_device
from .engine import NonFiniteWarning, OutOfMemoryError, RestoreError, deblur, load_model
from .pixels import PixelError, PixelFormat, ValueRangeError

__all__ = [
    "DeviceError",
    "NonFiniteWarning",
    "OutOfMemoryError",
    "PixelError",
    "PixelFormat",
    "RestoreError",
    "ValueRangeError",
    "available_devices",
    "choose_device",
    "deblur",
    "load_model",
]
