"""Models are found by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from napari_darkdeblur import WeightsError, load_weights, save_weights
from napari_darkdeblur.network import DEFAULT_MODEL, find_weights, library, list_models

from ..conftest import assert_sentence, make_identity, make_network


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that stands for the bundled weights."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    monkeypatch.setattr(library, "files", lambda package: folder)
    return folder


def test_the_user_s_models_are_listed_with_their_card(models_folder: Path, bundled: Path):
    models_folder.mkdir()
    save_weights(models_folder / "mine.safetensors", make_network(), summary="My line.")
    save_weights(bundled / "theirs.safetensors", make_network(), summary="Their line.")
    found = [(e.name, e.origin, e.summary, e.usable) for e in list_models()]
    assert found == [
        ("theirs", "bundled", "Their line.", True),
        ("mine", "user", "My line.", True),
    ]


def test_a_broken_file_is_listed_with_the_reason(models_folder: Path, bundled: Path):
    models_folder.mkdir()
    (models_folder / "broken.safetensors").write_bytes(b"no weights")
    (entry,) = list_models()
    assert not entry.usable
    assert entry.summary.startswith("cannot be used: ")


def test_unfinished_and_other_files_are_not_models(models_folder: Path, bundled: Path):
    models_folder.mkdir()
    (models_folder / ".a.123.part.safetensors").touch()
    (models_folder / "readme.txt").touch()
    assert list_models() == []


def test_without_a_models_folder_there_are_only_bundled_ones(bundled: Path):
    save_weights(bundled / "theirs.safetensors", make_network())
    assert [entry.origin for entry in list_models()] == ["bundled"]


def test_the_user_s_model_comes_before_a_bundled_one_of_that_name(
    models_folder: Path, bundled: Path
):
    models_folder.mkdir()
    save_weights(bundled / "same.safetensors", make_identity())
    mine = save_weights(models_folder / "same.safetensors", make_network())
    assert find_weights("same") == mine
    assert load_weights("same").path == mine


def test_a_name_and_a_path_are_told_apart(
    models_folder: Path, identity: Path, monkeypatch: pytest.MonkeyPatch
):
    models_folder.mkdir()
    named = shutil.copy(identity, models_folder / "identity.safetensors")
    monkeypatch.chdir(identity.parent)
    assert load_weights("identity").path == named
    assert load_weights("identity.safetensors").path == Path("identity.safetensors")
    assert load_weights(str(identity)).path == identity
    assert load_weights(identity).path == identity


@pytest.mark.parametrize(
    ("name", "says"),
    [("smal-v1", "did you mean 'small-v1'?"), ("zzz", "there are 'paper-v1', 'small-v1'.")],
)
def test_an_unknown_name_gets_a_hint(bundled: Path, name: str, says: str):
    for stem in ("small-v1", "paper-v1"):
        save_weights(bundled / f"{stem}.safetensors", make_network())
    with pytest.raises(WeightsError) as caught:
        load_weights(name)
    assert says in str(caught.value)
    assert_sentence(str(caught.value))


def test_without_any_model_the_error_says_where_one_belongs(bundled: Path, models_folder: Path):
    with pytest.raises(WeightsError) as caught:
        load_weights()
    assert DEFAULT_MODEL in str(caught.value)
    assert str(models_folder) in str(caught.value)
