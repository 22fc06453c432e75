"""The part of the Deblur widget that starts and stops a job, and tells how it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from ..controls import button, named, note, say

if TYPE_CHECKING:
    from ...restore import TileDone

_STEPS = 1000  # of the progress bar


class RunPanel(QWidget):
    """One button that runs and cancels, a progress bar, and sentences.

    Signals
    -------
    run_wanted, cancel_wanted, compare_wanted, metrics_wanted :
        A button was clicked.
    """

    run_wanted = Signal()
    cancel_wanted = Signal()
    compare_wanted = Signal()
    metrics_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._running = False
        self.estimate = note("estimate")
        self.run_button = button("run", "Run", "")
        self.run_button.setDefault(True)
        self.bar = named(QProgressBar(), "progress", "How much of the work is done.")
        self.bar.setRange(0, _STEPS)
        self.bar.setTextVisible(False)
        self.bar.hide()
        self.status = note("status")
        self.warning = note("warning")
        self.warning.setStyleSheet("color: #e0a030;")
        self.result = note("result")
        self.compare_button = button(
            "compare", "Compare", "See image and result side by side, or with a curtain."
        )
        self.metrics_button = button(
            "metrics", "Measure", "Measure the result: against a reference, or without one."
        )
        self._after = QWidget()
        after = QHBoxLayout(self._after)
        after.setContentsMargins(0, 0, 0, 0)
        after.addWidget(self.compare_button)
        after.addWidget(self.metrics_button)
        self._after.hide()

        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (
            self.run_button,
            # Below the button, which must not move when they come and go.
            self.bar,
            self.estimate,
            self.status,
            self.warning,
            self.result,
            self._after,
        ):
            layout.addWidget(widget)

        self.run_button.clicked.connect(self._on_clicked)
        self.compare_button.clicked.connect(self.compare_wanted)
        self.metrics_button.clicked.connect(self.metrics_wanted)
        self.allow("Looking for models and devices…")

    def allow(self, reason: str = "") -> None:
        """Let the job be run, or say why it cannot be."""
        if self._running:
            return
        self.run_button.setEnabled(not reason)
        self.run_button.setToolTip(reason or "Restore. The image itself is not changed.")
        say(self.status, reason)

    def show_estimate(self, text: str) -> None:
        """Show what the job will take."""
        if not self._running:
            say(self.estimate, text)

    def begin(self) -> None:
        """Show that a job is under way."""
        self._running = True
        self.run_button.setText("Cancel")
        self.run_button.setToolTip("Stop after the tile at hand.")
        self.run_button.setEnabled(True)
        self.bar.setRange(0, 0)
        self.bar.show()
        say(self.status, "Starting…")
        say(self.warning, "")
        say(self.result, "")
        self._after.hide()

    def prepare(self, text: str) -> None:
        """Show what is done before the first tile, or after the last one."""
        self.bar.setRange(0, 0)
        say(self.status, f"{text}…")

    def searching(self, fraction: float) -> None:
        """Show how far the search for the blur's kernel is."""
        self.bar.setRange(0, _STEPS)
        self.bar.setValue(round(_STEPS * fraction))
        if self.run_button.isEnabled():
            say(self.status, "Looking for the shake…")

    def tile_done(self, event: TileDone) -> None:
        """Show how far it is."""
        self.bar.setRange(0, _STEPS)
        self.bar.setValue(round(_STEPS * event.fraction))
        if self.run_button.isEnabled():
            say(self.status, progress_text(event))

    def cancelling(self) -> None:
        """Show that the job has been told to stop."""
        self.run_button.setText("Cancelling…")
        self.run_button.setEnabled(False)
        say(self.status, "Stopping after the tile at hand…")

    def warn(self, text: str) -> None:
        """Show a sentence that stays until the next run."""
        before = self.warning.text()
        say(self.warning, f"{before}\n{text}" if before else text)

    def end(self, message: str, result: str = "") -> None:
        """Show that nothing is under way any more, and how it ended."""
        self._running = False
        self.run_button.setText("Run")
        self.bar.hide()
        self.allow()
        say(self.result, result or message)
        self._after.setVisible(bool(result))

    def _on_clicked(self, _: Any = None) -> None:
        (self.cancel_wanted if self._running else self.run_wanted).emit()


def progress_text(event: TileDone) -> str:
    """Return where a job is, e.g. ``"tile 7 of 12 · plane 3 of 40 · 0:41 left"``."""
    parts = [f"tile {event.done} of {event.total}"] if event.total > 1 else []
    if event.planes > 1:
        parts.append(f"plane {event.plane + 1} of {event.planes}")
    if event.seconds_left is not None:
        parts.append(f"{clock_text(event.seconds_left)} left")
    return " · ".join(parts)


def clock_text(seconds: float) -> str:
    """Return a time as a clock shows it, e.g. ``"0:41"`` or ``"1:02:41"``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
