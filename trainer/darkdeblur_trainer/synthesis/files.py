"""Synthesised pairs and kernels as files, for other programs and for the eye."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from napari_darkdeblur.imagefiles import write_image

from ..config import ConfigError
from ..config_files import parse_override, parse_section
from ..data import cache_images, common_value_ranges, default_cache_folder, images_by_stem
from ..data.crops import central_crop
from .degradation import Degradation
from .pairs import PairSynthesizer


def degradation_from_options(preset: str, settings: Sequence[str]) -> Degradation:
    """Return a preset with some settings changed.

    Parameters
    ----------
    preset : str
        Name of the preset.
    settings : sequence of str
        ``"key=value"`` each, the value in YAML.

    Raises
    ------
    ConfigError
        The preset or a key is unknown, a value is not YAML, or it is out of range.
    """
    content: dict[str, Any] = {"preset": preset}
    for setting in settings:
        key, value = parse_override(setting)
        content[key] = value
    return parse_section(Degradation, content)


def write_pairs(
    source: Path,
    target: Path,
    degradation: Degradation,
    *,
    seed: int = 0,
    each: int = 1,
    cache_folder: Path | None = None,
    overwrite: bool = False,
) -> tuple[int, dict[str, str]]:
    """Write ``target/blurred/NAME.png`` and ``target/sharp/NAME.png`` for every sharp image.

    The pair keeps the image's size: beyond its border the image is continued by mirroring. All
    images have one value range, see `common_value_ranges`; pairs of images of more than 8 bits
    have 16 bits.

    Parameters
    ----------
    source : pathlib.Path
        Folder of sharp images; subfolders are kept.
    target : pathlib.Path
        Folder to which the pairs are written.
    degradation : Degradation
        Degradation that makes the blurred images.
    seed : int
        The same seed makes the same pairs.
    each : int
        Number of pairs to make from every image.
    cache_folder : pathlib.Path, optional
        Folder for decoded images; by default in the user's cache folder.
    overwrite : bool
        Whether existing files may be replaced.

    Returns
    -------
    count : int
        Number of pairs.
    left_out : dict of str
        Images that cannot be used, by path, and why.

    Raises
    ------
    DataError
        No image can be used, they are almost black, or two have the same name but for the ending.
    FileExistsError
        A file is there already, and ``overwrite`` is false.
    """
    if each < 1:
        raise ConfigError(f"--each must be at least 1, not {each}.")
    synthesizer = PairSynthesizer([degradation], seed)
    margin = synthesizer.margin
    named = images_by_stem(source)
    suffixes = [f"_{variant}" for variant in range(each)] if each > 1 else [""]
    jobs = [
        (str(path), Path(f"{name}{suffix}.png"), place * each + variant)
        for place, (name, path) in enumerate(named.items())
        for variant, suffix in enumerate(suffixes)
    ]
    for _, file, _ in jobs:
        for kind in ("blurred", "sharp"):
            if (target / kind / file).exists() and not overwrite:
                raise FileExistsError(
                    f"{target / kind / file} exists; give --overwrite to replace it."
                )
    cache = cache_images(list(named.values()), cache_folder or default_cache_folder())
    cache = replace(cache, value_ranges=common_value_ranges([cache]))
    usable = [str(path) for path in named.values() if str(path) not in cache.left_out]
    places = {path: place for place, path in enumerate(usable)}
    jobs = [job for job in jobs if job[0] in places]
    for path, file, index in tqdm(jobs, desc="pairs", unit="pair", disable=None):
        place = places[path]
        image = cache.image(place)
        wide = central_crop(image, image.shape[1] + 2 * margin, image.shape[2] + 2 * margin)
        pair = synthesizer(wide[None], [index])
        write = _eight_bit if int(cache.bits[place]) == 8 else _sixteen_bit
        for kind, made in (("blurred", pair.blurred[0]), ("sharp", pair.sharp[0])):
            output = target / kind / file
            output.parent.mkdir(parents=True, exist_ok=True)
            write_image(output, write(made), overwrite=overwrite)
    return len(jobs), cache.left_out


def write_kernel_sheet(
    target: Path,
    degradation: Degradation,
    *,
    count: int = 96,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Draw kernels side by side, each as bright as its largest value, four times enlarged.

    Raises
    ------
    FileExistsError
        The file is there already, and ``overwrite`` is false.
    """
    if count < 1:
        raise ConfigError(f"--count must be at least 1, not {count}.")
    synthesizer = PairSynthesizer([degradation], seed)
    kernels = synthesizer.kernels(range(count))
    shown = (kernels / kernels.amax(dim=(1, 2), keepdim=True)) ** 0.5
    # A lighter line between the cells, so that an empty margin is not read as the next cell's.
    cells = F.pad(shown, (0, 1, 0, 1), value=0.25)
    across = math.ceil(math.sqrt(count))
    missing = -count % across
    cells = torch.cat([cells, torch.zeros(missing, *cells.shape[1:])])
    rows = cells.view(-1, across, *cells.shape[1:]).permute(0, 2, 1, 3)
    sheet = rows.reshape(rows.shape[0] * rows.shape[1], -1)
    enlarged = sheet.repeat_interleave(4, dim=0).repeat_interleave(4, dim=1)
    write_image(target, _eight_bit(enlarged[None])[:, :, 0], overwrite=overwrite)


def _eight_bit(image: Tensor) -> NDArray[np.uint8]:
    values: NDArray[np.float32] = image.clamp(0, 1).permute(1, 2, 0).numpy()
    return np.rint(values * 255).astype(np.uint8)


def _sixteen_bit(image: Tensor) -> NDArray[np.uint16]:
    values: NDArray[np.float64] = image.clamp(0, 1).permute(1, 2, 0).double().numpy()
    return np.rint(values * 65535).astype(np.uint16)
