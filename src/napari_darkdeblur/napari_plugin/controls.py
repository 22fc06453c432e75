"""Small controls, made the same way everywhere: named, explained, and no wider than needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from magicgui.widgets import ComboBox
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QFormLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSlider,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

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


def scrolled(outer: QWidget, inner: QWidget, footer: QWidget | None = None) -> QScrollArea:
    """Fill a widget with another one that scrolls up and down where there is too little room.

    Parameters
    ----------
    outer : QWidget
        Widget that is filled.
    inner : QWidget
        Widget that scrolls, with all its controls.
    footer : QWidget, optional
        Widget below it that is always seen, and does not move.

    Returns
    -------
    QScrollArea
        What scrolls.
    """
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setFrameShape(QScrollArea.Shape.NoFrame)
    area.setWidget(inner)
    layout = QVBoxLayout(outer)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(0)
    layout.addWidget(area, 1)
    if footer is not None:
        layout.addWidget(footer)
    outer.setMinimumWidth(NARROWEST)
    inner.installEventFilter(_WidthKeeper(outer, area))
    for kind in (QComboBox, QAbstractSpinBox, QSlider):
        for control in outer.findChildren(kind):
            control.installEventFilter(_WheelFilter(control))
            control.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return area


class _WidthKeeper(QObject):
    """Keeps what scrolls wide enough for its content beside the scroll bar: nothing is cut off."""

    def __init__(self, outer: QWidget, area: QScrollArea) -> None:
        super().__init__(area)
        self._outer, self._area = outer, area

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Follow the content when its layout changes."""
        if event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Show):
            content, bar = self._area.widget(), self._area.verticalScrollBar()
            if content is not None and bar is not None:
                wide = content.minimumSizeHint().width() + bar.sizeHint().width()
                self._outer.setMinimumWidth(max(NARROWEST, wide))
        return bool(super().eventFilter(watched, event))


class _WheelFilter(QObject):
    """Lets the mouse wheel over a control scroll what is around it, and change no setting."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Pass a turn of the wheel on to the control's parent."""
        if event.type() == QEvent.Type.Wheel:
            event.ignore()
            return True
        return bool(super().eventFilter(watched, event))


class Section(QCollapsible):
    """A part of a dock that can be collapsed; what it holds is then out of the Tab order.

    Parameters
    ----------
    title : str
        Text of the button that opens and closes it.
    name : str
        Object name of the section.
    """

    def __init__(self, title: str, name: str) -> None:
        super().__init__(title)
        self.setObjectName(name)
        self.setDuration(0)
        named(self.toggleButton(), f"{name}_toggle", "Show or hide these options.")
        self.content().hide()
        self.toggled.connect(self.content().setVisible)


class ElidedLabel(QLabel):
    """A line of text that is shortened in the middle where it is too long; its tooltip has all."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self._whole = ""
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def setText(self, text: str) -> None:  # noqa: N802
        """Show a text."""
        self._whole = text
        self.setToolTip(text)
        self._elide()

    def text(self) -> str:
        """Return the whole text."""
        return self._whole

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Shorten the text anew."""
        super().resizeEvent(event)
        self._elide()

    def _elide(self) -> None:
        shortened = self.fontMetrics().elidedText(
            self._whole, Qt.TextElideMode.ElideMiddle, max(self.width(), 1)
        )
        super().setText(shortened)


# Layers of this plugin that are no images: made for looking, or measures of images.
_NO_IMAGES = ("preview", "curtain", "psf", "map", "uncertainty", "tiles")


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
        self.native.view().setTextElideMode(Qt.TextElideMode.ElideMiddle)
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
            hidden = made is not None and made.kind in _NO_IMAGES
            if isinstance(layer, self._type) and not hidden and self._accepts(layer):
                offered.append((layer.name, layer))
        return offered
