"""From sharp photographs to pairs: camera shake, low light, sensor noise (paper, section 2.3)."""

from .degradation import PRESETS, Degradation
from .kernels import ShakeSettings, camera_shake_kernels
from .pairs import Pairs, PairSynthesizer
from .sample_random import SampleRandom, Stream, sample_numbers

__all__ = [
    "PRESETS",
    "Degradation",
    "PairSynthesizer",
    "Pairs",
    "SampleRandom",
    "ShakeSettings",
    "Stream",
    "camera_shake_kernels",
    "sample_numbers",
]
