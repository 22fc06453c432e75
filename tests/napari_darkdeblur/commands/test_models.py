"""``darkdeblur models`` lists what can be given as a model."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np

from napari_darkdeblur import save_weights
from napari_darkdeblur.imagefiles import write_image
from napari_darkdeblur.network import DEFAULT_MODEL, THOROUGH_MODEL

from ..conftest import GUIDED, make_network


def test_models_are_listed_and_the_default_is_marked(run, bundled: Path, models_folder: Path):
    models_folder.mkdir()
    save_weights(bundled / f"{DEFAULT_MODEL}.safetensors", make_network(), summary="The small one.")
    save_weights(models_folder / "mine.safetensors", make_network(), summary="My own.")
    (models_folder / "broken.safetensors").touch()
    save_weights(models_folder / "led.safetensors", make_network(GUIDED), summary="For shakes.")
    code, out, err = run("models")
    assert (code, err) == (0, "")
    assert re.search(r"^  led +user +For shakes; takes a kernel$", out, re.MULTILINE)
    assert re.search(rf"^\* {DEFAULT_MODEL} +bundled +The small one\.$", out, re.MULTILINE)
    assert re.search(r"^  mine +user +My own\.$", out, re.MULTILINE)
    assert re.search(r"^  broken +user +cannot be used: ", out, re.MULTILINE)
    assert str(models_folder) in out


def test_the_user_s_own_default_is_the_marked_one(run, bundled: Path, models_folder: Path):
    models_folder.mkdir()
    save_weights(bundled / f"{DEFAULT_MODEL}.safetensors", make_network())
    shutil.copy(bundled / f"{DEFAULT_MODEL}.safetensors", models_folder)
    _, out, _ = run("models")
    assert re.findall(rf"^\* {DEFAULT_MODEL} +(\w+)", out, re.MULTILINE) == ["user"]


def test_both_models_of_auto_are_named(run, bundled: Path):
    for name in (DEFAULT_MODEL, THOROUGH_MODEL):
        save_weights(bundled / f"{name}.safetensors", make_network())
    _, out, _ = run("models")
    assert f"on a GPU, and for small images, {THOROUGH_MODEL} is." in out


def test_auto_says_which_model_it_chose_for_each_size(run, bundled: Path, tmp_path: Path):
    for name in (DEFAULT_MODEL, THOROUGH_MODEL):
        save_weights(bundled / f"{name}.safetensors", make_network())
    source = tmp_path / "in"
    source.mkdir()
    write_image(source / "small.png", np.zeros((16, 16, 3), np.uint8))
    _, out, _ = run("deblur", source / "small.png", tmp_path / "out.png", "--device", "cpu")
    assert f"(with {THOROUGH_MODEL} on cpu" in out
    write_image(source / "large.png", np.zeros((520, 520, 3), np.uint8))
    _, out, _ = run("deblur", source, tmp_path / "out", "--device", "cpu")
    assert f"(with {THOROUGH_MODEL} and {DEFAULT_MODEL} on cpu" in out


def test_without_models_the_folder_for_them_is_shown(run, bundled: Path, models_folder: Path):
    code, out, _ = run("models")
    assert code == 0
    assert "no models" in out
    assert str(models_folder) in out
