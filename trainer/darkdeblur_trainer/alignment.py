"""Real pairs: a blurred photograph and a sharp one of the same scene, brought into one frame.

Two photographs of a scene never cover each other exactly, and are never equally bright. Here the
sharp one is moved onto the blurred one, so that the blurred one's noise stays as it was (paper,
section 2.3.2: SIFT, RANSAC homography, crop).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import SIFT, match_descriptors
from skimage.measure import ransac
from skimage.registration import phase_cross_correlation
from skimage.transform import ProjectiveTransform, rescale, warp

from napari_darkdeblur.atomic import write_csv_rows
from napari_darkdeblur.dataset_evaluation import as_unit_range, read_pixels
from napari_darkdeblur.errors import DarkDeblurError
from napari_darkdeblur.imagefiles import write_image
from napari_darkdeblur.srgb import linear_to_srgb, srgb_to_linear

Image = NDArray[np.float64]

# Features are found in images of at most this side: they need no more, and it takes seconds.
_LARGEST_SIDE = 1000
# A descriptor's nearest match is at most this share as far as its second nearest (Lowe 2004).
_RATIO = 0.85
# Distances in pixels of the reduced image at which a match agrees with a homography.
_INLIER_DISTANCE = 3.0
_TRIALS = 3000
# Fewer matches that agree than this, or a smaller share of all, are no proof of the same scene.
_LEAST_INLIERS, _LEAST_SHARE = 12, 0.15
# A pair whose frames have less than this share in common, or is scaled by more than this factor, is
# none that was taken from one place.
_LEAST_OVERLAP, _LARGEST_SCALE = 0.4, 1.6
# Blur and noise leave tiles at this distance in pixels from where they should be; more is wrong.
_LARGEST_RESIDUAL = 2.0
# Side of the tiles by whose shifts a homography is refined, and how often.
_TILE, _ROUNDS = 96, 3


class AlignmentError(DarkDeblurError, ValueError):
    """Two images cannot be aligned; the message says why."""


@dataclass(frozen=True)
class Alignment:
    """How a reference was brought into the frame of a blurred image.

    Parameters
    ----------
    homography : ndarray
        Matrix (3, 3) that maps (x, y, 1) in the blurred image to the reference, in pixels.
    matches : int
        Number of features that were matched.
    inliers : int
        Number of matches that agree with the homography.
    residual : float
        Root mean square distance in pixels of tiles from where the homography puts them.
    gains : tuple of float
        Factors on the reference's channels that give it the exposure of the blurred image; on
        linear light for 8-bit and colour images, else on the values.
    crop : tuple of int
        Top, bottom, left and right of the common rectangle in the blurred image, in pixels.
    """

    homography: NDArray[np.float64]
    matches: int
    inliers: int
    residual: float
    gains: tuple[float, ...]
    crop: tuple[int, int, int, int]

    @property
    def stops(self) -> float:
        """Exposure of the blurred image over that of the reference, in photographic stops."""
        return math.log2(float(np.mean(self.gains)))


def align_pair(
    blurred: NDArray[Any], reference: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], Alignment]:
    """Bring a sharp image of the same scene into the frame and the exposure of a blurred one.

    Parameters
    ----------
    blurred, reference : ndarray
        Images (H, W) or (H, W, 3), uint8, uint16 or floats; sizes may differ, kinds may not.

    Returns
    -------
    blurred, reference : ndarray
        Common rectangle of both, of one shape and of their dtypes. The blurred pixels are
        unchanged.
    alignment : Alignment
        Homography, its quality, and the match of exposure.

    Raises
    ------
    AlignmentError
        They are of different kinds, or do not show the same scene.
    """
    if blurred.ndim != reference.ndim or blurred.dtype != reference.dtype:
        raise AlignmentError(
            f"the blurred image is {_kind(blurred)} and the reference is {_kind(reference)}."
        )
    grey = [_structure(image) for image in (blurred, reference)]
    homography, matches, inliers = _homography_from_features(*grey)
    height, width = blurred.shape[:2]
    _require_plausible(homography, (height, width))
    homography, residual = _refined(homography, *grey)
    if not residual <= _LARGEST_RESIDUAL:
        raise AlignmentError(
            f"after alignment parts of them still are {residual:.1f} pixels apart: the camera "
            "moved too far, or the scene did."
        )
    top, bottom, left, right = _common_rectangle(homography, (height, width), reference.shape[:2])
    if (bottom - top) * (right - left) < _LEAST_OVERLAP * height * width:
        raise AlignmentError("their frames have too little in common.")
    light, encoded = _as_light(reference)
    moved = warp(
        light, ProjectiveTransform(homography), output_shape=(height, width), order=3, mode="edge"
    )
    inside = np.s_[top:bottom, left:right]
    gains = _gains(_as_light(blurred)[0][inside], moved[inside])
    matched = _from_light(moved[inside] * np.array(gains), encoded, reference.dtype)
    alignment = Alignment(homography, matches, inliers, residual, gains, (top, bottom, left, right))
    return np.ascontiguousarray(blurred[inside]), matched, alignment


def _kind(image: NDArray[Any]) -> str:
    return f"{'RGB' if image.ndim == 3 else 'grey'} of dtype {image.dtype}"


def _structure(image: NDArray[Any]) -> Image:
    """Return what features are found in: grey values in 0..1, the dark ones lifted."""
    grey = image.astype(np.float64)
    grey = grey @ [0.299, 0.587, 0.114] if grey.ndim == 3 else grey
    low, high = np.percentile(grey, (0.5, 99.5))
    if high <= low:
        raise AlignmentError("one of them has no structure.")
    scaled: Image = np.sqrt(np.clip((grey - low) / (high - low), 0, 1))
    return scaled


def _features(image: Image, softness: float) -> tuple[Image, Any]:
    """Return places (x, y) in pixels of the whole image and descriptors of SIFT features."""
    scale = min(1.0, _LARGEST_SIDE / max(image.shape))
    small = image if scale == 1 else rescale(image, scale, anti_aliasing=True)
    if softness > 0:
        small = ndimage.gaussian_filter(small, softness)
    sift = SIFT(upsampling=1)
    try:
        sift.detect_and_extract(small)
    except RuntimeError:  # no feature at all
        return np.empty((0, 2)), np.empty((0, 128), np.uint8)
    factors = np.array(image.shape) / np.array(small.shape)
    places: Image = ((sift.keypoints + 0.5) * factors - 0.5)[:, ::-1]
    return places, sift.descriptors


def _homography_from_features(
    blurred: Image, reference: Image
) -> tuple[NDArray[np.float64], int, int]:
    """Return the homography, the number of matches, and how many of them agree with it."""
    from_blurred, blurred_descriptors = _features(blurred, 0.0)
    distance = _INLIER_DISTANCE * max(1.0, max(blurred.shape) / _LARGEST_SIDE)
    best: tuple[NDArray[np.float64], int, int] | None = None
    most = 0
    # A soft image of the reference looks more like a blurred one.
    for softness in (0.0, 2.0, 4.0):
        places, descriptors = _features(reference, softness)
        if min(len(places), len(from_blurred)) < _LEAST_INLIERS:
            continue
        pairs = match_descriptors(
            blurred_descriptors, descriptors, max_ratio=_RATIO, cross_check=True
        )
        most = max(most, len(pairs))
        if len(pairs) < _LEAST_INLIERS:
            continue
        source, target = from_blurred[pairs[:, 0]], places[pairs[:, 1]]
        model, agree = ransac(
            (source, target),
            ProjectiveTransform,
            min_samples=4,
            residual_threshold=distance,
            max_trials=_TRIALS,
            rng=0,
        )
        count = 0 if agree is None else int(agree.sum())
        enough = count >= max(_LEAST_INLIERS, _LEAST_SHARE * len(pairs))
        if model and enough and (best is None or count > best[2]):
            best = (np.asarray(model.params, dtype=np.float64), len(pairs), count)
    if best is None:
        raise AlignmentError(
            f"they do not show the same scene, or too little of it: of {most} matching features "
            f"fewer than {_LEAST_INLIERS} agree."
        )
    return best


def _mapped(homography: NDArray[np.float64], points: Sequence[tuple[float, float]]) -> Image:
    mapped: Image = ProjectiveTransform(homography)(np.asarray(points, dtype=np.float64))
    return mapped


def _corners(shape: Sequence[int]) -> list[tuple[float, float]]:
    bottom, right = shape[0] - 1.0, shape[1] - 1.0
    return [(0.0, 0.0), (right, 0.0), (right, bottom), (0.0, bottom)]


def _require_plausible(homography: NDArray[np.float64], shape: tuple[int, int]) -> None:
    """Refuse homographies that no two photographs from one place can have."""
    corners = _mapped(homography, _corners(shape))
    sides = np.hypot(*(np.roll(corners, -1, axis=0) - corners).T)
    wanted = np.array([shape[1] - 1, shape[0] - 1] * 2)
    ratios = sides / wanted
    if ratios.max() > _LARGEST_SCALE or ratios.min() < 1 / _LARGEST_SCALE:
        raise AlignmentError("they do not show the same scene: what matches is scaled or bent.")


def _refined(
    homography: NDArray[np.float64], blurred: Image, reference: Image
) -> tuple[NDArray[np.float64], float]:
    """Refine a homography by the shifts between tiles; return the residual in pixels, too."""
    side = min(_TILE, min(blurred.shape) // 3)
    residual = math.inf
    for turn in range(_ROUNDS):
        moved = warp(
            reference, ProjectiveTransform(homography), output_shape=blurred.shape, order=1,
            cval=np.nan,
        )  # fmt: skip
        places, shifts = [], []
        for top in range(0, blurred.shape[0] - side + 1, max(side // 2, 1)):
            for left in range(0, blurred.shape[1] - side + 1, max(side // 2, 1)):
                window = np.s_[top : top + side, left : left + side]
                first, second = blurred[window], moved[window]
                if np.isnan(second).any() or min(first.std(), second.std()) < 0.02:
                    continue
                taper = np.outer(np.hanning(side), np.hanning(side))
                shift, _, _ = phase_cross_correlation(
                    (first - first.mean()) * taper,
                    (second - second.mean()) * taper,
                    upsample_factor=20,
                    normalization=None,
                )
                places.append((left + (side - 1) / 2, top + (side - 1) / 2))
                shifts.append(shift[::-1])
        if len(places) < 6:
            break
        points, offsets = np.array(places), np.array(shifts)
        # A tile of water or sky is anywhere; most tiles tell the truth.
        middle = np.median(offsets, axis=0)
        spread = np.hypot(*(offsets - middle).T)
        kept = spread <= max(1.0, 3 * float(np.median(spread)))
        residual = float(np.sqrt((offsets[kept] ** 2).sum(axis=1).mean()))
        if turn == _ROUNDS - 1 or kept.sum() < 6:
            break
        # What is seen at a place in the moved reference belongs a shift further.
        seen = _mapped(homography, [tuple(place) for place in points[kept] - offsets[kept]])
        homography = _least_squares_homography(points[kept], seen)
    return homography, residual


def _least_squares_homography(source: Image, target: Image) -> NDArray[np.float64]:
    """Return the homography that maps points (N, 2) to others, in coordinates of about 1.

    Not by scikit-image, whose ``ProjectiveTransform.estimate`` has another name from 0.26 on.
    """
    scale = float(np.abs(np.concatenate([source, target])).max())
    (x, y), (u, v) = (source / scale).T, (target / scale).T
    zero, one = np.zeros_like(x), np.ones_like(x)
    rows = [
        np.stack([x, y, one, zero, zero, zero, -u * x, -u * y], axis=1),
        np.stack([zero, zero, zero, x, y, one, -v * x, -v * y], axis=1),
    ]
    entries, *_ = np.linalg.lstsq(np.concatenate(rows), np.concatenate([u, v]), rcond=None)
    unit = np.diag([scale, scale, 1.0])
    found: NDArray[np.float64] = unit @ np.append(entries, 1).reshape(3, 3) @ np.linalg.inv(unit)
    return found


def _common_rectangle(
    homography: NDArray[np.float64], shape: tuple[int, int], reference: Sequence[int]
) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right, in the blurred image, of what both frames show."""
    back = np.linalg.inv(homography)
    corners = _mapped(np.asarray(back, dtype=np.float64), _corners(reference))
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners
    # Two pixels inside: the interpolation needs neighbours.
    left = max(0, math.ceil(max(x0, x3)) + 2) if max(x0, x3) > 0 else 0
    top = max(0, math.ceil(max(y0, y1)) + 2) if max(y0, y1) > 0 else 0
    right, bottom = math.floor(min(x1, x2)) - 1, math.floor(min(y2, y3)) - 1
    right = shape[1] if right >= shape[1] - 1 else right
    bottom = shape[0] if bottom >= shape[0] - 1 else bottom
    return top, max(bottom, top), left, max(right, left)


