"""What restoring tells while it runs, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..psf import PSF
    from ..rectangle import Rectangle
    from .psfs import AnyPSF, PSFGrid
    from .tiling.plan import Plan


import time

NoteKind = Literal["image", "psf", "light"]


class Note(str):
    """A sentence for the user, and what it is about.

    Parameters
    ----------
    text : str
        Sentence for the user.
    kind : {"image", "psf", "light"}
        What it is about: the kernel that was searched, how values relate to light, or anything
        else about the image. So a window that shows these in another way can leave them out.
    """

    kind: NoteKind

    def __new__(cls, text: str, kind: NoteKind = "image") -> Note:
        """Return the sentence, which is text for all purposes."""
        note = super().__new__(cls, text)
        note.kind = kind
        return note


@dataclass(frozen=True)
class PSFSearch:
    """The kernel of a plane is being searched.

    Parameters
    ----------
    plane, planes : int
        Index of the plane that is searched, from 0, and the number of planes.
    fraction : float
        Share of the search that is done, 0 to 1.
    """

    plane: int
    planes: int
    fraction: float


@dataclass(frozen=True)
class PSFFound:
    """The search for a kernel has ended.

    Parameters
    ----------
    plane, planes : int
        Index of the plane that was searched, from 0, and the number of planes.
    psf : PSF or None
        The best kernel that was found, with its confidence; None if nothing could be searched.
    confident : bool
        Whether it is good enough to be used: it is a blur, and the confidence is sufficient.
    description : str
        What was found, in words, without a full stop.
    grid : PSFGrid or None
        The kernels of the plane's parts, if they were searched, differ and are to be used.
    sharp : bool
        Whether the plane is taken for sharp: the best kernel is a point; or none is to be used, and
        the best is round and of a microscope, where what looks like blur may be the optics.
    """

    plane: int
    planes: int
    psf: PSF | None
    confident: bool
    description: str
    grid: PSFGrid | None = None
    sharp: bool = False

    @property
    def to_use(self) -> AnyPSF | None:
        """What the plane is to be restored with: what was found, a point if it is sharp, or None.

        Told that there is no blur, a network changes a sharp picture less than if it has to guess.
        """
        if self.confident:
            return self.grid or self.psf
        if not self.sharp:
            return None
        from ..psf.kernel import point

        return point()

    @property
    def consequence(self) -> str:
        """What follows for the plane, in words."""
        if self.confident:
            return "used"
        return "restored as sharp" if self.sharp else "restored without"


@dataclass(frozen=True)
class ModelReady:
    """The model is loaded, and how the image will be restored is decided.

    Parameters
    ----------
    model : str
        Name of the model.
    device : str
        Device that the model runs on.
    plan : Plan
        How each plane is restored.
    planes : int
        Number of planes of the image.
    black, white : float
        The values of black and white, in units of the pixels.
    range_text : str
        A sentence that says which values these are, and why.
    notes : tuple of str
        Sentences for the user: axes that were guessed, values left as they were, and so on. Those
        about the kernel and about light are a `Note` with a kind.
    psf : PSF, PSFGrid, tuple of them, or None
        The kernel that will be used, or one for each plane; None without, or if each plane's is
        searched when its turn comes.
    light : {"srgb", "linear"}
        How values were taken to relate to light; see `RestoreOptions`.
    """

    model: str
    device: str
    plan: Plan
    planes: int
    black: float
    white: float
    range_text: str
    notes: tuple[str, ...] = ()
    psf: AnyPSF | tuple[AnyPSF | None, ...] | None = None
    light: Literal["srgb", "linear"] = "srgb"


@dataclass(frozen=True)
class TileDone:
    """A tile is done, in one of the passes over a plane.

    Parameters
    ----------
    done, total : int
        Tiles of this plane, all passes together.
    plane, planes : int
        Index of the plane, from 0, and their number.
    stage : str
        Stage of the network, or ``"guides"``, whose tile is done.
    fraction : float
        Share of all planes' work that is done, 0 to 1.
    seconds_left : float or None
        Estimated from the time so far; None as long as nothing can be said.
    """

    done: int
    total: int
    plane: int
    planes: int
    stage: str
    fraction: float
    seconds_left: float | None


@dataclass(frozen=True)
class PlaneDone:
    """A plane is restored and in the output.

    Parameters
    ----------
    plane, planes : int
        Index of the plane, from 0, and their number.
    description : str
        Its place along the axes, for people; empty if there is only one.
    """

    plane: int
    planes: int
    description: str


@dataclass(frozen=True)
class Retried:
    """Memory ran out; the plane begins anew with less of it, or on another device.

    Parameters
    ----------
    plane : int
        Index of the plane, from 0.
    plan : Plan
        Plan from here on.
    device : str
        Device from here on.
    reason : str
        Sentence for the user that says why.
    """

    plane: int
    plan: Plan
    device: str
    reason: str


@dataclass(frozen=True)
class Result:
    """How restoring ended.

    Parameters
    ----------
    status : {"done", "cancelled", "failed"}
        Whether all planes are in the output.
    message : str
        One sentence for the user; empty if all went well.
    planes_done : int
        Number of planes in the output.
    seconds : float
        Wall-clock time from start to end.
    model, sha256, device : str
        Model's name, its file's SHA-256 and the device that it ran on.
    plan : Plan or None
        How the last plane was restored; None if it did not come to that.
    range_text : str
        A sentence that says which values were black and white, and why.
    notes : tuple of str
        Sentences for the user: what was guessed, and what is unusual.
    psf : PSF, PSFGrid, tuple of them or None
        The kernel that was used, or for each plane the one or None.
    light : {"srgb", "linear"}
        How values were taken to relate to light; see `RestoreOptions`.
    error : Exception or None
        What was raised, if it failed, for callers without a user.
    """

    status: Literal["done", "cancelled", "failed"]
    message: str = ""
    planes_done: int = 0
    seconds: float = 0.0
    model: str = ""
    sha256: str = ""
    device: str = ""
    plan: Plan | None = None
    range_text: str = ""
    notes: tuple[str, ...] = ()
    psf: AnyPSF | tuple[AnyPSF | None, ...] | None = None
    light: Literal["srgb", "linear"] = "srgb"
    error: Exception | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Finished:
    """The last event.

    Parameters
    ----------
    result : Result
        How restoring ended.
    """

    result: Result


Event = PSFSearch | PSFFound | ModelReady | TileDone | PlaneDone | Retried | Finished


class RemainingTime:
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


class PlaneProgress:
    """How much of the work is done."""

    def __init__(self, plan: Plan, plane: int, planes: int, clock: RemainingTime) -> None:
        self._plan, self._plane, self._planes, self._clock = plan, plane, planes, clock
        self._tiles = 0
        self._seconds = 0.0
        self._total = sum(
            self._weight(stage, tile) for stage, tiles in plan.tiles.items() for tile in tiles
        )

    def done(self, stage: str, tile: Rectangle) -> TileDone:
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

    def _weight(self, stage: str, tile: Rectangle) -> float:
        return self._plan.seconds_per_pixel[stage] * tile.height * tile.width
