"""Finding the kernel of a plane with a loaded model, with progress, and until it is stopped."""

from __future__ import annotations

import dataclasses
import functools
import math
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import StoppedError
from ..network import LoadedModel, find_kernel_net
from ..network.guides import REGULARISATION, deconvolved
from ..psf.estimation import CONFIDENT, ROUND, estimate
from ..psf.kernel import PSF, PSFError, similarity
from ..psf.light import to_light
from ..psf.network import KernelNet, find_kernels, read_kernel_net
from .devices import Precision, float32_precision
from .events import PSFFound, PSFSearch
from .image.pixels import PixelArray
from .image.view import ImageView
from .options import RestoreOptions
from .psfs import AnyPSF, PSFGrid, describe_psf, is_linear_light, kernels_of, takes_guides
from .tiling.memory import is_out_of_memory

Image = NDArray[np.float32]
_Found = TypeVar("_Found")

MAX_RADIUS = 32
# Of larger planes the middle is searched; `estimate` chooses the part of it with most structure.
_LARGEST = 2048
# A plane is cut into so many parts each way at most, and each is searched in at least so many
# pixels of side, as far as there are any.
_PARTS, _PART_SIDE = 3, 384
# Kernels of neighbouring parts that are at least so alike are averaged: each was found with errors
# of its own. If all are so alike to their mean, the shake does not differ.
_POOLED, _SAME = 0.9, 0.97


class ModelRestorer:
    """A model as `psf.estimate` uses it.

    Parameters
    ----------
    loaded : LoadedModel
        On the device that it runs on. One that takes no guides is given the Wiener-filtered
        picture in the picture's place. Unless asked to be thorough, it is shown the Wiener filters
        alone: Richardson and Lucy's iterations would take most of the search's time.
    linear_light : bool
        See `deconvolved`.
    precision : str
        See `RestoreOptions`.
    """

    def __init__(
        self, loaded: LoadedModel, linear_light: bool, precision: Precision = "fp32"
    ) -> None:
        self._loaded, self._linear_light, self._precision = loaded, linear_light, precision
        config = loaded.config
        self._guides = config.guides if takes_guides(config) else len(REGULARISATION)
        self.can_be_thorough = self._guides > len(REGULARISATION)
        weight = next(loaded.network.parameters())
        self._device, self._dtype = weight.device, weight.dtype

    def blind(self, image: Image) -> Image:
        """Return the image, (H, W, 3) float32 in 0..1, restored without a kernel."""
        return self._restored(image, None, len(REGULARISATION))

    def guided(self, image: Image, kernel: NDArray[np.float32], *, thorough: bool = False) -> Image:
        """Return the image restored with a kernel (K, K), K odd, of sum 1.

        ``thorough`` shows the network all guides that it takes.
        """
        count = self._guides if thorough else len(REGULARISATION)
        return self._restored(image, kernel, count)

    def _restored(self, image: Image, kernel: NDArray[np.float32] | None, count: int) -> Image:
        with torch.inference_mode(), float32_precision(self._precision, self._device):
            picture = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
            picture = picture.to(self._device)
            given = [picture]
            if kernel is not None:
                kernels = torch.from_numpy(np.array(kernel))[None].to(self._device)
                guides = deconvolved(picture, kernels, self._linear_light, count)
                if takes_guides(self._loaded.config):
                    given += [guides, picture.repeat(1, self._guides - count, 1, 1)]
                else:
                    given = [guides[:, 3:6]]
            black, white = self._loaded.value_range
            x: Tensor = torch.cat(given, dim=1) * (white - black) + black
            x = x.to(self._dtype, memory_format=torch.channels_last)
            restored = (self._loaded.network(x).float() - black) / (white - black)
            return np.ascontiguousarray(restored[0].clamp(0, 1).permute(1, 2, 0).cpu().numpy())


def learned_candidates(image: Image, linear_light: bool, device: torch.device) -> list[PSF]:
    """Return the kernels that the kernel network finds in an image, if there is that network.

    Parameters
    ----------
    image : ndarray
        (H, W, 3) float32 in 0..1.
    linear_light : bool
        See `deconvolved`.
    device : torch.device
        Where it is asked.

    Raises
    ------
    KernelNetError
        There is a file of its name that holds none.
    """
    path = find_kernel_net()
    if path is None:
        return []
    net = _kernel_net(path, path.stat().st_mtime_ns, device)
    light = torch.from_numpy(to_light(image, linear_light)).permute(2, 0, 1).to(device)
    return [
        PSF.from_array(kernel.cpu().numpy(), origin="the kernel network", confidence=probability)
        for kernel, probability in find_kernels(net, light)
    ]


@functools.lru_cache(maxsize=1)
def _kernel_net(path: Path, modified: int, device: torch.device) -> KernelNet:
    return read_kernel_net(path).to(device)


