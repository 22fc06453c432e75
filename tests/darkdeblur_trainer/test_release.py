"""The recipe of the weights that ship: it says what it should, and it runs."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from darkdeblur_trainer.config_files import load_config
from darkdeblur_trainer.synthesis import PairSynthesizer
from darkdeblur_trainer.train_state import learning_rate
from darkdeblur_trainer.training import fit
from napari_darkdeblur.network import GeneratorConfig, load_weights

# What a CPU cannot do, or not in a test; everything else is the recipe's.
ON_A_CPU = ["precision=fp32", "compile=false", "batch_size=2", "validation.images=1"]
SMALL = [
    "generator={width: 4, growth: 4, levels: 2}",
    "discriminator_width=4",
    "validation.crop=112",
    "log.scalars=1",
]


def test_the_release_is_the_papers_network_with_a_schedule():
    config = load_config("release-paper")
    assert config.generator == GeneratorConfig.paper()
    rates = [learning_rate(config.optimizer, step, config.steps) for step in range(config.steps)]
    assert max(rates) == pytest.approx(2e-4)
    assert rates[0] < 1e-6
    assert rates[-1] == pytest.approx(1e-6, rel=0.01)
    for term in (config.losses.features, config.losses.adversarial):
        assert term.from_step == pytest.approx(config.steps * 2 / 3, rel=1e-3)
    assert (config.ema_decay, config.precision, config.compile) == (0.999, "bf16", True)
    assert config.checkpoint.minutes == 2


def test_most_of_its_samples_are_dark_and_some_are_not_blurred():
    config = load_config("release-paper")
    synthesizer = PairSynthesizer(config.synthesis, seed=0)
    m = synthesizer.margin
    count = 512
    # Greys of every brightness, as photographs have them.
    grey = torch.linspace(0.1, 0.9, count).view(-1, 1, 1, 1).expand(-1, 3, 2 * m + 1, 2 * m + 1)
    pairs = synthesizer(grey, range(count))
    dark = pairs.sharp.mean(dim=(1, 2, 3)) < 0.25
    assert 0.6 < float(dark.float().mean()) < 0.95
    sharp = pairs.kernels[:, m, m] > 0.999
    assert 0.05 < float(sharp.float().mean()) < 0.10
    # Night's images are 8-bit numbers; the paper's are not rounded.
    night = (pairs.blurred * 255 - torch.round(pairs.blurred * 255)).abs().amax((1, 2, 3)) < 1e-3
    assert 0.4 < float(night.float().mean()) < 0.6


def test_the_release_runs_dry_with_all_its_terms(photographs, vgg16_state, tmp_path):
    vgg = tmp_path / "vgg.safetensors"
    save_file(vgg16_state, vgg)
    terms = ["losses.features.from_step=1", "losses.adversarial.from_step=1"]
    config = load_config("release-paper", [*ON_A_CPU, *SMALL, *terms, "steps=2"])
    folder = tmp_path / "run"
    fit(
        config,
        photographs,
        folder,
        validation_data=photographs,
        vgg_path=vgg,
        cache_folder=tmp_path,
        progress=False,
    )
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {"loss/l1", "loss/ms_ssim", "loss/features", "loss/adversarial"} <= records[1].keys()
    assert "night/psnr" in records[-1]
    assert load_weights(folder / "weights.safetensors").provenance["steps"] == 2
