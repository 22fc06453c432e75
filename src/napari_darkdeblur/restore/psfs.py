"""The blur of an image, as a user gives it and as the engine takes it."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..psf.kernel import PSF, PSFError, parse_psf
from .image.pixels import ColourModel

if TYPE_CHECKING:
    from ..network import NetworkConfig

Light = Literal["auto", "srgb", "linear"]
LIGHTS: tuple[Light, ...] = ("auto", "srgb", "linear")

# Searched for: once for all planes, in each, or once in parts of the plane.
Search = Literal["auto", "auto-each", "auto-grid"]
SEARCHES: tuple[Search, ...] = ("auto", "auto-each", "auto-grid")


@dataclass(frozen=True, eq=False)
class PSFGrid:
    """Kernels that differ from place to place, as a turned camera's or a lens's do.

    Parameters
    ----------
    psfs : sequence of sequence of PSF
        Kernels on a grid: the plane is cut into as many even cells as there are rows and
        columns, and each kernel is that of the middle of its cell. Between middles guides are
        blended linearly.
    origin : str
        Where they came from, in words for people.
    """

    psfs: tuple[tuple[PSF, ...], ...]
    origin: str = "grid"

    def __post_init__(self) -> None:
        psfs = tuple(tuple(row) for row in self.psfs)
        if not psfs or not psfs[0] or len({len(row) for row in psfs}) > 1:
            raise PSFError("A grid of kernels needs rows of kernels that are equally long.")
        object.__setattr__(self, "psfs", psfs)

    @property
    def confidence(self) -> float | None:
        """The least confidence of its kernels; None if nobody has judged any."""
        return min(
            (p.confidence for row in self.psfs for p in row if p.confidence is not None),
            default=None,
        )

    def part(self, rows: tuple[float, float], columns: tuple[float, float]) -> PSFGrid:
        """Return the grid of a part of the plane.

        Parameters
        ----------
        rows, columns : tuple of float
            Where the part begins and ends, as shares of the plane's height and width.

        Returns
        -------
        PSFGrid
            As many kernels, blended of those around their places.
        """
        kernels = kernels_of(self)
        for axis, (start, stop) in enumerate((rows, columns)):
            count = kernels.shape[axis]
            shares = start + (np.arange(count) + 0.5) / count * (stop - start)
            weights = grid_weights(shares, count)
            kernels = np.moveaxis(np.tensordot(weights, kernels, (0, axis)), 0, axis)
        psfs = tuple(
            tuple(PSF.from_array(kernel, origin=self.origin) for kernel in row) for row in kernels
        )
        return PSFGrid(psfs, self.origin)


def grid_weights(shares: NDArray[Any], count: int) -> NDArray[np.float32]:
    """Return how much each of ``count`` places, evenly spread, counts along a line.

    Parameters
    ----------
    shares : ndarray
        (n,) positions on the line, 0 to 1.
    count : int
        How many places there are, in the middles of as many even cells.

    Returns
    -------
    ndarray
        (count, n), linear from one place to the next; beyond the outer ones only they count.
    """
    place = np.clip(shares * count - 0.5, 0, count - 1)
    distance = np.abs(place - np.arange(count)[:, None])
    weights: NDArray[np.float32] = np.maximum(1 - distance, 0).astype(np.float32)
    return weights


AnyPSF: TypeAlias = PSF | PSFGrid
# What `RestoreOptions.psf` is after it was checked.
GivenPSF: TypeAlias = AnyPSF | tuple[AnyPSF, ...] | Search | None
# What it takes.
PSFLike: TypeAlias = GivenPSF | Sequence[AnyPSF | NDArray[Any]] | NDArray[Any] | str


def as_psf(given: PSFLike) -> GivenPSF:
    """Return the kernels that a user means.

    Parameters
    ----------
    given : None, PSF, PSFGrid, ndarray, str, or sequence of PSF, PSFGrid or ndarray
        An array is one kernel, (height, width); a text is one of `SEARCHES`, ``"none"``, or
        what `parse_psf` takes; a sequence has a kernel for each plane.

    Raises
    ------
    PSFError
        It is none of these.
    """
    if given is None or isinstance(given, (PSF, PSFGrid)):
        return given
    if isinstance(given, (str, os.PathLike)):
        text = os.fspath(given)
        if text == "none":
            return None
        return text if text in SEARCHES else parse_psf(text)
    if isinstance(given, np.ndarray):
        if given.ndim != 2:
            raise PSFError(
                f"A kernel is an array (height, width), this one has shape {given.shape}; for a "
                "kernel for each plane pass a list of them."
            )
        return PSF.from_array(given)
    if not isinstance(given, Sequence):
        raise PSFError(
            f"A {type(given).__name__} is no kernel; pass a PSF, an array (height, width), "
            "'auto', or a list with a kernel for each plane."
        )
    planes = []
    for each in given:
        one = as_psf(each)
        if not isinstance(one, (PSF, PSFGrid)):
            raise PSFError(f"{each!r} is no kernel of a plane; a list has a kernel for each plane.")
        planes.append(one)
    return tuple(planes)


def kernels_of(psf: AnyPSF) -> NDArray[np.float32]:
    """Return kernels as an array, (rows, columns, K, K), of one kernel (1, 1, K, K)."""
    if isinstance(psf, PSF):
        return np.array(psf.kernel)[None, None]
    side = kernel_side(psf)
    return np.stack([np.stack([p.padded(side) for p in row]) for row in psf.psfs])


def kernel_side(psf: AnyPSF) -> int:
    """Return the width and height of the largest kernel."""
    if isinstance(psf, PSF):
        return int(psf.kernel.shape[0])
    return max(int(p.kernel.shape[0]) for row in psf.psfs for p in row)


def kernel_count(psf: AnyPSF) -> int:
    """Return of how many kernels a block of guides may be blended."""
    if isinstance(psf, PSF):
        return 1
    return len(psf.psfs) * len(psf.psfs[0])


def psf_of_plane(psf: AnyPSF | tuple[AnyPSF, ...], plane: int, planes: int) -> AnyPSF:
    """Return the blur of one of an image's planes.

    Raises
    ------
    PSFError
        There is one for each of another number of planes.
    """
    if not isinstance(psf, tuple):
        return psf
    if len(psf) != planes:
        raise PSFError(
            f"There are {len(psf)} kernels for {planes} planes; give one for all, or one for each."
        )
    return psf[plane]


def takes_guides(config: NetworkConfig) -> bool:
    """Return whether a model can be given a kernel."""
    from ..network.guides import GUIDE_COUNTS

    return config.guides in GUIDE_COUNTS


def is_linear_light(light: Light, colour: ColourModel, dtype: np.dtype[Any]) -> tuple[bool, str]:
    """Decide whether the sRGB curve has to be undone, and say so.

    Parameters
    ----------
    light : {"auto", "srgb", "linear"}
        What the user chose.
    colour, dtype
        Of the image.

    Returns
    -------
    undo : bool
        Whether values carry the sRGB curve, see `deconvolved`.
    note : str
        A sentence for the user if it was decided here, else empty.
    """
    if light != "auto":
        return light == "srgb", ""
    coloured = colour != "grey"
    if coloured or dtype == np.uint8:
        kind = "colour image" if coloured else "8-bit image"
        return True, (
            f"The values of this {kind} were taken for sRGB, as photographs are; if they are "
            "proportional to light, choose light 'linear'."
        )
    return False, (
        f"The values of this grey {dtype.name} image were taken to be proportional to "
        "light, as a microscope's are; if it is a photograph, choose light 'srgb'."
    )


def turned_psf(psf: AnyPSF, turn: Callable[[NDArray[Any]], NDArray[Any]]) -> AnyPSF:
    """Return the blur of a picture that is mirrored or turned by right angles.

    Parameters
    ----------
    psf : PSF or PSFGrid
        The blur of the picture as it was.
    turn : callable
        Does to an array (H, W) what is done to the picture.
    """
    if isinstance(psf, PSF):
        return dataclasses.replace(psf, kernel=turn(psf.kernel))
    places = turn(np.arange(kernel_count(psf)).reshape(len(psf.psfs), -1))
    flat = [each for row in psf.psfs for each in row]
    psfs = tuple(
        tuple(dataclasses.replace(flat[i], kernel=turn(flat[i].kernel)) for i in row)
        for row in places
    )
    return PSFGrid(psfs, psf.origin)


def describe_psf(psf: PSF) -> str:
    """Return a kernel's size and direction in words, e.g. ``"14 px, towards the upper right"``.

    Parameters
    ----------
    psf : PSF
        The kernel. A motion has two directions; the one that points upwards is named. A point is
        ``"none"``.
    """
    if psf.rms_radius == 0:
        return "none"
    size = f"{psf.extent:.0f} px" if psf.extent >= 9.5 else f"{psf.extent:.1f} px"
    along = psf.extent**2 / 12
    across = max(psf.rms_radius**2 - along, 0.0)
    if across > 0.5 * along:
        return f"{size} in all directions"
    directions = ("horizontal", "towards the upper right", "vertical", "towards the upper left")
    return f"{size}, {directions[math.floor((psf.direction + 22.5) / 45) % 4]}"
