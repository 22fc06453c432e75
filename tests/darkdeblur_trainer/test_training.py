"""Runs: they finish, stop when told to, and continue as if nothing had happened."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from darkdeblur_trainer import precision, training_setup
from darkdeblur_trainer.batches import batches, load_images
from darkdeblur_trainer.checkpoint import CheckpointFolder
from darkdeblur_trainer.cli import main
from darkdeblur_trainer.config import ConfigError, OptimizerConfig
from darkdeblur_trainer.config_files import load_config, parse_config
from darkdeblur_trainer.distributed import ProcessGroup
from darkdeblur_trainer.metrics_logger import MetricsError, MetricsLogger
from darkdeblur_trainer.run_folder import RunError, RunFolder
from darkdeblur_trainer.synthesis import PairSynthesizer
from darkdeblur_trainer.train_state import TrainState, learning_rate
from darkdeblur_trainer.training import TrainingError, fit
from darkdeblur_trainer.training_step import TrainingStep
from napari_darkdeblur.network import (
    DarkDeblurNet,
    FeaturePyramidConfig,
    GeneratorConfig,
    MultiScaleConfig,
    load_weights,
    save_weights,
)

from .conftest import TINY, scene

COMMAND = [
    sys.executable,
    "-c",
    "from darkdeblur_trainer.cli import main; raise SystemExit(main())",
]
# One thread everywhere: sums are then the same whatever else the machine does.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


class Run:
    """A run of the command line in processes of its own."""

    def __init__(self, folder: Path, images: Path, *overrides: str) -> None:
        folder.mkdir()
        self.out = folder / "run"
        config = folder / "tiny.yaml"
        config.write_text(yaml.safe_dump(TINY))
        self.arguments = ["fit", str(config), *overrides, "--data", str(images)]
        self.arguments += ["--validate", str(images), "--out", str(self.out)]
        self.arguments += ["--cache", str(folder / "cache")]

    def start(self, *, program: list[str] = COMMAND, **options) -> subprocess.Popen:
        return subprocess.Popen(
            [*program, *self.arguments],
            env=ENVIRONMENT,
            **options,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self) -> str:
        process = self.start()
        output, _ = process.communicate()
        assert process.returncode == 0, output
        return output

    def kill_after_step(self, step: int, number: int = signal.SIGKILL) -> tuple[int, str]:
        """Send a signal once a checkpoint of at least this step is there."""
        process = self.start()
        while process.poll() is None and (self.steps() or [0])[-1] < step:
            time.sleep(0.01)
        process.send_signal(number)
        output, _ = process.communicate()
        return process.returncode, output

    def steps(self) -> list[int]:
        return CheckpointFolder(self.out / "checkpoints").steps()

    def state(self) -> dict:
        return CheckpointFolder(self.out / "checkpoints").load_latest()

    def records(self) -> list[dict]:
        lines = (self.out / "metrics.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        for record in records:
            record.pop("samples_per_second", None)
        return records


def assert_same_run(one: Run, other: Run) -> None:
    first, second = one.state(), other.state()
    assert first["step"] == second["step"] == TINY["steps"]
    for part in ("generator", "ema", "discriminator"):
        for name, value in first[part].items():
            assert torch.equal(value, second[part][name]), f"{part}.{name} differs"
    ours, theirs = (
        [*state["generator_optimizers"], state["discriminator_optimizer"]]
        for state in (first, second)
    )
    for optimizer, same in zip(ours, theirs, strict=True):
        for index, moments in optimizer["state"].items():
            for name, value in moments.items():
                assert torch.equal(value, same["state"][index][name])
    assert one.records() == other.records()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, photographs) -> Run:
    run = Run(tmp_path_factory.mktemp("runs") / "uninterrupted", photographs)
    run.finish()
    return run


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_continues_bit_for_bit(uninterrupted, photographs, tmp_path, workers):
    run = Run(tmp_path / "killed", photographs, f"data.workers={workers}")
    code, output = run.kill_after_step(4)
    assert code == -signal.SIGKILL, output
    assert 0 < run.steps()[-1] < TINY["steps"]
    code, output = run.kill_after_step(8)
    assert code == -signal.SIGKILL, output
    run.finish()
    assert_same_run(run, uninterrupted)


def test_a_run_killed_in_the_middle_of_a_save_continues_bit_for_bit(
    uninterrupted, photographs, tmp_path
):
    # The process writes half of its second checkpoint and is killed while at it.
    program = """
