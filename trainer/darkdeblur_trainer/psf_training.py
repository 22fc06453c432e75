"""Training of the network that estimates blur kernels (``darkdeblur-train fit-psf``).

The schedule follows the clock, not a number of steps: a run of three minutes on any machine ends
with its learning rate at zero. The same command continues a run that was stopped.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from napari_darkdeblur.atomic import atomic_write
from napari_darkdeblur.network.guides import srgb_to_linear
from napari_darkdeblur.psf.network import (
    FORMAT,
    KernelEstimate,
    KernelNet,
    KernelNetConfig,
    gradients,
    read_kernel_net,
)

from .average_meter import AverageMeter
from .batches import load_images
from .checkpoint import CheckpointFolder
from .config import TrainConfig
from .data import CropSampler, DataError, ImageCache, default_cache_folder
from .distributed import ProcessGroup
from .optimizers import build_optimizers
from .synthesis import Degradation, Pairs, PairSynthesizer
from .train_state import ExponentialMovingAverage

SIMILAR = 0.85
_RMS_BOUNDS = (1.5, 3.0, 6.0)
# What is done to the photographs: any size of blur with any amount of noise, larger blur in better
# light, frames of a microscope, and pictures that are sharp already.
RECIPE = (
    Degradation(preset="night", share=2.0, moving_object_probability=0.1),
    Degradation(
        preset="night",
        share=2.0,
        blur_radius=(1.5, 12.0),
        camera_turn_probability=0.05,
        exposure=(0.2, 1.0),
        shot_gain=(1e-5, 1e-3),
        read_noise=(1e-4, 2e-3),
    ),
    Degradation(preset="microscopy", share=0.3, blur_radius=(0.7, 8.0), gamma=(1.0, 3.0)),
    Degradation(preset="unblurred", share=0.2, exposure=(0.1, 1.5), shot_gain=(1e-6, 3e-3)),
)
# Weights in the loss: of each coarser stage's kernel, of every stage's quotients and edges, and of
# the confidence.
_COARSER, _QUOTIENT, _EDGES, _CONFIDENCE = 0.5, 0.3, 0.3, 0.2


@dataclasses.dataclass(frozen=True)
class Settings:
    """Length of a run and everything that concerns learning.

    Parameters
    ----------
    minutes : float
        Length of the run, counted from the first step; the schedule follows it.
    batch : int
        Number of samples in a step.
    crop : int
        Height and width of the training crops in pixels.
    learning_rate : float
        Peak learning rate of Muon and Adam, which falls as a cosine to zero.
    warmup : float
        Share of the run in which the learning rate rises to its peak.
    ema_decay : float
        Decay per step of the weights' EMA, which is what is written and validated.
    clip_norm : float
        Largest norm of the gradient; a longer one is scaled down to it.
    held_out : int
        Spacing of the photographs that are held out for validation: 12 holds out every twelfth.
    validation : int
        Number of samples of the validation at the end.
    seed : int
        Seed of the initial weights, the crops and the blur.
    """

    minutes: float = 3.0
    batch: int = 64
    crop: int = 256
    learning_rate: float = 1.5e-3
    warmup: float = 0.03
    ema_decay: float = 0.997
    clip_norm: float = 1.0
    held_out: int = 12
    validation: int = 768
    seed: int = 1


class KernelNetState:
    """Network, EMA, optimizers and clock of a run: its resumable training state.

    Parameters
    ----------
    config : KernelNetConfig
        Architecture of the network.
    settings : Settings
        Settings of the run.
    device : torch.device
        Device to train on.
    """

    def __init__(self, config: KernelNetConfig, settings: Settings, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.net = KernelNet(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = ExponentialMovingAverage(self.net, settings.ema_decay)
        self.optimizers = build_optimizers(
            self.net.parameters(), "muon", lr=settings.learning_rate, betas=(0.9, 0.99)
        )
        self.step = 0
        self.seconds = 0.0

    @property
    def progress(self) -> float:
        """Share of the run's time that is over."""
        return self.seconds / (60 * self.settings.minutes)

    def set_learning_rate(self) -> float:
        """Set the learning rate that belongs to the time; return it."""
        rate = self.settings.learning_rate * schedule(self.progress, self.settings.warmup)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        return rate

    def update(self, loss: Tensor) -> None:
        """Back-propagate a loss and update weights and EMA."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = list(self.net.parameters())
        torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm, foreach=True)
        # A gradient that is not finite would end the run: such a step only goes on as before.
        for parameter in parameters:
            torch.nan_to_num_(parameter.grad, nan=0.0, posinf=0.0, neginf=0.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.ema.update(self.net, self.step)
        self.step += 1

    def state_dict(self) -> dict[str, Any]:
        """Return everything that resuming needs."""
        return {
            "net": self.net.state_dict(),
            "ema": self.ema.network.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        self.net.load_state_dict(state["net"])
        self.ema.network.load_state_dict(state["ema"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]


def fit(
    data: Path,
    out: Path,
    settings: Settings,
    *,
    config: KernelNetConfig | None = None,
    recipe: Sequence[Degradation] = RECIPE,
    device: torch.device | str | None = None,
    cache_folder: Path | None = None,
    init: Path | None = None,
    compile: bool = False,
    half: bool = False,
    log_seconds: float = 5.0,
    save_seconds: float = 30.0,
    max_steps: int | None = None,
) -> dict[str, Any]:
    """Train a kernel network, or continue a run that stopped.

    Parameters
    ----------
    data : pathlib.Path
        Folder of sharp photographs.
    out : pathlib.Path
        Folder of the run: ``kernel-net.safetensors``, ``log.jsonl``, ``validation.json`` and
        ``checkpoints``.
    settings : Settings
        Length of the run and everything that concerns learning.
    config : KernelNetConfig, optional
        Architecture of the network; the default one if not given.
    recipe : sequence of Degradation
        Degradations of the photographs. Blur must happen in linear light.
    device : torch.device or str, optional
        Device to train on; a GPU by default, if there is one.
    cache_folder : pathlib.Path, optional
        Folder for decoded photographs; by default in the user's cache folder.
    init : pathlib.Path, optional
        Weights to start from, as a run of this command wrote them; ``config`` is then theirs.
    compile : bool
        Whether the network is compiled.
    half : bool
        Whether the weights file holds 16-bit numbers.
    log_seconds : float
        Seconds between lines of the log.
    save_seconds : float
        Seconds between checkpoints, with each of which the weights file is replaced.
    max_steps : int, optional
        Number of steps of this call after which to stop, as an interruption would.

    Returns
    -------
    dict
        What `validate` returned; empty if the run is not at its end.

    Raises
    ------
    DataError
        Photographs are missing or unusable.
    CheckpointError
        A checkpoint cannot be written, or there are some but none can be read.
    KernelNetError
        ``init`` holds no kernel network.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    out.mkdir(parents=True, exist_ok=True)
    photographs, held_out = load_photographs(
        data, cache_folder or default_cache_folder(), settings, device
    )
    torch.backends.cudnn.benchmark = True
    start = None if init is None else read_kernel_net(init)
    if start is not None:
        config = start.config
    state = KernelNetState(config or KernelNetConfig(), settings, device)
    if start is not None:
        state.net.load_state_dict(start.state_dict())
        state.ema.network.load_state_dict(start.state_dict())
    checkpoints = CheckpointFolder(out / "checkpoints", keep=1)
    saved = checkpoints.load_latest()
    if saved is not None:
        state.load_state_dict(saved)
    parameter_count = sum(parameter.numel() for parameter in state.net.parameters())
    print(
        f"{len(photographs)} photographs to train on, {len(held_out)} held out; "
        f"{parameter_count / 1e6:.2f} M parameters; {device}",
        flush=True,
    )
    _train(
        state, photographs, recipe, checkpoints, out,
        compile=compile, half=half, log_seconds=log_seconds, save_seconds=save_seconds,
        max_steps=max_steps,
    )  # fmt: skip
    if state.progress < 1:
        return {}
    result = validate(state.ema.network, held_out, recipe, settings)
    with atomic_write(out / "validation.json") as part:
        part.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(table(result), flush=True)
    return result


