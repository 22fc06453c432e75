"""Photographs of one scene are brought into one frame, and others are refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.transform import ProjectiveTransform, warp

from darkdeblur_trainer.alignment import AlignmentError, align_pair
from darkdeblur_trainer.batches import load_images
from darkdeblur_trainer.cli import main
from darkdeblur_trainer.config_files import parse_config

from .conftest import TINY

HEIGHT, WIDTH = 300, 360


def landscape(seed: int, height: int = HEIGHT + 60, width: int = WIDTH + 60) -> np.ndarray:
    """Return light (H, W, 3) with shapes of many sizes, which features can be found in."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 0.2)
    rows, columns = np.indices((height, width))
    for _ in range(220):
        row, column = rng.uniform(0, height), rng.uniform(0, width)
        size = rng.uniform(3, 22)
        inside = np.hypot(rows - row, (columns - column) * rng.uniform(0.5, 2)) < size
        image[inside] = rng.uniform(0.02, 0.9, 3)
    return ndimage.gaussian_filter(image, (0.7, 0.7, 0))


def encoded(light: np.ndarray) -> np.ndarray:
    values = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clip(0) ** (1 / 2.4) - 0.055)
    return np.rint(values.clip(0, 1) * 255).astype(np.uint8)


# Maps places in the blurred photograph to places in the sharp one: turned by 2 degrees, 3 % larger,
# shifted, and tilted a little.
TRUE = np.array([[1.029, -0.036, 24.3], [0.035, 1.031, 17.6], [4e-6, -6e-6, 1.0]])


def shot(
    seed: int = 1, exposure: float = 0.5, noise: float = 0.01
) -> tuple[np.ndarray, np.ndarray]:
    """Return a blurred, noisy, darker photograph, and a sharp one from another place."""
    light = landscape(seed)
    frame = warp(light, ProjectiveTransform(TRUE), output_shape=(HEIGHT, WIDTH), order=3)
    # A shake of seven pixels, its centroid in the middle.
    kernel = np.zeros((9, 9))
    kernel[4, 1:8] = 1 / 7
    blurred = np.stack(
        [ndimage.convolve(channel, kernel) for channel in np.moveaxis(frame, 2, 0)], 2
    )
    rng = np.random.default_rng(seed)
    blurred = exposure * blurred + noise * rng.standard_normal(blurred.shape)
    return encoded(blurred), encoded(light)


def test_a_known_homography_is_recovered_under_blur_and_noise():
    blurred, sharp = shot()
    first, second, found = align_pair(blurred, sharp)
    corners = np.array([[0, 0], [WIDTH - 1, 0], [WIDTH - 1, HEIGHT - 1], [0, HEIGHT - 1]], float)
    distance = ProjectiveTransform(TRUE)(corners) - ProjectiveTransform(found.homography)(corners)
    assert np.hypot(*distance.T).max() < 1
    assert found.inliers >= 12
    assert found.residual < 1
    # One stop darker, found in linear light.
    assert found.stops == pytest.approx(-1, abs=0.1)
    top, bottom, left, right = found.crop
    assert np.array_equal(first, blurred[top:bottom, left:right])
    assert first.shape == second.shape
    assert first.shape[0] > 0.9 * HEIGHT
    # Both are of one frame and exposure: what is left is blur and noise.
    assert abs(first.astype(float).mean() - second.astype(float).mean()) < 2
    wanted = warp(landscape(1), ProjectiveTransform(TRUE), output_shape=(HEIGHT, WIDTH), order=3)
    truth = encoded(0.5 * wanted)[top:bottom, left:right]
    error = np.abs(second.astype(float) - truth).mean()
    assert error < 0.35 * np.abs(first.astype(float) - truth).mean()


def test_another_scene_is_refused():
    blurred, _ = shot(1)
    _, sharp = shot(2)
    with pytest.raises(AlignmentError, match="do not show the same scene"):
        align_pair(blurred, sharp)


def test_images_of_different_kinds_are_refused():
    blurred, sharp = shot()
    with pytest.raises(AlignmentError, match="is RGB of dtype uint8 and the reference is grey"):
        align_pair(blurred, sharp[:, :, 0])


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_a_folder_of_pairs_becomes_a_data_set(tmp_path, capsys):
    for name, seeds in {"good": (1, 1), "other": (1, 2)}.items():
        write(tmp_path / "b" / f"{name}.png", shot(seeds[0])[0])
        write(tmp_path / "s" / f"{name}.png", shot(seeds[1])[1])
    write(tmp_path / "s" / "alone.png", shot(1)[1])
    out = tmp_path / "pairs"
    words = ["align", str(tmp_path / "b"), str(tmp_path / "s"), "-o", str(out), "--quiet"]
    assert main(words) == 1
    shown = capsys.readouterr()
    assert "Refused: other: they do not show the same scene" in shown.err
    assert "alone.png: it has no partner" in shown.err
    assert "Aligned 1 of 2 pairs" in shown.out
    with (out / "alignment.csv").open(newline="") as stream:
        good, other = csv.DictReader(stream)
    assert float(good["residual (px)"]) < 1
    assert float(good["rotation (deg)"]) == pytest.approx(1.95, abs=0.2)
    assert other["inliers"] == ""
    assert "same scene" in other["problem"]
    # The folder can be trained on as it is.
    config = parse_config({**TINY, "data": {"layout": "pairs"}})
    images = load_images(config, out, tmp_path / "cache")
    assert [cache.names for cache in images.caches] == [("good.png",)] * 2
    assert main(words) == 2
    assert "give --overwrite" in capsys.readouterr().err


def test_two_files_are_a_pair(tmp_path):
    blurred, sharp = shot()
    write(tmp_path / "shaken.png", blurred)
    write(tmp_path / "tripod.png", sharp)
    files = [str(tmp_path / name) for name in ("shaken.png", "tripod.png")]
    assert main(["align", *files, "-o", str(tmp_path / "out"), "--quiet"]) == 0
    pairs = [
        np.asarray(Image.open(tmp_path / "out" / kind / "shaken.png"))
        for kind in ("blurred", "sharp")
    ]
    assert pairs[0].shape == pairs[1].shape
