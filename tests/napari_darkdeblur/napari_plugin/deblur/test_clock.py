"""What is said of a job's time: corrected while it runs, never going back, and remembered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from napari_darkdeblur.napari_plugin.deblur.clock import Countdown, Durations, JobClock, Progress
from napari_darkdeblur.napari_plugin.deblur.jobs import JobSpec, Preparing
from napari_darkdeblur.napari_plugin.regions import Region
from napari_darkdeblur.restore import ModelReady, PSFFound, PSFSearch, RestoreOptions, TileDone


class Hands:
    """A clock whose time is set by hand."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


# --- the share that is shown


def test_the_bar_is_full_when_no_time_is_left():
    hands = Hands()
    countdown = Countdown(hands)
    assert countdown.seconds_left is None
    assert countdown.fraction == 0
    for second in range(101):
        hands.time = 1000 + second
        countdown.tell(100 - second)
        assert countdown.fraction == pytest.approx(second / 100)
        assert countdown.seconds_left == 100 - second


def test_it_counts_down_between_two_reports_and_never_says_over():
    hands = Hands()
    countdown = Countdown(hands)
    countdown.tell(100)
    shares, left = [], []
    for _ in range(300):
        hands.time += 1
        shares.append(countdown.fraction)
        left.append(countdown.seconds_left)
    assert left[49] == pytest.approx(50)
    assert shares[49] == pytest.approx(0.5)
    assert shares == sorted(shares)
    assert left == sorted(left, reverse=True)
    assert left[-1] > 0
    assert shares[-1] < 1


def test_what_has_not_begun_is_not_counted_down():
    hands = Hands()
    countdown = Countdown(hands)
    countdown.tell(40, after=30)
    hands.time += 1000
    assert countdown.seconds_left == pytest.approx(30)
    assert countdown.fraction == pytest.approx(0.25)


def test_a_longer_time_holds_the_bar_and_does_not_turn_it_back():
    hands = Hands()
    countdown = Countdown(hands)
    countdown.tell(10)
    hands.time += 9
    before = countdown.fraction
    countdown.tell(90)  # it was an error
    assert countdown.fraction == pytest.approx(before)
    assert countdown.seconds_left == 90
    hands.time += 45
    # Half of what was left of the bar in half of the time.
    assert countdown.fraction == pytest.approx(before + (1 - before) / 2)


# --- a job's parts

SEARCH, RESTORING, MEASURING = 60.0, 30.0, 10.0


@pytest.fixture
def spec(tmp_path: Any) -> JobSpec:
    """Return a job of a model that no other test has."""
    array = np.zeros((40, 48, 3), np.uint8)
    options = RestoreOptions(tmp_path / "model", "cpu", "YXS", psf="auto")
    return JobSpec("night", array, Region((0, 0), (40, 48)), options, reference=array)


def ready() -> ModelReady:
    plan: Any = None  # it was predicted
    return ModelReady("small", "cpu", plan, 1, 0.0, 255.0, "")


def lived(spec: JobSpec, hands: Hands, slower: float = 1.0) -> Iterator[tuple[float, Progress]]:
    """Yield the seconds that are really left, and what is said, of a job that is a bit slower."""
    predicted = Durations(SEARCH, RESTORING, MEASURING)
    clock = JobClock(spec, predicted, hands)
    end = hands.time + slower * predicted.total

    def told(event: Any) -> Iterator[tuple[float, Progress]]:
        if isinstance(event, Progress):
            yield end - hands.time, event

    yield from told(clock.begin(Preparing("Looking")))
    for step in range(1, 21):
        hands.time += slower * SEARCH / 20
        yield from told(clock.tell(PSFSearch(0, 1, step / 20)))
    yield from told(clock.tell(PSFFound(0, 1, None, False, "Nothing")))
    yield from told(clock.tell(ready()))
    for tile in range(1, 11):
        hands.time += slower * RESTORING / 10
        yield from told(clock.tell(TileDone(tile, 10, 0, 1, "stage", tile / 10, 1.0)))
    yield from told(clock.measure(Preparing("Measuring")))
    hands.time += slower * MEASURING
    clock.finish()


def test_the_bar_stands_where_the_time_is_also_when_the_search_has_ended(spec: JobSpec):
    for really_left, progress in lived(spec, Hands()):
        assert progress.seconds_left == pytest.approx(really_left)
        whole = SEARCH + RESTORING + MEASURING
        assert progress.fraction == pytest.approx(1 - really_left / whole, abs=0.01)


def test_a_machine_that_is_slow_in_the_search_is_taken_to_be_slow_afterwards(spec: JobSpec):
    said = list(lived(spec, Hands(), slower=3.0))
    fractions = [progress.fraction for _, progress in said]
    assert fractions == sorted(fractions)
    # From the middle of the search on it is known.
    known = [(left, p) for left, p in said if left < 3 * (SEARCH / 2 + RESTORING + MEASURING)]
    assert len(known) > 15
    for really_left, progress in known:
        assert progress.seconds_left == pytest.approx(really_left, rel=0.05)
    ended = next(p for _, p in said if isinstance(p.event, ModelReady))
    assert ended.fraction < 0.75
    # It is what the next image will take, too.
    last = said[-1][1].durations
    assert (last.search, last.restoring) == pytest.approx((3 * SEARCH, 3 * RESTORING))


def test_the_next_job_is_predicted_by_what_the_last_one_took(spec: JobSpec):
    plan: Any = type("APlan", (), {"seconds": 100.0, "storage": {"guides": "memory"}})()
    before = JobClock.predict(spec, plan, 1)
    list(lived(spec, Hands(), slower=3.0))
    after = JobClock.predict(spec, plan, 1)
    for part in ("search", "restoring", "measuring"):
        # The less time it took, the less is believed.
        assert 2 < getattr(after, part) / getattr(before, part) <= 3


def test_a_search_that_gives_up_says_nothing_about_others(spec: JobSpec):
    plan: Any = type("APlan", (), {"seconds": 100.0, "storage": {"guides": "memory"}})()
    before = JobClock.predict(spec, plan, 1)
    hands = Hands()
    clock = JobClock(spec, Durations(SEARCH, RESTORING), hands)
    hands.time += 0.1
    clock.tell(PSFFound(0, 1, None, False, "Too small"))
    progress = clock.tell(ready())
    assert isinstance(progress, Progress)
    assert progress.seconds_left == pytest.approx(RESTORING)
    assert JobClock.predict(spec, plan, 1).search == before.search
