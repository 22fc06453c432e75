"""Kernels from lights and beads in a picture."""

import numpy as np
import pytest

from napari_darkdeblur.psf import PSF, PSFError, find_streaks, from_points, similarity
from napari_darkdeblur.psf.light import to_values

SIDE = 160


def shake() -> np.ndarray:
    """Return the kernel of a smooth shake of about 15 pixels."""
    t = np.linspace(0, 1, 400)
    x, y = 14 * t - 7, 5 * np.sin(4 * t)
    kernel = np.zeros((25, 25))
    for dx, dy in zip(x, y, strict=True):
        rows, columns = np.indices(kernel.shape) - 12
        kernel += np.clip(1 - abs(rows - dy), 0, 1) * np.clip(1 - abs(columns - dx), 0, 1)
    return PSF.from_array(kernel).kernel


TRUE = shake()


def night(
    places: list[tuple[int, int]], brightness: list[float], *, noise: float = 0.002, seed: int = 0
) -> np.ndarray:
    """Return a dark scene, values with the sRGB curve, whose lights have drawn the shake."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    light = np.repeat((0.02 + 0.02 * rows + 0.01 * columns)[..., None], 3, axis=2)
    reach = TRUE.shape[0] // 2
    for (row, column), factor in zip(places, brightness, strict=True):
        around = np.s_[row - reach : row + reach + 1, column - reach : column + reach + 1]
        light[around] += factor * (TRUE / TRUE.max())[..., None] * np.array([1, 0.9, 0.7])
    light = light + noise * generator.normal(size=light.shape)
    return to_values(light, linear_light=True)


def around(place: tuple[int, int], margin: int = 17) -> tuple[int, int, int, int]:
    return place[0] - margin, place[1] - margin, place[0] + margin + 1, place[1] + margin + 1


PLACES = [(40, 40), (50, 110), (115, 75)]


def test_one_light_gives_the_kernel():
    image = night(PLACES[:1], [0.6])
    psf = from_points(image, [around(PLACES[0])])
    assert similarity(psf.kernel, TRUE) > 0.985
    assert psf.extent == pytest.approx(PSF(TRUE, "").extent, rel=0.08)
    assert psf.origin == "a light in the picture"
    assert psf.note == ""


def test_values_that_are_light_are_not_taken_for_srgb():
    image = night(PLACES[:1], [0.6])
    wrong = from_points(image, [around(PLACES[0])], linear_light=False)
    right = from_points(image, [around(PLACES[0])], linear_light=True)
    assert similarity(right.kernel, TRUE) > similarity(wrong.kernel, TRUE) + 0.01


def test_several_noisy_lights_give_a_better_kernel_than_one():
    image = night(PLACES, [0.3, 0.25, 0.2], noise=0.03, seed=3)
    single = [similarity(from_points(image, [around(p)]).kernel, TRUE) for p in PLACES]
    # Rectangles drawn by hand do not have the light in their middle.
    boxes = [around((row + k, column - 2 * k)) for k, (row, column) in enumerate(PLACES)]
    together = from_points(image, boxes)
    assert similarity(together.kernel, TRUE) > max(single)
    assert similarity(together.kernel, TRUE) > 0.95
    assert together.origin == "3 lights in the picture"


def test_where_a_light_is_saturated_the_others_decide():
    boxes = [around(place) for place in PLACES]
    image = night(PLACES, [6.0, 0.5, 6.0])
    psf = from_points(image, boxes)
    assert psf.note == ""
    assert similarity(psf.kernel, TRUE) > 0.97
    clipped = from_points(image, boxes[:1])
    assert "saturated" in clipped.note
    assert similarity(clipped.kernel, TRUE) < similarity(psf.kernel, TRUE)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([], "at least one"),
        ([(5, 5, 7, 30)], "3 × 3"),
        ([(-40, 0, -10, 20)], "3 × 3"),
        ([(200, 200, 240, 240)], "3 × 3"),
    ],
)
def test_what_is_wrong_with_rectangles_is_said(boxes, message):
    with pytest.raises(PSFError, match=message):
        from_points(night(PLACES, [0.5] * 3), boxes)
    with pytest.raises(PSFError, match="Nothing in rectangle 2"):
        from_points(np.zeros((SIDE, SIDE)) + np.pad([[0.5]], (40, SIDE - 41)),
                    [around((40, 40)), (80, 80, 120, 120)])  # fmt: skip


def test_streaks_that_are_alike_are_found():
    found = find_streaks(night(PLACES, [0.6, 0.5, 0.4]))
    assert similarity(found[0].kernel, TRUE) > 0.97
    assert found[0].origin.startswith("3 ")


def test_a_picture_without_lights_has_no_streaks():
    assert find_streaks(night([], [])) == []
    assert find_streaks(np.zeros((90, 70))) == []
