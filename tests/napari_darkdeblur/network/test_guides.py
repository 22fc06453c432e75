"""Guides undo a known blur, and keep brightness and place."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from napari_darkdeblur.network.guides import (
    GUIDE_COUNTS,
    ITERATIONS,
    REGULARISATION,
    deconvolved,
    linear_to_srgb,
    richardson_lucy,
    srgb_to_linear,
    wiener,
)


def picture(side: int = 96) -> torch.Tensor:
    """Return blobs and edges, (1, 3, side, side) in 0..1."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, side // 8, side // 8, generator=generator)
    return F.interpolate(coarse, size=(side, side), mode="nearest")


def line(length: int) -> torch.Tensor:
    kernel = torch.zeros(1, 31, 31)
    kernel[:, 15, 15 - length // 2 : 16 + length // 2] = 1
    return kernel / kernel.sum()


def blurred(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    radius = kernel.shape[-1] // 2
    padded = F.pad(image, (radius,) * 4, mode="reflect")
    return F.conv2d(padded, kernel.flip(1, 2)[:, None].repeat(3, 1, 1, 1), groups=3)


@pytest.mark.parametrize("linear_light", [True, False])
def test_guides_are_nearer_to_the_sharp_picture(linear_light: bool):
    sharp = picture()
    if linear_light:
        given = linear_to_srgb(blurred(srgb_to_linear(sharp), line(9)))
    else:
        given = blurred(sharp, line(9))
    guides = deconvolved(given, line(9), linear_light)
    assert guides.shape == (1, 3 * len(REGULARISATION), 96, 96)
    error = (given - sharp).abs().mean()
    errors = [(guide - sharp).abs().mean() for guide in guides.split(3, dim=1)]
    assert errors[0] < errors[1] < errors[2] < error
    assert errors[0] < 0.6 * error


@pytest.mark.parametrize("count", GUIDE_COUNTS)
def test_a_network_may_take_the_wiener_filters_alone_or_all_guides(count: int):
    guides = deconvolved(picture(), line(9), True, count)
    assert guides.shape == (1, 3 * count, 96, 96)
    assert guides.min() >= 0 and guides.max() <= 1
    first = deconvolved(picture(), line(9), True)
    assert torch.equal(guides[:, : first.shape[1]], first)


def test_more_iterations_come_nearer_without_noise():
    sharp = picture()
    given = blurred(sharp, line(9))
    cautious, bold = richardson_lucy(given, line(9), ITERATIONS)
    errors = [(image - sharp).abs().mean() for image in (given, cautious, bold)]
    assert errors[0] > 1.2 * errors[1] > 1.2 * 1.2 * errors[2]


def test_a_lamp_that_saturates_does_not_ring():
    sharp = 0.2 * picture()
    sharp[..., 40:44, 40:44] = 30
    given = blurred(sharp, line(9)).clamp(0, 1)
    far = torch.ones(96, 96, dtype=torch.bool)
    far[34:50, 25:60] = False
    (found,) = richardson_lucy(given, line(9), (20,))
    (rung,) = wiener(given, line(9), (0.005,))
    error = (found - sharp).abs()[..., far].mean()
    assert error < 0.6 * (rung - sharp).abs()[..., far].mean()
    # The lamp itself is found to be brighter than white.
    assert found[..., 40:44, 40:44].mean() > 1.5


def test_a_light_that_is_taken_for_another_restores_worse():
    sharp = picture()
    given = linear_to_srgb(blurred(srgb_to_linear(sharp), line(9)))
    right, wrong = (deconvolved(given, line(9), light)[:, :3] for light in (True, False))
    assert (right - sharp).abs().mean() < 0.7 * (wrong - sharp).abs().mean()


@pytest.mark.parametrize("size", [(64, 64), (61, 37), (5, 200), (1, 1)], ids=str)
def test_brightness_and_size_stay(size: tuple[int, int]):
    grey = torch.full((1, 3, *size), 0.4)
    for guide in wiener(grey, line(9), REGULARISATION):
        torch.testing.assert_close(guide, grey, atol=1e-5, rtol=0)
    for guide in richardson_lucy(grey, line(9), ITERATIONS):
        torch.testing.assert_close(guide, grey, atol=1e-3, rtol=0)
    light = torch.rand(1, 3, *size)
    for guide in wiener(light, line(9), REGULARISATION) + richardson_lucy(light, line(9), (3,)):
        assert guide.shape == light.shape
        assert bool(guide.isfinite().all())


def test_black_stays_black():
    black = torch.zeros(1, 3, 40, 40)
    for guide in richardson_lucy(black, line(9), ITERATIONS):
        assert guide.max() < 1e-4


def test_what_was_not_blurred_stays_in_place():
    sharp = picture()
    point = torch.ones(1, 1, 1)
    for guide in wiener(sharp, point, (0.005,)) + richardson_lucy(sharp, point, ITERATIONS):
        assert (guide - sharp).abs().max() < 0.05
    off_centre = torch.zeros(1, 5, 5)
    off_centre[:, 2, 3] = 1  # the kernel moves the picture by one pixel to the right
    for back in wiener(sharp, off_centre, (0.005,)) + richardson_lucy(sharp, off_centre, (60,)):
        assert (back.clamp(0, 1)[..., :-1] - sharp[..., 1:])[..., 8:-8].abs().max() < 0.05


def test_each_picture_has_its_own_kernel_and_light():
    pictures = torch.cat([picture(), 1 - picture()])
    kernels = torch.cat([line(9), line(3)])
    both = deconvolved(pictures, kernels, torch.tensor([True, False]), 5)
    for row, light in enumerate((True, False)):
        alone = deconvolved(pictures[row : row + 1], kernels[row : row + 1], light, 5)
        torch.testing.assert_close(both[row : row + 1], alone, atol=1e-4, rtol=0)
