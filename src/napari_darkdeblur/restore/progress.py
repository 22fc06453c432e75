"""How much of the work is done, and how long the rest takes."""

from __future__ import annotations

import time

from ..network.stages import Region
from .events import TileDone
from .plan import Plan


class Clock:
    """Tells how long the rest will take, from what was done since it was started."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._from = 0.0
        self._fraction = 0.0

    def restart(self) -> None:
        """Forget the time so far: things go on in another way."""
        self._since, self._from = time.perf_counter(), self._fraction

    def seconds_left(self, fraction: float) -> float | None:
        """Take in how much is done, 0 to 1, and return how long the rest takes."""
        self._from = min(self._from, fraction)  # a plane may begin anew
        self._fraction = fraction
        done = fraction - self._from
        if done <= 0:
            return None
        return (time.perf_counter() - self._since) * (1 - fraction) / done


class Work:
    """How much of the work is done."""

    def __init__(self, plan: Plan, plane: int, planes: int, clock: Clock) -> None:
        self._plan, self._plane, self._planes, self._clock = plan, plane, planes, clock
        self._tiles = 0
        self._seconds = 0.0
        self._total = sum(
            self._weight(stage, tile) for stage, tiles in plan.tiles.items() for tile in tiles
        )

    def done(self, stage: str, tile: Region) -> TileDone:
        """Take in that a tile is done."""
        self._tiles += 1
        self._seconds += self._weight(stage, tile)
        fraction = min((self._plane + self._seconds / self._total) / self._planes, 1.0)
        return TileDone(
            self._tiles,
            self._plan.tile_count,
            self._plane,
            self._planes,
            stage,
            fraction,
            self._clock.seconds_left(fraction),
        )

    def _weight(self, stage: str, tile: Region) -> float:
        return self._plan.seconds_per_pixel[stage] * tile.height * tile.width
