"""A training step on a CPU or a CUDA device: its parts in each precision, share of the peak."""

from __future__ import annotations

import copy
import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from darkdeblur_trainer.batches import TrainingImages, batches, with_guides
from darkdeblur_trainer.config import LossConfig, TrainConfig
from darkdeblur_trainer.config_files import load_config
from darkdeblur_trainer.data import ImageCache
from darkdeblur_trainer.discriminator import adversarial_loss
from darkdeblur_trainer.distributed import ProcessGroup
from darkdeblur_trainer.perceptual import VggFeatures
from darkdeblur_trainer.precision import supports_bf16
from darkdeblur_trainer.synthesis import PairSynthesizer
from darkdeblur_trainer.train_state import TrainState
from darkdeblur_trainer.training import torch_settings
from darkdeblur_trainer.training_step import TrainingStep
from napari_darkdeblur.restore import choose_device

from .timing import print_table

# The configurations that are measured, each with all of its terms from the first step on.
CONFIGS = {"cpu": ["small"], "cuda": ["release-paper", "small"]}
OVERRIDES = {"cpu": ["compile=false"], "cuda": ["compile=true"]}
ALL_TERMS = [f"losses.{term}.from_step=0" for term in ("ms_ssim", "features", "adversarial")]
# On a GPU several steps are timed at once: that the host runs ahead is part of how it is used.
REPEATS = {"cpu": 1, "cuda": 20}


class Time(NamedTuple):
    """Milliseconds that something took: of the clock, and of this process's threads."""

    wall: float
    cpu: float


def run(quick: bool, rounds: int) -> None:
    """Print a table for each configuration."""
    device = choose_device()
    kind = device.type
    if kind == "cuda":
        print(torch.cuda.get_device_name(device), "\n")
    with torch_settings(device), tempfile.TemporaryDirectory() as folder:
        vgg = VggFeatures(random_vgg(Path(folder)))
        for name in CONFIGS[kind]:
            config = load_config(name, [*OVERRIDES[kind], *ALL_TERMS])
            if quick:
                config = config.model_copy(update={"batch_size": 2})
            report(name, config, measure(config, device, vgg, rounds), work(config, vgg), device)


def random_vgg(folder: Path) -> Path:
    """Return a file of random numbers in the shape of VGG-19's weights."""
    state, index, inputs = {}, 0, 3
    for count, channels in zip((2, 2, 4, 4, 4), (64, 128, 256, 512, 512), strict=True):
        for _ in range(count):
            scale = (2 / (9 * inputs)) ** 0.5
            state[f"features.{index}.weight"] = scale * torch.randn(channels, inputs, 3, 3)
            state[f"features.{index}.bias"] = torch.zeros(channels)
            inputs, index = channels, index + 2
        index += 1
    save_file(state, folder / "vgg19.safetensors")
    return folder / "vgg19.safetensors"


def random_images(count: int = 16, side: int = 1024) -> TrainingImages:
    """Return images of noise: what is in them costs no time."""
    generator = torch.Generator().manual_seed(0)
    size = count * side**2 * 3
    pixels = torch.randint(0, 256, (size,), dtype=torch.uint8, generator=generator)
    sides = torch.full((count,), side)
    offsets = torch.arange(count) * (side**2 * 3)
    return TrainingImages(
        (ImageCache(pixels, sides, sides, offsets, torch.full_like(sides, 8), ("noise",) * count),)
    )


def training_steps(
    config: TrainConfig, device: torch.device, vgg: VggFeatures
) -> tuple[TrainingStep, TrainingStep]:
    """Return a step with all terms, and one of the same networks with L1 and MS-SSIM only."""
    group = ProcessGroup.single(device)
    state = TrainState(config, device)
    vgg = vgg.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    two_terms = LossConfig.model_validate({"features": 0, "adversarial": 0})
    plain = config.model_copy(update={"losses": two_terms})
    return (
        TrainingStep(config, state, vgg, group),
        TrainingStep(plain, state, None, group),
    )


