"""Nuclei: whether restoring biases what is measured of objects above an Otsu threshold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage import data
from skimage.filters import threshold_otsu
from skimage.segmentation import find_boundaries

from darkdeblur_trainer.benchmark.objects import measure_objects, nuclei
from napari_darkdeblur.imagefiles import read_image

from .images import (
    CAMERA_WHITE,
    REFERENCE,
    Application,
    Metric,
    Sample,
    Settings,
    micrograph_versions,
)

_FRAMES = 3
_SIDE = 224
_QUICK_SIDE = 128
_OUTLINE = (255, 221, 51)


def human_mitosis() -> Path | None:
    """Return scikit-image's `human_mitosis`, if it was downloaded once; nothing is downloaded."""
    path = Path(data.data_dir) / "mitosis.tif"
    return path if path.is_file() else None


def samples(settings: Settings) -> Iterator[Sample]:
    """Measure the objects of rendered frames, and of scikit-image's if it is there."""
    for blur in settings.blurs:
        for number, (kind, name, light) in enumerate(frames(settings)):
            versions, used = micrograph_versions(light, blur, number, settings)
            # As a microscope's images are shown, from the reference's darkest to its brightest.
            black, white = np.percentile(versions[REFERENCE], (0.1, 99.9))
            found = {
                name: measure_objects(image / CAMERA_WHITE) for name, image in versions.items()
            }
            true = found[REFERENCE]
            measured, captions, shown = {}, {}, {}
            for image, objects in found.items():
                some = objects.number > 0 and true.number > 0
                area = 100 * (objects.area / true.area - 1) if some else float("nan")
                light_bias = 100 * (objects.brightness / true.brightness - 1) if some else np.nan
                measured[image] = {
                    "number": float(objects.number),
                    "area": objects.area if objects.number else float("nan"),
                    "area bias": area,
                    "brightness bias": light_bias,
                }
                captions[image] = (
                    f"{objects.number} objects, area {area:+.1f} %, brightness {light_bias:+.1f} %"
                )
                shown[image] = _outlined(versions[image], black, white)
            yield Sample(kind, name, blur, measured, shown, captions, used)


def frames(settings: Settings) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    """Yield kind, name and light (H, W), white being 1, of the frames that are measured."""
    side = _QUICK_SIDE if settings.quick else _SIDE
    for place in range(1 if settings.quick else _FRAMES):
        frame = nuclei(settings.seed + place, side, saturated=False)[0].numpy()
        yield "nuclei, rendered", str(place), np.ascontiguousarray(frame)
    downloaded = None if settings.quick else human_mitosis()
    if downloaded is not None:
        pixels = read_image(downloaded).pixels
        whole = (np.asarray(pixels) / np.iinfo(pixels.dtype).max).astype(np.float32)
        for row in (0, 1):
            for column in (0, 1):
                part = whole[row * _SIDE :, column * _SIDE :][:_SIDE, :_SIDE]
                yield "human_mitosis", f"{row}{column}", np.ascontiguousarray(part)


def _outlined(image: NDArray[np.uint16], black: float, white: float) -> NDArray[np.uint8]:
    """Return an image for display, with the outlines of what is above the Otsu threshold."""
    grey = np.clip((image - black) / max(white - black, 1), 0, 1)
    colour = np.repeat(np.rint(255 * grey).astype(np.uint8)[..., None], 3, axis=2)
    if np.ptp(image):
        colour[find_boundaries(image > threshold_otsu(image), mode="inner")] = _OUTLINE
    return colour


def _notes(settings: Settings) -> str:
    there = "" if human_mitosis() else " scikit-image's `human_mitosis` has not been downloaded."
    return (
        "Objects: connected parts of 12 pixels and more above the Otsu threshold of each image. "
        "Area: their mean. Bias: deviation of the mean area, and of the mean brightness inside, "
        f"from the reference's.{there}"
    )


NUCLEI = Application(
    "nuclei",
    (
        Metric("number", "objects", ".1f"),
        Metric("area", "area (px)", ".1f"),
        Metric("area bias", "area bias (%)", "+.1f"),
        Metric("brightness bias", "brightness bias (%)", "+.1f"),
    ),
    _notes,
    samples,
)
