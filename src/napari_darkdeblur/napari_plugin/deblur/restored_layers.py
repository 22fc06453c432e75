"""Bringing a restored image into the viewer: on its place, like its input, with a record."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ..provenance import (
    InputRecord,
    Kind,
    ModelRecord,
    Provenance,
    PSFRecord,
    RegionRecord,
    record_input,
    record_psf,
)
from ..regions import Region
from ..result_layers import SUFFIX, appearance_of, link_appearance, placement_of, result_name
from .job import JobSpec, Outcome

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

# Pixels along the longer side of the coarsest level: about a screen.
_LARGEST_COARSEST = 1024


@dataclass(frozen=True)
class Destination:
    """How the result of a job will lie and look, taken down before it begins.

    The layer may be changed, renamed or removed meanwhile.

    Parameters
    ----------
    name : str
        Of the new layer.
    arguments : dict
        Placement and appearance, as keyword arguments of `napari.layers.Image`.
    record : InputRecord
        Of the input layer.
    multiscale : bool
        Whether the input has coarser levels; then the result has some, too.
    """

    name: str
    arguments: dict[str, Any]
    record: InputRecord
    multiscale: bool = False

    @classmethod
    def of(cls, layer: Image, region: Region, suffix: str = SUFFIX) -> Destination:
        """Take down what the result of a part of a layer will be like."""
        return cls(
            result_name(layer, suffix),
            placement_of(layer, region.start) | appearance_of(layer),
            record_input(layer),
            bool(layer.multiscale),
        )

    def add(
        self, viewer: napari.viewer.Viewer, spec: JobSpec, outcome: Outcome, kind: Kind = "restored"
    ) -> Image:
        """Add the result as a new layer; nothing is overwritten.

        Grey results change contrast limits and gamma together with their input, if that is still
        there.
        """
        assert outcome.store is not None
        pixels = outcome.store.array
        layer: Image = viewer.add_image(
            _levels(pixels, spec) if self.multiscale else pixels,
            name=self.name,
            multiscale=self.multiscale,
            metadata=self.provenance(spec, outcome, kind).as_metadata(),
            **self.arguments,
        )
        source = next((o for o in viewer.layers if str(o.unique_id) == self.record.layer_id), None)
        if source is not None:
            link_appearance([source, layer])
        return layer

    def provenance(self, spec: JobSpec, outcome: Outcome, kind: Kind = "restored") -> Provenance:
        """Return the record of what was done."""
        from importlib.metadata import version

        result = outcome.result
        options = {field.name: getattr(spec.options, field.name) for field in fields(spec.options)}
        del options["axes"]  # recorded beside
        options |= {"model": _named(spec.options.model), "psf": _named(spec.options.psf)}
        return Provenance(
            kind=kind,
            version=version("napari-darkdeblur"),
            input=self.record,
            region=RegionRecord(start=spec.region.start, stop=spec.region.stop),
            axes=spec.axes,
            model=ModelRecord(name=result.model, sha256=result.sha256) if result else None,
            options=options | {"output_dtype": spec.output_dtype},
            psf=_psf_of(outcome),
            black=outcome.black,
            white=outcome.white,
            device=result.device if result else "",
            plan=result.plan.describe() if result and result.plan else "",
            seconds=round(result.seconds, 3) if result else 0.0,
            notes=(*spec.notes, *(result.notes if result else ())),
            metrics=_json_safe(outcome.measures),
        )


def _levels(pixels: Any, spec: JobSpec) -> list[Any]:
    """Return a pyramid of views, computed when they are shown: every second pixel a level."""
    import dask.array

    # Without a name of its own dask would read all of it to make one.
    levels = [dask.array.from_array(pixels, name=False)]
    rows, columns = (spec.axes.index(letter) for letter in "YX")
    halved = tuple(slice(None, None, 2 if letter in "YX" else 1) for letter in spec.axes)
    while max(levels[-1].shape[rows], levels[-1].shape[columns]) > _LARGEST_COARSEST:
        levels.append(levels[-1][halved])
    return levels


def _named(value: Any) -> str:
    """Return a model or a kernel as text: its path or name, where it came from, or "none"."""
    return "none" if value is None else str(getattr(value, "origin", value))


def _psf_of(outcome: Outcome) -> PSFRecord | None:
    """Return a record of the one kernel that was used for all planes, if there was one."""
    from ...psf import PSF

    psf = outcome.result.psf if outcome.result is not None else None
    return record_psf(psf) if isinstance(psf, PSF) else None


def _json_safe(measures: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return measures without infinities and NaN, which JSON does not know."""
    return {
        image: {
            name: value if math.isfinite(value) else str(value) for name, value in values.items()
        }
        for image, values in measures.items()
    }
