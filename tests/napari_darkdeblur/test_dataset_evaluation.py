"""Models and results are measured on data sets as the papers' conventions say."""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.color import deltaE_cie76, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from napari_darkdeblur import DarkDeblurNet, GeneratorConfig, cli, save_weights
from napari_darkdeblur.dataset_evaluation import (
    EvaluationSettings,
    ImageScore,
    Results,
    best_shift,
    bootstrap,
    measure_against,
)
from napari_darkdeblur.evaluation import EvaluationError

from .metrics.test_lpips import random_weights

RNG = np.random.default_rng(0)


def picture(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.random((height, width, 3)), (2, 2, 0))
    image = (image - image.min()) / np.ptp(image)
    return np.rint(image * 255).astype(np.uint8)


def blurred(image: np.ndarray) -> np.ndarray:
    return ndimage.uniform_filter(image, (5, 1, 1))


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture
def gopro(tmp_path) -> Path:
    """Return a small tree as GoPro's: two sequences of three frames."""
    root = tmp_path / "GOPRO"
    for seed in range(6):
        sharp = picture(seed)
        place = root / "test" / f"S{seed // 3}"
        write(place / "sharp" / f"{seed % 3}.png", sharp)
        write(place / "blur" / f"{seed % 3}.png", blurred(sharp))
    return root


@pytest.fixture
def weights(tmp_path) -> Path:
    """Return a model that changes nothing."""
    network = DarkDeblurNet(GeneratorConfig(width=4, growth=4, levels=1))
    network.head.weight.data.zero_()
    network.head.bias.data.zero_()
    return save_weights(tmp_path / "still.safetensors", network)