def _train(
    state: KernelNetState,
    photographs: ImageCache,
    recipe: Sequence[Degradation],
    checkpoints: CheckpointFolder,
    out: Path,
    *,
    compile: bool,
    half: bool,
    log_seconds: float,
    save_seconds: float,
    max_steps: int | None,
) -> None:
    """Train until the time is over; see `fit`."""
    settings, device = state.settings, photographs.pixels.device
    synthesizer = PairSynthesizer(recipe, settings.seed, device)
    sampler = CropSampler((photographs,), settings.crop + 2 * synthesizer.margin, settings.seed)
    forward = torch.compile(state.net, dynamic=False) if compile else state.net
    meter, group = AverageMeter(device), ProcessGroup.single(device)
    first_step = logged_step = state.step
    logged_at = saved_at = before = state.seconds
    begin = time.perf_counter()
    # How far the GPU may lag behind: the clock must show what is done, not what is asked for.
    in_flight: deque[torch.cuda.Event] = deque()
    while state.progress < 1 and (max_steps is None or state.step - first_step < max_steps):
        learning_rate = state.set_learning_rate()
        samples = range(state.step * settings.batch, (state.step + 1) * settings.batch)
        with torch.no_grad():
            pairs = synthesizer(sampler(samples)[0], samples)
            light = to_light(pairs.blurred, pairs)
        with torch.autocast(device.type, torch.bfloat16):
            estimate = forward(light)
        terms = losses(estimate, pairs)
        state.update(terms["loss"])
        meter.update({name: value.detach() for name, value in terms.items()})
        if device.type == "cuda":
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
            in_flight.append(event)
            if len(in_flight) > 4:
                in_flight.popleft().synchronize()
        state.seconds = before + time.perf_counter() - begin
        if state.seconds - logged_at >= log_seconds:
            averages = meter.compute_and_reset(group)
            state.seconds = before + time.perf_counter() - begin
            done = (state.step - logged_step) * settings.batch
            record = {
                "step": state.step,
                "seconds": round(state.seconds, 1),
                "samples_per_second": round(done / (state.seconds - logged_at), 1),
                "learning_rate": learning_rate,
            }
            _log(out, record | {name: round(float(value), 4) for name, value in averages.items()})
            logged_step, logged_at = state.step, state.seconds
        if state.seconds - saved_at >= save_seconds:
            _save(state, checkpoints, out, half=half)
            saved_at = state.seconds
    _save(state, checkpoints, out, half=half)


