"""Restoring image files: which, where to, and one after the other."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import DarkDeblurError, sentence_of

if TYPE_CHECKING:
    from .restore import Event, RestoreOptions, Result


class FileJobError(DarkDeblurError, ValueError):
    """What is to be restored, or where to, makes no sense; the message is one sentence."""


@dataclass(frozen=True)
class FileJob:
    """A file to be restored.

    Parameters
    ----------
    source, target : pathlib.Path
        What to read and what to write.
    """

    source: Path
    target: Path


def plan_file(source: Path, target: Path, *, overwrite: bool = False) -> FileJob:
    """Check whether a file can be restored to another one.

    Raises
    ------
    FileJobError, ImageFileError
        It cannot, for a reason that can be known before the file is read.
    """
    from .imagefiles import check_writable

    if not source.exists():
        raise FileJobError(f"{source} does not exist.")
    if target.is_dir():
        raise FileJobError(
            f"{target} is a folder and {source} is a file; name the file to write, for "
            f"instance {target / source.name}."
        )
    if not overwrite:
        _refuse_existing([target])
    check_writable(target, overwrite=overwrite)
    return FileJob(source, target)


def image_files(folder: Path) -> list[Path]:
    """List the PNG, JPEG and TIFF files of a folder (not of its subfolders) by name."""
    from .imagefiles import FORMAT_OF_SUFFIX

    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in FORMAT_OF_SUFFIX
        and path.is_file()
        and not path.name.startswith(".")
    ]


def plan_folder(source: Path, target: Path, *, overwrite: bool = False) -> list[FileJob]:
    """List the images of a folder (not of its subfolders) and the files to be made of them.

    Raises
    ------
    FileJobError
        There are none, or some of the files to be made exist.
    """
    if target.exists() and not target.is_dir():
        raise FileJobError(f"{source} is a folder and {target} is a file; name a folder.")
    jobs = [FileJob(path, target / path.name) for path in image_files(source)]
    if not jobs:
        raise FileJobError(f"There are no PNG, JPEG or TIFF files in {source}.")
    if not overwrite:
        _refuse_existing([job.target for job in jobs])
    return jobs


def restore_file(
    job: FileJob,
    options: RestoreOptions,
    *,
    overwrite: bool = False,
    stop: threading.Event | None = None,
) -> Generator[Event, None, Result]:
    """Restore a file, however large, and write another of the same shape, dtype and metadata.

    Parameters
    ----------
    job : FileJob
        Which.
    options : RestoreOptions
        How. Axes that are not given are those that the file tells.
    overwrite : bool
        Whether an existing file may be replaced.
    stop : threading.Event, optional
        When it is set, restoring ends after the tile at hand.

    Yields
    ------
    Event
        See `restore.restore`.

    Returns
    -------
    Result
        The file is written if it is ``"done"``; otherwise what was there stays as it was.
        Nothing is raised: files that cannot be read or written are failures, too.
    """
    from .imagefiles import create_image, open_image
    from .restore import Finished, Result, restore

    result = Result("failed")
    try:
        with ExitStack() as reading:
            image = reading.enter_context(open_image(job.source))
            for name, said in image.as_options().items():
                if getattr(options, name) is None:
                    options = replace(options, **{name: said})
            with create_image(
                job.target,
                image.pixels.shape,
                image.pixels.dtype,
                like=image,
                overwrite=overwrite,
            ) as output:
                for event in restore(image.pixels, output, options, stop=stop):
                    # The end is told when the file is there.
                    if isinstance(event, Finished):
                        result = event.result
                    else:
                        yield event
                if result.status != "done":
                    raise _UnfinishedError  # noqa: TRY301
                # Should the target be the source: Windows replaces no file that is open.
                reading.close()
    except _UnfinishedError:
        pass
    except (DarkDeblurError, OSError) as error:
        result = replace(result, status="failed", message=sentence_of(error), error=error)
    yield Finished(result)
    return result


class _UnfinishedError(Exception):
    """Leaves the block that writes a file, so that none is written."""


def _refuse_existing(paths: list[Path]) -> None:
    existing = [path for path in paths if path.exists()]
    if existing:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise FileJobError(
            f"{existing[0]}{more} would be overwritten; choose another place or pass --overwrite."
        )