def search_psf(
    view: ImageView,
    plane: int,
    loaded: LoadedModel,
    linear_light: bool,
    precision: Precision,
    stop: threading.Event,
    *,
    in_parts: bool = False,
) -> Generator[PSFSearch | PSFFound, None, None]:
    """Search a plane's kernel and judge it.

    Parameters
    ----------
    view : ImageView
        The image.
    plane : int
        Which of its planes.
    loaded, linear_light, precision
        See `ModelRestorer`.
    stop : threading.Event
        When it is set, the search ends soon.
    in_parts : bool
        Whether to search parts of the plane, too, for a blur that differs from place to place.

    Yields
    ------
    PSFSearch or PSFFound
        The last one is `PSFFound`.

    Raises
    ------
    StoppedError
        ``stop`` was set.
    """
    planes = view.plane_count
    microscope = view.axes.colour == "grey" and not linear_light
    where = f" in plane ({view.describe(plane)})" if planes > 1 else ""

    def ended(
        psf: PSF | None, confident: bool, description: str, grid: PSFGrid | None = None
    ) -> PSFFound:
        # What is round in a microscope may be its optics, which is no blur to be undone.
        sharp = psf is not None and (psf.is_point or (microscope and psf.roundness > ROUND))
        sharp = sharp and not confident
        return PSFFound(plane, planes, psf, confident, description + where, grid, sharp)

    def of_part(
        rows: slice, columns: slice, known: Sequence[PSF], progress: Callable[[float], None]
    ) -> PSF:
        image = np.ascontiguousarray(np.moveaxis(view.read(plane, rows, columns), 0, -1))
        device = next(loaded.network.parameters()).device
        with float32_precision(precision, device):
            candidates = learned_candidates(image, linear_light, device)
        progress(0.0)
        return estimate(
            image,
            ModelRestorer(loaded, linear_light, precision),
            max_radius=MAX_RADIUS,
            candidates=[*known, *candidates],
            linear_light=linear_light,
            progress=progress,
        )

    def run(progress: Callable[[float], None]) -> tuple[PSF, PSFGrid | None]:
        windows = part_windows(view.height, view.width) if in_parts else [[]]
        searches = 1 + sum(len(row) for row in windows)
        done = 0

        def of_search(fraction: float) -> None:
            progress((done + fraction) / searches)

        whole = of_part(_middle(view.height), _middle(view.width), (), of_search)
        if searches < 3:  # a single part is the whole
            return whole, None
        # Without its confidence, which is about the whole.
        known = [dataclasses.replace(whole, confidence=None)] if is_sure(whole) else []
        parts: list[list[PSF]] = []
        for row in windows:
            parts.append([])
            for rows, columns in row:
                done += 1
                parts[-1].append(of_part(rows, columns, known, of_search))
        blur = combined(parts, whole)
        return (whole, blur) if isinstance(blur, PSFGrid) else (blur, None)

    try:
        psf, grid = yield from _with_progress(run, plane, planes, stop)
    except PSFError as error:  # the plane is too small, for instance
        yield ended(None, False, str(error).rstrip("."))
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        yield ended(None, False, "Too little memory to search for a shake")
        return
    if grid is not None:
        extents = [round(one.extent) for row in grid.psfs for one in row]
        size = " to ".join(str(extent) for extent in sorted({min(extents), max(extents)}))
        text = f"Found a shake of {size} px that differs over the picture, {grid.origin}"
        yield ended(psf, True, text, grid)
        return
    sure = is_sure(psf)
    text = f"Found a shake of {describe_psf(psf)}" if sure else "No single shake found"
    if psf.note:
        text += f": {psf.note[0].lower()}{psf.note[1:].rstrip('.')}"
    yield ended(psf, sure, text)


def is_sure(psf: PSF) -> bool:
    """Whether a kernel that was found is to be used: it is a blur, and the confidence suffices."""
    return psf.confidence is not None and psf.confidence >= CONFIDENT and not psf.is_point


def part_windows(height: int, width: int) -> list[list[tuple[slice, slice]]]:
    """Return where the parts of a plane are searched: rows and columns of each, row by row.

    A part is a cell of an even grid of up to 3 × 3, made larger about its middle where it is
    smaller than 384 pixels.
    """

    def along(length: int) -> list[slice]:
        count = min(_PARTS, math.ceil(length / _PART_SIDE))
        side = min(length, max(_PART_SIDE, math.ceil(length / count)))
        starts = [round(length * (number + 0.5) / count - side / 2) for number in range(count)]
        starts = [min(max(start, 0), length - side) for start in starts]
        return [slice(start, start + side) for start in starts]

    return [[(rows, columns) for columns in along(width)] for rows in along(height)]


