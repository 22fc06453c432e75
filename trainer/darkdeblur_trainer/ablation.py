"""The paper's ablation (Table 4): what each component adds at the same budget, by several seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_darkdeblur.atomic import atomic_write
from napari_darkdeblur.network import GeneratorConfig, build_network

from .benchmark.tables import aligned, in_markdown
from .config import ConfigError, LossConfig, TrainConfig
from .run_folder import RunFolder
from .training import FitResult, fit

# By name: channel attention (CA) with its short residual, contextual gate (CG), and the
# multi-term loss (ML) in place of L1 alone.
VARIANTS: dict[str, tuple[bool, bool, bool]] = {
    "base": (False, False, False),
    "CA": (True, False, False),
    "CG": (True, True, False),
    "full": (True, True, True),
}
_METRICS = {"psnr": ("PSNR (dB)", 2), "ssim": ("SSIM", 4), "ciede2000": ("CIEDE2000", 2)}


@dataclass(frozen=True)
class AblationRun:
    """Result of one variant with one seed.

    Parameters
    ----------
    variant : str
        Name of the variant, a key of `VARIANTS`.
    seed : int
        Seed of the run.
    parameters : int
        Number of the generator's parameters.
    metrics : dict of float
        Metrics of the last validation, ``"GROUP/METRIC"`` and ``"GROUP/METRIC_input"``.
    """

    variant: str
    seed: int
    parameters: int
    metrics: dict[str, float]


def variant_config(config: TrainConfig, variant: str, seed: int) -> TrainConfig:
    """Return the configuration of a variant: the whole one without some components.

    Parameters
    ----------
    config : TrainConfig
        Configuration of the full network and objective.
    variant : str
        Name of the variant, a key of `VARIANTS`.
    seed : int
        Seed of the run.
    """
    attention, gate, multi_term = VARIANTS[variant]
    generator = config.generator.model_copy(
        update={"channel_attention": attention, "contextual_gate": gate}
    )
    changes: dict[str, Any] = {"generator": generator, "seed": seed}
    if not multi_term:
        others = {"ms_ssim": 0.0, "features": 0.0, "adversarial": 0.0}
        changes["losses"] = LossConfig.model_validate({"l1": 1.0, **others})
    return config.model_copy(update=changes)


def run_ablation(
    config: TrainConfig,
    data: Path,
    validation_data: Path,
    out: Path,
    seeds: Sequence[int],
    *,
    variants: Sequence[str] = tuple(VARIANTS),
    **options: Any,
) -> tuple[list[AblationRun], FitResult | None]:
    """Train every variant with every seed, or go on with those that were not finished.

    All runs have the same steps, batches, images and schedule; their folders are
    ``OUT/VARIANT-SEED``. Seeds come first, so that an interrupted ablation has all variants of
    the first seeds.

    Parameters
    ----------
    config : TrainConfig
        Configuration of the full network and objective.
    data, validation_data : pathlib.Path
        Folders of the images to train and to validate on.
    out : pathlib.Path
        Folder of the runs, which is made if need be.
    seeds : sequence of int
        Seeds, one run of each variant for each.
    variants : sequence of str
        Names of the variants, keys of `VARIANTS`.
    **options
        Options of `fit`: ``vgg_path``, ``device``, ``cache_folder``, ``progress``.

    Returns
    -------
    runs : list of AblationRun
        Results of the runs that are finished.
    stopped : FitResult or None
        How the run ended that was stopped by a signal; None if all are finished.

    Raises
    ------
    ConfigError
        There is no such variant, or the configuration itself leaves a component out.
    Exception
        Whatever `fit` raises.
    """
    unknown = [name for name in variants if name not in VARIANTS]
    if unknown:
        raise ConfigError(f"There is no variant {unknown[0]!r}; there are {', '.join(VARIANTS)}.")
    generator = config.generator
    if not (
        isinstance(generator, GeneratorConfig)
        and generator.channel_attention
        and generator.contextual_gate
    ):
        raise ConfigError(
            "The ablation takes components away: the configuration's generator must have "
            "channel_attention and contextual_gate."
        )
    found: list[AblationRun] = []
    for seed in seeds:
        for variant in variants:
            chosen = variant_config(config, variant, seed)
            folder = out / f"{variant}-{seed}"
            result = fit(chosen, data, folder, validation_data=validation_data, **options)
            if result.reason != "finished":
                return found, result
            metrics = RunFolder(folder).last_validation(result.step)
            network = build_network(chosen.generator)
            parameters = sum(parameter.numel() for parameter in network.parameters())
            metrics.pop("step", None)
            found.append(AblationRun(variant, seed, parameters, metrics))
    return found, None


def table(runs: Sequence[AblationRun], *, markdown: bool) -> str:
    """Format mean and standard deviation over the seeds, a line for each variant.

    Parameters
    ----------
    runs : sequence of AblationRun
        Results of `run_ablation`.
    markdown : bool
        As a table in Markdown, or with aligned columns.
    """
    groups = list(
        dict.fromkeys(
            name.partition("/")[0] for run in runs for name in run.metrics if "/psnr" in name
        )
    )
    head = ["model", "CA", "CG", "ML", "parameters", "seeds"]
    head += [f"{group}: {label}" for group in groups for label, _ in _METRICS.values()]
    lines = []
    first = runs[0]
    cells = ["input", "", "", "", "", ""]
    for group in groups:
        for metric, (_, digits) in _METRICS.items():
            cells.append(f"{first.metrics[f'{group}/{metric}_input']:.{digits}f}")
    lines.append(cells)
    for variant, parts in VARIANTS.items():
        some = [run for run in runs if run.variant == variant]
        if not some:
            continue
        marks = ["yes" if part else "no" for part in parts]
        cells = [variant, *marks, str(some[0].parameters), str(len(some))]
        for group in groups:
            for metric, (_, digits) in _METRICS.items():
                values = [run.metrics[f"{group}/{metric}"] for run in some]
                spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
                cells.append(f"{np.mean(values):.{digits}f}{spread}")
        lines.append(cells)
    return in_markdown(head, lines, names=4) if markdown else aligned(head, lines, names=1)


def write_runs(path: Path, runs: Sequence[AblationRun]) -> None:
    """Write every run's numbers as JSON.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    with atomic_write(path) as part:
        content = json.dumps([asdict(run) for run in runs], indent=1)
        part.write_text(content + "\n", encoding="utf-8")
