"""Blur kernels: found in a picture, taken from a point of light, read, or given by a formula."""

from .estimation import CONFIDENT, Restorer, estimate
from .kernel import (
    PSF,
    PSFError,
    disc,
    gaussian,
    motion,
    parse_psf,
    point,
    read_psf,
    similarity,
    write_psf,
)
from .points import find_streaks, from_points

__all__ = [
    "CONFIDENT",
    "PSF",
    "PSFError",
    "Restorer",
    "disc",
    "estimate",
    "find_streaks",
    "from_points",
    "gaussian",
    "motion",
    "parse_psf",
    "point",
    "read_psf",
    "similarity",
    "write_psf",
]
