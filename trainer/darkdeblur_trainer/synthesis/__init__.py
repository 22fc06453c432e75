"""From sharp photographs to pairs: camera shake, low light, sensor noise (paper, section 2.3)."""

from .degradation import PRESETS, Degradation
from .known_kernels import KnownKernels, guide_kernels
from .pairs import Pairs, PairSynthesizer
from .sample_random import SampleRandom, Stream, sample_indices

__all__ = [
    "PRESETS",
    "Degradation",
    "KnownKernels",
    "PairSynthesizer",
    "Pairs",
    "SampleRandom",
    "Stream",
    "guide_kernels",
    "sample_indices",
]
