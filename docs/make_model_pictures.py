"""Make the pictures of a model card: how training went, and where the model fails.

Run it after weights have been trained, from the repository:

    python docs/make_model_pictures.py --model small-v2

It draws ``docs/models/NAME-training.png`` from ``docs/models/NAME-training.jsonl``, which is the
``metrics.jsonl`` of the run, and ``docs/models/NAME-failures.jpg`` from photographs that come with
scikit-image, spoilt in ways that the model was not trained for. It needs matplotlib (extra
"train").
"""

from __future__ import annotations

import argparse
import io
import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import affine_transform, convolve
from skimage import data

from napari_darkdeblur import deblur
from napari_darkdeblur.metrics import compare
from napari_darkdeblur.srgb import linear_to_srgb, srgb_to_linear

MODELS = Path(__file__).parent / "models"
DETAIL = 160
SEED = 7


class Failure(NamedTuple):
    """A photograph spoilt, and what it should be; both (H, W, 3), uint8, sRGB."""

    caption: str
    spoilt: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    corner: tuple[int, int]


def long_path(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move the camera along a straight line of 35 pixels."""
    kernel = np.zeros((35, 35))
    for step in np.linspace(0, 34, 200):
        kernel[round(17 + 0.35 * (step - 17)), round(step)] += 1
    return _blur(light, kernel)


def turn(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn the camera about its axis by four degrees: what is far from it moves most."""
    height, width = light.shape[:2]
    centre = np.array([height / 2, width / 2])
    turned = []
    for angle in np.radians(np.linspace(-2, 2, 25)):
        matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = centre - matrix @ centre
        turned.append(
            [
                affine_transform(light[..., c], matrix, shift, order=1, mode="reflect")
                for c in range(3)
            ]
        )
    return np.moveaxis(np.mean(turned, axis=0), 0, -1)


def defocus(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Blur with a disk of 6 pixels radius."""
    y, x = np.mgrid[-6:7, -6:7]
    return _blur(light, (x**2 + y**2 <= 36).astype(float))


def _blur(light: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    return convolve(light, (kernel / kernel.sum())[..., None], mode="reflect")


def _sensor(light: NDArray[np.float64], gain: float, read_noise: float) -> NDArray[np.float64]:
    rng = np.random.default_rng(SEED)
    spread = np.sqrt(gain * light + read_noise**2)
    return np.asarray(light + spread * rng.standard_normal(light.shape))


def _bytes(light: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(255 * linear_to_srgb(np.clip(light, 0, 1))).astype(np.uint8)


def make_failures() -> list[Failure]:
    """Return what is shown."""
    rows = [
        ("a straight path of 35 pixels", data.astronaut(), long_path, (1e-3, 1e-3), (40, 130)),
        ("the camera turned by 4°", data.coffee(), turn, (1e-3, 1e-3), (60, 380)),
        ("out of focus, 6 pixels", data.chelsea(), defocus, (1e-3, 1e-3), (60, 120)),
        ("not blurred, very noisy", data.rocket(), lambda x: x, (3e-2, 2e-2), (150, 250)),
    ]
    failures = []
    for caption, photograph, spoil, noise, corner in rows:
        light = 0.4 * srgb_to_linear(photograph / 255)
        spoilt = _bytes(_sensor(spoil(light), *noise))
        failures.append(Failure(caption, spoilt, _bytes(light), corner))
    return failures


def draw_failures(model: str, path: Path) -> None:
    """Draw a row for each: spoilt, restored, reference."""
    failures = make_failures()
    figure = Figure(figsize=(9, 3.1 * len(failures)), dpi=110, layout="constrained")
    panels = figure.subplots(len(failures), 3)
    for (caption, spoilt, reference, (y, x)), row in zip(failures, panels, strict=True):
        restored = deblur(spoilt, model, "cpu", axes="YXC", psf="auto")
        for image, panel, kind in zip(
            (spoilt, restored, reference), row, ("spoilt", "restored", "reference"), strict=True
        ):
            light = srgb_to_linear(image[y : y + DETAIL, x : x + DETAIL] / 255)
            panel.imshow(_bytes(2.5 * light), interpolation="nearest")
            panel.set_axis_off()
            psnr = compare(image / 255, reference / 255).psnr
            title = kind if image is reference else f"{kind}: {psnr:.2f} dB"
            panel.set_title(title, fontsize=9)
        row[0].set_title(f"{caption}\n{row[0].get_title()}", fontsize=9)
    _save(figure, path)


def draw_training(log: Path, path: Path) -> None:
    """Draw the loss, and what validation gained over the input."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    train = [line for line in lines if line["kind"] == "train"]
    gains: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in lines:
        for key, value in line.items():
            if key.endswith("/psnr"):
                before = line[f"{key}_input"]
                gains[key.split("/")[-2]].append((line["step"], value - before))
    figure = Figure(figsize=(9, 3.4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [line["step"] for line in train]
    losses = np.array([line["loss/total"] for line in train])
    window = max(1, len(losses) // 40)
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    left.plot(steps, losses, color="0.75", linewidth=0.8)
    left.plot(steps[window - 1 :], smooth, linewidth=1.6)
    left.set_ylabel("loss")
    left.set_yscale("log")
    for group, points in gains.items():
        right.plot(*zip(*points, strict=True), marker="o", markersize=3, label=group)
    right.axhline(0, color="0.3", linewidth=1)
    right.set_ylabel("gain in PSNR over the input, dB")
    # Above the lines, wherever they run.
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False)
    for panel in (left, right):
        panel.set_xlabel("step")
        panel.grid(color="0.9")
        panel.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    picture = Image.open(stream).convert("RGB")
    if path.suffix == ".jpg":
        picture.save(path, quality=85)
    else:
        picture.quantize(64).save(path, optimize=True)
    print(path)


def main() -> None:
    """Draw what the arguments ask for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", required=True, metavar="NAME", help="a bundled model")
    name = parser.parse_args().model
    draw_failures(name, MODELS / f"{name}-failures.jpg")
    log = MODELS / f"{name}-training.jsonl"
    if log.is_file():
        draw_training(log, MODELS / f"{name}-training.png")


if __name__ == "__main__":
    main()
