"""The part of the Metrics widget with the numbers: side by side, the history, copy and save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QSize, QSortFilterProxyModel, Qt
from qtpy.QtGui import QGuiApplication, QKeySequence, QShortcut
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

from ...errors import sentence_of
from ..controls import button, named, note, say
from .measurements import Measurement
from .measurements_file import as_text, save_csv
from .metrics_models import SORTING, ComparisonModel, HistoryModel

_ROW = 22  # pixels
_NARROWEST_COLUMN = 58
_WIDEST_NAME = 110
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
        say(self.caption, _caption(measurements))
        header = self.comparison_view.horizontalHeader()
        few = len(measurements) <= _MOST_WITHOUT_SCROLLING
        mode = QHeaderView.ResizeMode.Stretch if few else QHeaderView.ResizeMode.ResizeToContents
        header.setSectionResizeMode(mode)
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
