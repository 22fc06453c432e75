"""Synthesised pairs: blur, light and noise do what they are said to do."""

from __future__ import annotations

import functools
import io

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from scipy.signal import convolve

from darkdeblur_trainer.synthesis import Degradation, PairSynthesizer
from darkdeblur_trainer.synthesis.jpeg import jpeg, jpeg_tables
from darkdeblur_trainer.synthesis.poisson import poisson
from napari_darkdeblur.network.guides import linear_to_srgb, srgb_to_linear

from ..conftest import scene

TABLES = jpeg_tables(torch.device("cpu"))
CLEAN = {"gaussian_noise": 0.0, "kernel_length": (4, 12)}


def _sharp(synthesizer: PairSynthesizer, batch: int, side: int = 48) -> torch.Tensor:
    side += 2 * synthesizer.margin
    images = [scene(side, side, seed) for seed in range(batch)]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def test_blur_is_the_valid_convolution_with_the_returned_kernel():
    synthesizer = PairSynthesizer([Degradation(**CLEAN)], seed=1)
    sharp = _sharp(synthesizer, 3)
    pairs = synthesizer(sharp, [5, 6, 7])
    m = synthesizer.margin
    for sample in range(3):
        kernel = pairs.kernels[sample].numpy().astype(float)
        for channel in range(3):
            plane = sharp[sample, channel].numpy() / 255
            expected = convolve(plane, kernel, mode="valid")
            assert np.abs(pairs.blurred[sample, channel].numpy() - expected).max() < 1e-5
        assert torch.allclose(pairs.sharp[sample], sharp[sample, :, m:-m, m:-m] / 255)


def test_a_pair_depends_on_its_index_not_on_its_batch():
    synthesizer = PairSynthesizer(_both(), seed=1)
    sharp = _sharp(synthesizer, 3)
    together = synthesizer(sharp, [1023, 1024, 7])
    again = PairSynthesizer(_both(), seed=1)
    for place, index in enumerate((1023, 1024, 7)):
        alone = again(sharp[place : place + 1], [index])
        assert torch.allclose(alone.blurred[0], together.blurred[place], atol=1e-6)
        assert torch.allclose(alone.sharp[0], together.sharp[place], atol=1e-6)
    other_seed = PairSynthesizer(_both(), seed=2)(sharp, [1023, 1024, 7])
    assert not torch.allclose(other_seed.blurred, together.blurred)


def _both() -> list[Degradation]:
    return [
        Degradation(preset="paper", kernel_length=(4, 12)),
        Degradation(
            preset="night",
            blur_radius=(1, 3),
            camera_turn_probability=0.2,
            moving_object_probability=0.2,
        ),
    ]


def test_a_gpus_way_of_making_pairs_gives_the_same_pairs():
    # All samples go through all steps, and take what is theirs.
    by_degradation = PairSynthesizer(_both(), seed=1)
    together = PairSynthesizer(_both(), seed=1, fixed_shapes=True)
    sharp = _sharp(by_degradation, 12)
    one, other = by_degradation(sharp, range(12)), together(sharp, range(12))
    assert torch.allclose(one.blurred, other.blurred, atol=1e-6)
    assert torch.allclose(one.sharp, other.sharp, atol=1e-6)


def test_the_blurred_picture_without_noise_is_given_if_asked_for_and_changes_no_pair():
    by_degradation = PairSynthesizer(_both(), seed=1)
    together = PairSynthesizer(_both(), seed=1, fixed_shapes=True)
    sharp = _sharp(by_degradation, 4)
    plain = by_degradation(sharp, range(4))
    one, other = (make(sharp, range(4), clean=True) for make in (by_degradation, together))
    assert plain.clean is None
    assert torch.equal(one.blurred, plain.blurred)
    assert torch.allclose(one.clean, other.clean, atol=1e-6)
    noise = (one.clean - one.blurred).abs().amax(dim=(1, 2, 3))
    assert (noise > 1e-3).all()


