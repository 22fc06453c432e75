"""A weights file rebuilds its network, and a bad one is refused in one sentence."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from napari_darkdeblur import GeneratorConfig, WeightsError, load_weights, save_weights
from napari_darkdeblur.network import read_card
from napari_darkdeblur.network.weights_file import SCHEMA_VERSION

from ..conftest import TINY, assert_sentence, make_network


def header(**changes: Any) -> dict[str, str]:
    """Return a file's metadata, with a card that is right but for the changes."""
    card = {"schema_version": 3, "generator": TINY.model_dump(), **changes}
    return {"darkdeblur": json.dumps(card)}


def tensors() -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in make_network().state_dict().items()}


def test_a_loaded_network_computes_what_the_saved_one_did(tmp_path: Path):
    net = make_network()
    path = save_weights(
        tmp_path / "a.safetensors",
        net,
        {"data": "ten photographs", "steps": 3},
        summary="A test.",
        licence="CC0",
    )
    loaded = load_weights(path)
    image = torch.rand(1, 3, 21, 18)
    assert torch.equal(loaded.network(image), net(image))
    assert loaded.config == TINY
    assert loaded.name == "a"
    assert loaded.provenance == {"data": "ten photographs", "steps": 3}
    assert (loaded.card.summary, loaded.card.licence) == ("A test.", "CC0")
    assert loaded.value_range == (0, 1)
    assert loaded.size_multiple == TINY.size_multiple
    assert loaded.receptive_field_radius == TINY.receptive_field_radius
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_card(path) == loaded.card


def test_a_loaded_network_is_ready_to_run(random_model: Path):
    net = load_weights(random_model).network
    assert not net.training
    assert all(
        p.dtype == torch.float32 and p.device.type == "cpu" and not p.requires_grad
        for p in net.parameters()
    )


def test_a_loaded_network_outlives_its_file(random_model: Path):
    loaded = load_weights(random_model)
    before = loaded.network(torch.ones(1, 3, 8, 8))
    random_model.write_bytes(bytes(random_model.stat().st_size))
    assert torch.equal(loaded.network(torch.ones(1, 3, 8, 8)), before)


def test_half_precision_is_half_the_size_and_loads_as_float32(tmp_path: Path):
    net = make_network(GeneratorConfig(width=8, growth=4))
    full = save_weights(tmp_path / "full.safetensors", net)
    half = save_weights(tmp_path / "half.safetensors", net, dtype=torch.float16)
    numbers = sum(p.numel() for p in net.parameters())
    assert full.stat().st_size - half.stat().st_size == pytest.approx(2 * numbers, rel=0.05)
    for name, value in load_weights(half).network.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, net.state_dict()[name].half().float())


def test_an_existing_file_is_replaced_only_when_asked(random_model: Path):
    before = random_model.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite"):
        save_weights(random_model, make_network(seed=1))
    assert random_model.read_bytes() == before
    save_weights(random_model, make_network(seed=1), overwrite=True)
    assert random_model.read_bytes() != before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_disk_that_is_too_small_is_told_and_nothing_is_left(tmp_path: Path):
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(WeightsError, match=r"cannot be written: .*large") as caught:
            save_weights(tmp_path / "a.safetensors", make_network())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert_sentence(str(caught.value))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"no folder .*absent") as caught:
        save_weights(tmp_path / "absent" / "a.safetensors", make_network())
    assert_sentence(str(caught.value))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_weights_that_cannot_be_stored_are_not_written(tmp_path: Path, value: float):
    net = make_network()
    with torch.no_grad():
        net.head.weight[0, 0] = value
    with pytest.raises(WeightsError, match=r"head\.weight"):
        save_weights(tmp_path / "a.safetensors", net, dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


def test_the_name_and_type_of_a_weights_file_are_checked(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"\.safetensors"):
        save_weights(tmp_path / "a.pth", make_network())
    with pytest.raises(WeightsError, match="bfloat16"):
        save_weights(tmp_path / "a.safetensors", make_network(), dtype=torch.bfloat16)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors"):
        load_weights(tmp_path / "absent.safetensors")


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_pickle_is_refused_and_never_executed(tmp_path: Path, writer: str):
    marker, path = tmp_path / "exploded", tmp_path / "a.safetensors"
    if writer == "pickle":
        path.write_bytes(pickle.dumps(Bomb(marker)))
    else:
        torch.save(Bomb(marker), path)
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    assert_sentence(str(caught.value))
    assert not marker.exists()
    # The bomb is a real one.
    pickle.loads(pickle.dumps(Bomb(marker)))
    assert marker.exists()


def test_a_file_can_be_read_by_whom_other_files_can(tmp_path: Path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    path = save_weights(tmp_path / "a.safetensors", make_network())
    assert path.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        (None, "another program"),
        ({"format": "pt"}, "another program"),
        ({"darkdeblur": "no JSON"}, "not JSON"),
        ({"darkdeblur": "[" * 100_000}, "not JSON"),
        ({"darkdeblur": '{"schema_version": ' + "1" * 10_000 + "}"}, "not JSON"),
        ({"darkdeblur": "[]"}, "wrong"),
        ({"darkdeblur": "{}"}, "generator"),
        (header(schema_version=SCHEMA_VERSION + 1), "newer napari-darkdeblur"),
        (header(schema_version=0), "schema_version"),
        (header(schema_version="1"), "schema_version"),
        (header(generator={"width": 10**9}), "width"),
        (header(generator={"width": -4}), "width"),
        (header(generator={"width": "64"}), "width"),
        (header(generator={"levels": 10**6}), "levels"),
        (header(generator={"dense_layers": 10**6}), "dense_layers"),
        (header(generator={"colour": True}), "colour"),
        (header(value_range=[1, 1]), "value range"),
        (header(value_range=[0]), "value_range"),
        (header(summary="x" * 10_000), "summary"),
        # A header that fits no tensors: nothing of its size is allocated.
        (header(generator={"width": 512, "growth": 512, "dense_layers": 16}), "do not fit"),
        (header(generator={}), "do not fit"),
    ],
)
def test_a_wrong_header_is_refused(tmp_path: Path, metadata: dict[str, str] | None, says: str):
    path = tmp_path / "a.safetensors"
    save_file(tensors(), path, metadata=metadata)
    with pytest.raises(WeightsError, match=says) as caught:
        load_weights(path)
    assert_sentence(str(caught.value))
    assert str(path) in str(caught.value)


