"""How well shakes are found: makes the pictures, fits the confidence, prints the tables.

    python -m benchmarks.shake collect --model NAME --photographs FOLDER --count 400 train.jsonl
    python -m benchmarks.shake fit train.jsonl
    python -m benchmarks.shake table train.jsonl

``collect`` blurs photographs as the trainer does (one shake, none, one that differs over the
picture, a moving object; any noise; lamps), searches each for its shake, restores it with every
candidate and writes a line for each. ``fit`` prints the coefficients that stand in
``napari_darkdeblur/psf/judgement.py``; they belong to a model, so a new model needs a new fit.
``table`` prints what `auto` gains, of pictures other than those of the fit.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from darkdeblur_trainer.synthesis import Degradation, PairSynthesizer
from napari_darkdeblur.imagefiles import read_image
from napari_darkdeblur.psf import similarity
from napari_darkdeblur.psf.estimation import CONFIDENT, POINT, Search
from napari_darkdeblur.psf.judgement import CHOICE, CONFIDENCE, log_odds, preference
from napari_darkdeblur.restore import load_model
from napari_darkdeblur.restore.search import ModelRestorer, learned_candidates

# One shake for the picture; several; none; a microscope. In shares of the pictures.
DEGRADATIONS = (
    Degradation(
        preset="night", share=6, unblurred=0.0, camera_turn_probability=0.0,
        moving_object_probability=0.0,
    ),
    Degradation(
        preset="night", share=1.5, unblurred=0.0, camera_turn_probability=0.25,
        moving_object_probability=0.25,
    ),
    Degradation(preset="unblurred", share=1, shot_gain=(2e-5, 1e-2), read_noise=(1e-4, 1e-2)),
    Degradation(preset="microscopy", share=1.5, softness=(0.0, 2.0)),
    Degradation(preset="microscopy", share=1.5, gamma=(1.0, 3.0), softness=(0.0, 4.0)),
)  # fmt: skip
# Which of the features speak for a kernel and which against it.
SIGNS = {
    "residual": -1, "against_plain": -1, "spectrum": 1, "sharpness": 1, "quadrants": 1,
    "worst_quadrant": 1, "agreement": 1, "seconded": 1, "network_confidence": 1,
    "round_microscope": -1,
}  # fmt: skip
SIDE = 384  # the whole of such a picture is searched
MAX_RADIUS = 32


def pictures(photographs: Path, numbers: Iterable[int], seed: int) -> Iterator[dict[str, Any]]:
    """Make blurred photographs; the same for the same number and seed."""
    files = sorted(p for p in photographs.iterdir() if p.suffix.lower() in (".jpg", ".png"))
    synthesizer = PairSynthesizer(DEGRADATIONS, seed)
    side = SIDE + 2 * synthesizer.margin
    for number in numbers:
        generator = np.random.default_rng((seed, number))
        sharp = cropped(read_image(files[generator.integers(len(files))]).pixels, side, generator)
        pair = synthesizer(torch.from_numpy(sharp).permute(2, 0, 1)[None], [number])
        channels = slice(None) if bool(pair.linear_light[0]) else [0, 0, 0]  # a grey camera
        yield {
            "number": number,
            "blurred": pair.blurred[0][channels].permute(1, 2, 0).numpy(),
            "sharp": pair.sharp[0][channels].permute(1, 2, 0).numpy(),
            "kernel": pair.kernels[0].numpy(),
            "uniform": bool(pair.uniform[0]),
            "linear_light": bool(pair.linear_light[0]),
        }


def cropped(pixels: NDArray[Any], side: int, generator: np.random.Generator) -> NDArray[Any]:
    """Cut out a square at random; of large photographs, whose pixels are soft, shrunk ones."""
    pixels = pixels[..., :3] if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    factor = min(pixels.shape[:2]) // side
    if factor > 1:
        height, width = (n // factor * factor for n in pixels.shape[:2])
        blocks = pixels[:height, :width].reshape(
            height // factor, factor, width // factor, factor, 3
        )
        pixels = blocks.mean(axis=(1, 3)).astype(np.uint8)
    short = [max(0, side - n) for n in pixels.shape[:2]]
    pixels = np.pad(pixels, ((0, short[0]), (0, short[1]), (0, 0)), mode="symmetric")
    top, left = (int(generator.integers(n - side + 1)) for n in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def psnr(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the peak signal-to-noise ratio of values in 0..1, in dB."""
    return -10 * math.log10(max(float(((a - b) ** 2).mean()), 1e-12))


