"""What a network with guides is told of the blur, and how it is shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from darkdeblur_trainer.batches import with_guides
from darkdeblur_trainer.synthesis import (
    Degradation,
    KnownKernels,
    Pairs,
    PairSynthesizer,
    guide_kernels,
)
from napari_darkdeblur.network.guides import deconvolved

from ..conftest import scene


def pairs_of(count: int, side: int = 40) -> Pairs:
    degradation = Degradation(preset="night", blur_radius=(1, 6), unblurred=0)
    synthesizer = PairSynthesizer([degradation], seed=4)
    side += 2 * synthesizer.margin
    images = np.stack([scene(side, side, seed) for seed in range(4)])
    sharp = torch.from_numpy(images).permute(0, 3, 1, 2).repeat(count // 4, 1, 1, 1)
    return synthesizer(sharp, range(count))


def similarity(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the cosines (N,) between kernels that lie on each other."""
    product = (first * second).sum(dim=(1, 2))
    return product / first.square().sum(dim=(1, 2)).sqrt() / second.square().sum(dim=(1, 2)).sqrt()


def test_shares_and_sums():
    pairs = pairs_of(400, side=8)
    settings = KnownKernels(none=0.25, spoilt=0.25, wrong=0.25, wiener_only=0.25)
    kernels, told, all_guides = guide_kernels(settings, pairs, 4, torch.arange(400))
    true = (kernels - pairs.kernels).abs().amax(dim=(1, 2)) < 1e-6
    assert float((~told).float().mean()) == pytest.approx(0.25, abs=0.07)
    assert float((told & true).float().mean()) == pytest.approx(0.25, abs=0.07)
    assert float((~all_guides).float().mean()) == pytest.approx(0.25, abs=0.07)
    assert (kernels >= 0).all()
    assert torch.allclose(kernels.sum(dim=(1, 2)), torch.ones(400), atol=1e-4)


def test_spoilt_kernels_are_alike_and_centred_and_wrong_ones_are_not():
    pairs = pairs_of(200, side=8)
    spoilt, *_ = guide_kernels(KnownKernels(none=0, spoilt=1, wrong=0), pairs, 4, torch.arange(200))
    wrong, *_ = guide_kernels(KnownKernels(none=0, spoilt=0, wrong=1), pairs, 4, torch.arange(200))
    likeness, unlikeness = similarity(spoilt, pairs.kernels), similarity(wrong, pairs.kernels)
    assert likeness.median() > 0.8
    assert likeness.max() < 0.9999
    assert unlikeness.median() < 0.5
    offset = torch.arange(spoilt.shape[1]) - spoilt.shape[1] // 2
    for axis in (1, 2):
        assert (spoilt.sum(dim=axis) * offset).sum(dim=1).abs().max() < 0.1


def test_a_sample_is_told_the_same_in_any_batch():
    pairs = pairs_of(8)
    settings = KnownKernels(none=0.2, spoilt=0.5, wrong=0.2)
    kernels, told, _ = guide_kernels(settings, pairs, 4, torch.arange(8))
    some = [5, 2]
    given = {name: value for name, value in vars(pairs).items() if value is not None}
    parts = Pairs(**{name: value[some] for name, value in given.items()})
    again, told_again, _ = guide_kernels(settings, parts, 4, torch.tensor(some))
    torch.testing.assert_close(again, kernels[some])
    assert torch.equal(told_again, told[some])


def test_patches_and_guides_are_cut_from_the_same_place():
    pairs = pairs_of(4, side=60)
    settings = KnownKernels(none=0, spoilt=0, wrong=0, margin=10)
    given, sharp = with_guides(pairs, settings, 3, 4, torch.arange(4))
    assert (given.shape, sharp.shape) == ((4, 12, 40, 40), (4, 3, 40, 40))
    whole = torch.cat(
        [
            pairs.blurred,
            deconvolved(pairs.blurred, pairs.kernels, pairs.linear_light),
            pairs.sharp,
        ],
        dim=1,
    )
    places = set()
    for row in range(4):
        patch = torch.cat([given[row], sharp[row]])
        found = [
            (top, left)
            for top in range(21)
            for left in range(21)
            if torch.equal(whole[row, :, top : top + 40, left : left + 40], patch)
        ]
        assert len(found) == 1
        places |= set(found)
    assert len(places) > 1


def test_without_a_kernel_the_picture_takes_the_place_of_the_guides():
    given, _ = with_guides(pairs_of(4), KnownKernels(none=1, margin=4), 3, 4, torch.arange(4))
    for guide in given.split(3, dim=1):
        assert torch.equal(guide, given[:, :3])


def test_without_the_iterations_the_picture_takes_their_place_alone():
    settings = KnownKernels(none=0, wiener_only=1, margin=4)
    given, _ = with_guides(pairs_of(4), settings, 5, 4, torch.arange(4))
    picture, *filtered, cautious, bold = given.split(3, dim=1)
    assert torch.equal(cautious, picture)
    assert torch.equal(bold, picture)
    assert not any(torch.equal(guide, picture) for guide in filtered)


def test_shares_out_of_range_are_refused():
    with pytest.raises(ValidationError):
        KnownKernels(none=1.5)
