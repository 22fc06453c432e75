"""Image files of a run: a folder of sharp ones, pairs, and lists that divide them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from napari_darkdeblur.datasets import (
    DataError,
    exdark_training_names,
    find_dataset,
    frames_of_sequences,
    images_by_stem,
    read_lines,
)

# Layouts of training images: sharp ones, two folders of any names, and those of data sets.
Layout = Literal["sharp", "folders", "pairs", "gopro", "reds", "darkshake", "realblur"]


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


def find_pairs(
    layout: Layout, data: Path, blurred: Path | None = None, every: int = 1
) -> PairedFiles:
    """Match blurred and sharp files.

    Parameters
    ----------
    layout : str
        ``"folders"``: ``data`` holds the sharp images, ``blurred`` the blurred ones, matched by
        path without ending. The others are those of `find_dataset`.
    data, blurred : pathlib.Path
        Folders. All that lies in them is used, so of GoPro and REDS give the ``train`` folder
        (or its like): the folder they are unpacked into holds the test or validation images, too.
    every : int
        Spacing of the frames that are used of each sequence (the paper takes every second;
        section 2.3.1).

    Returns
    -------
    PairedFiles
        Pairs sorted by path, and what has no partner.

    Raises
    ------
    DataError
        There is no pair at all, or a file has two partners.
    """
    if layout == "sharp":
        raise ValueError("layout 'sharp' has no pairs")
    if layout != "folders":
        dataset = find_dataset(layout, data, every)
        return PairedFiles(
            [pair.blurred for pair in dataset.pairs],
            [pair.references[0] for pair in dataset.pairs],
            dataset.unpaired,
        )
    if blurred is None:
        raise DataError("Layout 'folders' needs a second folder: data.blurred=FOLDER.")
    sharp_files, blurred_files = images_by_stem(data), images_by_stem(blurred)
    names = sorted(sharp_files.keys() & blurred_files.keys())
    everything = {**blurred_files, **sharp_files}
    unpaired = [everything[name] for name in sorted(everything.keys() - set(names))]
    if not names:
        raise DataError(
            f"{data} holds no pairs in layout 'folders'; {unpaired[0]} has no partner of the same "
            "name."
        )
    kept = frames_of_sequences(names, every)
    return PairedFiles([blurred_files[n] for n in kept], [sharp_files[n] for n in kept], unpaired)


def sizes_differ(blurred: tuple[int, int], sharp: tuple[int, int]) -> str:
    """Return why a pair of images of such heights and widths cannot be used."""
    return (
        f"the pair differs in size: blurred {blurred[0]} x {blurred[1]}, sharp "
        f"{sharp[0]} x {sharp[1]}."
    )


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
    lines = exdark_training_names(list_file)
    if lines is None:
        lines = read_lines(list_file)
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


def _with_ending(name: str, by_name: dict[str, list[Path]]) -> list[Path]:
    ending = Path(name).parts
    candidates = by_name.get(Path(name).name, [])
    return [path for path in candidates if path.parts[-len(ending) :] == ending]
