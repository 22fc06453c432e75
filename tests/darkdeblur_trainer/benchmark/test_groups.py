"""Groups of pairs are the same every time, and what their names say."""

from __future__ import annotations

import pytest
import torch

from darkdeblur_trainer.benchmark.groups import (
    NOISE,
    SIZES,
    benchmark_groups,
    microscopy_frames,
)
from darkdeblur_trainer.config import ConfigError
from darkdeblur_trainer.validation import as_saved, degraded
from napari_darkdeblur.metrics import psnr
from napari_darkdeblur.metrics.with_reference import MS_SSIM_LEAST_SIDE

from .conftest import images, pairs


def test_a_pair_is_the_same_however_many_there_are():
    for preset in ("paper", "night", "unblurred", "microscopy"):
        few, many = pairs(1, preset=preset), pairs(3, preset=preset)
        assert torch.equal(few[0].blurred, many[0].blurred)
        assert torch.equal(few[0].sharp, many[0].sharp)
        assert not torch.equal(many[0].blurred, many[1].blurred)


def test_unblurred_photographs_are_dark_and_sharp():
    for pair in pairs(4, preset="unblurred"):
        assert pair.kernel.max() > 0.999
        assert pair.sharp.mean() < 0.4
        # The noise of a good sensor: a network can leave it or take it away.
        assert psnr(as_saved(pair.blurred), as_saved(pair.sharp)) > 40


def test_the_bundled_frames_are_grey_and_large_enough_for_every_metric():
    frames = microscopy_frames()
    assert len({name for name, _ in frames}) == len(frames) == 2
    for _, frame in frames:
        assert frame.dtype == torch.uint8
        assert torch.equal(frame[0], frame[2])
        assert min(frame.shape[1:]) >= MS_SSIM_LEAST_SIDE


def test_groups_have_the_size_of_blur_and_the_noise_that_their_names_say():
    groups = benchmark_groups(["sizes"])
    assert len(groups) == len(SIZES) * len(NOISE) == len({group.name for group in groups})
    for group in groups:
        low, high = (float(word) for word in group.name.split(" ")[0].split("-"))
        settings = group.degradation
        assert settings.blur_radius == (low, high)
        assert settings.camera_turn_probability == settings.moving_object_probability == 0
        kernels = [p.kernel for p in degraded("", images(6), settings, 112)]
        for kernel in kernels:
            away = torch.arange(len(kernel)) - len(kernel) // 2
            square = (kernel.sum(0) + kernel.sum(1)) @ away.float().square()
            # A pixel of defocus and the pixels themselves widen it.
            assert low - 0.1 < square.sqrt() < (high**2 + 0.5 + 0.4) ** 0.5
    assert max(g.degradation.read_noise[1] for g in groups if "little" in g.name) <= min(
        g.degradation.read_noise[0] for g in groups if "much" in g.name
    )
    varying = benchmark_groups(["varying"])[0].degradation
    assert varying.camera_turn_probability > 0 < varying.moving_object_probability
    changed = benchmark_groups(["sizes", "night"], ["exposure=[0.5, 0.5]"])
    assert {group.degradation.exposure for group in changed} == {(0.5, 0.5)}
    with pytest.raises(ConfigError, match="no group 'dusk'; there are sizes, "):
        benchmark_groups(["dusk"])