def _as_light(image: NDArray[Any]) -> tuple[Image, bool]:
    """Return light in 0..1 and whether the image's values encode it by sRGB's curve."""
    values = as_unit_range(image)
    encoded = image.ndim == 3 or image.dtype == np.uint8
    return (srgb_to_linear(values) if encoded else values), encoded


def _from_light(light: Image, encoded: bool, dtype: np.dtype[Any]) -> NDArray[Any]:
    values = linear_to_srgb(light) if encoded else light
    if not np.issubdtype(dtype, np.integer):
        return values.astype(dtype)
    most = np.iinfo(dtype).max
    return np.rint(np.clip(values, 0, 1) * most).astype(dtype)


def _gains(blurred: Image, reference: Image) -> tuple[float, ...]:
    """Return the factor on each channel of the reference that makes it as bright."""
    channels = [blurred, reference]
    if blurred.ndim == 2:
        channels = [image[:, :, None] for image in channels]
    gains = []
    for first, second in zip(*(np.moveaxis(image, 2, 0) for image in channels), strict=True):
        # Of light that neither saturates nor drowns; soft, so that blur makes no difference.
        soft = [ndimage.gaussian_filter(image, 8) for image in (first, second)]
        usable = (soft[0] < 0.8) & (soft[1] < 0.8) & (np.minimum(*soft) > 0.002)
        if usable.sum() < 100:
            usable = np.ones_like(usable)
        total = float(soft[1][usable].sum())
        gains.append(float(soft[0][usable].sum()) / total if total > 0 else 1.0)
    return tuple(gains)


