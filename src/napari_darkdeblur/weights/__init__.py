"""Bundled weights, one ``NAME.safetensors`` each; their model cards are in docs/models/."""

DEFAULT_MODEL = "small-v0"
