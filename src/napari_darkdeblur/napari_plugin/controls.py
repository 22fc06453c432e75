"""Small controls, made the same way everywhere: named, explained, and no wider than needed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from magicgui.widgets import ComboBox
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtGui import QHelpEvent, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QFormLayout,
    QLabel,
    QLayout,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSlider,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QToolTip,
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
    box.view().setTextElideMode(Qt.TextElideMode.ElideMiddle)
    return named(box, name, tooltip)


def choose(box: QComboBox, value: Any) -> None:
    """Choose a value of a combo box, if it is offered."""
    index = next((i for i in range(box.count()) if box.itemData(i) == value), -1)
    if index >= 0:
        box.setCurrentIndex(index)


def button(name: str, text: str, tooltip: str) -> QPushButton:
    """Return a push button, which keeps its height whatever its text."""
    return named(_SteadyButton(text), name, tooltip)


class _SteadyButton(QPushButton):
    """A button that never becomes lower: what lies below it stays where it is.

    Qt asks for its height anew with each text, and napari's style sheet answers otherwise than
    Qt did before the button was shown.
    """

    _height = 0

    def sizeHint(self) -> QSize:  # noqa: N802
        """See Qt."""
        hint = super().sizeHint()
        self._height = max(self._height, hint.height())
        return QSize(hint.width(), self._height)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """See Qt."""
        return QSize(super().minimumSizeHint().width(), self.sizeHint().height())


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


def scrolled(outer: QWidget, inner: QWidget, *footers: QWidget) -> QScrollArea:
    """Fill a widget with another one that scrolls up and down where there is too little room.

    Parameters
    ----------
    outer : QWidget
        Widget that is filled.
    inner : QWidget
        Widget that scrolls, with all its controls.
    *footers : QWidget
        Widgets below it that are always seen. The last one keeps its height, and does not move.

    Returns
    -------
    QScrollArea
        What scrolls.
    """
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setFrameShape(QScrollArea.Shape.NoFrame)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # the Tab key goes to its controls
    area.setWidget(inner)
    layout = QVBoxLayout(outer)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(0)
    layout.addWidget(area, 1)
    for footer in footers:
        layout.addWidget(footer)
    if footers:
        footers[-1].setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        footers[-1].installEventFilter(_FirstLook(footers[-1]))
    outer.setMinimumWidth(NARROWEST)
    inner.installEventFilter(_WidthKeeper(outer, area))
    for box in outer.findChildren(QComboBox):
        box.installEventFilter(_Elider(box))
    for kind in (QComboBox, QAbstractSpinBox, QSlider):
        for control in outer.findChildren(kind):
            control.installEventFilter(_WheelFilter(control))
            control.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return area


_LAYING_OUT = 200  # milliseconds that Qt takes to find out how high a new text is


def scroll_to(area: QScrollArea, label: QLabel) -> None:
    """Bring a label into sight whose text has just changed, unless it is hidden.

    Parameters
    ----------
    area : QScrollArea
        What scrolls.
    label : QLabel
        Label in it, which is laid out first.
    """
    timer = QTimer(label)  # of the label, so that it does not outlive the dock

    def scroll() -> None:
        timer.deleteLater()
        if label.isVisible():
            area.ensureWidgetVisible(label, 0, 0)

    timer.setSingleShot(True)
    timer.timeout.connect(scroll)
    timer.start(_LAYING_OUT)


def order_by_tab(outer: QWidget) -> None:
    """Let the Tab key go through a dock's controls as they are seen, from the top downwards.

    Parameters
    ----------
    outer : QWidget
        Widget whose layouts say what is above what.
    """
    controls = [one for one in _in_order(outer) if one.focusPolicy() & Qt.FocusPolicy.TabFocus]
    for before, after in itertools.pairwise(controls):
        QWidget.setTabOrder(before, after)


def _in_order(widget: QWidget) -> Iterator[QWidget]:
    """Yield all widgets in a widget, as its layouts place them."""
    if isinstance(widget, QScrollArea):
        held = [widget.widget()]
    elif widget.layout() is not None:
        held = list(_placed(widget.layout()))
    else:
        held = []
    for one in held:
        if one is not None:
            yield one
            yield from _in_order(one)


def _placed(layout: QLayout) -> Iterator[QWidget]:
    """Yield the widgets of a layout and the layouts in it, in the order of their places."""
    for index in range(layout.count()):
        item = layout.itemAt(index)
        if item is None:
            continue
        inner, widget = item.layout(), item.widget()
        if inner is not None:
            yield from _placed(inner)
        elif widget is not None:
            yield widget


class _Elider(QObject):
    """Leaves out the middle of what a combo box shows where it is too long; its tooltip has all.

    A text that is cut off at its end has lost what tells a result from its image.
    """

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Draw the box with a shorter text, and begin its tooltip with the whole one."""
        assert isinstance(watched, QComboBox)
        if event.type() == QEvent.Type.Paint:
            option = _option_of(watched)
            painter = QStylePainter(watched)
            painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
            option.currentText = shown_text(watched)
            painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
            painter.end()
            return True
        whole = watched.currentText()
        if event.type() == QEvent.Type.ToolTip and shown_text(watched) != whole:
            assert isinstance(event, QHelpEvent)
            QToolTip.showText(event.globalPos(), f"{whole}\n{watched.toolTip()}", watched)
            return True
        return bool(super().eventFilter(watched, event))


def shown_text(box: QComboBox) -> str:
    """Return the text that a combo box shows, without its middle where it is too long."""
    style, option = box.style(), _option_of(box)
    assert style is not None
    field = style.subControlRect(
        QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, box
    )
    # The style leaves a pixel on each side.
    metrics, width = box.fontMetrics(), max(field.width() - 2, 1)
    return str(metrics.elidedText(box.currentText(), Qt.TextElideMode.ElideMiddle, width))


def _option_of(box: QComboBox) -> QStyleOptionComboBox:
    option = QStyleOptionComboBox()
    box.initStyleOption(option)
    return option


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


class _FirstLook(QObject):
    """Lays a widget out anew as soon as it is shown, by napari's style sheet.

    What Qt knew of its heights before was wrong by a pixel or two, and would be put right when
    something else changes: under the mouse.
    """

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Ask all that is in the widget for its size when it is shown."""
        if event.type() == QEvent.Type.Show:
            for widget in watched.findChildren(QWidget):
                widget.updateGeometry()
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


def shortened(name: str, longest: int) -> str:
    """Return a name of at most so many characters, without its middle if it has more."""
    kept = (longest - 1) // 2
    return name if len(name) <= longest else f"{name[:kept]}…{name[-kept:]}"


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
        self.native.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
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
        for index in range(self.native.count()):
            name = self.native.itemText(index)
            self.native.setItemData(index, name, Qt.ItemDataRole.ToolTipRole)
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
