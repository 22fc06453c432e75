"""Tables of measurements: the plane on screen side by side, the history, and both as text."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, QSize, QSortFilterProxyModel, Qt
from qtpy.QtGui import QColor, QFont, QFontMetrics, QGuiApplication, QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QTableView,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from ...atomic import atomic_write
from ...errors import sentence_of
from ...metrics import METRICS, Metric
from ..controls import button, named, note, set_note, shortened
from .plan import Measurement, best_of

_FIRST = (
    "time",
    "layer",
    "plane",
    "reference",
    "top",
    "left",
    "height",
    "width",
    "black",
    "white",
    "psf",
)


def as_text(measurements: Sequence[Measurement], delimiter: str = ",") -> str:
    """Return measurements as a table with a header.

    Parameters
    ----------
    measurements : sequence of Measurement
        Measurements, one a row.
    delimiter : str
        Between columns; a tabulator is what spreadsheets paste.

    Returns
    -------
    str
        Numbers as precise as they are known, with a decimal point; what was not measured is
        empty. The columns are the same whatever was measured, so that files can be joined.
    """
    target = io.StringIO()
    writer = csv.writer(target, delimiter=delimiter, lineterminator="\n")
    writer.writerow([*_FIRST, *(metric.label for metric in METRICS), "notes"])
    for one in measurements:
        numbers = [one.numbers.get(metric.label, "") for metric in METRICS]
        writer.writerow(
            [
                one.time.isoformat(timespec="seconds"),
                one.layer,
                one.where,
                one.reference,
                *astuple(one.area),
                one.values.black,
                one.values.white,
                one.psf,
                *numbers,
                " ".join(one.notes),
            ]
        )
    return target.getvalue()


def save_csv(path: str | os.PathLike[str], measurements: Sequence[Measurement]) -> None:
    """Write measurements to a CSV file in UTF-8.

    Raises
    ------
    OSError
        It cannot be written.
    """
    with atomic_write(path) as part:
        part.write_text(as_text(measurements), encoding="utf-8", newline="")


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
        Returns what a measurement is sorted by in the column.
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
        # Takes a line of a column's heading, and returns one that fits.
        self.shortened: Callable[[str], str] = _short_heading

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
            return _cell_text(metric, measurement)
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
                return short_label(metric.label) + _ARROWS[metric.better]
            return _explanation(metric) if role == Qt.ItemDataRole.ToolTipRole else None
        measurement = self.measurements[section]
        if role == Qt.ItemDataRole.DisplayRole:
            # A result's suffix is what tells it from its input, so it has a line of its own.
            lines = measurement.layer.replace(" [", "\n[", 1).replace("[darkdeblur]", "result")
            return "\n".join(self.shortened(line) for line in lines.split("\n"))
        return _description(measurement) if role == Qt.ItemDataRole.ToolTipRole else None


def _short_heading(line: str) -> str:
    """Return a line that fits a narrow column; the tooltip has all of it."""
    return shortened(line, _LONGEST_HEADING)


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
        short_label(metric.label) + _ARROWS[metric.better],
        _explanation(metric),
        lambda one: _cell_text(metric, one),
        value,
        metric,
    )


def _metrics_of(measurements: Sequence[Measurement]) -> list[Metric]:
    return [m for m in METRICS if any(m.label in one.numbers for one in measurements)]


def _cell_text(metric: Metric, measurement: Measurement) -> str:
    return metric.text(measurement.numbers.get(metric.label, math.nan))


def short_label(label: str) -> str:
    """Return a metric's label as it fits a narrow table; files have the whole one."""
    return label.replace("CIEDE2000", "ΔE₀₀").replace("Largest", "Max.")


def _explanation(metric: Metric) -> str:
    return f"{metric.label}: {metric.description} {_BETTER[metric.better]}"


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


_ROW = 22  # pixels
_NARROWEST_COLUMN = 58
_LONGEST_HEADING = 11  # characters, where columns are as wide as what they hold
_WIDEST_NAME = 110
_MARGIN = 6  # pixels on each side of a heading
_MOST_WITHOUT_SCROLLING = 3  # images side by side


