"""Pairs of the benchmark: blur by its size, with little and with much noise; microscopy frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data
from torch import Tensor

from ..config import ConfigError
from ..config_files import parse_override, parse_section
from ..data import ImageCache
from ..synthesis import PRESETS, Degradation
from ..validation import ValidationPair, degraded

# Rms radius of the kernel in pixels, from and to.
SIZES = ((0.7, 1.5), (1.5, 3.0), (3.0, 6.0), (6.0, 12.0))
NOISE: dict[str, dict[str, Any]] = {
    "little": {"shot_gain": (2e-5, 2e-4), "read_noise": (1e-4, 1e-3)},
    "much": {"shot_gain": (1e-3, 1e-2), "read_noise": (1e-3, 1e-2)},
}
# Night photographs, all of them blurred, and all over by one kernel.
_UNIFORM: dict[str, Any] = {
    "preset": "night",
    "unblurred": 0.0,
    "camera_turn_probability": 0.0,
    "moving_object_probability": 0.0,
}
# A disc out of focus is never larger than 4 pixels rms (see `kernels`), so that the largest blurs
# have none.
_NO_DISC_FROM = 4.0
_LUMA = torch.tensor([0.299, 0.587, 0.114])
# Few frames there are; each is degraded in several ways.
_FRAME_PAIRS = 16


@dataclass(frozen=True)
class Group:
    """Pairs that are measured together, a row of the table.

    Parameters
    ----------
    name : str
        Name of the group in the table.
    degradation : Degradation
        Degradation that makes the pairs from sharp images.
    frames : bool
        Whether they are frames of a microscope rather than photographs.
    """

    name: str
    degradation: Degradation
    frames: bool = False

    def count(self, images: int, photographs: int) -> int:
        """Return how many pairs it has, if at most so many are wanted of so many photographs."""
        return min(images, _FRAME_PAIRS if self.frames else photographs)


def _by_size() -> dict[str, dict[str, Any]]:
    return {
        f"{low:g}-{high:g} px, {noise} noise": {
            **_UNIFORM,
            **settings,
            "blur_radius": (low, high),
            **({"defocus_disc": 0.0} if low >= _NO_DISC_FROM else {}),
        }
        for low, high in SIZES
        for noise, settings in NOISE.items()
    }


# By the name that a user gives: the rows of it and their settings.
SETS: dict[str, dict[str, dict[str, Any]]] = {
    "sizes": _by_size(),
    # A fourth of the samples may turn, and another fourth may move (see `SettingsTable`).
    "varying": {
        "varying": {
            "preset": "night",
            "unblurred": 0.0,
            "camera_turn_probability": 0.25,
            "moving_object_probability": 0.25,
        }
    },
    # Levin's recorded hand shakes have rms radii of 2.6 to 9.4 pixels and are smooth.
    "smooth-shake": {
        "smooth shake": {
            **_UNIFORM,
            **NOISE["little"],
            "blur_radius": (2.6, 9.4),
            "markov_shake": 0.0,
            "straight_motion": 0.0,
            "defocus_disc": 0.0,
        }
    },
    "paper": {"paper": {"preset": "paper"}},
    "unblurred": {"unblurred": {"preset": "unblurred"}},
    "microscopy": {"microscopy": {"preset": "microscopy"}},
}


def benchmark_groups(names: Sequence[str], settings: Sequence[str] = ()) -> list[Group]:
    """Return the rows of a table.

    Parameters
    ----------
    names : sequence of str
        Names of groups: keys of `SETS`, or presets.
    settings : sequence of str
        ``"key=value"`` each, the value in YAML: what is changed in all of them.

    Raises
    ------
    ConfigError
        A name or a setting is unknown, or a value is out of range.
    """
    changed = dict(parse_override(setting) for setting in settings)
    groups = []
    for name in dict.fromkeys(names):
        if name not in SETS and name not in PRESETS:
            known = ", ".join([*SETS, *sorted(PRESETS.keys() - SETS.keys())])
            raise ConfigError(f"There is no group {name!r}; there are {known}.")
        for row, content in SETS.get(name, {name: {"preset": name}}).items():
            degradation = parse_section(Degradation, {**content, **changed})
            groups.append(Group(row, degradation, frames=name == "microscopy"))
    return groups


def group_pairs(
    groups: Sequence[Group],
    photographs: ImageCache,
    frames: ImageCache | None,
    images: int,
    crop: int,
) -> Iterator[ValidationPair]:
    """Yield the pairs of all groups, each with its noise-free blurred image.

    Parameters
    ----------
    groups : sequence of Group
        Groups whose pairs are made; see `benchmark_groups`.
    photographs : ImageCache
        Sharp photographs that are degraded.
    frames : ImageCache, optional
        Sharp frames of a microscope; if not given, those that come with scikit-image.
    images : int
        Largest number of photographs that are used, from the head, and of pairs of frames.
    crop : int
        Side of the central crop in pixels.
    """
    for group in groups:
        count = group.count(images, len(photographs))
        if not group.frames:
            named = ((photographs.names[i], photographs.image(i)) for i in range(count))
            yield from degraded(group.name, named, group.degradation, crop, clean=True)
            continue
        grey = microscopy_frames() if frames is None else grey_frames(frames)
        repeated = islice(cycle(grey), count)
        for pair in degraded(group.name, repeated, group.degradation, crop, clean=True):
            # A grey camera has one noise, not three.
            assert pair.clean is not None
            yield replace(
                pair, blurred=pair.blurred[:1], sharp=pair.sharp[:1], clean=pair.clean[:1]
            )


def microscopy_frames() -> list[tuple[str, Tensor]]:
    """Return grey frames by name, each (3, H, W) uint8 with three equal channels.

    They are all that scikit-image's package holds of a useful size; none is downloaded: a cell in
    saline, by quantitative phase (CC0), and a stained tissue section in bright field, of which the
    luma is taken (no known copyright).
    """
    cell: NDArray[np.uint8] = data.cell()
    tissue: NDArray[np.uint8] = data.immunohistochemistry()
    colour = torch.from_numpy(tissue.copy()).permute(2, 0, 1)
    return [
        ("cell", torch.from_numpy(cell.copy()).expand(3, -1, -1)),
        ("immunohistochemistry", _grey(colour)),
    ]


def grey_frames(cache: ImageCache) -> list[tuple[str, Tensor]]:
    """Return the luma of a cache's images by name, (3, H, W) with three equal channels."""
    return [(name, _grey(cache.image(index))) for index, name in enumerate(cache.names)]


def _grey(image: Tensor) -> Tensor:
    luma = torch.einsum("c,chw->hw", _LUMA, image.float())
    return (luma.round().to(torch.uint8) if image.dtype == torch.uint8 else luma).expand(3, -1, -1)
