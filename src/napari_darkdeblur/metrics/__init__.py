"""How good a restored image is, and how it differs from what it was."""

from .maps import change_map, colour_difference_map, error_map, ssim_map
from .tables import METRICS, Metric, measure, metric_of
from .tiles import measure_tiles, tile_regions
from .with_reference import (
    ColourDifference,
    Comparison,
    ciede2000,
    ciede2000_of_lab,
    compare,
    ms_ssim,
    psnr,
    ssim,
)
from .without_reference import Change, Clipped, change, clipped, noise, sharpness

__all__ = [
    "METRICS",
    "Change",
    "Clipped",
    "ColourDifference",
    "Comparison",
    "Metric",
    "change",
    "change_map",
    "ciede2000",
    "ciede2000_of_lab",
    "clipped",
    "colour_difference_map",
    "compare",
    "error_map",
    "measure",
    "measure_tiles",
    "metric_of",
    "ms_ssim",
    "noise",
    "psnr",
    "sharpness",
    "ssim",
    "ssim_map",
    "tile_regions",
]
