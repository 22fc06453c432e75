"""Measurements: which there are to make, what came out, and which of them is the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import fmean

from ...metrics import METRICS
from ...rectangle import Rectangle
from .pictures import Picture, ValueRange


@dataclass(frozen=True)
class Subject:
    """What is measured together: a picture, and what it is compared with.

    Parameters
    ----------
    picture : Picture
        Restored or not.
    where : str
        Its plane, for people; empty if it is the only one.
    reference : Picture, optional
        The sharp picture that it should be; of the same height and width.
    original : Picture, optional
        What it was made of; of the same height and width.
    notes : tuple of str
        Sentences for the user about how they were matched.
    """

    picture: Picture
    where: str = ""
    reference: Picture | None = None
    original: Picture | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measurement:
    """What came out: a row of the table.

    Parameters
    ----------
    layer_id, layer : str
        What was measured; the layer may be gone since.
    plane : int or None
        Which of its planes; None for the mean of several.
    where : str
        The plane, for people; empty if it is the only one.
    area : Rectangle
        The rectangle of the plane, in the layer's pixels.
    values : ValueRange
        What counted as black and white.
    reference : str
        The reference's name; empty if there was none.
    against : tuple
        The reference's pixels: the same for measurements that can be compared fairly.
    numbers : dict of str to float
        Metrics by their labels, as `napari_darkdeblur.metrics.measure` gives them.
    time : datetime.datetime
        When it was measured.
    notes : tuple of str
        Sentences for the user.
    psf : str
        The blur kernel that was undone, in words; empty if there was none.
    """

    layer_id: str
    layer: str
    plane: int | None
    where: str
    area: Rectangle
    values: ValueRange
    reference: str
    against: tuple[object, ...]
    numbers: dict[str, float]
    time: datetime
    notes: tuple[str, ...] = ()
    psf: str = ""


def record(subject: Subject, numbers: dict[str, float], notes: Sequence[str] = ()) -> Measurement:
    """Return a measurement of a subject, without the pixels."""
    picture, reference = subject.picture, subject.reference
    return Measurement(
        layer_id=picture.layer_id,
        layer=picture.name,
        plane=picture.plane,
        where=subject.where,
        area=picture.area,
        values=picture.values,
        reference="" if reference is None else reference.name,
        against=()
        if reference is None
        else (reference.layer_id, reference.plane, reference.area, reference.values),
        numbers=numbers,
        time=datetime.now().astimezone(),
        notes=(*subject.notes, *notes),
        psf=picture.psf,
    )


def mean_of(measurements: Sequence[Measurement]) -> Measurement:
    """Return the mean of the measurements of a layer's planes.

    Parameters
    ----------
    measurements : sequence of Measurement
        All of one layer; not empty. Planes that do not tell a metric are left out of its mean.
    """
    numbers = {}
    for metric in METRICS:
        told = [
            value
            for one in measurements
            if not math.isnan(value := one.numbers.get(metric.label, math.nan))
        ]
        if told:
            numbers[metric.label] = fmean(told)
    last = measurements[-1]
    return replace(
        last,
        plane=None,
        where=f"mean of {len(measurements)}",
        against=tuple(one.against for one in measurements) if last.against else (),
        numbers=numbers,
        notes=(),
    )


def best_of(measurements: Sequence[Measurement]) -> set[tuple[int, str]]:
    """Return which numbers are the best of those that can be compared fairly.

    Only numbers of one metric against the same pixels of one reference can, and only if the
    metric tells which is better.

    Returns
    -------
    set of (int, str)
        Indices of measurements and labels of metrics. Nothing is the best of equal numbers, nor
        of one alone.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, measurement in enumerate(measurements):
        if measurement.against:
            groups.setdefault(measurement.against, []).append(index)
    best: set[tuple[int, str]] = set()
    for group in groups.values():
        for metric in METRICS:
            if metric.better == "neither":
                continue
            told = {
                index: value
                for index in group
                if not math.isnan(value := measurements[index].numbers.get(metric.label, math.nan))
            }
            if len(set(told.values())) < 2:
                continue
            winner = (max if metric.better == "higher" else min)(told.values())
            best.update((index, metric.label) for index in told if told[index] == winner)
    return best
