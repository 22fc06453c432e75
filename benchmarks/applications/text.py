"""Text: what Tesseract reads in a dark and shaken page before and after restoring it."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from skimage import data

from napari_darkdeblur.arguments import CommandError

from .images import (
    IMAGES,
    Application,
    Metric,
    Sample,
    Settings,
    photograph_versions,
    shown_photograph,
)

# Height of the letters' em in pixels; a small letter is about half as high.
_FONT_SIZES = (16, 24)
_PAGES_PER_SIZE = 3
_PAGE = (192, 352)  # height and width in pixels
_QUICK_PAGE = (100, 200)
_KERNELS_OF_THE_PHOTOGRAPH = 3
_PAPER, _INK = 225, 35
# In sizes of the font. Its own space is narrower, and Tesseract joins words even in sharp pages.
_SPACE = 0.3

# Tesseract wants letters of some twenty pixels, and light that is the same all over the page.
_ENLARGED = 3
_LIGHT_SCALE = 20.0  # standard deviation in pixels

_VOCABULARY = (
    "able bridge candle dark early field garden harbour island journey kitchen lantern market "
    "night ocean paper quiet river shadow table under valley winter yellow zebra morning window "
    "street letter camera sharp number people water summer mountain forest silver copper music "
    "the and with from over when every light hand moving slow station bread orange green train"
)
_WORDS = _VOCABULARY.split()

# What stands in the upper 140 rows of scikit-image's `page`, read by eye.
PHOTOGRAPHED = (
    "Region-based segmentation "
    "Let us first determine markers of the coins and the background. These markers are pixels "
    "that we can label unambiguously as either object or background. Here, the markers are found "
    "at the two extreme parts of the histogram of grey values:"
)
PHOTOGRAPHED_ROWS = 140


def samples(settings: Settings) -> Iterator[Sample]:
    """Read rendered pages and a photographed one.

    Raises
    ------
    CommandError
        There is no Tesseract, or it cannot read.
    """
    tesseract()
    for blur in settings.blurs:
        for number, (kind, name, page, text) in enumerate(_scenes(settings)):
            versions, used = photograph_versions(page, blur, number, settings)
            measured, captions = {}, {}
            for image in IMAGES:
                read = recognise(versions[image])
                words, errors = words_found(text, read), character_error_rate(text, read)
                measured[image] = {"words": 100 * words, "errors": 100 * errors}
                captions[image] = f"{100 * words:.0f} % of words, {100 * errors:.0f} % errors"
            shown = {image: shown_photograph(versions[image]) for image in IMAGES}
            yield Sample(kind, name, blur, measured, shown, captions, used)


def _scenes(settings: Settings) -> Iterator[tuple[str, str, NDArray[np.uint8], str]]:
    """Yield kind, name, page and text."""
    if settings.quick:
        page, text = render_page(24, settings.seed, _QUICK_PAGE)
        yield "rendered, 24 px", "0", page, text
        return
    for size in _FONT_SIZES:
        for place in range(_PAGES_PER_SIZE):
            page, text = render_page(size, settings.seed + place, _PAGE)
            yield f"rendered, {size} px", str(place), page, text
    photograph: NDArray[np.uint8] = data.page()[:PHOTOGRAPHED_ROWS]
    for kernel in range(_KERNELS_OF_THE_PHOTOGRAPH):
        yield "photographed", f"page, kernel {kernel}", photograph, PHOTOGRAPHED


def render_page(
    size: int, seed: int, shape: tuple[int, int] = _PAGE
) -> tuple[NDArray[np.uint8], str]:
    """Draw words at random, dark on light, in the font that comes with Pillow.

    Parameters
    ----------
    size : int
        Size of the font in pixels.
    seed : int
        Number of the page, from which with the size its words follow.
    shape : tuple of int
        Height and width of the page in pixels.

    Returns
    -------
    page : ndarray of uint8
        (H, W).
    text : str
        Its words, with a space between two.
    """
    rng = np.random.default_rng([seed, size])
    font = ImageFont.load_default(size)
    height, width = shape
    page = Image.new("L", (width, height), _PAPER)
    draw = ImageDraw.Draw(page)
    words = []
    for top in range(size, height - 2 * size, round(1.5 * size)):
        left = float(size)
        while True:
            word = str(rng.choice(_WORDS))
            right = left + draw.textlength(word, font)
            if right > width - size:
                break
            draw.text((left, top), word, _INK, font)
            words.append(word)
            left = right + _SPACE * size
    return np.asarray(page), " ".join(words)


def tesseract() -> str:
    """Return the path of the ``tesseract`` command.

    Raises
    ------
    CommandError
        There is none.
    """
    path = shutil.which("tesseract")
    if path is None:
        raise CommandError(
            "The text cannot be read, since there is no tesseract command on PATH; install the "
            "Debian package tesseract-ocr."
        )
    return path


def recognise(image: NDArray[np.uint8]) -> str:
    """Return the text that Tesseract reads in an image.

    It is given every image in the same way: grey, divided by the light around (a Gaussian mean),
    stretched to black and white, and enlarged three times.

    Parameters
    ----------
    image : ndarray of uint8
        (H, W, 3), sRGB.

    Raises
    ------
    CommandError
        There is no Tesseract, or it fails.
    """
    grey = image.mean(axis=2)
    grey /= ndimage.gaussian_filter(grey, _LIGHT_SCALE, mode="nearest") + 1
    black, white = np.percentile(grey, (0.5, 99.5))
    grey = np.clip((grey - black) / max(white - black, 1e-6), 0, 1)
    page = Image.fromarray(np.rint(255 * grey).astype(np.uint8))
    page = page.resize((page.width * _ENLARGED, page.height * _ENLARGED), Image.Resampling.BICUBIC)
    png = io.BytesIO()
    page.save(png, "PNG")
    # One uniform block of text. Its threads only wait for one another on images of this size.
    done = subprocess.run(
        [tesseract(), "stdin", "stdout", "--psm", "6", "-l", "eng"],
        input=png.getvalue(),
        capture_output=True,
        env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
        raise CommandError(f"Tesseract failed and said: {said[-1]}")
    return done.stdout.decode(errors="replace")


def words_found(reference: str, read: str) -> float:
    """Return which share of the words was read.

    Words are runs of letters and digits, upper and lower case being the same. A word counts as
    often as it stands in the reference and was read; order and place do not matter.

    Parameters
    ----------
    reference, read : str
        What stands there and what was read.

    Returns
    -------
    float
        In 0..1; nan if the reference has no words.
    """
    there, found = (Counter(re.findall(r"[^\W_]+", text.casefold())) for text in (reference, read))
    return (there & found).total() / there.total() if there else float("nan")


def character_error_rate(reference: str, read: str) -> float:
    """Return the edit distance (Levenshtein) divided by the length of the reference.

    Upper and lower case differ; any white space is one space.

    Parameters
    ----------
    reference, read : str
        What stands there and what was read.

    Returns
    -------
    float
        From 0; above 1 if more was read than stands there; nan if the reference is empty.
    """
    there, found = (" ".join(text.split()) for text in (reference, read))
    if not there:
        return float("nan")
    distances = list(range(len(found) + 1))
    for row, wanted in enumerate(there, start=1):
        before = distances
        distances = [row]
        for column, letter in enumerate(found, start=1):
            changed = before[column - 1] + (letter != wanted)
            distances.append(min(before[column] + 1, distances[-1] + 1, changed))
    return distances[-1] / len(there)


def _notes(settings: Settings) -> str:
    return (
        "Words found: share of the reference's words (runs of letters and digits, any case, in "
        "any order, each as often as it stands there) that Tesseract read. Character errors: edit "
        "distance divided by the reference's length. What was rendered is known; what was "
        "photographed (the upper part of scikit-image's `page`) was read by eye."
    )


TEXT = Application(
    "text",
    (Metric("words", "words found (%)", ".1f"), Metric("errors", "character errors (%)", ".1f")),
    _notes,
    samples,
)