def measure(
    config: TrainConfig, device: torch.device, vgg: VggFeatures, rounds: int
) -> dict[str, dict[str, list[Time]]]:
    """Return what the parts of a step took in each precision, in every round.

    Both precisions are measured in turn, part by part, so that whatever else the machine does
    meets both.
    """
    synthesizer = PairSynthesizer(config.synthesis, config.seed, device, compile=config.compile)
    precisions = ["fp32", "bf16"] if supports_bf16(device) else ["fp32"]
    parts = {
        precision: parts_of(
            config.model_copy(update={"precision": precision}), device, vgg, synthesizer
        )
        for precision in precisions
    }
    times: dict[str, dict[str, list[Time]]] = {
        precision: {name: [] for name in parts[precision]} for precision in precisions
    }
    for turn in range(rounds + 1):
        for name in parts["fp32"]:
            for precision in precisions:
                taken = timed(parts[precision][name], device)
                if turn > 0:  # the first one compiles, chooses algorithms, allocates
                    times[precision][name].append(taken)
    # Kernels are made for many steps at once: a step is charged with its share.
    share = config.batch_size / synthesizer.block_size
    for of_parts in times.values():
        whole_blocks = of_parts.pop("kernels")
        of_parts["pairs"] = [
            Time(pairs.wall + share * block.wall, pairs.cpu + share * block.cpu)
            for pairs, block in zip(of_parts["pairs"], whole_blocks, strict=True)
        ]
    return times


def parts_of(
    config: TrainConfig, device: torch.device, vgg: VggFeatures, synthesizer: PairSynthesizer
) -> dict[str, Callable[[], Any]]:
    """Return the parts of a step, by name; each can be run any number of times."""
    step, plain = training_steps(config, device, vgg)
    stream = batches(config, random_images(), synthesizer, ProcessGroup.single(device), 0)
    inputs, sharp = next(stream)
    blurred = inputs[:, :3]
    restored = step.generate(inputs).detach()
    pull = torch.full_like(restored, 1 / restored.numel())
    blocks = iter(range(0, 10**9, synthesizer.block_size))
    known, guides = config.known_kernels, config.generator.guides
    samples = range(config.batch_size)
    side = config.patch + 2 * (known.margin + synthesizer.margin)
    pairs = synthesizer(torch.rand(config.batch_size, 3, side, side), samples)
    indices = torch.arange(config.batch_size, device=device)

    def generator() -> None:
        plain.state.generator.zero_grad()
        plain.generate(inputs).backward(pull)

    def two_terms() -> None:
        candidate = restored.clone().requires_grad_()
        terms = plain.objective(0, candidate, sharp, Tensor.detach)
        torch.stack(list(terms.values())).sum().backward()

    def features() -> None:
        step.objective.feature_loss(restored.clone().requires_grad_(), sharp).backward()

    def discriminator() -> None:
        candidate = restored.clone().requires_grad_()
        adversarial_loss(step.discriminate(blurred, candidate), real=True).backward()
        step.update_discriminator(blurred, restored, sharp)

    return {
        "pairs": lambda: next(stream),
        **(
            {"guides": lambda: with_guides(pairs, known, guides, config.seed, indices)}
            if guides
            else {}
        ),
        "kernels": lambda: synthesizer.kernels([next(blocks)]),
        "generator": generator,
        "L1 and MS-SSIM": two_terms,
        "optimizer": lambda: plain.apply_gradients(0),
        "VGG": features,
        "discriminator": discriminator,
        "plain step": lambda: plain(0, *next(stream)),
        "step": lambda: step(0, *next(stream)),
    }


def timed(part: Callable[[], object], device: torch.device) -> Time:
    """Return what one run of a part takes."""
    repeats = REPEATS[device.type]
    wait(device)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        part()
    wait(device)
    taken = time.perf_counter() - wall, time.process_time() - cpu
    return Time(*(1e3 * seconds / repeats for seconds in taken))


def clock_of(device: torch.device) -> Callable[[Time], float]:
    """Return which time tells a part's share.

    On a CPU its own, of all threads: it hardly depends on what else the machine does.
    """
    return attrgetter("cpu" if device.type == "cpu" else "wall")


