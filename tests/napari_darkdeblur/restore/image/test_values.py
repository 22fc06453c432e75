"""Extremes and percentiles are those of the whole image, whatever strips it comes in."""

from __future__ import annotations

import numpy as np
import pytest

from napari_darkdeblur.restore.image.values import value_statistics

DTYPES = ("u1", "u2", ">u2", "i2", ">i2", "f2", "f4", ">f4", "f8")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 1000, 1001, 20_000])
@pytest.mark.parametrize("strips", [1, 2, 40])
def test_percentiles_are_exact(dtype: str, size: int, strips: int):
    rng = np.random.default_rng(size)
    values = rng.normal(100, 40, size).clip(0, 255)
    if np.dtype(dtype).kind != "u":
        values[::3] *= -1
    values[: size // 3000] *= 2  # far out, beyond what the upper percentile is
    values = values.astype(dtype)
    parts = [(0, part) for part in np.array_split(values, strips) if part.size]
    found = value_statistics(parts, size, percentiles=True)
    outside = (size - 1) // 1000
    assert found.percentiles == (np.sort(values)[outside], np.sort(values)[-1 - outside])
    assert found.extremes == (values.min(), values.max())
    assert value_statistics(parts, size).extremes == found.extremes


@pytest.mark.parametrize("order", ["rising", "falling", "constant"])
def test_the_order_of_the_values_does_not_matter(order: str):
    values = np.full(50_000, 3.0) if order == "constant" else np.arange(50_000.0)
    parts = np.array_split(values[::-1] if order == "falling" else values, 60)
    found = value_statistics(enumerate(parts), values.size, percentiles=True)
    assert found.percentiles == (values[49], values[-50])


@pytest.mark.parametrize("outlier", [1e30, -1e300])
def test_one_value_far_from_the_others_costs_no_precision(outlier: float):
    values = np.random.default_rng(0).normal(0, 1, 20_000)
    values[:5] = outlier
    found = value_statistics([(0, values)], values.size, percentiles=True)
    low = np.percentile(values, 0.1, method="lower")
    high = np.percentile(values, 99.9, method="higher")
    assert found.percentiles == (low, high)


def test_values_that_are_not_finite_are_counted_by_plane_and_left_out():
    values = np.arange(8000.0)
    values[[0, 1, 2]] = np.nan, np.inf, -np.inf
    found = value_statistics(enumerate(np.split(values, 8)), values.size, percentiles=True)
    assert found.nonfinite == {0: 3}
    assert found.extremes == (3, 7999)
    assert found.percentiles == (3 + 7996 // 1000, 7999 - 7996 // 1000)
    nothing = value_statistics([(4, np.full(5, np.nan))], 5, percentiles=True)
    assert (nothing.extremes, nothing.percentiles, nothing.nonfinite) == (None, None, {4: 5})
