"""Scores and their summaries add up."""

from __future__ import annotations

import numpy as np
import pytest

from darkdeblur_trainer.benchmark import baselines
from darkdeblur_trainer.benchmark.scores import (
    INPUT,
    PERFECT_DENOISER,
    score_methods,
    summarize,
)
from darkdeblur_trainer.synthesis import Degradation
from darkdeblur_trainer.validation import degraded

from .conftest import images, pairs, same, sharp


def test_rows_tell_means_gains_and_what_is_deblurring():
    found = score_methods(
        degraded("group", images(3), Degradation(preset="night"), 112, clean=True),
        {"nothing": same, "truth": sharp, PERFECT_DENOISER: baselines.perfect_denoiser},
    )
    assert [score.method for score in found] == [INPUT, "nothing", "truth", PERFECT_DENOISER] * 3
    blurred, nothing, truth, perfect = summarize(found)
    assert blurred.metrics == nothing.metrics
    assert blurred.metrics["psnr"] == pytest.approx(
        np.mean([score.metrics["psnr"] for score in found if score.method == INPUT])
    )
    assert blurred.gain is None
    assert truth.metrics["ssim"] == 1
    assert truth.metrics["psnr"] == np.inf
    assert truth.psnr_to_input == pytest.approx(blurred.metrics["psnr"])
    # What changes nothing is infinitely near its input; the input itself is not asked.
    assert nothing.psnr_to_input == np.inf
    assert blurred.psnr_to_input is None
    assert (nothing.gain, nothing.worst, nothing.harmed) == (0, 0, 0)
    assert perfect.gain > 0
    assert perfect.deblurring is None
    assert nothing.deblurring == pytest.approx(-perfect.gain)
    assert "ms_ssim" not in truth.metrics  # 112 pixels are too few


def test_scores_are_the_same_by_several_workers():
    made = pairs(5, preset="night")
    one, three = (score_methods(made, {"w": baselines.wiener}, workers=n) for n in (1, 3))
    assert one == three
    psnr_only = score_methods(made, {"w": baselines.wiener}, metrics=("psnr",))
    assert [s.metrics for s in psnr_only] == [{"psnr": s.metrics["psnr"]} for s in one]
