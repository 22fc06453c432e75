"""Curves vary one setting at a time."""

from __future__ import annotations

import csv
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from darkdeblur_trainer.benchmark.curves import (
    AXES,
    PlotError,
    curves,
    degradation_at,
    draw_curves,
    require_matplotlib,
    write_curves,
)

from .conftest import same


def test_curves_vary_one_setting_and_measure_the_gain(cache, tmp_path):
    methods: dict[str, Callable] = {"nothing": same}
    points = curves(cache, 2, 112, methods)
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