def _save(state: KernelNetState, checkpoints: CheckpointFolder, out: Path, *, half: bool) -> None:
    """Write a checkpoint, and the EMA's weights for `read_kernel_net`."""
    checkpoints.save(state.step, state.state_dict())
    write_weights(state.ema.network, out / "kernel-net.safetensors", half=half)


def load_photographs(
    data: Path, cache_folder: Path, settings: Settings, device: torch.device
) -> tuple[ImageCache, ImageCache]:
    """Decode a folder's photographs; return those to train on and those held out, on a device."""
    images = load_images(TrainConfig(), data, cache_folder)
    for line in images.describe():
        print(line, file=sys.stderr)
    (cache,) = images.caches
    if len(cache) < 2:
        raise DataError(
            f"{data} holds {len(cache)} photograph(s) that can be used; at least two are needed, "
            "one to train on and one to validate with."
        )
    every = min(settings.held_out, len(cache))
    places = range(len(cache))
    aside = [place for place in places if (place + 1) % every == 0]
    kept = [place for place in places if (place + 1) % every]
    return cache.select(kept).to(device), cache.select(aside).to(device)


def schedule(progress: float, warmup: float) -> float:
    """Return the learning rate's factor: a rise over ``warmup``, then a cosine down to 0."""
    if progress < warmup:
        return max(progress / warmup, 0.02)
    return 0.5 + 0.5 * math.cos(math.pi * min((progress - warmup) / (1 - warmup), 1.0))


