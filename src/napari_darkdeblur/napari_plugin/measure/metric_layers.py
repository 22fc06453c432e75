"""Layers that show measurements where they belong: maps, and rectangles with numbers.

They lie on what was measured under any transform, and on its plane of a stack. Measuring again
takes the earlier layer of the same kind away; nobody else's layers are touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...metrics import metric_of
from ...rectangle import Rectangle
from ..provenance import Kind, Provenance, RegionRecord, input_of, provenance_of, record_input
from ..result_layers import placement_of, result_name
from .matching import first_pixel
from .pictures import range_of_dtype

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Layer, Shapes
    from napari.utils import Colormap

    from .measuring_job import TilesMeasured
    from .pictures import Picture

# The feature of tiles that is no metric: of their pixels, in the layer's units.
MEAN_VALUE = "Mean value"

Overlay = Literal["error", "SSIM", "change", "uncertainty", "tiles"]

# How much of a tile's colour covers the image.
_TILE_OPACITY = 0.35
# Height of a tile's text in the tile's width; of what a point is in pixels, on most screens.
_TEXT_HEIGHT = 0.15
_POINTS_OF_PIXEL = 0.75
_LUMA = np.array([0.2126, 0.7152, 0.0722])
_BRIGHT = 0.5  # of white


@dataclass(frozen=True)
class MapLook:
    """How a map is shown: always the same, so that maps can be compared.

    Parameters
    ----------
    colormap : str
        A name that napari knows; ``"change"`` is one of our own.
    limits : tuple of float
        Contrast limits.
    reading : str
        A sentence on how to read it.
    """

    colormap: str
    limits: tuple[float, float]
    reading: str


LOOKS: dict[Overlay, MapLook] = {
    "error": MapLook(
        "inferno",
        (0, 0.1),
        "Error map: how far each pixel is from the reference. 0.1 is a tenth of the way from "
        "black to white.",
    ),
    "SSIM": MapLook(
        "viridis",
        (0, 1),
        "SSIM map: how much the surroundings of each pixel look like the reference. 1 is the "
        "same, dark is where structure is missing or made up.",
    ),
    "change": MapLook(
        "change",
        (-0.1, 0.1),
        "Change map: what restoring did. Yellow became brighter, blue darker, black stayed. It "
        "does not say whether that is right.",
    ),
    "uncertainty": MapLook(
        "magma",
        (0, 0.02),
        "Uncertainty map: how much the result depends on how the image is turned or mirrored. "
        "Where it is bright the network guesses; where it is dark it may still be wrong.",
    ),
}


def add_map(
    viewer: napari.viewer.Viewer,
    layer: Image,
    picture: Picture,
    kind: Overlay,
    values: NDArray[np.float32],
) -> Image:
    """Add a map of a layer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where.
    layer : napari.layers.Image
        What was measured.
    picture : Picture
        Which part of it.
    kind : str
        One of `LOOKS`.
    values : ndarray of float32
        (h, w), for each pixel of the picture.
    """
    from napari.layers import Image

    look = LOOKS[kind]
    start, stop = _box(viewer, layer, picture)
    letters = picture.axes.letters[: layer.ndim]
    rows_first = letters.index("Y") < letters.index("X")
    image = Image(
        (values if rows_first else values.T).reshape(np.subtract(stop, start)),
        name=result_name(layer, f"[{kind}]"),
        rgb=False,
        colormap=_change_colours() if look.colormap == "change" else look.colormap,
        contrast_limits=look.limits,
        blending="translucent_no_depth",
        metadata=_provenance(layer, kind, start, stop).as_metadata(),
        **placement_of(layer, start),
    )
    # What the limits may be moved to by hand; else it would be the extremes of the values.
    image.contrast_limits_range = look.limits
    image.colorbar.visible = True
    _put(viewer, layer, kind, image)
    return image


def add_tiles(
    viewer: napari.viewer.Viewer, layer: Image, measured: TilesMeasured, label: str
) -> Shapes:
    """Add rectangles with the numbers of a layer's tiles.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where.
    layer : napari.layers.Image
        What was measured.
    measured : TilesMeasured
        What came out.
    label : str
        The metric that is shown first; all are features of the new layer.

    Returns
    -------
    napari.layers.Shapes
        In the pixels of the measured layer, with the same transforms.
    """
    from napari.layers import Shapes

    picture = measured.subject.picture
    start, stop = _box(viewer, layer, picture)
    letters = picture.axes.letters[: layer.ndim]
    rectangles = np.array([_corners(tile, start, letters) for tile in measured.tiles])
    features = {
        "plane": [measured.subject.where] * len(measured.tiles),
        **measured.columns,
        MEAN_VALUE: measured.means,
    }
    shapes = Shapes(
        rectangles,
        shape_type="rectangle",
        name=result_name(layer, "[tiles]"),
        features=features,
        edge_color=[0, 0, 0, 0.25],
        edge_width=max(0.5, measured.tiles[0].width / 100),
        face_color="transparent",
        # Opacity would fade the text as well; the colours have an alpha of their own.
        opacity=1,
        text={
            "string": {"constant": ""},
            "scaling": True,
            "size": _text_size(layer, measured.tiles),
        },
        metadata=_provenance(layer, "tiles", start, stop).as_metadata(),
        **placement_of(layer),
    )
    show_metric(shapes, layer, label)
    _put(viewer, layer, "tiles", shapes)
    return shapes


def show_metric(shapes: Shapes, layer: Image, label: str) -> None:
    """Colour tiles by one of their metrics, and write its values on them.

    Parameters
    ----------
    shapes : napari.layers.Shapes
        From `add_tiles`.
    layer : napari.layers.Image
        What was measured: text is dark where it is bright.
    label : str
        Of the metric. Bright colours are high values, whether or not these are better.
    """
    from napari.utils import Colormap
    from napari.utils.colormaps import ensure_colormap

    values = np.asarray(shapes.features[label], float)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    colours = np.array(ensure_colormap("viridis").colors)
    colours[:, 3] = _TILE_OPACITY
    shapes.face_colormap = Colormap(colours, name="viridis of tiles")
    shapes.face_color = label
    # All the same colour where all values are the same.
    shapes.face_contrast_limits = (low, high) if low < high else (low - 1, low + 1)

    metric = metric_of(label)
    shapes.text = {
        **_text_of(shapes),
        "string": [metric.text(value) for value in values],
        "color": _text_colours(shapes, layer),
    }


def overlays_of(layer: Layer, kind: Overlay, layers: Iterable[Layer]) -> list[Layer]:
    """Return the layers of a kind that this plugin has made of a layer."""
    layers = list(layers)
    return [
        other
        for other in layers
        if (known := provenance_of(other)) is not None
        and known.options.get("overlay") == kind
        and input_of(other, layers) == layer
    ]


def _put(viewer: napari.viewer.Viewer, layer: Layer, kind: Overlay, overlay: Layer) -> None:
    """Add an overlay in place of earlier ones of its kind; what is selected stays so.

    The other overlays are hidden: a map would cover them but for their colour bars, and tiles
    could not be read on a map.
    """
    for other in viewer.layers:
        known = provenance_of(other)
        if known is not None and "overlay" in known.options:
            other.visible = False
    active = viewer.layers.selection.active
    for earlier in overlays_of(layer, kind, viewer.layers):
        viewer.layers.remove(earlier)
    viewer.add_layer(overlay)
    viewer.layers.selection.active = active if active in viewer.layers else layer


def _provenance(
    layer: Image, kind: Overlay, start: Sequence[int], stop: Sequence[int]
) -> Provenance:
    from importlib.metadata import version

    kinds: dict[str, Kind] = {"tiles": "tiles", "uncertainty": "uncertainty"}
    return Provenance(
        kind=kinds.get(kind, "map"),
        version=version("napari-darkdeblur"),
        input=record_input(layer),
        region=RegionRecord(start=tuple(start), stop=tuple(stop)),
        options={"overlay": kind},
    )


def _box(
    viewer: napari.viewer.Viewer, layer: Image, picture: Picture
) -> tuple[list[int], list[int]]:
    """Return where a picture begins and ends in its layer's data coordinates."""
    start = first_pixel(layer, picture.axes, picture.plane, viewer.dims.point)
    stop = [index + 1 for index in start]
    for letter, rows_or_columns in zip("YX", picture.area.slices, strict=True):
        axis = picture.axes.letters.index(letter)
        start[axis], stop[axis] = rows_or_columns.start, rows_or_columns.stop
    return start, stop


