"""What a job will take, said before it is run. Measuring the network has a thread of its own."""

from __future__ import annotations

import math
import threading
from collections.abc import Generator
from dataclasses import dataclass

from ...errors import DarkDeblurError, sentence_of
from ...restore.units import format_bytes, format_duration
from ..torch_start import load_torch
from .job import JobSpec
from .result_store import goes_to_disk


@dataclass(frozen=True)
class Estimate:
    """What a job will take.

    Parameters
    ----------
    text : str
        For the user.
    problem : str
        Why it cannot be run; empty if it can.
    """

    text: str = ""
    problem: str = ""


def estimate_job(spec: JobSpec, stop: threading.Event) -> Generator[None, None, Estimate]:
    """Predict tiles, memory and time; a generator for `Background`, which raises nothing."""
    try:
        load_torch()
        yield
        from ...network.stages import GUIDES
        from ...restore import estimate

        plan, planes = estimate(spec.shape, spec.dtype, spec.options)
    except (DarkDeblurError, OSError) as error:
        return Estimate(problem=sentence_of(error))
    except Exception as error:
        return Estimate(problem=f"Nothing can be said about this job: {error}.")
    tiles = plan.tile_count * planes
    parts = [f"{planes} planes"] if planes > 1 else []
    parts.append("in one piece" if tiles == planes else f"{tiles} tiles")
    parts.append(f"about {format_bytes(plan.peak_bytes)}")
    parts.append(f"about {format_duration(plan.seconds * planes)}")
    if spec.options.known_psf == "auto" and GUIDES in plan.storage:
        parts.append("and the search for the shake before it")
    if goes_to_disk(spec.shape, spec.dtype):
        size = math.prod(spec.shape) * spec.dtype.itemsize
        parts.append(f"result of {format_bytes(size)} on the disk")
    return Estimate(", ".join(parts))
