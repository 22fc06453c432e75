"""Controls that the docks share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import QEvent, QPoint
from qtpy.QtGui import QHelpEvent
from qtpy.QtWidgets import QApplication, QComboBox, QToolTip, QVBoxLayout, QWidget

from napari_darkdeblur.napari_plugin.controls import (
    LayerChoice,
    button,
    combo,
    scrolled,
    shown_text,
)

LONG = "2026-11-26 an experiment with a name that is long, position 3"


@pytest.fixture
def box(qtbot: Any) -> QComboBox:
    """Return a narrow combo box in a dock."""
    outer, inner = QWidget(), QWidget()
    qtbot.addWidget(outer)
    box = combo("layer", "What it is for.", [(LONG, 1), ("short", 2)])
    QVBoxLayout(inner).addWidget(box)
    scrolled(outer, inner)
    outer.resize(280, 100)
    outer.show()
    qtbot.waitExposed(outer)
    return box


def test_a_combo_box_leaves_out_the_middle_of_a_long_name(box: QComboBox):
    shown = shown_text(box)
    first, last = shown.split("…")
    assert LONG.startswith(first)
    assert LONG.endswith(last)
    assert len(last) > 5
    picture = box.grab().toImage()
    box.setItemText(0, shown)
    # It is what is drawn, and the whole of it.
    assert box.grab().toImage() == picture
    box.setItemText(0, LONG[: len(first)])
    assert box.grab().toImage() != picture
    box.setCurrentIndex(1)
    assert shown_text(box) == "short"


def test_the_tooltip_has_the_whole_name(box: QComboBox):
    def hover() -> str:
        place = QPoint(5, 5)
        QApplication.sendEvent(box, QHelpEvent(QEvent.Type.ToolTip, place, box.mapToGlobal(place)))
        return str(QToolTip.text())

    assert hover() == f"{LONG}\nWhat it is for."
    box.setCurrentIndex(1)
    assert hover() == "What it is for."


def test_layers_with_long_names_make_no_wide_box(make_napari_viewer_proxy: Any):
    viewer = make_napari_viewer_proxy()
    choice = LayerChoice(viewer, Image, name="layer", tooltip="What it is for.")
    before = choice.native.sizeHint().width()
    viewer.add_image(np.zeros((4, 4)), name=LONG)
    assert choice.value.name == LONG
    assert choice.native.sizeHint().width() == before
    choice.disconnect_viewer()


def test_a_button_keeps_its_height(qtbot: Any):
    one = button("run", "Run", "")
    qtbot.addWidget(one)
    before = one.sizeHint().height()
    one.setStyleSheet("padding: 0px; font-size: 4px;")
    one.setText("Cancel")
    assert one.sizeHint().height() == before