def to_light(images: Tensor, pairs: Pairs) -> Tensor:
    """Return images of pairs, (N, 3, H, W), as light in which the blur is a convolution."""
    linear = pairs.linear_light[:, None, None, None]
    return torch.where(linear, srgb_to_linear(images), images)


def losses(estimate: KernelEstimate, pairs: Pairs) -> dict[str, Tensor]:
    """Return the loss and its parts.

    Parameters
    ----------
    estimate : KernelEstimate
        Output of the network.
    pairs : Pairs
        Pairs whose blurred pictures were its input.

    Returns
    -------
    dict of Tensor
        Scalars. ``"loss"``: what is minimised; ``"kernel"``: the last stage's part of it;
        ``"confidence"``: cross-entropy of what the network says about its kernels;
        ``"similarity"``: mean similarity of the last stage's kernels.
    """
    target = resized(pairs.kernels, estimate.kernels.shape[-1])
    with torch.autocast(target.device.type, enabled=False):
        luminance = to_light(pairs.sharp, pairs).mean(dim=1, keepdim=True)
        found = estimate.stages
        kernel, quotient, edges = [], [], []
        for stage in found:
            truth = coarser(target, stage.scale)
            kernel.append(kernel_loss(stage.kernels, truth))
            # Without these two the picture's network waits until the kernel's learns to listen.
            quotient.append(
                1
                - F.cosine_similarity(stage.quotients.flatten(2), truth.flatten(1)[:, None], dim=2)
            )
            sharp = gradients(F.avg_pool2d(luminance, stage.scale)).flatten(1)
            # One group is enough to learn what an edge is; the others look where they please.
            edges.append(1 - F.cosine_similarity(stage.edges[:, 0].flatten(1), sharp, dim=1))
        with torch.no_grad():
            similar = similarity(estimate.kernels.detach(), target)
            # Nearly right is not wrong altogether.
            right = torch.sigmoid((similar - SIMILAR) / 0.02) * pairs.uniform
        confidence = F.binary_cross_entropy_with_logits(estimate.confidence.float(), right)
        loss = (
            kernel[-1]
            + _COARSER * torch.stack([torch.zeros_like(kernel[-1]), *kernel[:-1]]).sum()
            + _QUOTIENT * torch.stack([value.mean() for value in quotient]).sum()
            + _EDGES * torch.stack([value.mean() for value in edges]).sum()
            + _CONFIDENCE * confidence
        )
        return {
            "loss": loss,
            "kernel": kernel[-1],
            "first_stage": kernel[0],
            "quotient": quotient[-1][:, -1].mean(),
            "edges": edges[-1].mean(),
            "first_edges": edges[0].mean(),
            "confidence": confidence,
            "similarity": similar.mean(),
        }


def coarser(kernels: Tensor, scale: int) -> Tensor:
    """Return (N, K, K) kernels for pixels that are ``scale`` times as large, a power of 2.

    Pixels averaged in pairs see a kernel averaged with a triangle.
    """
    triangle = torch.tensor([0.5, 1.0, 0.5], device=kernels.device)
    weight = (triangle[:, None] * triangle)[None, None]
    while scale > 1:
        kernels = F.conv2d(kernels[:, None], weight, stride=2, padding=1)[:, 0]
        scale //= 2
    return kernels


