"""Cutting a plane into tiles."""

from __future__ import annotations

from ...rectangle import Rectangle


def tile_grid(
    height: int, width: int, tile: int, align: int, origin: tuple[int, int] = (0, 0)
) -> list[Rectangle]:
    """Cut a plane into tiles that cover it without overlap.

    Parameters
    ----------
    height, width : int
        Size of the plane in pixels, multiples of ``align``.
    tile : int
        Side of a tile in pixels; rounded up to a multiple of ``align``.
    align : int
        Number that all edges are multiples of.
    origin : tuple of int
        Row and column, of any sign, of a corner where four tiles meet; rounded down to
        multiples of ``align``.

    Returns
    -------
    list of Rectangle
        Row by row. Tiles at the border are smaller where the border cuts them.
    """
    side = max(tile + -tile % align, align)
    top, left = (start - start % align for start in origin)
    return Rectangle.grid(_edges(height, side, top), _edges(width, side, left))


def _edges(length: int, side: int, origin: int) -> list[int]:
    inner = range(origin % side, length, side)
    return sorted({0, *inner, length})
