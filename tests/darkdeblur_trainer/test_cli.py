"""The command line: a user's mistake is one sentence and exit code 2."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from darkdeblur_trainer.cli import main, parse_arguments
from darkdeblur_trainer.config_files import load_config
from napari_darkdeblur.network import DarkDeblurNet, GeneratorConfig, save_weights

# One group, small images, no methods beside the models, and a table that is easy to read.
FEW = ["--group", "night", "--crop", "112", "--no-baselines", "--markdown"]
DOCS = Path(__file__).parents[2] / "docs" / "training.md"


def documented_commands() -> list[str]:
    """Return the command lines in the code blocks of docs/training.md."""
    blocks = re.findall(r"^```bash\n(.*?)^```", DOCS.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", "").splitlines()]
    return [line for line in lines if re.search(r"\bdarkdeblur-train\b|\btorchrun\b", line)]


def test_the_documentation_shows_commands():
    assert len(documented_commands()) >= 8


@pytest.mark.parametrize("line", documented_commands())
def test_a_documented_command_can_be_typed(line):
    words = shlex.split(line, comments=True)
    while "=" in words[0]:  # variables of the environment
        words.pop(0)
    if words[0] == "torchrun":
        words = words[words.index("darkdeblur_trainer") :]
    arguments = parse_arguments(words[1:])
    if words[1] == "fit":
        given = [word for word in words if "=" in word]
        assert arguments.overrides == given
        load_config(arguments.config, arguments.overrides)


@pytest.mark.parametrize(
    "words",
    [
        "fit smoke steps=3 patch=112 --data D --out R",
        "fit smoke --data D --out R steps=3 patch=112",
        "fit smoke steps=3 --data D --quiet patch=112 --out R",
        "fit --data D --out R smoke steps=3 patch=112",
        "fit smoke --data D steps=3 --out R patch=112",
    ],
)
def test_overrides_stand_before_or_after_options(words):
    arguments = parse_arguments(words.split())
    assert arguments.config == "smoke"
    assert arguments.overrides == ["steps=3", "patch=112"]
    assert (arguments.data, arguments.out) == (Path("D"), Path("R"))


def test_synth_writes_pairs_of_the_same_size_reproducibly(photographs, tmp_path):
    for out in ("one", "two"):
        assert main(["synth", str(photographs), str(tmp_path / out), "--seed", "3"]) == 0
    for image in photographs.iterdir():
        blurred, sharp = (
            np.asarray(Image.open(tmp_path / "one" / kind / image.name))
            for kind in ("blurred", "sharp")
        )
        assert blurred.shape == sharp.shape == np.asarray(Image.open(image)).shape
        assert not np.array_equal(blurred, sharp)
        again = np.asarray(Image.open(tmp_path / "two" / "blurred" / image.name))
        assert np.array_equal(blurred, again)


def test_synth_settings_change_the_preset(photographs, tmp_path):
    clean = ["--preset", "paper", "--set", "unblurred=1", "--set", "gaussian_noise=0"]
    assert main(["synth", str(photographs), str(tmp_path), *clean, "--each", "2"]) == 0
    blurred = sorted((tmp_path / "blurred").iterdir())
    assert len(blurred) == 2 * len(list(photographs.iterdir()))
    for path in blurred:
        sharp = np.asarray(Image.open(tmp_path / "sharp" / path.name)).astype(int)
        assert np.abs(np.asarray(Image.open(path)) - sharp).max() <= 1


def test_synth_does_not_overwrite_unasked(photographs, tmp_path, capsys):
    arguments = ["synth", str(photographs), str(tmp_path)]
    assert main(arguments) == 0
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0


def test_synth_refuses_images_that_would_make_the_same_pair(tmp_path, capsys):
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (40, 40)).save(tmp_path / name)
    assert main(["synth", str(tmp_path), str(tmp_path / "out"), "--overwrite"]) == 2
    error = capsys.readouterr().err
    assert "a.jpg and " in error
    assert "same name but for the ending" in error
    assert not (tmp_path / "out").exists()


def test_kernels_draws_a_sheet(tmp_path):
    file = tmp_path / "kernels.png"
    size = ["--set", "blur_radius=[1,2]", "--set", "defocus_radius=[0,0]"]
    still = ["--set", "camera_turn_probability=0"]
    assert main(["kernels", str(file), "--count", "5", *size, *still]) == 0
    sheet = np.asarray(Image.open(file))
    side = 4 * (2 * 7 + 1 + 1)  # radius 7, a line between cells, enlarged four times
    assert sheet.shape == (2 * side, 3 * side)
    assert sheet.max() == 255


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "none", "--data", "x", "--out", "y"], "no configuration 'none'"),
        (["fit", "smoke", "steps=0", "--data", "x", "--out", "y"], "steps"),
        (["fit", "paper", "losses.features=0", "--data", "x", "--out", "y"], "no folder x"),
        (["fit", "smoke", "--data", "x", "--out", "y", "--device", "warp"], "no device 'warp'"),
        (["fit", "smoke", "--data", "x", "--out", "y", "steps=0"], "steps: "),
        (["fit", "smoke", "--data", "x", "--out", "y", "steps"], "unrecognized arguments: steps"),
        (["fit", "smoke", "--data", "x", "--out", "y", "--speed=9"], "arguments: --speed=9"),
        (["fit", "smoke", "--data", "x"], "required: --out (see darkdeblur-train fit --help)"),
        (["fit", "smoke", "--data", "x", "--out", "y", "--max-minutes", "z"], "--max-minutes"),
        (["prepare", "x", "steps=3"], "three words: LAYOUT ROOT OUT"),
        (["learn"], "invalid choice: 'learn'"),
        ([], "COMMAND"),
        (["export", "nowhere", "-o", "a.safetensors"], "not the folder of a run"),
        (["prepare", "nowhere"], "no folder nowhere"),
        (["synth", "nowhere", "out"], "no folder nowhere"),
        (["kernels", "a.png", "--preset", "dusk"], "no preset 'dusk'"),
        (["kernels", "a.png", "--set", "bit=8"], "nearest valid one is 'bits'"),
        (["kernels", "a.png", "--set", "kernel_length=[4"], "kernel_length: '[4' is not YAML"),
        (["kernels", "a.png", "--set", "bits"], "written key=value"),
        (["kernels", "a.png", "--count", "0"], "--count must be at least 1"),
        (["validate", "nowhere"], "no folder nowhere"),
        (["validate", "x", "--group", "dusk"], "no group 'dusk'"),
        (["validate", "x", "--psf", "none,found"], "not 'found'"),
        (["validate", "x", "--nuclei", "y"], "which is not given"),
        (["validate", "x", "--no-baselines", "--blind", "magic"], "not 'magic'"),
        (["validate", "x", "--no-baselines", "--kernels", "k"], "which is not given"),
        (["validate", "x", "--curves", "a.svg"], "draws a PNG file, a.svg does not end so"),
        (["validate", "x", "--csv", "none/a.csv"], "no folder none to write a.csv to"),
        (["validate", "x", "--csv", "a.csv", "--curves", "a.png"], "would write a.csv twice"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, message, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("darkdeblur-train: error: ")
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_a_psf_for_a_model_that_takes_none_is_a_mistake(tmp_path, capsys):
    net = DarkDeblurNet(GeneratorConfig(width=4, growth=4, levels=2))
    blind = save_weights(tmp_path / "blind.safetensors", net)
    assert main(["validate", "x", "--model", str(blind), "--psf", "true"]) == 2
    assert "none of the models takes one" in capsys.readouterr().err


def test_missing_vgg_weights_stop_before_anything_is_made(
    monkeypatch, photographs, tmp_path, capsys
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    out = tmp_path / "run"
    arguments = ["--data", str(photographs), "--out", str(out), "--cache", str(tmp_path / "c")]
    assert main(["fit", "smoke", *arguments]) == 2
    assert "--vgg PATH" in capsys.readouterr().err
    assert not out.exists()


def test_validation_in_two_folders_asks_for_the_second_before_anything_is_made(
    photographs, tmp_path, capsys
):
    folders = ["data.layout=folders", f"data.blurred={photographs}", "losses.features=0"]
    options = ["--data", str(photographs), "--validate", str(photographs)]
    places = ["--out", str(tmp_path / "run"), "--cache", str(tmp_path / "cache")]
    assert main(["fit", "smoke", *folders, *options, *places]) == 2
    assert "validation.blurred=FOLDER" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def table_rows(printed: str, which: int = -1) -> list[list[str]]:
    """Return the cells of one of the tables in Markdown that was printed."""
    tables = [part.splitlines() for part in printed.split("\n\n") if part.startswith("|")]
    lines = [line for line in tables[which][2:] if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_validate_tells_models_of_the_same_name_apart(photographs, tmp_path, capsys):
    paths = [tmp_path / folder / "mine.safetensors" for folder in ("a", "b")]
    other = tmp_path / "other.safetensors"
    for seed, path in enumerate([*paths, other]):
        torch.manual_seed(seed)
        path.parent.mkdir(exist_ok=True)
        save_weights(path, DarkDeblurNet(GeneratorConfig(width=4, growth=4, levels=1)))
    models = [word for path in (*paths, other) for word in ("--model", str(path))]
    options = [*FEW, "--images", "1", "--cache", str(tmp_path)]
    assert main(["validate", str(photographs), *models, *options]) == 0
    rows = table_rows(capsys.readouterr().out)
    labels = [row[1] for row in rows]
    assert labels == ["blurred", str(paths[0]), str(paths[1]), "other"]


def test_validate_is_one_process_whatever_the_environment_says(
    photographs, tmp_path, monkeypatch, capsys
):
    # Left over from torchrun: joining its processes would wait for ever.
    monkeypatch.setenv("WORLD_SIZE", "2")
    weights = tmp_path / "still.safetensors"
    save_weights(weights, DarkDeblurNet(GeneratorConfig(width=4, growth=4, levels=1)))
    options = [*FEW, "--images", "1", "--cache", str(tmp_path)]
    assert main(["validate", str(photographs), "--model", str(weights), *options]) == 0


def test_validate_prints_a_table_of_models(photographs, tmp_path, capsys):
    weights = tmp_path / "still.safetensors"
    network = DarkDeblurNet(GeneratorConfig(width=4, growth=4, levels=1))
    torch.nn.init.zeros_(network.head.weight)
    save_weights(weights, network)
    options = [*FEW, "--images", "2", "--cache", str(tmp_path)]
    assert main(["validate", str(photographs), "--model", str(weights), *options]) == 0
    rows = table_rows(capsys.readouterr().out)
    blurred, restored = rows
    assert blurred[:2] == ["night", "blurred"]
    assert restored[:2] == ["night", "still"]
    # A network that changes nothing measures what its input does.
    assert blurred[2] == restored[2]
    assert blurred[7:] == restored[7:]
    assert restored[3] == restored[5] == "+0.00"
    assert 5 < float(blurred[2]) < 60


def test_validate_compares_ways_of_tiling(photographs, tmp_path, capsys):
    weights = tmp_path / "mine.safetensors"
    torch.manual_seed(0)
    network = DarkDeblurNet(GeneratorConfig(width=4, growth=4, levels=2))
    torch.nn.init.normal_(network.head.weight, std=0.2)
    save_weights(weights, network)
    options = [*FEW, "--images", "1", "--cache", str(tmp_path)]
    tilings = ["--tiling", "whole", "--tiling", "exact", "--tiling", "local"]
    assert main(["validate", str(photographs), "--model", str(weights), *tilings, *options]) == 0
    rows = table_rows(capsys.readouterr().out)
    table = {row[1]: row[2:] for row in rows}
    assert list(table) == ["blurred", "mine, whole", "mine, exact", "mine, local"]
    assert table["mine, whole"] == table["mine, exact"] != table["blurred"]


def test_validate_makes_all_tables_and_their_files(photographs, tmp_path, capsys):
    weights = tmp_path / "still.safetensors"
    network = DarkDeblurNet(GeneratorConfig(width=4, growth=4, levels=1, guides=3))
    torch.nn.init.zeros_(network.head.weight)
    save_weights(weights, network)
    numbers, objects = tmp_path / "numbers.csv", tmp_path / "objects.csv"
    options = ["--crop", "112", "--images", "1", "--cache", str(tmp_path / "cache"), "--markdown"]
    words = ["validate", str(photographs), "--model", str(weights), *options, "--csv", str(numbers)]
    words += ["--measurements", str(objects)]
    assert main(words) == 0
    out = capsys.readouterr().out
    gains, rows, measured = (table_rows(out, which) for which in range(3))
    groups = [row[0] for row in gains]
    assert len(groups) == 13
    assert groups[-5:] == ["varying", "smooth shake", "paper", "unblurred", "microscopy"]
    # For each group: images, the input's PSNR, the two ways of the model, four baselines.
    assert {len(row) for row in gains} == {9}
    assert [row[:2] for row in rows] == [
        [group, way] for group in groups for way in ("blurred", "still", "still, true PSF")
    ]
    # How little was changed is told where nothing was to be done.
    assert [row[-1] != "" for row in rows] == [row[0] == "unblurred" and row[1] != "blurred"
                                               for row in rows]  # fmt: skip
    kinds = dict.fromkeys(row[0] for row in measured)
    assert list(kinds) == ["nuclei", "nuclei, some white", "beads", "lamps"]
    assert out.endswith(f"Wrote {numbers}.\nWrote {objects}.\n")
    with numbers.open(newline="") as stream:
        records = list(csv.DictReader(stream))
    assert len(records) == 13 * 7
    shown = {(row[0], row[1]): row[2] for row in rows}
    for record in records:
        key = (record["blur"], record["restored by"])
        assert f"{float(record['PSNR (dB)']):.2f}" == shown.get(
            key, f"{float(record['PSNR (dB)']):.2f}"
        )
    assert main(words) == 2
    assert "give --overwrite" in capsys.readouterr().err


def test_validate_measures_own_frames(photographs, tmp_path, capsys):
    weights = tmp_path / "still.safetensors"
    save_weights(weights, DarkDeblurNet(GeneratorConfig(width=4, growth=4, levels=1)))
    numbers = tmp_path / "numbers.csv"
    options = ["--crop", "112", "--images", "4", "--cache", str(tmp_path), "--no-baselines"]
    own = ["--group", "microscopy", "--frames", str(photographs), "--csv", str(numbers)]
    assert main(["validate", str(photographs), "--model", str(weights), *options, *own]) == 0
    names = [line.split(",")[1] for line in numbers.read_text().splitlines()[1::2]]
    # Three frames; the first once more, blurred otherwise.
    assert names == ["scene_0.png", "scene_1.png", "scene_2.png", "scene_0.png"]


def test_prepare_fills_the_cache(photographs, tmp_path, capsys):
    assert main(["prepare", str(photographs), "--cache", str(tmp_path)]) == 0
    assert "3 images" in capsys.readouterr().out
    assert list(tmp_path.glob("*.pixels"))
