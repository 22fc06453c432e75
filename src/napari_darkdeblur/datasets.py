"""Data sets of blurred and sharp images by the folders that they are unpacked into.

Nothing is downloaded: each layout says where its data set is to be had and what it looks like.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .errors import DarkDeblurError
from .imagefiles import FORMAT_OF_SUFFIX, STILL_SUFFIXES

# First line of the list that ExDark comes with (imageclasslist.txt). It names all images; the
# last column says what each is for.
_EXDARK_HEADER = ["name", "class", "light", "in/out", "train/val/test"]
_EXDARK_TRAINING = "1"
_EXDARK_SPLITS = {_EXDARK_TRAINING, "2", "3"}  # "2" is validation, "3" test

# Names of folders of blurred and of sharp images, where a data set has no names of its own.
_BLURRED = {"blurred", "blur", "blurry", "input", "lq"}
_SHARP = {"sharp", "gt", "reference", "target", "ground_truth", "groundtruth", "hq"}

PairedLayout = Literal["pairs", "gopro", "reds", "koehler", "lai", "darkshake", "realblur"]


class DataError(DarkDeblurError, ValueError):
    """Images are missing or unusable; the message is for the user."""


@dataclass(frozen=True)
class DatasetPair:
    """A blurred image with the sharp ones that it is compared with.

    Parameters
    ----------
    name : str
        Name of the pair, which may hold subfolders.
    blurred : pathlib.Path
        File of the blurred image.
    references : tuple of pathlib.Path
        Files of the sharp image; of several, the one nearest to a result counts.
    """

    name: str
    blurred: Path
    references: tuple[Path, ...]


@dataclass(frozen=True)
class Dataset:
    """Pairs of a data set.

    Parameters
    ----------
    layout : str
        Name of the layout.
    pairs : list of DatasetPair
        Pairs, sorted by name.
    unpaired : list of pathlib.Path
        Image files without a partner.
    """

    layout: str
    pairs: list[DatasetPair]
    unpaired: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class LayoutInfo:
    """What a layout is for people.

    Parameters
    ----------
    title : str
        Name of the data set.
    source : str
        Where it is to be had.
    folders : str
        Folders and files that are expected below the root.
    frame_step : int
        Spacing of the frames of a sequence that the paper uses (section 2.3.1).
    shift : int
        Largest shift in pixels over which a result is compared with its reference, where the
        data set's own evaluation allows for one.
    """

    title: str
    source: str
    folders: str
    frame_step: int = 1
    shift: int = 0


LAYOUTS: dict[str, LayoutInfo] = {
    "exdark": LayoutInfo(
        "ExDark",
        "https://github.com/cs-chan/Exclusively-Dark-Image-Dataset",
        "CLASS/*.jpg (or .png); imageclasslist.txt is used if it is there",
    ),
    "pairs": LayoutInfo(
        "pairs of folders",
        "your own images, darkdeblur-train align or synth",
        "blurred/* and sharp/* with the same names (the endings may differ)",
    ),
    "gopro": LayoutInfo(
        "GoPro",
        "https://seungjunnah.github.io/Datasets/gopro (GOPRO_Large.zip)",
        "train/SEQUENCE/blur/*.png and train/SEQUENCE/sharp/*.png, the same below test",
        frame_step=2,
    ),
    "reds": LayoutInfo(
        "REDS",
        "https://seungjunnah.github.io/Datasets/reds (train_blur, train_sharp, val_blur and so on)",
        "train/train_blur/SEQUENCE/*.png and train/train_sharp/SEQUENCE/*.png, the same for val",
        frame_step=2,
    ),
    "koehler": LayoutInfo(
        "Koehler et al. 2012",
        "https://webdav.tuebingen.mpg.de/pixel/benchmark4camerashake (images and ground truth)",
        "Blurry1_1.png to Blurry4_12.png, and GroundTruth1_1_1.png and so on: image, trajectory, "
        "place on the trajectory",
        shift=8,
    ),
    "lai": LayoutInfo(
        "Lai et al. 2016",
        "http://vllab.ucmerced.edu/wlai24/cvpr16_deblur_study (synthetic, uniform or gyro)",
        "NAME_kernel_01.png (or NAME_gyro_01.png), and ground_truth/NAME.png",
        shift=8,
    ),
    "darkshake": LayoutInfo(
        "DarkShake",
        "the authors of the paper",
        "blur/* and sharp/* (or input/* and gt/*) with the same names",
    ),
    "realblur": LayoutInfo(
        "RealBlur",
        "http://cg.postech.ac.kr/research/realblur (RealBlur.tar.gz and its lists)",
        "sceneNNN/blur/blur_1.png and sceneNNN/gt/gt_1.png",
    ),
}


def find_images(folder: Path, layout: str | None = None) -> list[Path]:
    """Return all image files in a folder and its subfolders, sorted by path.

    They are known by their endings: all that `read_image` reads but zarr.

    Parameters
    ----------
    folder : pathlib.Path
        Folder that is searched.
    layout : str, optional
        Key of `LAYOUTS` that the folder should have, for what is said where there is no image.

    Raises
    ------
    DataError
        There is no such folder, or no image in it; the message says what the layout expects and
        where its data set is to be had.
    """
    expected = "" if layout is None else f" {expectation(layout)}"
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.{expected}")
    endings = (FORMAT_OF_SUFFIX.keys() | STILL_SUFFIXES) - {".zarr"}
    images = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in endings and not path.name.startswith(".")
    )
    if not images:
        raise DataError(f"{folder} holds no image.{expected}")
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


def find_dataset(layout: PairedLayout, root: Path, frame_step: int = 1) -> Dataset:
    """Find the pairs of a data set.

    Parameters
    ----------
    layout : str
        Name of the layout, a key of `LAYOUTS` other than ``"exdark"``, which has no pairs.
    root : pathlib.Path
        Folder that the data set was unpacked into.
    frame_step : int
        Spacing of the frames that are used of each sequence; 2 uses every second one.

    Returns
    -------
    Dataset
        Pairs, and what has no partner.

    Raises
    ------
    DataError
        There is no folder, no pair in it, or a file has two partners; the message says what the
        layout expects and where the data set is to be had.
    """
    images = find_images(root, layout)
    references: dict[str, list[Path]] = {}
    blurred: dict[str, Path] = {}
    for path in images:
        place = _PLACES[layout](path.relative_to(root))
        if place is None:
            continue
        kind, name = place
        if kind == "blurred":
            _add_once(blurred, name, path)
        else:
            references.setdefault(name, []).append(path)
    # Several blurred images may share a reference.
    of_reference = _REFERENCE_NAMES.get(layout, lambda name: [name])
    pairs, used = [], set()
    unpaired = []
    for name in sorted(blurred):
        key = next((key for key in of_reference(name) if key in references), None)
        if key is None:
            unpaired.append(blurred[name])
            continue
        used.add(key)
        pairs.append(DatasetPair(name, blurred[name], tuple(references[key])))
    unpaired += [path for key in sorted(references) if key not in used for path in references[key]]
    if layout not in _REFERENCE_NAMES:
        for pair in pairs:
            if len(pair.references) > 1:
                first, second, *_ = pair.references
                raise DataError(
                    f"{first} and {second} have the same name but for the ending; rename or "
                    "remove one of them."
                )
    if not pairs:
        raise DataError(f"{root} holds no pairs in layout {layout!r}: {expectation(layout)}")
    kept = set(frames_of_sequences([pair.name for pair in pairs], frame_step))
    return Dataset(layout, [pair for pair in pairs if pair.name in kept], unpaired)


def expectation(layout: str) -> str:
    """Return what a layout expects, in a sentence."""
    info = LAYOUTS[layout]
    return f"{info.title} is expected as {info.folders}; it is to be had from {info.source}."


def frames_of_sequences(names: Sequence[str], frame_step: int) -> list[str]:
    """Return every ``frame_step``-th name of each sequence (folder), the first included."""
    kept: list[str] = []
    sequences: dict[str, int] = {}
    for name in names:
        sequence = name.rpartition("/")[0]
        place = sequences[sequence] = sequences.get(sequence, -1) + 1
        if place % frame_step == 0:
            kept.append(name)
    return kept


# A function of a path below the root that returns whether the image is blurred or sharp and the
# name by which it is matched; None for files that are neither.
Place = tuple[Literal["blurred", "sharp"], str] | None


def _by_folder(blurred: set[str], sharp: set[str]) -> Callable[[Path], Place]:
    def place(path: Path) -> Place:
        parts = path.with_suffix("").parts
        for number, part in enumerate(parts[:-1]):
            for kind, names in (("blurred", blurred), ("sharp", sharp)):
                if part.lower() in names:
                    name = "/".join([*parts[:number], *parts[number + 1 :]])
                    return ("blurred" if kind == "blurred" else "sharp"), name
        return None

    return place


def _reds(path: Path) -> Place:
    parts = path.with_suffix("").parts
    for kind, ending in (("blurred", "_blur"), ("sharp", "_sharp")):
        if any(part.endswith(ending) for part in parts[:-1]):
            name = "/".join(part.removesuffix(ending) for part in parts)
            return ("blurred" if kind == "blurred" else "sharp"), name
    return None


def _realblur(path: Path) -> Place:
    found = _by_folder({"blur"}, {"gt"})(path)
    if found is None:
        return None
    kind, name = found
    folder, _, file = name.rpartition("/")
    file = re.sub(r"^(blur|gt)_", "", file)
    return kind, f"{folder}/{file}" if folder else file


def _koehler(path: Path) -> Place:
    blurred = re.fullmatch(r"blurry_?(\d+)_(\d+)", path.stem, re.IGNORECASE)
    if blurred:
        return "blurred", f"{int(blurred[1])}_{int(blurred[2])}"
    sharp = re.fullmatch(r"(?:ground_?truth|image)_?(\d+)(?:_(\d+))?(?:_\d+)?", path.stem, re.I)
    if sharp:
        return "sharp", f"{int(sharp[1])}" + (f"_{int(sharp[2])}" if sharp[2] else "")
    return None


def _koehler_references(name: str) -> Iterator[str]:
    # The places on the image's own trajectory; else the image by itself.
    yield name
    yield name.partition("_")[0]


_LAI = re.compile(r"(?P<image>.+)_(?:kernel|gyro)_\d+")


def _lai(path: Path) -> Place:
    if any(part.lower() in _SHARP for part in path.parts[:-1]):
        return "sharp", path.stem
    return ("blurred", path.stem) if _LAI.fullmatch(path.stem) else None


def _lai_references(name: str) -> Iterator[str]:
    match = _LAI.fullmatch(name)
    assert match is not None
    yield match["image"]


_PLACES: dict[str, Callable[[Path], Place]] = {
    "pairs": _by_folder(_BLURRED, _SHARP),
    "darkshake": _by_folder(_BLURRED, _SHARP),
    "gopro": _by_folder({"blur"}, {"sharp"}),
    "reds": _reds,
    "realblur": _realblur,
    "koehler": _koehler,
    "lai": _lai,
}
_REFERENCE_NAMES: dict[str, Callable[[str], Iterator[str]]] = {
    "koehler": _koehler_references,
    "lai": _lai_references,
}


# --- Splits


def exdark_training_names(list_file: Path) -> list[str] | None:
    """Return the names that ExDark's own list marks as training images.

    Returns
    -------
    list of str or None
        None if the file is not ExDark's list.

    Raises
    ------
    DataError
        The file cannot be read, or begins as ExDark's list and goes on as another.
    """
    lines = read_lines(list_file)
    if not lines or [column.strip().lower() for column in lines[0].split("|")] != _EXDARK_HEADER:
        return None
    names = []
    for row in lines[1:]:
        columns = row.rsplit(maxsplit=len(_EXDARK_HEADER) - 1)
        if len(columns) < len(_EXDARK_HEADER) or columns[-1] not in _EXDARK_SPLITS:
            raise DataError(
                f"{list_file} begins as ExDark's list does, but its row {row!r} is not a name "
                "and four numbers, of which the last is 1, 2 or 3."
            )
        if columns[-1] == _EXDARK_TRAINING:
            names.append(columns[0])
    return names


def read_lines(list_file: Path) -> list[str]:
    """Return the lines of a list that are neither empty nor comments.

    Raises
    ------
    DataError
        It cannot be read.
    """
    try:
        # With "-sig": some editors begin a file with a byte order mark, which is no name.
        text = list_file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The list {list_file} cannot be read: {error}.") from error
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def random_split(names: Sequence[str], count: int, seed: int) -> tuple[list[str], list[str]]:
    """Return ``count`` names chosen at random and the others, both in their order.

    The same names and seed give the same split on every machine and with every version.
    """
    chosen = set(random.Random(seed).sample(sorted(names), count))
    return [name for name in names if name in chosen], [n for n in names if n not in chosen]
