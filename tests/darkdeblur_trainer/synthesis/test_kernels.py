"""Blur kernels: normalised, centred, as large as asked for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from darkdeblur_trainer.synthesis import Degradation, PairSynthesizer, SampleRandom
from darkdeblur_trainer.synthesis.kernels import camera_shake_paths, splat, turned_points
from darkdeblur_trainer.synthesis.settings import SHAPES

ONLY = {shape: {other: float(other == shape) for other in SHAPES} for shape in SHAPES}
SPLAT_VARIANCE = 1 / 3  # of the bilinear splat, about, over both axes


def kernels_of(count: int = 256, **settings: object) -> Tensor:
    """Return kernels of a degradation that blurs everything."""
    synthesizer = PairSynthesizer([Degradation(unblurred=0.0, **settings)], seed=3)
    return synthesizer.kernels(range(count))


def moments(kernels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centroids (N, 2) and the rms radii (N,) about the middle, in pixels."""
    offset = torch.arange(kernels.shape[1]) - kernels.shape[1] // 2
    across, down = kernels.sum(dim=1), kernels.sum(dim=2)
    centroid = torch.stack([(across * offset).sum(dim=1), (down * offset).sum(dim=1)], dim=1)
    variance = (across * offset.square()).sum(dim=1) + (down * offset.square()).sum(dim=1)
    return centroid, (variance - SPLAT_VARIANCE).clamp(min=0).sqrt()


SETTINGS = {
    "short paths": {"kernel_length": (4, 4)},
    "long paths": {"kernel_length": (60, 60), "curl": (0.0, 1.0)},
    "sizes": {"blur_radius": (0.7, 12.0), "defocus_radius": (0.0, 1.0)},
} | {shape: {"blur_radius": (2.0, 6.0), **ONLY[shape]} for shape in SHAPES}


@pytest.mark.parametrize("name", SETTINGS)
def test_kernels_are_normalised_and_centred_on_their_centroid(name: str):
    kernels = kernels_of(**SETTINGS[name])
    assert (kernels >= 0).all()
    assert torch.allclose(kernels.sum(dim=(1, 2)), torch.ones(len(kernels)), atol=1e-5)
    assert moments(kernels)[0].abs().max() < 0.02


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [0.7, 2.5, 9.0])
def test_a_kernel_is_as_large_as_asked_for(shape: str, radius: float):
    kernels = kernels_of(64, blur_radius=(radius, radius), **ONLY[shape])
    expected = min(radius, 4.0) if shape == "defocus_disc" else radius
    sizes = moments(kernels)[1]
    # Far ends are moved in, which makes a few kernels smaller.
    assert float(sizes.median()) == pytest.approx(expected, rel=0.1, abs=0.1)
    assert float(sizes.max()) < 1.1 * expected + 0.1


def test_sizes_are_drawn_evenly_on_a_logarithmic_scale():
    sizes = moments(kernels_of(1024, blur_radius=(1.0, 9.0), straight_motion=0, defocus_disc=0))[1]
    shares = [(sizes < edge).float().mean().item() for edge in (3**0.5, 3.0, 3**1.5)]
    assert shares == pytest.approx([0.25, 0.5, 0.75], abs=0.06)


def test_the_radius_holds_every_kernel():
    # What was cut off would lie in the outermost ring.
    kernels = kernels_of(512, blur_radius=(0.7, 12.0), defocus_radius=(0, 2))
    ring = kernels.sum(dim=(1, 2)) - kernels[:, 1:-1, 1:-1].sum(dim=(1, 2))
    assert ring.max() < 0.01


def test_a_straight_line_is_straight_and_a_smooth_shake_is_not():
    def narrowness(shape: str) -> Tensor:
        kernels = kernels_of(128, blur_radius=(6.0, 6.0), **ONLY[shape])
        offset = (torch.arange(kernels.shape[1]) - kernels.shape[1] // 2).float()
        xx = torch.einsum("nyx,x->n", kernels, offset**2)
        yy = torch.einsum("nyx,y->n", kernels, offset**2)
        xy = torch.einsum("nyx,y,x->n", kernels, offset, offset)
        least = (xx + yy) / 2 - ((xx - yy) ** 2 / 4 + xy**2).sqrt()
        return least.clamp(min=0).sqrt()

    assert narrowness("straight_motion").max() < 0.6
    assert narrowness("smooth_shake").median() > 0.8


def test_paths_have_the_reference_length_and_constant_speed():
    paths = camera_shake_paths(SampleRandom(0, torch.arange(32)), torch.ones(32))
    speed = paths.diff(dim=1).norm(dim=2)
    assert torch.allclose(speed.sum(dim=1), torch.full((32,), 60.0), rtol=1e-4)
    assert torch.allclose(speed, speed[:, :1].expand_as(speed), rtol=1e-3)


def test_without_curl_a_path_is_a_straight_line():
    paths = camera_shake_paths(SampleRandom(0, torch.arange(32)), torch.zeros(32))
    assert torch.allclose(paths[:, -1].norm(dim=1), torch.full((32,), 60.0), rtol=1e-4)


def test_what_is_not_blurred_has_a_point_for_a_kernel():
    kernels = PairSynthesizer([Degradation(unblurred=1.0)], seed=3).kernels(range(3))
    centre = kernels.shape[1] // 2
    assert torch.allclose(kernels[:, centre, centre], torch.ones(3))


def test_a_turn_moves_places_about_the_middle():
    points = torch.zeros(1, 2, 2)
    angle = torch.tensor([[0.0, 0.1]])
    places = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 20.0]])
    moved = turned_points(points, angle, places)[0]
    assert torch.allclose(moved[:, 0], torch.zeros(3, 2))
    assert torch.allclose(moved[:, 1], torch.tensor([[0.0, 0.0], [0.0, 1.0], [-2.0, 0.0]]))


def test_splat_shares_a_point_bilinearly():
    image = splat(torch.tensor([[[0.25, -0.5]]]), torch.ones(1, 1), radius=1)[0]
    # x is the column: three quarters stay in the middle column, a quarter goes to its right.
    expected = torch.tensor([[0, 0.375, 0.125], [0, 0.375, 0.125], [0, 0, 0]])
    assert torch.allclose(image, expected)
