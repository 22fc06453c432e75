"""Random numbers are a function of (seed, sample index, stream) and of nothing else."""

from __future__ import annotations

import pytest
import torch

from darkdeblur_trainer.synthesis import SampleRandom, Stream
from darkdeblur_trainer.synthesis.sample_random import philox_4x32

_ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        # The known answers that come with the algorithm's reference implementation.
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (_ONES, _ONES, _ONES, _ONES),
            (_ONES, _ONES),
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_answers(counter, key, expected):
    words = philox_4x32(tuple(torch.tensor([word]) for word in counter), key)
    assert tuple(int(word) for word in words) == expected


def test_a_sample_draws_the_same_numbers_in_any_batch():
    alone = SampleRandom(5, torch.tensor([17]))
    together = SampleRandom(5, torch.tensor([3, 17, 10**12]))
    for draw in ("uniform", "normal"):
        one = getattr(alone, draw)(Stream.SHOT_NOISE, 101)
        many = getattr(together, draw)(Stream.SHOT_NOISE, 101)
        assert torch.equal(one[0], many[1])
        assert not torch.equal(many[0], many[1])
        assert not torch.equal(many[0], many[2])


def test_more_numbers_begin_with_the_same_ones():
    random = SampleRandom(5, torch.tensor([17]))
    for draw in (random.uniform, random.normal):
        assert torch.equal(draw(Stream.CROP, 5), draw(Stream.CROP, 400)[:, :5])


def test_seed_and_stream_change_the_numbers():
    index = torch.tensor([17])
    numbers = [
        SampleRandom(seed, index).uniform(stream, 8)
        for seed in (0, 1, 2**32, 2**63)
        for stream in (Stream.CROP, Stream.READ_NOISE)
    ]
    assert len({tuple(number[0].tolist()) for number in numbers}) == len(numbers)


def test_uniform_and_normal_have_their_moments():
    random = SampleRandom(1, torch.arange(16))
    uniform, normal = (f(Stream.READ_NOISE, 50_001) for f in (random.uniform, random.normal))
    assert uniform.shape == normal.shape == (16, 50_001)
    assert float(uniform.min()) >= 0
    assert float(uniform.max()) < 1
    # Bounds are about six standard errors wide: 800 000 numbers.
    assert float(uniform.mean()) == pytest.approx(0.5, abs=2e-3)
    assert float(uniform.var()) == pytest.approx(1 / 12, abs=1e-3)
    assert float(normal.mean()) == pytest.approx(0, abs=7e-3)
    assert float(normal.var()) == pytest.approx(1, abs=1e-2)
    assert float((normal**4).mean()) == pytest.approx(3, abs=0.1)
