"""The part of the Metrics widget that tells how work on demand goes, and stops it."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from ..controls import button, named, note, say

_STEPS = 1000


class WorkPanel(QWidget):
    """A progress bar with a Cancel button while something is under way, and a sentence.

    Signals
    -------
    cancel_wanted :
        The button was clicked.
    """

    cancel_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.bar = named(QProgressBar(), "metrics_progress", "How much of the work is done.")
        self.bar.setTextVisible(False)
        self.cancel_button = button("metrics_cancel", "Cancel", "Stop as soon as possible.")
        self.status = note("metrics_status")
        self._running = QWidget()
        row = QHBoxLayout(self._running)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._running)
        layout.addWidget(self.status)
        self._running.hide()
        self.cancel_button.clicked.connect(self._on_cancel)

    def begin(self, text: str) -> None:
        """Show that work is under way."""
        self.cancel_button.setEnabled(True)
        self._running.show()
        self.progress(text)

    def progress(self, text: str, fraction: float | None = None) -> None:
        """Show how far it is; None if nobody knows."""
        self.bar.setRange(0, 0 if fraction is None else _STEPS)
        if fraction is not None:
            self.bar.setValue(round(_STEPS * fraction))
        if self.cancel_button.isEnabled():
            say(self.status, text)

    def end(self, text: str) -> None:
        """Show how it ended."""
        self._running.hide()
        say(self.status, text)

    def _on_cancel(self) -> None:
        self.cancel_button.setEnabled(False)
        say(self.status, "Stopping…")
        self.cancel_wanted.emit()
