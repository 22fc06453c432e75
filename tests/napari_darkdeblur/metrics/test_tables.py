"""The table agrees with the single metrics and leaves out what cannot be measured."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest

from napari_darkdeblur import metrics
from napari_darkdeblur.metrics import METRICS, bands, measure, metric_of

RNG = np.random.default_rng(0)
REFERENCE = RNG.uniform(0.1, 0.9, (165, 170, 3))
RESTORED = np.clip(REFERENCE + RNG.normal(0, 0.1, REFERENCE.shape), 0, 1)
ORIGINAL = RNG.random(REFERENCE.shape)


@pytest.mark.parametrize("channel", [slice(None), 0])
def test_the_table_agrees_with_the_single_metrics(channel):
    restored, reference, original = (
        image[..., channel] for image in (RESTORED, REFERENCE, ORIGINAL)
    )
    colour = metrics.ciede2000(restored, reference)
    difference = np.abs(restored - original)
    expected = {
        "PSNR (dB)": metrics.psnr(restored, reference),
        "SSIM": metrics.ssim(restored, reference),
        "MS-SSIM": metrics.ms_ssim(restored, reference),
        "CIEDE2000 mean": colour.mean,
        "CIEDE2000 95 %": colour.p95,
        "At black (%)": 100 * (restored == 0).mean(),
        "At white (%)": 100 * (restored == 1).mean(),
        "Mean change (%)": 100 * difference.mean(),
        "Largest change (%)": 100 * difference.max(),
    }
    found = measure(restored, reference, original)
    assert list(found) == [metric.label for metric in METRICS]
    assert {label: found[label] for label in expected} == pytest.approx(expected)


def test_what_is_not_given_is_not_measured():
    small = RESTORED[:20, :20]
    assert [metric_of(label).needs for label in measure(small)] == ["nothing"] * 4
    assert set(measure(small, original=small)) - set(measure(small)) == {
        "Mean change (%)",
        "Largest change (%)",
    }
    with_reference = set(measure(small, small)) - set(measure(small))
    assert {metric_of(label).needs for label in with_reference} == {"reference"}


def test_nothing_is_called_psnr_without_a_reference():
    assert not any("PSNR" in label for label in measure(RESTORED, original=ORIGINAL))


@pytest.mark.parametrize(
    ("side", "missing"),
    [
        (161, set()),
        (160, {"MS-SSIM"}),
        (10, {"MS-SSIM", "SSIM"}),
        (2, {"MS-SSIM", "SSIM", "Noise (%)"}),
        (1, {"MS-SSIM", "SSIM", "Noise (%)"}),
    ],
)
def test_what_needs_a_larger_image_is_left_out(side: int, missing: set[str]):
    image = RESTORED[:side]
    assert {metric.label for metric in METRICS} - set(measure(image, image, image)) == missing


def test_the_same_image_is_honestly_infinite():
    small = RESTORED[:20, :20]
    found = measure(small, small, small)
    assert found["PSNR (dB)"] == math.inf
    assert found["SSIM"] == pytest.approx(1)
    assert found["CIEDE2000 mean"] == found["Largest change (%)"] == 0


def test_images_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="reference"):
        measure(RESTORED, REFERENCE[:-1])
    with pytest.raises(ValueError, match="original"):
        measure(RESTORED, REFERENCE, ORIGINAL[:-1])


def test_every_metric_says_what_it_is():
    assert len({metric.key for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.description.endswith(".")
        assert metric_of(metric.key) is metric_of(metric.label) is metric
    with pytest.raises(KeyError):
        metric_of("beauty")


def test_only_a_reference_tells_better_from_worse():
    for metric in METRICS:
        assert (metric.better == "neither") == (metric.needs != "reference")


def test_values_are_shown_with_their_digits():
    psnr = metric_of("psnr")
    assert psnr.text(29.916) == "29.92"
    assert psnr.text(math.inf) == "inf"
    assert psnr.text(math.nan) == "–"
    assert metric_of("ssim").text(0.81236) == "0.8124"


def test_measuring_in_bands_of_rows_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    image, reference, original = RESTORED[:40, :30], REFERENCE[:40, :30], ORIGINAL[:40, :30]
    whole = measure(image, reference, original)
    for rows in (1, 7, 39):
        monkeypatch.setattr(bands, "PIXELS_OF_BAND", rows * image.shape[1])
        assert measure(image, reference, original) == pytest.approx(whole, rel=1e-12)


def test_measuring_can_be_stopped():
    stop = threading.Event()
    stop.set()
    assert measure(RESTORED, REFERENCE, ORIGINAL, stop) == {}
