"""Check that a built wheel holds what users need and nothing else.

Run by ``tox -e wheel`` with the folder that the wheel was built into.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

NEEDED = (
    "napari_darkdeblur/__init__.py",
    "napari_darkdeblur/napari.yaml",
    "napari_darkdeblur/napari_plugin/__init__.py",
    "napari_darkdeblur/py.typed",
    "napari_darkdeblur/weights/kernel-net.safetensors",
    "napari_darkdeblur/weights/small-v2.safetensors",
    "darkdeblur_trainer/__init__.py",
    "darkdeblur_trainer/py.typed",
    "darkdeblur_trainer/configs/paper.yaml",
    "darkdeblur_trainer/configs/release-paper.yaml",
    "darkdeblur_trainer/configs/small.yaml",
    "darkdeblur_trainer/configs/smoke.yaml",
)
LARGEST_MEGABYTES = 60


def problems(wheel: Path) -> list[str]:
    """Return what is wrong with a wheel, one sentence each."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    found = [f"{name} is missing" for name in NEEDED if name not in names]
    tops = {name.split("/")[0] for name in names}
    strangers = {
        top
        for top in tops
        if top not in ("napari_darkdeblur", "darkdeblur_trainer") and ".dist-info" not in top
    }
    found += [f"{stranger} does not belong into the wheel" for stranger in sorted(strangers)]
    if not any(name.endswith("licenses/LICENSE") for name in names):
        found.append("the licence is missing")
    megabytes = wheel.stat().st_size / 1e6
    if megabytes > LARGEST_MEGABYTES:
        found.append(f"{megabytes:.0f} MB are more than {LARGEST_MEGABYTES}")
    return found


def main() -> int:
    """Check the only wheel in the folder that is given."""
    (wheel,) = Path(sys.argv[1]).glob("*.whl")
    found = problems(wheel)
    for problem in found:
        print(f"{wheel.name}: {problem}")
    if not found:
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, complete")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
