"""``darkdeblur demo``: try it on a photograph that is spoilt on purpose."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import CommandError
from .options import add_model_options, add_overwrite, chosen_model, device_of, search_psf

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..metrics import Comparison
    from ..network import LoadedModel
    from ..restore.psfs import AnyPSF

DEMO_FOLDER = Path("darkdeblur-demo")
DEMO_FILES = ("blurred.png", "restored.png", "reference.png", "comparison.png")


def add_to(commands: Any) -> None:
    """Add the command to ``darkdeblur``'s."""
    parser = commands.add_parser(
        "demo",
        help="try it on a photograph that is spoilt on purpose",
        description="Darken, blur and add noise to a photograph that is installed already, "
        "restore it, and measure how near the result comes to the original.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=DEMO_FOLDER,
        metavar="DIR",
        help="the folder to write to (default: %(default)s)",
    )
    add_model_options(parser)
    add_overwrite(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from ..comparison import comparison_figure
    from ..demo import DETAILS, EXPOSURE, make_demo_pair
    from ..imagefiles import write_image
    from ..metrics import compare
    from ..restore import deblur

    folder: Path = arguments.out
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"{folder} is a file; name a folder with --out.")
    if not arguments.overwrite:
        existing = [name for name in DEMO_FILES if (folder / name).exists()]
        if existing:
            raise CommandError(
                f"{folder} holds {', '.join(existing)} already; pass --overwrite to "
                "replace the files of the last demo, or choose another folder with --out."
            )
    blurred, reference = make_demo_pair()
    model = chosen_model(arguments, blurred.shape[0] * blurred.shape[1])
    start = time.perf_counter()
    psf, said = _find_psf(blurred, model)
    restored = deblur(blurred, model, str(device_of(model)), psf=psf)
    seconds = time.perf_counter() - start

    # Of the 8-bit values, which is what the files hold.
    before = compare(blurred / 255, reference / 255)
    after = compare(restored / 255, reference / 255)
    figure = comparison_figure(
        (blurred, restored, reference),
        (
            f"blurred: PSNR {before.psnr:.2f} dB",
            f"restored: PSNR {after.psnr:.2f} dB",
            "reference: no blur, no noise",
        ),
        DETAILS,
        gain=1 / EXPOSURE,
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in zip(DEMO_FILES, (blurred, restored, reference, figure), strict=True):
        write_image(folder / name, pixels, overwrite=True)

    height, width = blurred.shape[:2]
    print(_table(before, after))
    if said:
        print(f"\n{said}.")
    print(
        f"\n{width} × {height} pixels restored with {model.name} on {device_of(model)} in "
        f"{seconds:.1f} s.\n"
    )
    for name in DEMO_FILES:
        print(folder / name)
    return 0


def _find_psf(blurred: NDArray[Any], model: LoadedModel) -> tuple[AnyPSF | None, str]:
    """Return the kernel that is to be used, and what is to be said of it."""
    from ..restore import RestoreOptions, takes_guides

    if not takes_guides(model.config):
        return None, ""
    options = RestoreOptions(model=model, device=device_of(model))
    found = search_psf(blurred, options, "finding the shake", leave=True)
    return found.to_use, f"{found.description}; {found.consequence}"


def _table(before: Comparison, after: Comparison) -> str:
    """Return PSNR, SSIM and CIEDE2000 of the blurred and of the restored image."""
    head = f"{'':<9}{'PSNR (dB)':>10}{'SSIM':>9}{'CIEDE2000 mean':>17}{'95 %':>8}"

    def row(name: str, values: Sequence[float], sign: str = "") -> str:
        psnr, ssim, mean, p95 = values
        return f"{name:<9}{psnr:>{sign}10.2f}{ssim:>{sign}9.4f}{mean:>{sign}17.2f}{p95:>{sign}8.2f}"

    # A colour difference is better the smaller it is.
    gain = (
        after.psnr - before.psnr,
        after.ssim - before.ssim,
        before.ciede2000_mean - after.ciede2000_mean,
        before.ciede2000_p95 - after.ciede2000_p95,
    )
    note = "(CIEDE2000 is a colour difference: less is better. Positive gains are better.)"
    return "\n".join(
        [head, row("blurred", before), row("restored", after), row("gain", gain, "+"), note]
    )
