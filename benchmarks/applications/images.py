"""Images before and after restoring, what was measured in them, and the picture that shows them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from darkdeblur_trainer.synthesis import Degradation, PairSynthesizer
from napari_darkdeblur import LoadedModel, deblur
from napari_darkdeblur.comparison import brighten
from napari_darkdeblur.demo import EXPOSURE, READ_NOISE, SHOT_GAIN
from napari_darkdeblur.restore import PSFFound, RestoreOptions, find_psf

# Rms radius of the kernels in pixels; what one sees across is about four times as much.
BLURS = (1.5, 3.0, 5.0)
QUICK_BLURS = (2.0,)

# The images of a sample, in the order in which they are shown.
BEFORE, REFERENCE = "before", "reference"
# By `deblur` with its defaults, which ask for no kernel; with the kernel that is searched in the
# image, which is the command line's default; and with the true one, which nobody has.
AFTER, AFTER_FOUND, AFTER_TRUE = "after", "after, found PSF", "after, true PSF"
IMAGES = (BEFORE, AFTER, AFTER_FOUND, AFTER_TRUE, REFERENCE)

# Every kernel is a path of one camera, all over the image, of exactly the size that is asked for.
_BLURRED: dict[str, Any] = {
    "unblurred": 0.0,
    "camera_turn_probability": 0.0,
    "moving_object_probability": 0.0,
    "defocus_disc": 0.0,
    "defocus_radius": (0.0, 0.0),
}
# Two stops under, with the noise of `darkdeblur demo`: that of a phone at ISO 200.
_PHOTOGRAPH: dict[str, Any] = {
    **_BLURRED,
    "preset": "night",
    "exposure": (EXPOSURE, EXPOSURE),
    "highlight_probability": 0.0,
    "shot_gain": (SHOT_GAIN, SHOT_GAIN),
    "read_noise": (READ_NOISE, READ_NOISE),
    "jpeg_probability": 0.0,
}
# 500 photons in a white pixel, a quarter of them in the brightest that there is; a 12-bit camera.
_MICROGRAPH: dict[str, Any] = {
    **_BLURRED,
    "preset": "microscopy",
    "exposure": (EXPOSURE, EXPOSURE),
    "shot_gain": (2e-3, 2e-3),
    "read_noise": (1e-3, 1e-3),
    "bits": 12,
}
CAMERA_WHITE = 4095

_GAP, _LINE = 12, 26
_PAPER, _INK = (255, 255, 255), (30, 30, 30)


@dataclass(frozen=True)
class Settings:
    """What the command was asked for.

    Parameters
    ----------
    model : LoadedModel
        Model that restores.
    quick : bool
        Whether little is measured, to see that it works.
    seed : int
        Seed from which kernels, noise and rendered scenes follow.
    detector : str, optional
        ``"module:function"`` of the user's detector.
    images : pathlib.Path, optional
        Folder of the user's sharp images, for the detector.
    annotations : pathlib.Path, optional
        COCO annotations of these images.
    count : int
        Largest number of the user's images that are used.
    kernels : int
        How many kernels each of the user's images is blurred with, for each size.
    """

    model: LoadedModel
    quick: bool = False
    seed: int = 0
    detector: str | None = None
    images: Path | None = None
    annotations: Path | None = None
    count: int = 10
    kernels: int = 1

    @property
    def blurs(self) -> tuple[float, ...]:
        """Sizes of the kernels, rms radii in pixels."""
        return QUICK_BLURS if self.quick else BLURS


@dataclass(frozen=True)
class Sample:
    """One scene with one blur, and what was measured in each of its images.

    Parameters
    ----------
    kind, name : str
        What is shown, and which one of its kind it is.
    blur : float
        Rms radius of the kernel in pixels.
    measured : dict of dict of float
        By the image's name in `IMAGES`, then by metric; nan where there is none.
    shown : dict of ndarray
        By the image's name: (H, W, 3) uint8, sRGB, for the picture.
    captions : dict of str
        By the image's name: what the picture says of it.
    psf_used : bool
        Whether a kernel was found with confidence; else ``psf="auto"`` gives what none gives.
    """

    kind: str
    name: str
    blur: float
    measured: dict[str, dict[str, float]]
    shown: dict[str, NDArray[np.uint8]] = field(repr=False)
    captions: dict[str, str]
    psf_used: bool


@dataclass(frozen=True)
class Metric:
    """A column of the table.

    Parameters
    ----------
    key : str
        Its name in `Sample.measured`.
    heading : str
        Its name in the table.
    form : str
        Format of its mean; the standard deviation has the same without a sign.
    """

    key: str
    heading: str
    form: str


@dataclass(frozen=True)
class Application:
    """Something that is done with images.

    Parameters
    ----------
    name : str
        Its name on the command line.
    metrics : sequence of Metric
        What is measured.
    notes : callable
        Says, of the settings, how it was measured; stands below the table.
    samples : callable
        Measures: yields samples.
    """

    name: str
    metrics: Sequence[Metric]
    notes: Callable[[Settings], str]
    samples: Callable[[Settings], Iterator[Sample]]


class Versions(NamedTuple):
    """An image as it should be, spoilt, and restored in several ways.

    Parameters
    ----------
    images : dict of ndarray
        Images by the names in `IMAGES`, all of one shape and type.
    psf_used : bool
        Whether a kernel was found with confidence, so that it was used.
    """

    images: dict[str, NDArray[Any]]
    psf_used: bool


def photograph_versions(
    scene: NDArray[np.uint8], blur: float, number: int, settings: Settings
) -> Versions:
    """Spoil a sharp photograph as a hand-held phone does in the dark, and restore it.

    Parameters
    ----------
    scene : ndarray of uint8
        (H, W) or (H, W, 3), sRGB. What is beyond its border is taken for its mirror image.
    blur : float
        Rms radius of the kernel in pixels.
    number : int
        Number of the scene, from which with the seed the path of its kernel and its noise
        follow: with another blur it has the same path, larger or smaller.
    settings : Settings
        Seed and model.

    Returns
    -------
    Versions
        (H, W, 3) uint8, sRGB; all as dark as the blurred one.
    """
    colour = scene if scene.ndim == 3 else np.repeat(scene[..., None], 3, axis=2)
    blurred, sharp, kernel = _pair(colour, _PHOTOGRAPH, blur, number, settings)
    before, reference = (np.rint(255 * image).astype(np.uint8) for image in (blurred, sharp))
    return _with_restored(before, reference, "YXC", kernel, settings.model)


def micrograph_versions(
    light: NDArray[np.float32], blur: float, number: int, settings: Settings
) -> Versions:
    """Spoil a frame of a microscope as a moving stage does in too little light, and restore it.

    Parameters
    ----------
    light : ndarray
        (H, W), white being 1.
    blur, number, settings
        See `photograph_versions`.

    Returns
    -------
    Versions
        (H, W) uint16, counts of a 12-bit camera.
    """
    frame = np.repeat(light[..., None], 3, axis=2)
    blurred, sharp, kernel = _pair(frame, _MICROGRAPH, blur, number, settings)
    # A grey camera has one noise, not three.
    before, reference = (
        np.rint(CAMERA_WHITE * image[..., 0]).astype(np.uint16) for image in (blurred, sharp)
    )
    return _with_restored(before, reference, "YX", kernel, settings.model)


def _pair(
    scene: NDArray[Any],
    degradation: dict[str, Any],
    blur: float,
    number: int,
    settings: Settings,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return a blurred image and its reference, (H, W, 3) in 0..1, and the kernel."""
    content = {**degradation, "blur_radius": (blur, blur)}
    synthesizer = PairSynthesizer([Degradation.model_validate(content)], settings.seed)
    m = synthesizer.margin
    wide = np.pad(scene, ((m, m), (m, m), (0, 0)), mode="symmetric")
    made = synthesizer(torch.from_numpy(wide).permute(2, 0, 1)[None], [number])
    blurred, sharp = (image[0].permute(1, 2, 0).numpy() for image in (made.blurred, made.sharp))
    return blurred, sharp, made.kernels[0].numpy()


