"""What goes wrong with image files, in one sentence for the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DarkDeblurError


class ImageFileError(DarkDeblurError, ValueError):
    """An image file cannot be read or written; the message is one sentence for the user."""


def one_line(error: BaseException) -> str:
    """Return what an error says, without line breaks and without the full stop."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def not_written(path: Path, error: OSError) -> ImageFileError:
    """Return the error for a file that the system does not let us write."""
    return ImageFileError(f"{path} cannot be written: {one_line(error)}.")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises inside the block into an `ImageFileError`.

    Parameters
    ----------
    path : pathlib.Path
        The file that is being read.
    """
    try:
        yield
    except ImageFileError:
        raise
    except MemoryError as error:
        raise ImageFileError(f"{path} is too large for this machine's memory.") from error
    except Exception as error:
        # Decoders raise anything at all on damaged files, of which only some is for people.
        internal = isinstance(error, (AttributeError, LookupError, TypeError, AssertionError))
        why = "" if internal else f" ({one_line(error)})"
        raise ImageFileError(f"{path} cannot be read, it is damaged or incomplete{why}.") from error
