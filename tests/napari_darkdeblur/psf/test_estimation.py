"""The search of a picture's shake, with a restorer that knows the sharp picture."""

import threading

import numpy as np
import pytest
from scipy import ndimage

from napari_darkdeblur.errors import StoppedError
from napari_darkdeblur.psf import (
    PSF,
    PSFError,
    disc,
    estimate,
    motion,
    similarity,
)
from napari_darkdeblur.psf.estimation import CONFIDENT, _part_to_search, is_refinement
from napari_darkdeblur.psf.least_squares import blurred, noise_level, resized
from napari_darkdeblur.psf.light import to_light, to_values

SIDE = 160


def scene(seed: int = 0) -> np.ndarray:
    """Return light (H, W, 3): overlapping rectangles of random colours, as a town has them."""
    generator = np.random.default_rng(seed)
    light = np.full((SIDE, SIDE, 3), 0.1, dtype=np.float32)
    for _ in range(70):
        top, left = generator.integers(-20, SIDE, 2)
        height, width = generator.integers(6, 45, 2)
        light[max(top, 0) : top + height, max(left, 0) : left + width] = generator.uniform(
            0.02, 0.6, 3
        )
    return light


def photographed(light: np.ndarray, kernel: np.ndarray, *, linear_light: bool = True) -> np.ndarray:
    noise = 0.002 * np.random.default_rng(5).normal(size=light.shape)
    return to_values(blurred(light, kernel) + noise, linear_light)


class Oracle:
    """A restorer that knows the sharp picture, and is sharp as far as its kernel is right.

    Without a kernel it leaves a part of the blur, as a network does; with one it leaves the
    less the more this is the true one, and much less if it can be thorough.
    """

    def __init__(
        self,
        light: np.ndarray,
        true: np.ndarray,
        *,
        linear_light: bool = True,
        can_be_thorough: bool = False,
    ) -> None:
        self.light, self.true, self.linear_light = light, true, linear_light
        self.can_be_thorough = can_be_thorough
        self.least = 0.3 * PSF(true, "").rms_radius
        self.calls = 0

    def _at(self, image: np.ndarray, blur: float) -> np.ndarray:
        self.calls += 1
        shape = image.shape[:2]
        light = self.light if shape == self.light.shape[:2] else resized(self.light, shape)
        scale = shape[0] / self.light.shape[0]
        return to_values(ndimage.gaussian_filter(light, (blur * scale,) * 2 + (0,)),
                         self.linear_light)  # fmt: skip

    def blind(self, image: np.ndarray) -> np.ndarray:
        return self._at(image, self.least)

    def guided(
        self, image: np.ndarray, kernel: np.ndarray, *, thorough: bool = False
    ) -> np.ndarray:
        scale = image.shape[0] / self.light.shape[0]
        side = round(self.true.shape[0] * scale) | 1
        true = np.clip(resized(self.true, (side, side)), 0, None) if scale < 1 else self.true
        wrong = 1 - similarity(kernel, true)
        if thorough:
            assert self.can_be_thorough
            return self._at(image, min(0.5 * wrong, self.least))
        return self._at(image, min(3 * wrong, self.least))


@pytest.mark.parametrize("linear_light", [True, False], ids=["photograph", "microscope"])
def test_a_shake_is_found_in_its_place_and_trusted(linear_light):
    true = motion(17, 35)
    light = scene()
    image = photographed(light, true.kernel, linear_light=linear_light)
    restorer = Oracle(light, true.kernel, linear_light=linear_light)
    seen: list[float] = []
    found = estimate(
        image, restorer, max_radius=16, linear_light=linear_light, progress=seen.append
    )
    assert similarity(found.kernel, true.kernel, max_shift=0) > 0.7
    assert found.direction == pytest.approx(35, abs=5)
    assert found.confidence > CONFIDENT
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) == restorer.calls + 1


