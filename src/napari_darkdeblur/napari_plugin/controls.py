"""Small controls, made the same way everywhere: named, explained, and no wider than needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from magicgui.widgets import ComboBox
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

from .provenance import provenance_of

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer


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


def set_note(label: QLabel, text: str) -> None:
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


# Made for looking only.
_NOT_OFFERED = ("preview", "curtain", "psf")


class LayerChoice(ComboBox):
    """A combo box of some of a viewer's layers, in the order of the layer list.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Viewer whose layers are shown.
    layer_type : type
        Which kind, such as `napari.layers.Image`.
    name : str
        Object name of the control.
    tooltip : str
        Tooltip that says what the layer is for.
    none : str, optional
        What "no layer" is called, if that is a choice, too. Without it, the first layer is
        chosen as long as the user chooses none.
    accepts : callable, optional
        Takes a layer, and returns whether it is offered.
    """

    value: Any  # magicgui's, whose types are unknown here

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        layer_type: type[Layer],
        *,
        name: str,
        tooltip: str,
        none: str | None = None,
        accepts: Callable[[Layer], bool] = lambda layer: True,
    ) -> None:
        self._layers = viewer.layers
        self._type, self._accepts = layer_type, accepts
        if none is not None:
            self.null_string = none
        super().__init__(
            name=name, tooltip=tooltip, choices=self._offered, nullable=none is not None
        )
        self.native.setObjectName(name)
        self.native.setToolTip(tooltip)
        # A long name must not make the dock wide.
        self.native.setMinimumContentsLength(12)
        events = self._layers.events
        self._events = (events.inserted, events.removed, events.reordered, events.renamed)
        for event in self._events:
            event.connect(self._follow)

    def reset_choices(self, *_: Any) -> None:
        """Offer the viewer's layers anew; tell only if another one is chosen now."""
        # magicgui knows choices by their texts: a layer that is renamed would be dropped.
        kept = self.value
        with self.changed.blocked():
            super().reset_choices()
            if kept in self.choices:
                self.value = kept
        if self.value is not kept:
            self.changed.emit(self.value)

    def disconnect_viewer(self) -> None:
        """Let go of the viewer; to be called when the widget goes away."""
        for event in self._events:
            event.disconnect(self._follow)

    def _follow(self, event: Any = None) -> None:
        self.reset_choices()

    def _offered(self, widget: Any = None) -> list[tuple[str, Layer]]:
        offered = []
        for layer in self._layers:
            made = provenance_of(layer)
            hidden = made is not None and made.kind in _NOT_OFFERED
            if isinstance(layer, self._type) and not hidden and self._accepts(layer):
                offered.append((layer.name, layer))
        return offered
