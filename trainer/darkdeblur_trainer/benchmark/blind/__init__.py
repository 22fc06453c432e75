"""Blind deconvolution without learning: the paper's classical peers, written from their papers."""

from .dark_channel import DarkChannel
from .deconvolution import saturated_richardson_lucy
from .light_streaks import LightStreaks

__all__ = ["DarkChannel", "LightStreaks", "saturated_richardson_lucy"]
