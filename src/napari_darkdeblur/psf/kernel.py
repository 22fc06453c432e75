"""Blur kernels (point-spread functions): what one is, formulas, and files."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, special

from ..atomic import atomic_write
from ..errors import DarkDeblurError
from ..imagefiles import read_image, write_image

# Wider kernels are mistakes (a whole photograph given as a kernel), and no restoration has
# anything to gain from them.
MAX_SIDE = 1025
# How far from the middle pixel a kernel's centroid may lie, in pixels.
_CENTRED = 0.02


class PSFError(DarkDeblurError, ValueError):
    """A kernel cannot be made, read or written; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class PSF:
    """A blur kernel that is the same all over the picture.

    What stands in the class is checked, not repaired; `PSF.from_array` takes any array.

    Parameters
    ----------
    kernel : ndarray
        (K, K) float32 with K odd, not negative, of sum 1, its centroid less than 0.1 pixels
        from the middle pixel: restoring with it leaves everything where it was. Read-only.
    origin : str
        Where the kernel came from, in words for people: a file, a formula, "found".
    confidence : float or None
        Probability in 0..1 that restoring with this kernel is better than without it; None
        for a kernel that nobody has judged.
    note : str
        A sentence for people about what to be careful with; empty if there is nothing.
    """

    kernel: NDArray[np.float32]
    origin: str
    confidence: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        kernel = np.array(self.kernel, dtype=np.float32)
        if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
            raise PSFError(
                f"A kernel of shape {kernel.shape} cannot be used; it must be square with an "
                "odd side. PSF.from_array makes one of any array."
            )
        if not np.isfinite(kernel).all() or kernel.min() < 0 or abs(kernel.sum() - 1) > 1e-3:
            raise PSFError(
                f"Kernel values must be finite, not negative and of sum 1, these are "
                f"{kernel.min():g} and more, of sum {kernel.sum():g}; PSF.from_array mends that."
            )
        if max(abs(offset) for offset in _centroid(kernel)) > 0.1:
            raise PSFError(
                "The kernel's centroid is not its middle pixel, so the result would be shifted; "
                "PSF.from_array centres it."
            )
        kernel.flags.writeable = False
        object.__setattr__(self, "kernel", kernel)

    @classmethod
    def from_array(
        cls,
        array: ArrayLike,
        *,
        origin: str = "array",
        remove_background: bool = False,
        confidence: float | None = None,
        note: str = "",
    ) -> PSF:
        """Make a kernel of an array of any size.

        Parameters
        ----------
        array : array_like
            (H, W), or (H, W, channels), of which the mean is taken. Negative values are cut.
        origin : str
            Where it came from, in words.
        remove_background : bool
            Whether to subtract the background, which is the median of the border, and to cut
            what does not stand out of the border's noise or lies apart.
        confidence : float, optional
            See `PSF`.
        note : str
            See `PSF`. Without one, and unless the background is removed, it says whether the
            kernel seems to lie on a background.

        Returns
        -------
        PSF
            Normalised, centred by a shift of parts of a pixel, trimmed to the smallest odd
            square that holds it.

        Raises
        ------
        PSFError
            The array is empty, not an image, not finite, has nothing bright in it, or is more
            than 1025 pixels wide once its empty border is off.
        """
        values = np.asarray(array)
        if values.dtype.kind not in "biuf":
            raise PSFError(f"A kernel is made of numbers; this array has {values.dtype} values.")
        values = values.astype(np.float64)
        if values.ndim == 3:
            values = values.mean(axis=2)
        if values.ndim != 2 or values.size == 0:
            raise PSFError(
                f"A kernel cannot be made of an array of shape {np.shape(array)}; it takes one "
                "image, (height, width)."
            )
        if not np.isfinite(values).all():
            raise PSFError("A kernel cannot be made of values that are infinite or not numbers.")
        if remove_background:
            values = without_background(values)
        values = np.clip(values, 0, None)
        if values.max() <= 0:
            raise PSFError("A kernel cannot be made of an array in which nothing is above zero.")
        if not note and not remove_background:
            note = _note_of_background(values)
        return cls(_centred(values / values.max()), origin, confidence, note)

    @property
    def rms_radius(self) -> float:
        """Root of the mean square distance from the centroid, in pixels."""
        covariance = _covariance(self.kernel)
        return math.sqrt(covariance[0, 0] + covariance[1, 1])

    @property
    def extent(self) -> float:
        """Length along the main direction in pixels; of a straight, even motion its length.

        For other shapes it is the length of the straight motion whose spread is the same.
        """
        return math.sqrt(12 * max(float(np.linalg.eigvalsh(_covariance(self.kernel))[1]), 0.0))

    @property
    def direction(self) -> float:
        """Main direction in degrees, 0 to 180, from the right towards the top of the image."""
        covariance = _covariance(self.kernel)
        angle = 0.5 * math.atan2(2 * covariance[0, 1], covariance[1, 1] - covariance[0, 0])
        return -math.degrees(angle) % 180  # rows count downwards

    @property
    def roundness(self) -> float:
        """Extent across the main direction over the extent along it, as rms values.

        1 for a disc or a Gaussian, near 0 for a straight motion. A pixel has the width of a pixel,
        so a point is round, too.
        """
        across, along = np.linalg.eigvalsh(_covariance(self.kernel)) + 1 / 12
        return math.sqrt(max(float(across), 0.0) / float(along))

    @property
    def is_point(self) -> bool:
        """Whether there is no blur to speak of: an RMS radius below half a pixel."""
        return self.rms_radius < 0.5

    def padded(self, side: int) -> NDArray[np.float32]:
        """Return the kernel in the middle of a square of zeros.

        Parameters
        ----------
        side : int
            Width and height of the square in pixels, odd and not smaller than the kernel.
        """
        margin, odd = divmod(side - self.kernel.shape[0], 2)
        if margin < 0 or odd:
            raise ValueError(f"a kernel of {self.kernel.shape[0]} pixels does not fit {side}")
        return np.pad(self.kernel, margin)


