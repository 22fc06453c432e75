"""Classical blind deconvolution finds kernels that are known, and survives saturation."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, signal
from skimage.restoration import richardson_lucy

from darkdeblur_trainer.benchmark.baselines import BlindDeconvolution, write_kernels
from darkdeblur_trainer.benchmark.blind import (
    DarkChannel,
    LightStreaks,
    saturated_richardson_lucy,
)
from darkdeblur_trainer.benchmark.blind.deconvolution import cleaned_kernel
from darkdeblur_trainer.benchmark.blind.light_streaks import find_streaks, similarity
from darkdeblur_trainer.validation import ValidationPair, as_saved
from napari_darkdeblur.metrics import psnr

from ..conftest import scene

SIZE = 13


def hook() -> np.ndarray:
    """Return a kernel (13, 13) that is no line and not symmetric."""
    kernel = np.zeros((SIZE, SIZE), np.float32)
    kernel[3, 2:9] = 1
    kernel[3:9, 9] = 1
    return cleaned_kernel(kernel)


def photograph(side: int = 120) -> np.ndarray:
    """Return light (side, side) with edges at several scales and dark places."""
    grey = scene(side, side, 3).mean(axis=2) / 255
    return np.clip((grey - 0.25) / 0.6, 0, 1).astype(np.float32)


def blurred(light: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return signal.fftconvolve(np.pad(light, SIZE, mode="symmetric"), kernel, mode="same")[
        SIZE:-SIZE, SIZE:-SIZE
    ].astype(np.float32)


def lamps(side: int = 150) -> np.ndarray:
    """Return light of a dim ground with five lamps, 20 times as bright as white."""
    rng = np.random.default_rng(0)
    ground = ndimage.gaussian_filter(rng.random((side, side)), 3)
    light = 0.02 + 0.1 * (ground - ground.min()) / np.ptp(ground)
    for row, column in ((30, 30), (30, 110), (75, 70), (115, 35), (118, 115)):
        light[row, column] = 20
    return light.astype(np.float32)


def test_the_dark_channel_finds_the_kernel_of_a_photograph():
    kernel = hook()
    found = DarkChannel(iterations=3)(blurred(photograph(), kernel), SIZE)
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert found.min() >= 0
    point = np.zeros((SIZE, SIZE), np.float32)
    point[SIZE // 2, SIZE // 2] = 1
    plain = similarity(ndimage.gaussian_filter(point, 2.5), kernel)
    assert similarity(found, kernel) > max(0.75, plain + 0.1)


def test_light_streaks_draw_the_kernel():
    kernel = hook()
    image = np.clip(blurred(lamps(), kernel), 0, 1)
    assert len(find_streaks(image, 2 * SIZE + 1)) == 5
    found = LightStreaks(iterations=2)(image, 2 * SIZE + 1)
    padded = np.pad(kernel, (SIZE + 1) // 2)
    assert similarity(found, padded.astype(np.float32)) > 0.9


def test_without_lamps_there_is_no_streak():
    assert LightStreaks()(blurred(photograph(), hook()), 2 * SIZE + 1) is None


def test_saturated_light_does_not_ring():
    kernel = hook()
    light = lamps()
    image = np.clip(blurred(light, kernel), 0, 1)
    (restored,) = saturated_richardson_lucy(image, kernel, (20,))
    # scikit-image's diverges in single precision.
    plain = richardson_lucy(image.astype(float), kernel.astype(float), num_iter=20, clip=False)
    wanted = np.clip(light, 0, 1)
    errors = [np.abs(np.clip(each, 0, 1) - wanted).mean() for each in (restored, plain, image)]
    assert errors[0] < 0.7 * errors[1]
    assert errors[0] < errors[2]


def test_without_saturation_it_is_richardson_and_lucys():
    kernel = hook()
    image = 0.6 * blurred(photograph(), kernel) + 0.05
    (restored,) = saturated_richardson_lucy(image, kernel, (10,))
    padded = np.pad(image.astype(float), SIZE, mode="symmetric")
    plain = richardson_lucy(padded, kernel.astype(float), num_iter=10, clip=False)
    plain = plain[SIZE:-SIZE, SIZE:-SIZE]
    inside = np.s_[2 * SIZE : -2 * SIZE, 2 * SIZE : -2 * SIZE]
    # scikit-image begins with a grey picture, this one with the blurred one.
    assert np.abs(restored - plain)[inside].mean() < 0.01


def pair_of(light: np.ndarray, kernel: np.ndarray) -> ValidationPair:
    image, sharp = (
        torch.from_numpy(np.clip(each, 0, 1)).expand(3, -1, -1)
        for each in (blurred(light, kernel), light)
    )
    return ValidationPair("group", "lamps.png", image, sharp, torch.from_numpy(kernel))


def test_a_pair_is_restored_and_its_kernel_written(tmp_path):
    kernel = hook()
    method = BlindDeconvolution("light streaks", LightStreaks(iterations=1))
    dark, plain = pair_of(lamps(), kernel), pair_of(photograph(), kernel)
    restored = method(dark)
    assert restored.shape == dark.blurred.shape
    reference = as_saved(dark.sharp)
    assert psnr(as_saved(restored), reference) > psnr(as_saved(dark.blurred), reference)
    # Nothing to go by: the picture stays, and the table says so.
    assert torch.equal(method(plain), plain.blurred)
    write_kernels(tmp_path / "kernels", method.found)
    with (tmp_path / "kernels" / "kernels.csv").open(newline="") as stream:
        first, second = csv.DictReader(stream)
    assert float(first["similarity to the true kernel"]) > 0.8
    assert second["similarity to the true kernel"] == second["picture"] == ""
    picture = np.asarray(Image.open(tmp_path / "kernels" / first["picture"]))
    assert picture.max() == 255
    assert picture.shape[0] == 4 * method.found[0].kernel.shape[0]
