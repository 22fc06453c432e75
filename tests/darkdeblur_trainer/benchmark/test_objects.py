"""Objects are measured as they were rendered."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from darkdeblur_trainer.benchmark.objects import (
    CONDITIONS,
    FRAMES,
    beads,
    lamps,
    measure_objects,
    nuclei,
    object_pairs,
    object_scores,
    object_table,
    read_objects,
    write_objects,
)
from darkdeblur_trainer.benchmark.scores import (
    INPUT,
)
from darkdeblur_trainer.validation import ValidationPair

from .conftest import sharp


def test_rendered_objects_are_measured_as_they_are():
    for render, least in (
        (lambda seed: nuclei(seed, 256, saturated=False), 30),
        (lambda seed: lamps(seed, 256), 40),
        (lambda seed: beads(seed, 256), 80),
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
    assert len(found) == 4 * len(CONDITIONS) * FRAMES * 3
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
