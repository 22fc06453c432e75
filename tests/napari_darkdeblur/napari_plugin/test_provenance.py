"""A layer's record survives JSON, and leads back to the input."""

from __future__ import annotations

import json

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image

from napari_darkdeblur.napari_plugin.provenance import (
    METADATA_KEY,
    Provenance,
    input_of,
    provenance_of,
    record_input,
    results_of,
)


def made_of(layer: Image, kind: str = "restored") -> dict:
    return Provenance(kind=kind, input=record_input(layer), notes=("A note.",)).as_metadata()


def test_it_survives_json():
    known = Provenance(
        kind="restored", input=record_input(Image(np.zeros((2, 4, 5)))), black=3, white=400
    )
    again = json.loads(json.dumps(known.as_metadata()))
    assert provenance_of(Image(np.zeros((4, 5)), metadata=again)) == known


def test_the_input_is_found_after_renaming_and_by_name_after_saving():
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((4, 5)), name="cells")
    result = viewer.add_image(np.zeros((4, 5)), metadata=made_of(layer))
    layer.name = "renamed"
    assert input_of(result, viewer.layers) is layer
    assert results_of(layer, viewer.layers) == [result]
    viewer.layers.remove(layer)
    assert input_of(result, viewer.layers) is None
    opened = viewer.add_image(np.zeros((4, 5)), name="cells")
    assert input_of(result, viewer.layers) is opened


def test_other_kinds_are_not_results():
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((4, 5)))
    viewer.add_image(np.zeros((4, 5)), metadata=made_of(layer, "map"))
    assert results_of(layer, viewer.layers) == []


def test_foreign_and_broken_entries_are_passed_over():
    for entry in (None, "text", {"schema_version": 99, "kind": "restored"}, {"kind": 3}):
        layer = Image(np.zeros((4, 5)), metadata={METADATA_KEY: entry})
        assert provenance_of(layer) is None
    assert provenance_of(Image(np.zeros((4, 5)))) is None
