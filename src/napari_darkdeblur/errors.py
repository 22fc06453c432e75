"""The errors whose messages are meant for people."""

from __future__ import annotations


class DarkDeblurError(Exception):
    """Base of all errors that the user can do something about.

    The message is one sentence: what was wrong, with which value of which thing, and what
    to do. The command line and the plugin show it as it is, without a traceback.
    """


class StoppedError(DarkDeblurError):
    """The work was stopped because the caller asked for it."""

    def __init__(self, message: str = "The work was stopped before it was finished.") -> None:
        super().__init__(message)


def sentence_of(error: Exception) -> str:
    """Return what an error says, as a sentence; of the system's errors the file and the reason."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}."
    return str(error)
