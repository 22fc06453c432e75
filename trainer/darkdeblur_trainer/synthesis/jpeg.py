"""JPEG compression of a batch on any device, each image with its own quality."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Quantisation tables of the JPEG standard (ITU-T T.81, Annex K.1), luminance and chrominance.
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# Full-range BT.601, as JFIF prescribes.
_TO_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)


class JpegTables(NamedTuple):
    """The transforms and tables as tensors on a device; `jpeg_tables` makes them."""

    cosines: Tensor
    to_ycc: Tensor
    to_rgb: Tensor
    luma: Tensor
    chroma: Tensor


def jpeg_tables(device: torch.device) -> JpegTables:
    """Return what `jpeg` needs on a device; kept by the caller, to be moved there only once."""
    frequency = torch.arange(8, dtype=torch.float64)[:, None]
    place = torch.arange(8, dtype=torch.float64)[None, :]
    cosines = torch.cos((2 * place + 1) * frequency * math.pi / 16) / 2
    cosines[0] /= math.sqrt(2)
    to_ycc = torch.tensor(_TO_YCC, dtype=torch.float64)
    tensors = (
        cosines,
        to_ycc,
        torch.linalg.inv(to_ycc),
        torch.tensor(_LUMA),
        torch.tensor(_CHROMA),
    )
    return JpegTables(*(tensor.float().to(device) for tensor in tensors))


def _through_blocks(plane: Tensor, table: Tensor, cosines: Tensor) -> Tensor:
    """Quantise the 8 × 8 DCT of planes (B, H, W) in -128..127 by tables (B, 8, 8)."""
    batch, height, width = plane.shape
    blocks = plane.view(batch, height // 8, 8, width // 8, 8).transpose(2, 3)
    table = table[:, None, None]
    coefficients = torch.round(cosines @ blocks @ cosines.T / table) * table
    return (cosines.T @ coefficients @ cosines).transpose(2, 3).reshape(batch, height, width)


def jpeg(image: Tensor, quality: Tensor, tables: JpegTables) -> Tensor:
    """Compress and decompress (baseline JPEG, 4:2:0 chroma), without the entropy coding.

    Parameters
    ----------
    image : Tensor
        (B, 3, H, W) in 0..1, any size.
    quality : Tensor
        (B,) in 1..100, with the meaning that libjpeg gives it.
    tables : JpegTables
        Tables of `jpeg_tables`, on the image's device.

    Returns
    -------
    Tensor
        The same shape, in 0..1, rounded to 8 bits.
    """
    height, width = image.shape[-2:]
    padded = F.pad(image, (0, -width % 16, 0, -height % 16), mode="replicate")
    pixels = torch.round(padded * 255)
    ycc = torch.einsum("ij,bjhw->bihw", tables.to_ycc, pixels)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None] / 100
    luma_table, chroma_table = (
        torch.clamp(torch.floor(table * scale + 0.5), 1, 255)
        for table in (tables.luma, tables.chroma)
    )
    luma = _through_blocks(ycc[:, 0] - 128, luma_table, tables.cosines) + 128
    halved = F.avg_pool2d(ycc[:, 1:], 2)
    chroma = torch.stack(
        [_through_blocks(halved[:, i], chroma_table, tables.cosines) for i in (0, 1)], dim=1
    )
    chroma = chroma.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    rgb = torch.einsum("ij,bjhw->bihw", tables.to_rgb, torch.cat([luma[:, None], chroma], 1))
    return (torch.round(rgb).clamp(0, 255) / 255)[..., :height, :width]
