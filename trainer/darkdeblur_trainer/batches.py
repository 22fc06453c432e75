"""Images and batches of a run: the batch of each step is the same wherever the run starts."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from napari_darkdeblur.network.guides import wiener_guides

from .config import TrainConfig
from .data import CropSampler, DataError, ImageCache, cache_images, find_images, find_pairs
from .data.layouts import read_split
from .distributed import ProcessGroup
from .synthesis import Pairs, PairSynthesizer, guide_kernels
from .synthesis.known_kernels import KnownKernels
from .synthesis.sample_random import SampleRandom, Stream, sample_indices


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
        Configuration of the run; its ``data`` section says how the images lie.
    data : pathlib.Path
        Folder of images; layout ``"folders"``: of the sharp ones.
    cache_folder : pathlib.Path
        Folder in which decoded images are kept.
    progress : bool
        Whether to show a progress bar.
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


class PatchDataset(Dataset[tuple[Tensor, ...]]):
    """Crops by step: this rank's shard of the global batch."""

    def __init__(self, sampler: CropSampler, batch_size: int, shard: range) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.shard = shard

    def samples(self, step: int) -> range:
        """Return the indices of a step's samples."""
        first = step * self.batch_size
        return range(first + self.shard.start, first + self.shard.stop)

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        return self.sampler(self.samples(step))


def ignore_signals(worker: int) -> None:
    """Ignore signals in a loader worker, which they reach, too: the trainer ends its workers."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def batches(
    config: TrainConfig,
    images: TrainingImages,
    synthesizer: PairSynthesizer | None,
    group: ProcessGroup,
    start: int = 0,
    *,
    on_device: bool | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the inputs and the sharp patches of every step from ``start`` on.

    Parameters
    ----------
    config : TrainConfig
        Configuration of the run.
    images : TrainingImages
        Images that patches are cut from.
    synthesizer : PairSynthesizer, optional
        Maker of pairs from sharp images; none if the images are pairs.
    group : ProcessGroup
        Processes that share the run; each is given its shard of every batch.
    start : int
        Number of steps done before this call.
    on_device : bool, optional
        Whether the images are moved to the group's device once and patches are cut there, or on
        the host, by loader workers if the configuration asks for them. By default there if the
        device is a GPU that holds them in half of its free memory.

    Yields
    ------
    inputs : Tensor
        Input of the generator: blurred patches (B, 3, patch, patch) in 0..1 on the group's device,
        B the size of this rank's shard; with guides (B, 3 (1 + guides), patch, patch).
    sharp : Tensor
        Sharp patches (B, 3, patch, patch) in 0..1.
    """
    device = group.device
    guided = synthesizer is not None and config.generator.guides > 0
    # What surrounds a patch: what blurs into it, and what its guides are computed from.
    around = config.known_kernels.margin if guided else 0
    margin = around + (synthesizer.margin if synthesizer is not None else 0)
    if on_device is None:
        on_device = _fit_on(device, images.caches)
    caches = tuple(cache.to(device) for cache in images.caches) if on_device else images.caches
    sampler = CropSampler(caches, config.patch + 2 * margin, config.seed)
    crops = PatchDataset(sampler, config.batch_size, group.shard(config.batch_size))
    steps = range(start, config.steps)
    pixels_of_steps: Iterable[tuple[Tensor, ...]]
    if on_device:
        pixels_of_steps = (crops[step] for step in steps)
    else:
        pixels_of_steps = DataLoader(
            crops,
            batch_size=None,
            sampler=steps,
            num_workers=config.data.workers,
            pin_memory=device.type == "cuda",
            worker_init_fn=ignore_signals,
        )
    for step, pixels in zip(steps, pixels_of_steps, strict=True):
        if synthesizer is not None:
            pairs = synthesizer(pixels[0], crops.samples(step))
            if guided:
                indices = sample_indices(crops.samples(step), device)
                yield with_guides(pairs, config.known_kernels, config.seed, indices)
            else:
                yield pairs.blurred, pairs.sharp
        else:
            blurred, sharp = (p.to(device, non_blocking=True).float() / 255 for p in pixels)
            yield blurred, sharp


def with_guides(
    pairs: Pairs, settings: KnownKernels, seed: int, indices: Tensor
) -> tuple[Tensor, Tensor]:
    """Put guides beside blurred pictures, and cut patches from both.

    Parameters
    ----------
    pairs : Pairs
        B pairs with `KnownKernels.margin` pixels around each patch.
    settings : KnownKernels
        Shares of samples that are given the true kernel, a worse one, or none.
    seed : int
        Seed of the run, from which everything random follows.
    indices : Tensor
        (B,) int64 indices of the samples.

    Returns
    -------
    given, sharp : Tensor
        (B, 12, h, w) and (B, 3, h, w), smaller than the pairs by the margin on every side.
    """
    kernels, has_kernel = guide_kernels(settings, pairs, seed, indices)
    guides = wiener_guides(pairs.blurred, kernels, pairs.linear_light)
    count = guides.shape[1] // 3
    guides = torch.where(
        has_kernel[:, None, None, None], guides, pairs.blurred.repeat(1, count, 1, 1)
    )
    whole = torch.cat([pairs.blurred, guides, pairs.sharp], dim=1)
    around = settings.margin
    draw = SampleRandom(seed, indices).uniform(Stream.PATCH_PLACE, 2)
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