def _with_restored(
    before: NDArray[Any],
    reference: NDArray[Any],
    axes: str,
    kernel: NDArray[np.float32],
    model: LoadedModel,
) -> Versions:
    restore = partial(deblur, before, model, axes=axes)
    # As `deblur` with ``psf="auto"`` does, which does not tell what it has found.
    *_, found = find_psf(before, RestoreOptions(model, axes=axes))
    assert isinstance(found, PSFFound)
    images = {
        BEFORE: before,
        AFTER: restore(),
        AFTER_FOUND: restore(psf=found.to_use),
        AFTER_TRUE: restore(psf=kernel),
        REFERENCE: reference,
    }
    return Versions(images, found.confident)


def shown_photograph(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a dark photograph as bright as the scene was."""
    return brighten(image, 1 / EXPOSURE)


def figure(samples: Sequence[Sample]) -> NDArray[np.uint8]:
    """Draw samples below one another, each with its images side by side.

    Parameters
    ----------
    samples : sequence of Sample
        At least one.

    Returns
    -------
    ndarray of uint8
        (H', W', 3), sRGB.
    """
    large, small = ImageFont.load_default(18), ImageFont.load_default(15)
    widths = [image.shape[1] for sample in samples for image in sample.shown.values()]
    widths += [
        math.ceil(small.getlength(text))
        for sample in samples
        for text in (*sample.captions.values(), *IMAGES)
    ]
    column = max(widths) + _GAP
    heights = [sample.shown[BEFORE].shape[0] for sample in samples]
    page = Image.new(
        "RGB",
        (_GAP + len(IMAGES) * column, sum(3 * _LINE + height + _GAP for height in heights)),
        _PAPER,
    )
    draw = ImageDraw.Draw(page)
    top = 0
    for sample, height in zip(samples, heights, strict=True):
        found = "PSF found" if sample.psf_used else "no PSF found with confidence"
        title = f"{sample.kind}: blur of {sample.blur:g} px rms, {found}"
        draw.text((_GAP, top + _LINE / 2), title, _INK, large, anchor="lm")
        for place, name in enumerate(IMAGES):
            left = _GAP + place * column
            draw.text((left, top + 1.5 * _LINE), name, _INK, small, anchor="lm")
            page.paste(Image.fromarray(sample.shown[name]), (left, top + 2 * _LINE))
            caption = (left, top + height + 2.5 * _LINE)
            draw.text(caption, sample.captions[name], _INK, small, anchor="lm")
        top += height + 3 * _LINE + _GAP
    return np.asarray(page)