def _centroid(kernel: NDArray[Any]) -> tuple[float, float]:
    """Return the centroid (y, x) relative to the middle of the array."""
    total = float(kernel.sum(dtype=np.float64))
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in kernel.shape)
    return (
        float(kernel.sum(axis=1, dtype=np.float64) @ rows) / total,
        float(kernel.sum(axis=0, dtype=np.float64) @ columns) / total,
    )


def _covariance(kernel: NDArray[Any]) -> NDArray[np.float64]:
    """Return the second central moments in square pixels, rows first."""
    centre = _centroid(kernel)
    y, x = (np.arange(n) - (n - 1) / 2 - c for n, c in zip(kernel.shape, centre, strict=True))
    weights = kernel / kernel.sum(dtype=np.float64)
    yy = float(weights.sum(axis=1) @ y**2)
    xx = float(weights.sum(axis=0) @ x**2)
    xy = float(y @ weights @ x)
    return np.array([[yy, xy], [xy, xx]])


def _centred(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Shift the centroid to the middle pixel of the smallest odd square that holds everything."""
    values = _trimmed(values)
    if max(values.shape) > MAX_SIDE:
        raise PSFError(
            f"A kernel of {values.shape[1]} × {values.shape[0]} pixels is too large, {MAX_SIDE} "
            "is the most; cut out the blurred point, and remove its background."
        )
    offset = _centroid(values)
    middle = [round((n - 1) / 2 + c) for n, c in zip(values.shape, offset, strict=True)]
    # Two more pixels than needed: the shift by parts of a pixel spreads the rim.
    radius = 2 + max(max(m, n - 1 - m) for n, m in zip(values.shape, middle, strict=True))
    square = np.zeros((2 * radius + 1, 2 * radius + 1))
    top, left = (radius - m for m in middle)
    square[top : top + values.shape[0], left : left + values.shape[1]] = values
    for attempt in range(8):
        offset = _centroid(square)
        if max(map(abs, offset)) <= _CENTRED:
            break
        # Cubic interpolation keeps a thin line thin, but its negative lobes are cut off, which
        # moves the centroid a little: again. Linear interpolation moves it exactly.
        order = 3 if attempt < 5 else 1
        square = np.clip(ndimage.shift(square, [-c for c in offset], order=order), 0, None)
        # What interpolation leaves far from the kernel would only widen it.
        square[square < 1e-4 * square.max()] = 0
    trimmed = _trimmed(square, keep_centre=True)
    return np.asarray(trimmed / trimmed.sum(), dtype=np.float32)


def _trimmed(values: NDArray[np.float64], *, keep_centre: bool = False) -> NDArray[np.float64]:
    """Take off rows and columns of zeros, or, keeping the centre, as much from all four sides."""
    rows, columns = (np.flatnonzero(values.any(axis=axis)) for axis in (1, 0))
    if not keep_centre:
        return values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    last = values.shape[0] - 1
    off = int(min(rows[0], last - rows[-1], columns[0], last - columns[-1]))
    return values[off : values.shape[0] - off, off : values.shape[1] - off]


def without_background(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Subtract a patch's background, and cut what does not stand out of its noise.

    Parameters
    ----------
    values : ndarray
        (H, W). The border, an eighth of the shorter side wide, is taken to be background.

    Returns
    -------
    ndarray
        The same shape, not negative; zero where there is only noise, and where something
        lies apart from the brightest shape.
    """
    width = max(1, min(values.shape) // 8)
    inner = np.zeros(values.shape, dtype=bool)
    inner[width:-width, width:-width] = True
    border = values[~inner]
    level = float(np.median(border))
    noise = 1.4826 * float(np.median(np.abs(border - level)))
    above = np.clip(values - level, 0, None)
    # Smoothed, so that a faint trail counts where its neighbours do, and single specks do not.
    smooth = ndimage.gaussian_filter(values - level, 0.8)
    return largest_part(np.where(smooth > max(3 * noise * 0.35, 1e-3 * above.max()), above, 0))


def _note_of_background(values: NDArray[np.float64]) -> str:
    """Return a sentence if there is light all along the border, as of a camera's offset."""
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    # A background is nowhere dark; what a tight frame cuts, such as a disc, is dark in the corners.
    least, share = (float(np.percentile(border, q)) / float(values.max()) for q in (10, 50))
    if min(values.shape) < 5 or least < _BACKGROUND:
        return ""
    return (
        f"Its border has {100 * share:.0f} % of its peak, as if it lay on a background, which "
        "counts as a part of the kernel; remove it if it is none."
    )


def largest_part(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep the connected part with the most light, and others with a tenth of it.

    Gaps of two pixels do not part: a shake may have hurried on.
    """
    parts, count = ndimage.label(
        ndimage.binary_dilation(values > 0, np.ones((3, 3))), np.ones((3, 3))
    )
    if count < 2:
        return values
    sums = ndimage.sum_labels(values, parts, np.arange(1, count + 1))
    return np.where(np.isin(parts, 1 + np.flatnonzero(sums >= 0.1 * sums.max())), values, 0)


def point() -> PSF:
    """Return the kernel of a picture that is not blurred: a single pixel."""
    return PSF(np.ones((1, 1), np.float32), "no blur")


def motion(length: float, angle: float) -> PSF:
    """Return the kernel of a straight motion at constant speed.

    Parameters
    ----------
    length : float
        Length in pixels, 0 to 1000; 0 is a point.
    angle : float
        Direction in degrees, from the right towards the top of the image.
    """
    _check("length of a motion", length, 0, MAX_SIDE - 25)
    if not math.isfinite(angle):
        raise PSFError(f"A motion needs an angle in degrees, not {angle}.")
    radius = math.ceil(length / 2) + 1
    # Points close enough that no pixel's share depends on where they fall; symmetric, so that
    # the centroid is exact. Each is shared out to its four pixels.
    along = np.linspace(-length / 2, length / 2, max(1, 16 * math.ceil(length)) + 1)
    return PSF(
        _splat(
            along * math.cos(math.radians(angle)), -along * math.sin(math.radians(angle)), radius
        ),
        f"motion of {length:g} px at {angle:g}°",
    )


def _splat(x: NDArray[np.float64], y: NDArray[np.float64], radius: int) -> NDArray[np.float32]:
    """Draw points, each shared out bilinearly to its four pixels."""
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    left, top = np.floor(x), np.floor(y)
    for dy, wy in ((0, 1 - (y - top)), (1, y - top)):
        for dx, wx in ((0, 1 - (x - left)), (1, x - left)):
            rows = np.minimum(top.astype(int) + radius + dy, 2 * radius)
            columns = np.minimum(left.astype(int) + radius + dx, 2 * radius)
            np.add.at(kernel, (rows, columns), wy * wx)
    kernel = _trimmed(kernel, keep_centre=True)
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def disc(radius: float) -> PSF:
    """Return the kernel of an ideal lens out of focus: an even disc.

    Parameters
    ----------
    radius : float
        Radius in pixels, 0 to 500; 0 is a point.
    """
    _check("radius of a disc", radius, 0, (MAX_SIDE - 25) / 2)
    reach = math.ceil(radius) + 1
    fine = 8  # points a pixel and direction for the share of a pixel that is covered
    axis = (np.arange(-reach * fine, reach * fine + 1)) / fine
    inside = (axis[:, None] ** 2 + axis**2 <= max(radius, 1e-9) ** 2).nonzero()
    return PSF(_splat(axis[inside[1]], axis[inside[0]], reach), f"disc of radius {radius:g} px")


def gaussian(sigma: float) -> PSF:
    """Return a Gaussian kernel, each pixel the integral over its area.

    Parameters
    ----------
    sigma : float
        Standard deviation in pixels, 0 to 120; 0 is a point. Cut off at four of them.
    """
    _check("sigma of a Gaussian", sigma, 0, 120)
    radius = math.ceil(4 * sigma)
    edges = (np.arange(-radius, radius + 2) - 0.5) / (max(sigma, 1e-9) * math.sqrt(2))
    profile = np.diff(special.erf(edges))
    kernel = np.outer(profile, profile)
    return PSF((kernel / kernel.sum()).astype(np.float32), f"Gaussian of sigma {sigma:g} px")


def _check(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # false for NaN, too
        raise PSFError(f"The {what} is a number of pixels from {low:g} to {high:g}, not {value}.")


_FORMULAS: dict[str, tuple[Callable[..., PSF], int]] = {
    "motion": (motion, 2),
    "disc": (disc, 1),
    "gaussian": (gaussian, 1),
}
# Share of the peak that all of a kernel's border has if it lies on a background.
_BACKGROUND = 0.05
_USAGE = "motion:LENGTH,ANGLE, disc:RADIUS, gaussian:SIGMA or the name of an image file"


def parse_psf(text: str) -> PSF:
    """Return the kernel that a text names.

    Parameters
    ----------
    text : str
        ``motion:LENGTH,ANGLE``, ``disc:RADIUS`` or ``gaussian:SIGMA`` in pixels and degrees
        (see `motion`, `disc`, `gaussian`), or the path of a file (see `read_psf`).

    Returns
    -------
    PSF
        The kernel.

    Raises
    ------
    PSFError
        The text names no formula and no file, or numbers are missing or out of range.
    """
    name, colon, rest = text.partition(":")
    entry = _FORMULAS.get(name.strip().lower())
    if entry is None or not colon:
        if not Path(text).exists():
            raise PSFError(f"There is no file {text}, and no such formula; a kernel is {_USAGE}.")
        return read_psf(text)
    formula, count = entry
    try:
        numbers = [float(part) for part in rest.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        needed = "one number" if count == 1 else f"{count} numbers with a comma between them"
        raise PSFError(f"{text!r}: after {name.strip()}: belong {needed}; a kernel is {_USAGE}.")
    return formula(*numbers)


def read_psf(path: str | os.PathLike[str], *, remove_background: bool = False) -> PSF:
    """Read a kernel from a file.

    Parameters
    ----------
    path : path-like
        A TIFF or PNG image, or an array in a ``.npy`` file, of any size up to 1025 pixels;
        colours are averaged. Values are taken to be proportional to light.
    remove_background : bool
        Whether the kernel lies on a background that is not part of it, see `PSF.from_array`.

    Returns
    -------
    PSF
        Normalised and centred.

    Raises
    ------
    PSFError
        The file holds no kernel.
    ImageFileError
        The image file is damaged or of another kind.
    OSError
        There is no such file, or it cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise PSFError(f"{path} cannot be read as an array of numbers; save it anew.") from (
                error
            )
    else:
        array = read_image(path).pixels
        if array.ndim == 3 and array.shape[2] == 4:
            array = array[..., :3]  # opacity is no light
    try:
        return PSF.from_array(array, origin=path.name, remove_background=remove_background)
    except PSFError as error:
        raise PSFError(f"{path}: {error}") from error


def write_psf(path: str | os.PathLike[str], psf: PSF, *, overwrite: bool = False) -> Path:
    """Write a kernel to a file; there is never half of one.

    Parameters
    ----------
    path : path-like
        Where to write: ``.tif`` or ``.npy`` hold the kernel exactly (float32), ``.png`` holds
        it in 16 bits, its largest value white.
    psf : PSF
        Kernel that is written.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    PSFError
        The path has another ending, or its folder does not exist.
    FileExistsError
        The file exists and ``overwrite`` is false.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".tif", ".tiff", ".png", ".npy"):
        raise PSFError(f"{path}: a kernel is written as .tif, .png or .npy, not {suffix!r}.")
    if suffix == ".png":
        scaled = np.rint(psf.kernel / psf.kernel.max() * 65535).astype(np.uint16)
        return write_image(path, scaled, overwrite=overwrite)
    if suffix != ".npy":
        return write_image(path, psf.kernel, overwrite=overwrite)
    if not path.parent.is_dir():
        raise PSFError(f"{path} cannot be written: there is no folder {path.parent}.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists, and is replaced only when asked to (overwrite).")
    with atomic_write(path) as part, part.open("wb") as file:
        np.save(file, psf.kernel)
    return path


def similarity(a: NDArray[Any], b: NDArray[Any], *, max_shift: int | None = None) -> float:
    """Return how much alike two kernels are, wherever they lie.

    Parameters
    ----------
    a, b : ndarray
        (K, K) and (L, L), odd sides that may differ.
    max_shift : int, optional
        The largest shift in pixels that is tried; by default every shift.

    Returns
    -------
    float
        The largest normalised cross-correlation over all shifts: 1 for the same kernel, near 0
        for kernels that share nothing.
    """
    side = scipy.fft.next_fast_len(a.shape[0] + b.shape[0], real=True)
    product = scipy.fft.rfft2(a, s=(side, side)) * np.conj(scipy.fft.rfft2(b, s=(side, side)))
    correlation = scipy.fft.irfft2(product, s=(side, side))
    norm = math.sqrt(float((a.astype(np.float64) ** 2).sum() * (b.astype(np.float64) ** 2).sum()))
    if max_shift is not None:
        # Zero shift of the two middles is at the difference of the radii.
        centre = a.shape[0] // 2 - b.shape[0] // 2
        near = np.arange(centre - max_shift, centre + max_shift + 1) % side
        correlation = correlation[np.ix_(near, near)]
    return float(correlation.max()) / max(norm, 1e-30)