def test_deep_nesting_inside_a_valid_card_is_refused(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    nested = "[" * 900 + "]" * 900  # below the limit of the JSON reader
    card = header()["darkdeblur"][:-1] + f', "provenance": {{"a": {nested}}}}}'
    save_file(tensors(), path, metadata={"darkdeblur": card})
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    assert_sentence(str(caught.value))


def spoil_missing(content: dict[str, torch.Tensor]) -> None:
    del content["head.bias"]


def spoil_extra(content: dict[str, torch.Tensor]) -> None:
    content["extra"] = torch.zeros(3)


def spoil_shape(content: dict[str, torch.Tensor]) -> None:
    content["head.bias"] = torch.zeros(4)


def spoil_nan(content: dict[str, torch.Tensor]) -> None:
    content["head.bias"][0] = float("nan")


def spoil_infinity(content: dict[str, torch.Tensor]) -> None:
    content["head.bias"][0] = float("-inf")


def spoil_integer(content: dict[str, torch.Tensor]) -> None:
    content["head.bias"] = torch.zeros(3, dtype=torch.int32)


def spoil_bool(content: dict[str, torch.Tensor]) -> None:
    content["head.bias"] = torch.zeros(3, dtype=torch.bool)


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_missing,
        spoil_extra,
        spoil_shape,
        spoil_nan,
        spoil_infinity,
        spoil_integer,
        spoil_bool,
    ],
)
def test_wrong_tensors_are_refused_by_name(tmp_path: Path, spoil: Any):
    path, content = tmp_path / "a.safetensors", tensors()
    save_file(content, path, metadata=header())
    load_weights(path)  # right until spoilt
    spoil(content)
    save_file(content, path, metadata=header())
    with pytest.raises(WeightsError, match=r"head\.bias|extra") as caught:
        load_weights(path)
    assert_sentence(str(caught.value))


@pytest.mark.parametrize("kept", [0, 4, 8, 9, 200, -1])
def test_a_truncated_file_is_refused(random_model: Path, kept: int):
    random_model.write_bytes(random_model.read_bytes()[:kept])
    with pytest.raises(WeightsError) as caught:
        load_weights(random_model)
    assert_sentence(str(caught.value))


@pytest.mark.parametrize("length", [0, 1, 100, 2**31, 2**40, 2**64 - 1])
def test_a_lie_about_the_header_s_length_is_refused(random_model: Path, length: int):
    random_model.write_bytes(struct.pack("<Q", length) + random_model.read_bytes()[8:])
    with pytest.raises(WeightsError) as caught:
        load_weights(random_model)
    assert_sentence(str(caught.value))


def test_tensors_that_claim_each_other_s_bytes_are_refused(tmp_path: Path):
    entries = {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
    }
    text = json.dumps(entries).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(12))
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    assert_sentence(str(caught.value))


def test_a_folder_is_not_a_weights_file(tmp_path: Path):
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(FileNotFoundError):
        load_weights(tmp_path / "a.safetensors")


def test_files_of_version_1_are_read(tmp_path: Path):
    """Then every level had exactly one block, and its tensors no number for it."""
    net = make_network()
    old = {
        re.sub(r"^(encoder|decoder)\.(\d+)\.0\.", r"\1.\2.", name): value.contiguous()
        for name, value in net.state_dict().items()
    }
    assert old.keys() != net.state_dict().keys()
    generator = TINY.model_dump(exclude={"encoder_blocks", "decoder_blocks", "guides"})
    card = json.dumps({"schema_version": 1, "generator": generator})
    path = tmp_path / "old.safetensors"
    save_file(old, path, metadata={"darkdeblur": card})
    loaded = load_weights(path).network.state_dict()
    assert loaded.keys() == net.state_dict().keys()
    assert all(torch.equal(loaded[name], value) for name, value in net.state_dict().items())


def old_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a network's state as it was named up to version 2."""
    return {re.sub("^contextual_gates", "gates", name): value for name, value in state.items()}


def test_files_of_version_2_are_read(tmp_path: Path):
    net = make_network()
    old = {name: value.contiguous() for name, value in old_names(net.state_dict()).items()}
    assert old.keys() != net.state_dict().keys()
    path = tmp_path / "old.safetensors"
    save_file(old, path, metadata=header(schema_version=2))
    loaded = load_weights(path).network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in net.state_dict().items())


def test_the_state_of_an_older_checkpoint_is_read_also_as_a_part_of_another():
    net, other = make_network(seed=1), make_network(seed=2)
    other.load_state_dict(old_names(net.state_dict()))
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(other(image), net(image))
    wrapped = torch.nn.ModuleDict({"network": make_network(seed=3)})
    state = {f"network.{name}": value for name, value in old_names(net.state_dict()).items()}
    wrapped.load_state_dict(state)
    assert torch.equal(wrapped["network"](image), net(image))
