"""Finding in a thread where the network guesses: with the model that restored a layer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DarkDeblurError, sentence_of
from ..background import Work
from ..deblur.job import Preparing
from ..torch_start import load_torch
from .measuring_job import Stopped

if TYPE_CHECKING:
    from ...network import LoadedModel
    from ...restore import Event, RestoreOptions
    from ..provenance import Provenance
    from .pictures import Picture

_log = logging.getLogger(__name__)


class ModelGoneError(DarkDeblurError):
    """The weights that restored a layer are not there any more."""


@dataclass(frozen=True)
class UncertaintyFound:
    """The spread was found.

    Parameters
    ----------
    picture : Picture
        Which part of the restored layer it belongs to.
    spread : ndarray of float32
        (h, w); see `napari_darkdeblur.restore.uncertainty`.
    """

    picture: Picture
    spread: NDArray[np.float32]


def finding_uncertainty(picture: Picture, original: Picture, made: Provenance) -> Work:
    """Return the work: it yields `Preparing` and events, and returns `UncertaintyFound`.

    Parameters
    ----------
    picture : Picture
        Part of the restored layer.
    original : Picture
        The same part of what it was made of.
    made : Provenance
        How it was restored.
    """

    def work(
        stop: threading.Event,
    ) -> Generator[Event | Preparing, None, UncertaintyFound | Stopped]:
        try:
            return (yield from _find(picture, original, made, stop))
        except (DarkDeblurError, OSError) as error:
            return Stopped(sentence_of(error))
        except Exception as error:
            _log.exception("The uncertainty of %r was not found", picture.name)
            text = " ".join(str(error).split()).rstrip(".")
            return Stopped(f"The uncertainty was not found: {type(error).__name__}: {text}.")

    return work


def _find(
    picture: Picture, original: Picture, made: Provenance, stop: threading.Event
) -> Generator[Event | Preparing, None, UncertaintyFound | Stopped]:
    yield Preparing("Loading PyTorch and the model")
    load_torch()
    from ...restore.events import Finished
    from ...restore.uncertainty import uncertainty

    options = _options(original, made)
    rows, columns = original.area.slices
    steps = uncertainty(
        original.array, options, plane=original.plane, rows=rows, columns=columns, stop=stop
    )
    result = None
    for event in steps:
        if isinstance(event, Finished):
            result = event.result
        else:
            yield event
    spread = getattr(result, "spread", None)
    if spread is None:
        assert result is not None
        return Stopped(result.message)
    return UncertaintyFound(picture, spread)


def _options(original: Picture, made: Provenance) -> RestoreOptions:
    """Return the options that the layer was restored by, as far as this machine can."""
    from ...restore import DeviceError, RestoreOptions

    chosen: dict[str, Any] = {
        name: made.options[name]
        for name in ("device", "precision", "tiling", "tile", "memory")
        if made.options.get(name) is not None
    }
    try:
        model = _model(made, chosen.get("device", "auto"), chosen.get("precision", "fp32"))
    except DeviceError:
        # It was restored on another machine.
        chosen |= {"device": "auto", "precision": "fp32"}
        model = _model(made, "auto", "fp32")
    return RestoreOptions(
        **chosen,
        model=model,
        axes=original.axes.letters,
        value_range=(original.values.black, original.values.white),
    )


def _model(made: Provenance, device: str, precision: Any) -> LoadedModel:
    """Load the weights that restored a layer, and no others."""
    from ...restore import load_model

    assert made.model is not None
    path = Path(str(made.options.get("model", "")))
    loaded = load_model(path if path.is_file() else made.model.name, device, precision)
    if made.model.sha256 and loaded.sha256 != made.model.sha256:
        raise ModelGoneError(
            f"The model {made.model.name!r} is not the one that restored the layer any more; "
            "restore it again, or bring back the earlier weights file."
        )
    return loaded