import os, signal
from pathlib import Path
whole, count = Path.write_bytes, 0
def half(self, data):
    global count
    count += "step_" in self.name
    if count == 2:
        with self.open("wb") as stream:
            stream.write(bytes(data)[:len(data) // 2])
            stream.flush()
            os.fsync(stream.fileno())
            os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, data)
Path.write_bytes = half
from darkdeblur_trainer.cli import main
raise SystemExit(main())
"""
    run = Run(tmp_path / "killed", photographs)
    process = run.start(program=[sys.executable, "-c", program])
    output, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, output
    assert run.steps() == [4]
    assert list((run.out / "checkpoints").glob(".*.part*"))
    run.finish()
    assert not list((run.out / "checkpoints").glob(".*.part*"))
    assert_same_run(run, uninterrupted)


def test_a_signal_to_the_process_group_saves_too(uninterrupted, photographs, tmp_path):
    # What `timeout`, job schedulers and service managers send: workers get it as well.
    run = Run(tmp_path / "stopped", photographs, "data.workers=2", "checkpoint.every=3")
    process = run.start(start_new_session=True)
    while process.poll() is None and not run.steps():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGINT, output
    assert "Traceback" not in output
    run.finish()
    assert_same_run(run, uninterrupted)


@pytest.mark.parametrize("left", ["run.json", ".run.1234.part.json", ".lock"])
def test_a_run_killed_while_its_folder_was_made_starts(uninterrupted, photographs, tmp_path, left):
    run = Run(tmp_path / "early", photographs)
    run.out.mkdir()
    (run.out / left).write_text("")
    run.finish()
    assert_same_run(run, uninterrupted)


def test_one_run_is_trained_by_one_process(tiny_config, photographs, tmp_path):
    with (
        RunFolder(tmp_path / "run").locked(),
        pytest.raises(RunError, match="Another process is training"),
    ):
        fit(tiny_config, photographs, tmp_path / "run", cache_folder=tmp_path, progress=False)


def test_sigterm_saves_and_the_same_command_continues(uninterrupted, photographs, tmp_path):
    run = Run(tmp_path / "stopped", photographs, "checkpoint.every=3")
    code, output = run.kill_after_step(3, signal.SIGTERM)
    assert code == 128 + signal.SIGTERM, output
    assert "The same command continues" in output
    assert "Traceback" not in output
    assert 3 <= run.steps()[-1] < TINY["steps"]
    run.finish()
    assert_same_run(run, uninterrupted)


def test_a_disk_that_fills_up_keeps_the_last_checkpoint(uninterrupted, photographs, tmp_path):
    run = Run(tmp_path / "full", photographs)
    run.arguments += ["--max-minutes", "0"]
    run.finish()
    del run.arguments[-2:]
    assert run.steps() == [1]
    # No file may grow beyond a few kilobytes, as if that were what is left on the disk.
    program = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from darkdeblur_trainer.cli import main
raise SystemExit(main())
"""
    process = run.start(program=[sys.executable, "-c", program])
    output, _ = process.communicate()
    assert process.returncode == 1, output
    assert "checkpoint of step 4 cannot be written" in output
    assert "the last good one is step 1" in output
    assert "Traceback" not in output
    assert [path.name for path in (run.out / "checkpoints").iterdir()] == ["step_00000001.pt"]
    run.finish()
    assert_same_run(run, uninterrupted)


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
TORCHRUN += ["--nproc-per-node", "2", "-m", "darkdeblur_trainer"]


def test_two_processes_train_like_one_and_resume(uninterrupted, photographs, tmp_path):
    run = Run(tmp_path / "two", photographs, "log.gradient_shares=5")
    run.arguments += ["--max-minutes", "0"]
    process = run.start(program=TORCHRUN)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert run.steps() == [1]
    del run.arguments[-2:]
    process = run.start(program=TORCHRUN)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    records = [r for r in run.records() if not any(k.startswith("gradient/") for k in r)]
    assert len(records) == len(run.records()) - 2
    for ours, theirs in zip(records, uninterrupted.records(), strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            if isinstance(value, float):
                # Sums over two halves are rounded differently; Adam amplifies that a little.
                assert ours[name] == pytest.approx(value, rel=2e-3, abs=2e-5), name
    for part in ("generator", "ema", "discriminator"):
        for name, value in uninterrupted.state()[part].items():
            # A weight moves by up to the learning rate, 1e-3, in each of 12 steps.
            assert torch.allclose(run.state()[part][name], value, rtol=1e-2, atol=1e-3), name


def test_two_processes_are_given_the_halves_of_what_one_is_given(
    tiny_config, photographs, tmp_path
):
    images = load_images(tiny_config, photographs, tmp_path)

    def shard(rank: int, world_size: int) -> Iterator[tuple[torch.Tensor, ...]]:
        group = ProcessGroup(rank, world_size, torch.device("cpu"))
        synthesizer = PairSynthesizer(tiny_config.synthesis, tiny_config.seed)
        return batches(tiny_config, images, synthesizer, group, 0)

    one, first, second = shard(0, 1), shard(0, 2), shard(1, 2)
    for _ in range(3):
        for whole, *halves in zip(next(one), next(first), next(second), strict=True):
            torch.testing.assert_close(torch.cat(halves), whole, rtol=0, atol=1e-6)


def test_two_processes_agree_on_the_precision(photographs, tmp_path):
    run = Run(tmp_path / "two", photographs, "precision=auto")
    run.arguments += ["--max-minutes", "0"]
    process = run.start(program=TORCHRUN)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    (line,) = [line for line in output.splitlines() if line.startswith("Precision ")]
    assert RunFolder(run.out).config().precision in line.split(":")[0]


def test_a_mistake_ends_all_processes(photographs, tmp_path):
    run = Run(tmp_path / "two", photographs)
    run.out.mkdir()
    (run.out / "thesis.tex").touch()
    process = run.start(program=TORCHRUN)
    output, _ = process.communicate()
    assert process.returncode != 0
    assert output.count("is not the folder of a run") == 1


def test_the_weights_beside_a_checkpoint_are_those_it_holds(uninterrupted):
    weights = load_weights(uninterrupted.out / "weights.safetensors")
    assert weights.provenance["steps"] == TINY["steps"]
    for name, value in uninterrupted.state()["ema"].items():
        assert torch.equal(weights.network.state_dict()[name], value)


def test_checkpoints_are_written_by_the_clock(tiny_config, photographs, tmp_path, monkeypatch):
    # A clock on which every step takes fifty seconds.
    clock = iter(range(0, 10**6, 50))
    monkeypatch.setattr("darkdeblur_trainer.training.time.monotonic", lambda: next(clock))
    saved = []
    whole = CheckpointFolder.save

    def save(self: CheckpointFolder, step: int, state: dict) -> Path:
        saved.append((step, state["seconds"]))
        weights = whole(self, step, state).parents[1] / "weights.safetensors"
        assert weights.is_file() == (len(saved) > 1)  # written after it
        return weights

    monkeypatch.setattr(CheckpointFolder, "save", save)
    by_clock = {"every": None, "minutes": 2}
    config = parse_config({**TINY, "checkpoint": by_clock, "log": {"scalars": 100, "images": None}})
    fit(config, photographs, tmp_path / "run", cache_folder=tmp_path, progress=False)
    assert [step for step, _ in saved][-1] == TINY["steps"]
    times = [seconds for _, seconds in saved]
    assert len(times) > 2
    for before, after in itertools.pairwise([0, *times]):
        assert after - before <= 2 * 60 + 50


def test_a_finished_run_stays_finished(uninterrupted):
    before = uninterrupted.records()
    output = uninterrupted.finish()
    assert f"All {TINY['steps']} steps are done" in output
    assert uninterrupted.records() == before


def test_training_learns_to_remove_noise(photographs, tmp_path):
    noise = {"preset": "paper", "unblurred": 1, "gaussian_noise": 0, "read_noise": [0.2, 0.2]}
    changes = {
        "steps": 60,
        "generator": {"width": 8, "growth": 4, "dense_layers": 2, "levels": 1},
        "synthesis": [noise],
        "losses": {"ms_ssim": 0, "features": 0, "adversarial": 0},
        "optimizer": {"learning_rate": 5e-3},
        "log": {"scalars": 10},
    }
    config = parse_config({**TINY, **changes})
    result = fit(config, photographs, tmp_path / "run", cache_folder=tmp_path, progress=False)
    assert (result.step, result.reason) == (60, "finished")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [record["loss/l1"] for record in map(json.loads, lines)]
    assert losses[-1] < 0.8 * losses[0]


def test_all_four_terms_train_and_are_logged(tiny_config, vgg16_state, photographs, tmp_path):
    vgg = tmp_path / "vgg16.safetensors"
    save_file(vgg16_state, vgg)
    changes = {
        "steps": 2,
        "losses": {"adversarial": 1e-4},
        "log": {"scalars": 1, "gradient_shares": 1, "images": 1},
    }
    config = parse_config({**TINY, **changes})
    fit(config, photographs, tmp_path / "run", vgg_path=vgg, cache_folder=tmp_path, progress=False)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    logged = {key for line in lines for key in json.loads(line)}
    for term in ("l1", "ms_ssim", "features", "adversarial"):
        assert {f"loss/{term}", f"gradient/{term}"} <= logged
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert {"loss/l1", "gradient/features"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Images("patches")] == [1, 2]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["vgg"] == "VGG-16"


def test_paired_folders_train(tiny_config, photographs, tmp_path):
    for kind in ("blur", "sharp"):
        folder = tmp_path / "gopro" / "seq" / kind
        folder.mkdir(parents=True)
        for image in photographs.iterdir():
            (folder / image.name).write_bytes(image.read_bytes())
    config = parse_config({**TINY, "steps": 2, "data": {"layout": "gopro", "every": 1}})
    data = tmp_path / "gopro"
    fit(config, data, tmp_path / "run", validation_data=data, cache_folder=tmp_path, progress=False)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert any("pairs/psnr" in json.loads(line) for line in lines)


def test_the_time_limit_saves_and_stops(tiny_config, photographs, tmp_path):
    arguments = (tiny_config, photographs, tmp_path / "run")
    options = {"cache_folder": tmp_path, "progress": False}
    result = fit(*arguments, max_minutes=0, **options)
    assert (result.step, result.reason) == (1, "time")
    assert fit(*arguments, **options).step == TINY["steps"]


@pytest.mark.parametrize("part", ["generator", "discriminator"])
@pytest.mark.parametrize("every", [1, 100])
def test_a_number_that_is_none_stops_and_the_last_checkpoint_goes_on(
    tiny_config, photographs, tmp_path, monkeypatch, part, every
):
    log = tiny_config.log.model_copy(update={"scalars": every})
    config = tiny_config.model_copy(update={"log": log})
    options = {
        "validation_data": photographs,
        "cache_folder": tmp_path,
        "progress": False,
    }
    whole = TrainState.set_learning_rate
    calls = 0

    def break_step_six(self: TrainState, rate: float) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:
            next(getattr(self, part).parameters()).data.fill_(float("nan"))
        whole(self, rate)

    monkeypatch.setattr(TrainState, "set_learning_rate", break_step_six)
    with pytest.raises(TrainingError, match=r"no longer a finite number.*checkpoint is step 4"):
        fit(config, photographs, tmp_path / "run", **options)
    monkeypatch.undo()
    assert CheckpointFolder(tmp_path / "run" / "checkpoints").steps() == [4]
    assert fit(config, photographs, tmp_path / "run", **options).step == TINY["steps"]


@pytest.mark.parametrize("faster", ["fp32", "bf16"])
def test_auto_takes_the_faster_precision_and_a_run_keeps_it(
    tiny_config, photographs, tmp_path, monkeypatch, capsys, faster
):
    def measured(fastest: str):
        def seconds(step: TrainingStep, batch: tuple, device: torch.device) -> float:
            step(0, *batch)
            return 1.0 if step.config.precision == fastest else 2.0

        return seconds

    # Also on a processor without the instructions, where it is slow but the same.
    monkeypatch.setattr(precision, "supports_bf16", lambda device: True)
    monkeypatch.setattr(precision, "time_step", measured(faster))
    slower = {"fp32": "bf16", "bf16": "fp32"}[faster]
    auto = tiny_config.model_copy(update={"precision": "auto"})
    folder = RunFolder(tmp_path / "auto")
    fit(auto, photographs, folder.path, cache_folder=tmp_path, max_minutes=0)
    told = capsys.readouterr().err
    assert f"Precision {faster}: a step takes" in told
    assert f"1000 ms in {faster}" in told
    # Now the other one is faster, but the run has begun.
    monkeypatch.setattr(precision, "time_step", measured(slower))
    options = {"cache_folder": tmp_path, "progress": False}
    assert fit(auto, photographs, folder.path, **options).step == TINY["steps"]
    assert folder.config().precision == faster
    assert folder.run_info()["seconds_per_step"] == {faster: 1.0, slower: 2.0}
    # Measuring has changed nothing: the run is the one whose precision was given.
    given = tiny_config.model_copy(update={"precision": faster})
    fit(given, photographs, tmp_path / "given", **options)
    ours, theirs = (
        CheckpointFolder(tmp_path / name / "checkpoints").load_latest()
        for name in ("auto", "given")
    )
    for part in ("generator", "ema", "discriminator"):
        for name, value in ours[part].items():
            assert torch.equal(value, theirs[part][name]), f"{part}.{name}"
    other = tiny_config.model_copy(update={"precision": slower})
    with pytest.raises(RunError, match=f"precision: {faster} -> {slower}"):
        fit(other, photographs, folder.path, **options)


def test_without_bf16_instructions_auto_is_fp32_and_bf16_is_warned_of(
    tiny_config, photographs, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(precision, "supports_bf16", lambda device: False)
    monkeypatch.setattr(training_setup, "supports_bf16", lambda device: False)
    options = {"cache_folder": tmp_path, "max_minutes": 0}
    auto = tiny_config.model_copy(update={"precision": "auto"})
    fit(auto, photographs, tmp_path / "auto", **options)
    assert RunFolder(tmp_path / "auto").config().precision == "fp32"
    assert "Precision fp32: there are no bf16 instructions" in capsys.readouterr().err
    bf16 = tiny_config.model_copy(update={"precision": "bf16"})
    fit(bf16, photographs, tmp_path / "bf16", **options)
    assert "no instructions for bf16: a step may take a hundred times" in capsys.readouterr().err


def test_both_precisions_are_really_timed(tiny_config):
    cpu = torch.device("cpu")
    if not precision.supports_bf16(cpu):
        pytest.skip("this processor has no instructions for bf16")
    batch = tuple(torch.rand(2, 2, 3, 112, 112))
    times = precision.measure_precisions(tiny_config, batch, None, ProcessGroup(0, 1, cpu))
    assert set(times) == {"fp32", "bf16"}
    assert all(seconds > 0 for seconds in times.values())


def test_another_configuration_does_not_continue_a_run(tiny_config, photographs, tmp_path):
    options = {"cache_folder": tmp_path, "progress": False}
    fit(tiny_config, photographs, tmp_path / "run", max_minutes=0, **options)
    other = tiny_config.model_copy(update={"seed": 1})
    with pytest.raises(RunError, match="seed: 0 -> 1"):
        fit(other, photographs, tmp_path / "run", **options)


def test_a_folder_of_something_else_is_left_alone(tiny_config, photographs, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").touch()
    with pytest.raises(RunError, match="not the folder of a run"):
        fit(tiny_config, photographs, tmp_path / "thesis", cache_folder=tmp_path, progress=False)


def test_the_schedule_warms_up_and_falls():
    optimizer = parse_config(
        {
            "optimizer": {
                "learning_rate": 1.0,
                "schedule": "cosine",
                "warmup_steps": 4,
                "final_learning_rate": 0.1,
            }
        }
    ).optimizer
    rates = [learning_rate(optimizer, step, 104) for step in range(105)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert rates[54] == pytest.approx(0.55)
    assert rates[104] == pytest.approx(0.1)


def test_a_run_starts_from_given_weights(tiny_config, photographs, tmp_path):
    torch.manual_seed(7)
    network = DarkDeblurNet(tiny_config.generator)
    weights = save_weights(tmp_path / "start.safetensors", network)
    config = tiny_config.model_copy(
        update={"steps": 1, "ema_decay": None, "optimizer": OptimizerConfig(learning_rate=1e-9)}
    )
    options = {"cache_folder": tmp_path, "progress": False}
    fit(config, photographs, tmp_path / "run", init=str(weights), **options)
    state = CheckpointFolder(tmp_path / "run" / "checkpoints").load_latest()
    for name, value in network.state_dict().items():
        assert torch.allclose(state["generator"][name], value, atol=1e-6)
    with pytest.raises(RunError, match=r"init_sha256: [0-9a-f]+ -> None"):
        fit(config, photographs, tmp_path / "run", **options)
    other = config.model_copy(update={"generator": GeneratorConfig.small()})
    with pytest.raises(ConfigError, match="do not fit: their network has"):
        fit(other, photographs, tmp_path / "other", init=str(weights), **options)


@pytest.mark.parametrize(
    "generator",
    [
        MultiScaleConfig(width=4, levels=2, blocks=1, scales=2),
        FeaturePyramidConfig(width=4, blocks=(1, 1), expansion=2, pyramid=8),
    ],
    ids=["multi-scale", "feature pyramid"],
)
def test_other_architectures_train_continue_and_are_exported(
    tiny_config, photographs, tmp_path, generator
):
    config = tiny_config.model_copy(update={"generator": generator, "steps": 3})
    options = {"cache_folder": tmp_path, "progress": False}
    states = []
    for name, limits in (("whole", [None]), ("halved", [0, None])):
        for minutes in limits:
            result = fit(config, photographs, tmp_path / name, max_minutes=minutes, **options)
        assert result.step == 3
        states.append(CheckpointFolder(tmp_path / name / "checkpoints").load_latest())
    for name, value in states[0]["generator"].items():
        assert torch.equal(value, states[1]["generator"][name]), f"{name} differs"
    path = tmp_path / "peer.safetensors"
    assert main(["export", str(tmp_path / "whole"), "-o", str(path)]) == 0
    assert load_weights(path).config == generator
    # A network of its own kind is started from it, another one is not.
    again = config.model_copy(update={"steps": 1})
    fit(again, photographs, tmp_path / "again", init=str(path), **options)
    with pytest.raises(ConfigError, match="other architectures do not grow"):
        fit(tiny_config, photographs, tmp_path / "other", init=str(path), **options)


def test_a_replaced_image_is_another_run(tiny_config, photographs, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for image in photographs.iterdir():
        (images / image.name).write_bytes(image.read_bytes())
    options = {"cache_folder": tmp_path / "cache", "progress": False}
    fit(tiny_config, images, tmp_path / "run", max_minutes=0, **options)
    Image.fromarray(scene(150, 150, 9)).save(images / "scene_1.png")
    with pytest.raises(RunError, match="images_sha256"):
        fit(tiny_config, images, tmp_path / "run", **options)


def test_records_that_cannot_be_written_say_so(tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    folder = RunFolder(tmp_path)
    folder.metrics.symlink_to(full)
    recorder = MetricsLogger(folder, 0, 10, enabled=True, progress=False)
    with pytest.raises(MetricsError, match="No space left"), recorder:
        recorder.scalars(1, {"loss/total": 1.0})


def test_the_bundled_smoke_configuration_runs(photographs, tmp_path):
    config = load_config("smoke", ["steps=2", "losses.features=0", "losses.adversarial=1e-4"])
    assert (
        fit(config, photographs, tmp_path / "run", cache_folder=tmp_path, progress=False).step == 2
    )
