"""Restoring image files: which, where to, and one after the other."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import DarkDeblurError, sentence_of

if TYPE_CHECKING:
    from .imagefiles import ImageFile
    from .restore import Axes, ChosenRange, Event, RestoreOptions, Result

_VIDEOS = frozenset((".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mts", ".wmv", ".3gp"))


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


@dataclass(frozen=True)
class FolderPlan:
    """What a folder holds and what is done about it.

    Parameters
    ----------
    jobs : tuple of FileJob
        The files to be restored.
    done : tuple of pathlib.Path
        Images whose result exists and is kept.
    left_out : tuple of (pathlib.Path, str)
        Files that are not restored, each with the reason, without a full stop.
    """

    jobs: tuple[FileJob, ...]
    done: tuple[Path, ...] = ()
    left_out: tuple[tuple[Path, str], ...] = ()


def plan_file(source: Path, target: Path, *, overwrite: bool = False) -> FileJob:
    """Check whether a file can be restored to another one.

    Raises
    ------
    FileJobError, ImageFileError
        It cannot, for a reason that can be known before the file is read.
    """
    from .imagefiles import check_writable, is_zarr

    if not source.exists():
        raise FileJobError(f"{source} does not exist.")
    if target.is_dir() and not is_zarr(target):
        raise FileJobError(
            f"{target} is a folder and {source} is a file; name the file to write, for "
            f"instance {target / source.name}."
        )
    if not overwrite:
        _refuse_existing([target])
    check_writable(target, overwrite=overwrite)
    return FileJob(source, target)


def is_image_folder(path: Path) -> bool:
    """Return whether a path is a folder of images, and not an image itself as Zarr folders are."""
    from .imagefiles import is_zarr

    return path.is_dir() and not is_zarr(path)


def image_files(folder: Path) -> list[Path]:
    """List the images in a folder (not in its subfolders) by name."""
    return [path for path, reason in _contents(folder, recursive=False) if not reason]


def _contents(folder: Path, recursive: bool) -> list[tuple[Path, str]]:
    """List what a folder holds by name, each with the reason why it is no image, or ""."""
    from .imagefiles import FORMAT_OF_SUFFIX, STILL_SUFFIXES, is_zarr

    found: list[tuple[Path, str]] = []
    for path in sorted(folder.iterdir()):
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            continue  # of the system's, or being written
        if path.is_dir() and not is_zarr(path):
            if recursive:
                found += _contents(path, recursive)
            elif next(path.iterdir(), None) is not None:
                found.append((path, "a folder; --recursive goes into it"))
        elif suffix in FORMAT_OF_SUFFIX or suffix in STILL_SUFFIXES:
            found.append((path, ""))
        elif suffix in _VIDEOS:
            found.append((path, "a video; save its frames as image files first"))
        else:
            found.append((path, "no image by its ending"))
    return found


def plan_folder(
    source: Path,
    target: Path,
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
    recursive: bool = False,
) -> FolderPlan:
    """List the images of a folder and the files to be made of them.

    The files have the same names. What cannot be written in its own format is written as PNG,
    raw files as TIFF; where that is the name of another, the whole name goes before the ending.

    Parameters
    ----------
    source, target : pathlib.Path
        The folder to read and the one to write.
    overwrite : bool
        Whether existing files may be replaced.
    skip_existing : bool
        Whether images whose result exists are left out.
    recursive : bool
        Whether subfolders are restored, too, into subfolders of the same names.

    Raises
    ------
    FileJobError
        There are no images, or some of the files to be made exist.
    """
    if target.exists() and not target.is_dir():
        raise FileJobError(f"{source} is a folder and {target} is a file; name a folder.")
    contents = _contents(source, recursive)
    if target.resolve() != source.resolve():
        # Results in a subfolder are not images to be restored.
        inside = target.resolve()
        contents = [(path, why) for path, why in contents if not _is_within(path, inside)]
    images = [path for path, reason in contents if not reason]
    if not images:
        raise FileJobError(
            f"There are no images in {source}: PNG, JPEG, TIFF, WebP, BMP, GIF, AVIF, HEIC, raw "
            "files or OME-Zarr."
        )
    taken = {path for path in images if _written_suffix(path) == path.suffix}
    jobs = []
    for path in images:
        name = path
        if path not in taken:
            name = path.with_suffix(_written_suffix(path))
            if name in taken:
                name = path.with_name(path.name + _written_suffix(path))
            taken.add(name)
        jobs.append(FileJob(path, target / name.relative_to(source)))
    done: tuple[Path, ...] = ()
    if skip_existing:
        done = tuple(job.source for job in jobs if job.target.exists())
        jobs = [job for job in jobs if job.source not in done]
    elif not overwrite:
        _refuse_existing([job.target for job in jobs])
    left_out = tuple((path, reason) for path, reason in contents if reason)
    return FolderPlan(tuple(jobs), done, left_out)


def _is_within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder)


def _written_suffix(path: Path) -> str:
    from .imagefiles import FORMAT_OF_SUFFIX, RAW_SUFFIXES

    if path.suffix.lower() in FORMAT_OF_SUFFIX:
        return path.suffix
    return ".tif" if path.suffix.lower() in RAW_SUFFIXES else ".png"


def common_ranges(
    sources: Sequence[Path],
    options: RestoreOptions,
    *,
    series: int | None = None,
    separate_channels: bool = False,
) -> dict[Path, ChosenRange]:
    """Choose one value range for all images of a kind, so that the frames of a movie stay alike.

    Parameters
    ----------
    sources : sequence of pathlib.Path
        The image files.
    options : RestoreOptions
        How they are restored; axes that are not given are those that a file tells.
    series : int, optional
        Which image of files with several.
    separate_channels : bool
        Whether the values of a pixel are restored each on its own, see `restore_file`.

    Returns
    -------
    dict of pathlib.Path to ChosenRange
        By file, the same for all of one dtype and full scale. Files that cannot be read are
        left out: they are told when it is their turn.
    """
    from .restore import PixelError, choose_range
    from .restore.image.ranges import default_full_scale

    opened = partial(_opened, options=options, series=series, separate_channels=separate_channels)
    kinds: dict[tuple[str, tuple[float, float] | None], dict[Path, int]] = {}
    for source in sources:
        with suppress(DarkDeblurError, OSError), opened(source) as (image, axes):
            count = axes.pixel_count * (1 if axes.colour == "grey" else 3)
            dtype = np.dtype(image.pixels.dtype)
            full_scale = image.as_options().get("full_scale")
            key = dtype.name, full_scale or default_full_scale(dtype, axes.colour)
            kinds.setdefault(key, {})[source] = count

    def strips_of(paths: Iterable[Path]) -> Iterator[tuple[int, NDArray[Any]]]:
        from .restore.image.view import read_strips

        for path in paths:
            with suppress(DarkDeblurError, OSError), opened(path) as (image, axes):
                yield from read_strips(image.pixels, axes)

    chosen = {}
    for (name, full_scale), counts in kinds.items():
        with suppress(PixelError):  # each file will tell
            found = choose_range(
                partial(strips_of, counts),
                np.dtype(name),
                sum(counts.values()),
                options.value_range,
                options.full_scale or full_scale,
                "the folder" if len(counts) > 1 else "the image",
            )
            chosen.update(dict.fromkeys(counts, found))
    return chosen


@contextmanager
def _opened(
    path: Path, options: RestoreOptions, series: int | None, separate_channels: bool
) -> Iterator[tuple[ImageFile, Axes]]:
    from .imagefiles import open_image
    from .restore import Axes

    with open_image(path, series) as image:
        text = options.axes or image.axes
        shape = image.pixels.shape
        text = _separated(text, shape) if separate_channels else text
        yield image, Axes.parse(text, shape) if text else Axes.guess(shape)


def restore_file(
    job: FileJob,
    options: RestoreOptions,
    *,
    overwrite: bool = False,
    series: int | None = None,
    separate_channels: bool = False,
    stop: threading.Event | None = None,
) -> Generator[Event, None, Result]:
    """Restore a file, however large, and write another of the same shape, dtype and metadata.

    Parameters
    ----------
    job : FileJob
        The file to read and the one to write.
    options : RestoreOptions
        How to restore it. Axes and light that are not given are those that the file tells.
    overwrite : bool
        Whether an existing file may be replaced.
    series : int, optional
        Which image of a file with several; see `open_image`.
    separate_channels : bool
        Whether the values of a pixel are restored each on its own and not as a colour.
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
    from .restore import Finished, ModelReady, Result, restore

    result = Result("failed")
    notes: tuple[str, ...] = ()
    try:
        with ExitStack() as reading:
            image = reading.enter_context(open_image(job.source, series))
            notes = image.notes + _losses(image, job.target)
            for name, said in image.as_options().items():
                if getattr(options, name) in (None, "auto"):
                    options = replace(options, **{name: said})
            if separate_channels:
                options = replace(options, axes=_separated(options.axes, image.pixels.shape))
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
                    elif isinstance(event, ModelReady):
                        yield replace(event, notes=notes + event.notes)
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
    result = replace(result, notes=notes + result.notes)
    yield Finished(result)
    return result


