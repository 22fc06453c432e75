"""The DarkDeblurNet generator and the file that holds its weights."""

from .config import GeneratorConfig
from .generator import DarkDeblurNet
from .library import (
    AUTO_MODEL,
    DEFAULT_MODEL,
    THOROUGH_MODEL,
    ModelEntry,
    find_kernel_net,
    find_weights,
    has_model,
    list_models,
    load_weights,
    models_folder,
)
from .peers import (
    FeaturePyramidConfig,
    MultiScaleConfig,
    NetworkConfig,
    build_network,
    describe_network,
)
from .stages import RestorationNetwork
from .weights_file import LoadedModel, ModelCard, WeightsError, read_card, save_weights

__all__ = [
    "AUTO_MODEL",
    "DEFAULT_MODEL",
    "THOROUGH_MODEL",
    "DarkDeblurNet",
    "FeaturePyramidConfig",
    "GeneratorConfig",
    "LoadedModel",
    "ModelCard",
    "ModelEntry",
    "MultiScaleConfig",
    "NetworkConfig",
    "RestorationNetwork",
    "WeightsError",
    "build_network",
    "describe_network",
    "find_kernel_net",
    "find_weights",
    "has_model",
    "list_models",
    "load_weights",
    "models_folder",
    "read_card",
    "save_weights",
]
