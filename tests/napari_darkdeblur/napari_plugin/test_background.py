"""Work beside the viewer is told of, can be stopped, and does not outlive its widget."""

from __future__ import annotations

import threading
import time

import pytest
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_darkdeblur.napari_plugin.background import Background


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
