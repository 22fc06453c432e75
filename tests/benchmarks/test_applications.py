"""What other programs make of restored images is measured as it is said."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from benchmarks.applications import main
from benchmarks.applications.command import mean_and_spread, table
from benchmarks.applications.detection import (
    DETECTION,
    Detection,
    bright_objects,
    compare,
    detections_of,
    overlap,
    read_annotations,
)
from benchmarks.applications.images import (
    AFTER,
    AFTER_FOUND,
    AFTER_TRUE,
    BEFORE,
    IMAGES,
    REFERENCE,
    Metric,
    Sample,
    Settings,
    figure,
    micrograph_versions,
    photograph_versions,
)
from benchmarks.applications.text import (
    character_error_rate,
    recognise,
    render_page,
    words_found,
)
from PIL import Image
from skimage import data

from napari_darkdeblur import deblur
from napari_darkdeblur.demo import EXPOSURE
from napari_darkdeblur.imagefiles import read_image
from napari_darkdeblur.restore import load_model
from napari_darkdeblur.srgb import srgb_to_linear
from napari_darkdeblur.weights import DEFAULT_MODEL

with_tesseract = pytest.mark.skipif(
    shutil.which("tesseract") is None,
    reason="needs the tesseract command (Debian package tesseract-ocr)",
)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings(load_model(DEFAULT_MODEL, "cpu"), quick=True)


@pytest.fixture
def discs(tmp_path):
    """Make a folder with two images of three bright discs each."""
    folder = tmp_path / "sharp"
    folder.mkdir()
    y, x = np.mgrid[:72, :96]
    for name, shift in (("a.png", 0), ("b.png", 4)):
        image = np.full((72, 96, 3), 40, np.uint8)
        for row, column in ((18, 20), (20, 70), (52, 45 + shift)):
            image[np.hypot(y - row, x - column) < 10] = (230, 220, 200)
        Image.fromarray(image).save(folder / name)
    return folder


def detect_discs(image):
    """Return the boxes of bright areas: a toy."""
    return [(d.box, "disc", 0.5) for d in detections_of(bright_objects(image), image.shape[:2])]


def fail(image):
    raise RuntimeError("no weights")


def measurements(folder):
    with (folder / "applications.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# The images


def test_a_photograph_is_darkened_blurred_and_restored(settings):
    scene = data.astronaut()[100:164, 200:272]
    versions, used = photograph_versions(scene, 2.0, 1, settings)
    assert tuple(versions) == IMAGES
    for image in versions.values():
        assert image.shape == scene.shape
        assert image.dtype == np.uint8
    light = srgb_to_linear(scene / 255)
    np.testing.assert_allclose(
        srgb_to_linear(versions[REFERENCE] / 255), EXPOSURE * light, atol=4e-3
    )
    error = {
        name: float(np.mean((image.astype(float) - versions[REFERENCE]) ** 2))
        for name, image in versions.items()
    }
    assert error[BEFORE] > error[AFTER] > error[AFTER_TRUE] > 0
    again, _ = photograph_versions(scene, 2.0, 1, settings)
    assert all(np.array_equal(versions[image], again[image]) for image in IMAGES)
    searched = deblur(versions[BEFORE], settings.model, axes="YXC", psf="auto")
    np.testing.assert_array_equal(versions[AFTER_FOUND], searched)
    # Only a kernel that was found with confidence is more than a point.
    blind = deblur(versions[BEFORE], settings.model, axes="YXC")
    sharp = deblur(versions[BEFORE], settings.model, axes="YXC", psf=np.ones((1, 1)))
    same = [np.array_equal(versions[AFTER_FOUND], image) for image in (blind, sharp)]
    assert used == (not any(same))


def test_a_kernel_has_the_size_that_is_told(settings):
    # A point much brighter than white spreads into the kernel.
    light = np.zeros((65, 65), np.float32)
    light[32, 32] = 40
    versions, _ = micrograph_versions(light, 3.0, 1, settings)
    found = versions[BEFORE].astype(float)
    rows, columns = np.indices(found.shape) - 32
    near = np.hypot(rows, columns) <= 10
    weight = np.where(near & (found > 8), found, 0)
    assert versions[BEFORE].dtype == np.uint16
    radius = math.sqrt(float(((rows**2 + columns**2) * weight).sum() / weight.sum()))
    assert radius == pytest.approx(3.0, rel=0.05)


# Text


def test_words_are_counted_as_often_as_they_stand_there():
    assert words_found("the cat, the hat", "The hat the") == 3 / 4
    assert words_found("the cat", "the the the") == 1 / 2
    assert words_found("Region-based", "based region!") == 1
    assert words_found("cat", "") == 0
    assert math.isnan(words_found("...", "cat"))


def test_character_errors_are_an_edit_distance():
    assert character_error_rate("kitten", "sitting") == 3 / 6
    assert character_error_rate("a b", "a\n  b\n") == 0
    assert character_error_rate("abc", "") == 1
    assert character_error_rate("a", "abcd") == 3
    assert character_error_rate("Abc", "abc") == 1 / 3
    assert math.isnan(character_error_rate(" ", "x"))


@with_tesseract
def test_a_sharp_page_is_read():
    page, text = render_page(24, 0, (120, 320))
    assert np.array_equal(page, render_page(24, 0, (120, 320))[0])
    read = recognise(np.repeat(page[..., None], 3, axis=2))
    assert words_found(text, read) == 1
    assert recognise(np.full((60, 60, 3), 100, np.uint8)).strip() == ""


@with_tesseract
def test_the_photographed_page_says_what_was_read_by_eye(settings):
    from benchmarks.applications.text import PHOTOGRAPHED, PHOTOGRAPHED_ROWS

    page = data.page()[:PHOTOGRAPHED_ROWS]
    assert words_found(PHOTOGRAPHED, recognise(np.repeat(page[..., None], 3, axis=2))) == 1


@with_tesseract
def test_text_and_nuclei_are_measured_and_written(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["text", "nuclei", "--quick", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == [
        "applications.csv",
        "applications.md",
        "nuclei.png",
        "text.png",
    ]
    tables = [line for line in printed.splitlines() if line.startswith("|")]
    assert "\n".join(tables[:3]) in (out / "applications.md").read_text(encoding="utf-8")
    rows = measurements(out)
    value = {(r["application"], r["image"], r["metric"]): float(r["value"]) for r in rows}
    assert value["text", REFERENCE, "words"] == 100
    assert value["text", REFERENCE, "errors"] == 0
    assert value["nuclei", REFERENCE, "area bias"] == 0
    assert value["nuclei", REFERENCE, "number"] > 4
    assert all(("nuclei", image, "brightness bias") in value for image in IMAGES)
    assert read_image(out / "text.png").pixels.shape[1] > 5 * 200


def test_without_tesseract_the_others_run_and_the_exit_code_is_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["text", "nuclei", "--quick"]) == 2
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    assert "Debian package tesseract-ocr" in output.err
    assert "## nuclei" in output.out
    assert "## text" not in output.out


# Nuclei


def test_a_frame_that_scikit_image_has_downloaded_is_measured_too(tmp_path):
    program = (
        "import numpy as np, tifffile; from pathlib import Path; from skimage import data\n"
        "Path(data.data_dir).mkdir(parents=True, exist_ok=True)\n"
        "rng = np.random.default_rng(0)\n"
        "from darkdeblur_trainer.benchmark.objects import nuclei\n"
        "frame = nuclei(0, 512, saturated=False)[0].numpy()\n"
        "tifffile.imwrite(Path(data.data_dir) / 'mitosis.tif', (255 * frame).astype('u1'))\n"
        "from benchmarks.applications.nuclei import frames, human_mitosis\n"
        "from benchmarks.applications.images import Settings\n"
        "assert human_mitosis() is not None\n"
        "found = list(frames(Settings(None)))\n"
        "print([(kind, light.shape) for kind, name, light in found if 'rendered' not in kind])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "SKIMAGE_DATADIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("('human_mitosis', (224, 224))") == 4


# Detection


def test_detections_are_matched_once_and_by_class():
    there = [Detection((0, 0, 10, 10), "cat"), Detection((20, 0, 30, 10), "dog")]
    assert overlap(there[0], Detection((5, 0, 15, 10), "cat")) == pytest.approx(1 / 3)
    assert compare(there, there) == compare(there[::-1], there)
    found = [
        Detection((0, 0, 10, 8), "cat", 0.9),
        Detection((0, 0, 10, 10), "cat", 0.5),  # of the same cat
        Detection((20, 0, 30, 10), "cat", 0.4),  # no dog
    ]
    score = compare(found, there)
    assert (score.precision, score.recall) == (1 / 3, 1 / 2)
    assert score.mean_iou == pytest.approx(0.8)
    nothing = compare([], there)
    assert nothing.recall == 0
    assert math.isnan(nothing.precision)
    assert math.isnan(compare(found, []).recall)


def test_masks_are_compared_by_their_pixels():
    labels = np.zeros((20, 20), np.int32)
    labels[2:8, 2:8] = 3
    labels[10:18, 10:18] = 7
    found = detections_of(labels, (20, 20))
    assert [one.box for one in found] == [(2, 2, 8, 8), (10, 10, 18, 18)]
    hollow = labels.copy()
    hollow[3:7, 3:7] = 0  # of the same box
    one = detections_of(hollow, (20, 20))[0]
    assert overlap(one, found[0]) == pytest.approx(20 / 36)
    assert overlap(Detection(one.box, "cell"), found[0]) == 1
    assert compare(found, [Detection(one.box, "cell")]).recall == 1


@pytest.mark.parametrize("answer", [[((0, 0, 5), "cat", 1.0)], ["cat"], np.zeros((3, 3), np.int8)])
def test_what_is_no_detection_is_refused(answer):
    with pytest.raises(ValueError, match=r"a detection is|a label mask has"):
        detections_of(answer, (20, 20))


def test_a_detector_is_measured_on_the_users_images(discs, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["detection", "--quick", "--images", str(discs), "--out", str(out)]
    assert main([*arguments, "--detector", f"{__name__}:detect_discs"]) == 0
    rows = measurements(out)
    assert {row["sample"] for row in rows} == {"a.png, kernel 0", "b.png, kernel 0"}
    sharp = [row for row in rows if row["image"] == REFERENCE]
    assert {float(r["value"]) for r in sharp if r["metric"] == "found"} == {3}
    assert {float(r["value"]) for r in sharp if r["metric"] in ("precision", "recall")} == {100}
    assert "by definition" in capsys.readouterr().out
    assert read_image(out / "detection.png").pixels.ndim == 3
    assert main([*arguments, "--detector", f"{__name__}:detect_discs"]) == 2
    assert "pass --overwrite" in capsys.readouterr().err


def test_annotations_are_the_reference(discs, tmp_path, capsys):
    # Of the first image two discs are annotated, one of them as something else.
    boxes = [([11, 9, 19, 19], 1), ([61, 11, 19, 19], 2), ([0, 0, 96, 72], 1)]
    content = {
        "images": [{"id": 5, "file_name": "train/a.png"}, {"id": 6, "file_name": "b.png"}],
        "categories": [{"id": 1, "name": "disc"}, {"id": 2, "name": "ball"}],
        "annotations": [
            {"image_id": 5, "category_id": kind, "bbox": box, "iscrowd": int(box[2] == 96)}
            for box, kind in boxes
        ],
    }
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    there = read_annotations(path)
    assert [one.box for one in there["a.png"]] == [(11, 9, 30, 28), (61, 11, 80, 30)]
    assert there["b.png"] == []
    out = tmp_path / "out"
    arguments = ["--quick", "--images", str(discs), "--annotations", str(path)]
    detector = ["--detector", f"{__name__}:detect_discs"]
    assert main(["detection", *arguments, *detector, "--out", str(out)]) == 0
    value = {
        (r["sample"], r["image"], r["metric"]): r["value"]
        for r in measurements(out)
        if r["image"] == REFERENCE
    }
    assert float(value["a.png, kernel 0", REFERENCE, "recall"]) == 50
    assert float(value["a.png, kernel 0", REFERENCE, "precision"]) == pytest.approx(100 / 3)
    assert value["b.png, kernel 0", REFERENCE, "recall"] == ""
    assert "the boxes in coco.json" in capsys.readouterr().out
    del content["images"][1]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert main(["detection", *arguments, *detector]) == 2
    assert "has no image named b.png" in capsys.readouterr().err
    path.write_text("[]", encoding="utf-8")
    assert main(["detection", *arguments, *detector]) == 2
    assert "holds no COCO annotations" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["faces"], "There is no application 'faces'"),
        (["detection"], "name them with --detector"),
        (["--images", "."], "name them with --detector"),
        (["text", "--detector", "a:b", "--images", "."], "add the word detection"),
        (["detection", "--detector", "nothing", "--images", "."], "takes module:function"),
        (["detection", "--detector", "no.such:thing", "--images", "."], "cannot be imported"),
        (["detection", "--detector", "math:pi", "--images", "."], "is no function"),
        (
            ["detection", "--detector", "math:floor", "--images", "nowhere"],
            "There is no folder nowhere",
        ),
        (["nuclei", "--seed", "-1"], "--seed must not be negative"),
        (["nuclei", "--count", "0"], "--count must be at least 1"),
        (["nuclei", "--out", __file__], "is a file"),
        (["nuclei", "--model", "no-such-model"], "no-such-model"),
        (["nuclei", "--speed", "3"], "--speed"),
    ],
)
def test_a_mistake_is_a_sentence_and_exit_code_2(arguments, said, capsys):
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_a_detector_that_fails_is_told(discs, capsys):
    arguments = ["detection", "--quick", "--images", str(discs)]
    assert main([*arguments, "--detector", f"{__name__}:fail"]) == 2
    assert "RuntimeError: no weights" in capsys.readouterr().err


# The table and the picture


def sample(recall: float, name: str, used: bool) -> Sample:
    of_image = {"found": 2.0, "precision": math.nan, "recall": recall, "iou": 0.75}
    shown = {image: np.full((20, 30, 3), (7, 200, 90), np.uint8) for image in IMAGES}
    captions = dict.fromkeys(IMAGES, "words")
    return Sample("cats", name, 2.0, dict.fromkeys(IMAGES, of_image), shown, captions, used)


def test_the_table_has_means_and_standard_deviations():
    samples = [sample(50, "a", used=True), sample(70, "b", used=False)]
    lines = [line.strip("| ").split(" | ") for line in table(DETECTION, samples).splitlines()]
    assert [line[3] for line in lines[2:]] == list(IMAGES)
    assert lines[2][2] == "2"
    assert lines[2 + IMAGES.index(AFTER_FOUND)][4] == "1 of 2"
    assert lines[2][5:] == ["2.0 ± 0.0", "–", "60.0 ± 14.1", "0.75 ± 0.00"]
    assert mean_and_spread([3.0, math.nan], Metric("x", "x", "+.1f")) == "+3.0"
    assert mean_and_spread([3.0, 4.0], Metric("x", "x", "+.1f")) == "+3.5 ± 0.7"


def test_the_picture_shows_the_images_side_by_side():
    drawn = figure([sample(50, "a", used=True), sample(70, "b", used=False)])
    panels = np.all(drawn == (7, 200, 90), axis=2)
    assert np.count_nonzero(panels) == 2 * len(IMAGES) * 20 * 30


def test_the_command_is_found_beside_the_benchmarks():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "applications", "faces"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "There is no application 'faces'" in done.stderr
    assert "Traceback" not in done.stderr