def wait(device: torch.device) -> None:
    """Wait until a GPU has done all that it was inputs."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def work(config: TrainConfig, vgg: VggFeatures) -> dict[str, float]:
    """Return the floating-point operations of each part, convolutions and products only."""
    meta = torch.device("meta")
    eager = config.model_copy(update={"compile": False, "precision": "fp32"})
    step, plain = training_steps(eager, meta, copy.deepcopy(vgg))
    side = config.patch
    blurred = torch.empty(config.batch_size, 3, side, side, device=meta)
    inputs = blurred.repeat(1, 1 + config.generator.guides, 1, 1)
    restored = torch.empty_like(blurred).requires_grad_()

    def discriminator_losses() -> Iterator[Tensor]:
        yield adversarial_loss(step.discriminate(blurred, restored), real=True)
        step.state.discriminator.requires_grad_(True)
        for candidate in (blurred, restored.detach()):
            yield adversarial_loss(step.state.discriminator(blurred, candidate), real=True)

    losses: dict[str, Callable[[], Iterator[Tensor]]] = {
        "generator": lambda: iter([plain.generate(inputs).sum()]),
        "VGG": lambda: iter([step.objective.feature_loss(restored, blurred)]),
        "discriminator": discriminator_losses,
    }
    counted = {}
    for name, terms in losses.items():
        with FlopCounterMode(display=False) as counter:
            torch.stack(list(terms())).sum().backward()
        counted[name] = float(counter.get_total_flops())
    counted["plain step"] = counted["generator"]
    counted["step"] = sum(counted[name] for name in losses)
    return counted


def matmul_peak(precision: str, device: torch.device) -> float:
    """Return the most FLOP/s of several matrix products in a precision.

    On a CPU, of one thread.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    best = 0.0
    for side in (1024, 2048) if device.type == "cpu" else (4096, 8192):
        first, second = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        times = [timed(functools.partial(torch.matmul, first, second), device) for _ in range(5)]
        best = max(best, 2 * side**3 / min(map(clock_of(device), times)) * 1e3)
    return best


def report(
    name: str,
    config: TrainConfig,
    times: dict[str, dict[str, list[Time]]],
    operations: dict[str, float],
    device: torch.device,
) -> None:
    """Print the table of one configuration."""
    clock = clock_of(device)
    threads = " a thread" if device.type == "cpu" else ""
    print(
        f"\n`{name}`, batch {config.batch_size} of {config.patch} px"
        f"{', compiled' if config.compile else ''}\n"
    )
    peaks = {precision: matmul_peak(precision, device) for precision in times}
    for precision, peak in peaks.items():
        best = {part: min(time.wall for time in t) for part, t in times[precision].items()}
        speed, plain = (config.batch_size / best[part] * 1e3 for part in ("step", "plain step"))
        print(
            f"- {precision}: {plain:.1f} samples/s in plain steps, {speed:.1f} in whole ones, at "
            f"best; matrix products reach {peak / 1e12:.3g} TFLOP/s{threads}"
        )
    print()
    pixels = config.batch_size * config.patch**2
    middle = {p: {part: median(map(clock, t)) for part, t in times[p].items()} for p in times}
    rows = []
    for part in times["fp32"]:
        for precision, peak in peaks.items():
            taken = times[precision][part]
            walls = [time.wall for time in taken]
            numbers = [median(walls), min(walls), median(time.cpu for time in taken)]
            own = middle[precision]
            row = [part, precision, *(f"{number:.1f}" for number in numbers)]
            row.append(f"{1e6 * own[part] / pixels:.1f}")
            row += [f"{own[part] / own[step]:.1%}" for step in ("plain step", "step")]
            if part in operations:
                rate = operations[part] / min(map(clock, taken)) * 1e3
                row += [f"{operations[part] / 1e9:.1f}", f"{rate / peak:.0%}"]
            rows.append([*row, "", ""][:10])
    head = ["part", "precision", "median ms", "best ms", "CPU ms", "ns a pixel"]
    print_table([*head, "of a plain step", "of a step", "GFLOP", "of peak"], rows)
