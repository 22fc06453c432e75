"""Features come back from where they waited as they were."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_darkdeblur.network.stages import Feature
from napari_darkdeblur.rectangle import Rectangle
from napari_darkdeblur.restore.tiling.feature_store import (
    DiskFeatureStore,
    FeatureStore,
    MemoryFeatureStore,
    ScratchError,
)

CPU = torch.device("cpu")
FEATURE = Feature("x", 5, 4)
HEIGHT, WIDTH = 40, 64  # 10 × 16 cells


def stores(dtype: torch.dtype, folder: Path) -> list[FeatureStore]:
    return [
        MemoryFeatureStore(FEATURE, HEIGHT, WIDTH, dtype, CPU, CPU),
        DiskFeatureStore(FEATURE, HEIGHT, WIDTH, dtype, folder, CPU),
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_any_region_comes_back_bit_for_bit(dtype: torch.dtype, tmp_path: Path):
    whole = torch.randn(1, 5, 10, 16).to(dtype)
    rng = np.random.default_rng(0)
    for store in stores(dtype, tmp_path):
        for top in range(0, HEIGHT, 20):
            for left in range(0, WIDTH, 16):
                tile = Rectangle(top, left, 20, 16)
                # As a stage gives it: cut out of something larger.
                store.write(tile.crop(whole, 4), tile)
        for _ in range(20):
            top, left = 4 * rng.integers(0, 10), 4 * rng.integers(0, 16)
            region = Rectangle(
                int(top),
                int(left),
                int(4 * rng.integers(1, 11 - top // 4)),
                int(4 * rng.integers(1, 17 - left // 4)),
            )
            read = store.read(region)
            assert read.dtype == dtype
            assert torch.equal(read, region.crop(whole, 4))
        store.close()


def test_a_file_has_no_name_and_goes_with_the_store(tmp_path: Path):
    store = DiskFeatureStore(FEATURE, HEIGHT, WIDTH, torch.float32, tmp_path, CPU)
    store.write(torch.zeros(1, 5, 10, 16), Rectangle(0, 0, 40, 64))
    assert list(tmp_path.iterdir()) == []
    store.close()


def test_a_full_disk_is_said_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Full:
        def seek(self, place):
            pass

        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **kwargs: Full())
    store = DiskFeatureStore(FEATURE, HEIGHT, WIDTH, torch.float32, tmp_path, CPU)
    with pytest.raises(ScratchError, match="No space left") as caught:
        store.write(torch.zeros(1, 5, 10, 16), Rectangle(0, 0, 40, 64))
    assert str(tmp_path) in str(caught.value)
