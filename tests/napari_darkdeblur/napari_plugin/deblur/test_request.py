"""Everything that is chosen is checked together, and what is wrong is said in a sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image

from napari_darkdeblur.errors import DarkDeblurError
from napari_darkdeblur.napari_plugin.deblur.machine import ModelInfo
from napari_darkdeblur.napari_plugin.deblur.options import Options
from napari_darkdeblur.napari_plugin.deblur.request import Request
from napari_darkdeblur.napari_plugin.settings import PluginSettings
from napari_darkdeblur.restore import RestoreOptions

from ...conftest import assert_sentence

MODEL = ModelInfo("tiny", Path("tiny.safetensors"), "A model.")


def grey(shape=(8, 9), dtype="uint16", **options) -> Image:
    return Image(np.zeros(shape, dtype), name="cells", **options)


def test_a_request_becomes_a_job():
    layer = grey((3, 8, 9))
    request = Request(
        layer, MODEL, "TYX", planes="current", options=Options(memory="4 GB", tile=64)
    )
    spec = request.spec((2, 0, 0))
    assert (spec.name, spec.axes) == ("cells", "TYX")
    assert spec.region.start == (2, 0, 0)
    assert spec.array is layer.data
    assert spec.options == RestoreOptions(
        MODEL.path, axes="TYX", value_range="auto", tile=64, memory=4 * 10**9
    )


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Request(None, MODEL), "no image layer"),
        (Request(grey(), None), "No model"),
        (Request(grey(), replace(MODEL, usable=False, summary="It is broken.")), "broken"),
        (Request(grey(dtype="bool"), MODEL), "bool"),
        (Request(grey(), MODEL, "TYX"), "TYX"),
        (Request(grey(), MODEL, "Y!"), "letters"),
        (Request(grey(), MODEL, area="shapes"), "Shapes layer"),
        (Request(grey(), MODEL, reference=grey((4, 4))), "shape"),
        (Request(grey(), MODEL, options=Options(memory="much")), "much"),
        (Request(grey(), MODEL, options=Options(values="given", black=5, white=5)), "above"),
    ],
)
def test_what_is_wrong_is_said(request_, says):
    with pytest.raises(DarkDeblurError, match=says) as raised:
        request_.spec((0, 0))
    assert_sentence(str(raised.value))


def test_an_image_is_not_its_own_reference():
    layer = grey()
    with pytest.raises(DarkDeblurError, match="itself"):
        Request(layer, MODEL, reference=layer).spec((0, 0))


def test_the_canvas_shows_an_area_in_2d_only():
    with pytest.raises(DarkDeblurError, match="2D"):
        Request(grey((3, 8, 9)), MODEL, area="visible").spec((0, 0, 0), ndisplay=3)


@pytest.mark.parametrize(
    ("values", "layer", "expected"),
    [
        ("auto", grey(), "auto"),
        ("data", grey(dtype="uint8"), "data"),
        ("contrast", grey(contrast_limits=(3, 700)), (3.0, 700.0)),
    ],
)
def test_black_and_white_follow_from_layer_and_choice(values, layer, expected):
    assert Options(values=values).value_range(layer) == expected


def test_options_go_into_the_settings_and_back():
    options = Options(
        device="cuda:0", tiling="exact", tile=128, memory="2 GB", output_dtype="float32"
    )
    settings = options.as_settings(PluginSettings(text_overlay=True))
    assert settings.text_overlay
    assert Options.of(settings) == replace(options, device="cuda")


def test_the_choice_by_itself_is_left_to_the_engine():
    auto = ModelInfo("auto", Path("auto"), "Chooses.", automatic=True)
    assert Request(grey(), auto).spec((0, 0)).options.model == "auto"
