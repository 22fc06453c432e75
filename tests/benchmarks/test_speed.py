"""What the benchmarks of speed compare, and that they can be run: not how fast it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from benchmarks import tiling, train_step
from benchmarks.baseline import baseline_of
from benchmarks.forward import PRESETS, flops, make_network

from darkdeblur_trainer.config_files import load_config
from darkdeblur_trainer.perceptual import VggFeatures
from darkdeblur_trainer.synthesis import PairSynthesizer
from napari_darkdeblur.restore.tiling.plan import Tiling


@pytest.mark.parametrize("preset", PRESETS)
def test_the_baseline_is_the_same_network(preset: str) -> None:
    net = make_network(preset)
    side = 2 * net.config.size_multiple
    image = torch.rand(1, 3, side, side)
    with torch.inference_mode():
        restored = net(image)
        assert (restored - image).abs().max() > 0.05
        torch.testing.assert_close(baseline_of(net)(image), restored, atol=1e-4, rtol=0)
    assert flops(preset, side) > 1e6


@pytest.mark.parametrize("mode", tiling.MODES)
def test_peaks_are_measured_in_every_mode(mode: Tiling) -> None:
    measured = tiling.measure_peak(tiling.Case("small", 96, mode))
    assert measured["tiles"] >= 1
    assert measured["predicted"] > 0
    assert measured["recomputed"] == ""


def test_a_file_is_restored_for_the_table_of_peaks() -> None:
    assert tiling.measure_peak(tiling.Case("small", 96, "auto", 10**9, files=True))["tiles"] >= 1


def test_the_parts_of_a_training_step_run(tmp_path: Path) -> None:
    small = ["generator=small", "generator.width=8", "batch_size=2", "patch=112", "precision=fp32"]
    config = load_config("small", [*small, *train_step.ALL_TERMS])
    device = torch.device("cpu")
    vgg = VggFeatures(train_step.random_vgg(tmp_path))
    synthesizer = PairSynthesizer(config.synthesis, config.seed, device)
    parts = train_step.parts_of(config, device, vgg, synthesizer)
    given, sharp = parts["guides"]()
    assert given.shape == (2, 3 * (1 + config.generator.guides), 112, 112)
    assert sharp.shape == (2, 3, 112, 112)
    # VGG and the discriminator take long, whatever the network.
    for name in parts.keys() - {"guides", "VGG", "discriminator", "step"}:
        assert train_step.timed(parts[name], device).cpu > 0
