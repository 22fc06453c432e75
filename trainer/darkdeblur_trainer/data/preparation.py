"""Data sets of the paper: checked, counted and divided into lists (section 2.3)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from napari_darkdeblur.atomic import atomic_write
from napari_darkdeblur.datasets import (
    LAYOUTS,
    DataError,
    DatasetPair,
    PairedLayout,
    exdark_training_names,
    find_dataset,
    find_images,
    random_split,
    read_lines,
)
from napari_darkdeblur.errors import DarkDeblurError
from napari_darkdeblur.imagefiles import open_image

from .layouts import sizes_differ

PATCH = 128
# The paper's split of ExDark (section 2.3.1).
EXDARK_IMAGES, EXDARK_TRAINING = 7363, 6800
# Share of a data set that is validated on where nothing else divides it; ExDark's.
_VALIDATION_SHARE = 1 - EXDARK_TRAINING / EXDARK_IMAGES
# Numbers of pairs (for ExDark: images) that the data sets have, as far as they say so.
_PUBLISHED = {"exdark": EXDARK_IMAGES, "gopro": 3214, "reds": 27_000, "koehler": 48, "lai": 200}
# Patches that the paper speaks of, and of which data sets together.
_PATCHES_OF_PAPER = {
    "exdark": (559_290, "ExDark"),
    "gopro": (225_100, "GoPro and REDS together"),
    "reds": (225_100, "GoPro and REDS together"),
}
PREPARED = ("sharp", "exdark", *get_args(PairedLayout))


@dataclass(frozen=True)
class Preparation:
    """What was found in a data set, and how it is divided.

    Parameters
    ----------
    layout : str
        Name of the layout.
    lists : dict of list of str
        By ``"train"``, ``"validate"`` and ``"test"``: paths of the (sharp) images below the root;
        of data sets whose pairs share references, of the blurred ones.
    patches : int
        Number of non-overlapping patches of 128 pixels in the training images, or of all if
        there are none.
    unreadable : dict of str
        Images that cannot be used, by path, and why.
    unpaired : list of str
        Paths of images without a partner.
    notes : list of str
        Sentences on what differs from what is published.
    """

    layout: str
    lists: dict[str, list[str]]
    patches: int
    unreadable: dict[str, str]
    unpaired: list[str]
    notes: list[str] = field(default_factory=list)

    def describe(self) -> list[str]:
        """Return lines for people."""
        what = "images" if self.layout in ("sharp", "exdark") else "pairs"
        lines = [f"{name}: {len(entries)} {what}" for name, entries in self.lists.items()]
        of = "training images" if self.lists.get("train") else "images"
        lines.append(f"{self.patches} non-overlapping patches of {PATCH} pixels in the {of}")
        if self.layout in _PATCHES_OF_PAPER:
            count, where = _PATCHES_OF_PAPER[self.layout]
            lines[-1] += f" (the paper: {count} of {where})"
        return [*lines, *self.notes]


def prepare_dataset(
    layout: str,
    root: Path,
    out: Path,
    *,
    seed: int = 0,
    list_file: Path | None = None,
    frame_step: int | None = None,
    progress: bool = False,
    overwrite: bool = False,
) -> Preparation:
    """Check a data set and write lists that divide it.

    Writes ``train.txt`` and ``validate.txt`` (for data sets that are made for tests only,
    ``test.txt``), paths below the root, and ``summary.json``.

    Parameters
    ----------
    layout : str
        ``"sharp"`` for a folder of sharp images, or a key of `LAYOUTS`.
    root : pathlib.Path
        Folder that the data set was unpacked into.
    out : pathlib.Path
        Folder for the lists, which is made if need be.
    seed : int
        Seed of a random split, where the data set has none of its own.
    list_file : pathlib.Path, optional
        List of the training images; by default ExDark's own, if it is in the root.
    frame_step : int, optional
        Spacing of the frames that are used of each sequence; the paper's by default.
    progress : bool
        Whether to show a progress bar.
    overwrite : bool
        Whether lists of an earlier call may be replaced.

    Returns
    -------
    Preparation
        Counts, lists, and what cannot be used.

    Raises
    ------
    DataError
        The data set is not there, or the list names what is not in it.
    FileExistsError
        There are lists already, and ``overwrite`` is false.
    """
    if layout not in PREPARED:
        raise DataError(f"There is no layout {layout!r}; there are {', '.join(PREPARED)}.")
    for name in ("train.txt", "validate.txt", "test.txt", "summary.json"):
        if (out / name).exists() and not overwrite:
            raise FileExistsError(f"{out / name} exists; give --overwrite to replace it.")
    unpaired: list[Path] = []
    if layout in ("sharp", "exdark"):
        images = find_images(root, layout if layout in LAYOUTS else None)
        pairs = [DatasetPair(_below(path, root), path, (path,)) for path in images]
    else:
        step = LAYOUTS[layout].frame_step if frame_step is None else frame_step
        dataset = find_dataset(layout, root, step)  # type: ignore[arg-type]
        pairs, unpaired = dataset.pairs, dataset.unpaired
    sizes, unreadable = _sizes(pairs, root, progress)
    usable = [pair for pair in pairs if pair.name in sizes]
    if not usable:
        listed = "".join(f"\n  {path}: {why}" for path, why in unreadable.items())
        raise DataError(f"None of the images in {root} can be used:{listed}")
    divided = _divide(layout, root, usable, seed, list_file)
    counted = divided.get("train") or usable
    patches = sum((sizes[p.name][0] // PATCH) * (sizes[p.name][1] // PATCH) for p in counted)
    prepared = Preparation(
        layout,
        {name: [_below(_listed(pair), root) for pair in some] for name, some in divided.items()},
        patches,
        unreadable,
        [_below(path, root) for path in unpaired],
        _notes(layout, len(pairs), frame_step),
    )
    _write(out, prepared, root, seed)
    return prepared


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _listed(pair: DatasetPair) -> Path:
    """Return the file that stands for a pair: the sharp one, where it belongs to one pair only."""
    return pair.references[0] if len(pair.references) == 1 else pair.blurred


def _sizes(
    pairs: Sequence[DatasetPair], root: Path, progress: bool
) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    """Return height and width of every pair that can be used, and what is wrong with others."""
    sizes: dict[str, tuple[int, int]] = {}
    problems: dict[str, str] = {}
    hidden = None if progress else True
    for pair in tqdm(pairs, desc="checking", unit="pair", disable=hidden):
        try:
            found = [image_size(path) for path in dict.fromkeys((pair.blurred, *pair.references))]
        except (DarkDeblurError, OSError) as error:
            problems[_below(pair.blurred, root)] = " ".join(str(error).split())
            continue
        first, *others = found
        other = next((size for size in others if size != first), None)
        if other is not None:
            problems[_below(pair.blurred, root)] = sizes_differ(first, other)
            continue
        sizes[pair.name] = first
    return sizes, problems


def image_size(path: Path) -> tuple[int, int]:
    """Return height and width of an image file in pixels, from its header.

    Raises
    ------
    ImageFileError, OSError
        It is no image that can be used.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except UnidentifiedImageError:  # some TIFF files, which Pillow does not know
        with open_image(path) as opened:
            shape = dict(zip(opened.axes or "YX", opened.pixels.shape, strict=False))
            return shape["Y"], shape["X"]


