"""What every test of the plugin takes for granted: a display, no network, fresh settings."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

# napari keeps settings in no file: neither are the user's read, nor are they changed.
os.environ["NAPARI_CONFIG"] = ""

_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(autouse=True, scope="session")
def display() -> None:
    """Fail with a sentence where Qt would end the whole run for want of a display."""
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        pytest.fail("The plugin's tests need a display: install Xvfb (apt-get install xvfb).")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test reach another machine: everything in the plugin works offline."""

    def guarded(connect: Any) -> Any:
        def connect_here(this: socket.socket, address: Any) -> Any:
            # Python's own socket pairs are loopback connections on Windows.
            if this.family in (socket.AF_INET, socket.AF_INET6):
                assert address[0] in _THIS_MACHINE, f"A test wanted to connect to {address}."
            return connect(this, address)

        return connect_here

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))


@pytest.fixture(autouse=True)
def fresh_settings() -> Iterator[None]:
    """Forget what a test has changed on the plugin's page of the preferences."""
    from napari.settings import get_plugin_settings

    yield
    for settings in get_plugin_settings().values():
        settings.reset()
