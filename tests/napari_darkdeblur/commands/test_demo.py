"""``darkdeblur demo`` measures what it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_darkdeblur import deblur, demo, save_weights
from napari_darkdeblur.commands.demo import DEMO_FILES
from napari_darkdeblur.imagefiles import read_image
from napari_darkdeblur.metrics import compare
from napari_darkdeblur.network import DEFAULT_MODEL

from ..conftest import complaint, make_network


@pytest.mark.usefixtures("small_photograph")
def test_the_demo_measures_what_it_wrote(run, tmp_path: Path, random_model: Path):
    target = tmp_path / "demo"
    code, out, err = run("demo", "--out", target, "--model", random_model)
    assert (code, err) == (0, "")
    files = {name: read_image(target / name).pixels for name in DEMO_FILES}
    assert sorted(path.name for path in target.iterdir()) == sorted(files)
    pair = demo.make_demo_pair()
    np.testing.assert_array_equal(files["blurred.png"], pair.blurred)
    np.testing.assert_array_equal(files["reference.png"], pair.reference)
    np.testing.assert_array_equal(files["restored.png"], deblur(pair.blurred, random_model))
    rows = {
        line.split()[0]: [float(text) for text in line.split()[1:]]
        for line in out.splitlines()
        if line.startswith(("blurred", "restored", "gain"))
    }
    for name in ("blurred", "restored"):
        measured = compare(files[f"{name}.png"] / 255, pair.reference / 255)
        assert rows[name] == pytest.approx(measured, abs=0.0051)
    # Less colour difference is a gain.
    signs = np.array([1, 1, -1, -1])
    assert rows["gain"] == pytest.approx(
        signs * (np.array(rows["restored"]) - rows["blurred"]), abs=0.011
    )
    assert "cpu" in out
    assert str(target / "comparison.png") in out


@pytest.mark.usefixtures("small_photograph")
def test_the_demo_needs_no_arguments(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models_folder: Path
):
    monkeypatch.chdir(tmp_path)
    models_folder.mkdir()
    save_weights(models_folder / f"{DEFAULT_MODEL}.safetensors", make_network())
    assert run("demo", "--device", "cpu")[0] == 0
    assert {path.name for path in (tmp_path / "darkdeblur-demo").iterdir()} == set(DEMO_FILES)


@pytest.mark.usefixtures("small_photograph")
def test_an_earlier_demo_is_replaced_only_when_asked(run, tmp_path: Path, identity: Path):
    (tmp_path / "restored.png").write_text("precious")
    code, _, err = run("demo", "--out", tmp_path, "--model", identity)
    assert code == 2
    assert "restored.png" in complaint(err)
    assert "--overwrite" in err
    assert (tmp_path / "restored.png").read_text() == "precious"
    assert not (tmp_path / "blurred.png").exists()
    assert run("demo", "--out", tmp_path, "--model", identity, "--overwrite")[0] == 0
