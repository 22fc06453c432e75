"""The weights that ship do what the README says they do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_darkdeblur import deblur
from napari_darkdeblur.demo import make_demo_pair
from napari_darkdeblur.metrics import compare
from napari_darkdeblur.network import DEFAULT_MODEL, ModelEntry, list_models, load_weights

REPOSITORY = Path(__file__).parents[2]
BUNDLED = [entry for entry in list_models() if entry.origin == "bundled"]


def test_the_default_model_is_bundled():
    assert DEFAULT_MODEL in {entry.name for entry in BUNDLED}


@pytest.mark.parametrize("entry", BUNDLED, ids=lambda entry: entry.name)
def test_bundled_weights_load_and_their_card_names_their_digest(entry: ModelEntry):
    model = load_weights(entry.path)
    assert model.card.summary
    assert model.card.licence
    card = (REPOSITORY / "docs" / "models" / f"{entry.name}.md").read_text(encoding="utf-8")
    assert model.sha256 in card


def test_the_demonstration_s_shake_is_found_and_undone():
    blurred, reference = make_demo_pair()
    before = compare(blurred / 255, reference / 255)
    after = compare(deblur(blurred, psf="auto") / 255, reference / 255)
    assert after.psnr - before.psnr >= 4
    assert after.ssim > before.ssim
    assert after.ciede2000_mean < before.ciede2000_mean


def test_the_demonstration_is_sharper_not_only_smoother():
    # Blurred but without noise: what is gained here is not gained by smoothing.
    _, reference = make_demo_pair()
    blurred = noiseless_demo()
    before = compare(blurred / 255, reference / 255)
    after = compare(deblur(blurred) / 255, reference / 255)
    assert after.psnr > before.psnr


def noiseless_demo() -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_darkdeblur.demo.add_noise", lambda light: light)
        return make_demo_pair().blurred
