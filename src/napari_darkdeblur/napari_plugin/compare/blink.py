"""Two layers in turn, at the same place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from ..changes import Changes

if TYPE_CHECKING:
    from .pair import Pair


class Blink(QObject):
    """Shows one of two layers, and changes to the other.

    Parameters
    ----------
    pair : Pair
        What; no other layers are visible.
    beneath : bool
        Whether the layer before stays visible beneath the other one, which is smaller.
    interval : float
        Seconds for which each is shown.
    parent : QObject
        Whose part it is: its timer ends with it.

    Signals
    -------
    shown : bool
        Whether it is the layer after that is shown from now on.
    """

    shown = Signal(bool)

    def __init__(self, pair: Pair, beneath: bool, interval: float, parent: QObject) -> None:
        super().__init__(parent)
        self._pair = pair
        self._beneath = beneath
        self._changes = Changes()
        for layer in pair:
            self._changes.keep(layer, "visible")
            self._changes.keep(layer.name_overlay, "visible")
        self._after = True
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.flip)
        self.set_interval(interval)
        self.show(after=True)

    @property
    def playing(self) -> bool:
        """Whether the layers change by themselves."""
        return bool(self._timer.isActive())

    def set_interval(self, seconds: float) -> None:
        """Choose how long each layer is shown."""
        self._timer.setInterval(round(1000 * seconds))

    def play(self, on: bool) -> None:
        """Let the layers change by themselves, or stop that."""
        if on:
            self._timer.start()
        else:
            self._timer.stop()

    def flip(self) -> None:
        """Show the other layer."""
        self.show(after=not self._after)

    def show(self, after: bool) -> None:
        """Show one of the layers.

        Parameters
        ----------
        after : bool
            Whether it is the one after, else the one before.
        """
        self._after = after
        for layer, on in ((self._pair.after, after), (self._pair.before, not after)):
            layer.name_overlay.visible = on
            visible = on or (self._beneath and layer is self._pair.before)
            # A layer that becomes visible reads its pixels: not needlessly.
            if layer.visible != visible:
                layer.visible = visible
        self.shown.emit(after)

    def close(self) -> None:
        """Stop, and put the layers back."""
        self._timer.stop()
        self._changes.undo()
        self.deleteLater()
