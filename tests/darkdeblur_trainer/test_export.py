"""What the trainer writes is what darkdeblur loads."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

from darkdeblur_trainer.checkpoint import CheckpointError, CheckpointFolder
from darkdeblur_trainer.cli import main
from darkdeblur_trainer.export import export_run, write_weights
from darkdeblur_trainer.run_folder import RunError, RunFolder, source_revision
from darkdeblur_trainer.synthesis import Degradation
from darkdeblur_trainer.training import fit
from darkdeblur_trainer.validation import degraded, validate
from napari_darkdeblur import deblur, load_weights
from napari_darkdeblur.network import save_weights

from .conftest import TINY, scene


@pytest.fixture(scope="module")
def run(tmp_path_factory, photographs):
    from darkdeblur_trainer.config_files import parse_config

    folder = tmp_path_factory.mktemp("export")
    fit(
        parse_config(TINY),
        photographs,
        folder / "run",
        validation_data=photographs,
        cache_folder=folder,
        progress=False,
    )
    return folder / "run"


def test_an_exported_run_restores_images_with_its_averaged_weights(run, tmp_path, capsys):
    file = tmp_path / "mine.safetensors"
    assert main(["export", str(run), "-o", str(file)]) == 0
    model = load_weights(file)
    state = CheckpointFolder(run / "checkpoints").load_latest()
    weights = model.network.state_dict()
    assert weights.keys() == state["ema"].keys()
    for name, value in state["ema"].items():
        assert torch.equal(weights[name], value)
    assert any(not torch.equal(weights[n], v) for n, v in state["generator"].items())

    image = scene(50, 61, 9)
    restored = deblur(image, model=file)
    with torch.inference_mode():
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        expected = model.network(tensor)[0].clamp(0, 1).permute(1, 2, 0).numpy() * 255
    assert restored.dtype == np.uint8
    assert np.abs(restored - expected).max() <= 0.5 + 1e-3


def test_the_card_tells_how_the_weights_came_to_be(run, tmp_path):
    card = load_weights(export_run(run, tmp_path / "a.safetensors", licence="CC0")).card
    assert card.licence == "CC0"
    assert card.provenance["steps"] == TINY["steps"]
    assert set(card.provenance["losses"]) == {"l1", "ms_ssim", "adversarial"}
    assert card.provenance["run"]["images"] == 3
    assert card.provenance["validation"]["step"] == TINY["steps"]
    assert card.provenance["run"]["code"][-1]["git_revision"] == source_revision()
    assert "paper/psnr_input" in card.provenance["validation"]
    json.dumps(card.provenance)


def test_weights_that_cannot_be_written_leave_a_whole_checkpoint(run, tmp_path):
    folder = RunFolder(run)
    folder.weights = tmp_path / "weights.safetensors"
    folder.weights.mkdir()
    state = CheckpointFolder(folder.checkpoints).load_latest()
    with pytest.raises(CheckpointError, match=r"checkpoint of step \d+ is whole"):
        write_weights(folder, folder.config(), state)


def test_half_precision_halves_the_file(run, tmp_path):
    full = export_run(run, tmp_path / "full.safetensors")
    half = export_run(run, tmp_path / "half.safetensors", dtype=torch.float16)
    sizes = [
        sum(value.numel() for value in load_weights(path).network.state_dict().values())
        for path in (full, half)
    ]
    assert sizes[0] == sizes[1]
    saved = full.stat().st_size - half.stat().st_size
    assert saved == pytest.approx(2 * sizes[0], abs=64)  # but for the header


def test_half_precision_costs_less_than_a_fiftieth_of_a_decibel(tmp_path):
    # The bundled weights are stored so already: each is given digits that rounding takes away.
    network = copy.deepcopy(load_weights().network)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            # Half a unit in the last of 11 bits, up or down.
            parameter *= 1 + (torch.rand(parameter.shape, generator=generator) - 0.5) * 2**-10
    measured = {}
    images = [(str(n), torch.from_numpy(scene(160, 160, n)).permute(2, 0, 1)) for n in range(2)]
    for dtype in (torch.float32, torch.float16):
        file = save_weights(tmp_path / f"{dtype}.safetensors", network, dtype=dtype)
        stored = load_weights(file).network
        pairs = [
            pair
            for preset in ("paper", "night")
            for pair in degraded(preset, images, Degradation.model_validate(preset), 128)
        ]
        measured[dtype] = validate(stored, pairs, torch.device("cpu"))
    exact, rounded = measured.values()
    assert exact != rounded
    for name, value in exact.items():
        if name.endswith("/psnr"):
            assert abs(rounded[name] - value) < 0.02, name


def test_export_does_not_overwrite_unasked(run, tmp_path, capsys):
    file = tmp_path / "mine.safetensors"
    assert main(["export", str(run), "-o", str(file)]) == 0
    assert main(["export", str(run), "-o", str(file)]) == 2
    assert "exists" in capsys.readouterr().err
    assert main(["export", str(run), "-o", str(file), "--overwrite"]) == 0


def test_what_is_not_a_run_is_named(tmp_path):
    with pytest.raises(RunError, match="not the folder of a run"):
        export_run(tmp_path, tmp_path / "a.safetensors")


def test_the_card_has_the_validation_of_the_exported_step(run, tmp_path):
    metrics = run / "metrics.jsonl"
    before = metrics.read_text()
    try:
        later = '{"kind": "validation", "step": 99, "paper/psnr": 1.0}'
        metrics.write_text(f'{before}{later}\n{{"kind": "tra')  # killed while writing
        card = load_weights(export_run(run, tmp_path / "a.safetensors")).card
    finally:
        metrics.write_text(before)
    assert card.provenance["validation"]["step"] == TINY["steps"]


def test_a_damaged_run_is_named(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("steps: [")
    with pytest.raises(RunError, match=r"config\.yaml is damaged"):
        export_run(tmp_path / "run", tmp_path / "a.safetensors")
