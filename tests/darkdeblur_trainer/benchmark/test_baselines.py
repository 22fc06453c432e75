"""Baselines undo what they know of, and nothing else."""

from __future__ import annotations

import pytest
import torch

from darkdeblur_trainer.benchmark import baselines
from darkdeblur_trainer.benchmark.groups import (
    benchmark_groups,
    group_pairs,
)
from darkdeblur_trainer.synthesis import Degradation
from darkdeblur_trainer.validation import ValidationPair, as_saved, degraded
from napari_darkdeblur.metrics import psnr

from .conftest import QUIET, images, pairs


@pytest.mark.parametrize("restore", [baselines.wiener, baselines.richardson_lucy])
@pytest.mark.parametrize("preset", ["paper", "night"])
def test_baselines_undo_a_blur_that_they_know(restore, preset):
    for pair in pairs(2, preset=preset, **QUIET):
        reference = as_saved(pair.sharp)
        before = psnr(as_saved(pair.blurred), reference)
        assert psnr(as_saved(restore(pair)), reference) > before + 1


@pytest.mark.parametrize("restore", [baselines.wiener, baselines.richardson_lucy])
def test_baselines_work_in_the_light_that_was_blurred(restore):
    # Told that the blur was in another light than it was, they do worse.
    for pair in pairs(2, preset="night", **QUIET):
        assert pair.linear_light
        otherwise = ValidationPair("", "", pair.blurred, pair.sharp, pair.kernel, False)
        error, other_error = (
            float((restore(p) - pair.sharp).square().mean()) for p in (pair, otherwise)
        )
        assert error < other_error


@pytest.mark.parametrize("restore", [baselines.wiener, baselines.richardson_lucy])
def test_baselines_restore_grey_images_and_give_the_same_each_time(restore):
    (pair,) = pairs(1, preset="microscopy")
    grey = ValidationPair("", "", pair.blurred[:1], pair.sharp[:1], pair.kernel)
    first = restore(grey)
    assert first.shape == grey.blurred.shape
    assert 0 <= float(first.min()) <= float(first.max()) <= 1
    assert torch.equal(first, restore(grey))


@pytest.mark.parametrize("preset", ["paper", "night", "microscopy"])
def test_a_perfect_denoiser_gives_what_there_was_before_noise(preset, cache):
    (noisy,) = benchmark_groups([preset], ["unblurred=0"])
    for pair in group_pairs([noisy], cache, None, 2, 112):
        assert pair.clean.shape == pair.blurred.shape == pair.sharp.shape
        assert baselines.perfect_denoiser(pair) is pair.clean
        assert not torch.equal(pair.clean, pair.blurred)
    noiseless = Degradation.model_validate({"preset": preset, **QUIET})
    for pair in degraded("", images(2), noiseless, 112, clean=True):
        torch.testing.assert_close(pair.clean, pair.blurred, atol=1e-6, rtol=0)
        assert psnr(as_saved(pair.clean), as_saved(pair.sharp)) < 40


def test_the_plain_denoiser_removes_noise_and_no_blur():
    settings = {**QUIET, "shot_gain": [5e-3, 5e-3]}
    for pair in degraded(
        "", images(2), Degradation.model_validate({"preset": "night", **settings}), 112, clean=True
    ):
        denoised = baselines.nl_means(pair)
        before, after = (
            float((image - pair.clean).square().mean()) for image in (pair.blurred, denoised)
        )
        assert after < 0.5 * before


def test_bm3d_is_its_users_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bm3d", None)
    with pytest.raises(baselines.DenoiserError, match="non-commercial"):
        baselines.require_bm3d()


def test_without_pywavelets_the_plain_denoisers_name_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pywt", None)
    with pytest.raises(baselines.DenoiserError, match=r"napari-darkdeblur\[train\]"):
        baselines.require_wavelets()
