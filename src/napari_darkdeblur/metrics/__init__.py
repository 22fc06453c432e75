"""How good a restored image is."""

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

__all__ = [
    "ColourDifference",
    "Comparison",
    "ciede2000",
    "ciede2000_of_lab",
    "compare",
    "ms_ssim",
    "psnr",
    "ssim",
]