def _corners(tile: Rectangle, start: Sequence[int], letters: str) -> NDArray[np.float64]:
    """Return a tile's corners (4, D); pixels reach half a pixel beyond their index."""
    corners = np.tile(np.array(start, float), (4, 1))
    corners[:, letters.index("Y")] += tile.top - 0.5 + tile.height * np.array([0, 0, 1, 1])
    corners[:, letters.index("X")] += tile.left - 0.5 + tile.width * np.array([0, 1, 1, 0])
    return corners


def _text_size(layer: Image, tiles: Sequence[Rectangle]) -> float:
    """Return a text's size that grows and shrinks with the tiles, in the world's units."""
    side = min(tiles[0].width, tiles[0].height) * abs(float(layer.scale[-1]))
    return _TEXT_HEIGHT * _POINTS_OF_PIXEL * side


def _text_of(shapes: Shapes) -> dict[str, Any]:
    text = shapes.text
    return {"scaling": text.scaling, "size": text.size, "visible": text.visible}


def _text_colours(shapes: Shapes, layer: Image) -> NDArray[np.float64]:
    """Return black or white for each tile, whichever can be read on it."""
    shown = range_of_dtype(np.dtype(layer.dtype))
    low, high = (shown.black, shown.white) if layer.rgb else layer.contrast_limits
    image = np.clip((np.asarray(shapes.features[MEAN_VALUE]) - low) / (high - low), 0, 1)
    faces = np.asarray(shapes.face_color)
    opacity = faces[:, 3]
    luma = (1 - opacity) * image + opacity * (faces[:, :3] @ _LUMA)
    colours = np.ones((len(luma), 4))
    colours[luma > _BRIGHT, :3] = 0
    return colours


def _change_colours() -> Colormap:
    """Return blue for less, black for nothing, yellow for more."""
    from napari.utils import Colormap

    colours = [[0.45, 0.75, 1], [0.1, 0.35, 0.8], [0, 0, 0], [0.75, 0.5, 0], [1, 0.9, 0.4]]
    return Colormap(colours, name="less or more", display_name="less or more")
