"""What a training step is fed: the batch that belongs to it, wherever the run starts."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from napari_darkdeblur.network.guides import deconvolved

from .config import TrainConfig
from .data import CropSampler, DataError, ImageCache, cache_images, find_images, find_pairs
from .data.layouts import read_split
from .parallel import Processes
from .synthesis import Pairs, PairSynthesizer, told_kernels
from .synthesis.known_kernels import KnownKernels
from .synthesis.sample_random import SampleRandom, Stream, sample_numbers


@dataclass(frozen=True)
class TrainingImages:
    """A run's images.

    Parameters
    ----------
    caches : tuple of ImageCache
        Sharp images; or blurred and sharp ones.
    held_out : tuple of ImageCache
        What the split list leaves out, in the same form; empty without a list.
    """

    caches: tuple[ImageCache, ...]
    held_out: tuple[ImageCache, ...] = ()

    @property
    def megapixels(self) -> float:
        """Millions of pixels of the (sharp) images."""
        return float((self.caches[-1].heights * self.caches[-1].widths).sum()) / 1e6


def load_images(
    config: TrainConfig,
    data: Path,
    cache_folder: Path,
    progress: bool = False,
    *,
    blurred: Path | None = None,
) -> TrainingImages:
    """Find and decode a run's images.

    Parameters
    ----------
    config : TrainConfig
        Its ``data`` says how they lie.
    data : pathlib.Path
        Folder of images; layout ``"folders"``: of the sharp ones.
    cache_folder : pathlib.Path
        Where decoded images are kept.
    progress : bool
        Whether to show a bar.
    blurred : pathlib.Path, optional
        Layout ``"folders"``: the folder of blurred images, if it is not ``data.blurred``.

    Raises
    ------
    DataError
        Images are missing or unusable, or pairs differ in size.
    """
    layout = config.data.layout
    if layout == "sharp":
        lists = [find_images(data)]
    else:
        if blurred is None and config.data.blurred is not None:
            blurred = Path(config.data.blurred)
        pairs = find_pairs(layout, data, blurred, config.data.frame_step)
        lists = [pairs.blurred, pairs.sharp]
    held_out: list[list[Path]] = []
    if config.data.split is not None:
        kept, others = read_split(Path(config.data.split), lists[-1])
        chosen = set(kept)
        places = [place for place, path in enumerate(lists[-1]) if path in chosen]
        rest = [place for place, path in enumerate(lists[-1]) if path not in chosen]
        if others:
            held_out = [[files[place] for place in rest] for files in lists]
        lists = [[files[place] for place in places] for files in lists]
    caches = tuple(cache_images(files, cache_folder, progress) for files in lists)
    others_caches = tuple(cache_images(files, cache_folder, progress) for files in held_out)
    for group in (caches, others_caches):
        if len(group) == 2:
            _check_sizes(*group)
    return TrainingImages(caches, others_caches)


def _check_sizes(blurred: ImageCache, sharp: ImageCache) -> None:
    differ = (blurred.heights != sharp.heights) | (blurred.widths != sharp.widths)
    if bool(differ.any()):
        first = int(differ.nonzero()[0])
        raise DataError(
            f"The pair {sharp.names[first]!r} differs in size: blurred "
            f"{int(blurred.heights[first])} x {int(blurred.widths[first])}, sharp "
            f"{int(sharp.heights[first])} x {int(sharp.widths[first])}."
        )


class _Crops(Dataset[tuple[Tensor, ...]]):
    """Crops by step: this process's share of the global batch."""

    def __init__(self, sampler: CropSampler, batch_size: int, share: range) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.share = share

    def samples(self, step: int) -> range:
        """Return the indices of a step's samples."""
        first = step * self.batch_size
        return range(first + self.share.start, first + self.share.stop)

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        return self.sampler(self.samples(step))