def test_the_steps_compile_as_one_graph_each(monkeypatch):
    compile_ = functools.partial(torch.compile, backend="aot_eager", fullgraph=True)
    monkeypatch.setattr(torch, "compile", compile_)
    compiled = PairSynthesizer(_both(), seed=1, compile=True)
    sharp = _sharp(compiled, 4)
    for samples in (range(4), range(4, 8)):
        with torch._dynamo.config.patch(error_on_recompile=samples.start > 0):
            pairs = compiled(sharp, samples)
        expected = PairSynthesizer(_both(), seed=1)(sharp, samples)
        assert torch.allclose(pairs.blurred, expected.blurred, atol=1e-6)


def test_gamma_darkens_both_images_and_keeps_black_and_white():
    settings = {**CLEAN, "unblurred": 1.0, "gamma": (1.5, 1.5)}
    synthesizer = PairSynthesizer([Degradation(**settings)], seed=0)
    sharp = torch.zeros(1, 3, 3 + 2 * synthesizer.margin, 1 + 2 * synthesizer.margin)
    sharp[:, :, synthesizer.margin + 1] = 0.25
    sharp[:, :, synthesizer.margin + 2 :] = 1.0
    pairs = synthesizer(sharp, [0])
    for image in (pairs.blurred, pairs.sharp):
        assert image[0, 0, :, 0].tolist() == pytest.approx([0, 0.125, 1], abs=1e-5)


def test_presets_are_drawn_by_their_shares():
    settings = [
        Degradation(preset="paper", share=3, exposure=(1, 1), **CLEAN),
        Degradation(preset="paper", share=1, exposure=(0.5, 0.5), **CLEAN),
    ]
    synthesizer = PairSynthesizer(settings, seed=0)
    white = torch.ones(400, 3, 1 + 2 * synthesizer.margin, 1 + 2 * synthesizer.margin)
    pairs = synthesizer(white, range(400))
    dark = (pairs.sharp.flatten(1)[:, 0] < 0.75).float().mean()
    assert float(dark) == pytest.approx(0.25, abs=0.08)


def test_unblurred_samples_without_noise_are_their_own_target():
    synthesizer = PairSynthesizer([Degradation(unblurred=1.0, **CLEAN)], seed=0)
    pairs = synthesizer(_sharp(synthesizer, 2), range(2))
    assert torch.allclose(pairs.blurred, pairs.sharp, atol=1e-5)


def test_exposure_scales_linear_light_of_both_images():
    cut = Degradation(preset="night", exposure=(0.25, 0.25), **_noiseless())
    synthesizer = PairSynthesizer([cut], seed=0)
    grey = torch.full((1, 3, 1 + 2 * synthesizer.margin, 1 + 2 * synthesizer.margin), 0.5)
    pairs = synthesizer(grey, range(1))
    expected = float(linear_to_srgb(srgb_to_linear(torch.tensor(0.5)) * 0.25))
    assert pairs.sharp.flatten().tolist() == pytest.approx([expected] * 3, abs=1e-5)
    # Rounded to 8 bits.
    assert pairs.blurred.flatten().tolist() == pytest.approx([expected] * 3, abs=0.5 / 255 + 1e-5)


def _noiseless() -> dict:
    return {
        "shot_gain": None,
        "read_noise": None,
        "jpeg_probability": 0.0,
        "highlight_probability": 0.0,
        "blur_radius": (2, 2),
        "camera_turn_probability": 0.0,
        "moving_object_probability": 0.0,
        "unblurred": 0.0,
    }