@pytest.fixture
def run(capsys):
    def run_command(*arguments: object) -> tuple[int, str, str]:
        code = cli.main(["evaluate", *(str(argument) for argument in arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return run_command


def table_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_metrics_are_scikit_images():
    sharp = picture(1, 170, 180)
    found = measure_against(blurred(sharp), [sharp])
    first, second = blurred(sharp) / 255, sharp / 255
    assert found["psnr"] == pytest.approx(
        peak_signal_noise_ratio(second, first, data_range=1), abs=1e-6
    )
    expected = structural_similarity(
        second, first, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    assert found["ssim"] == pytest.approx(expected, abs=1e-6)
    cie76 = deltaE_cie76(rgb2lab(first), rgb2lab(second)).mean()
    assert found["cie76"] == pytest.approx(cie76, abs=1e-6)
    assert {"ms_ssim", "ciede2000"} <= found.keys()
    assert "ms_ssim" not in measure_against(blurred(sharp)[:100], [sharp[:100]])


def test_of_several_references_the_nearest_counts():
    sharp = picture(1)
    others = [np.roll(sharp, place, axis=1) for place in (9, 0, 4)]
    assert measure_against(sharp, others)["psnr"] == np.inf


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-4, 4)])
def test_a_shift_is_found_and_forgiven(shift):
    wide = picture(2, 100, 120)
    rows, columns = shift
    restored = wide[10:90, 10:110]
    reference = wide[10 - rows : 90 - rows, 10 - columns : 110 - columns]
    assert best_shift(restored / 255, reference / 255, 4) == shift
    assert measure_against(restored, [reference], shift=4)["psnr"] == np.inf
    if shift != (0, 0):
        assert measure_against(restored, [reference])["psnr"] < 40


def test_borders_are_left_out_and_sizes_must_agree():
    sharp = picture(3)
    framed = sharp.copy()
    framed[:4] = framed[-4:] = framed[:, :4] = framed[:, -4:] = 0
    assert measure_against(framed, [sharp], border=4)["psnr"] == np.inf
    with pytest.raises(EvaluationError, match="80 x 50 pixels, RGB and the reference 80 x 60"):
        measure_against(sharp[:50], [sharp])
    with pytest.raises(EvaluationError, match="too few"):
        measure_against(sharp, [sharp], border=28)


def test_the_interval_holds_the_mean_of_most_samples():
    population = RNG.normal(5, 2, (100, 40))
    intervals = [bootstrap(sample) for sample in population]
    inside = sum(each.low <= 5 <= each.high for each in intervals)
    assert 85 <= inside <= 99
    assert bootstrap(population[0]) == intervals[0]
    assert np.isnan(bootstrap([3.0]).low)


def test_a_data_set_is_measured_beside_results_of_others(run, gopro, weights, tmp_path):
    mine = tmp_path / "theirs"
    for path in sorted(gopro.rglob("sharp/*.png")):
        sharp = np.asarray(Image.open(path))
        name = path.relative_to(gopro).as_posix().replace("sharp/", "")
        write(mine / name, np.clip(sharp.astype(int) + 1, 0, 255).astype(np.uint8))
    out = tmp_path / "out"
    words = ["--dataset", "gopro", gopro, "--model", weights, "--restored", f"theirs={mine}"]
    code, printed, err = run(*words, "-o", out)
    assert (code, err) == (0, "")
    lines = [line.split() for line in printed.splitlines()[1:4]]
    assert [line[1] for line in lines] == ["blurred", "still", "theirs"]
    assert {line[2] for line in lines} == {"6"}
    assert float(lines[1][3]) == 0
    assert float(lines[2][3]) > 5
    rows = table_of(out)
    assert len(rows) == 6 * 3
    summary = json.loads((out / "summary.json").read_text())
    theirs = summary["summaries"][2]["metrics"]
    measured = [float(row["PSNR (dB)"]) for row in rows if row["method"] == "theirs"]
    assert theirs["psnr"]["mean"] == pytest.approx(np.mean(measured))
    assert theirs["psnr"]["low"] <= theirs["psnr"]["mean"] <= theirs["psnr"]["high"]
    assert (out / "table.md").read_text().count("|") > 20
    sheet = np.asarray(Image.open(out / "contact-sheet-gopro.png"))
    assert sheet.shape[1] == 4 * 328


def test_what_was_interrupted_goes_on(run, gopro, weights, tmp_path):
    out = tmp_path / "out"
    words = ["--dataset", "gopro", gopro, "--model", weights, "-o", out]
    assert run(*words, "--images", "2")[0] == 0
    log = out / "results.jsonl"
    before = log.read_text()
    log.write_text(before + '{"dataset": "gopro", "image": "test/S0')  # killed while writing
    # Measured already: the file is not read again.
    (gopro / "test/S0/blur/0.png").write_bytes(b"")
    (gopro / "test/S0/blur/0.png").touch()
    code, _, err = run(*words)
    assert code == 0, err
    assert len(table_of(out)) == 6 * 2
    assert log.read_text().startswith(before)


def test_an_image_that_was_not_finished_counts_once(tmp_path):
    settings, path = EvaluationSettings(("blurred", "theirs")), tmp_path / "results.jsonl"
    complete = [ImageScore("pairs", "a", method, {"psnr": 30.0}) for method in settings.methods]
    first = Results(path, settings)
    first.add(complete)
    first.add([ImageScore("pairs", "b", "blurred", {"psnr": 20.0})])  # then it was killed
    again = Results(path, settings)
    assert again.scores == complete
    assert again.has("pairs", "a")
    assert not again.has("pairs", "b")
    assert len(path.read_text().splitlines()) == 3


def test_lpips_is_a_column_if_its_weights_are_brought(run, gopro, weights, tmp_path):
    out, brought = tmp_path / "out", tmp_path / "alexnet.ckpt"
    words = ["--dataset", "gopro", gopro, "--model", weights, "-o", out, "--images", "2"]
    code, _, err = run(*words, "--lpips", brought)
    assert code == 2
    assert f"There is no file of LPIPS weights {brought}." in err
    brought.write_bytes(pickle.dumps(random_weights()))
    code, printed, _ = run(*words, "--lpips", brought)
    assert code == 0
    assert "LPIPS" in printed
    assert all(float(line["LPIPS"]) > 0 for line in table_of(out))
    conventions = json.loads((out / "summary.json").read_text())["conventions"]
    assert conventions["LPIPS weights"].startswith("SHA-256 ")
    # What was measured without is not mixed with what was measured with it.
    code, _, err = run(*words)
    assert code == 2
    assert "other methods or settings" in err


def test_other_settings_do_not_mix(run, gopro, weights, tmp_path):
    words = ["--dataset", "gopro", gopro, "--model", weights, "-o", tmp_path / "out"]
    assert run(*words)[0] == 0
    code, _, err = run(*words, "--border", "2")
    assert code == 2
    assert "holds results of other methods or settings" in err
    assert run(*words, "--border", "2", "--overwrite")[0] == 0
    # Nor do other weights under the same name.
    other = DarkDeblurNet(GeneratorConfig(width=4, growth=4, levels=1))
    save_weights(weights, other, overwrite=True)
    code, _, err = run(*words, "--border", "2")
    assert code == 2
    assert "holds results of other" in err


def test_bad_images_are_named_and_the_rest_goes_on(run, gopro, weights, tmp_path):
    (gopro / "test/S0/blur/1.png").write_bytes(b"no image")
    write(gopro / "test/S1/sharp/0.png", picture(3, 50, 80))
    (gopro / "test/S1/sharp/2.png").unlink()
    code, out, err = run("--dataset", "gopro", gopro, "--model", weights)
    assert code == 1
    assert "test/S0/1: " in err
    assert "the reference 80 x 50 pixels" in err
    assert "S1/blur/2.png has no partner" in err
    assert "2 of 5 images could not be measured" in err
    assert out.splitlines()[1].split()[2] == "3"


def test_two_folders_and_two_files_are_data_sets(run, gopro, weights):
    place = gopro / "test" / "S0"
    code, out, _ = run(place / "blur", place / "sharp", "--model", weights, "--markdown")
    assert code == 0
    assert out.splitlines()[2].startswith("| images | blurred | 3 |")
    code, out, _ = run(place / "blur/1.png", place / "sharp/1.png", "--model", weights)
    assert code == 0
    assert out.splitlines()[1].split()[:3] == ["images", "blurred", "1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset", "gopro", "nowhere"], "There is no folder nowhere"),
        (["--dataset", "exdark", "."], "no layout 'exdark' of pairs"),
        (["--dataset", "lai", "."], "it is to be had from"),
        (["--restored", "theirs"], "Name BLURRED and REFERENCE"),
        (["a.png", "--model", "still"], "Name BLURRED and REFERENCE"),
        (["--dataset", "gopro", ".", "--csv", "a.csv"], "--csv is for files, not for"),
        (["a.png", "b.png", "--lpips"], "--lpips is for --model"),
        (["--dataset", "gopro", ".", "--images", "0"], "--images must be at least 1"),
        (["a.png"], "Name RESTORED and REFERENCE"),
    ],
)
def test_a_mistake_is_one_sentence(run, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (20, 20)).save("photo.png")
    code, _, err = run(*words)
    assert code == 2
    assert err.startswith("darkdeblur: error: ")
    assert message in err
