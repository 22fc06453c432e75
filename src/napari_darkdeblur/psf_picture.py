"""Pictures of blur kernels, alone and beside the image that they are from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .comparison import CAPTION_HEIGHT, GAP, INK, PAPER, SMALL_FONT_SIZE

if TYPE_CHECKING:
    from .psf import PSF

_SIDE = 480
_LARGEST_WIDTH = 1280
# Kernels are drawn in a square of at least so many of their pixels.
_LEAST_SIDE = 5


def kernel_picture(psf: PSF, side: int) -> NDArray[np.uint8]:
    """Draw a kernel: white where it is greatest, square-rooted so that faint parts are seen.

    Parameters
    ----------
    psf : PSF
        The kernel.
    side : int
        Width and height of the picture in pixels.

    Returns
    -------
    ndarray of uint8
        (side, side). Each of the kernel's pixels is a square; what is left of the side is black
        around them; small kernels are drawn in the middle of 5 × 5. Kernels that are larger
        than the side are scaled down.
    """
    # With black around it even a point looks like what it is.
    kernel = psf.padded(max(psf.kernel.shape[0], _LEAST_SIDE))
    levels = np.rint(255 * np.sqrt(kernel / kernel.max())).astype(np.uint8)
    length = levels.shape[0]
    drawn = Image.fromarray(levels)
    if length <= side:
        drawn = drawn.resize((side // length * length,) * 2, Image.Resampling.NEAREST)
    else:
        drawn = drawn.resize((side, side), Image.Resampling.BOX)
    picture = np.zeros((side, side), np.uint8)
    start = (side - drawn.width) // 2
    picture[start : start + drawn.height, start : start + drawn.width] = np.asarray(drawn)
    return picture


def psf_figure(image: NDArray[np.uint8], psf: PSF, caption: str) -> NDArray[np.uint8]:
    """Draw an image and beside it its kernel, enlarged.

    Parameters
    ----------
    image : ndarray of uint8
        (H, W, 3), sRGB; it is scaled to the figure.
    psf : PSF
        The kernel.
    caption : str
        What is said about the kernel, in ASCII.

    Returns
    -------
    ndarray of uint8
        (H', W', 3), sRGB.
    """
    height, width = image.shape[:2]
    scale = min(_SIDE / height, _LARGEST_WIDTH / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    figure = Image.new("RGB", (size[0] + _SIDE + 3 * GAP, _SIDE + 2 * CAPTION_HEIGHT), PAPER)
    figure.paste(
        Image.fromarray(image).resize(size, Image.Resampling.LANCZOS), (GAP, CAPTION_HEIGHT)
    )
    left = size[0] + 2 * GAP
    figure.paste(Image.fromarray(kernel_picture(psf, _SIDE)).convert("RGB"), (left, CAPTION_HEIGHT))
    draw = ImageDraw.Draw(figure)
    font = ImageFont.load_default(SMALL_FONT_SIZE)
    length = psf.kernel.shape[0]
    shown = f"the kernel, {length} pixels wide"
    if length <= _SIDE:
        shown += f", magnified {_SIDE // length} times"
    for x, y, text in (
        (GAP, CAPTION_HEIGHT / 2, "the image"),
        (left, CAPTION_HEIGHT / 2, shown),
        (left, _SIDE + 1.5 * CAPTION_HEIGHT, caption),
    ):
        draw.text((x, y), text, INK, font, anchor="lm")
    return np.asarray(figure)
