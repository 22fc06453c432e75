"""The folder of a run: configuration, run information, lock, and where the rest lies."""

from __future__ import annotations

import contextlib
import json
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from filelock import FileLock, Timeout

from napari_darkdeblur import __version__
from napari_darkdeblur.atomic import atomic_write
from napari_darkdeblur.errors import DarkDeblurError

from .config import ConfigError, TrainConfig
from .config_files import differences, parse_config

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
        Folder of the run; `prepare` makes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"
        self.weights = path / "weights.safetensors"
        self.tensorboard = path / "tensorboard"
        self._config = path / "config.yaml"
        self._run_info = path / "run.json"

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

    def run_info(self) -> dict[str, Any]:
        """Return what `prepare` wrote about data and versions.

        Raises
        ------
        RunError
            The file is missing or damaged.
        """
        try:
            run_info: dict[str, Any] = json.loads(self._run_info.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{self._run_info} is damaged: {error}") from error
        return run_info

    def last_validation(self, step: int) -> dict[str, float]:
        """Return the last validation's numbers up to a step; empty if there was none."""
        if not self.metrics.is_file():
            return {}
        records, _ = records_up_to(self.metrics, step)
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
            path.name in (_LOCK, self._run_info.name) or _is_part(path)
            for path in self.path.iterdir()
        )

    def prepare(
        self, config: TrainConfig, run_info: dict[str, Any], measured: dict[str, Any] | None = None
    ) -> None:
        """Write what the run is, or check that the folder holds the same run.

        Parameters
        ----------
        config : TrainConfig
            Configuration of the run.
        run_info : dict
            Everything else that the run's results depend on; JSON values.
        measured : dict, optional
            Measurements made before the run began, on which its results do not depend; JSON
            values. A run that continues keeps those that were written at its beginning.

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
            before = self.run_info()
            changed = differences(self.config(), config)
            changed += [
                f"{key}: {before.get(key)} -> {value}"
                for key, value in run_info.items()
                if before.get(key) != value
            ]
            if changed:
                raise RunError(
                    f"{self.path} holds a run that differs in what it computes "
                    f"({'; '.join(changed)}). Continue it with its own settings, or choose "
                    "another --out; --init starts a new run from its exported weights."
                )
            noted = {key: before[key] for key in before if key not in (*run_info, "code")}
            codes = before["code"] if before["code"][-1] == code else [*before["code"], code]
        try:
            for part in filter(_is_part, self.path.iterdir()):
                part.unlink()
            with atomic_write(self._run_info) as part:
                content = {**run_info, **noted, "code": codes}
                part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            with atomic_write(self._config) as part:
                settings = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
                part.write_text(settings, encoding="utf-8")
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror or error}.") from error


def _is_part(path: Path) -> bool:
    return path.name.startswith(".") and ".part" in path.name


def records_up_to(path: Path, step: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the complete records of a metrics file up to a step, and their lines."""
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
