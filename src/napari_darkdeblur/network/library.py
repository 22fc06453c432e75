"""Finding weights by name: the bundled ones and those in the user's models folder."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

import platformdirs

from ..weights import AUTO_MODEL as AUTO_MODEL
from ..weights import DEFAULT_MODEL as DEFAULT_MODEL
from ..weights import KERNEL_NET
from ..weights import THOROUGH_MODEL as THOROUGH_MODEL
from .weights_file import LoadedModel, WeightsError, load_weights_file, read_card

MODELS_FOLDER_VARIABLE = "DARKDEBLUR_MODELS"


@dataclass(frozen=True)
class ModelEntry:
    """A weights file that can be loaded by name.

    Parameters
    ----------
    name : str
        File name without its ending.
    path : pathlib.Path
        Path of the file.
    origin : {"bundled", "user"}
        Whether it came with the program or lies in the models folder.
    summary : str
        The card's line, or why the file cannot be used.
    usable : bool
        Whether its header could be read.
    guides : int
        Number of images that it is given beside the picture, see `GeneratorConfig`.
    """

    name: str
    path: Path
    origin: Literal["bundled", "user"]
    summary: str
    usable: bool
    guides: int = 0


def models_folder() -> Path:
    """Return the user's models folder, which need not exist.

    It is ``$DARKDEBLUR_MODELS``, or ``darkdeblur/models`` in the user data folder.
    """
    chosen = os.environ.get(MODELS_FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return Path(platformdirs.user_data_dir("darkdeblur", appauthor=False)) / "models"


def list_models(user_folder: Path | None = None) -> list[ModelEntry]:
    """Return all models that have a name: bundled ones first, then the user's, by name.

    Parameters
    ----------
    user_folder : pathlib.Path, optional
        Where the user's are, if not in the `models_folder`; it need not exist.
    """
    entries = []
    origins: tuple[tuple[Literal["bundled", "user"], Path], ...] = (
        ("bundled", Path(str(files("napari_darkdeblur.weights")))),
        ("user", user_folder or models_folder()),
    )
    for origin, folder in origins:
        for path in sorted(folder.glob("[!.]*.safetensors")):
            if path.stem == KERNEL_NET:
                continue
            try:
                card = read_card(path)
            except (WeightsError, OSError) as error:
                entry = ModelEntry(path.stem, path, origin, f"cannot be used: {error}", False)
            else:
                guides = card.generator.guides
                entry = ModelEntry(path.stem, path, origin, card.summary, True, guides)
            entries.append(entry)
    return entries


def find_kernel_net() -> Path | None:
    """Return the file of the network that finds kernels: the user's, the bundled one, or None."""
    folders = (models_folder(), Path(str(files("napari_darkdeblur.weights"))))
    paths = (folder / f"{KERNEL_NET}.safetensors" for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def has_model(name: str) -> bool:
    """Return whether a model can be loaded by its name."""
    by_name = {entry.name: entry for entry in list_models()}
    return name in by_name and by_name[name].usable


def find_weights(path_or_name: str | os.PathLike[str] = DEFAULT_MODEL) -> Path:
    """Return the file that a name or path stands for, without reading it.

    Parameters
    ----------
    path_or_name : str or path-like
        A name such as ``"small-v2"``, or a path. What holds a path separator or ends in
        ``.safetensors`` is a path. A file in the models folder takes precedence over a
        bundled one of the same name.

    Returns
    -------
    pathlib.Path
        For a path, the path itself, whether or not there is such a file.

    Raises
    ------
    WeightsError
        No such name.
    """
    text = os.fspath(path_or_name)
    path = Path(text)
    if isinstance(path_or_name, Path) or path.suffix == ".safetensors" or path.name != text:
        return path
    by_name = {entry.name: entry.path for entry in list_models()}
    if text not in by_name:
        close = difflib.get_close_matches(text, by_name, n=1)
        if close:
            hint = f"did you mean {close[0]!r}?"
        elif by_name:
            hint = f"there are {', '.join(map(repr, sorted(by_name)))}."
        else:
            hint = f"none is bundled, and the models folder {models_folder()} has none."
        raise WeightsError(f"There is no model named {text!r}; {hint}")
    return by_name[text]


def load_weights(path_or_name: str | os.PathLike[str] = DEFAULT_MODEL) -> LoadedModel:
    """Load weights by name (bundled or in the models folder) or by path.

    Parameters
    ----------
    path_or_name : str or path-like
        Name or path, see `find_weights`.

    Returns
    -------
    LoadedModel
        Its network is in evaluation mode, fp32, on the CPU.

    Raises
    ------
    FileNotFoundError
        No such file.
    WeightsError
        No such name, or a file that cannot be used; see `load_weights_file`.
    """
    return load_weights_file(find_weights(path_or_name))