def test_the_winner_is_refined_once_more_by_what_the_model_does_best():
    true = motion(17, 35)
    light = scene()
    image = photographed(light, true.kernel)
    quick, thorough = (
        estimate(
            image, Oracle(light, true.kernel, can_be_thorough=able), max_radius=16
        )
        for able in (False, True)
    )  # fmt: skip
    assert similarity(thorough.kernel, true.kernel) > similarity(quick.kernel, true.kernel) + 0.01


@pytest.mark.parametrize(
    ("refined", "taken"),
    [
        pytest.param(motion(17, 33), True, id="turned-a-little"),
        pytest.param(motion(19, 35), True, id="longer"),
        pytest.param(motion(15, 35), False, id="shrunk"),
        pytest.param(motion(17, 80), False, id="another"),
    ],
)
def test_a_kernel_that_shrinks_when_it_is_refined_is_not_taken(refined, taken):
    assert is_refinement(refined.kernel, motion(17, 35).kernel) is taken


def test_a_given_candidate_that_is_right_is_taken():
    true = PSF.from_array(np.pad(motion(15, 80).kernel, 6) + np.pad(motion(27, 170).kernel, 0))
    light = scene(2)
    image = photographed(light, true.kernel)
    found = estimate(image, Oracle(light, true.kernel), max_radius=16, candidates=[disc(9), true])
    assert similarity(found.kernel, true.kernel) > 0.9


def test_what_is_not_blurred_is_not_called_shaken():
    light = scene(4)
    image = photographed(light, np.ones((1, 1), np.float32))
    found = estimate(image, Oracle(light, np.ones((1, 1), np.float32)), max_radius=8)
    assert found.confidence < CONFIDENT
    assert "not blurred" in found.note


def test_a_picture_without_structure_has_no_shake():
    grey = np.full((80, 80), 0.3, dtype=np.float32)
    light = to_light(np.repeat(grey[..., None], 3, axis=2), linear_light=True)
    found = estimate(grey, Oracle(light, np.ones((1, 1), np.float32)), max_radius=8)
    assert found.confidence < CONFIDENT


def test_the_search_can_be_stopped():
    stop = threading.Event()
    light = scene()
    calls = []

    def progress(share: float) -> None:
        calls.append(share)
        if len(calls) == 3:
            stop.set()

    with pytest.raises(StoppedError):
        estimate(to_values(light, True), Oracle(light, np.ones((1, 1), np.float32)),
                 progress=progress, stop=stop)  # fmt: skip
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((100, 100), np.uint8), "uint8"),
        (np.zeros((3, 100, 100)), "shape"),
        (np.zeros((63, 100)), "too small"),
        (np.full((80, 80), np.nan), "not finite"),
    ],
)
def test_what_cannot_be_searched_is_said(image, message):
    with pytest.raises(PSFError, match=message):
        estimate(image, Oracle(np.zeros((1, 1, 3)), np.ones((1, 1), np.float32)))


def test_large_pictures_are_searched_where_structure_is():
    large = np.zeros((700, 1300, 3), dtype=np.float32)
    large[150 : 150 + SIDE, 900 : 900 + SIDE] = scene()
    large[500:, :300] = 1  # saturated: its border says nothing
    part = _part_to_search(large, linear_light=False)
    assert part.shape == (384, 384, 3)
    assert part.sum() == pytest.approx(scene().sum(), rel=1e-3)


def test_blurring_keeps_the_place_and_the_light():
    spot = np.zeros((40, 41, 3), dtype=np.float32)
    spot[20, 17] = 1
    kernel = motion(9, 20).kernel
    around = np.s_[20 - 5 : 20 + 6, 17 - 5 : 17 + 6, 0]
    assert np.allclose(blurred(spot, kernel)[around], np.pad(kernel, (11 - len(kernel)) // 2),
                       atol=1e-6)  # fmt: skip
    assert np.allclose(blurred(np.ones_like(spot), kernel), 1, atol=1e-5)


def test_the_noise_is_measured():
    noisy = scene()[..., 0] + 0.01 * np.random.default_rng(1).normal(size=(SIDE, SIDE))
    measured = noise_level(noisy.astype(np.float32), np.ones(noisy.shape, bool))
    assert measured == pytest.approx(0.01, rel=0.15)