def kernel_loss(kernels: Tensor, target: Tensor) -> Tensor:
    """Compare kernels at several scales: a line that lies a pixel beside is not wrong altogether.

    Parameters
    ----------
    kernels, target : Tensor
        Kernels that are compared, (N, K, K), each of sum 1.

    Returns
    -------
    Tensor
        Scalar: one minus the cosine similarity, mean over Gaussian scales of 0 to 4 pixels, and
        a quarter of the total variation distance.
    """
    both = torch.stack([kernels, target], dim=1)
    size = both.shape[-1]
    shape = (2 * size, 2 * size)
    frequency = torch.fft.fftfreq(shape[0], device=both.device).square()
    squared = frequency[:, None] + frequency[: size + 1]
    spectrum = torch.fft.rfft2(both, s=shape)
    # Inner products of the smoothed kernels, by Parseval; columns stand for their mirror images.
    columns = torch.full((size + 1,), 2.0, device=both.device)
    columns[0] = columns[-1] = 1.0
    terms = []
    for sigma in (0.0, 1.0, 2.0, 4.0):
        weight = columns * torch.exp(-4 * math.pi**2 * sigma**2 * squared)
        first, second = spectrum[:, 0], spectrum[:, 1]
        inner = (weight * (first.conj() * second).real).sum(dim=(1, 2))
        powers = [
            (weight * (one.real.square() + one.imag.square())).sum(dim=(1, 2))
            for one in (first, second)
        ]
        terms.append(1 - inner * (powers[0] * powers[1]).clamp(min=1e-12).rsqrt())
    distance = (kernels - target).abs().sum(dim=(1, 2)) / 2
    return torch.stack(terms).mean() + 0.25 * distance.mean()


def similarity(kernels: Tensor, target: Tensor) -> Tensor:
    """Return the largest normalised cross-correlation of kernels over all shifts.

    Parameters
    ----------
    kernels, target : Tensor
        Kernels that are compared, (N, K, K), not negative.

    Returns
    -------
    Tensor
        (N,) in 0..1.
    """
    shape = (2 * kernels.shape[-1],) * 2
    product = torch.fft.rfft2(kernels, s=shape).conj() * torch.fft.rfft2(target, s=shape)
    norm = kernels.square().sum(dim=(1, 2)) * target.square().sum(dim=(1, 2))
    largest: Tensor = torch.fft.irfft2(product, s=shape).amax(dim=(1, 2))
    return largest / norm.clamp(min=1e-20).sqrt()


def rms_radius(kernels: Tensor) -> Tensor:
    """Return the root mean square distance in pixels from the centroid, (N,)."""
    places = torch.arange(kernels.shape[-1], device=kernels.device, dtype=kernels.dtype)
    variance = torch.zeros_like(kernels[:, 0, 0])
    for profile in (kernels.sum(dim=1), kernels.sum(dim=2)):
        total = profile.sum(dim=1)
        mean = (profile * places).sum(dim=1) / total
        variance = variance + (profile * places.square()).sum(dim=1) / total - mean.square()
    return variance.clamp(min=0).sqrt()


def resized(kernels: Tensor, size: int) -> Tensor:
    """Crop (N, K, K) kernels to another odd size, or continue them with zeros; the sum stays 1."""
    margin = (size - kernels.shape[-1]) // 2
    fitted = F.pad(kernels, (margin,) * 4)
    return fitted / fitted.sum(dim=(1, 2), keepdim=True).clamp(min=1e-6)


