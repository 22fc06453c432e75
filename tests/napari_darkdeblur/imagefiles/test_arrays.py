"""Arrays in files are read and written in parts, as numpy would do it in memory."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from napari_darkdeblur.imagefiles import ImageFileError, arrays
from napari_darkdeblur.imagefiles.arrays import FileArray, PagedArray, ranges_of

from ..conftest import assert_sentence

DTYPES = ["<u1", "<u2", ">u2", "<f2", ">f4", "<f8"]


@st.composite
def shapes_and_keys(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    """Return a shape and an index of ints and slices without negative steps."""
    shape = draw(array_shapes(min_dims=1, max_dims=5, max_side=6))
    parts: list[Any] = []
    for size in draw(st.sampled_from([shape, shape[:1], shape[:-1]])):
        bound = st.none() | st.integers(-size - 1, size + 1)
        step = st.none() | st.integers(1, 3)
        parts.append(draw(st.integers(-size, size - 1) | st.builds(slice, bound, bound, step)))
    if len(parts) < len(shape) and draw(st.booleans()):
        parts.append(...)
    return shape, parts[0] if len(parts) == 1 and draw(st.booleans()) else tuple(parts)


def open_temporary() -> Any:
    return tempfile.TemporaryFile(buffering=0)


def in_file(file: Any, values: np.ndarray) -> FileArray:
    file.seek(0)
    file.write(b"xyz" + values.tobytes())
    return FileArray(Path("a.tif"), file, values.shape, values.dtype, offset=3)


def counted(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@settings(deadline=None)
@given(case=shapes_and_keys(), dtype=st.sampled_from(DTYPES), span=st.sampled_from([1, 20, 2**20]))
def test_parts_are_read_and_written_as_in_memory(case, dtype: str, span: int):
    shape, key = case
    values = counted(shape, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "SPAN", span)
        with open_temporary() as file:
            array = in_file(file, values)
            assert (array.shape, array.ndim, array.size) == (shape, len(shape), values.size)
            assert array.dtype.isnative
            assert array.nbytes == values.nbytes
            found = array[key]
            assert isinstance(found, np.ndarray)
            assert found.dtype == array.dtype
            assert found.dtype.isnative
            np.testing.assert_array_equal(found, values[key])
            new = np.asarray(values[key]) + 1
            values[key] = new
            array[key] = new
            np.testing.assert_array_equal(np.asarray(array), values)
            file.seek(0)
            assert file.read(3) == b"xyz"
            assert len(file.read()) == values.nbytes


@settings(deadline=None)
@given(case=shapes_and_keys(), page_ndim=st.integers(1, 3), keep=st.integers(1, 2))
def test_pages_are_put_together_as_in_memory(case, page_ndim: int, keep: int):
    shape, key = case
    page_ndim = min(page_ndim, len(shape))
    values = counted(shape, "u2")
    pages = values.reshape((-1, *shape[len(shape) - page_ndim :]))
    array = PagedArray(
        Path("a.tif"), shape, page_ndim, values.dtype, lambda number: pages[number], keep
    )
    found = array[key]
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values[key])


def test_only_the_pages_wanted_are_decoded_and_the_last_ones_kept():
    decoded: list[int] = []

    def decode(number: int) -> np.ndarray:
        decoded.append(number)
        return np.full((4, 5), number, np.uint8)

    array = PagedArray(Path("a.tif"), (2, 3, 4, 5), 2, np.dtype(np.uint8), decode)
    assert array[1, 0, 2, 3] == 3
    assert array[1, 0, :2].shape == (2, 5)
    assert decoded == [3]
    array[0, 1:, 0]
    assert decoded == [3, 1, 2]
    array[0, 1:, 0]
    assert decoded == [3, 1, 2]
    array[1, 0]
    assert decoded == [3, 1, 2, 3]


@pytest.mark.parametrize(
    "key", [(0, 0, 0), 2, -3, (..., 0, ...), [0, 1], None, 1.0, True, slice(None, None, -1)]
)
def test_other_indices_are_refused(key: object):
    with pytest.raises(IndexError):
        ranges_of(key, (2, 3))


def test_values_that_would_be_cut_are_refused():
    with open_temporary() as file:
        array = in_file(file, np.zeros(3, np.uint8))
        with pytest.raises(TypeError, match="float64"):
            array[:] = np.ones(3)


def test_a_file_that_ends_early_is_damaged():
    with open_temporary() as file:
        array = in_file(file, np.zeros(3, np.uint8))
        file.truncate(5)
        with pytest.raises(ImageFileError, match="damaged or incomplete") as caught:
            array[:]
        assert_sentence(str(caught.value))


def test_a_full_disk_is_told_when_it_is_met():
    class FullDisk:
        def seek(self, _: int) -> None: ...

        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    array = FileArray(Path("a.tif"), FullDisk(), (3,), np.dtype(np.uint8))  # type: ignore[arg-type]
    with pytest.raises(ImageFileError, match=r"a\.tif cannot be written: No space left") as caught:
        array[:] = 1
    assert_sentence(str(caught.value))
