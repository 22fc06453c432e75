"""Finding image files: a folder of sharp ones, paired folders, lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from napari_darkdeblur.errors import DarkDeblurError

IMAGE_ENDINGS = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}

Layout = Literal["sharp", "folders", "gopro", "reds"]

# First line of the list that ExDark comes with (imageclasslist.txt). It names all images; the
# last column says what each is for.
_EXDARK_HEADER = ["name", "class", "light", "in/out", "train/val/test"]
_EXDARK_TRAINING = "1"
_EXDARK_SPLITS = {_EXDARK_TRAINING, "2", "3"}  # "2" is validation, "3" test


class DataError(DarkDeblurError, ValueError):
    """Training images are missing or unusable; the message is for the user."""


@dataclass(frozen=True)
class PairedFiles:
    """Two lists of files of the same length; equal places belong together.

    Parameters
    ----------
    blurred, sharp : list of pathlib.Path
        Files of the blurred and of the sharp images, in the same order.
    unpaired : list of pathlib.Path
        Files without a partner.
    """

    blurred: list[Path]
    sharp: list[Path]
    unpaired: list[Path] = field(default_factory=list)


def find_images(folder: Path) -> list[Path]:
    """Return all JPEG, PNG and TIFF files in a folder and its subfolders, sorted by path.

    Raises
    ------
    DataError
        There is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    images = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith(".")
    )
    if not images:
        raise DataError(f"{folder} holds no JPEG, PNG or TIFF image.")
    return images


def images_by_stem(folder: Path) -> dict[str, Path]:
    """Return what `find_images` finds by path within the folder, without ending.

    Raises
    ------
    DataError
        There is no image, or two differ in nothing but their ending.
    """
    images: dict[str, Path] = {}
    for path in find_images(folder):
        _add_once(images, path.relative_to(folder).with_suffix("").as_posix(), path)
    return images


def _add_once(images: dict[str, Path], name: str, path: Path) -> None:
    if name in images:
        raise DataError(
            f"{images[name]} and {path} have the same name but for the ending; rename or remove "
            "one of them."
        )
    images[name] = path


def find_pairs(
    layout: Layout, data: Path, blurred: Path | None = None, every: int = 1
) -> PairedFiles:
    """Match blurred and sharp files.

    Parameters
    ----------
    layout : {"folders", "gopro", "reds"}
        ``"folders"``: ``data`` holds the sharp images, ``blurred`` the blurred ones, matched by
        path without ending. ``"gopro"``: ``data`` holds ``.../SEQUENCE/blur/*`` and
        ``.../SEQUENCE/sharp/*``. ``"reds"``: ``data`` holds ``.../*_blur/.../SEQUENCE/*`` and
        the same below ``*_sharp``.
    data, blurred : pathlib.Path
        Folders. All that lies in them is used, so of GoPro and REDS give the ``train`` folder
        (or its like): the folder they are unpacked into holds the test or validation images, too.
    every : int
        Use every ``every``-th frame of each sequence (the paper takes every second; section
        2.3.1).

    Returns
    -------
    PairedFiles
        Sorted by path.

    Raises
    ------
    DataError
        There is no pair at all, or a file has two partners.
    """
    if layout == "folders":
        if blurred is None:
            raise DataError("Layout 'folders' needs a second folder: data.blurred=FOLDER.")
        sharp_files, blurred_files = images_by_stem(data), images_by_stem(blurred)
    else:
        marks = {"gopro": ("blur", "sharp"), "reds": ("_blur", "_sharp")}[layout]
        sharp_files, blurred_files = {}, {}
        for path in find_images(data):
            parts = path.relative_to(data).with_suffix("").parts
            for mark, files in zip(marks, (blurred_files, sharp_files), strict=True):
                if any(_marks(part, mark, layout) for part in parts[:-1]):
                    name = "/".join(_unmark(part, mark, layout) for part in parts)
                    _add_once(files, name, path)
    names = sharp_files.keys() & blurred_files.keys()
    everything = {**blurred_files, **sharp_files}
    unpaired = [everything[name] for name in sorted(everything.keys() - names)]
    if not names:
        example = f"; {unpaired[0]} has no partner of the same name" if unpaired else ""
        raise DataError(f"{data} holds no pairs in layout {layout!r}{example}.")
    kept: list[str] = []
    sequences: dict[str, int] = {}
    for name in sorted(names):
        sequence = name.rpartition("/")[0]
        place = sequences[sequence] = sequences.get(sequence, -1) + 1
        if place % every == 0:
            kept.append(name)
    return PairedFiles([blurred_files[n] for n in kept], [sharp_files[n] for n in kept], unpaired)


def _marks(part: str, mark: str, layout: str) -> bool:
    return part == mark if layout == "gopro" else part.endswith(mark)


def _unmark(part: str, mark: str, layout: str) -> str:
    if not _marks(part, mark, layout):
        return part
    return "" if layout == "gopro" else part.removesuffix(mark)


def read_split(list_file: Path, images: list[Path]) -> tuple[list[Path], list[Path]]:
    """Divide images by a list of those to train on.

    Parameters
    ----------
    list_file : pathlib.Path
        One file name (or path ending) a line, in UTF-8. More columns may follow a name without
        spaces; empty lines and lines that begin with ``#`` are passed over. Or ExDark's own list
        (``imageclasslist.txt``, known by its first line), of which the training images count.
    images : list of pathlib.Path
        Files of all images.

    Returns
    -------
    listed, others : lists of pathlib.Path
        Files that the list names, and all others, in the order of ``images``.

    Raises
    ------
    DataError
        The list is unreadable, names nothing, or names a file that is not there.
    """
    try:
        # With "-sig": some editors begin a file with a byte order mark, which is no name.
        text = list_file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The list {list_file} cannot be read: {error}.") from error
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if lines and [column.strip().lower() for column in lines[0].split("|")] == _EXDARK_HEADER:
        lines = _exdark_training_names(list_file, lines[1:])
    if not lines:
        raise DataError(f"The list {list_file} names no image to train on.")
    by_name: dict[str, list[Path]] = {}
    for path in images:
        by_name.setdefault(path.name, []).append(path)
    listed: set[Path] = set()
    for line in lines:
        name = line.split()[0]
        # The whole line first: a name may hold spaces.
        found = _with_ending(line, by_name) or _with_ending(name, by_name)
        if not found:
            raise DataError(f"{list_file} names {name!r}, which is not among the images.")
        listed.update(found)
    return [p for p in images if p in listed], [p for p in images if p not in listed]


def _exdark_training_names(list_file: Path, rows: list[str]) -> list[str]:
    names = []
    for row in rows:
        columns = row.rsplit(maxsplit=len(_EXDARK_HEADER) - 1)
        if len(columns) < len(_EXDARK_HEADER) or columns[-1] not in _EXDARK_SPLITS:
            raise DataError(
                f"{list_file} begins as ExDark's list does, but its row {row!r} is not a name "
                "and four numbers, of which the last is 1, 2 or 3."
            )
        if columns[-1] == _EXDARK_TRAINING:
            names.append(columns[0])
    return names


def _with_ending(name: str, by_name: dict[str, list[Path]]) -> list[Path]:
    ending = Path(name).parts
    candidates = by_name.get(Path(name).name, [])
    return [path for path in candidates if path.parts[-len(ending) :] == ending]