def _losses(image: ImageFile, target: Path) -> tuple[str, ...]:
    """Return what a file of the target's format cannot keep, as a sentence if there is any."""
    from .imagefiles import check_writable

    lost = image.metadata.not_kept_in(check_writable(target, overwrite=True))
    if not lost:
        return ()
    listed = lost[0] if len(lost) == 1 else f"{', '.join(lost[:-1])} and {lost[-1]}"
    ending = target.suffix.lower()
    return (f"Not kept, since {ending} files cannot hold it: {listed}.",)


def _separated(axes: str | None, shape: tuple[int, ...]) -> str:
    """Return axes of which none is a colour, so that its values are restored one by one."""
    from .restore import Axes

    parsed = Axes.parse(axes, shape) if axes else Axes.guess(shape)
    if parsed.colour_letter is None:
        return parsed.letters
    # Not C: at the end that is a colour.
    unused = next(letter for letter in "QIHJKL" if letter not in parsed.letters)
    return parsed.letters.replace(parsed.colour_letter, unused)


class _UnfinishedError(Exception):
    """Leaves the block that writes a file, so that none is written."""


def _refuse_existing(paths: list[Path]) -> None:
    existing = [path for path in paths if path.exists()]
    if existing:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise FileJobError(
            f"{existing[0]}{more} would be overwritten; choose another place or pass --overwrite."
        )
