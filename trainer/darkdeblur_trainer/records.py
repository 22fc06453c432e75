"""What a run leaves behind: its folder, its numbers, its pictures."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import yaml
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm import tqdm

from napari_darkdeblur import __version__
from napari_darkdeblur.atomic import atomic_write
from napari_darkdeblur.errors import DarkDeblurError

from .config import ConfigError, TrainConfig
from .config_files import differences, parse_config

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:  # the extra "train" is not installed
    SummaryWriter = None  # type: ignore[assignment,misc]

_LOCK = ".lock"


def source_revision() -> str | None:
    """Return the git commit of this code, marked if it was changed since.

    Returns
    -------
    str or None
        None if the code does not run from a checkout of its own.
    """
    here = Path(__file__)
    # The first question is whether git knows this very file: an installed copy may lie in a
    # checkout of something else.
    known = _ask_git(here.parent, "ls-files", "--error-unmatch", here.name)
    commit = _ask_git(here.parent, "rev-parse", "HEAD")
    if known is None or commit is None:
        return None
    changed = _ask_git(here.parent, "status", "--porcelain", "--untracked-files=no")
    return f"{commit} with changes" if changed else commit


def _ask_git(folder: Path, *question: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", *question], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


class RecordError(DarkDeblurError, RuntimeError):
    """A run's numbers or pictures cannot be written; the message is for the user."""


class RunError(DarkDeblurError, ValueError):
    """A run's folder cannot be used; the message is for the user."""


class RunFolder:
    """A run's folder.

    ``config.yaml`` is the resolved configuration, ``run.json`` what else the run depended on,
    ``metrics.jsonl`` its numbers, ``weights.safetensors`` what the newest checkpoint holds for
    ``darkdeblur``, ``checkpoints/`` and ``tensorboard/`` the rest.

    Parameters
    ----------
    path : pathlib.Path
        Made by `prepare`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"
        self.weights = path / "weights.safetensors"
        self.tensorboard = path / "tensorboard"
        self._config = path / "config.yaml"
        self._facts = path / "run.json"

    def config(self) -> TrainConfig:
        """Return the run's configuration.

        Raises
        ------
        RunError
            The folder is not a run's, or the file is damaged.
        """
        if not self._config.is_file():
            raise RunError(f"{self.path} is not the folder of a run: it has no config.yaml.")
        try:
            return parse_config(yaml.safe_load(self._config.read_text(encoding="utf-8")))
        except (yaml.YAMLError, UnicodeDecodeError, ConfigError) as error:
            raise RunError(f"{self._config} is damaged: {error}") from error

    def precision(self) -> str | None:
        """Return what the networks of the run compute in; None if the folder holds no run.

        Raises
        ------
        RunError
            The run's configuration is damaged.
        """
        return self.config().precision if self._config.is_file() else None

    def facts(self) -> dict[str, Any]:
        """Return what `prepare` wrote about data and versions.

        Raises
        ------
        RunError
            The file is missing or damaged.
        """
        try:
            facts: dict[str, Any] = json.loads(self._facts.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{self._facts} is damaged: {error}") from error
        return facts

    def last_validation(self, step: int) -> dict[str, float]:
        """Return the last validation's numbers up to a step; empty if there was none."""
        if not self.metrics.is_file():
            return {}
        records, _ = _records_up_to(self.metrics, step)
        found = [record for record in records if record["kind"] == "validation"]
        return {k: v for k, v in found[-1].items() if k != "kind"} if found else {}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this folder; made if need be.

        Raises
        ------
        RunError
            Another process does, or the folder cannot be written or holds something else.
        """
        if self.path.exists() and not self._may_hold_run():
            raise RunError(f"{self.path} exists and is not the folder of a run.")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / _LOCK, timeout=0)
            lock.acquire()
        except Timeout as error:
            raise RunError(f"Another process is training in {self.path}.") from error
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror or error}.") from error
        try:
            yield
        finally:
            lock.release()

    def _may_hold_run(self) -> bool:
        """Whether the folder is a run's, or empty but for what a process killed early leaves."""
        if self._config.is_file():
            return True
        return self.path.is_dir() and all(
            path.name in (_LOCK, self._facts.name) or _is_part(path) for path in self.path.iterdir()
        )

    def prepare(
        self, config: TrainConfig, facts: dict[str, Any], measured: dict[str, Any] | None = None
    ) -> None:
        """Write what the run is, or check that the folder holds the same run.

        Parameters
        ----------
        config : TrainConfig
            The run's.
        facts : dict
            What else its results depend on; JSON values.
        measured : dict, optional
            What was measured before the run began, and its results do not depend on; JSON
            values. Of a run that goes on, what was written at its beginning is kept.

        Raises
        ------
        RunError
            It holds another run, or cannot be written.
        """
        code = {
            "version": __version__,
            "git_revision": source_revision(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        }
        codes, noted = [code], measured or {}
        if self._config.is_file():
            before = self.facts()
            changed = differences(self.config(), config)
            changed += [
                f"{key}: {before.get(key)} -> {value}"
                for key, value in facts.items()
                if before.get(key) != value
            ]
            if changed:
                raise RunError(
                    f"{self.path} holds a run that differs in what it computes "
                    f"({'; '.join(changed)}). Continue it with its own settings, or choose "
                    "another --out; --init starts a new run from its exported weights."
                )
            noted = {key: before[key] for key in before if key not in (*facts, "code")}
            codes = before["code"] if before["code"][-1] == code else [*before["code"], code]
        try:
            for part in filter(_is_part, self.path.iterdir()):
                part.unlink()
            with atomic_write(self._facts) as part:
                content = {**facts, **noted, "code": codes}
                part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            with atomic_write(self._config) as part:
                settings = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
                part.write_text(settings, encoding="utf-8")
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror or error}.") from error


