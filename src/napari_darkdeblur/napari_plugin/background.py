"""Work in a thread beside the viewer: reported, stopped, and never left behind.

A generator that is run here must not raise: whatever happens, it *returns* a result, and it is
stopped by an event that it looks at. napari's own workers for generators are not used: they lose
exceptions of type RuntimeError (torch's, when memory runs out, is one), and when the viewer
closes they leave a generator as it is, without running its ``finally``.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

from qtpy.QtCore import QEvent, QEventLoop, QObject, Qt, QThread, QThreadPool, QTimer, Signal
from qtpy.QtWidgets import QApplication, QWidget

from ..errors import DarkDeblurError

_REPORT = 0.1  # seconds between two reports of what takes long
_LOOK = 10  # milliseconds between two looks whether a thread has ended
_LAST_WORDS = 1000  # milliseconds for what napari's worker still says when its work has ended


class TorchError(DarkDeblurError, ImportError):
    """PyTorch cannot be loaded; the message is one sentence for the user."""


def load_torch() -> None:
    """Import torch; call it in a thread.

    Raises
    ------
    TorchError
        It cannot be imported.
    """
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise TorchError(
            f"PyTorch cannot be loaded ({reason}); reinstall it, on Windows also the Microsoft "
            "Visual C++ Redistributable, and if that does not help start napari with "
            'python -c "import torch, napari; napari.Viewer(); napari.run()".'
        ) from error


Value = TypeVar("Value")


def run_reporting(
    function: Callable[[], Value], fraction: Callable[[], float]
) -> Generator[float, None, Value]:
    """Run a function that takes long in a thread of its own, and yield how far it is.

    Parameters
    ----------
    function : callable
        Function to run. It must end soon when the job is stopped.
    fraction : callable
        Returns how much of it is done, 0 to 1.

    Returns
    -------
    object
        What the function returned; what it raised is raised.
    """
    with ThreadPoolExecutor(1, "darkdeblur") as pool:
        future = pool.submit(function)
        while not future.done():
            wait([future], timeout=_REPORT)
            yield min(fraction(), 1.0)
        return future.result()


def run_beside_window(
    function: Callable[[], Value], meanwhile: Callable[[], object] | None = None
) -> Value:
    """Run a function in a thread, and return what it returns; the window lives on meanwhile.

    It is for what must be there when the caller returns. What the user clicks or types waits as
    long, and the pointer says so; windows stay open. Without a window it is simply called.

    Parameters
    ----------
    function : callable
        Function to run. It must not touch layers or widgets.
    meanwhile : callable, optional
        Called once in the window's thread while the function runs: what may touch them, and takes
        a moment that is better taken now. Without a window it is not called.

    Returns
    -------
    object
        What the function returned; what it raised is raised.
    """
    app = QApplication.instance()
    if app is None or QThread.currentThread() is not app.thread():
        return function()
    loop, timer = QEventLoop(), QTimer()
    with ThreadPoolExecutor(1, "darkdeblur") as pool:
        future = pool.submit(function)
        timer.timeout.connect(lambda: loop.quit() if future.done() else None)
        timer.start(_LOOK)
        if meanwhile is not None:
            QTimer.singleShot(0, meanwhile)
        QApplication.setOverrideCursor(Qt.CursorShape.BusyCursor)
        # Whoever waits for the result may not find the window gone.
        close_filter = _CloseFilter()
        app.installEventFilter(close_filter)
        try:
            loop.exec(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)
        finally:
            app.removeEventFilter(close_filter)
            QApplication.restoreOverrideCursor()
            timer.stop()
        return future.result()


class _CloseFilter(QObject):
    """Keeps windows open."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Refuse to close a window."""
        if event.type() == QEvent.Type.Close:
            event.ignore()
            return True
        return bool(super().eventFilter(watched, event))


def import_soon(*modules: str) -> None:
    """Import modules in a thread, so that the window need not wait for them later.

    Parameters
    ----------
    *modules : str
        Full names. What cannot be imported is left to whoever needs it, and says so.
    """

    def load() -> None:
        for module in modules:
            if not threading.main_thread().is_alive():
                return  # the process ends
            with contextlib.suppress(Exception):
                importlib.import_module(module)

    # No daemon: one that is killed in the midst of a module of C++ takes the process with it.
    threading.Thread(target=load, name="darkdeblur-import").start()


BackgroundJob = Callable[[threading.Event], Generator[Any, None, Any]]

