"""Controls of the Compare dock: which way to look, and what belongs to each way."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from ..controls import button, named
from .blink import Blink
from .curtain_view import CurtainView


class Segments(QWidget):
    """Buttons in a row, of which one is down.

    Parameters
    ----------
    choices : sequence of (str, str, str)
        Value, text and tooltip of each. The buttons are named after the values.

    Signals
    -------
    chosen : str
        Another value was chosen.
    """

    chosen = Signal(str)

    def __init__(self, choices: Sequence[tuple[str, str, str]]) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(1)
        group = QButtonGroup(self)
        self._buttons: dict[str, QPushButton] = {}
        for value, text, tooltip in choices:
            one = button(value.replace(" ", "_"), text, tooltip)
            one.setCheckable(True)
            group.addButton(one)
            row.addWidget(one)
            self._buttons[value] = one
        self.choose(choices[0][0])
        group.buttonClicked.connect(self._tell)

    @property
    def value(self) -> str:
        """The value of the button that is down."""
        return next(value for value, one in self._buttons.items() if one.isChecked())

    def choose(self, value: str) -> None:
        """Press a button, without telling of it."""
        self._buttons[value].setChecked(True)

    def offer(self, value: str, on: bool) -> None:
        """Let a button be pressed, or not."""
        self._buttons[value].setEnabled(on)

    def _tell(self, *_: object) -> None:
        self.chosen.emit(self.value)


class CurtainControls(QWidget):
    """A slider that is the edge of a curtain."""

    def __init__(self) -> None:
        super().__init__()
        self._view: CurtainView | None = None
        self._slider = named(
            QSlider(Qt.Orientation.Horizontal),
            "edge",
            "Where the edge is. It can be dragged in the picture as well.",
        )
        self._slider.valueChanged.connect(self._move)
        centre = button("centre_edge", "Centre", "Bring the edge to the middle of the canvas.")
        centre.clicked.connect(self._centre)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(QLabel("Edge"))
        row.addWidget(self._slider, 1)
        row.addWidget(centre)
        self.hide()

    def attend(self, view: CurtainView | None) -> None:
        """Control a curtain, or none."""
        self._view = view
        self.setVisible(view is not None)
        if view is not None:
            view.changed.connect(self._follow)
            self._follow()

    def _follow(self) -> None:
        if self._view is None:
            return
        self._slider.blockSignals(True)
        self._slider.setRange(0, self._view.length)
        self._slider.setSingleStep(max(1, self._view.length // 200))
        self._slider.setPageStep(max(1, self._view.length // 10))
        self._slider.setValue(self._view.position)
        self._slider.blockSignals(False)

    def _move(self, position: int) -> None:
        if self._view is not None:
            self._view.move(position)

    def _centre(self) -> None:
        if self._view is not None:
            self._view.move_into_view()


class BlinkControls(QWidget):
    """How fast two layers change, and a button to hold."""

    def __init__(self) -> None:
        super().__init__()
        self._view: Blink | None = None
        self._play = named(
            QCheckBox("Change every"), "play", "Show the layers in turn without being asked."
        )
        self._play.setChecked(True)
        self._interval = named(QDoubleSpinBox(), "interval", "Seconds for which each is shown.")
        self._interval.setRange(0.1, 10.0)
        self._interval.setSingleStep(0.1)
        self._interval.setDecimals(1)
        self._interval.setValue(0.8)
        self._interval.setSuffix(" s")
        self._hold = button(
            "hold", "Hold to see before", "While it is held down, the layer before is shown."
        )
        self._play.toggled.connect(self._on_play)
        self._interval.valueChanged.connect(self._on_interval)
        self._hold.pressed.connect(self._on_pressed)
        self._hold.released.connect(self._on_released)
        row = QHBoxLayout()
        row.addWidget(self._play)
        row.addWidget(self._interval, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self._hold)
        self.hide()

    @property
    def interval(self) -> float:
        """Seconds for which each layer is shown."""
        return float(self._interval.value())

    def attend(self, view: Blink | None) -> None:
        """Control what blinks, or nothing."""
        self._view = view
        self.setVisible(view is not None)
        if view is not None:
            view.play(self._play.isChecked())

    def _on_play(self, on: bool) -> None:
        if self._view is not None:
            self._view.play(on)

    def _on_interval(self, seconds: float) -> None:
        if self._view is not None:
            self._view.set_interval(seconds)

    def _on_pressed(self) -> None:
        if self._view is not None:
            self._view.play(False)
            self._view.show(after=False)

    def _on_released(self) -> None:
        if self._view is not None:
            self._view.show(after=True)
            self._view.play(self._play.isChecked())
