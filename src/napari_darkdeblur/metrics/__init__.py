"""How good a restored image is, and how it differs from what it was."""

from .maps import change_map, error_map, ssim_map
from .tables import METRICS, Metric, measure, metric_of
from .tiles import measure_tiles, tile_regions
from .with_reference import (
    ColourDifference,
    Comparison,
    ciede2000,
    compare,
    ms_ssim,
    psnr,
    ssim,
)

__all__ = [
    "METRICS",
    "ColourDifference",
    "Comparison",
    "Metric",
    "change_map",
    "ciede2000",
    "compare",
    "error_map",
    "measure",
    "measure_tiles",
    "metric_of",
    "ms_ssim",
    "psnr",
    "ssim",
    "ssim_map",
    "tile_regions",
]
