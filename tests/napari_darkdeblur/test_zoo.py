"""Whatever people bring comes back as bright as it was, or costs one sentence."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from napari_darkdeblur.filejobs import FileJob, restore_file
from napari_darkdeblur.imagefiles import open_image
from napari_darkdeblur.restore import Finished, RestoreOptions, load_model

from .conftest import assert_sentence
from .zoo import zoo


def pixels_of(path: Path) -> tuple[Any, float]:
    """Return an image's pixels, and the value of its white."""
    with open_image(path) as image:
        pixels = np.asarray(image.pixels[...])
        dtype = pixels.dtype
        full = 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)
        return pixels, image.metadata.white or full


def test_no_file_of_the_zoo_fails_without_a_sentence(tmp_path: Path, identity: Path):
    # A network that changes nothing: so each file that can be restored must stay the same.
    options = RestoreOptions(load_model(identity, "cpu"), "cpu")
    seen: dict[str, list[str]] = {"done": [], "failed": []}
    for name, write in zoo():
        source = tmp_path / name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the programs that wrote it
            write(source)
        suffix = source.suffix if source.suffix in (".tif", ".zarr") else ".png"
        target = tmp_path / f"restored-{name}{suffix}"
        *_, last = restore_file(FileJob(source, target), options)
        assert isinstance(last, Finished)
        result = last.result
        seen[result.status].append(name)
        if result.status == "failed":
            assert_sentence(result.message)
            assert name in result.message or "The image" in result.message
            assert not target.exists(), name
            continue
        for note in (result.range_text, *result.notes):
            assert_sentence(note)
        before, white = pixels_of(source)
        after, white_after = pixels_of(target)
        assert after.dtype == before.dtype, name
        if white == white_after:
            np.testing.assert_array_equal(after.squeeze(), before.squeeze(), name)
        else:  # from fewer bits to all of another format
            np.testing.assert_allclose(
                after.squeeze() / white_after,
                before.squeeze() / white,
                atol=1 / white,
                err_msg=name,
            )
    assert len(seen["done"]) + len(seen["failed"]) > 300
    # Most of what is whole is restored; what is refused is what should be.
    whole = [name for name in seen["failed"] if not name.startswith(("cut", "scratched"))]
    refused = {
        "refused-bool.tif", "refused-c8.tif", "darker-float.tif", "CMYK.tif", "YCbCr.tif",
        "LAB.tif", "1.tif", "no-pages.tif", "circle.tif", "huge.tif", "empty.zarr", "1.png",
        "1.webp", "1.bmp", "1.gif", "moving.png", "moving.gif", "moving.webp", "CMYK.jpg",
    }  # fmt: skip
    others = {name for name in whole if not name.startswith(("text.", "noise."))}
    assert others <= refused, others - refused
