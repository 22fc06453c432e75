"""Work beside the viewer is told of, can be stopped, and does not outlive its widget."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_darkdeblur.napari_plugin.background import Background, import_soon, run_beside_window


class Counter:
    """Work that counts until it is stopped, and knows whether it has ended."""

    def __init__(self, most: int = 10**6) -> None:
        self.most = most
        self.ended = threading.Event()

    def __call__(self, stop: threading.Event):
        try:
            for number in range(self.most):
                if stop.is_set():
                    return "stopped"
                time.sleep(0.001)
                yield number
            return "done"
        finally:
            self.ended.set()


@pytest.fixture
def owner(qtbot) -> QWidget:
    widget = QWidget()
    qtbot.addWidget(widget)
    return widget


def test_it_tells_in_order_and_ends_with_the_result(qtbot, owner):
    background = Background(owner)
    told, threads = [], set()
    background.progressed.connect(told.append)
    background.progressed.connect(lambda _: threads.add(threading.current_thread()))
    with qtbot.waitSignal(background.finished) as ended:
        background.start(Counter(5))
        assert background.busy
    assert told == [0, 1, 2, 3, 4]
    assert ended.args == ["done"]
    assert threads == {threading.main_thread()}
    assert not background.busy


def test_stopping_gives_a_result(qtbot, owner):
    background = Background(owner)
    with qtbot.waitSignal(background.finished) as ended:
        background.start(Counter())
        qtbot.waitSignal(background.progressed).wait()
        background.stop()
        assert background.stopping
    assert ended.args == ["stopped"]


def test_a_new_work_takes_the_place_of_the_old(qtbot, owner):
    background = Background(owner)
    first, results = Counter(), []
    background.finished.connect(results.append)
    background.start(first)
    qtbot.waitSignal(background.progressed).wait()
    background.start(Counter(3))
    qtbot.waitUntil(lambda: bool(results))
    qtbot.waitUntil(first.ended.is_set)
    qtbot.wait(20)
    assert results == ["done"]


@pytest.mark.parametrize("way", ["out of its window", "destroyed"])
def test_it_stops_when_the_widget_goes(qtbot, way):
    window = QWidget()
    qtbot.addWidget(window)
    owner = QWidget(window)
    QVBoxLayout(window).addWidget(owner)
    background = Background(owner)
    results: list[object] = []
    background.finished.connect(results.append)
    work = Counter()
    background.start(work)
    qtbot.waitSignal(background.progressed).wait()
    if way == "destroyed":
        owner.deleteLater()
    else:
        owner.setParent(None)
        qtbot.addWidget(owner)
    qtbot.waitUntil(work.ended.is_set)
    qtbot.wait(20)
    assert results == []


def test_work_under_way_does_not_crash_a_process_that_ends():
    # No event loop, of whose end napari would be told.
    code = """
import threading
from qtpy.QtWidgets import QApplication
app = QApplication([])
from napari_darkdeblur.napari_plugin.background import Background
begun = threading.Event()

def work(stop):
    begun.set()
    while not stop.wait(0.001):
        yield 0
    return "stopped"

background = Background()
background.start(work)
begun.wait()
print("the end")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout == "the end\n"
    assert ended.returncode == 0, ended.stderr


def test_the_window_lives_while_something_is_made_for_it(qtbot):
    seen = threading.Event()  # by the window
    QTimer.singleShot(0, seen.set)
    threads = []

    def make() -> str:
        threads.append(threading.current_thread())
        assert seen.wait(60)
        return "made"

    assert run_beside_window(make) == "made"
    assert threads != [threading.main_thread()]


def test_the_window_is_not_closed_while_something_is_made_for_it(qtbot):
    window = QWidget()
    qtbot.addWidget(window)
    window.show()
    tried = threading.Event()

    def close() -> None:
        window.close()
        tried.set()

    QTimer.singleShot(0, close)
    assert run_beside_window(lambda: tried.wait(60))
    assert window.isVisible()
    assert window.close()


def test_what_goes_wrong_beside_the_window_is_raised(qtbot):
    def fail() -> None:
        raise ValueError("no such picture")

    with pytest.raises(ValueError, match="no such picture"):
        run_beside_window(fail)


def test_beside_no_window_it_is_simply_called():
    code = (
        "import threading\n"
        "from napari_darkdeblur.napari_plugin.background import run_beside_window\n"
        "print(run_beside_window(threading.current_thread) is threading.main_thread())"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout == "True\n", ended.stderr


def test_modules_are_imported_beside_the_window(qtbot, monkeypatch, tmp_path):
    (tmp_path / "darkdeblur_imported_soon.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    # One that is not there is no reason to leave out the next.
    import_soon("darkdeblur_no_such_module", "darkdeblur_imported_soon")
    qtbot.waitUntil(lambda: "darkdeblur_imported_soon" in sys.modules)
    del sys.modules["darkdeblur_imported_soon"]