@dataclass(frozen=True)
class AlignmentRow:
    """One line of the table of a folder of pairs.

    Parameters
    ----------
    name : str
        Name of the pair.
    alignment : Alignment, optional
        How it was aligned; none if it was refused.
    problem : str
        Why it was refused; empty if it was not.
    """

    name: str
    alignment: Alignment | None
    problem: str = ""


def align_files(
    blurred: Path, reference: Path, target: Path, name: str, *, overwrite: bool = False
) -> AlignmentRow:
    """Align two image files and write ``blurred/NAME.png`` and ``sharp/NAME.png``, or say why not.

    Parameters
    ----------
    blurred, reference : pathlib.Path
        Files of the blurred and of the sharp image.
    target : pathlib.Path
        Folder for the pairs; the folder can be trained on with ``data.layout=pairs``.
    name : str
        Name of the pair, which may hold subfolders.
    overwrite : bool
        Whether existing files may be replaced.

    Raises
    ------
    FileExistsError, ImageFileError
        A file cannot be written.
    """
    outputs = [target / kind / f"{name}.png" for kind in ("blurred", "sharp")]
    for output in outputs:
        if output.exists() and not overwrite:
            raise FileExistsError(f"{output} exists; give --overwrite to replace it.")
    try:
        first, second, alignment = align_pair(read_pixels(blurred), read_pixels(reference))
    except (DarkDeblurError, OSError) as error:
        return AlignmentRow(name, None, str(error))
    for output, pixels in zip(outputs, (first, second), strict=True):
        output.parent.mkdir(parents=True, exist_ok=True)
        if np.issubdtype(pixels.dtype, np.floating):
            pixels = np.rint(np.clip(pixels, 0, 1) * 65535).astype(np.uint16)
        write_image(output, pixels, overwrite=overwrite)
    return AlignmentRow(name, alignment)


