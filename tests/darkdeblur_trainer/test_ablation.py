"""The ablation takes components away one by one, and nothing else."""

from __future__ import annotations

import pytest

from darkdeblur_trainer.ablation import VARIANTS, AblationRun, run_ablation, table, variant_config
from darkdeblur_trainer.config import ConfigError
from darkdeblur_trainer.config_files import differences, load_config, parse_config
from napari_darkdeblur.network import GeneratorConfig

from .conftest import TINY


def test_variants_differ_in_their_components_only():
    config = load_config("ablation")
    full = variant_config(config, "full", config.seed)
    assert full == config
    changed = {
        name: [
            line.partition(":")[0] for line in differences(config, variant_config(config, name, 0))
        ]
        for name in VARIANTS
    }
    loss = ["losses.adversarial", "losses.features", "losses.ms_ssim"]
    assert {key.rpartition(".")[0] for key in changed["CG"]} == set(loss)
    assert "generator.contextual_gate" in changed["CA"]
    assert "generator.channel_attention" not in changed["CA"]
    assert {"generator.contextual_gate", "generator.channel_attention"} < set(changed["base"])


def test_all_variants_train_and_a_finished_one_is_not_trained_again(photographs, tmp_path):
    losses = {**TINY["losses"], "ms_ssim": 0.5}
    validation = {**TINY["validation"], "every": None}
    config = parse_config({**TINY, "steps": 2, "losses": losses, "validation": validation})
    options = {"cache_folder": tmp_path / "cache", "progress": False}
    places = (photographs, photographs, tmp_path / "runs")
    runs, stopped = run_ablation(config, *places, [0, 1], variants=["base", "full"], **options)
    assert stopped is None
    assert [(run.variant, run.seed) for run in runs] == [
        ("base", 0), ("full", 0), ("base", 1), ("full", 1),
    ]  # fmt: skip
    assert runs[0].parameters < runs[1].parameters
    assert len({run.metrics["paper/psnr"] for run in runs}) == 4
    assert len({run.metrics["paper/psnr_input"] for run in runs}) == 1
    logs = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("step_*.pt")}
    again, _ = run_ablation(config, *places, [0, 1], variants=["base", "full"], **options)
    assert again == runs
    assert logs == {path: path.stat().st_mtime_ns for path in logs}


def test_the_table_tells_mean_and_spread():
    def run(variant: str, seed: int, psnr: float) -> AblationRun:
        metrics = {"paper/psnr": psnr, "paper/ssim": 0.9, "paper/ciede2000": 2.0}
        metrics |= {f"{name}_input": value - 0.5 for name, value in metrics.items()}
        metrics["paper/psnr_input"] = 20.0
        return AblationRun(variant, seed, 1000, metrics)

    runs = [run("base", 0, 21.0), run("full", 0, 23.0), run("base", 1, 22.0), run("full", 1, 24.0)]
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table(runs, markdown=True).splitlines()
    ]
    assert lines[2][0] == "input"
    assert lines[2][6] == "20.00"
    assert lines[3][:7] == ["base", "no", "no", "no", "1000", "2", "21.50 ± 0.71"]
    assert lines[4][:7] == ["full", "yes", "yes", "yes", "1000", "2", "23.50 ± 0.71"]


def test_what_cannot_be_taken_away_is_a_mistake(photographs, tmp_path):
    config = parse_config(TINY)
    places = (photographs, photographs, tmp_path / "runs")
    with pytest.raises(ConfigError, match="no variant 'half'"):
        run_ablation(config, *places, [0], variants=["half"])
    plain = config.model_copy(update={"generator": GeneratorConfig(contextual_gate=False)})
    with pytest.raises(ConfigError, match="takes components away"):
        run_ablation(plain, *places, [0])
    assert not (tmp_path / "runs").exists()
