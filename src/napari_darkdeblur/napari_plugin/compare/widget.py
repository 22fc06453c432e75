"""The Compare dock: an image and what became of it, side by side, under a curtain, or in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from napari.layers import Image
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from ..controls import LayerChoice, button, form, named, note, scrolled, set_note
from ..docks import Dock
from ..provenance import provenance_of
from .curtain_view import CurtainView
from .pair import LayerPair, newest_pair, why_no_curtain, why_not
from .removed import RemovedView
from .views import Blink, ComparisonView, NameLabels

if TYPE_CHECKING:
    import napari.viewer


class SegmentedButtons(QWidget):
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
        group.buttonClicked.connect(self._notify)

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

    def _notify(self, *_: object) -> None:
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


Mode = Literal["off", "side by side", "curtain", "blink", "removed"]

_MODES = (
    ("off", "Off", "Stop comparing: the viewer is as it was before."),
    ("side by side", "Side by side", "Both layers beside each other, with one camera."),
    ("curtain", "Curtain", "One layer up to an edge that you drag, the other behind it."),
    ("blink", "Blink", "The layers in turn, at the same place."),
    ("removed", "Removed", "What was taken away: before minus after, between fixed limits."),
)
_ARRANGEMENTS = (
    ("left right", "Left | right", "Before is on the left, after on the right."),
    ("top bottom", "Top | bottom", "Before is at the top, after at the bottom."),
)


class CompareWidget(Dock):
    """Compares two image layers, and leaves the viewer as it was.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Viewer whose layers are shown.
    parent : QWidget, optional
        Parent widget, as in Qt.
    """

    title = "Compare"

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(viewer, parent)
        self.setObjectName("compare")
        self._mode: Mode = "off"
        self._comparing: ComparisonView | None = None
        self._names = NameLabels()
        self._shown: tuple[Mode, str] | None = None
        self._settling = False
        self._opened = False
        self._hidden = QTimer(self)
        self._hidden.setSingleShot(True)
        self._hidden.timeout.connect(self.stop)
        self._build()

        events = viewer.layers.events
        self._connections = [
            (events.inserted, self._on_inserted),
            (events.removed, self._on_removed),
            (viewer.dims.events.point, self._explain),
        ]
        # Told of a new layer after the combo boxes, and of one that is gone before them.
        events.inserted.connect(self._on_inserted, position="last")
        events.removed.connect(self._on_removed, position="first")
        viewer.dims.events.point.connect(self._explain)
        self._choose_newest()
        self._settle()

    def _build(self) -> None:
        viewer = self._viewer
        self._before = LayerChoice(
            viewer,
            Image,
            name="before",
            tooltip="The image as it was: on the left, at the top, or first.",
            none="(choose)",
        )
        self._after = LayerChoice(
            viewer,
            Image,
            name="after",
            tooltip="What became of it: on the right, at the bottom, or second.",
            none="(choose)",
        )
        self._modes, self._arrangements = SegmentedButtons(_MODES), SegmentedButtons(_ARRANGEMENTS)
        self._note = note("compare_note")
        self._curtain, self._blink = CurtainControls(), BlinkControls()
        self._share = named(
            QCheckBox("Same contrast"),
            "same_contrast",
            "Show both layers with the contrast of the one before, and change it for both.",
        )
        self._share.setChecked(True)

        inner = QWidget()
        column = QVBoxLayout(inner)
        layers = form()
        layers.addRow("Before", self._before.native)
        layers.addRow("After", self._after.native)
        column.addLayout(layers)
        for control in (
            self._modes,
            self._note,
            self._arrangements,
            self._curtain,
            self._blink,
            self._share,
        ):
            column.addWidget(control)
        column.addStretch(1)
        scrolled(self, inner)

        self._before.changed.connect(self._settle)
        self._after.changed.connect(self._settle)
        self._modes.chosen.connect(self.set_mode)
        self._arrangements.chosen.connect(self._settle)
        self._share.toggled.connect(self._settle)

    @property
    def mode(self) -> Mode:
        """How the layers are shown."""
        return self._mode

    @property
    def pair(self) -> LayerPair | None:
        """The layers that are chosen; None if they cannot be compared."""
        before, after = self._before.value, self._after.value
        return None if why_not(before, after) else LayerPair(before, after)

    def set_pair(self, before: Image, after: Image) -> None:
        """Choose two layers and show them: side by side, if no other way is chosen.

        Parameters
        ----------
        before, after : napari.layers.Image
            Layers of the viewer. If they cannot be compared, the widget says why.

        Raises
        ------
        ValueError
            A layer is none of the viewer's.
        """
        self._choose(before, after)
        self.set_mode("side by side" if self._mode == "off" else self._mode)

    def set_mode(self, mode: Mode) -> None:
        """Choose how the layers are shown.

        Parameters
        ----------
        mode : {"off", "side by side", "curtain", "blink", "removed"}
            What the layers that are chosen do not allow is not done.
        """
        self._mode = mode
        self._settle()

    def stop(self) -> None:
        """Put the viewer back."""
        self.set_mode("off")

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Show the newest result at once when the dock is opened."""
        super().showEvent(event)
        self._hidden.stop()
        if not self._opened:
            self._opened = True
            if self._mode == "off" and self.pair == newest_pair(self._viewer.layers):
                self.set_mode("side by side")

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Stop when nobody could stop it any more."""
        super().hideEvent(event)
        if event.spontaneous():
            return  # the window was made an icon
        window = self.window()
        if isinstance(window, QMainWindow) and not window.isVisible():
            self.stop()  # the viewer is closing: there is no later
        else:
            self._hidden.start()  # a dock that is torn off is hidden, and shown again at once

    def disconnect_viewer(self) -> None:
        """Let go of the viewer: the dock was closed."""
        self.stop()
        for emitter, callback in self._connections:
            emitter.disconnect(callback)
        self._connections.clear()
        for choice in (self._before, self._after):
            choice.disconnect_viewer()

    def _choose(self, before: Image, after: Image) -> None:
        self._settling = True
        try:
            self._before.value, self._after.value = before, after
        finally:
            self._settling = False

    def _choose_newest(self) -> None:
        """Choose the newest result and what it was made of, if there are any."""
        pair = newest_pair(self._viewer.layers)
        if pair is not None:
            self._choose(*pair)

    def _on_inserted(self, event: Any) -> None:
        made = provenance_of(event.value)
        if self._mode == "off" and made is not None and made.kind == "restored":
            self._choose_newest()
            self._settle()

    def _on_removed(self, event: Any) -> None:
        if self._comparing is not None and event.value in self._comparing.layers:
            self._end(layers_change=True)
            self.stop()

    def _on_data(self, event: Any) -> None:
        if self._comparing is not None and not self._comparing.outdated:
            self._comparing.redraw()
            return
        # Other pixels may be of another size.
        self._end()
        self._settle()

    def _settle(self, *_: Any) -> None:
        """Show what is chosen, as far as it can be shown."""
        if self._settling:
            return
        pair = self.pair
        curtain = pair is not None and not why_no_curtain(pair)
        if pair is None:
            self._mode = "off"
        elif self._mode in ("curtain", "removed") and not curtain:
            self._mode = "side by side"
        self._modes.choose(self._mode)
        for mode, possible in (
            ("side by side", pair), ("curtain", curtain), ("blink", pair), ("removed", curtain),
        ):  # fmt: skip
            self._modes.offer(mode, bool(possible))

        if self._comparing is not None and self._comparing.pair != pair:
            self._end()
        if pair is not None and self._mode != "off":
            self._show(pair)
        else:
            self._end()
        # A curtain is one layer, which has one contrast.
        alike = pair is not None and pair.before.rgb == pair.after.rgb
        self._share.setVisible(alike and self._mode in ("side by side", "blink"))
        self._arrangements.setVisible(self._mode in ("side by side", "curtain"))
        self._explain()

    def _show(self, pair: LayerPair) -> None:
        if self._comparing is None:
            self._comparing = ComparisonView(self._viewer, pair, self._names, self)
            for layer in pair:
                layer.events.data.connect(self._on_data)
        comparing, stacked = self._comparing, self._arrangements.value == "top bottom"
        comparing.share_contrast(self._share.isChecked() or self._mode == "curtain")
        shown = (self._mode, self._arrangements.value)
        if shown == self._shown:
            return
        self._shown = shown
        self._curtain.attend(None)
        self._blink.attend(None)
        if self._mode == "side by side":
            comparing.show_side_by_side(stacked)
        elif self._mode == "curtain":
            self._curtain.attend(comparing.show_curtain(stacked))
        elif self._mode == "removed":
            comparing.show_removed()
        else:
            self._blink.attend(comparing.show_in_turn(self._blink.interval))

    def _end(self, *, layers_change: bool = False) -> None:
        comparing, self._comparing, self._shown = self._comparing, None, None
        self._curtain.attend(None)
        self._blink.attend(None)
        if comparing is not None:
            for layer in comparing.pair:
                layer.events.data.disconnect(self._on_data)
            comparing.end(layers_change=layers_change)

    def _explain(self, *_: Any) -> None:
        set_note(self._note, self._sentence())

    def _sentence(self) -> str:
        """Return why something is not possible, or what might mislead in what is seen."""
        before, after = self._before.value, self._after.value
        problem = why_not(before, after)
        if problem:
            return problem
        pair = LayerPair(before, after)
        if self._comparing is None or self._comparing.nesting is None:
            return why_no_curtain(pair)
        if isinstance(self._comparing.view, RemovedView):
            return self._comparing.view.sentence
        frame, inset, _ = nesting = self._comparing.nesting
        displayed = nesting.displayed(self._viewer.dims)
        if not nesting.covers_plane(self._viewer.dims.point, displayed):
            return f"The plane on screen is not part of “{inset.name}”."
        if self._mode != "side by side" and not nesting.covers_field(displayed):
            return f"“{inset.name}” is a part of “{frame.name}”, which is shown around it."
        return why_no_curtain(pair)
