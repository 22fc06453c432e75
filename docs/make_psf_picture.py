"""Make the picture of docs/psf.md: how a shake is found and undone, step by step.

Run it from the repository, after a new model or a change of the search:

    python docs/make_psf_picture.py

It shakes the demonstration's photograph, searches the shake as `auto` does, and writes
``docs/images/psf-steps.jpg``. It needs matplotlib (extra "train").
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from napari_darkdeblur import deblur
from napari_darkdeblur.demo import make_demo_pair
from napari_darkdeblur.network import load_weights
from napari_darkdeblur.network.guides import GUIDE_COUNTS, deconvolved
from napari_darkdeblur.psf import PSF
from napari_darkdeblur.psf.estimation import Search
from napari_darkdeblur.restore.search import ModelRestorer, learned_candidates

OUTPUT = Path(__file__).parent / "images" / "psf-steps.jpg"
# What is shown of the photograph: rows and columns.
DETAIL = (slice(300, 460), slice(90, 250))
BRIGHTER = 4.0


def shown(pixels: NDArray[np.floating]) -> NDArray[np.float32]:
    """Cut out the detail and brighten it in linear light, as the demonstration's picture is."""
    detail = np.clip(pixels[DETAIL], 0, 1)
    return np.clip(detail * BRIGHTER ** (1 / 2.2), 0, 1).astype(np.float32)


def main() -> None:
    """Search, restore, draw."""
    pair = make_demo_pair()
    blurred = pair.blurred.astype(np.float32) / 255
    model = load_weights()
    search = Search(blurred, ModelRestorer(model, linear_light=True))
    given = learned_candidates(search.image, True, torch.device("cpu"))
    best = max(search.candidates(32, given), key=lambda candidate: candidate.score)
    coarse = max(search.early, key=lambda candidate: candidate.score)
    psf = PSF(best.kernel, "found")
    picture = torch.from_numpy(blurred).permute(2, 0, 1)[None]
    guides = deconvolved(picture, torch.from_numpy(psf.kernel.copy())[None], True, GUIDE_COUNTS[-1])
    bold, _, calm, _, iterated = (
        guide[0].permute(1, 2, 0).numpy() for guide in guides.split(3, dim=1)
    )
    restored = deblur(blurred, model, "cpu", psf=psf, light="srgb")
    panels = [
        ("The blurred picture", shown(blurred)),
        ("Kernel at half the size", coarse.kernel),
        ("Kernel, refined", psf.kernel),
        ("Wiener filter, cautious", shown(calm)),
        ("Wiener filter, bold", shown(bold)),
        ("Richardson-Lucy, 20 times", shown(iterated)),
        ("What the network makes of it", shown(restored)),
        ("What it should be", shown(pair.reference.astype(np.float32) / 255)),
    ]
    figure = Figure(figsize=(12.4, 6.5), layout="constrained")
    for axes, (caption, pixels) in zip(figure.subplots(2, 4).flat, panels, strict=True):
        axes.set_title(caption, fontsize=12)
        axes.set_axis_off()
        if pixels.ndim == 2:
            axes.imshow(np.sqrt(pixels / pixels.max()), cmap="gray", interpolation="nearest")
        else:
            axes.imshow(pixels, interpolation="lanczos")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    OUTPUT.parent.mkdir(exist_ok=True)
    Image.open(drawn).convert("RGB").save(OUTPUT, quality=88)
    print(f"Wrote {OUTPUT}")


if __name__ == "__main__":
    main()
