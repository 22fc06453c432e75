"""What tables of measurements show: the plane on screen side by side, and all measured before."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, Qt
from qtpy.QtGui import QColor, QFont

from ...metrics import METRICS, Metric
from .measurements import Measurement, best_of

SORTING = int(Qt.ItemDataRole.UserRole) + 1  # the role of what columns are sorted by

_ARROWS = {"higher": " ↑", "lower": " ↓", "neither": ""}
_BETTER = {
    "higher": "More is better.",
    "lower": "Less is better.",
    "neither": "It describes the image, and does not say how good it is.",
}
_RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
_NO_INDEX = QModelIndex()
# Seen on a dark and on a light theme.
_BEST = QColor(76, 175, 80)


@dataclass(frozen=True)
class Column:
    """What the history tells of each measurement.

    Parameters
    ----------
    heading, explanation : str
        The column's name, and its tooltip.
    text : callable
        What a measurement has there, for people.
    value : callable
        What it is sorted by.
    metric : Metric, optional
        Which it is, if it is one.
    """

    heading: str
    explanation: str
    text: Callable[[Measurement], str]
    value: Callable[[Measurement], Any]
    metric: Metric | None = None


class ComparisonModel(QAbstractTableModel):
    """Measurements beside each other: a row for each metric, a column for each image."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.measurements: list[Measurement] = []
        self._metrics: list[Metric] = []
        self._best: set[tuple[int, str]] = set()

    def show(self, measurements: Sequence[Measurement]) -> None:
        """Show these, and no others."""
        self.beginResetModel()
        self.measurements = list(measurements)
        self._metrics = _metrics_of(self.measurements)
        self._best = best_of(self.measurements)
        self.endResetModel()

    def rowCount(self, parent: QModelIndex = _NO_INDEX) -> int:  # noqa: N802
        """See Qt."""
        return 0 if parent.isValid() else len(self._metrics)

    def columnCount(self, parent: QModelIndex = _NO_INDEX) -> int:  # noqa: N802
        """See Qt."""
        return 0 if parent.isValid() else len(self.measurements)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """See Qt."""
        metric = self._metrics[index.row()]
        measurement = self.measurements[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return _text(metric, measurement)
        if role == Qt.ItemDataRole.ToolTipRole:
            return _explanation(metric)
        return _look((index.column(), metric.label) in self._best, role)

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """See Qt."""
        if orientation == Qt.Orientation.Vertical:
            metric = self._metrics[section]
            if role == Qt.ItemDataRole.DisplayRole:
                return metric.label + _ARROWS[metric.better]
            return _explanation(metric) if role == Qt.ItemDataRole.ToolTipRole else None
        measurement = self.measurements[section]
        if role == Qt.ItemDataRole.DisplayRole:
            # A result's suffix is what tells it from its input, so it has a line of its own.
            return measurement.layer.replace(" [", "\n[")
        return _description(measurement) if role == Qt.ItemDataRole.ToolTipRole else None


class HistoryModel(QAbstractTableModel):
    """All measurements: a row for each, a column for each metric."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.measurements: list[Measurement] = []
        self.columns = _columns([])
        self._best: set[tuple[int, str]] = set()

    def add(self, measurements: Sequence[Measurement]) -> None:
        """Add measurements; one that came out as before takes the earlier one's place."""
        known = {_key(one): one for one in self.measurements}
        for one in measurements:
            known.pop(_key(one), None)
            known[_key(one)] = one
        self._show(list(known.values()))

    def clear(self) -> None:
        """Forget all of them."""
        self._show([])

    def rowCount(self, parent: QModelIndex = _NO_INDEX) -> int:  # noqa: N802
        """See Qt."""
        return 0 if parent.isValid() else len(self.measurements)

    def columnCount(self, parent: QModelIndex = _NO_INDEX) -> int:  # noqa: N802
        """See Qt."""
        return 0 if parent.isValid() else len(self.columns)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """See Qt."""
        measurement = self.measurements[index.row()]
        column = self.columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(measurement)
        if role == SORTING:
            return column.value(measurement)
        if role == Qt.ItemDataRole.ToolTipRole:
            return _description(measurement)
        if column.metric is None:
            return None
        return _look((index.row(), column.metric.label) in self._best, role)

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """See Qt."""
        if orientation == Qt.Orientation.Vertical:
            return None
        column = self.columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.heading
        return column.explanation if role == Qt.ItemDataRole.ToolTipRole else None

    def _show(self, measurements: list[Measurement]) -> None:
        self.beginResetModel()
        self.measurements = measurements
        self.columns = _columns(_metrics_of(measurements))
        self._best = best_of(measurements)
        self.endResetModel()


def _columns(metrics: Sequence[Metric]) -> list[Column]:
    return [
        Column("Image", "What was measured.", lambda one: one.layer, lambda one: one.layer),
        Column(
            "Plane",
            "Where it is in the stack.",
            lambda one: one.where or "–",
            lambda one: -1 if one.plane is None else one.plane,
        ),
        *(_column_of(metric) for metric in metrics),
        Column(
            "Reference",
            "What it was compared with.",
            lambda one: one.reference or "–",
            lambda one: one.reference,
        ),
        Column(
            "Pixels",
            "Width and height of what was measured.",
            lambda one: f"{one.area.width} × {one.area.height}",
            lambda one: one.area.width * one.area.height,
        ),
        Column(
            "Time",
            "When it was measured.",
            lambda one: f"{one.time:%H:%M:%S}",
            lambda one: one.time.timestamp(),
        ),
    ]


def _column_of(metric: Metric) -> Column:
    def value(measurement: Measurement) -> float:
        number = measurement.numbers.get(metric.label, math.nan)
        # What was not measured comes after what was.
        return -math.inf if math.isnan(number) else number

    return Column(
        metric.label + _ARROWS[metric.better],
        _explanation(metric),
        lambda one: _text(metric, one),
        value,
        metric,
    )


def _metrics_of(measurements: Sequence[Measurement]) -> list[Metric]:
    return [m for m in METRICS if any(m.label in one.numbers for one in measurements)]


def _text(metric: Metric, measurement: Measurement) -> str:
    return metric.text(measurement.numbers.get(metric.label, math.nan))


def _explanation(metric: Metric) -> str:
    return f"{metric.description} {_BETTER[metric.better]}"


def _description(measurement: Measurement) -> str:
    """Return all that is known about a measurement but its numbers."""
    area = measurement.area
    lines = [
        measurement.layer,
        f"Plane: {measurement.where or 'the only one'}",
        f"Pixels: {area.width} × {area.height} from row {area.top}, column {area.left}",
        f"Black to white: {measurement.values.describe()}",
        f"Reference: {measurement.reference or 'none'}",
        *measurement.notes,
    ]
    return "\n".join(lines)


def _look(best: bool, role: int) -> Any:
    if role == Qt.ItemDataRole.TextAlignmentRole:
        return _RIGHT
    if best and role == Qt.ItemDataRole.FontRole:
        font = QFont()
        font.setBold(True)
        return font
    return _BEST if best and role == Qt.ItemDataRole.ForegroundRole else None


def _key(measurement: Measurement) -> tuple[Any, ...]:
    """Return what two measurements of the same share; a NaN is the same as another one."""
    one = measurement
    numbers = tuple((label, repr(float(value))) for label, value in one.numbers.items())
    return one.layer_id, one.plane, one.where, one.area, one.values, one.against, numbers
