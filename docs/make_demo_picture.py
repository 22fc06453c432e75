"""Make the README's picture, ``docs/images/demo.jpg``, from ``darkdeblur demo``.

Run it after the bundled weights have changed: ``python docs/make_demo_picture.py``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image

from napari_darkdeblur.cli import main

TARGET = Path(__file__).parent / "images" / "demo.jpg"

with tempfile.TemporaryDirectory() as folder:
    code = main(["demo", "--out", folder])
    if code:
        raise SystemExit(code)
    picture = Image.open(Path(folder) / "comparison.png").convert("RGB")
    TARGET.parent.mkdir(exist_ok=True)
    picture.save(TARGET, quality=88)
