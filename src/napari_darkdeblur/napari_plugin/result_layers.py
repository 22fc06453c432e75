"""How a layer that was made of another one is placed, shown and named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari.layers import Image, Layer

SUFFIX = "[darkdeblur]"
# How a layer is named that shows what another one should look like.
REFERENCE_SUFFIX = "(reference)"
# What is changed together with the input's. Never `visible`: hiding one would hide both.
LINKED = ("contrast_limits", "gamma")


def placement_of(layer: Layer, start: Sequence[float] | None = None) -> dict[str, Any]:
    """Return where a layer lies, for one of the same pixel size made of it or of a part of it.

    Parameters
    ----------
    layer : napari.layers.Layer
        Layer that the result is made of.
    start : sequence of float, optional
        Data coordinates of the part's first pixel, one for each of the layer's dimensions; the
        first pixel of all if not given.

    Returns
    -------
    dict
        ``scale, translate, rotate, shear, affine, units, axis_labels``: keyword arguments of any
        layer of as many dimensions. The part lies on its place under rotation, shear and an
        affine transform as well.
    """
    translate = np.asarray(layer.translate, float)
    if start is not None:
        origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)))
        offset = np.asarray(layer.data_to_world(np.asarray(start, float))) - origin
        # The world's offset is the affine transform's, which comes after the translation.
        linear = np.asarray(layer.affine)[:-1, :-1]
        translate = translate + np.linalg.solve(linear, offset)
    return {
        "scale": np.array(layer.scale),
        "translate": translate,
        "rotate": np.array(layer.rotate),
        "shear": np.array(layer.shear),
        "affine": np.array(layer.affine),
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


def appearance_of(layer: Image) -> dict[str, Any]:
    """Return how an image layer is shown, for another one with values in the same units.

    Returns
    -------
    dict
        Keyword arguments of `napari.layers.Image`: ``rgb``, ``colormap``, ``contrast_limits``,
        ``gamma``, ``blending``, ``interpolation2d`` and the like. Not ``visible``, ``opacity``
        and ``name``.
    """
    shown = {
        "rgb": layer.rgb,
        "gamma": layer.gamma,
        "blending": layer.blending,
        "interpolation2d": layer.interpolation2d,
        "interpolation3d": layer.interpolation3d,
        "rendering": layer.rendering,
        "depiction": layer.depiction,
        "attenuation": layer.attenuation,
        "projection_mode": layer.projection_mode,
    }
    shown["contrast_limits"] = tuple(layer.contrast_limits)
    if not layer.rgb:
        shown["colormap"] = layer.colormap
    return shown


def result_name(layer: Layer, suffix: str = SUFFIX) -> str:
    """Return the name of a layer that is made of another one.

    If the name is taken, napari numbers it when the layer is added: nothing is overwritten.
    """
    return f"{layer.name} {suffix}"


def link_appearance(layers: Iterable[Image]) -> None:
    """Let layers change contrast limits and gamma together."""
    from napari.experimental import link_layers

    link_layers(layers, LINKED)


def reference_of(layer: Layer, layers: Iterable[Layer]) -> Layer | None:
    """Return the layer that by its name, ``"NAME (reference)"``, is another one's reference."""
    wanted = f"{layer.name} {REFERENCE_SUFFIX}"
    return next((other for other in layers if other.name == wanted), None)