class TablesPanel(QWidget):
    """Shows measurements, and gives them away as text."""

    def __init__(self) -> None:
        super().__init__()
        self.caption = note("metrics_caption")
        self.comparison = ComparisonModel(self)
        self.history = HistoryModel(self)
        self._sorted = QSortFilterProxyModel(self)
        self._sorted.setSourceModel(self.history)
        self._sorted.setSortRole(SORTING)
        self._sorted.setSortCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.comparison_view = _Table("metrics_comparison", "The plane on screen, side by side.")
        self.comparison_view.setModel(self.comparison)
        self.history_view = _Table(
            "metrics_history", "All that was measured. Click on a heading to sort by it."
        )
        self.history_view.setModel(self._sorted)
        self.history_view.verticalHeader().hide()
        self.history_view.setSortingEnabled(True)
        # In the order of measuring, until a heading is clicked.
        self.history_view.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        self.tabs = named(QTabWidget(), "metrics_tabs", "")
        self.tabs.addTab(self.comparison_view, "This plane")
        self.tabs.addTab(self.history_view, "History")
        self.tabs.setDocumentMode(True)
        self.copy_button = button(
            "metrics_copy", "Copy", "Copy the table (of the history the selected rows, or all)."
        )
        self.save_button = button("metrics_save", "Save CSV…", "Save the table to a file.")
        self.clear_button = button("metrics_clear", "Clear", "Forget the history.")
        buttons = QHBoxLayout()
        for control in (self.copy_button, self.save_button, self.clear_button):
            buttons.addWidget(control, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.caption)
        layout.addWidget(self.tabs)
        layout.addLayout(buttons)

        self.comparison_view.horizontalHeader().sectionResized.connect(self._fit_headings)
        self.copy_button.clicked.connect(self.copy)
        self.save_button.clicked.connect(self.save)
        self.clear_button.clicked.connect(self.clear_history)
        self.tabs.currentChanged.connect(self._allow)
        for view in (self.comparison_view, self.history_view):
            shortcut = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), view)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(self.copy)
        self._allow()

    def show_comparison(self, measurements: list[Measurement]) -> None:
        """Show what was measured of the plane on screen."""
        self.comparison.show(measurements)
        set_note(self.caption, _caption(measurements))
        header = self.comparison_view.horizontalHeader()
        few = len(measurements) <= _MOST_WITHOUT_SCROLLING
        mode = QHeaderView.ResizeMode.Stretch if few else QHeaderView.ResizeMode.ResizeToContents
        header.setSectionResizeMode(mode)
        self.comparison.shortened = self._fitting if few else _short_heading
        self.comparison_view.updateGeometry()
        self._allow()

    def remember(self, measurements: list[Measurement]) -> None:
        """Add measurements to the history."""
        self.history.add(measurements)
        self._fit_history()

    def clear_history(self) -> None:
        """Forget what was measured before."""
        self.history.clear()
        self._fit_history()

    def show_history(self) -> None:
        """Bring the history to the front."""
        self.tabs.setCurrentWidget(self.history_view)

    @property
    def chosen(self) -> list[Measurement]:
        """What is copied or saved: of the table in front, the selected rows or all, as sorted."""
        if self.tabs.currentWidget() is self.comparison_view:
            return self.comparison.measurements
        selected = {index.row() for index in self.history_view.selectionModel().selectedRows()}
        rows = sorted(selected) or range(self._sorted.rowCount())
        return [
            self.history.measurements[self._sorted.mapToSource(self._sorted.index(row, 0)).row()]
            for row in rows
        ]

    def copy(self, _: Any = None) -> None:
        """Copy the table in front, as spreadsheets paste it."""
        QGuiApplication.clipboard().setText(as_text(self.chosen, delimiter="\t"))

    def save(self, _: Any = None) -> None:
        """Ask for a file, and save the table in front."""
        dialog = QFileDialog(self, "Save measurements", "metrics.csv", "Tables (*.csv)")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        # The dialog asks before a file is replaced, also one whose ending it has added.
        dialog.setDefaultSuffix("csv")
        if dialog.exec() and dialog.selectedFiles():
            self.save_to(Path(dialog.selectedFiles()[0]))

    def save_to(self, path: Path) -> None:
        """Save the table in front; say how it went."""
        try:
            save_csv(path, self.chosen)
        except OSError as error:
            show_warning(f"The table was not saved: {sentence_of(error)}")
            return
        show_info(f"Saved {path}.")

    def _fitting(self, line: str) -> str:
        """Return a line of a heading, without its middle if the columns are too narrow for it."""
        header = self.comparison_view.horizontalHeader()
        bold = QFont(header.font())
        bold.setBold(True)  # as the heading of a selected column is
        width = header.sectionSize(0) - 2 * _MARGIN
        return str(QFontMetrics(bold).elidedText(line, Qt.TextElideMode.ElideMiddle, max(width, 1)))

    def _fit_headings(self, *_: Any) -> None:
        last = self.comparison.columnCount() - 1
        if last >= 0:
            self.comparison.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, last)

    def _fit_history(self) -> None:
        view = self.history_view
        view.resizeColumnsToContents()
        view.setColumnWidth(0, min(view.columnWidth(0), _WIDEST_NAME))
        self._allow()

    def _allow(self, _: Any = None) -> None:
        """Offer only what there is something for."""
        for control in (self.copy_button, self.save_button):
            control.setEnabled(bool(self.chosen))
        self.clear_button.setEnabled(bool(self.history.measurements))


class _Table(QTableView):
    """A table to be read, as high as its rows."""

    def __init__(self, name: str, tooltip: str) -> None:
        super().__init__()
        named(self, name, tooltip)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setWordWrap(False)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(_NARROWEST_COLUMN)
        # Of a name that is too long the beginning is seen.
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self.verticalHeader().setDefaultSectionSize(_ROW)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)

    def sizeHint(self) -> QSize:  # noqa: N802
        """See Qt."""
        rows = self.model().rowCount() if self.model() is not None else 0
        height = self.horizontalHeader().sizeHint().height() + rows * _ROW
        bar = self.horizontalScrollBar()
        if bar.isVisible():
            height += bar.sizeHint().height()
        return QSize(super().sizeHint().width(), height + 2 * self.frameWidth())


def _caption(measurements: list[Measurement]) -> str:
    """Return what all the measurements have in common, in sentences."""
    if not measurements:
        return ""
    first = measurements[0]
    place = f"{first.where}, " if first.where else ""
    ranges = list(dict.fromkeys(one.values.describe() for one in measurements))
    text = (
        f"{place}{first.area.width} × {first.area.height} pixels, black to white: "
        f"{', '.join(ranges)}."
    )
    if first.reference:
        return f"{text} Compared with {first.reference}."
    return f"{text} No reference: the numbers describe the images, and do not say which is better."
