"""Write a file so that nobody ever sees half of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to, and rename it at the end.

    If the block raises, the temporary file is removed and ``path`` stays as it was. If the
    process dies, ``path`` stays as it was too, and a file named ``.NAME.PID.part`` is left.

    Parameters
    ----------
    path : path-like
        Where the file belongs. Its folder must exist.

    Yields
    ------
    pathlib.Path
        The file to write, in the same folder and with the same suffix.
    """
    target = Path(path)
    part = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
    try:
        yield part
        # The data must be on the disk before the name is: after a power cut, a name
        # without its data would be a file of zeros. (Windows syncs only what is open for
        # writing, hence "r+b".)
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        part.replace(target)
        _sync_folder(target.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Put a rename on the disk, where the system lets a folder be opened (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
