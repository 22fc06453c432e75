"""How a plane is restored: in one piece or in tiles, of which size, with features kept where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ...network.stages import GUIDES, RESIDUAL, Stage
from ...rectangle import Rectangle
from ..units import format_bytes, format_duration

Tiling = Literal["auto", "whole", "exact", "local", "fast"]
TilingMode = Literal["whole", "exact", "local", "fast"]
Storage = Literal["memory", "host", "disk", "recompute"]

TILINGS: tuple[Tiling, ...] = ("auto", "whole", "exact", "local", "fast")

# Side of the windows of mode "local": 1.5 times the patches that networks are trained on.
LOCAL_WINDOW = 192
LOCAL_BLOCK = 32


@dataclass(frozen=True)
class Plan:
    """How a plane is restored, and what that will take.

    Parameters
    ----------
    mode : {"whole", "exact", "local", "fast"}
        In one piece; in tiles with averages over the whole plane; in tiles with averages over
        windows; in tiles with channel scales from a sample of the plane.
    tiles : dict of str to list of Rectangle
        The tiles of each pass, by the stage's name; for ``"whole"`` and ``"fast"`` of the one
        pass ``"network"``. Where there is a kernel, the first pass is ``"guides"``; its tiles
        are those of `guide_blocks`, whatever the others are.
    storage : dict of str to {"memory", "host", "disk", "recompute"}
        Where each feature map waits, guides included: in the device's memory, in the
        computer's (if the device has its own), in a file, or nowhere.
    peak_bytes : int
        The most memory that it will take, predicted, the output included.
    fixed_bytes : int
        The part of it that no other plan would save: the output, and what libraries take.
    scratch_bytes : int
        Size of the scratch files in bytes.
    seconds : float
        Estimated time of a plane.
    seconds_per_pixel : dict of str to float
        Time of each pass per pixel of a tile, halos not counted.
    sample : list of Rectangle
        Squares that mode ``"fast"`` takes its channel scales from.
    """

    mode: TilingMode
    tiles: Mapping[str, list[Rectangle]]
    storage: Mapping[str, Storage] = field(default_factory=dict)
    peak_bytes: int = 0
    fixed_bytes: int = 0
    scratch_bytes: int = 0
    seconds: float = 0.0
    seconds_per_pixel: Mapping[str, float] = field(default_factory=dict)
    sample: list[Rectangle] = field(default_factory=list)

    @property
    def tile_count(self) -> int:
        """Number of tiles, all passes together."""
        return sum(map(len, self.tiles.values()))

    @property
    def tile(self) -> int:
        """Longest side of a tile in pixels, in the network's pass with the smallest tiles."""
        sides = (
            max(max(t.height, t.width) for t in tiles)
            for stage, tiles in self.tiles.items()
            if stage != GUIDES
        )
        return min(sides, default=0)

    def describe(self) -> str:
        """Return it in words, e.g. ``"exact, 12 tiles, about 1.3 GB, about 40 s"``.

        Tiles and time are those of one plane.
        """
        parts: list[str] = [self.mode]
        if self.mode != "whole":
            parts.append(f"{self.tile_count} tiles")
        parts.append(f"about {format_bytes(self.peak_bytes)}")
        if GUIDES in self.tiles:
            parts.append("guided by a kernel")
        if "host" in self.storage.values():
            parts.append("features kept in the computer's memory")
        if self.scratch_bytes:
            parts.append(f"{format_bytes(self.scratch_bytes)} of scratch files")
        if recomputed := [name for name, kind in self.storage.items() if kind == "recompute"]:
            parts.append(f"{', '.join(recomputed)} computed again instead of kept")
        parts.append(f"about {format_duration(self.seconds)}")
        return ", ".join(parts)


def required_outputs(stage: Stage, storage: Mapping[str, Storage]) -> list[str]:
    """Return the outputs for which a stage has to be run in a pass of its own.

    What is computed again when it is needed is not among them, unless its average is.
    """
    return [
        output.name
        for output in stage.outputs
        if output.pooled or storage.get(output.name, "recompute") != "recompute"
        or output.name == RESIDUAL
    ]  # fmt: skip