@torch.no_grad()
def validate(
    net: KernelNet,
    images: ImageCache,
    recipe: Sequence[Degradation],
    settings: Settings,
    crop: int | None = None,
) -> dict[str, Any]:
    """Measure how similar the kernels found are to the true ones, on photographs held out.

    Parameters
    ----------
    net : KernelNet
        Network that is validated.
    images : ImageCache
        Sharp photographs, on the network's device.
    recipe : sequence of Degradation
        Degradations of the photographs.
    settings : Settings
        Its ``validation`` says how many samples; they are the same in every run.
    crop : int, optional
        Height and width of the pictures; those of the training by default.

    Returns
    -------
    dict
        ``"rows"``: for each range of the true kernel's rms radius, the number of samples, the mean
        and median similarity, the share above 0.85, and the mean similarity of a Gaussian of the
        right size. ``"confidence"``: for several thresholds on the probability, the share of
        samples that are trusted and the share of these above 0.85. ``"samples"``: radius,
        similarity and probability of every sample.
    """
    device = images.pixels.device
    # Another seed than the training's: nothing of the validation was seen before.
    seed = 1_000_003
    synthesizer = PairSynthesizer(recipe, seed, device)
    sampler = CropSampler((images,), (crop or settings.crop) + 2 * synthesizer.margin, seed)
    size = net.config.kernel_size
    columns: list[Tensor] = []
    for first in range(0, settings.validation, settings.batch):
        samples = range(first, min(first + settings.batch, settings.validation))
        pairs = synthesizer(sampler(samples)[0], samples)
        target = resized(pairs.kernels, size)
        with torch.autocast(device.type, torch.bfloat16):
            estimate = net(to_light(pairs.blurred, pairs))
        radius = rms_radius(target)
        columns.append(
            torch.stack(
                [
                    radius,
                    # A picture with several kernels has none that is right.
                    similarity(estimate.kernels, target) * pairs.uniform,
                    torch.sigmoid(estimate.confidence.float()),
                    similarity(gaussian(radius, size), target),
                ]
            )
        )
    radius, similar, probability, plain = torch.cat(columns, dim=1).cpu().numpy()
    rows = []
    edges = (0.0, *_RMS_BOUNDS, math.inf)
    for low, high in pairwise(edges):
        chosen = (radius >= low) & (radius < high)
        if chosen.any():
            rows.append(
                {
                    "rms_from": low,
                    "rms_to": high if math.isfinite(high) else None,
                    "samples": int(chosen.sum()),
                    "similarity": float(similar[chosen].mean()),
                    "median_similarity": float(np.median(similar[chosen])),
                    "share_similar": float((similar[chosen] > SIMILAR).mean()),
                    "gaussian_similarity": float(plain[chosen].mean()),
                    "probability": float(probability[chosen].mean()),
                }
            )
    trusted = []
    for threshold in (0.3, 0.5, 0.7, 0.9):
        chosen = probability > threshold
        trusted.append(
            {
                "probability_above": threshold,
                "share_trusted": float(chosen.mean()),
                "share_similar": float((similar[chosen] > SIMILAR).mean())
                if chosen.any()
                else None,
            }
        )
    samples_ = np.stack([radius, similar, probability], axis=1).round(4).tolist()
    return {"rows": rows, "confidence": trusted, "samples": samples_}


def gaussian(radius: Tensor, size: int) -> Tensor:
    """Return Gaussian kernels of given rms radii in pixels, (N, size, size), each of sum 1."""
    places = torch.arange(size, device=radius.device) - size // 2
    squared = (places[:, None].square() + places.square()).float()
    variance = (radius.square() / 2).clamp(min=0.05)[:, None, None]
    kernels = torch.exp(-squared / (2 * variance))
    return kernels / kernels.sum(dim=(1, 2), keepdim=True)


def table(result: dict[str, Any]) -> str:
    """Return what `validate` measured as lines of text."""
    lines = ["rms radius      n  similarity  median  > 0.85  of a Gaussian  probability"]
    for row in result["rows"]:
        high = "" if row["rms_to"] is None else f"{row['rms_to']:g}"
        lines.append(
            f"{row['rms_from']:g} - {high:4} {row['samples']:8d} {row['similarity']:11.3f} "
            f"{row['median_similarity']:7.3f} {row['share_similar']:7.3f} "
            f"{row['gaussian_similarity']:14.3f} {row['probability']:12.3f}"
        )
    for row in result["confidence"]:
        right = "-" if row["share_similar"] is None else f"{row['share_similar']:.3f}"
        lines.append(
            f"probability > {row['probability_above']}: {row['share_trusted']:.3f} of the samples, "
            f"of which {right} are similar"
        )
    return "\n".join(lines)


def write_weights(net: KernelNet, path: Path, *, half: bool) -> None:
    """Write a network's weights and configuration to a safetensors file, whole or not at all."""
    dtype = torch.float16 if half else torch.float32
    state = {name: value.to("cpu", dtype).contiguous() for name, value in net.state_dict().items()}
    content = save(state, {"format": FORMAT, "config": json.dumps(net.config.to_dict())})
    with atomic_write(path) as part:
        part.write_bytes(content)


def _log(out: Path, record: dict[str, Any]) -> None:
    print("  ".join(f"{name} {value:.4g}" for name, value in record.items()), flush=True)
    with (out / "log.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(record) + "\n")
