"""Small controls, made the same way everywhere: named, explained, and no wider than needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

Control = TypeVar("Control", bound=QWidget)

NARROWEST = 280  # pixels: what a dock is given without being asked


def combo(name: str, tooltip: str, choices: Sequence[tuple[str, Any]]) -> QComboBox:
    """Return a combo box of (text, value) choices."""
    box = QComboBox()
    for text, value in choices:
        box.addItem(text, value)
    box.setMinimumContentsLength(8)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    return named(box, name, tooltip)


def choose(box: QComboBox, value: Any) -> None:
    """Choose a value of a combo box, if it is offered."""
    index = next((i for i in range(box.count()) if box.itemData(i) == value), -1)
    if index >= 0:
        box.setCurrentIndex(index)


def button(name: str, text: str, tooltip: str) -> QPushButton:
    """Return a push button."""
    return named(QPushButton(text), name, tooltip)


def note(name: str) -> QLabel:
    """Return a label for sentences: it wraps, and its text can be copied."""
    label = QLabel()
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    # Without it a long word would widen the dock.
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    label.setObjectName(name)
    label.hide()
    return label


def say(label: QLabel, text: str) -> None:
    """Show a sentence, or hide the label if there is none."""
    label.setText(text)
    label.setVisible(bool(text))


def named(control: Control, name: str, tooltip: str) -> Control:
    """Give a control the name that tests and style sheets find it by, and its tooltip."""
    control.setObjectName(name)
    control.setToolTip(tooltip)
    control.setAccessibleName(tooltip.split(".")[0])
    return control


def form() -> QFormLayout:
    """Return a form that stays usable in a narrow dock."""
    layout = QFormLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    layout.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
    return layout


def scrolled(outer: QWidget, inner: QWidget) -> None:
    """Fill a widget with another one that scrolls up and down where there is too little room."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setFrameShape(QScrollArea.Shape.NoFrame)
    area.setWidget(inner)
    layout = QVBoxLayout(outer)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(area)
    outer.setMinimumWidth(NARROWEST)
