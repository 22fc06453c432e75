"""Detection and instance segmentation: what a detector of the user's finds before and after."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops

from napari_darkdeblur.arguments import CommandError
from napari_darkdeblur.datasets import find_images
from napari_darkdeblur.imagefiles import read_image

from .images import (
    IMAGES,
    REFERENCE,
    Application,
    Metric,
    Sample,
    Settings,
    photograph_versions,
    shown_photograph,
)

# From this overlap (intersection over union) on, a detection and an object are the same.
IOU = 0.5
_FRAME = (255, 221, 51)
_SMALLEST = 30  # pixels of an object of `bright_objects`

Box = tuple[float, float, float, float]
# What a detector returns: (box, label, score) each, or a label mask.
Answer = Sequence[tuple[Sequence[float], Any, float]] | NDArray[Any]
Detector = Callable[[NDArray[np.uint8]], Answer]


@dataclass(frozen=True)
class Detection:
    """An object in an image.

    Parameters
    ----------
    box : tuple of float
        Left, top, right and bottom in pixels; right and bottom are beyond the object.
    label : str, optional
        Its class; a mask has none, and may be any.
    score : float
        How sure the detector is; only the order matters.
    mask : ndarray of bool, optional
        (H, W), its pixels.
    """

    box: Box
    label: str | None = None
    score: float = 1.0
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Score:
    """How far detections agree with what is there.

    Parameters
    ----------
    precision : float
        Share of the detections that are right, in 0..1; nan if there are none.
    recall : float
        Share of the objects that were found, in 0..1; nan if there are none.
    mean_iou : float
        Mean overlap of the detections that are right, in 0.5..1; nan if there are none.
    """

    precision: float
    recall: float
    mean_iou: float


def check_inputs(
    settings: Settings,
) -> tuple[Detector, list[Path], dict[str, list[Detection]] | None]:
    """Return the detector, the images, and the annotations if there are any.

    Raises
    ------
    DarkDeblurError
        They are not named, cannot be read, or do not belong together.
    """
    if settings.detector is None or settings.images is None:
        raise CommandError(
            "Detection takes a detector and sharp images; name them with --detector "
            "module:function and --images FOLDER."
        )
    detector = load_detector(settings.detector)
    files = find_images(settings.images)[: 2 if settings.quick else settings.count]
    annotated = None if settings.annotations is None else read_annotations(settings.annotations)
    missing = [path.name for path in files if annotated is not None and path.name not in annotated]
    if missing:
        raise CommandError(
            f"{settings.annotations} has no image named {missing[0]}, which is in "
            f"{settings.images}; add it to the annotations or take it out of the folder."
        )
    return detector, files, annotated


def samples(settings: Settings) -> Iterator[Sample]:
    """Run the user's detector on the user's images, blurred and dark, and restored.

    Raises
    ------
    CommandError
        The detector, the images or the annotations cannot be used; see `check_inputs`.
    """
    detector, files, annotated = check_inputs(settings)
    for blur in settings.blurs:
        for place, path in enumerate(files):
            scene = _photograph(path)
            for kernel in range(settings.kernels):
                number = place * settings.kernels + kernel
                versions, used = photograph_versions(scene, blur, number, settings)
                # The detector gets its images as a person would look at them.
                shown = {image: shown_photograph(versions[image]) for image in IMAGES}
                found = {
                    image: _detected(detector, f"{settings.detector}", path.name, shown[image])
                    for image in IMAGES
                }
                there = found[REFERENCE] if annotated is None else annotated[path.name]
                measured, captions, drawn = {}, {}, {}
                for image in IMAGES:
                    score = compare(found[image], there)
                    measured[image] = {
                        "found": float(len(found[image])),
                        "precision": 100 * score.precision,
                        "recall": 100 * score.recall,
                        "iou": score.mean_iou,
                    }
                    captions[image] = (
                        f"{len(found[image])} found, precision {100 * score.precision:.0f} %, "
                        f"recall {100 * score.recall:.0f} %"
                    )
                    drawn[image] = _with_boxes(shown[image], found[image])
                name = f"{path.name}, kernel {kernel}"
                yield Sample("your images", name, blur, measured, drawn, captions, used)


def load_detector(text: str) -> Detector:
    """Import a detector.

    Parameters
    ----------
    text : str
        ``"module:function"``; the module is looked for where Python looks, which begins with the
        folder that the command is run in.

    Raises
    ------
    CommandError
        There is no such thing.
    """
    module, colon, function = text.partition(":")
    if not (module and colon and function):
        raise CommandError(f"--detector takes module:function, not {text!r}.")
    try:
        detector = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise CommandError(f"The detector {text} cannot be imported: {error}.") from error
    if not callable(detector):
        raise CommandError(f"The detector {text} is no function but {detector!r}.")
    found: Detector = detector
    return found


def bright_objects(image: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Label what is above the Otsu threshold: a detector to try the command with.

    Parameters
    ----------
    image : ndarray of uint8
        (H, W, 3), sRGB.

    Returns
    -------
    ndarray of int
        (H, W), 0 where there is no object.
    """
    grey = image.mean(axis=2)
    labels: NDArray[np.int64] = label(grey > threshold_otsu(grey)) if np.ptp(grey) else label(grey)
    areas = np.bincount(labels.ravel())
    labels[areas[labels] < _SMALLEST] = 0
    return labels


