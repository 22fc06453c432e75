"""What every test of the plugin takes for granted: a display, and no network."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

import pytest


@pytest.fixture(autouse=True, scope="session")
def display() -> None:
    """Fail with a sentence where Qt would end the whole run for want of a display."""
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        pytest.fail("The plugin's tests need a display: install Xvfb (apt-get install xvfb).")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test reach another machine: everything in the plugin works offline."""
    connect = socket.socket.connect

    def guarded(this: socket.socket, address: Any) -> None:
        # Python's own socket pairs are loopback connections on Windows.
        if this.family != getattr(socket, "AF_UNIX", None) and address[0] not in _THIS_MACHINE:
            raise AssertionError(f"A test wanted to connect to {address}.")
        connect(this, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded)


_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")