def collect(arguments: argparse.Namespace) -> None:
    """Search pictures for their shakes, and write what came of every candidate."""
    model = load_model(arguments.model, arguments.device)
    device = torch.device(arguments.device)
    with arguments.file.open("w") as file:
        numbers = range(arguments.part - 1, arguments.count, arguments.parts)
        for picture in pictures(arguments.photographs, numbers, arguments.seed):
            blurred, sharp, kernel = picture["blurred"], picture["sharp"], picture["kernel"]
            linear_light = picture["linear_light"]
            restorer = ModelRestorer(model, linear_light)
            start = time.perf_counter()
            search = Search(blurred, restorer, linear_light=linear_light)
            learned = learned_candidates(blurred, linear_light, device)
            candidates = search.candidates(MAX_RADIUS, learned)
            best = max(candidates, key=lambda candidate: candidate.score, default=None)
            polished = search.polished(best) if best else None
            seconds = time.perf_counter() - start
            plain = psnr(restorer.blind(blurred), sharp)
            thorough = restorer.can_be_thorough
            true = psnr(restorer.guided(blurred, kernel, thorough=thorough), sharp)
            rows, columns = np.indices(kernel.shape) - kernel.shape[0] // 2
            line = {
                "number": picture["number"],
                "uniform": picture["uniform"],
                "linear_light": linear_light,
                "rms": math.sqrt(float(((rows**2 + columns**2) * kernel).sum())),
                "noise": search.noise,
                "input": psnr(blurred, sharp),
                "plain": plain,
                "true": true,
                "seconds": seconds,
                "auto": plain
                if polished is None
                else psnr(restorer.guided(blurred, polished, thorough=thorough), sharp),
                "candidates": [
                    {
                        "psnr": psnr(candidate.restored, sharp),
                        "similarity": similarity(candidate.kernel, kernel),
                        "peak": float(candidate.kernel.max()),
                        "features": candidate.features,
                    }
                    for candidate in candidates
                ],
            }
            file.write(json.dumps(line) + "\n")
            file.flush()


def read(path: Path) -> list[dict[str, Any]]:
    """Read what `collect` wrote; of parts, put together with ``cat``, as well."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return sorted(lines, key=lambda line: line["number"])


def design(lines: list[dict[str, Any]], names: Iterable[str]) -> NDArray[Any]:
    """Return features of all candidates of all pictures; the constant is 1."""
    return np.array(
        [[c["features"].get(name, 1.0) for name in names] for line in lines
         for c in line["candidates"]]
    )  # fmt: skip


def standardised(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return columns divided by their spread, and the spread."""
    spread = np.maximum(x.std(axis=0), 0.05)
    return x / spread, spread


def bounds_of(names: Iterable[str]) -> list[tuple[float | None, float | None]]:
    """Return between what the coefficients lie: with few pictures their signs are known better."""
    limits = {1: (0, None), -1: (None, 0), 0: (None, None)}
    return [limits[SIGNS.get(name, 0)] for name in names]


