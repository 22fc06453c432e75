"""Images and batches of a run: the batch of each step is the same wherever the run starts."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from napari_darkdeblur.network.guides import REGULARISATION, deconvolved

from .config import TrainConfig
from .data import (
    CropSampler,
    DataError,
    ImageCache,
    as_unit_range,
    cache_images,
    common_value_ranges,
    find_images,
    find_pairs,
)
from .data.layouts import read_split, sizes_differ
from .distributed import ProcessGroup
from .synthesis import Pairs, PairSynthesizer, guide_kernels
from .synthesis.known_kernels import KnownKernels
from .synthesis.sample_random import SampleRandom, Stream, sample_indices


@dataclass(frozen=True)
class TrainingImages:
    """Images of a run.

    Parameters
    ----------
    caches : tuple of ImageCache
        Sharp images; or blurred and sharp ones.
    held_out : tuple of ImageCache
        Images to validate on, in the same form; empty if there are none.
    left_out : dict of str
        Files that cannot be used, by path, and why.
    """

    caches: tuple[ImageCache, ...]
    held_out: tuple[ImageCache, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)

    def describe(self) -> list[str]:
        """Return lines for people: which files are left out, and which values are white."""
        lines = []
        if self.left_out:
            count = len(self.left_out)
            lines.append(f"{count} {'image is' if count == 1 else 'images are'} left out:")
            lines += [f"  {path}: {why}" for path, why in self.left_out.items()]
        cache = self.caches[-1]
        for kind in cache.kinds:
            if kind == 32:
                continue
            black, white = cache.value_ranges[kind]
            if (black, white) != (0.0, 255.0):
                lines.append(
                    f"Value range of the {kind}-bit images: {black:g} is black and {white:g} white "
                    f"(nearly all values are at most {cache.bright.get(kind, 0):g}; "
                    "data.value_range changes it)."
                )
        return lines


def load_images(
    config: TrainConfig,
    data: Path,
    cache_folder: Path,
    progress: bool = False,
    *,
    validation_data: Path | None = None,
) -> TrainingImages:
    """Find and decode the images of a run.

    Files that cannot be used, alone or as a pair, are left out.

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
    validation_data : pathlib.Path, optional
        Folder of images to validate on, in the same layout; those that the split list leaves
        out by default.

    Returns
    -------
    TrainingImages
        Images to train and to validate on, in one value range.

    Raises
    ------
    ConfigError, DataError
        There is no image or pair that can be used, or the images are almost black.
    """
    blurred = None if config.data.blurred is None else Path(config.data.blurred)
    left_out: dict[str, str] = {}
    lists = _find_files(config, data, blurred, left_out)
    held_out: list[list[Path]] = []
    if config.data.split is not None:
        kept, others = read_split(Path(config.data.split), lists[-1])
        chosen = set(kept)
        pairs = list(zip(*lists, strict=True))
        if others:
            held_out = _columns([pair for pair in pairs if pair[-1] not in chosen])
        lists = _columns([pair for pair in pairs if pair[-1] in chosen])
    if validation_data is not None:
        blurred = config.blurred_for_validation()
        held_out = _find_files(config, validation_data, blurred, left_out)

    def decoded(files: list[list[Path]]) -> tuple[ImageCache, ...]:
        given = config.data.value_range
        caches = [cache_images(paths, cache_folder, progress, given) for paths in files]
        return _usable(caches, files, left_out)

    caches, others_caches = decoded(lists), decoded(held_out) if held_out else ()
    ranges = common_value_ranges([*caches, *others_caches], config.data.value_range)
    caches, others_caches = (
        tuple(replace(cache, value_ranges=ranges) for cache in group)
        for group in (caches, others_caches)
    )
    return TrainingImages(caches, others_caches, left_out)


def _find_files(
    config: TrainConfig, data: Path, blurred: Path | None, left_out: dict[str, str]
) -> list[list[Path]]:
    """Return the sharp files, or the blurred and the sharp ones; note those without partner."""
    if config.data.layout == "sharp":
        return [find_images(data)]
    pairs = find_pairs(config.data.layout, data, blurred, config.data.frame_step)
    left_out |= {str(path): "it has no partner of the same name." for path in pairs.unpaired}
    return [pairs.blurred, pairs.sharp]


def _columns(rows: list[tuple[Path, ...]]) -> list[list[Path]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _usable(
    caches: list[ImageCache], files: list[list[Path]], left_out: dict[str, str]
) -> tuple[ImageCache, ...]:
    """Select the images that can be used in all caches; note the others and why."""
    for cache in caches:
        left_out |= cache.left_out
    if len(caches) == 1:
        return tuple(caches)
    # Where in its cache each file is; a file that could not be decoded is nowhere.
    places = []
    for cache, paths in zip(caches, files, strict=True):
        decoded = [path for path in paths if str(path) not in cache.left_out]
        places.append({path: place for place, path in enumerate(decoded)})
    chosen: list[tuple[int, int]] = []
    blurred, sharp = caches
    for pair in zip(*files, strict=True):
        first, second = (found.get(path) for path, found in zip(pair, places, strict=True))
        if first is None or second is None:
            lost = pair[0] if first is None else pair[1]
            other = pair[1] if first is None else pair[0]
            left_out.setdefault(str(other), f"its partner {lost.name} cannot be used.")
            continue
        size, other_size = (
            (int(cache.heights[place]), int(cache.widths[place]))
            for cache, place in ((blurred, first), (sharp, second))
        )
        if size != other_size:
            left_out[str(pair[1])] = sizes_differ(size, other_size)
            continue
        chosen.append((first, second))
    if not chosen:
        listed = "".join(f"\n  {path}: {why}" for path, why in left_out.items())
        raise DataError(f"None of the pairs can be used:{listed}")
    if len(chosen) == len(blurred) == len(sharp):
        return blurred, sharp
    firsts, seconds = zip(*chosen, strict=True)
    return blurred.select(firsts), sharp.select(seconds)


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
        if synthesizer is None:
            blurred, sharp = (as_unit_range(p.to(device, non_blocking=True)) for p in pixels)
            yield blurred, sharp
            continue
        pairs = synthesizer(pixels[0], crops.samples(step))
        if not guided:
            yield pairs.blurred, pairs.sharp
            continue
        indices = sample_indices(crops.samples(step), device)
        yield with_guides(
            pairs, config.known_kernels, config.generator.guides, config.seed, indices
        )


def with_guides(
    pairs: Pairs, settings: KnownKernels, count: int, seed: int, indices: Tensor
) -> tuple[Tensor, Tensor]:
    """Put guides beside blurred pictures, and cut patches from both.

    Parameters
    ----------
    pairs : Pairs
        B pairs with `KnownKernels.margin` pixels around each patch.
    settings : KnownKernels
        Shares of samples that are given the true kernel, a worse one, or none.
    count : int
        Number of guides; see `deconvolved`.
    seed : int
        Seed of the run, from which everything random follows.
    indices : Tensor
        (B,) int64 indices of the samples.

    Returns
    -------
    inputs, sharp : Tensor
        Inputs of the generator (B, 3 (1 + count), h, w) and sharp patches (B, 3, h, w), smaller
        than the pairs by the margin on every side.
    """
    kernels, has_kernel, all_guides = guide_kernels(settings, pairs, seed, indices)
    guides = pairs.blurred.repeat(1, count, 1, 1)
    # The iterations take longest, so they are computed only where they are shown.
    for shown, number in (
        (has_kernel & all_guides, count),
        (has_kernel & ~all_guides, len(REGULARISATION)),
    ):
        if shown.any():
            guides[shown, : 3 * number] = deconvolved(
                pairs.blurred[shown], kernels[shown], pairs.linear_light[shown], number
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
    return sum(cache.byte_count for cache in caches) < free / 2
