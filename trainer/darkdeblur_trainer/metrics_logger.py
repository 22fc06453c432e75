"""Metrics, images and progress of a run: ``metrics.jsonl``, TensorBoard and the terminal."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from types import TracebackType

import torch
from torch import Tensor
from tqdm import tqdm

from napari_darkdeblur.atomic import atomic_write
from napari_darkdeblur.errors import DarkDeblurError

from .run_folder import RunFolder, records_up_to

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:  # the extra "train" is not installed
    SummaryWriter = None  # type: ignore[assignment,misc]


class MetricsError(DarkDeblurError, RuntimeError):
    """A run's metrics or images cannot be written; the message is for the user."""


class MetricsLogger:
    """Write a run's metrics and images to its folder and TensorBoard, and show its progress.

    Parameters
    ----------
    folder : RunFolder
        Folder of the run.
    step : int
        Number of steps done. Records beyond it, from a process that died after its last
        checkpoint, are dropped: they will be written again.
    steps : int
        Number of steps of the whole run.
    enabled : bool
        Whether this process logs; false on all ranks but rank 0.
    progress : bool
        Whether to show a bar on a terminal, or lines elsewhere.

    Raises
    ------
    MetricsError
        The files cannot be written; raised by every method, too.
    """

    def __init__(
        self, folder: RunFolder, step: int, steps: int, *, enabled: bool, progress: bool
    ) -> None:
        self.enabled = enabled
        self._samples = 0
        self._since = time.monotonic()
        self._lines = enabled and progress and not sys.stderr.isatty()
        self._steps = steps
        self._start = (step, time.monotonic())
        self._bar = tqdm(
            total=steps,
            initial=step,
            unit="step",
            dynamic_ncols=True,
            disable=not (enabled and progress and sys.stderr.isatty()),
        )
        self._show = enabled and progress
        self._writer = None
        if not enabled:
            return
        with self._writing():
            if folder.metrics.is_file():
                _, lines = records_up_to(folder.metrics, step)
                with atomic_write(folder.metrics) as part:
                    part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            self._stream = folder.metrics.open("a", encoding="utf-8")
            if SummaryWriter is not None:
                self._writer = SummaryWriter(str(folder.tensorboard), purge_step=step + 1)
            elif progress:
                print("tensorboard is not installed: numbers go to metrics.jsonl only.")

    def __enter__(self) -> MetricsLogger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
        if not self.enabled:
            return
        # Closing writes what is buffered; where that failed before, it fails again, and the
        # first error is the one to tell.
        first_error_wins = contextlib.suppress(MetricsError) if error else contextlib.nullcontext()
        with first_error_wins, self._writing():
            try:
                self._stream.close()
            finally:
                if self._writer is not None:
                    self._writer.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MetricsError(
                f"The run's numbers cannot be written: {error.strerror or error}; the last "
                "checkpoint is untouched."
            ) from error

    def sync(self) -> None:
        """Sync all records to the disk, before a checkpoint that relies on them."""
        if self.enabled:
            with self._writing():
                os.fsync(self._stream.fileno())
                if self._writer is not None:
                    self._writer.flush()

    def advance(self, samples: int) -> None:
        """Count a step of so many samples as done."""
        self._samples += samples
        self._bar.update()

    def scalars(self, step: int, values: dict[str, float], with_speed: bool = False) -> None:
        """Write scalars of a step, with the samples a second since the last time if asked for."""
        if not self.enabled:
            return
        if with_speed:
            now = time.monotonic()
            speed = self._samples / max(now - self._since, 1e-9)
            values = {**values, "samples_per_second": speed}
            self._samples, self._since = 0, now
            shown = f"loss {values['loss/total']:.4f}, {speed:.1f} samples/s"
            self._bar.set_postfix_str(shown)
            if self._lines:
                first, since = self._start
                left = (self._steps - step) * (now - since) / max(step - first, 1)
                print(f"step {step}/{self._steps}: {shown}, {left / 60:.0f} min left", flush=True)
        self._write("train", step, values)

    def validation(self, step: int, values: dict[str, float]) -> None:
        """Write the metrics of a validation, and show its PSNR."""
        if not self.enabled:
            return
        self._write("validation", step, values)
        gains = [
            f"{name.partition('/')[0]} {value:.2f} dB "
            f"({value - values[f'{name}_input']:+.2f} over the input)"
            for name, value in values.items()
            if name.endswith("/psnr")
        ]
        if self._show:
            tqdm.write(f"step {step}: validation PSNR {', '.join(gains)}", file=sys.stderr)

    def images(self, step: int, name: str, columns: list[Tensor]) -> None:
        """Write a grid to TensorBoard: a row for each image, a column for each kind of image."""
        if self._writer is None:
            return
        shown = [column[:4].float().clamp(0, 1).cpu() for column in columns]
        rows = [torch.cat([column[i] for column in shown], dim=2) for i in range(len(shown[0]))]
        with self._writing():
            self._writer.add_image(name, torch.cat(rows, dim=1), step)

    def _write(self, kind: str, step: int, values: dict[str, float]) -> None:
        with self._writing():
            self._stream.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
            self._stream.flush()
            if self._writer is not None:
                prefix = "validation/" if kind == "validation" else ""
                for name, value in values.items():
                    self._writer.add_scalar(prefix + name, value, step)
