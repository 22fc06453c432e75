"""The kernel network learns, goes on where it stopped, and is judged on other photographs."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors.torch import save_file

from darkdeblur_trainer.cli import main
from darkdeblur_trainer.psf_training import (
    Settings,
    coarser,
    fit,
    kernel_loss,
    resized,
    rms_radius,
    schedule,
    similarity,
    write_weights,
)
from darkdeblur_trainer.synthesis import Degradation
from napari_darkdeblur.psf.network import (
    KernelNet,
    KernelNetConfig,
    KernelNetError,
    find_kernels,
    read_kernel_net,
)

CONFIG = KernelNetConfig(
    kernel_size=17, widths=(8, 16), kernel_widths=(8, 16), groups=2, scales=(2, 1)
)
RECIPE = (Degradation(preset="night", blur_radius=(1.0, 2.0), moving_object_probability=0.25),)
# So long that only `max_steps` ends a run.
SETTINGS = Settings(minutes=1e3, batch=4, crop=128, warmup=0.0, validation=8)


def line(length: int, size: int = 17) -> torch.Tensor:
    kernel = torch.zeros(1, size, size)
    kernel[0, size // 2, size // 2 - length // 2 : size // 2 + length // 2 + 1] = 1
    return kernel / kernel.sum()


def test_training_reduces_the_loss_and_goes_on(photographs, tmp_path):
    def run(steps: int) -> None:
        result = fit(
            photographs, tmp_path, SETTINGS, config=CONFIG, recipe=RECIPE, device="cpu",
            cache_folder=tmp_path / "images", log_seconds=0.0, max_steps=steps, half=True,
        )  # fmt: skip
        assert result == {}

    run(16)
    run(8)
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["step"] for record in records] == list(range(1, 25))
    loss = torch.tensor([record["loss"] for record in records])
    assert loss[-6:].mean() < 0.9 * loss[:4].mean()
    # What was learnt, and the time that it took, were not forgotten in between.
    assert loss[16:20].mean() < 0.95 * loss[:4].mean()
    assert records[16]["seconds"] >= records[15]["seconds"]
    weights = tmp_path / "kernel-net.safetensors"
    assert weights.stat().st_size < 3 * sum(p.numel() for p in KernelNet(CONFIG).parameters())
    net = read_kernel_net(weights)
    assert net.config == CONFIG
    picture = torch.rand(3, 140, 300)
    found = find_kernels(net, picture, crop=128, most=2)
    assert len(found) == 2
    assert found[0][1] >= found[1][1]
    assert find_kernels(net, picture[:, :100]) == []


def test_a_run_starts_from_weights_that_are_given(photographs, tmp_path):
    torch.manual_seed(3)
    net, given = KernelNet(CONFIG), tmp_path / "given.safetensors"
    write_weights(net, given, half=False)
    words = ["fit-psf", "--data", str(photographs), "--out", str(tmp_path / "cli"), "--init"]
    assert main([*words, str(tmp_path / "none.safetensors")]) == 2
    fit(
        photographs, tmp_path / "run", SETTINGS, recipe=RECIPE, device="cpu", init=given,
        cache_folder=tmp_path / "images", max_steps=0,
    )  # fmt: skip
    written = read_kernel_net(tmp_path / "run" / "kernel-net.safetensors")
    assert written.config == CONFIG
    for name, value in net.state_dict().items():
        torch.testing.assert_close(written.state_dict()[name], value, rtol=0, atol=0)


def test_a_run_at_its_end_is_validated_by_size(photographs, tmp_path):
    settings = dataclasses.replace(SETTINGS, minutes=1e-6)
    result = fit(
        photographs, tmp_path, settings, config=CONFIG, recipe=RECIPE, device="cpu",
        cache_folder=tmp_path / "images",
    )  # fmt: skip
    assert sum(row["samples"] for row in result["rows"]) == settings.validation
    assert len(result["samples"]) == settings.validation
    for row in result["rows"]:
        assert row["rms_from"] <= 3
        assert 0 <= row["similarity"] <= 1
    assert json.loads((tmp_path / "validation.json").read_text()) == result


def test_another_file_is_no_kernel_network(tmp_path):
    with pytest.raises(KernelNetError, match="cannot be read"):
        read_kernel_net(tmp_path / "missing.safetensors")
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(KernelNetError, match=r"other\.safetensors holds no kernel network"):
        read_kernel_net(tmp_path / "other.safetensors")


def test_a_folder_without_photographs_is_a_users_mistake(tmp_path, capsys):
    run = str(tmp_path / "run")
    code = main(["fit-psf", "--data", str(tmp_path), "--out", run, "--minutes", "0.1"])
    assert code == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_the_learning_rate_rises_and_falls_to_nothing():
    assert schedule(0.05, 0.1) == pytest.approx(0.5)
    assert schedule(0.1, 0.1) == pytest.approx(1.0)
    assert schedule(1.0, 0.1) == schedule(1.2, 0.1) == pytest.approx(0.0)


def test_the_loss_grows_with_the_distance_and_vanishes_for_the_truth():
    truth = line(7)
    assert kernel_loss(truth, truth).item() == pytest.approx(0, abs=1e-5)
    losses = [kernel_loss(truth.roll(shift, dims=1), truth).item() for shift in range(5)]
    assert losses == sorted(losses)
    assert losses[4] > losses[1] + 0.1


def test_similarity_is_that_of_shapes_wherever_they_lie():
    moved = line(7).roll((3, -2), dims=(1, 2))
    assert similarity(moved, line(7)).item() == pytest.approx(1, abs=1e-5)
    # Three of seven pixels: sqrt(3 / 7).
    assert similarity(line(3), line(7)).item() == pytest.approx((3 / 7) ** 0.5, abs=1e-5)


def test_kernels_keep_sum_and_middle_when_their_pixels_grow():
    kernel = line(9, 33).mT + line(5, 33).roll(4, dims=2)
    kernel = kernel / kernel.sum()
    small = coarser(kernel, 4)
    assert small.shape == (1, 9, 9)
    assert small.sum().item() == pytest.approx(1, abs=1e-5)
    places = torch.arange(33.0) - 16
    centroid = (kernel.sum(dim=1) * places).sum()
    assert (small.sum(dim=1) * (torch.arange(9.0) - 4)).sum() * 4 == pytest.approx(
        centroid.item(), abs=1e-4
    )


def test_the_radius_of_a_line_is_known():
    # Variance of 2 n + 1 points a pixel apart: n (n + 1) / 3.
    assert rms_radius(line(9)).item() == pytest.approx((4 * 5 / 3) ** 0.5, rel=1e-4)


def test_kernels_of_another_size_are_cut_or_continued():
    assert resized(line(7, 33), 17).equal(line(7))
    assert resized(line(7), 33).equal(line(7, 33))
