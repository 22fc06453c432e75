"""Does restoring change a measurement? Objects are counted and measured before and after.

What people do with such images: an Otsu threshold, then number, area and mean brightness of what is
above it. The frames are rendered, so that nothing but blur and noise stands between the measured
image and the reference, which is measured in the same way.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label
from torch import Tensor
from tqdm import tqdm

from napari_darkdeblur.atomic import write_csv_rows

from ..synthesis import Degradation
from ..validation import ValidationPair, as_saved, degraded
from .methods import Method
from .scores import INPUT
from .tables import aligned, in_markdown

Image = NDArray[np.float64]

FRAMES = 4
# Smaller ones are noise: fewer pixels than any object that is rendered.
_LEAST_AREA = 12
# Standard deviation in pixels of a microscope's or a lens's blur, which no restoring is to undo.
_OPTICS = 1.0
_HEAD = ["objects", "image", "restored by", "number", "of", "area (%)", "brightness (%)"]

# What is done to the frames. "Slightly" is less than a model's worst rows and more than nothing.
CONDITIONS: dict[str, dict[str, Any]] = {
    "sharp, little noise": {"unblurred": 1.0, "shot_gain": (1e-4,) * 2, "read_noise": (5e-4,) * 2},
    "sharp, noisy": {"unblurred": 1.0, "shot_gain": (5e-3,) * 2, "read_noise": (5e-3,) * 2},
    "slightly blurred": {
        "unblurred": 0.0,
        "blur_radius": (1.5, 1.5),
        "defocus_disc": 0.0,
        "defocus_radius": (0.0, 0.0),
        "shot_gain": (1e-4,) * 2,
        "read_noise": (5e-4,) * 2,
    },
}


@dataclass(frozen=True)
class Objects:
    """What was measured in one image.

    Parameters
    ----------
    number : int
        Connected parts above the threshold.
    area : float
        Mean area of an object in pixels.
    brightness : float
        Mean value inside the objects, in 0..1.
    """

    number: int
    area: float
    brightness: float


@dataclass(frozen=True)
class ObjectScore:
    """What was measured in an image, restored by some method, beside its reference."""

    kind: str
    condition: str
    image: str
    method: str
    found: Objects
    reference: Objects


def measure_objects(image: Image) -> Objects:
    """Measure what is above the Otsu threshold (IEEE Trans. SMC 9(1), 1979).

    Parameters
    ----------
    image : ndarray
        Grey image (H, W) in 0..1.

    Returns
    -------
    Objects
        Parts of fewer than 12 pixels are left out. Without any, all are zero.
    """
    labels = (
        label(image > threshold_otsu(image)) if np.ptp(image) > 0 else np.zeros(image.shape, int)
    )
    areas = np.bincount(labels.ravel())
    kept = areas >= _LEAST_AREA
    kept[0] = False
    number = int(kept.sum())
    if number == 0:
        return Objects(0, 0.0, 0.0)
    return Objects(number, float(areas[kept].mean()), float(image[kept[labels]].mean()))


def nuclei(seed: int, side: int, *, saturated: bool) -> Tensor:
    """Render a frame of fluorescent nuclei: textured ellipses that do not touch.

    Parameters
    ----------
    seed : int
        Number of the frame, from which its content follows.
    side : int
        Width and height of the frame in pixels.
    saturated : bool
        Whether a third of the nuclei is brighter than white.

    Returns
    -------
    Tensor
        (3, side, side) float32, light; three equal channels. White is 1.
    """
    rng = np.random.default_rng([seed, 1])

    def brightness(place: int) -> float:
        bright = saturated and place % 3 == 0
        return float(rng.uniform(1.4, 2.2) if bright else rng.uniform(0.3, 0.7))

    texture = ndimage.gaussian_filter(rng.standard_normal((side, side)), 2)
    texture = 1 + 0.12 * texture / texture.std()
    shapes = _ellipses(rng, side, (6.0, 13.0), brightness)
    light = ndimage.gaussian_filter(0.04 + shapes * texture, _OPTICS)
    return torch.from_numpy(light).float().expand(3, -1, -1)


def lamps(seed: int, side: int) -> Tensor:
    """Render a dark picture with lamps: discs at white, before a dim textured background.

    Returns
    -------
    Tensor
        (3, side, side) float32, encoded values; see `nuclei`.
    """
    rng = np.random.default_rng([seed, 2])
    ground = ndimage.gaussian_filter(rng.standard_normal((side, side)), 4)
    ground = np.clip(0.1 + 0.03 * ground / ground.std(), 0.01, None)
    shapes = _ellipses(rng, side, (3.0, 9.0), lambda _: 1.0, round_ones=True)
    # A lamp is several times as bright as white, so that its disc is white up to its rim.
    light = ndimage.gaussian_filter(np.maximum(ground, 3 * shapes), _OPTICS)
    return torch.from_numpy(np.clip(light, 0, 1)).float().expand(3, -1, -1)


def beads(seed: int, side: int) -> Tensor:
    """Render a frame of fluorescent beads: small discs of unlike brightness on a dark ground.

    Returns
    -------
    Tensor
        (3, side, side) float32, light; see `nuclei`.
    """
    rng = np.random.default_rng([seed, 3])
    shapes = _ellipses(
        rng, side, (2.5, 4.5), lambda _: float(rng.uniform(0.5, 0.9)), round_ones=True
    )
    light = ndimage.gaussian_filter(0.02 + shapes, _OPTICS)
    return torch.from_numpy(light).float().expand(3, -1, -1)


def _ellipses(
    rng: np.random.Generator,
    side: int,
    radii: tuple[float, float],
    brightness: Callable[[int], float],
    *,
    round_ones: bool = False,
) -> Image:
    """Draw ellipses that lie apart, one in each cell of a grid."""
    cell = int(2 * radii[1] + 14)
    cells = max(side // cell, 1)
    y, x = np.mgrid[:side, :side].astype(float)
    image = np.zeros((side, side))
    for place in range(cells**2):
        row, column = divmod(place, cells)
        along = rng.uniform(*radii)
        across = along if round_ones else along * rng.uniform(0.6, 1.0)
        angle = rng.uniform(0, np.pi)
        dy = y - (row + 0.5) * cell - rng.uniform(-3, 3)
        dx = x - (column + 0.5) * cell - rng.uniform(-3, 3)
        u, v = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        edge = (1 - np.hypot(u / along, v / across)) * across
        image += brightness(place) * np.clip(edge + 0.5, 0, 1)
    return image


# By name: a frame of a seed and a side, and whether its values are encoded light (a photograph's).
_KINDS: dict[str, tuple[Callable[[int, int], Tensor], bool]] = {
    "nuclei": (lambda seed, side: nuclei(seed, side, saturated=False), False),
    "nuclei, some white": (lambda seed, side: nuclei(seed, side, saturated=True), False),
    "beads": (beads, False),
    "lamps": (lamps, True),
}


def object_pairs(
    crop: int, own: Sequence[tuple[str, Tensor]] = ()
) -> Iterator[tuple[str, str, ValidationPair]]:
    """Yield kind, condition and pair: `FRAMES` rendered frames of each kind, and frames given.

    Parameters
    ----------
    crop : int
        Side of the frames in pixels.
    own : sequence of (str, Tensor)
        Further sharp frames of bright objects, (3, H, W) uint8 with equal channels.
    """
    kinds: list[tuple[str, list[tuple[str, Tensor]], bool]] = [
        (kind, [(f"{kind} {seed}", render(seed, crop)) for seed in range(FRAMES)], encoded)
        for kind, (render, encoded) in _KINDS.items()
    ]
    if own:
        kinds.append(("own frames", list(own), False))
    for kind, frames, encoded in kinds:
        for condition, settings in CONDITIONS.items():
            content = {"preset": "microscopy", "exposure": (1.0, 1.0), **settings}
            degradation = Degradation.model_validate({**content, "linear_light": encoded})
            for pair in degraded(kind, frames, degradation, crop):
                yield kind, condition, pair


def object_scores(
    pairs: Iterable[tuple[str, str, ValidationPair]],
    methods: Mapping[str, Method],
    *,
    progress: bool = False,
) -> list[ObjectScore]:
    """Measure the input and every method of restoring.

    Parameters
    ----------
    pairs : iterable of (str, str, ValidationPair)
        Kinds, conditions and pairs, as `object_pairs` yields them.
    methods : mapping of str to callable
        Methods by name; see `score_methods`.
    progress : bool
        Whether to show a progress bar.
    """
    found = []
    for kind, condition, colour in tqdm(
        pairs, desc="objects", unit="image", disable=None if progress else True
    ):
        pair = replace(colour, group=kind, blurred=colour.blurred[:1], sharp=colour.sharp[:1])
        reference = measure_objects(as_saved(pair.sharp))
        restored = {name: method(pair).clamp(0, 1).cpu() for name, method in methods.items()}
        for method, image in {INPUT: pair.blurred, **restored}.items():
            measured = measure_objects(as_saved(image))
            found.append(ObjectScore(kind, condition, pair.name, method, measured, reference))
    return found


def object_table(found: Sequence[ObjectScore], *, markdown: bool) -> str:
    """Format the bias of area and brightness, in percent of the reference; means over frames.

    Parameters
    ----------
    found : sequence of ObjectScore
        Measurements, as `object_scores` returned them.
    markdown : bool
        As a table in Markdown, or with aligned columns.
    """
    together: dict[tuple[str, str, str], list[ObjectScore]] = {}
    for score in found:
        together.setdefault((score.kind, score.condition, score.method), []).append(score)
    lines = []
    for names, some in together.items():
        counted, true = (
            sum(objects.number for objects in many)
            for many in ([s.found for s in some], [s.reference for s in some])
        )
        area = float(np.mean([s.found.area / s.reference.area - 1 for s in some]))
        light = float(np.mean([s.found.brightness / s.reference.brightness - 1 for s in some]))
        lines.append([*names, str(counted), str(true), f"{100 * area:+.1f}", f"{100 * light:+.1f}"])
    format_table = in_markdown if markdown else aligned
    return format_table(_HEAD, lines, names=3)


def write_objects(path: Path, found: Sequence[ObjectScore]) -> None:
    """Write every measurement as a CSV file; nothing is rounded.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    rows: list[list[Any]] = [
        ["objects", "image", "frame", "restored by", "number", "area", "brightness",
         "reference number", "reference area", "reference brightness"]
    ]  # fmt: skip
    for s in found:
        measured = [v for o in (s.found, s.reference) for v in (o.number, o.area, o.brightness)]
        rows.append([s.kind, s.condition, s.image, s.method, *measured])
    write_csv_rows(path, rows)


def read_objects(path: Path) -> list[ObjectScore]:
    """Read what `write_objects` wrote.

    Raises
    ------
    OSError
        The file cannot be read.
    KeyError, ValueError
        It is another kind of file.
    """
    with path.open(newline="", encoding="utf-8") as stream:
        return [
            ObjectScore(
                line["objects"], line["image"], line["frame"], line["restored by"],
                *(
                    Objects(
                        int(line[f"{prefix}number"]),
                        float(line[f"{prefix}area"]),
                        float(line[f"{prefix}brightness"]),
                    )
                    for prefix in ("", "reference ")
                ),
            )
            for line in csv.DictReader(stream)
        ]  # fmt: skip
