"""The samples are offline, the same every time, and as hard as they claim to be."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pooch
import pytest
from napari.layers import Image, Layer
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

from napari_darkdeblur.metrics import psnr
from napari_darkdeblur.napari_plugin import sample_data
from napari_darkdeblur.napari_plugin.layer_pixels import guess_axes
from napari_darkdeblur.napari_plugin.provenance import provenance_of
from napari_darkdeblur.napari_plugin.sample_data import LayerData
from napari_darkdeblur.psf import PSF
from napari_darkdeblur.srgb import srgb_to_linear

PAIRS = [
    sample_data.night_photograph,
    sample_data.night_street,
    sample_data.night_stack,
    sample_data.microscopy,
]
Sample = Callable[[], list[LayerData]]


def _layers(sample: Sample) -> list[Any]:
    return [Layer.create(*made) for made in sample()]


@pytest.fixture(autouse=True)
def nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scikit-image download nothing that it does not come with."""

    def refuse(self: pooch.Pooch, name: str, *_: Any, **__: Any) -> str:
        raise AssertionError(f"{name} is not inside scikit-image's package.")

    monkeypatch.setattr(pooch.Pooch, "fetch", refuse)


@pytest.mark.parametrize("sample", [*PAIRS, sample_data.large_mosaic])
def test_a_sample_is_made_of_what_is_installed_and_says_where_it_came_from(sample: Sample) -> None:
    for layer in _layers(sample):
        assert isinstance(layer, Image)
        known = provenance_of(layer)
        assert known is not None
        assert known.kind == "sample"
        assert known.axes == guess_axes(layer)
        assert known.notes


@pytest.mark.parametrize("sample", PAIRS)
def test_a_sample_is_the_same_every_time(sample: Sample) -> None:
    for (first, *_), (again, *_) in zip(sample(), sample(), strict=True):
        np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("sample", PAIRS)
def test_the_reference_fits_what_is_to_be_restored_and_is_better(sample: Sample) -> None:
    reference, blurred = _layers(sample)
    assert (reference.visible, blurred.visible) == (False, True)
    assert reference.data.shape == blurred.data.shape
    assert reference.data.dtype == blurred.data.dtype
    np.testing.assert_array_equal(reference.extent.world, blurred.extent.world)
    known = provenance_of(blurred)
    assert known is not None
    assert blurred.data.max() <= known.white * 1.5
    # The steepest edges, which are no noise, are steeper in the reference.
    images = [_halved(layer.data, known) for layer in (blurred, reference)]
    edges = [np.percentile(np.abs(np.diff(image, axis=-1)), 99.5) for image in images]
    assert edges[0] < 0.9 * edges[1]


@pytest.mark.parametrize("sample", PAIRS)
def test_blurred_and_reference_lie_on_each_other(sample: Sample) -> None:
    reference, blurred = _layers(sample)
    known = provenance_of(blurred)
    assert known is not None
    # Seen from far the shake is a point: all that it could do is to move the light.
    photograph = known.axes == "YXS"
    before, after = (
        gaussian_filter(srgb_to_linear(values) if photograph else values, 8)
        for values in (_halved(layer.data, known) for layer in (blurred, reference))
    )
    there = _error(before, after)
    for axis in (-2, -1):
        for shift in (-1, 1):
            assert there < _error(np.roll(before, shift, axis), after)


def _halved(data: NDArray[Any], known: Any) -> NDArray[Any]:
    """Return the first plane in grey, 0 to 1, averaged over squares of two pixels."""
    plane = data[0] if known.axes == "TYX" else data.mean(axis=-1)
    plane = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2] / known.white
    return np.asarray(plane.reshape(plane.shape[0] // 2, 2, -1, 2).mean(axis=(1, 3)))


def _error(first: NDArray[Any], second: NDArray[Any]) -> float:
    inside = np.s_[8:-8, 8:-8]
    return float(np.square(first[inside] - second[inside]).mean())


def test_the_street_is_shaken_once_for_all() -> None:
    psf = PSF(sample_data.street_kernel().astype(np.float32), "shake")
    assert 3.5 < psf.rms_radius < 5.5
    reference, street = _layers(sample_data.night_street)
    # Blurred with the kernel it is the photograph, but for noise and what white cut off.
    light = srgb_to_linear(reference.data / 255)
    again = fftconvolve(light, psf.kernel[..., None], mode="valid")
    margin = psf.kernel.shape[0] // 2
    taken = srgb_to_linear(street.data[margin:-margin, margin:-margin] / 255)
    assert np.median(np.abs(again - taken)) < 0.01
    # It is night, and there are lamps that white cuts off.
    assert np.median(light) < 0.1
    assert (street.data.min(axis=-1) > 150).any()


def test_the_movie_moves_and_counts_twelve_bits() -> None:
    _, movie = _layers(sample_data.night_stack)
    assert movie.data.dtype == np.uint16
    assert movie.data.max() < 2**12
    assert tuple(movie.axis_labels) == ("t", "y", "x")
    assert movie.contrast_limits == [0, sample_data.STACK_WHITE]
    frames = movie.data / sample_data.STACK_WHITE
    for before, after in itertools.pairwise(frames):
        assert psnr(np.clip(before, 0, 1), np.clip(after, 0, 1)) < 20


def test_nothing_of_the_mosaic_is_made_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = sample_data.mosaic_chunk

    def counting(level: int, block_id: tuple[int, ...]) -> NDArray[np.uint8]:
        made.append(level)
        return real(level, block_id)

    monkeypatch.setattr(sample_data, "mosaic_chunk", counting)
    (mosaic,) = _layers(sample_data.large_mosaic)
    assert mosaic.multiscale
    assert mosaic.data[0].shape == (8192, 8192, 3)
    assert 0 not in made
    np.asarray(mosaic.data[0][500:530, 10:20])
    assert made.count(0) == 2


def test_coarser_levels_of_the_mosaic_show_the_finest() -> None:
    ((levels, *_),) = sample_data.large_mosaic()
    for level, array in enumerate(levels):
        assert array.shape == (8192 >> level, 8192 >> level, 3)
    fine = np.asarray(levels[0][1024:2048, :1024]).astype(float)
    for level in (1, 2, 4):
        side = 1024 >> level
        averaged = fine.reshape(side, 2**level, side, 2**level, 3).mean(axis=(1, 3))
        coarse = np.asarray(levels[level][side : 2 * side, :side]).astype(float)
        # Rounded once for every halving.
        assert np.abs(averaged - coarse).max() < 0.5 * level + 0.5