_HEAD = [
    "pair", "matches", "inliers", "residual (px)", "shift x (px)", "shift y (px)", "rotation (deg)",
    "scale", "exposure (stops)", "width", "height", "problem",
]  # fmt: skip


def table_lines(rows: Sequence[AlignmentRow]) -> list[list[str]]:
    """Return the table of aligned pairs as cells, the first line being the head."""
    lines = [_HEAD]
    for row in rows:
        found = row.alignment
        if found is None:
            lines.append([row.name, *[""] * (len(_HEAD) - 2), row.problem])
            continue
        top, bottom, left, right = found.crop
        middle = ((left + right) / 2, (top + bottom) / 2)
        here, beside = _mapped(found.homography, [middle, (middle[0] + 1, middle[1])])
        step = beside - here
        lines.append(
            [
                row.name,
                str(found.matches),
                str(found.inliers),
                f"{found.residual:.2f}",
                f"{here[0] - middle[0]:+.2f}",
                f"{here[1] - middle[1]:+.2f}",
                f"{math.degrees(math.atan2(step[1], step[0])):+.2f}",
                f"{math.hypot(*step):.4f}",
                f"{found.stops:+.2f}",
                str(right - left),
                str(bottom - top),
                "",
            ]
        )
    return lines


def write_table(path: Path, rows: Sequence[AlignmentRow]) -> None:
    """Write the table of aligned pairs as a CSV file.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    write_csv_rows(path, table_lines(rows))
