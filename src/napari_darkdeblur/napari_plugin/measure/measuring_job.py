"""Measuring in a thread: generators that tell what they measured and do not raise.

Nothing here knows layers or widgets; pixels are read from the arrays of `Picture`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import DarkDeblurError, sentence_of
from ...metrics import change_map, error_map, measure, measure_tiles, ssim_map, tile_regions
from ...rectangle import Rectangle
from ..background import Work
from .measurements import Measurement, Subject, mean_of, record
from .pictures import read_together

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
        What came out.
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
        Whose.
    tiles : list of Rectangle
        In the pixels of the subject's area.
    columns : dict of str to ndarray
        As `napari_darkdeblur.metrics.measure_tiles` gives them.
    means : ndarray
        Of the tiles' pixels, in the layer's units.
    notes : tuple of str
        Sentences for the user.
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
        Whose.
    kind : {"error", "SSIM", "change"}
        Which.
    values : ndarray of float32
        (h, w), of the subject's area.
    notes : tuple of str
        Sentences for the user.
    """

    subject: Subject
    kind: MapKind
    values: NDArray[np.float32]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stopped:
    """There is no result.

    Parameters
    ----------
    message : str
        Why, in one sentence.
    """

    message: str


@dataclass(frozen=True)
class AllMeasured:
    """Every subject was measured, or said why not.

    Parameters
    ----------
    problems : tuple of str
        Sentences for the user.
    means : tuple of Measurement
        Of each layer of which more than one plane was measured.
    """

    problems: tuple[str, ...] = ()
    means: tuple[Measurement, ...] = ()


def measuring(subjects: Sequence[Subject]) -> Work:
    """Return the work of measuring subjects: it yields `Measured` and returns `AllMeasured`.

    A subject that cannot be measured is passed over with a sentence. `Stopped` is returned if
    it is stopped.
    """

    def work(stop: threading.Event) -> Generator[Measured, None, AllMeasured | Stopped]:
        problems: list[str] = []
        by_layer: dict[str, list[Measurement]] = {}
        for number, subject in enumerate(subjects, 1):
            try:
                measurement = _measure(subject, stop)
            except Exception as error:
                problems.append(_sentence(error, subject))
                continue
            if stop.is_set():
                return Stopped("Measuring was cancelled.")
            by_layer.setdefault(measurement.layer_id, []).append(measurement)
            yield Measured(measurement, number, len(subjects))
        means = tuple(mean_of(planes) for planes in by_layer.values() if len(planes) > 1)
        return AllMeasured(tuple(dict.fromkeys(problems)), means)

    return work


def measuring_tiles(subject: Subject, tile: int) -> Work:
    """Return the work of measuring tiles: it yields texts and returns `TilesMeasured`.

    Parameters
    ----------
    subject : Subject
        Whose.
    tile : int
        Side of a tile in pixels; larger ones are taken if these would be more than `MOST_TILES`.
    """

    def work(stop: threading.Event) -> Generator[str, None, TilesMeasured | Stopped]:
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
            return Stopped(_sentence(error, subject))
        if stop.is_set():
            return Stopped("Measuring was cancelled.")
        return TilesMeasured(subject, tiles, columns, means, (*subject.notes, *notes))

    return work


def mapping(subject: Subject, kind: MapKind) -> Work:
    """Return the work of making a map: it yields a text and returns `MapMade`."""

    def work(stop: threading.Event) -> Generator[str, None, MapMade | Stopped]:
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
            return Stopped(_sentence(error, subject))
        if stop.is_set():
            return Stopped("The map was cancelled.")
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