def detections_of(answer: Answer, shape: tuple[int, int]) -> list[Detection]:
    """Return what a detector answered as detections.

    Parameters
    ----------
    answer : sequence of tuple, or ndarray of int
        ``(box, label, score)`` each, a box being left, top, right and bottom in pixels; or a
        label mask (H, W), 0 where there is no object.
    shape : tuple of int
        Height and width of the image.

    Raises
    ------
    ValueError
        It is neither.
    """
    if isinstance(answer, np.ndarray):
        if answer.shape != shape or answer.dtype.kind not in "iu":
            raise ValueError(
                f"a label mask has integers and the image's shape {shape}, not "
                f"{answer.dtype} of shape {answer.shape}"
            )
        parts = regionprops(answer.astype(np.int64))
        return [
            Detection((x0, y0, x1, y1), None, 1.0, answer == part.label)
            for part in parts
            for y0, x0, y1, x1 in [part.bbox]
        ]
    found = []
    for entry in answer:
        try:
            box, name, score = entry
            left, top, right, bottom = (float(edge) for edge in box)
            found.append(Detection((left, top, right, bottom), str(name), float(score)))
        except (TypeError, ValueError) as error:
            raise ValueError(
                "a detection is (box, label, score) with the box's left, top, right and bottom, "
                f"not {entry!r}"
            ) from error
    return found


def read_annotations(path: Path) -> dict[str, list[Detection]]:
    """Read the boxes of COCO annotations.

    Parameters
    ----------
    path : pathlib.Path
        JSON file with ``images``, ``annotations`` and ``categories``. Of an annotation
        ``image_id``, ``category_id`` and ``bbox`` are used; crowds are left out.

    Returns
    -------
    dict of list of Detection
        By the images' file names, without folders.

    Raises
    ------
    CommandError
        The file cannot be read, or is another kind of file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {image["id"]: Path(image["file_name"]).name for image in content["images"]}
        labels = {kind["id"]: str(kind["name"]) for kind in content["categories"]}
        there: dict[str, list[Detection]] = {name: [] for name in names.values()}
        for annotation in content["annotations"]:
            if not annotation.get("iscrowd", 0):
                x, y, width, height = annotation["bbox"]
                kind = labels[annotation["category_id"]]
                box = (float(x), float(y), float(x + width), float(y + height))
                there[names[annotation["image_id"]]].append(Detection(box, kind))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CommandError(
            f"{path} holds no COCO annotations of boxes ({type(error).__name__}: {error})."
        ) from error
    return there


def overlap(one: Detection, other: Detection) -> float:
    """Return the intersection over union, in 0..1: of the masks if both have one, else the boxes'.

    Parameters
    ----------
    one, other : Detection
        Objects of images of one size.
    """
    if one.mask is not None and other.mask is not None:
        union = np.count_nonzero(one.mask | other.mask)
        return np.count_nonzero(one.mask & other.mask) / union if union else 0.0
    width = min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])
    height = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    both = max(width, 0.0) * max(height, 0.0)
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (one.box, other.box))
    return both / (areas - both) if areas > both else 0.0


def compare(found: Sequence[Detection], there: Sequence[Detection]) -> Score:
    """Match detections with objects, and count.

    The surest detection comes first; it is right if an object of its class that no other has taken
    overlaps it by `IOU` or more, and takes the one that overlaps most.

    Parameters
    ----------
    found, there : sequence of Detection
        What was detected, and what is in the image.
    """
    left = list(there)
    overlaps = []
    for detection in sorted(found, key=lambda one: -one.score):
        candidates = [
            (overlap(detection, one), place)
            for place, one in enumerate(left)
            if one.label == detection.label or None in (one.label, detection.label)
        ]
        best, place = max(candidates, default=(0.0, -1))
        if best >= IOU:
            overlaps.append(best)
            del left[place]
    right = len(overlaps)
    return Score(
        right / len(found) if found else math.nan,
        right / len(there) if there else math.nan,
        sum(overlaps) / right if right else math.nan,
    )


def _photograph(path: Path) -> NDArray[np.uint8]:
    """Read an image as (H, W, 3) of 8 bits."""
    pixels = read_image(path).pixels
    if pixels.dtype not in (np.uint8, np.uint16):
        raise CommandError(f"{path} has {pixels.dtype} pixels; detection takes 8 or 16 bits.")
    if pixels.dtype == np.uint16:
        pixels = np.rint(pixels / 257).astype(np.uint8)
    colour = pixels[..., :3] if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(colour)


def _detected(
    detector: Detector, text: str, name: str, image: NDArray[np.uint8]
) -> list[Detection]:
    try:
        return detections_of(detector(image.copy()), image.shape[:2])
    except Exception as error:  # the user's code may raise anything
        raise CommandError(
            f"The detector {text} cannot be used on {name}: {type(error).__name__}: {error}."
        ) from error


def _with_boxes(image: NDArray[np.uint8], found: Sequence[Detection]) -> NDArray[np.uint8]:
    page = Image.fromarray(image)
    draw = ImageDraw.Draw(page)
    for detection in found:
        left, top, right, bottom = detection.box
        draw.rectangle(
            (left, top, max(right - 1, left), max(bottom - 1, top)), outline=_FRAME, width=2
        )
    return np.asarray(page)


def _notes(settings: Settings) -> str:
    there = (
        "what the detector finds in the sharp image (so its row is 100 % by definition)"
        if settings.annotations is None
        else f"the boxes in {settings.annotations.name}"
    )
    return (
        f"Detector {settings.detector}. The reference is {there}. A detection is right if its "
        f"intersection over union with an object of its class is {IOU:g} or more, each object "
        "counting once, the surest detection first; IoU is the mean of those that are right. "
        "The detector was given all images four times brighter, as bright as the scene was. An "
        "image in which nothing is found has no precision and no IoU, and is left out of them."
    )


DETECTION = Application(
    "detection",
    (
        Metric("found", "detections", ".1f"),
        Metric("precision", "precision (%)", ".1f"),
        Metric("recall", "recall (%)", ".1f"),
        Metric("iou", "IoU", ".2f"),
    ),
    _notes,
    samples,
)
