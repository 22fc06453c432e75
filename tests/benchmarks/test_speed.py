"""What the benchmarks of speed compare, and that they can be run: not how fast it is."""

from __future__ import annotations

import pytest
import torch
from benchmarks import tiling
from benchmarks.baseline import baseline_of
from benchmarks.forward import PRESETS, flops, make_network

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