def _leave_signals_to_the_trainer(worker: int) -> None:
    """Let a signal to the whole process group stop the trainer only; it then ends its workers."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def batches(
    config: TrainConfig,
    images: TrainingImages,
    synthesizer: PairSynthesizer | None,
    processes: Processes,
    start: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (blurred, sharp) for every step from ``start`` on.

    On a GPU with room for them, the images are moved there once, and crops are cut there.
    Otherwise they are cut on the host, by loader workers if asked for.

    Yields
    ------
    given : Tensor
        What the generator is given: blurred patches (B, 3, patch, patch) in 0..1 on the processes'
        device, B this process's share; with guides (B, 3 (1 + guides), patch, patch).
    sharp : Tensor
        (B, 3, patch, patch) in 0..1.
    """
    device = processes.device
    guided = synthesizer is not None and config.generator.guides > 0
    # What surrounds a patch: what blurs into it, and what its guides are computed from.
    around = config.known_kernels.margin if guided else 0
    margin = around + (synthesizer.margin if synthesizer is not None else 0)
    resident = _fit_on(device, images.caches)
    caches = tuple(cache.to(device) for cache in images.caches) if resident else images.caches
    sampler = CropSampler(caches, config.patch + 2 * margin, config.seed)
    crops = _Crops(sampler, config.batch_size, processes.share(config.batch_size))
    steps = range(start, config.steps)
    pixels_of_steps: Iterable[tuple[Tensor, ...]]
    if resident:
        pixels_of_steps = (crops[step] for step in steps)
    else:
        pixels_of_steps = DataLoader(
            crops,
            batch_size=None,
            sampler=steps,
            num_workers=config.data.workers,
            pin_memory=device.type == "cuda",
            worker_init_fn=_leave_signals_to_the_trainer,
        )
    for step, pixels in zip(steps, pixels_of_steps, strict=True):
        if synthesizer is not None:
            pairs = synthesizer(pixels[0], crops.samples(step))
            if guided:
                numbers = sample_numbers(crops.samples(step), device)
                yield with_guides(
                    pairs, config.known_kernels, config.generator.guides, config.seed, numbers
                )
            else:
                yield pairs.blurred, pairs.sharp
        else:
            blurred, sharp = (p.to(device, non_blocking=True).float() / 255 for p in pixels)
            yield blurred, sharp


def with_guides(
    pairs: Pairs, settings: KnownKernels, count: int, seed: int, numbers: Tensor
) -> tuple[Tensor, Tensor]:
    """Put guides beside blurred pictures, and cut patches from both.

    Parameters
    ----------
    pairs : Pairs
        B pairs with `KnownKernels.margin` pixels around each patch.
    settings : KnownKernels
        What the network is told of the blur.
    count : int
        Number of guides, see `deconvolved`.
    seed : int
        Seed of the run.
    numbers : Tensor
        (B,) int64 indices of the samples.

    Returns
    -------
    given, sharp : Tensor
        (B, 3 (1 + count), h, w) and (B, 3, h, w), smaller than the pairs by the margin on every
        side.
    """
    kernels, told = told_kernels(settings, pairs, seed, numbers)
    guides = deconvolved(pairs.blurred, kernels, pairs.linear_light, count)
    guides = torch.where(told[:, None, None, None], guides, pairs.blurred.repeat(1, count, 1, 1))
    whole = torch.cat([pairs.blurred, guides, pairs.sharp], dim=1)
    around = settings.margin
    draw = SampleRandom(seed, numbers).uniform(Stream.PATCH_PLACE, 2)
    top, left = (draw * (2 * around + 1)).long().unbind(dim=1)
    height, width = whole.shape[2] - 2 * around, whole.shape[3] - 2 * around
    rows = top[:, None] + torch.arange(height, device=whole.device)
    columns = left[:, None] + torch.arange(width, device=whole.device)
    samples = torch.arange(len(whole), device=whole.device)
    channels = torch.arange(whole.shape[1], device=whole.device)
    patches = whole[
        samples[:, None, None, None],
        channels[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
    return patches[:, :-3], patches[:, -3:]


def _fit_on(device: torch.device, caches: tuple[ImageCache, ...]) -> bool:
    """Whether a GPU holds the images in half of its free memory."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return sum(cache.pixels.numel() for cache in caches) < free / 2
