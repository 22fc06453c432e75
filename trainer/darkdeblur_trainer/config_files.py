"""Configurations as people write them: YAML files, and settings on the command line."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from napari_darkdeblur.network.peers import ARCHITECTURES

from .config import GENERATORS, ConfigError, TrainConfig
from .synthesis.degradation import Degradation

Section = TypeVar("Section", bound=BaseModel)

# Keys that change how a run is carried out or watched, but not what it computes: they may
# differ between a run and its continuation.
RUNTIME_KEYS = ("data.workers", "log", "checkpoint", "validation.every")


def bundled_configs() -> dict[str, Path]:
    """Return the configurations that ship with the trainer, by name."""
    folder = Path(str(files("darkdeblur_trainer") / "configs"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read and validate a configuration.

    Parameters
    ----------
    name_or_path : str
        Name of a bundled one (``"small"``), or a YAML file.
    overrides : sequence of str
        ``"key.sub=value"`` each, the value in YAML.

    Raises
    ------
    ConfigError
        The file is missing or not YAML, a key is unknown, a value is out of range.
    """
    bundled = bundled_configs()
    path = bundled.get(name_or_path, Path(name_or_path))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"There is no configuration {name_or_path!r}: neither a file nor one of the "
            f"bundled {sorted(bundled)}."
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {_on_one_line(error)}.") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a {type(content).__name__}, not keys and values.")
    for override in overrides:
        _apply_override(content, override)
    return parse_config(content)


def parse_override(override: str) -> tuple[str, Any]:
    """Divide ``"key.sub=value"`` and read the value; see `parse_value`.

    Raises
    ------
    ConfigError
        There is no key or no equals sign, or the value is not YAML.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"A setting is written key=value, {override!r} is not.")
    try:
        return key, parse_value(text)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error


def parse_value(text: str) -> Any:
    """Read a value that was given on the command line.

    Raises
    ------
    ConfigError
        It is not YAML.
    """
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-45
        raise ConfigError(f"{text!r} is not YAML: {_on_one_line(error)}.") from error
    # YAML 1.1 reads 1e-4 (no point) as text; people write numbers so.
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    return value


def _on_one_line(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        mark = error.problem_mark
        return f"{error.problem} in line {mark.line + 1}, column {mark.column + 1}"
    return " ".join(str(error).split())


def parse_config(content: dict[str, Any]) -> TrainConfig:
    """Validate a configuration that was read from YAML or JSON.

    Raises
    ------
    ConfigError
        A key is unknown (the nearest valid one is named), or a value is out of range.
    """
    return parse_section(TrainConfig, content)


def parse_section(section: type[Section], content: dict[str, Any]) -> Section:
    """Validate one section of a configuration; see `parse_config`."""
    try:
        return section.model_validate(content)
    except ValidationError as error:
        raise ConfigError(" ".join(_sentences(error, section))) from error


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Return, as ``"key: old -> new"``, what differs and would change a run's results."""
    flat_old, flat_new = (dict(_flatten(config.model_dump(mode="json"))) for config in (old, new))
    return [
        f"{key}: {flat_old.get(key)} -> {flat_new.get(key)}"
        for key in sorted(flat_old.keys() | flat_new.keys())
        if flat_old.get(key) != flat_new.get(key)
        and not any(key == runtime or key.startswith(f"{runtime}.") for runtime in RUNTIME_KEYS)
    ]


def _flatten(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(content, list) and any(isinstance(value, dict) for value in content):
        for place, value in enumerate(content):
            yield from _flatten(value, f"{prefix}.{place}")
    else:
        yield prefix, content


def _apply_override(content: dict[str, Any], override: str) -> None:
    key, value = parse_override(override)
    *parents, last = key.split(".")
    here: Any = content
    default: Any = TrainConfig()
    for place, parent in enumerate(parents):
        default = _inside(default, parent)
        slot = _slot(here, parent, parents[:place])
        given = here.get(slot) if isinstance(here, dict) else here[slot]
        if not isinstance(given, (dict, list)):
            # What is changed in part must be there in full: a short form, such as losses.l1: 1.0
            # or synthesis: [night], gives way to the long one, and what the file leaves out to
            # its default.
            here[slot] = _long_form(parent, given) if given is not None else _written(default)
        here = here[slot]
    here[_slot(here, last, parents)] = value


def _slot(here: dict[str, Any] | list[Any], part: str, path: Sequence[str]) -> Any:
    """Return what indexes one part of a key."""
    if isinstance(here, dict):
        return part
    if not part.isdecimal() or int(part) >= len(here):
        raise ConfigError(f"{'.'.join(path)} is a list and has no entry {part!r}.")
    return int(part)


def _inside(default: Any, part: str) -> Any:
    """Return one part of a default; None if there is no such part."""
    if isinstance(default, BaseModel):
        return getattr(default, part) if part in type(default).model_fields else None
    if isinstance(default, tuple) and part.isdecimal() and int(part) < len(default):
        return default[int(part)]
    return None


def _written(default: Any) -> Any:
    """Return a default as one would write it into a file; {} if there is none."""
    if default is None:
        return {}
    if isinstance(default, Degradation):
        # Only what its preset does not say, so that another preset can take its place.
        preset = Degradation.model_validate(default.preset)
        changed = {name: value for name, value in default if value != getattr(preset, name)}
        return {"preset": default.preset, **changed}
    if isinstance(default, BaseModel):
        return {name: _written(value) for name, value in default if value is not None}
    if isinstance(default, tuple):
        return [_written(value) for value in default]
    return default


def _long_form(key: str, short: Any) -> dict[str, Any]:
    if key == "generator" and short in GENERATORS:
        return GENERATORS[short]().model_dump()
    if isinstance(short, str):
        return {"preset": short}
    return {"weight": short}


def _sentences(error: ValidationError, root: type[BaseModel]) -> Iterator[str]:
    for problem in error.errors():
        # Which of several kinds of section was meant is no part of its key.
        parts = [str(part) for part in problem["loc"] if part not in ARCHITECTURES]
        key = ".".join(parts)
        if problem["type"] == "extra_forbidden":
            valid = _keys_at(root, parts[:-1])
            close = difflib.get_close_matches(parts[-1], valid, n=1, cutoff=0.0)
            hint = f"the nearest valid one is {'.'.join([*parts[:-1], *close])!r}"
            yield f"There is no key {key!r}; {hint}."
        else:
            message = problem["msg"].removeprefix("Value error, ")
            given = problem["input"]
            # Our own validators' messages (value_error) are complete.
            whole = problem["type"] == "value_error" or isinstance(given, (dict, list, tuple))
            shown = "" if whole else f", not {given!r}"
            if parts:
                yield f"{key}: {message[0].lower()}{message[1:]}{shown}."
            else:
                yield f"{message[0].upper()}{message[1:]}{shown}."


def _keys_at(root: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Return the valid keys of the section at a path, of all kinds that it may be of."""
    sections = [root]
    for part in path:
        if part.isdigit():
            continue
        fields = [
            section.model_fields[part] for section in sections if part in section.model_fields
        ]
        sections = [model for field in fields for model in _models_in(field.annotation)]
    return [name for section in sections for name in section.model_fields]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the sections that a type names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
