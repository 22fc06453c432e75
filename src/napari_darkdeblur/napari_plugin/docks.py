"""What the three docks have in common: one of each in a viewer, short titles, safe scrolling."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, ClassVar

from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QDockWidget, QLabel, QMainWindow, QWidget

from .background import import_soon

if TYPE_CHECKING:
    import napari.viewer

# What napari calls the docks that its menus open; so the menus know those that we open, too.
DISPLAY_NAME = "Dark deblur"
_BUSY_SIGN = 1  # pixels by which napari's status bar grows
_WIDGETS = {
    "Deblur": ("deblur", "DeblurWidget"),
    "Compare": ("compare", "CompareWidget"),
    "Measure": ("measure", "MeasureWidget"),
}
# What napari loads for a curtain's edge and for tiles, which takes longer than all of the docks.
_PANDAS = "pandas"
_SETTLED = 500  # milliseconds until a new dock has been drawn


class Dock(QWidget):
    """A widget that is docked in a viewer, and lets go of it when the dock is closed.

    Subclasses set `title` and override `disconnect_viewer`.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Viewer that the widget works on.
    parent : QWidget, optional
        Parent widget, as in Qt.
    """

    title: ClassVar[str]

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer

    def event(self, event: QEvent) -> bool:
        """Notice that the widget was docked, or taken out of its dock."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is None:
                self.disconnect_viewer()
            else:
                # Not before napari has given the dock the long name that menus know it by.
                QTimer.singleShot(0, self._shorten_title)
                QTimer.singleShot(_SETTLED, _get_ready)
        return bool(super().event(event))

    def disconnect_viewer(self) -> None:
        """Let go of the viewer: the dock was closed."""

    def _shorten_title(self) -> None:
        """Let the dock's tab and its bar show a title that is read at a glance."""
        dock = self.parent()
        if isinstance(dock, QDockWidget):
            dock.setWindowTitle(self.title)
            _keep_status_bar(dock)
            # napari's bar has a label of its own.
            label = getattr(dock.titleBarWidget(), "title", None)
            if isinstance(label, QLabel):
                label.setText(self.title)


def _get_ready() -> None:
    """Load what the other docks need, so that they open at once."""
    others = (f"{__package__}.{package}.widget" for package, _ in _WIDGETS.values())
    import_soon(_PANDAS, *others)


def _keep_status_bar(dock: QDockWidget) -> None:
    """Give the status bar the height that it has while something is under way.

    Otherwise napari's sign for that makes it higher by a pixel, and all docks move.
    """
    window = dock.parent()
    bar = window.statusBar() if isinstance(window, QMainWindow) else None
    if bar is not None and not bar.minimumHeight():
        bar.setMinimumHeight(bar.sizeHint().height() + _BUSY_SIGN)


def open_dock(viewer: napari.viewer.Viewer, name: str) -> Any:
    """Bring one of the plugin's docks to the front; open it if there is none.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Viewer that the dock belongs to.
    name : {"Deblur", "Compare", "Measure"}
        Title of the dock.

    Returns
    -------
    QWidget
        Widget in the dock: the one that was there, however it was opened.
    """
    package, class_name = _WIDGETS[name]
    module = importlib.import_module(f".{package}.widget", __package__)
    widget_class = getattr(module, class_name)
    widget = next(
        (one for one in viewer.window.dock_widgets.values() if isinstance(one, widget_class)), None
    )
    if widget is None:
        widget = widget_class(viewer)
        viewer.window.add_dock_widget(widget, name=f"{name} ({DISPLAY_NAME})", tabify=True)
    dock = widget.parent()
    if isinstance(dock, QDockWidget):
        dock.show()
        dock.raise_()
    return widget