def _divide(
    layout: str, root: Path, pairs: list[DatasetPair], seed: int, list_file: Path | None
) -> dict[str, list[DatasetPair]]:
    if layout in ("koehler", "lai", "darkshake") and list_file is None:
        return {"test": pairs}
    own = root / "imageclasslist.txt"
    if list_file is None and layout == "exdark" and own.is_file():
        list_file = own
    if list_file is not None:
        chosen = _named(list_file, pairs)
    elif layout == "gopro":
        chosen = _by_folder(pairs, lambda part: part == "test")
    elif layout == "reds":
        chosen = _by_folder(pairs, lambda part: part.startswith("val"))
    elif layout == "realblur" and (lists := sorted(root.rglob("*train_list*.txt"))):
        chosen = set.union(*(_named(path, pairs) for path in lists))
    else:
        count = (
            EXDARK_TRAINING
            if layout == "exdark" and len(pairs) == EXDARK_IMAGES
            else (max(1, round(len(pairs) * (1 - _VALIDATION_SHARE))))
        )
        names, _ = random_split([pair.name for pair in pairs], count, seed)
        chosen = set(names)
    divided = {
        "train": [pair for pair in pairs if pair.name in chosen],
        "validate": [pair for pair in pairs if pair.name not in chosen],
    }
    return {name: some for name, some in divided.items() if some}


def _by_folder(pairs: Sequence[DatasetPair], is_test: Callable[[str], bool]) -> set[str]:
    """Return the names of the pairs in no folder that is meant for tests."""
    return {
        pair.name for pair in pairs if not any(is_test(part) for part in pair.name.split("/")[:-1])
    }


def _named(list_file: Path, pairs: Sequence[DatasetPair]) -> set[str]:
    """Return the names of the pairs whose blurred or sharp file a list names."""
    lines = exdark_training_names(list_file)
    lines = read_lines(list_file) if lines is None else lines
    by_file: dict[str, list[tuple[Path, str]]] = {}
    for pair in pairs:
        for path in dict.fromkeys((pair.blurred, *pair.references)):
            by_file.setdefault(path.name, []).append((path, pair.name))
    chosen: set[str] = set()
    for line in lines:
        found = set()
        # The whole line first: a name may hold spaces. Columns may name both images of a pair.
        for text in (line, *line.split()):
            ending = Path(text).parts
            for path, name in by_file.get(Path(text).name, []):
                if path.parts[-len(ending) :] == ending:
                    found.add(name)
            if found:
                break
        if not found:
            raise DataError(f"{list_file} names {line!r}, which is not among the images.")
        chosen |= found
    return chosen


def _notes(layout: str, count: int, frame_step: int | None) -> list[str]:
    if layout not in _PUBLISHED:
        return []
    step = LAYOUTS[layout].frame_step if frame_step is None else frame_step
    expected = -(-_PUBLISHED[layout] // step)
    if abs(count - expected) <= expected * 0.02:
        return []
    every = "" if step == 1 else f" (every {step}nd frame of {_PUBLISHED[layout]})"
    return [
        f"{LAYOUTS[layout].title} has about {expected}{every}; here are {count}, so a part of it "
        "is missing or was not unpacked."
    ]


def _write(out: Path, prepared: Preparation, root: Path, seed: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name in ("train", "validate", "test"):
        path = out / f"{name}.txt"
        if name not in prepared.lists:
            path.unlink(missing_ok=True)
            continue
        with atomic_write(path) as part:
            lines = [f"# {prepared.layout}, {name}", *prepared.lists[name]]
            part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    content = {
        "layout": prepared.layout,
        "root": str(root),
        "seed": seed,
        "counts": {name: len(entries) for name, entries in prepared.lists.items()},
        "patches": prepared.patches,
        "unreadable": prepared.unreadable,
        "unpaired": prepared.unpaired,
        "notes": prepared.notes,
    }
    with atomic_write(out / "summary.json") as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
