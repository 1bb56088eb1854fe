"""A run folder's own settings, and in what those that are asked for differ."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from jaxvae import runs
from jaxvae.errors import ConfigError
from jaxvae.flags import ComputeFlags, Flags, RunFlags, from_json, to_json

FlagsT = TypeVar("FlagsT", bound=Flags)


def read_config(kind: type[FlagsT], folder: Path, name: str | None = None) -> tuple[FlagsT, dict[str, Any]]:
    """The settings of the run in `folder`, of experiment `name` if that is given, and all of its `config.json`.

    Raises:
        ConfigError: it is not a run folder, or not one of this version.
    """
    if not (folder / "config.json").is_file():
        raise ConfigError(f"resume is {folder}, which is not a run folder: it has no config.json")
    recorded = runs.read_json(folder / "config.json")
    if not isinstance(recorded, dict) or recorded.get("experiment") != (name or recorded.get("experiment")):
        raise ConfigError(f"resume is {folder}, whose config.json is not one of {name or 'a run'}")
    saved: FlagsT = from_json(kind, recorded.get("flags"))
    complete = isinstance(recorded.get("dataset"), dict) and isinstance(recorded.get("environments"), list)
    if not complete or not recorded["environments"] or saved.sweep.epochs is None or saved.sweep.batch_size is None:
        raise ConfigError(f"resume is {folder}, whose config.json is incomplete")
    return saved, recorded


def own_settings(flags: FlagsT, name: str | None = None) -> FlagsT | None:
    """What `flags` have where they say nothing else: of a resumed run its own settings; None for a new run.

    Raises:
        ConfigError: the folder to resume is not that of a run, of experiment `name` if that is given.
    """
    folder = flags.run.resume
    if folder is None:
        return None
    saved, _ = read_config(type(flags), folder, name)
    where = RunFlags(resume=folder, checkpoint_every=saved.run.checkpoint_every)
    return replace(saved, compute=own_place(saved.compute), run=where)


def own_place(saved: ComputeFlags) -> ComputeFlags:
    """Where a resumed run is computed unless that is said: as before, but by the processes that there are now."""
    return ComputeFlags(devices=saved.devices, data_on=saved.data_on)


def what_it_is(flags: Flags) -> dict[str, Any]:
    """The settings that make a run what it is: all but its length, where its data is and where it is computed."""
    groups = to_json(flags)
    settings = {**groups["sweep"], **groups["model"], **groups["data"]}
    return {name: value for name, value in settings.items() if name not in ("epochs", "data_dir")}


def identity(flags: Flags, data_sha256: Mapping[str, str]) -> dict[str, Any]:
    """What the checkpoints of a run must agree with: what it is, and its data; JSON values."""
    return json.loads(json.dumps({**what_it_is(flags), "data": dict(data_sha256)}))


def differences(saved: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Each setting that is asked for with another value than a run has."""
    changed = {name: value for name, value in asked.items() if value != saved[name]}
    return [f"{name} is {shown(saved[name])}, not {shown(value)}" for name, value in changed.items()]


def shown(value: Any) -> str:
    """A setting's value as one would type it."""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