# What tells each piece of work to stop that has not ended.
_under_way: set[threading.Event] = set()


@atexit.register
def _end_all() -> None:
    """Let all work end before Qt does: a thread that speaks after that ends in a crash.

    napari waits for its workers only where it runs the event loop, and not in a script that goes
    through events by itself, or in none.
    """
    pool = QThreadPool.globalInstance()
    assert pool is not None
    busy = bool(_under_way)
    for stop in list(_under_way):
        stop.set()
    if busy:
        pool.clear()  # what has not begun never will
    pool.waitForDone(-1 if busy else _LAST_WORDS)


class Background(QObject):
    """Runs one piece of work at a time for a widget; a new one takes the old one's place.

    When the widget is taken out of its window (its dock was closed) or destroyed (the viewer
    was), the work is told to stop, and nothing that it still says is heard.

    Parameters
    ----------
    owner : QWidget, optional
        Whose work it is. Without one, the work goes on until it ends or napari closes.

    Signals
    -------
    progressed : object
        What the generator yielded, in the widget's thread.
    finished : object
        What the generator returned.
    """

    progressed = Signal(object)
    finished = Signal(object)

    def __init__(self, owner: QWidget | None = None) -> None:
        super().__init__(owner)
        self._current: _WorkerReceiver | None = None
        self._stopper = _Stopper()
        if owner is not None:
            owner.installEventFilter(self)
            # A method of no QObject: this one is destroyed together with the widget.
            owner.destroyed.connect(self._stopper.stop)

    @property
    def busy(self) -> bool:
        """Whether work is under way that has not been abandoned."""
        return self._current is not None

    @property
    def stopping(self) -> bool:
        """Whether the work under way has been told to stop."""
        return self.busy and self._stopper.event.is_set()

    def start(self, work: BackgroundJob) -> None:
        """Start work in a thread; what was under way is abandoned.

        Parameters
        ----------
        work : callable
            Takes an event that tells it to stop, and gives a generator that does not raise.
            Neither may touch layers or widgets.
        """
        from napari.qt.threading import create_worker

        self.abandon()
        stop = self._stopper.event = threading.Event()
        voice = _WorkerSignals()
        listener = self._current = _WorkerReceiver(voice, self)
        listener.progressed.connect(self.progressed)
        listener.finished.connect(self._end)

        def run() -> None:
            generator = work(stop)
            try:
                while True:
                    voice.progressed.emit(next(generator))
                    if worker.abort_requested:  # napari is closing
                        stop.set()
            except StopIteration as end:
                voice.finished.emit(end.value)
            finally:
                _under_way.discard(stop)

        worker: Any = create_worker(run, _start_thread=False)
        _under_way.add(stop)
        worker.start()

    def stop(self) -> None:
        """Tell the work to stop; it ends in its own time, with a result."""
        self._stopper.stop()

    def abandon(self) -> None:
        """Tell the work to stop, and hear no more of it."""
        self.stop()
        if self._current is not None:
            self._current.active = False
            self._current = None

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Notice that the widget has left its window."""
        if event.type() == QEvent.Type.ParentChange and watched.parent() is None:
            self.abandon()
        return bool(super().eventFilter(watched, event))

    def _end(self, result: Any) -> None:
        self._current = None
        self.finished.emit(result)


class _WorkerSignals(QObject):
    """What a thread speaks with. It belongs to the work, not to the widget, which may be gone."""

    progressed = Signal(object)
    finished = Signal(object)


class _WorkerReceiver(QObject):
    """Hears one piece of work, as long as anybody wants to know.

    What a voice is connected to are methods, not functions: so both Qt bindings call them in the
    widget's thread, and not at all once it is destroyed.
    """

    progressed = Signal(object)
    finished = Signal(object)

    def __init__(self, voice: _WorkerSignals, parent: QObject) -> None:
        super().__init__(parent)
        self.active = True
        voice.progressed.connect(self._on_progressed)
        voice.finished.connect(self._on_ended)

    def _on_progressed(self, value: Any) -> None:
        # What was on its way when the work was abandoned comes all the same.
        if self.active:
            self.progressed.emit(value)

    def _on_ended(self, value: Any) -> None:
        if self.active:
            self.active = False
            self.finished.emit(value)
        self.deleteLater()


class _Stopper:
    """Stops what is under way; it outlives the widget."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def stop(self, *_: Any) -> None:
        self.event.set()
