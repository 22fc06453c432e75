"""Where training images come from: cached sharp photographs and paired folders."""

from napari_darkdeblur.datasets import DataError, find_images, images_by_stem

from .crops import CropSampler
from .image_cache import (
    ImageCache,
    as_unit_range,
    cache_images,
    common_value_ranges,
    default_cache_folder,
)
from .layouts import PairedFiles, find_pairs, read_split

__all__ = [
    "CropSampler",
    "DataError",
    "ImageCache",
    "PairedFiles",
    "as_unit_range",
    "cache_images",
    "common_value_ranges",
    "default_cache_folder",
    "find_images",
    "find_pairs",
    "images_by_stem",
    "read_split",
]