def fitted_choice(
    x: NDArray[Any], gain: NDArray[Any], group: NDArray[Any], ridge: float
) -> NDArray[Any]:
    """Fit which candidate of a picture is best; one that harms much harms no more than 3 dB."""
    target = np.clip(gain, -3, None)
    within = x - np.array([x[group == g].mean(axis=0) for g in group])
    target = target - np.array([target[group == g].mean() for g in group])
    scaled, spread = standardised(within)

    def loss(slopes: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        error = scaled @ slopes - target
        value = float(error @ error + ridge * slopes @ slopes) / 2
        return value, scaled.T @ error + ridge * slopes

    start = np.zeros(x.shape[1])
    return np.asarray(minimize(loss, start, jac=True, bounds=bounds_of(CHOICE)).x / spread)


def fitted_confidence(x: NDArray[Any], gain: NDArray[Any], ridge: float) -> NDArray[Any]:
    """Fit whether a candidate improves, by logistic regression; small changes count little."""
    weight, better = np.clip(np.abs(gain), 0.05, 1.0), gain > 0
    mean = x[:, 1:].mean(axis=0)
    scaled, spread = standardised(x[:, 1:] - mean)

    def loss(coefficients: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        odds, slopes = coefficients[0] + scaled @ coefficients[1:], coefficients[1:]
        wrong = np.logaddexp(0, np.where(better, -odds, odds))
        slope = weight * (1 / (1 + np.exp(-odds)) - better)
        value = float(weight @ wrong + ridge / 2 * slopes @ slopes)
        return value, np.concatenate([[slope.sum()], scaled.T @ slope + ridge * slopes])

    start = np.zeros(x.shape[1])
    found = minimize(loss, start, jac=True, bounds=bounds_of(CONFIDENCE)).x
    slopes = found[1:] / spread
    return np.concatenate([[found[0] - slopes @ mean], slopes])


def fit_one(lines: list[dict[str, Any]], name: str) -> None:
    """Fit one coefficient of the confidence, the others kept, where its feature is not zero."""
    lines = [line for line in lines if any(c["features"][name] for c in line["candidates"])]
    gain = np.array([c["psnr"] - line["plain"] for line in lines for c in line["candidates"]])
    weight, better = np.clip(np.abs(gain), 0.05, 1.0), gain > 0
    others = {key: value for key, value in CONFIDENCE.items() if key != name}
    odds = design(lines, others) @ np.array([*others.values()])
    feature = design(lines, [name])[:, 0]

    def loss(coefficient: float) -> float:
        found = odds + coefficient * feature
        return float(weight @ np.logaddexp(0, np.where(better, -found, found)))

    fitted = float(minimize_scalar(loss).x)
    print(f"# {len(lines)} pictures, {len(gain)} candidates")
    for coefficient in (0.0, fitted):
        gains = []
        for line in lines:
            best = max(line["candidates"], key=lambda c: preference(c["features"]))
            changed = (coefficient - CONFIDENCE[name]) * best["features"][name]
            sure = log_odds(best["features"]) + changed > math.log(CONFIDENT / (1 - CONFIDENT))
            if sure and best["peak"] <= POINT:
                gains.append(best["psnr"] - line["plain"])
        worse = sum(value < -0.1 for value in gains)
        print(
            f"# {name} {coefficient:+.2f}: {len(gains)} trusted, {worse} of them worse by more "
            f"than 0.1 dB, worst {min(gains, default=0.0):+.2f} dB"
        )


def fit(arguments: argparse.Namespace) -> None:
    """Fit choice and confidence, check them on pictures left out, print the coefficients."""
    lines = [line for line in read(arguments.file) if line["candidates"]]
    if arguments.only is not None:
        fit_one(lines, arguments.only)
        return
    gain = np.array([c["psnr"] - line["plain"] for line in lines for c in line["candidates"]])
    group = np.repeat(np.arange(len(lines)), [len(line["candidates"]) for line in lines])
    for_choice, for_confidence = design(lines, CHOICE), design(lines, CONFIDENCE)
    score, odds = np.empty(len(gain)), np.empty(len(gain))
    for fold in range(10):
        out = group % 10 == fold
        score[out] = for_choice[out] @ fitted_choice(
            for_choice[~out], gain[~out], group[~out], arguments.ridge
        )
        odds[out] = for_confidence[out] @ fitted_confidence(
            for_confidence[~out], gain[~out], arguments.ridge
        )
    blurred = np.array([c["peak"] <= POINT for line in lines for c in line["candidates"]])
    members = [np.flatnonzero(group == index) for index in range(len(lines))]
    best = np.array([m[score[m].argmax()] for m in members])
    print(f"# {len(lines)} pictures, {len(gain)} candidates; ten-fold cross-validation:")
    for probability in (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98):
        trusted = best[blurred[best] & (odds[best] > math.log(probability / (1 - probability)))]
        if len(trusted):
            print(
                f"# above {probability:.2f}: {100 * len(trusted) / len(best):3.0f} % trusted, of "
                f"these {100 * (gain[trusted] > 0).mean():5.1f} % better, in the mean by "
                f"{gain[trusted].mean():+.2f} dB, worst {gain[trusted].min():+.2f} dB; "
                f"of all pictures {gain[trusted].sum() / len(best):+.2f} dB"
            )
    oracle = np.mean([max(0.0, gain[m].max()) for m in members])
    print(f"# always chosen: {gain[best].mean():+.2f} dB; the best candidate: {oracle:+.2f} dB")
    for title, names, coefficients in (
        ("CHOICE", CHOICE, fitted_choice(for_choice, gain, group, arguments.ridge)),
        ("CONFIDENCE", CONFIDENCE, fitted_confidence(for_confidence, gain, arguments.ridge)),
    ):
        print(f"{title} = {{")
        for name, value in zip(names, coefficients, strict=True):
            print(f'    "{name}": {value:.3f},')
        print("}")


def table(arguments: argparse.Namespace) -> None:
    """Print what `auto` gains, by the size of the blur and the noise, as Markdown."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for line in read(arguments.file):
        noise = "little noise" if line["noise"] < arguments.noise else "much noise"
        rms = line["rms"]
        size = "< 1.5" if rms < 1.5 else "1.5-3" if rms < 3 else "3-6" if rms < 6 else "> 6"
        if not line["uniform"]:
            size = "varying"
        elif rms < 0.3:
            size = "none"
        groups.setdefault(f"| {size} | {noise} ", []).append(line)
    print(
        "| kernel rms, px | noise | pictures | no kernel | auto | true kernel | trusted, % "
        "| worse of these | worst, dB | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, lines in sorted(groups.items()):
        auto, trusted = [], []
        for line in lines:
            best = max(line["candidates"], key=lambda c: preference(c["features"]), default=None)
            odds = log_odds(best["features"]) if best else -math.inf
            blurred = best is not None and best.get("peak", 0.0) <= POINT
            trusted.append(blurred and 1 / (1 + math.exp(-odds)) >= CONFIDENT)
            auto.append(line["auto"] if trusted[-1] else line["plain"])
        gain = np.array([a - line["plain"] for a, line in zip(auto, lines, strict=True)])
        mean = {
            key: np.mean([line[key] - line["input"] for line in lines]) for key in ("plain", "true")
        }
        over_input = np.mean([a - line["input"] for a, line in zip(auto, lines, strict=True)])
        print(
            f"{name}| {len(lines)} | {mean['plain']:+.2f} | {over_input:+.2f} "
            f"| {mean['true']:+.2f} | {100 * np.mean(trusted):.0f} "
            f"| {int((gain < 0).sum())} of {sum(trusted)} | {gain.min():+.2f} "
            f"| {np.mean([line['seconds'] for line in lines]):.1f} |"
        )


def main() -> None:
    """Run one of the steps."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shake",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    steps = parser.add_subparsers(required=True)
    step = steps.add_parser("collect", help="make pictures and search them")
    step.add_argument("file", type=Path)
    step.add_argument("--model", required=True, help="name or weights file")
    step.add_argument("--photographs", type=Path, required=True)
    step.add_argument("--count", type=int, default=400)
    step.add_argument("--seed", type=int, default=1, help="another one for the table")
    step.add_argument("--part", type=int, default=1, help="make only this part, from 1 on")
    step.add_argument("--parts", type=int, default=1, help="for as many processes at once")
    step.add_argument("--device", default="cpu")
    step.set_defaults(run=collect)
    step = steps.add_parser("fit", help="fit the confidence")
    step.add_argument("file", type=Path)
    step.add_argument("--ridge", type=float, default=15.0)
    step.add_argument("--only", metavar="FEATURE", help="fit its coefficient, the others kept")
    step.set_defaults(run=fit)
    step = steps.add_parser("table", help="what `auto` gains")
    step.add_argument("file", type=Path)
    step.add_argument("--noise", type=float, default=0.01, help="standard deviation in light")
    step.set_defaults(run=table)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
