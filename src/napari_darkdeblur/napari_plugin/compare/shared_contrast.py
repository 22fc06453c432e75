"""One contrast for two layers while they are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.experimental import link_layers, unlink_layers

from ..changes import Changes
from ..result_layers import LINKED

if TYPE_CHECKING:
    from .pair import Pair


class SharedContrast:
    """Shows the layer after as the one before, and lets both change together.

    RGB layers have no contrast limits: with one of them nothing is done.

    Parameters
    ----------
    pair : Pair
        The layers.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._changes = Changes()
        self._linked: set[str] = set()
        before, after = pair
        if before.rgb or after.rgb:
            return
        for name in LINKED:
            # What is equal anyway is the user's, who may change it while comparing.
            if getattr(after, name) != getattr(before, name):
                if name == "contrast_limits":
                    self._changes.keep(after, "contrast_limits_range")
                self._changes.set(after, name, getattr(before, name))
        # Only links that are new: those that were there are others'.
        self._linked = {name for _, _, name in link_layers(pair, LINKED)}

    def close(self) -> None:
        """Let the layers go; the one after looks as it did."""
        if self._linked:
            unlink_layers(self._pair, self._linked)
        self._changes.undo()