def _is_part(path: Path) -> bool:
    return path.name.startswith(".") and ".part" in path.name


def _records_up_to(path: Path, step: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a metrics file's whole records up to a step, and their lines."""
    records, lines = [], []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # the line at which a process was killed
            continue
        if record["step"] <= step:
            records.append(record)
            lines.append(line)
    return records, lines


class Recorder:
    """Writes a run's numbers and pictures, and shows how it goes.

    Parameters
    ----------
    folder : RunFolder
        Where to.
    step, steps : int
        Where the run stands, and its length. Records beyond ``step``, from a process that died
        after its last checkpoint, are dropped: they will be written again.
    enabled : bool
        Off in all processes but the first.
    progress : bool
        Whether to show a bar on a terminal, or lines elsewhere.
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
                _, lines = _records_up_to(folder.metrics, step)
                with atomic_write(folder.metrics) as part:
                    part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            self._stream = folder.metrics.open("a", encoding="utf-8")
            if SummaryWriter is not None:
                self._writer = SummaryWriter(str(folder.tensorboard), purge_step=step + 1)
            elif progress:
                print("tensorboard is not installed: numbers go to metrics.jsonl only.")

    def __enter__(self) -> Recorder:
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
        first_error_wins = contextlib.suppress(RecordError) if error else contextlib.nullcontext()
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
            raise RecordError(
                f"The run's numbers cannot be written: {error.strerror or error}; the last "
                "checkpoint is untouched."
            ) from error

    def sync(self) -> None:
        """Put all records on the disk, where a checkpoint will vouch for them."""
        if self.enabled:
            with self._writing():
                os.fsync(self._stream.fileno())
                if self._writer is not None:
                    self._writer.flush()

    def advance(self, samples: int) -> None:
        """Note that a step is done."""
        self._samples += samples
        self._bar.update()

    def scalars(self, step: int, values: dict[str, float], with_speed: bool = False) -> None:
        """Write numbers of a step."""
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
        """Write and show what a validation measured."""
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
        """Write a grid to TensorBoard: one image a row, one kind a column."""
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
