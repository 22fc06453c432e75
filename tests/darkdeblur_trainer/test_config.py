"""Configurations: typed, strict about keys, and the paper's where it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkdeblur_trainer.config import ConfigError, TrainConfig
from darkdeblur_trainer.config_files import bundled_configs, differences, load_config, parse_config
from darkdeblur_trainer.synthesis import Degradation
from napari_darkdeblur.network import GeneratorConfig


def test_the_papers_configuration_is_section_2_4_to_the_letter():
    config = load_config("paper")
    assert config.generator == GeneratorConfig.paper()
    assert config.generator.widths == (64, 128, 192, 256)
    assert (config.steps, config.batch_size, config.patch) == (100_000, 16, 128)
    assert config.optimizer.learning_rate == 1e-4
    assert config.optimizer.betas == (0.9, 0.99)
    assert config.optimizer.schedule == "constant"
    assert config.optimizer.clip_norm is None
    assert config.ema_decay is None
    weights = {name: getattr(config.losses, name) for name in type(config.losses).model_fields}
    assert {name: term.weight for name, term in weights.items()} == {
        "l1": 1.0,
        "ms_ssim": 1.0,
        "features": 1e-2,
        "adversarial": 1e-4,
    }
    assert all(term.from_step == 0 for term in weights.values())
    assert [degradation.preset for degradation in config.synthesis] == ["paper"]


@pytest.mark.parametrize("name", ["paper", "small", "smoke", "release-paper"])
def test_bundled_configurations_are_valid(name):
    assert name in bundled_configs()
    config = load_config(name)
    assert parse_config(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.learning_rat=1", "nearest valid one is 'optimizer.learning_rate'"),
        ("step=1", "nearest valid one is 'steps'"),
        ("synthesis.0.kernel_lenght=[1,2]", "nearest valid one is 'synthesis.0.kernel_length'"),
        ("losses.l1.wieght=1", "nearest valid one is 'losses.l1.weight'"),
        ("generator.widht=8", "nearest valid one is 'generator.width'"),
        ("generator=srm", "no generator 'srm', but paper, small, srn"),
        ("generator={architecture: resnet}", "no such architecture, but darkdeblurnet"),
        (
            "generator={architecture: multi-scale, widht: 8}",
            "no key 'generator.widht'; the nearest valid one is 'generator.width'",
        ),
        ("generator={architecture: multi-scale, growth: 8}", "no key 'generator.growth'"),
        ("generator.guides=4", "4 guides cannot be made, but 0 or 3 or 5"),
        ("steps=0", "steps: input should be greater than or equal to 1"),
        ("steps=many", "steps: input should be a valid integer"),
        ("patch=64", "patch: input should be greater than or equal to 97"),
        ("synthesis.0.preset=dusk", "no preset 'dusk'"),
        ("synthesis=[]", "name at least one degradation"),
        ("synthesis.7.bits=8", "no entry|no key|valid"),
        ("synthesis.7=night", "synthesis is a list and has no entry '7'"),
        ("steps", "written key=value"),
        ("steps=[4", r"^steps: '\[4' is not YAML: [^\n]* in line 1, column 3\.$"),
        ("data.split=2024-13-45", "'2024-13-45' is not YAML: month must be"),
        ("validation.degradations=[]", "validation.degradations: name at least one degradation"),
        ("synthesis.0.kernel_length=[4, 201]", "less than or equal to 200"),
        ("losses.l1.weight=.inf", "losses.l1.weight: input should be a finite number"),
        ("losses.l1=nan", "losses.l1.weight: input should be a finite number"),
        ("optimizer.learning_rate=.nan", "finite number"),
        ("optimizer.clip_norm=inf", "finite number"),
        ("synthesis.0.share=.inf", "finite number"),
        ("synthesis.1.highlight_gain=[1, .inf]", "finite number"),
        ("generator.negative_slope=.nan", "negative_slope"),
        ("data.blurred=there", r"^The key 'data\.blurred' has no meaning .*layout 'sharp'\.$"),
        ("data.every=2", r"'data\.every' .*layout 'sharp'"),
        ("validation.blurred=there", r"'validation\.blurred' .*layout 'sharp'"),
    ],
)
def test_a_mistake_is_named_with_the_way_out(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config("small", [override])


def test_overrides_reach_every_depth():
    config = load_config(
        "small",
        [
            "steps=7",
            "optimizer.learning_rate=1e-4",
            "losses.l1.weight=2",
            "losses.features=0",
            "generator.width=16",
            "synthesis.1.exposure=[0.1, 0.2]",
            "data.workers=2",
        ],
    )
    assert config.steps == 7
    assert config.optimizer.learning_rate == 1e-4
    assert config.losses.l1.weight == 2
    assert config.losses.features.weight == 0
    assert config.generator == GeneratorConfig.small().model_copy(update={"width": 16})
    assert config.synthesis[1].exposure == (0.1, 0.2)
    assert config.data.workers == 2


@pytest.fixture
def sparse_file(tmp_path):
    """Return a configuration in which most is left out or short."""
    file = tmp_path / "sparse.yaml"
    file.write_text("synthesis: [night]\n")
    return str(file)


def test_overrides_reach_into_short_entries_of_a_list(sparse_file):
    config = load_config(sparse_file, ["synthesis.0.exposure=[0.1, 0.2]"])
    assert config.synthesis == (
        Degradation.model_validate({"preset": "night", "exposure": [0.1, 0.2]}),
    )


def test_overrides_reach_into_what_a_file_leaves_out(sparse_file):
    config = load_config(
        sparse_file,
        [
            "validation.degradations.0.kernel_length=[5, 6]",
            "losses.features.from_step=9",
            "optimizer.betas.0=0.5",
            "generator.width=16",
        ],
    )
    paper, night = TrainConfig().validation.degradations
    changed = paper.model_copy(update={"kernel_length": (5.0, 6.0)})
    assert config.validation.degradations == (changed, night)
    assert (config.losses.features.weight, config.losses.features.from_step) == (1e-2, 9)
    assert config.optimizer.betas == (0.5, 0.99)
    assert config.generator == GeneratorConfig(width=16)


def test_a_default_degradation_can_be_given_another_preset(sparse_file):
    config = load_config(sparse_file, ["validation.degradations.0.preset=night"])
    night = Degradation.model_validate("night")
    assert config.validation.degradations == (night, night)


@pytest.mark.parametrize(
    "losses",
    [
        {"l1": 0, "ms_ssim": 0, "features": 0, "adversarial": 0},
        {
            name: {"weight": 1, "from_step": 1}
            for name in ("l1", "ms_ssim", "features", "adversarial")
        },
        {"l1": 0, "ms_ssim": 0, "features": 0, "adversarial": {"weight": 1, "from_step": 5}},
    ],
)
def test_a_run_has_something_to_learn_from_at_its_first_step(losses):
    with pytest.raises(ConfigError, match="losses: at least one term must count from step 0"):
        parse_config({"losses": losses})


@pytest.mark.parametrize("layout", ["gopro", "reds"])
def test_a_second_folder_is_for_the_layout_that_has_two(layout):
    for section in ("data", "validation"):
        content = {"data": {"layout": layout}}
        content.setdefault(section, {})["blurred"] = "there"
        with pytest.raises(ConfigError, match=rf"{section}\.blurred.*'{layout}'"):
            parse_config(content)


def test_validation_in_two_folders_needs_the_second():
    assert TrainConfig().blurred_for_validation() is None
    data = {"layout": "folders", "blurred": "train"}
    with pytest.raises(ConfigError, match=r"validation\.blurred=FOLDER"):
        parse_config({"data": data}).blurred_for_validation()
    config = parse_config({"data": data, "validation": {"blurred": "test"}})
    assert config.blurred_for_validation() == Path("test")


def test_a_file_is_read_and_a_missing_one_named(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("steps: 5\n")
    assert load_config(str(file)).steps == 5
    with pytest.raises(ConfigError, match=r"no configuration 'none'.*paper.*small"):
        load_config("none")
    file.write_text("steps: [")
    with pytest.raises(ConfigError, match=r"cannot be read as YAML: [^\n]*\.$"):
        load_config(str(file))


def test_only_what_changes_results_counts_as_a_difference():
    old = TrainConfig()
    assert differences(old, load_config("paper")) == []
    runtime = parse_config({"data": {"workers": 3}, "log": {"scalars": 7}})
    assert differences(old, runtime) == []
    changed = parse_config({"optimizer": {"learning_rate": 1e-3}, "synthesis": ["night"]})
    keys = {line.partition(":")[0] for line in differences(old, changed)}
    assert "optimizer.learning_rate" in keys
    assert "synthesis.0.preset" in keys


def test_sequences_are_thinned_as_in_the_paper_and_other_folders_are_not():
    steps = {
        layout: parse_config({"data": {"layout": layout}}).data.frame_step
        for layout in ("gopro", "reds", "folders")
    }
    assert steps == {"gopro": 2, "reds": 2, "folders": 1}
    assert parse_config({"data": {"layout": "gopro", "every": 1}}).data.frame_step == 1
