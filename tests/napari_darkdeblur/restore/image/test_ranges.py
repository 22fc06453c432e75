"""The values of black and white: one rule, under which nothing gets darker by default."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_darkdeblur import cli, deblur
from napari_darkdeblur.demo import make_demo_pair
from napari_darkdeblur.imagefiles import write_image
from napari_darkdeblur.restore import ImageView, ValueRangeError

from ...conftest import assert_sentence

RNG = np.random.default_rng(0)
SCENE = make_demo_pair()[0][100:148, 100:160] / 255  # a photograph taken in too little light


@settings(max_examples=25, deadline=None)
@given(
    dtype=st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]),
    scale=st.floats(0, 1),
    offset=st.floats(0, 1),
    colour=st.booleans(),
)
def test_restoring_with_defaults_keeps_the_mean(
    dtype: str, scale: float, offset: float, colour: bool
):
    """Whatever the dtype, and whether values are few or many: within 2 %."""
    kind = np.dtype(dtype)
    # From 10 values to all that the dtype has (float16: without the last ones), in equal ratios.
    limit = 2.0**15 if dtype == "f2" else 1e30 if kind.kind == "f" else np.iinfo(kind).max / 2.1
    least = 1e-3 if dtype == "f2" else 1e-30 if kind.kind == "f" else 10
    peak = least * (limit / least) ** scale
    image = (peak * (SCENE / SCENE.max() + offset)).astype(kind)
    image = image if colour else np.ascontiguousarray(image[..., 1])
    restored = deblur(image, axes="YXS" if colour else "YX", device="cpu")
    assert restored.dtype == kind
    before, after = image.mean(dtype=np.float64), restored.mean(dtype=np.float64)
    assert after == pytest.approx(before, rel=0.02)


@pytest.mark.parametrize(
    ("array", "black_and_white", "says"),
    [
        (np.arange(256).reshape(16, 16).astype("u1"), (0, 255), "the range of uint8"),
        # All that is between the percentiles, however bright a single value is.
        (np.append(np.arange(2000) % 9, 255)[None].astype("u1"), (0, 8), "uses 3.1 % of 0 to 255"),
        (np.arange(256).reshape(16, 16).astype("u2") + 9, (9, 264), "0.1 and 99.9 percentiles"),
        (np.full((4, 4), 7, "u1"), (0, 255), "the range of uint8"),
        (np.full((4, 4), 7, "u2"), (7, 8), "all values are black's"),
        (np.full((4, 4), 1e-6), (1e-6, 2e-6), "all values are black's"),
        (np.arange(-8, 8).reshape(4, 4).astype("i1"), (-8, 7), "0.1 and 99.9 percentiles"),
        (np.float32([[2, np.nan], [4, 3]]), (2, 4), "0.1 and 99.9 percentiles"),
        (np.full((2, 2), np.nan), (0, 1), "no value is finite"),
    ],
)
def test_the_range_is_chosen_and_told(array: np.ndarray, black_and_white: Any, says: str):
    view = ImageView(array, "YX", "auto")
    assert (view.black, view.white) == pytest.approx(black_and_white)
    assert says in view.range_text
    assert_sentence(view.range_text)
    assert view.range_guessed == ("the range of" not in view.range_text)


@pytest.mark.parametrize(
    ("dtype", "white", "axes", "expected"),
    [
        ("f4", 0.8, "YXS", (0, 1)),
        ("f4", 0.8, "YX", (0, 1)),
        ("f4", 0.01, "YX", None),  # too little of 0..1
        ("f4", 1.5, "YXS", None),
        ("u2", 50000, "YXS", (0, 65535)),
        ("u2", 1000, "YXS", None),
        ("u2", 50000, "YX", None),  # a camera's
    ],
)
def test_floats_and_photographs_have_a_full_scale(
    dtype: str, white: float, axes: str, expected: tuple[float, float] | None
):
    """Percentiles would take the tone curve of a photograph for another one."""
    values = (np.linspace(0.3, 1, 48).reshape(4, 4, 3) * white).astype(dtype)
    values = values if axes == "YXS" else values[..., 0]
    view = ImageView(values, axes, "auto")
    black_and_white = expected or (float(values.min()), float(values.max()))
    assert (view.black, view.white) == pytest.approx(black_and_white)


def test_a_format_s_full_scale_counts_as_a_range():
    twelve = np.arange(0, 4096, 16, np.uint16).reshape(16, 16)
    full = ImageView(twelve, "YX", "auto", full_scale=(0, 4095))
    assert (full.black, full.white) == (0, 4095)
    assert not full.range_guessed
    dim = ImageView(twelve // 100, "YX", "auto", full_scale=(0, 4095))
    assert (dim.black, dim.white) == (0, 40)
    assert "uses 0.98 % of 0 to 4095" in dim.range_text
    # A file that is wrong about itself.
    beyond = ImageView(twelve * 2, "YX", "auto", full_scale=(0, 4095))
    assert (beyond.black, beyond.white) == (0, 8160)
    assert "outside 0 to 4095" in beyond.range_text
    with pytest.raises(ValueRangeError):
        ImageView(twelve * 2, "YX", "dtype", full_scale=(0, 4095))


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u8", "f4"])
def test_a_range_that_is_hardly_used_is_told_even_if_it_was_asked_for(dtype: str):
    limit = 1.0 if dtype == "f4" else np.iinfo(dtype).max
    array = np.array([[0, 0.03 * limit]]).astype(dtype)
    (note,) = ImageView(array, "YX", "dtype").notes
    assert "may darken" in note
    assert_sentence(note)
    assert ImageView((array * 20).astype(dtype), "YX", "dtype").notes == []


def test_values_of_64_bits_come_back_exactly(identity):
    for dtype in (np.int64, np.uint64):
        limits = np.iinfo(dtype)
        image = RNG.integers(limits.min, limits.max, (9, 8), dtype, endpoint=True)
        image[0, :2] = limits.min, limits.max
        np.testing.assert_array_equal(deblur(image, identity), image)


def test_python_is_told_what_was_guessed(random_model, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "napari_darkdeblur"):
        deblur(RNG.integers(20, 320, (2, 40, 50), np.uint16), random_model)
        deblur(RNG.integers(0, 256, (40, 50), np.uint8), random_model)
    axes, values, full = caplog.records
    assert "taken for ZYX" in axes.message
    assert values.levelno == logging.WARNING
    assert "percentiles" in values.message
    assert full.levelno == logging.INFO
    assert "0 and white 255" in full.message


def test_the_command_python_and_a_file_agree(tmp_path, random_model, capsys):
    image = RNG.integers(20, 320, (20, 24), np.uint16)
    path = write_image(tmp_path / "dim.tif", image)
    target = tmp_path / "out.tif"
    assert cli.main(["deblur", str(path), str(target), "--model", str(random_model)]) == 0
    assert "percentiles" in capsys.readouterr().out
    in_python = deblur(image, random_model)
    np.testing.assert_array_equal(deblur(str(target.parent / "dim.tif"), random_model), in_python)
    np.testing.assert_array_equal(deblur(path, random_model, value_range=(20, 319)), in_python)
    from napari_darkdeblur.imagefiles import read_image

    np.testing.assert_array_equal(read_image(target).pixels, in_python)
