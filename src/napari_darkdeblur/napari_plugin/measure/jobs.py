"""Measuring in a thread: generators that report what they measured and do not raise.

Nothing here knows layers or widgets; pixels are read from the arrays of `Picture`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import DarkDeblurError, sentence_of
from ...metrics import change_map, error_map, measure, measure_tiles, ssim_map, tile_regions
from ...rectangle import Rectangle
from ..background import BackgroundJob, load_torch
from ..deblur.jobs import Preparing
from .plan import Measurement, Subject, mean_of, read_together, record

if TYPE_CHECKING:
    from ...network import LoadedModel
    from ...psf import PSF
    from ...restore import Event, RestoreOptions
    from ..provenance import Provenance
    from .plan import Picture


MapKind = Literal["error", "SSIM", "change"]

# More rectangles than this make the viewer slow.
MOST_TILES = 2000

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """A subject was measured.

    Parameters
    ----------
    measurement : Measurement
        Measurement of the subject.
    done, total : int
        Subjects so far, and in all.
    """

    measurement: Measurement
    done: int
    total: int


@dataclass(frozen=True)
class TilesMeasured:
    """The tiles of a subject were measured.

    Parameters
    ----------
    subject : Subject
        Picture that was measured, and what it is compared with.
    tiles : list of Rectangle
        In the pixels of the subject's area.
    columns : dict of str to ndarray
        As `napari_darkdeblur.metrics.measure_tiles` gives them.
    means : ndarray
        Of the tiles' pixels, in the layer's units.
    notes : tuple of str
        Sentences that the user should read.
    """

    subject: Subject
    tiles: list[Rectangle]
    columns: dict[str, NDArray[Any]]
    means: NDArray[np.float64]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MapMade:
    """A map of a subject was made.

    Parameters
    ----------
    subject : Subject
        Picture that was measured, and what it is compared with.
    kind : {"error", "SSIM", "change"}
        Kind of the map or overlay.
    values : ndarray of float32
        (h, w), of the subject's area.
    notes : tuple of str
        Sentences that the user should read.
    """

    subject: Subject
    kind: MapKind
    values: NDArray[np.float32]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class NotMeasured:
    """There is no result.

    Parameters
    ----------
    message : str
        Sentence that says why.
    """

    message: str


@dataclass(frozen=True)
class AllMeasured:
    """Every subject was measured, or said why not.

    Parameters
    ----------
    problems : tuple of str
        Sentences that say what could not be measured, and why.
    means : tuple of Measurement
        Of each layer of which more than one plane was measured.
    """

    problems: tuple[str, ...] = ()
    means: tuple[Measurement, ...] = ()


def measure_job(subjects: Sequence[Subject]) -> BackgroundJob:
    """Return the work of measuring subjects: it yields `Measured` and returns `AllMeasured`.

    A subject that cannot be measured is passed over with a sentence. `NotMeasured` is returned if
    it is stopped.
    """

    def work(stop: threading.Event) -> Generator[Measured, None, AllMeasured | NotMeasured]:
        problems: list[str] = []
        by_layer: dict[str, list[Measurement]] = {}
        for number, subject in enumerate(subjects, 1):
            try:
                measurement = _measure(subject, stop)
            except Exception as error:
                problems.append(_sentence(error, subject))
                continue
            if stop.is_set():
                return NotMeasured("Measuring was cancelled.")
            by_layer.setdefault(measurement.layer_id, []).append(measurement)
            yield Measured(measurement, number, len(subjects))
        means = tuple(mean_of(planes) for planes in by_layer.values() if len(planes) > 1)
        return AllMeasured(tuple(dict.fromkeys(problems)), means)

    return work


def tiles_job(subject: Subject, tile: int) -> BackgroundJob:
    """Return the work of measuring tiles: it yields texts and returns `TilesMeasured`.

    Parameters
    ----------
    subject : Subject
        Picture that was measured, and what it is compared with.
    tile : int
        Side of a tile in pixels; larger ones are taken if these would be more than `MOST_TILES`.
    """

    def work(stop: threading.Event) -> Generator[str, None, TilesMeasured | NotMeasured]:
        try:
            images, notes = read_together((subject.picture, subject.reference, subject.original))
            area = subject.picture.area
            side = tile
            while len(tiles := tile_regions(area.height, area.width, side)) > MOST_TILES:
                side *= 2
            if side != tile:
                notes.append(
                    f"Tiles of {tile} pixels would be more than {MOST_TILES}; these are {side}."
                )
            assert images[0] is not None
            columns = {}
            for label, column in measure_tiles(images[0], images[1], images[2], tiles, stop):
                columns[label] = column
                yield f"Measured {label}"
            means = _mean_values(subject, images[0], tiles)
        except Exception as error:
            return NotMeasured(_sentence(error, subject))
        if stop.is_set():
            return NotMeasured("Measuring was cancelled.")
        return TilesMeasured(subject, tiles, columns, means, (*subject.notes, *notes))

    return work


def map_job(subject: Subject, kind: MapKind) -> BackgroundJob:
    """Return the work of making a map: it yields a text and returns `MapMade`."""

    def work(stop: threading.Event) -> Generator[str, None, MapMade | NotMeasured]:
        # The map of a large plane takes a while, and cannot be stopped in between.
        yield f"Making the {kind} map"
        try:
            compared = subject.original if kind == "change" else subject.reference
            images, notes = read_together((subject.picture, compared))
            first, second = images
            assert first is not None
            assert second is not None
            make = {"error": error_map, "SSIM": ssim_map, "change": change_map}[kind]
            values = make(first, second)
        except Exception as error:
            return NotMeasured(_sentence(error, subject))
        if stop.is_set():
            return NotMeasured("The map was cancelled.")
        return MapMade(subject, kind, values, (*subject.notes, *notes))

    return work


def _measure(subject: Subject, stop: threading.Event) -> Measurement:
    images, notes = read_together((subject.picture, subject.reference, subject.original))
    restored, reference, original = images
    assert restored is not None
    return record(subject, measure(restored, reference, original, stop), notes)


def _mean_values(
    subject: Subject, image: NDArray[np.float32], tiles: Sequence[Rectangle]
) -> NDArray[np.float64]:
    values = subject.picture.values
    means = np.array([image[tile.slices].mean(dtype=np.float64) for tile in tiles])
    return values.black + (values.white - values.black) * means


def _sentence(error: Exception, subject: Subject) -> str:
    """Return what went wrong, for the user."""
    if isinstance(error, MemoryError):
        return f"There is too little memory to measure {subject.picture.name!r}; choose an area."
    if isinstance(error, DarkDeblurError | OSError | ValueError):
        return f"{subject.picture.name!r} cannot be measured: {sentence_of(error)}"
    # Of the layer's array, which may be a file or a computation.
    _log.exception("Measuring %r failed", subject.picture.name)
    text = " ".join(str(error).split()).rstrip(".")
    return f"{subject.picture.name!r} cannot be measured: {type(error).__name__}: {text}."


class KernelGoneError(DarkDeblurError):
    """The blur kernels that a layer was restored with were not written down."""


class ModelGoneError(DarkDeblurError):
    """The weights that restored a layer are not there any more."""


@dataclass(frozen=True)
class UncertaintyFound:
    """The spread was found.

    Parameters
    ----------
    picture : Picture
        Which part of the restored layer it belongs to.
    spread : ndarray of float32
        (h, w); see `napari_darkdeblur.restore.uncertainty`.
    """

    picture: Picture
    spread: NDArray[np.float32]


def uncertainty_job(picture: Picture, original: Picture, made: Provenance) -> BackgroundJob:
    """Return the work: it yields `Preparing` and events, and returns `UncertaintyFound`.

    Parameters
    ----------
    picture : Picture
        Part of the restored layer.
    original : Picture
        The same part of what it was made of.
    made : Provenance
        Record of how the layer was restored.
    """

    def work(
        stop: threading.Event,
    ) -> Generator[Event | Preparing, None, UncertaintyFound | NotMeasured]:
        try:
            return (yield from _find(picture, original, made, stop))
        except (DarkDeblurError, OSError) as error:
            return NotMeasured(sentence_of(error))
        except Exception as error:
            _log.exception("The uncertainty of %r was not found", picture.name)
            text = " ".join(str(error).split()).rstrip(".")
            return NotMeasured(f"The uncertainty was not found: {type(error).__name__}: {text}.")

    return work


def _find(
    picture: Picture, original: Picture, made: Provenance, stop: threading.Event
) -> Generator[Event | Preparing, None, UncertaintyFound | NotMeasured]:
    yield Preparing("Loading PyTorch and the model")
    load_torch()
    from ...restore.events import Finished
    from ...restore.uncertainty import uncertainty

    options = _options(original, made)
    rows, columns = original.area.slices
    steps = uncertainty(
        original.array, options, plane=original.plane, rows=rows, columns=columns, stop=stop
    )
    result = None
    for event in steps:
        if isinstance(event, Finished):
            result = event.result
        else:
            yield event
    spread = getattr(result, "spread", None)
    if spread is None:
        assert result is not None
        return NotMeasured(result.message)
    return UncertaintyFound(picture, spread)


def _options(original: Picture, made: Provenance) -> RestoreOptions:
    """Return the options that the layer was restored by, as far as this machine can."""
    from ...restore import DeviceError, RestoreOptions

    chosen: dict[str, Any] = {
        name: made.options[name]
        for name in ("device", "precision", "tiling", "tile", "memory", "light")
        if made.options.get(name) is not None
    }
    try:
        model = _model(made, chosen.get("device", "auto"), chosen.get("precision", "fp32"))
    except DeviceError:
        # It was restored on another machine.
        chosen |= {"device": "auto", "precision": "fp32"}
        model = _model(made, "auto", "fp32")
    return RestoreOptions(
        **chosen,
        model=model,
        axes=original.axes.letters,
        value_range=(original.values.black, original.values.white),
        psf=recorded_kernel(made),
    )


def recorded_kernel(made: Provenance) -> PSF | None:
    """Return the kernel that a layer was restored with, as it was written down.

    Parameters
    ----------
    made : Provenance
        Record of the restored layer.

    Raises
    ------
    KernelGoneError
        There was one, or were several, that the record does not hold.
    """
    from ...psf import PSF

    record = made.psf
    if record is None:
        # Kernels of a grid, or of each plane, are not written down.
        if made.options.get("psf", "none") in ("none", "None", "auto"):
            return None
        raise KernelGoneError(
            "The layer was restored with several blur kernels, which its record does not hold, so "
            "its uncertainty cannot be found here."
        )
    if not record.kernel:
        raise KernelGoneError(
            f"The blur kernel of {record.side} pixels is too large to be in the layer's record, so "
            "its uncertainty cannot be found here."
        )
    return PSF.from_array(np.array(record.kernel), origin=record.origin)


def _model(made: Provenance, device: str, precision: Any) -> LoadedModel:
    """Load the weights that restored a layer, and no others."""
    from ...restore import load_model

    assert made.model is not None
    path = Path(str(made.options.get("model", "")))
    loaded = load_model(path if path.is_file() else made.model.name, device, precision)
    if made.model.sha256 and loaded.sha256 != made.model.sha256:
        raise ModelGoneError(
            f"The model {made.model.name!r} is not the one that restored the layer any more; "
            "restore it again, or bring back the earlier weights file."
        )
    return loaded
