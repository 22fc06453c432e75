"""The acceptance tables: the same pairs every time, fair baselines, numbers that add up."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from darkdeblur_trainer.acceptance import baselines, ways
from darkdeblur_trainer.acceptance.curves import AXES, curves, degradation_at, write_curves
from darkdeblur_trainer.acceptance.frames import microscopy_frames
from darkdeblur_trainer.acceptance.groups import NOISE, SIZES, acceptance_groups, group_pairs
from darkdeblur_trainer.acceptance.objects import (
    CONDITIONS,
    FRAMES,
    lamps,
    measure_objects,
    nuclei,
    object_pairs,
    object_scores,
    object_table,
    read_objects,
    write_objects,
)
from darkdeblur_trainer.acceptance.plot import PlotError, draw_curves, require_matplotlib
from darkdeblur_trainer.acceptance.scores import INPUT, PERFECT_DENOISER, Score, rows, scores
from darkdeblur_trainer.acceptance.tables import gain_table, of_models, read_csv, table, write_csv
from darkdeblur_trainer.config import ConfigError
from darkdeblur_trainer.data import cache_images, find_images
from darkdeblur_trainer.synthesis import Degradation
from darkdeblur_trainer.validation import ValidationPair, as_saved, degraded
from napari_darkdeblur.metrics import psnr
from napari_darkdeblur.metrics.with_reference import MS_SSIM_LEAST_SIDE
from napari_darkdeblur.network import DarkDeblurNet, GeneratorConfig, load_weights, save_weights
from napari_darkdeblur.psf import PSF

from .conftest import scene

# Nothing but a blur of some pixels.
QUIET = {
    "gaussian_noise": 0,
    "shot_gain": None,
    "read_noise": None,
    "bits": 0,
    "jpeg_probability": 0,
    "highlight_probability": 0,
    "unblurred": 0,
    "blur_radius": [1.2, 1.2],
    "defocus_disc": 0,
    "exposure": [0.8, 0.8],
}


def images(count: int, side: int = 128) -> list[tuple[str, torch.Tensor]]:
    return [
        (f"{seed}.png", torch.from_numpy(scene(side, side, seed)).permute(2, 0, 1))
        for seed in range(count)
    ]


def pairs(count: int, **settings: object) -> list[ValidationPair]:
    return list(degraded("group", images(count), Degradation.model_validate(settings), 112))


def same(pair: ValidationPair) -> torch.Tensor:
    return pair.blurred


def sharp(pair: ValidationPair) -> torch.Tensor:
    return pair.sharp


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


@pytest.mark.parametrize("restore", [baselines.wiener, baselines.lucy])
@pytest.mark.parametrize("preset", ["paper", "night"])
def test_baselines_undo_a_blur_that_they_know(restore, preset):
    for pair in pairs(2, preset=preset, **QUIET):
        reference = as_saved(pair.sharp)
        before = psnr(as_saved(pair.blurred), reference)
        assert psnr(as_saved(restore(pair)), reference) > before + 1


@pytest.mark.parametrize("restore", [baselines.wiener, baselines.lucy])
def test_baselines_work_in_the_light_that_was_blurred(restore):
    # Told that the blur was in another light than it was, they do worse.
    for pair in pairs(2, preset="night", **QUIET):
        assert pair.linear_light
        otherwise = ValidationPair("", "", pair.blurred, pair.sharp, pair.kernel, False)
        error, other_error = (
            float((restore(p) - pair.sharp).square().mean()) for p in (pair, otherwise)
        )
        assert error < other_error


@pytest.mark.parametrize("restore", [baselines.wiener, baselines.lucy])
def test_baselines_restore_grey_images_and_give_the_same_each_time(restore):
    (pair,) = pairs(1, preset="microscopy")
    grey = ValidationPair("", "", pair.blurred[:1], pair.sharp[:1], pair.kernel)
    first = restore(grey)
    assert first.shape == grey.blurred.shape
    assert 0 <= float(first.min()) <= float(first.max()) <= 1
    assert torch.equal(first, restore(grey))


def test_the_bundled_frames_are_grey_and_large_enough_for_every_metric():
    frames = microscopy_frames()
    assert len({name for name, _ in frames}) == len(frames) == 2
    for _, frame in frames:
        assert frame.dtype == torch.uint8
        assert torch.equal(frame[0], frame[2])
        assert min(frame.shape[1:]) >= MS_SSIM_LEAST_SIDE


def test_groups_have_the_size_of_blur_and_the_noise_that_their_names_say():
    groups = acceptance_groups(["sizes"])
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
    varying = acceptance_groups(["varying"])[0].degradation
    assert varying.camera_turn_probability > 0 < varying.moving_object_probability
    changed = acceptance_groups(["sizes", "night"], ["exposure=[0.5, 0.5]"])
    assert {group.degradation.exposure for group in changed} == {(0.5, 0.5)}
    with pytest.raises(ConfigError, match="no group 'dusk'; there are sizes, "):
        acceptance_groups(["dusk"])


@pytest.mark.parametrize("preset", ["paper", "night", "microscopy"])
def test_a_perfect_denoiser_gives_what_there_was_before_noise(preset, cache):
    (noisy,) = acceptance_groups([preset], ["unblurred=0"])
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


def test_rows_tell_means_gains_and_what_is_deblurring():
    found = scores(
        degraded("group", images(3), Degradation(preset="night"), 112, clean=True),
        {"nothing": same, "truth": sharp, PERFECT_DENOISER: baselines.perfect_denoiser},
    )
    assert [score.way for score in found] == [INPUT, "nothing", "truth", PERFECT_DENOISER] * 3
    blurred, nothing, truth, perfect = rows(found)
    assert blurred.metrics == nothing.metrics
    assert blurred.metrics["psnr"] == pytest.approx(
        np.mean([score.metrics["psnr"] for score in found if score.way == INPUT])
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
    one, three = (scores(made, {"w": baselines.wiener}, workers=n) for n in (1, 3))
    assert one == three
    psnr_only = scores(made, {"w": baselines.wiener}, metrics=("psnr",))
    assert [s.metrics for s in psnr_only] == [{"psnr": s.metrics["psnr"]} for s in one]


# Two images; one loses 0.6 dB, the other gains 1; and a perfect denoiser.
KNOWN = {
    INPUT: (30.126, 28.0),
    "small": (29.526, 29.0),
    PERFECT_DENOISER: (30.226, 28.2),
}


def known_scores(group: str) -> list[Score]:
    rest = {"ssim": 0.9, "ciede2000_mean": 1.234}
    return [
        Score(group, str(place), way, {"psnr": value, **rest}, None if way == INPUT else 45.678)
        for way, values in KNOWN.items()
        for place, value in enumerate(values)
    ]


def test_the_tables_tell_what_is_known(tmp_path):
    found = [*known_scores("night"), *known_scores("unblurred")]
    lines = rows(found)
    text = table(of_models(lines), ["unblurred"], markdown=True).splitlines()
    assert text[0].endswith("| PSNR to input (dB) |")
    assert text[2] == "| night | blurred | 29.06 |  |  |  |  | 0.9000 | – | 1.23 |  |"
    assert text[3] == (
        "| night | small | 29.26 | +0.20 | +0.05 | -0.60 | 1 of 2 | 0.9000 | – | 1.23 |  |"
    )
    assert text[5].endswith("| 45.68 |")
    assert len(text) == 6
    assert "to input" not in table(lines[:3], ["unblurred"], markdown=True)
    gains = gain_table(lines, markdown=True).splitlines()
    assert gains[0].endswith("| small: gain (dB) | perfect denoiser: gain (dB) |")
    assert gains[2] == "| night | 2 | 29.06 | +0.20 | +0.15 |"
    aligned = table(lines, ["unblurred"], markdown=False).splitlines()
    assert aligned[1] == aligned[5] == ""
    columns = {line.index("29.06") for line in aligned if "29.06" in line}
    assert len(columns) == 1
    write_csv(tmp_path / "scores.csv", found)
    assert read_csv(tmp_path / "scores.csv") == found


@pytest.fixture(scope="module")
def guided(tmp_path_factory) -> Path:
    """Return the weights of a network with guides that returns the mean of these."""
    network = DarkDeblurNet(GeneratorConfig(width=4, growth=4, levels=2, guides=3))
    torch.manual_seed(0)
    torch.nn.init.normal_(network.head.weight, std=0.2)
    path = tmp_path_factory.mktemp("guided") / "guided.safetensors"
    save_weights(path, network)
    return path


def test_a_model_is_given_the_true_psf_or_none(guided):
    model = load_weights(guided)
    (pair,) = pairs(1, preset="night", **QUIET)
    none, true = (ways.model_way(model, psf)(pair) for psf in ("none", "true"))
    assert none.shape == true.shape == pair.blurred.shape
    assert not torch.allclose(none, true, atol=1e-3)
    # With the kernel of a sharp picture it sees what it sees without one.
    point = torch.zeros_like(pair.kernel)
    point[len(point) // 2, len(point) // 2] = 1
    undone = ValidationPair("", "", pair.blurred, pair.sharp, point, pair.linear_light)
    assert float((ways.model_way(model, "true")(undone) - true).abs().max()) > 1e-3
    grey = ValidationPair("", "", pair.blurred[:1], pair.sharp[:1], pair.kernel)
    assert ways.model_way(model, "true")(grey).shape == grey.blurred.shape


def test_a_model_searches_for_the_psf_by_itself(guided, monkeypatch):
    model = load_weights(guided)
    (pair,) = pairs(1, preset="night", **QUIET)
    sure = 0.9

    def found(image, restorer, *, linear_light, **_):
        assert image.shape == (112, 112, 3)
        assert linear_light
        return PSF.from_array(pair.kernel.numpy(), confidence=sure)

    monkeypatch.setattr("napari_darkdeblur.restore.search.estimate", found)
    none, true = (ways.model_way(model, psf)(pair) for psf in ("none", "true"))
    search = ways.model_way(model, "auto")
    torch.testing.assert_close(search(pair), true)
    sure = 0.1  # too little to trust it
    torch.testing.assert_close(search(pair), none)


def test_rendered_objects_are_measured_as_they_are():
    for render, least in (
        (lambda seed: nuclei(seed, 256, saturated=False), 30),
        (lambda seed: lamps(seed, 256), 40),
    ):
        frame = render(0)
        assert torch.equal(frame, render(0))
        assert not torch.equal(frame, render(1))
        measured = measure_objects(frame[0].double().numpy())
        assert measured.number >= least
        assert 20 < measured.area < 600
    assert (nuclei(0, 256, saturated=True) > 1).any()
    assert measure_objects(np.zeros((20, 20))).number == 0
    square = np.zeros((40, 40))
    square[5:15, 5:15] = 0.5
    square[20:30, 5:25] = 1.0
    square[35, 35] = 1.0  # a speck
    found = measure_objects(square)
    assert (found.number, found.area) == (2, 150)
    assert found.brightness == pytest.approx((100 * 0.5 + 200) / 300)


def test_a_bias_of_area_and_brightness_is_told(tmp_path):
    def smaller(pair: ValidationPair) -> torch.Tensor:
        return -torch.nn.functional.max_pool2d(-pair.blurred[None], 3, 1, 1)[0]

    found = object_scores(object_pairs(128), {"truth": sharp, "smaller": smaller})
    assert len(found) == 3 * len(CONDITIONS) * FRAMES * 3
    write_objects(tmp_path / "objects.csv", found)
    assert read_objects(tmp_path / "objects.csv") == found
    lines = [line.split(" | ") for line in object_table(found, markdown=True).splitlines()[2:]]
    for line in lines:
        area, brightness = float(line[5]), float(line[6].rstrip(" |"))
        if line[2] == "truth":
            assert (line[3], area, brightness) == (line[4], 0, 0)
        if line[2] == "smaller" and "slightly" not in line[1]:
            assert area < -10
        if line[2] == INPUT and "little" in line[1]:
            assert abs(area) < 2 > abs(brightness)


@pytest.fixture
def cache(photographs, tmp_path):
    return cache_images(find_images(photographs), tmp_path)


def test_curves_vary_one_setting_and_measure_the_gain(cache, tmp_path):
    ways: dict[str, Callable] = {"nothing": same}
    points = curves(cache, 2, 112, ways)
    assert [(p.axis, p.value) for p in points] == [(a.name, v) for a in AXES for v in a.values]
    assert all(point.gain == 0 for point in points)
    # More of what is varied makes the input worse.
    for axis in ("blur", "noise"):
        quality = [point.psnr for point in points if point.axis == axis]
        assert quality == sorted(quality, reverse=True)
    write_curves(tmp_path / "points.csv", points)
    with (tmp_path / "points.csv").open(newline="") as stream:
        records = list(csv.DictReader(stream))
    assert [float(record["PSNR (dB)"]) for record in records] == [p.psnr for p in points]

    draw_curves(tmp_path / "points.png", points, "two scenes")
    picture = np.asarray(Image.open(tmp_path / "points.png").convert("RGB"))
    assert picture.shape[1] > 1000
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_only_one_setting_differs_from_point_to_point():
    for axis in AXES:
        settings = [degradation_at(axis, value).model_dump() for value in axis.values]
        changed = {
            name for name in settings[0] if any(s[name] != settings[0][name] for s in settings)
        }
        assert changed == {
            "blur": {"blur_radius"},
            "noise": {"shot_gain", "read_noise"},
            "darkness": {"exposure"},
        }[axis.name]  # fmt: skip


def test_missing_matplotlib_is_told_with_the_way_out(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(PlotError, match="pip install"):
        require_matplotlib()
