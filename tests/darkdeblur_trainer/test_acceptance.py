"""The acceptance tables: the same pairs every time, fair baselines, numbers that add up."""

from __future__ import annotations

import csv
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from darkdeblur_trainer.acceptance import baselines
from darkdeblur_trainer.acceptance.curves import AXES, curves, degradation_at, write_curves
from darkdeblur_trainer.acceptance.frames import microscopy_frames
from darkdeblur_trainer.acceptance.plot import PlotError, draw_curves, require_matplotlib
from darkdeblur_trainer.acceptance.scores import INPUT, Row, rows, scores
from darkdeblur_trainer.acceptance.tables import table
from darkdeblur_trainer.data import cache_images, find_images
from darkdeblur_trainer.synthesis import Degradation
from darkdeblur_trainer.validation import ValidationPair, as_saved, degraded
from napari_darkdeblur.metrics import psnr
from napari_darkdeblur.metrics.with_reference import MS_SSIM_LEAST_SIDE

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
    "kernel_length": [9, 9],
    "exposed_fraction": [1, 1],
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
        assert psnr(as_saved(restore(pair)), reference) > before + 1.5


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


def test_rows_are_the_means_of_scores():
    found = scores(pairs(3, preset="night"), {"nothing": same, "truth": sharp})
    assert [score.way for score in found] == [INPUT, "nothing", "truth"] * 3
    blurred, nothing, truth = rows(found)
    assert blurred.metrics == nothing.metrics
    assert blurred.metrics["psnr"] == pytest.approx(
        np.mean([score.metrics["psnr"] for score in found if score.way == INPUT])
    )
    assert truth.metrics["ssim"] == 1
    assert truth.metrics["psnr"] == np.inf
    assert truth.psnr_to_input == pytest.approx(blurred.metrics["psnr"])
    # What changes nothing is infinitely near its input; the input itself is not asked.
    assert nothing.psnr_to_input == np.inf
    assert blurred.psnr_to_input is None
    assert "ms_ssim" not in truth.metrics  # 112 pixels are too few


def test_the_table_tells_what_is_known():
    known = {"psnr": 30.126, "ssim": 0.9, "ms_ssim": 0.95, "ciede2000_mean": 1.234}
    lines = [
        Row("night", INPUT, known, None),
        Row("night", "small", {**known, "psnr": 33.0}, 31.0),
        Row("unblurred", "small", {k: v for k, v in known.items() if k != "ms_ssim"}, 45.678),
    ]
    text = table(lines, ["unblurred"], markdown=True).splitlines()
    assert text[0].endswith("| PSNR to input (dB) |")
    assert text[2] == "| night | blurred | 30.13 | 0.9000 | 0.9500 | 1.23 |  |"
    assert text[4] == "| unblurred | small | 30.13 | 0.9000 | – | 1.23 | 45.68 |"
    assert "to input" not in table(lines[:2], ["unblurred"], markdown=True)
    aligned = table(lines, ["unblurred"], markdown=False).splitlines()
    assert aligned[1] == aligned[4] == ""
    columns = {line.index("30.13") for line in aligned if "30.13" in line}
    assert len(columns) == 1


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
            "blur": {"kernel_length"},
            "noise": {"shot_gain", "read_noise"},
            "darkness": {"exposure"},
        }[axis.name]  # fmt: skip


def test_missing_matplotlib_is_told_with_the_way_out(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(PlotError, match="pip install"):
        require_matplotlib()
