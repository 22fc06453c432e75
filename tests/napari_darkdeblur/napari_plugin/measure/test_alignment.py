"""Layers are compared pixel by pixel where they show the same place, and only there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.layers import Image

from napari_darkdeblur.napari_plugin.layer_pixels import axes_of
from napari_darkdeblur.napari_plugin.measure.alignment import MatchError, align, known_axes
from napari_darkdeblur.napari_plugin.provenance import Provenance, RegionRecord, record_input
from napari_darkdeblur.napari_plugin.result_layers import placement_of, result_name

from ...conftest import assert_sentence


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def restored_of(source: Image, data: Any, start: tuple[int, ...] | None = None) -> Image:
    """Return a result of a part of a layer, as the plugin would place it."""
    start = start or (0,) * source.ndim
    stop = tuple(a + b for a, b in zip(start, data.shape, strict=False))
    made = Provenance(
        kind="restored",
        input=record_input(source),
        region=RegionRecord(start=start, stop=stop),
        axes=axes_of(source).letters,
        black=0,
        white=255,
    )
    return Image(
        data,
        name=result_name(source),
        rgb=source.rgb,
        metadata=made.as_metadata(),
        **placement_of(source, start),
    )


def find(other: Image, layer: Image, plane: int = 0, point: tuple[float, ...] = (0, 0, 0)) -> Any:
    layers = [layer, other]
    return align(other, layer, known_axes(layer, layers), plane, point, layers)


TRANSFORMS = {
    "scale and translate": {"scale": (0.25, 0.25), "translate": (-3.5, 11)},
    "rotate": {"scale": (2, 2), "rotate": 30, "translate": (5, 5)},
    "affine": {"affine": [[0, 2, 1], [-2, 0, 3], [0, 0, 1]]},
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_a_crop_lies_where_it_was_cut_out_whatever_the_transform(transform):
    whole = Image(pixels(40, 50), name="whole", **transform)
    crop = Image(whole.data[7:27, 9:39], name="crop", **placement_of(whole, (7, 9)))
    place = find(whole, crop)
    assert (place.row, place.column, place.note) == (7, 9, "")
    place = find(crop, whole)
    assert (place.row, place.column) == (-7, -9)


def test_a_result_knows_its_place_in_its_input_even_if_it_was_moved():
    source = Image(pixels(3, 40, 50), name="movie")
    result = restored_of(source, pixels(1, 20, 30), start=(2, 4, 6))
    result.translate = (0, 500, 500)
    place = find(source, result)
    assert (place.plane, place.row, place.column) == (2, 4, 6)
    place = find(result, source, plane=2)
    assert (place.plane, place.row, place.column) == (0, -4, -6)


def test_a_plane_that_was_not_restored_has_no_place_in_the_result():
    source = Image(pixels(3, 40, 50), name="movie")
    result = restored_of(source, pixels(1, 20, 30), start=(2, 4, 6))
    with pytest.raises(MatchError, match="no plane") as error:
        find(result, source, plane=0)
    assert_sentence(str(error.value))


def test_one_reference_serves_all_planes():
    movie = Image(pixels(3, 40, 50), name="movie")
    assert find(Image(pixels(40, 50), name="still"), movie, plane=2).plane == 0


def test_a_plane_is_found_by_the_world_not_by_its_number():
    movie = Image(pixels(5, 40, 50), name="movie", scale=(2, 1, 1))
    later = Image(pixels(3, 40, 50), name="later", scale=(2, 1, 1), translate=(4, 0, 0))
    assert find(later, movie, plane=3).plane == 1


def test_of_more_dimensions_the_sliders_choose():
    still = Image(pixels(40, 50), name="still")
    movie = Image(pixels(5, 40, 50), name="movie")
    assert find(movie, still, point=(3, 0, 0)).plane == 3


def test_layers_of_other_pixel_sizes_are_matched_by_their_shape_and_it_is_said():
    layer = Image(pixels(40, 50), name="in micrometres", scale=(0.1, 0.1))
    place = find(Image(pixels(40, 50), name="plain"), layer)
    assert (place.row, place.column) == (0, 0)
    assert_sentence(place.note)


def test_an_unplaced_reference_of_the_whole_is_cropped_like_the_result():
    source = Image(pixels(40, 50), name="cells", scale=(0.1, 0.1))
    result = restored_of(source, pixels(20, 30), start=(4, 6))
    place = find(Image(pixels(40, 50), name="plain"), result)
    assert (place.row, place.column) == (4, 6)
    assert place.note


def test_the_same_number_in_other_units_is_not_the_same_place():
    layer = Image(pixels(40, 50), name="a", scale=(2, 2), units=("nm", "nm"))
    other = Image(pixels(40, 50), name="b", scale=(2, 2), units=("um", "um"), translate=(2, 2))
    place = find(other, layer)
    assert (place.row, place.column) == (0, 0)
    assert place.note


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"translate": (0.5, 0)}, r"\+0.50 rows|-0.50 rows"),
        ({"scale": (1, 2)}, "another size"),
        ({"rotate": 2}, "direction"),
    ],
    ids=["half a pixel off", "other pixels", "turned"],
)
def test_what_does_not_fit_is_refused_with_a_sentence(other, words):
    layer = Image(pixels(40, 50), name="layer")
    with pytest.raises(MatchError, match=words) as error:
        find(Image(pixels(41, 50), name="other", **other), layer)
    assert_sentence(str(error.value))


def test_axes_that_a_result_was_restored_by_are_those_of_its_input():
    source = Image(pixels(4, 40, 50), name="odd")
    made = Provenance(kind="restored", input=record_input(source), axes="CYX")
    result = Image(source.data, name="result", metadata=made.as_metadata())
    assert known_axes(result, [source, result]).letters == "CYX"
    assert known_axes(source, [source, result]).letters == "CYX"
    assert known_axes(source, [source]).letters == "ZYX"
