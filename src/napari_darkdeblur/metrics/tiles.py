"""Metrics of the tiles of an image: where it is good and where it is not.

What is computed for each pixel is computed once for the whole image and then summed up tile by
tile. So no window of SSIM is cut at a tile's edge, and tiles agree with the image: its mean
squared error is the mean of theirs, weighted by their pixels.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..rectangle import Rectangle
from .tables import METRICS, pixels_of_metrics


def tile_regions(height: int, width: int, tile: int) -> list[Rectangle]:
    """Cut an image into a grid of tiles, without gaps or overlap.

    Parameters
    ----------
    height, width : int
        Size of the image in pixels.
    tile : int
        Side of a tile. What remains at the lower and the right border is a tile of its own if
        it is at least half as long; otherwise it belongs to the tile beside it.

    Returns
    -------
    list of Rectangle
        Row by row.

    Raises
    ------
    ValueError
        A length is less than 1.
    """
    if min(height, width, tile) < 1:
        raise ValueError(
            f"An image of {width} × {height} pixels cannot be cut into tiles of {tile} pixels; "
            "all must be at least 1."
        )
    return Rectangle.grid(_edges(height, tile), _edges(width, tile))


def measure_tiles(
    restored: ArrayLike,
    reference: ArrayLike | None,
    original: ArrayLike | None,
    tiles: Sequence[Rectangle],
    stop: threading.Event | None = None,
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Measure the tiles of an image, one metric after the other.

    Parameters
    ----------
    restored, reference, original
        Whole images, as in `measure`.
    tiles : sequence of Rectangle
        Rectangles inside of the images, of any arrangement.
    stop : threading.Event, optional
        When it is set, no further column comes; the columns so far are complete.

    Yields
    ------
    label : str
        Name of a column; ``dict(measure_tiles(...))`` is what pandas makes a table of.
    column : ndarray
        (tiles,): first ``"tile"`` (counted from 0), ``"row"`` and ``"column"`` (of the tile's
        upper left pixel), then the metrics as in `measure`, without MS-SSIM. A tile that equals
        the reference has an infinite PSNR; a metric that a tile does not tell is NaN, such as
        the SSIM of tiles that lie within 5 pixels of the image's border.

    Raises
    ------
    ValueError
        The images are not comparable (see `with_reference`), or a tile is not inside of them.
    """
    _check_inside(tiles, np.shape(restored))
    yield "tile", np.arange(len(tiles))
    yield "row", np.array([tile.top for tile in tiles], np.intp)
    yield "column", np.array([tile.left for tile in tiles], np.intp)
    possible = [metric for metric in METRICS if metric.of_tiles]
    for metrics, pixels in pixels_of_metrics(possible, restored, reference, original, stop):
        for metric in metrics:
            column = np.empty(len(tiles))
            for number, tile in enumerate(tiles):
                if stop is not None and stop.is_set():
                    return
                column[number] = metric.summary(pixels[tile.slices])
            yield metric.label, column


def _check_inside(tiles: Sequence[Rectangle], shape: tuple[int, ...]) -> None:
    for tile in tiles:
        rows, columns = tile.slices
        inside = rows.stop <= shape[0] and columns.stop <= shape[1]
        if min(tile.top, tile.left) < 0 or min(tile.height, tile.width) < 1 or not inside:
            raise ValueError(
                f"{tile} is not inside of the image of {shape[1]} × {shape[0]} pixels."
            )


def _edges(length: int, tile: int) -> list[int]:
    edges = list(range(0, length, tile))
    if len(edges) > 1 and 2 * (length - edges[-1]) < tile:
        edges.pop()
    return [*edges, length]
