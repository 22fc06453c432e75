"""A picture that shows a blurred, a restored and a reference image side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .srgb import linear_to_srgb, srgb_to_linear

GAP = 12
CAPTION_HEIGHT = 40
FONT_SIZE = 22
SMALL_FONT_SIZE = 17
PAPER = (255, 255, 255)
INK = (30, 30, 30)
# Where the details are; light enough to be seen on a dark photograph and on a bright one.
FRAME = (255, 221, 51)


def brighten(image: NDArray[np.uint8], gain: float) -> NDArray[np.uint8]:
    """Multiply an sRGB image's light by a factor, for display.

    Parameters
    ----------
    image : ndarray of uint8
        Any shape.
    gain : float
        The factor; what exceeds white is clipped.

    Returns
    -------
    ndarray of uint8
        Of the same shape.
    """
    levels = np.arange(256) / 255
    table = np.rint(255 * linear_to_srgb(gain * srgb_to_linear(levels))).astype(np.uint8)
    brightened: NDArray[np.uint8] = table[image]
    return brightened


def comparison_figure(
    images: Sequence[NDArray[np.uint8]],
    captions: Sequence[str],
    details: Sequence[tuple[int, int]],
    *,
    gain: float,
) -> NDArray[np.uint8]:
    """Draw images side by side, captions above them and magnified details below.

    Parameters
    ----------
    images : sequence of ndarray of uint8
        (H, W, 3), sRGB, all of one shape.
    captions : sequence of str
        One for each image.
    details : sequence of tuple of int
        (row, column) of the centres of the details; they share the width of an image.
    gain : float
        Factor by which all are shown brighter; the footnote says it.

    Returns
    -------
    ndarray of uint8
        (H', W', 3), sRGB.
    """
    height, width = images[0].shape[:2]
    side = (width - GAP * (len(details) - 1)) // len(details)  # of a magnified detail
    magnification = 3
    crop = side // magnification
    detail_top = CAPTION_HEIGHT + height + GAP
    footnote_top = detail_top + side
    figure = Image.new(
        "RGB",
        (GAP + len(images) * (width + GAP), footnote_top + CAPTION_HEIGHT),
        PAPER,
    )
    draw = ImageDraw.Draw(figure)
    font = ImageFont.load_default(FONT_SIZE)

    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left = GAP + index * (width + GAP)
        panel = Image.fromarray(brighten(image, gain))
        draw.text((left, CAPTION_HEIGHT / 2), caption, INK, font, anchor="lm")
        figure.paste(panel, (left, CAPTION_HEIGHT))
        for number, (row, column) in enumerate(details):
            # The details are kept inside the image.
            x = int(np.clip(column - crop // 2, 0, width - crop))
            y = int(np.clip(row - crop // 2, 0, height - crop))
            box = (x, y, x + crop, y + crop)
            magnified = panel.resize((side, side), Image.Resampling.BICUBIC, box)
            figure.paste(magnified, (left + number * (side + GAP), detail_top))
            x, y = x + left, y + CAPTION_HEIGHT
            draw.rectangle((x, y, x + crop - 1, y + crop - 1), outline=FRAME, width=2)

    # The font that comes with Pillow has ASCII only.
    footnote = (
        f"All are shown {gain:g} times brighter than the files. The framed details are "
        f"magnified {magnification} times."
    )
    draw.text(
        (GAP, footnote_top + CAPTION_HEIGHT / 2),
        footnote,
        INK,
        ImageFont.load_default(SMALL_FONT_SIZE),
        anchor="lm",
    )
    return np.asarray(figure)
