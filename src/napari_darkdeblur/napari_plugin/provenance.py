"""Where a layer came from: what is written into ``layer.metadata["darkdeblur"]``.

The entry is JSON-safe, so that it survives saving. Its keys are those of `Provenance`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

if TYPE_CHECKING:
    from napari.layers import Layer

    from ..psf import PSF

METADATA_KEY = "darkdeblur"

Kind = Literal["restored", "preview", "uncertainty", "map", "tiles", "curtain", "sample", "psf"]

# Larger kernels are not written down value by value: all layers' records are read again often.
_LARGEST_KERNEL = 129


class InputRecord(BaseModel):
    """The layer that something was made of.

    Parameters
    ----------
    name : str
        Name of the layer at that time.
    layer_id : str
        ``str(layer.unique_id)``, which stays the same when it is renamed.
    shape : tuple of int
        Of its full-resolution array.
    dtype : str
        Data type of its array.
    """

    name: str
    layer_id: str = ""
    shape: tuple[int, ...] = ()
    dtype: str = ""


class RegionRecord(BaseModel):
    """The part of the input that was restored, in its full-resolution pixels.

    Parameters
    ----------
    start, stop : tuple of int
        Along each of the input layer's dimensions (colour is none).
    """

    start: tuple[int, ...] = ()
    stop: tuple[int, ...] = ()


class ModelRecord(BaseModel):
    """The weights that restored.

    Parameters
    ----------
    name : str
        File name without its ending.
    sha256 : str
        SHA-256 digest of the weights file.
    """

    name: str
    sha256: str = ""


class PSFRecord(BaseModel):
    """The blur kernel that was undone.

    Parameters
    ----------
    description : str
        Its size and direction in words.
    origin : str
        Where it came from: found, lights in the picture, a file, a formula.
    confidence : float, optional
        Probability in 0..1 that restoring with it is better than without, if it was judged.
    extent, rms_radius : float
        Length along the main direction, and RMS radius, in pixels.
    direction : float
        Main direction in degrees, 0 to 180, from the right towards the top.
    side : int
        Width and height of the kernel in pixels.
    note : str
        Sentence that says what to be careful with.
    kernel : tuple of tuple of float
        Its values row by row, of sum 1; empty for kernels wider than 129 pixels.
    """

    description: str
    origin: str = ""
    confidence: float | None = None
    extent: float = 0.0
    rms_radius: float = 0.0
    direction: float = 0.0
    side: int = 0
    note: str = ""
    kernel: tuple[tuple[float, ...], ...] = ()

    @property
    def summary(self) -> str:
        """One line for tables, e.g. ``"found: 14 px, vertical (confidence 0.93)"``."""
        sure = "" if self.confidence is None else f" (confidence {self.confidence:.3g})"
        return f"{self.origin}: {self.description}{sure}"


class Provenance(BaseModel):
    """What is known about a layer that this plugin made.

    Parameters
    ----------
    schema_version : int
        Version of the layout of this record.
    kind : str
        What the layer shows.
    version : str
        Version of napari-darkdeblur.
    input : InputRecord, optional
        What it was made of; none for samples.
    region : RegionRecord
        Part of the input that was restored.
    axes : str
        The axes of the layer's array.
    model : ModelRecord, optional
        Weights of the network.
    options : dict
        What was chosen in the widget.
    psf : PSFRecord, optional
        The blur kernel that was undone; of a layer of kind ``"psf"`` the one that it shows.
    black, white : float
        The values that the network was shown as black and white, in the layer's units; metrics
        take the same.
    strength : float
        Share of the restored pixels in what the layer shows, 0 to 1; the rest is the input.
    device, plan : str
        Device that restored, and how the image was cut into tiles.
    seconds : float
        Wall-clock time of restoring, in seconds.
    notes : tuple of str
        Sentences about what was guessed, limited or tried again.
    metrics : dict
        Values that were measured, by name.
    """

    model_config = ConfigDict(extra="ignore")

    schema_version: Literal[1] = 1
    kind: Kind
    version: str = ""
    input: InputRecord | None = None
    region: RegionRecord = RegionRecord()
    axes: str = ""
    model: ModelRecord | None = None
    options: dict[str, JsonValue] = Field(default_factory=dict)
    psf: PSFRecord | None = None
    black: float = 0.0
    white: float = 1.0
    strength: float = 1.0
    device: str = ""
    plan: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    metrics: dict[str, JsonValue] = Field(default_factory=dict)

    def as_metadata(self) -> dict[str, Any]:
        """Return ``{"darkdeblur": ...}`` for a layer's metadata."""
        return {METADATA_KEY: self.model_dump(mode="json")}


def record_input(layer: Layer) -> InputRecord:
    """Return what is written down about a layer that something is made of."""
    from .layer_pixels import full_resolution

    array = full_resolution(layer)
    return InputRecord(
        name=str(layer.name),
        layer_id=str(layer.unique_id),
        shape=tuple(array.shape),
        dtype=str(array.dtype),
    )


def record_psf(psf: PSF) -> PSFRecord:
    """Return what is written down about a kernel."""
    from ..restore import describe_psf

    side = int(psf.kernel.shape[0])
    values = psf.kernel if side <= _LARGEST_KERNEL else psf.kernel[:0]
    return PSFRecord(
        description=describe_psf(psf),
        origin=psf.origin,
        confidence=psf.confidence,
        extent=round(psf.extent, 3),
        rms_radius=round(psf.rms_radius, 3),
        direction=round(psf.direction, 2),
        side=side,
        note=psf.note,
        kernel=tuple(tuple(round(float(value), 8) for value in row) for row in values),
    )


def provenance_of(layer: Layer) -> Provenance | None:
    """Return what a layer says about itself; None if this plugin did not make it."""
    entry = layer.metadata.get(METADATA_KEY)
    if not isinstance(entry, dict):
        return None
    try:
        return Provenance.model_validate(entry)
    except ValidationError:
        return None  # of another version, or edited by hand: it only knows less


def input_of(layer: Layer, layers: Iterable[Layer]) -> Layer | None:
    """Return the layer that a result was made of, if it is still there.

    Parameters
    ----------
    layer : napari.layers.Layer
        Layer that was made of another one.
    layers : iterable of napari.layers.Layer
        Where to look, such as ``viewer.layers``.
    """
    known = provenance_of(layer)
    if known is None or known.input is None:
        return None
    # Not "is": viewers that plugins are given make a new proxy of a layer each time.
    candidates = [other for other in layers if other != layer]
    for other in candidates:
        if str(other.unique_id) == known.input.layer_id:
            return other
    # Identities are new after saving and opening again; names are not.
    return next((other for other in candidates if other.name == known.input.name), None)


def results_of(layer: Layer, layers: Iterable[Layer]) -> list[Layer]:
    """Return the restored layers that were made of a layer, the oldest first."""
    layers = list(layers)
    return [
        other
        for other in layers
        if (known := provenance_of(other)) is not None
        and known.kind == "restored"
        and input_of(other, layers) == layer
    ]
