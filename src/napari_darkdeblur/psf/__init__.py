"""Blur kernels: found in a picture, taken from a point of light, read, or given by a formula."""

import lazy_loader

# The names are those of __init__.pyi. What they need is loaded on first use: torch takes seconds.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
