"""Write a file or a folder so that nobody ever sees half of it."""

from __future__ import annotations

import csv
import os
import platform
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# What is being written: .NAME.HOST.PID.part and the ending.
_PART = re.compile(r"^\..*\.([0-9a-f]{8})\.(\d+)\.part(\.[^.]*)?$", re.DOTALL)
_LONGEST_NAME = 255  # bytes, on all usual file systems
_cleaned: set[Path] = set()


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to, and rename it at the end.

    If the block raises, what is temporary is removed and ``path`` stays as it was. If the
    process dies, ``path`` stays as it was too, and what it leaves is removed by the next process
    on this computer that writes to the folder.

    Parameters
    ----------
    path : path-like
        Where the file belongs. Its folder must exist.

    Yields
    ------
    pathlib.Path
        The file to write, in the same folder and with the same suffix. It may be made a folder
        instead.
    """
    target = Path(path)
    remove_abandoned_parts(target.parent)
    part = _part_of(target, os.getpid())
    try:
        yield part
        if part.is_dir():
            _replace_folder(part, target)
        else:
            # The data must be on the disk before the name is: after a power cut, a name
            # without its data would be a file of zeros. (Windows syncs only what is open for
            # writing, hence "r+b".)
            with part.open("r+b") as file:
                os.fsync(file.fileno())
            part.replace(target)
        _sync_folder(target.parent)
    finally:
        _remove(part)


def write_csv_rows(path: str | os.PathLike[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table as a CSV file in UTF-8, all or nothing; see `atomic_write`.

    Parameters
    ----------
    path : path-like
        The file, which is replaced if it exists. Its folder must exist.
    rows : iterable of iterable
        Rows of the table, the headings first. Nothing is rounded; None is left empty.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)


def remove_abandoned_parts(folder: Path) -> None:
    """Remove what killed processes of this computer were writing in a folder; looks once."""
    # Not before it is needed: it is slow to import.
    import psutil

    if folder in _cleaned:
        return
    _cleaned.add(folder)
    with suppress(OSError):
        for path in folder.iterdir():
            match = _PART.match(path.name)
            if match and match[1] == _host() and not psutil.pid_exists(int(match[2])):
                _remove(path)


def _part_of(target: Path, pid: int) -> Path:
    """Return the temporary path, whose name is not too long even if the target's is long."""
    end = f".{_host()}.{pid}.part{target.suffix}"
    room = _LONGEST_NAME - len(os.fsencode(end)) - 1
    stem = os.fsencode(target.stem)[:room].decode("utf-8", "ignore")
    return target.with_name(f".{stem}{end}")


def _host() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _replace_folder(part: Path, target: Path) -> None:
    """Put a folder in the place of another, which is removed after that."""
    old = None
    if target.exists():
        old = target.with_name(f".old{part.name}")
        target.rename(old)
    try:
        part.rename(target)
    except OSError:
        if old is not None:
            old.rename(target)
        raise
    if old is not None:
        _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Put a rename on the disk, where the system lets a folder be opened (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