def test_saturated_lights_leave_streaks():
    def saturated_pixels(probability: float) -> int:
        settings = {
            **_noiseless(),
            "highlight_probability": probability,
            "lamps": 0,
            "blur_radius": (6, 6),
            "markov_shake": 0,
            "smooth_shake": 0,
            "defocus_disc": 0,
        }
        night = Degradation(
            preset="night", exposure=(0.1, 0.1), highlight_gain=(10, 10), **settings
        )
        synthesizer = PairSynthesizer([night], seed=0)
        side = 31 + 2 * synthesizer.margin
        lamp = torch.zeros(1, 3, side, side)
        lamp[..., side // 2 - 1 : side // 2 + 2, side // 2 - 1 : side // 2 + 2] = 1
        pairs = synthesizer(lamp, range(1))
        return int((pairs.blurred > 0.99).sum())

    assert saturated_pixels(0.0) == 0
    # The lamp is nine pixels; its streak saturates far more than those.
    assert saturated_pixels(1.0) > 3 * 9


def test_a_white_sky_is_no_lamp():
    settings = {**_noiseless(), "highlight_probability": 1.0, "lamps": 0}
    night = Degradation(preset="night", exposure=(0.25, 0.25), highlight_gain=(8, 8), **settings)
    synthesizer = PairSynthesizer([night], seed=0)
    side = 128 + 2 * synthesizer.margin
    sky = torch.ones(1, 3, side, side)
    lamp = torch.zeros(1, 3, side, side)
    lamp[..., side // 2 - 3 : side // 2 + 3, side // 2 - 3 : side // 2 + 3] = 1
    assert float(synthesizer(sky, range(1)).sharp.max()) < 0.6
    assert float(synthesizer(lamp, range(1)).sharp.max()) > 0.999


def test_a_soft_lens_softens_both_images():
    def spread(deviation: float) -> list[float]:
        settings = {**_noiseless(), "unblurred": 1.0, "softness": (deviation, deviation)}
        soft = Degradation(preset="night", exposure=(1, 1), linear_light=False, bits=0, **settings)
        synthesizer = PairSynthesizer([soft], seed=0)
        side = 33 + 2 * synthesizer.margin
        point = torch.zeros(1, 3, side, side)
        point[..., side // 2, side // 2] = 1
        pairs = synthesizer(point, range(1))
        offset = torch.arange(33) - 16
        return [
            float((image[0, 0].sum(dim=0) * offset.square()).sum() / image[0, 0].sum())
            for image in (pairs.blurred, pairs.sharp)
        ]

    assert spread(0.0) == pytest.approx([0, 0], abs=1e-3)
    assert spread(1.5) == pytest.approx([1.5**2] * 2, rel=0.02)


def test_lamps_are_put_into_the_scene_and_leave_streaks():
    settings = {**_noiseless(), "highlight_probability": 1.0, "lamps": 8}
    night = Degradation(preset="night", exposure=(1, 1), **settings)
    synthesizer = PairSynthesizer([night], seed=0)
    dark = torch.zeros(16, 3, 128 + 2 * synthesizer.margin, 128 + 2 * synthesizer.margin)
    pairs = synthesizer(dark, range(16))
    # Zero to eight each, some of them beyond the border.
    shown = (pairs.sharp.amax(dim=(1, 2, 3)) > 0.5).float().mean()
    assert 0.5 < float(shown) < 1
    assert (pairs.blurred > 0.05).sum() > 2 * (pairs.sharp > 0.05).sum()


def test_lamps_have_the_size_that_was_asked_for():
    settings = {**_noiseless(), "highlight_probability": 1.0, "lamps": 8, "unblurred": 1.0}

    def brightened(radius: float) -> int:
        night = Degradation(
            preset="night", exposure=(1, 1), lamp_radius=(radius, radius), **settings
        )
        synthesizer = PairSynthesizer([night], seed=0)
        dark = torch.zeros(16, 3, 128 + 2 * synthesizer.margin, 128 + 2 * synthesizer.margin)
        return int((synthesizer(dark, range(16)).sharp > 0.5).sum())

    # The area of discs, but for those at the border.
    assert brightened(12) == pytest.approx(9 * brightened(4), rel=0.25)


def test_a_turning_camera_blurs_the_corners_more_than_the_middle():
    settings = {**_noiseless(), "blur_radius": (0.7, 0.7), "camera_turn": (5, 5)}
    turning = settings | {"camera_turn_probability": 0.25}
    side = 128
    noise = torch.rand(4, 3, side + 100, side + 100)

    def loss_of_contrast(given: dict) -> list[float]:
        night = Degradation(preset="night", exposure=(1, 1), bits=0, **given)
        synthesizer = PairSynthesizer([night], seed=0)
        m = synthesizer.margin
        wide = noise[:, :, 50 - m : 50 + side + m, 50 - m : 50 + side + m]
        pairs = synthesizer(wide, range(4))
        assert pairs.uniform.tolist() == [given is settings, True, True, True]
        parts = (pairs.blurred[0, :, 54:74, 54:74], pairs.blurred[0, :, :20, :20])
        return [float(part.std()) for part in parts]

    still, turned = loss_of_contrast(settings), loss_of_contrast(turning)
    assert turned[0] == pytest.approx(still[0], rel=0.3)
    assert turned[1] < 0.6 * still[1]


def test_an_object_moves_before_a_background_that_stays():
    settings = _noiseless() | {"blur_radius": (4, 4), "moving_object_probability": 0.25}
    night = Degradation(preset="night", exposure=(1, 1), **settings)
    still = night.model_copy(update={"moving_object_probability": 0.0})
    synthesizer = PairSynthesizer([night], seed=0)
    sharp = _sharp(synthesizer, 8, side=96)
    pairs, others = synthesizer(sharp, range(8)), PairSynthesizer([still], seed=0)
    other = others(sharp, range(8))
    changed = (pairs.blurred - other.blurred).abs().amax(dim=1) > 2 / 255
    assert pairs.uniform.tolist() == [True, True, False, True] * 2
    share = changed.float().mean(dim=(1, 2)).tolist()
    assert all((0 < s < 0.9) == (not u) for s, u in zip(share, pairs.uniform, strict=True))


@pytest.mark.parametrize("mean", [0.0, 0.05, 1.0, 3.9, 4.1, 20.0, 500.0])
def test_poisson_numbers_have_mean_and_variance(mean):
    uniform = (torch.arange(200_000) + 0.5) / 200_000  # every quantile once
    numbers = poisson(torch.full_like(uniform, mean), uniform)
    assert torch.equal(numbers, numbers.round())
    assert float(numbers.mean()) == pytest.approx(mean, rel=0.01, abs=1e-3)
    assert float(numbers.var()) == pytest.approx(mean, rel=0.02, abs=1e-3)


def test_sensor_noise_has_the_variance_that_gain_and_read_noise_give():
    settings = _noiseless() | {"shot_gain": (2e-3, 2e-3), "read_noise": (5e-3, 5e-3)}
    night = Degradation(preset="night", exposure=(1, 1), linear_light=False, bits=0, **settings)
    synthesizer = PairSynthesizer([night], seed=0)
    side = 128 + 2 * synthesizer.margin
    grey = torch.full((1, 3, side, side), 0.5)
    noise = synthesizer(grey, range(1)).blurred - 0.5
    assert float(noise.var()) == pytest.approx(2e-3 * 0.5 + 5e-3**2, rel=0.05)


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_jpeg_is_what_pillow_makes_of_it(quality):
    # Slowly changing colour: decoders may enlarge the halved chroma as they like.
    detail = scene(64, 80, 4)[:, :, :1].astype(float)
    tint = np.linspace(0, 60, 80)[None, :, None] * np.array([1.0, 0.0, -1.0])
    image = np.clip(detail * 0.6 + 50 + tint, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality, subsampling="4:2:0")
    theirs = np.asarray(Image.open(stream)).astype(float)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    ours = jpeg(tensor, torch.tensor([float(quality)]), TABLES)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(ours - theirs).mean() < min(1.5, 0.8 * np.abs(theirs - image).mean())


def test_jpeg_quality_is_per_image():
    image = torch.from_numpy(scene(64, 64, 4)).permute(2, 0, 1)[None] / 255
    both = jpeg(image.repeat(2, 1, 1, 1), torch.tensor([20.0, 95.0]), TABLES)
    errors = (both - image).abs().mean(dim=(1, 2, 3))
    assert errors[0] > 2 * errors[1]


def test_a_setting_overrides_its_preset():
    night = Degradation.model_validate("night")
    changed = Degradation.model_validate({"preset": "night", "bits": 12})
    assert changed.bits == 12
    assert changed.shot_gain == night.shot_gain


@pytest.mark.parametrize(
    "wrong",
    [
        {"preset": "dusk"},
        {"kernel_lenght": [4, 8]},
        {"kernel_length": [8, 4]},
        {"kernel_length": [8, 201]},
        {"exposure": [1, float("inf")]},
        {"share": float("inf")},
        {"gaussian_noise": float("nan")},
        {"exposure": [0, 1]},
        {"jpeg_quality": [0, 95]},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        Degradation.model_validate(wrong)
