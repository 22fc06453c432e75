"""Results: where restored pixels are kept, and how they are brought into the viewer."""

from __future__ import annotations

import math
import re
import shutil
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import platformdirs
import psutil

from ...errors import DarkDeblurError
from ...restore.image.axes import Axes
from ...restore.units import format_bytes
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

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

    from .jobs import JobSpec, Outcome


# Larger results go to the disk, as do those that take more of the free memory than this.
LARGEST_IN_MEMORY = 2_000_000_000
_SHARE_OF_FREE_MEMORY = 0.25
_CHUNK = 512


@dataclass(frozen=True)
class Store:
    """Takes restored pixels.

    Parameters
    ----------
    array : ndarray or zarr.Array
        What is written to, and shown.
    path : pathlib.Path or None
        The zarr array's folder; None if it is in memory.
    """

    array: Any
    path: Path | None = None

    def discard(self) -> None:
        """Remove what is on the disk: it is incomplete."""
        if self.path is not None:
            shutil.rmtree(self.path, ignore_errors=True)


def default_results_folder() -> Path:
    """Return the folder for large results if the user names none."""
    return Path(platformdirs.user_data_dir("darkdeblur", appauthor=False)) / "results"


def goes_to_disk(shape: tuple[int, ...], dtype: Any) -> bool:
    """Whether a result of this shape is too large for memory."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    free = int(psutil.virtual_memory().available)
    return bool(size > min(LARGEST_IN_MEMORY, _SHARE_OF_FREE_MEMORY * free))


class ResultsFolderError(DarkDeblurError):
    """The folder for large results has no room for a result; the message says which and why."""


def no_space_text(shape: tuple[int, ...], dtype: Any, folder: Path | None) -> str:
    """Return a sentence that says where there is too little room, and what to do."""
    size = format_bytes(math.prod(shape) * np.dtype(dtype).itemsize)
    return (
        f"The disk of {folder or default_results_folder()} has no room for the result of {size}; "
        "free some, or choose another folder in Preferences > napari-darkdeblur > Folders > "
        "Large results."
    )


def make_store(
    shape: tuple[int, ...], dtype: Any, name: str, axes: str, folder: Path | None = None
) -> Store:
    """Return a place for a result.

    Parameters
    ----------
    shape, dtype
        Of the result.
    name : str
        What it is called; a part of the folder's name.
    axes : str
        Its axes: planes are cut into chunks, every plane has chunks of its own.
    folder : pathlib.Path, optional
        Where large results go; `default_results_folder` if not given.

    Raises
    ------
    OSError
        The folder cannot be written to.
    ResultsFolderError
        There is too little room in it.
    """
    if not goes_to_disk(shape, dtype):
        return Store(np.zeros(shape, dtype))
    import zarr

    folder = folder or default_results_folder()
    folder.mkdir(parents=True, exist_ok=True)
    if math.prod(shape) * np.dtype(dtype).itemsize > shutil.disk_usage(folder).free:
        raise ResultsFolderError(no_space_text(shape, dtype, folder))
    safe = re.sub(r"[^\w.-]+", "_", name).strip("._") or "result"
    stem = f"{safe[:60]}-{time.strftime('%Y%m%d-%H%M%S')}"
    path = folder / f"{stem}.zarr"
    number = 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.zarr"
    planes = Axes.parse(axes, shape).plane_letters
    chunks = tuple(
        1 if letter in planes else min(length, _CHUNK)
        for letter, length in zip(axes, shape, strict=True)
    )
    array = zarr.create_array(path, shape=shape, chunks=chunks, dtype=np.dtype(dtype))
    return Store(array, path)


# Pixels along the longer side of the coarsest level: about a screen.
_LARGEST_COARSEST = 1024


@dataclass(frozen=True)
class Destination:
    """How the result of a job will lie and look, taken down before it begins.

    The layer may be changed, renamed or removed meanwhile.

    Parameters
    ----------
    name : str
        Name of the new layer.
    arguments : dict
        Placement and appearance, as keyword arguments of `napari.layers.Image`.
    record : InputRecord
        Record of the input layer.
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

        Results change contrast limits and gamma together with their input, if that is still there.
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
