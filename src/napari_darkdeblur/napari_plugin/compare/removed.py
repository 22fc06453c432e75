"""What restoring took away: the image minus its result, between fixed limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Layer
from numpy.typing import NDArray

from ..changes import Changes
from ..layer_pixels import full_resolution
from ..provenance import Provenance, provenance_of, record_input
from ..result_layers import placement_of, result_name
from .curtain import CachedArray, CurtainArray, Edge, Lattice, join
from .curtain_view import levels_of, take_out

if TYPE_CHECKING:
    import napari.viewer

    from .pair import LayerPair, Nesting

SUFFIX = "[removed]"
# What is shown as black or white, as a share of what lies between black and white. It is fixed, so
# that results can be compared: noise is seen, and so are the details that went with it.
_LIMIT = 0.1


class DifferenceArray(CurtainArray):
    """Before minus after, computed when it is read; 0 where there is only one of them.

    Grey is in the layers' units. Colours are 0.5 where nothing has changed, and 0 and 1 at the
    limits.

    Parameters
    ----------
    frame, inset, lattices, factors, edge
        See `CurtainArray`; the edge means nothing here.
    frame_first : bool
        Whether the frame is the image before.
    limit : float
        Difference that is shown as white, in the layers' units.
    """

    def __init__(
        self,
        frame: CachedArray,
        inset: CachedArray,
        lattices: Sequence[Lattice],
        factors: Sequence[float],
        edge: Edge,
        *,
        frame_first: bool,
        limit: float,
    ) -> None:
        super().__init__(frame, inset, lattices, factors, edge)
        self.dtype = np.dtype(np.float32)
        self._rgb = len(frame.array.shape) > len(lattices)
        self._sign = 1.0 if frame_first else -1.0
        self._limit = limit

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read both images and subtract one from the other."""
        difference = np.zeros(self.shape, np.float64)
        met = self._met()
        if met is not None:
            here = tuple(
                slice(shown.start, shown.stop)
                for part, (shown, _) in zip(self._index, met, strict=True)
                if isinstance(part, range)
            )
            frame = self._in_units(self._read_frame())[here]
            inset = self._in_units(self._inset.read(tuple(read for _, read in met)))
            difference[here] = self._sign * (frame - inset)
        if self._rgb:
            difference = np.clip(0.5 + difference / (2 * self._limit), 0, 1)
            if difference.shape[-1:] == (4,):
                difference[..., 3] = 1
        return difference.astype(np.float32 if dtype is None else dtype)

    def _in_units(self, block: NDArray[Any]) -> NDArray[np.float64]:
        """Return values as they are shown if the two are of different types, else as they are."""
        values = block.astype(np.float64)
        if self._as_shown and block.dtype.kind in "ui":
            values /= np.iinfo(block.dtype).max
        return values


def limit_of(pair: LayerPair) -> float:
    """Return which difference is shown as white: a tenth of black to white, in pixels' units."""
    made = provenance_of(pair.after)
    dtypes = [np.dtype(full_resolution(layer).dtype) for layer in pair]
    if made is not None and made.model is not None:
        span = made.white - made.black
    elif dtypes[0].kind in "ui":
        span = float(np.iinfo(dtypes[0]).max)
    else:
        low, high = pair.before.contrast_limits if not pair.before.rgb else (0.0, 1.0)
        span = float(high - low)
    if pair.before.rgb and dtypes[0] != dtypes[1] and dtypes[0].kind in "ui":
        span /= float(np.iinfo(dtypes[0]).max)
    return _LIMIT * span


class RemovedView:
    """Shows what is in the image before, and not in the one after, as a layer of its own.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Viewer that the layer is added to; no layers are visible but those of the pair.
    pair : LayerPair
        Layers that are compared.
    nesting : Nesting
        How the two lie on each other.
    """

    def __init__(self, viewer: napari.viewer.Viewer, pair: LayerPair, nesting: Nesting) -> None:
        self._viewer = viewer
        self._selected = set(viewer.layers.selection)
        self._changes = Changes()
        for layer in pair:
            self._changes.set(layer, "visible", False)
        frame, inset, offset = nesting
        self.limit = limit_of(pair)
        nowhere = Edge(axis=0, position=0, inset_first=False)

        def difference(*of: Any) -> DifferenceArray:
            return DifferenceArray(*of, frame_first=frame is pair.before, limit=self.limit)

        levels = join(levels_of(frame), levels_of(inset), offset, nowhere, difference)
        several = len(levels) > 1
        look = {} if frame.rgb else {"contrast_limits": (-self.limit, self.limit)}
        self._layer = Image(
            levels if several else levels[0],
            multiscale=several,
            rgb=frame.rgb,
            name=result_name(frame, SUFFIX),
            metadata=Provenance(kind="map", input=record_input(frame)).as_metadata(),
            **look,
            **placement_of(frame),
        )
        viewer.add_layer(self._layer)
        viewer.layers.selection.active = self._layer

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layer that it has added to the viewer."""
        return (self._layer,)

    @property
    def sentence(self) -> str:
        """What is seen, for the user."""
        share = f"{100 * _LIMIT:g} % of black to white"
        scale = share if self._layer.rgb else f"{self.limit:.3g}"
        return (
            f"Before minus after: grey stayed as it was, white became darker by {scale} or more, "
            "black brighter."
        )

    def close(self, *, layers_change: bool = False) -> None:
        """Take the layer out of the viewer; see `take_out`."""
        viewer = self._viewer
        if viewer.layers.selection <= set(self.layers):
            viewer.layers.selection = self._selected.intersection(viewer.layers)
        self._changes.undo()
        take_out(viewer, self.layers, layers_change=layers_change)