def combined(parts: Sequence[Sequence[PSF]], whole: PSF) -> AnyPSF:
    """Return the blur of a plane whose parts were searched.

    Where a part's kernel is not sure, that of the whole plane is taken, or, if that is not sure
    either, the mean of the parts around. Neighbours that are alike are averaged.

    Parameters
    ----------
    parts : sequence of sequence of PSF
        What was found in each part, row by row.
    whole : PSF
        What was found in all of the plane.

    Returns
    -------
    PSFGrid or PSF
        A grid if the kernels differ; ``whole`` if they do not, or if neither it nor half of the
        parts is sure.
    """
    places = {(r, c): psf for r, row in enumerate(parts) for c, psf in enumerate(row)}
    known = {place: psf for place, psf in places.items() if is_sure(psf)}
    origin = f"in {len(known)} of {len(places)} parts by itself"
    if is_sure(whole):
        known = dict.fromkeys(places, whole) | known
    elif 2 * len(known) < len(places):
        return whole

    def around(place: tuple[int, int], among: dict[tuple[int, int], PSF]) -> list[PSF]:
        row, column = place
        beside = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        return [among[other] for other in beside if other in among]

    while len(known) < len(places):
        missing = [place for place in places if place not in known]
        known |= {
            place: _mean(neighbours) for place in missing if (neighbours := around(place, known))
        }
    pooled = {}
    for place, psf in known.items():
        alike = [n for n in around(place, known) if similarity(n.kernel, psf.kernel) >= _POOLED]
        pooled[place] = _mean([psf, *alike])
    mean = _mean(list(pooled.values()))
    if all(similarity(psf.kernel, mean.kernel) >= _SAME for psf in pooled.values()):
        return whole if is_sure(whole) else mean
    rows = (tuple(pooled[r, c] for c in range(len(row))) for r, row in enumerate(parts))
    return PSFGrid(tuple(rows), origin)


def _mean(psfs: list[PSF]) -> PSF:
    """Return the mean of kernels, as sure as the least sure of them."""
    kernels = kernels_of(PSFGrid((tuple(psfs),)))[0]
    confidence = min(psf.confidence for psf in psfs if psf.confidence is not None)
    return PSF.from_array(kernels.mean(axis=0), origin="found", confidence=confidence)


def _middle(length: int) -> slice:
    start = max(0, (length - _LARGEST) // 2)
    return slice(start, min(start + _LARGEST, length))


def _with_progress(
    run: Callable[[Callable[[float], None]], _Found],
    plane: int,
    planes: int,
    stop: threading.Event,
) -> Generator[PSFSearch, None, _Found]:
    """Run a search in a thread of its own, and tell how far it is."""
    reports: queue.SimpleQueue[float | None] = queue.SimpleQueue()
    given_up = threading.Event()

    def report(fraction: float) -> None:
        if stop.is_set() or given_up.is_set():
            raise StoppedError
        reports.put(fraction)

    def over(future: Future[_Found]) -> None:
        reports.put(None)

    with ThreadPoolExecutor(1, "darkdeblur-psf") as pool:
        future = pool.submit(run, report)
        future.add_done_callback(over)
        try:
            while (fraction := reports.get()) is not None:
                yield PSFSearch(plane, planes, fraction)
        finally:
            given_up.set()
        return future.result()


def find_psf(
    array: PixelArray | ImageView,
    options: RestoreOptions | None = None,
    *,
    plane: int | None = None,
    stop: threading.Event | None = None,
) -> Generator[PSFSearch | PSFFound, None, PSFFound]:
    """Search the kernel of a plane without restoring it.

    Parameters
    ----------
    array : PixelArray
        The pixels, as in `restore`.
    options : RestoreOptions, optional
        Model, device, precision, axes, value range and light that are to be used; the rest, the
        PSF included, does not matter.
    plane : int, optional
        Which plane; the default is the one in the middle.
    stop : threading.Event, optional
        When it is set, the search ends soon.

    Yields
    ------
    PSFSearch or PSFFound
        The last one is `PSFFound`.

    Returns
    -------
    PSFFound
        The same.

    Raises
    ------
    AxesError, PixelError, DeviceError, FileNotFoundError, WeightsError
        As in `deblur`.
    StoppedError
        ``stop`` was set.
    """
    options, stop = options or RestoreOptions(), stop or threading.Event()
    view = (
        array
        if isinstance(array, ImageView)
        else ImageView(
            array, options.axes, options.value_range, full_scale=options.full_scale, stop=stop
        )
    )
    loaded = options.load_model(view.axes.pixel_count)
    linear_light, _ = is_linear_light(options.light, view.axes.colour, view.dtype)
    if plane is None:
        plane = view.plane_count // 2
    found: PSFFound | None = None
    for event in search_psf(view, plane, loaded, linear_light, options.precision, stop):
        if isinstance(event, PSFFound):
            found = event
        yield event
    assert found is not None
    return found
