"""Restoring the selected image without a widget: one command, with the settings' defaults."""

import functools
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QTimer

from ...errors import DarkDeblurError
from ...weights import AUTO_MODEL
from ..provenance import input_of
from ..settings import read_settings
from .job_runner import REMOVED, JobRunner
from .request import Blur, Options, Request, RequestError

if TYPE_CHECKING:
    import napari.viewer

# Nobody else holds on to them.
_under_way: set[JobRunner] = set()


def deblur_quick(viewer: "napari.viewer.Viewer") -> None:
    """Restore all planes of the selected image layer in the background.

    The result becomes a new layer. How it goes is seen in the activity dock, where it can be
    cancelled; how it ended is said in a notification.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        In which exactly one image layer is selected.
    """
    settings = read_settings()
    try:
        layer = _selected_image(viewer)
        request = Request(
            layer=layer,
            model=AUTO_MODEL,
            blur=Blur("auto" if settings.blur == "find" else "none"),
            options=Options.of(settings),
            results_folder=settings.results_folder,
        )
        spec = request.spec(viewer.dims.point)
        runner = JobRunner(viewer)
        runner.finished.connect(functools.partial(_report, viewer))
        runner.start(layer, spec)
    except DarkDeblurError as error:
        show_warning(str(error))
        return
    _under_way.add(runner)
    show_info(
        f"{layer.name} is being restored; the activity dock shows how far it is, and can cancel it."
    )


def _selected_image(viewer: "napari.viewer.Viewer") -> Image:
    images = [layer for layer in viewer.layers.selection if isinstance(layer, Image)]
    if len(images) != 1:
        found = f"{len(images)} are" if images else "none is"
        raise RequestError(f"Select one image layer to restore it: {found} selected.")
    return images[0]


def _report(viewer: "napari.viewer.Viewer", outcome: Any, layer: Any) -> None:
    # It is the runner that says so: it must not be gone before it has ended saying it.
    QTimer.singleShot(0, _let_go)
    if outcome.status == "failed":
        show_warning(outcome.message)
    elif layer is None:
        show_info(outcome.message)
    else:
        told = "".join(f" {sentence}" for sentence in outcome.result.notes)
        if input_of(layer, viewer.layers) is None:
            told = f" {REMOVED}{told}"
        show_info(f"{layer.name} is there.{told}")


def _let_go() -> None:
    _under_way.difference_update([runner for runner in _under_way if not runner.busy])
