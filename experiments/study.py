"""What an experiment declares: studies, each one training setting, and the figures that a document prints for it.

A study trains one sweep in a run folder of its own, so all of it is resumable and makes its report; members that differ
in scalars and seeds are one compiled program. Imports no jax, so that `--help` answers at once.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from jaxvae.config import Config
from jaxvae.flags import SCALARS, ComputeFlags, DataFlags, Flags, RunFlags, SweepFlags, to_json

FIRST_EPOCH = 0.1
"""Tolerance of a first epoch's figures, which depend most on the seed."""
DIGITS = 1500
"""Training images of the embedded digits: the largest batch there."""

Results = Callable[[Mapping[str, Any]], tuple[str, Sequence[str], list[Sequence[str]]]]
"""Records by the name of their study -> caption, header and rows of a table."""
Analysis = Callable[[Mapping[str, Sequence[Path]], Path], tuple[list[Any], dict[str, Any]]]
"""(study name -> its run folders, folder for pictures) -> sections for the report, and tables to keep by title."""


@dataclass(frozen=True)
class Number:
    """A figure that a document prints, and where ours is found."""

    value: float
    metric: str = "loss"
    epoch: int | None = None  # None: the last
    split: Literal["train", "test"] = "train"
    at: Mapping[str, float] = field(default_factory=dict)  # which members: {"beta": 3.0}; empty for all
    tolerance: float = 0.03  # relative
    impossible: str = ""  # why it cannot be as printed
    why: str = ""  # why ours is another, where it is
    ranked: bool = True  # False: a lower loss is no better, only another


@dataclass(frozen=True)
class Failure:
    """A setting at which a document's training fails, and one at which ours trains the same configuration."""

    says: str  # the document's words or figures of it
    at: Mapping[str, float]  # the document's setting
    instead: Mapping[str, float]  # ours
    best: tuple[float, float]  # SSIM and MSE of the document's best row, at any setting


@dataclass(frozen=True)
class Study:
    """One training setting of a document: a sweep over scalars and seeds."""

    name: str  # of its result file and its folder in a run
    title: str  # what sets it apart within its experiment
    sweep: SweepFlags
    model: Config
    data: DataFlags = field(default_factory=lambda: DataFlags(dataset="mnist"))
    numbers: Sequence[Number] = ()
    trace: str | None = None  # file in experiments/printed with the document's loss curves, by beta
    trace_why: str = ""  # why ours leaves it, where it does
    failures: Sequence[Failure] = ()
    layers: Sequence[int] = ()  # the parameters of each layer that the document prints, compared in any order
    note: str = ""  # what the document leaves open and what was chosen, or what came out

    @property
    def epochs(self) -> int:
        """The full length: the document's, where it has this setting."""
        assert self.sweep.epochs is not None
        return self.sweep.epochs


@dataclass(frozen=True)
class Picture:
    """A figure of a study's run that the comparison shows."""

    study: str
    figure: str
    caption: str


@dataclass(frozen=True)
class Experiment:
    """The studies that answer one question of a document."""

    name: str  # of its module
    title: str
    source: str
    question: str  # what is asked, and what the documents leave open
    studies: Sequence[Study]
    pictures: Sequence[Picture] = ()
    results: Results | None = None  # what stands in the place of the final metrics, where these say nothing
    analysis: Analysis | None = None
    analysis_picture: str = ""  # file that the analysis makes, for the comparison
    flags: str = ""  # that its command needs for what the comparison shows


@dataclass(frozen=True)
class Changes:
    """What a run changes of a study, for a short look or another machine."""

    epochs: int | None = None
    seeds: tuple[int, ...] | None = None
    data: DataFlags = field(default_factory=DataFlags)  # `auto`: the study's own data set


def flags_of(study: Study, changes: Changes) -> Flags:
    """The flags of one sweep: the study's, changed; a batch is never larger than a `limit`."""
    limits = [limit for limit in (study.data.limit, changes.data.limit) if limit is not None]
    data = replace(
        study.data,
        dataset=study.data.dataset if changes.data.dataset == "auto" else changes.data.dataset,
        data_dir=changes.data.data_dir,
        limit=min(limits, default=None),
        rgb=study.data.rgb or changes.data.rgb,
    )
    sweep = replace(study.sweep, epochs=changes.epochs or study.epochs, seeds=changes.seeds or study.sweep.seeds)
    sizes = [size for size in (sweep.batch_size, data.limit, DIGITS if data.dataset == "digits" else None) if size]
    return Flags(sweep=replace(sweep, batch_size=min(sizes)), model=study.model, data=data)


def first_member(study: Study, data: DataFlags) -> Study:
    """The study at its first point and seed, for one epoch, on the data that the flags ask for."""
    flags = flags_of(replace(study, sweep=study.sweep.only([0])), Changes(1, study.sweep.seeds[:1], data))
    return replace(study, sweep=flags.sweep, data=flags.data)


def changed(study: Study, changes: Changes) -> Study:
    """The study with the batch size and the data that a run of it with these changes has."""
    flags = flags_of(study, changes)
    sweep = replace(study.sweep, batch_size=flags.sweep.batch_size)
    return replace(study, sweep=sweep, data=replace(flags.data, data_dir=None))


def complete(folder: Path) -> bool:
    """Whether the run in `folder` has finished, its report included; one whose every member diverged has none."""
    from jaxvae.runs import read_object

    path = folder / "summary.json"
    summary = read_object(path) if path.exists() else {}
    diverged = summary.get("diverged") == len(summary.get("members", ()))
    return bool(summary.get("complete")) and (diverged or (folder / "report.html").exists())


def same_settings(study: Study, saved: Any) -> bool:
    """Whether saved flags (JSON) are of the study's model, batch and data; options newer than they are at defaults."""
    if not isinstance(saved, dict):
        return False
    model = {**asdict(Config()), **saved.get("model", {})}
    data = {**asdict(DataFlags()), **saved.get("data", {})}
    return (
        model == asdict(study.model)
        and saved.get("sweep", {}).get("batch_size") == study.sweep.batch_size
        and all(data[name] == getattr(study.data, name) for name in ("dataset", "limit", "rgb"))
    )


def run_study(
    study: Study, folder: Path, changes: Changes, *, resume_command: str, compute: ComputeFlags | None = None
) -> None:
    """Train a study in `folder`; go on where it stands, or do nothing where it is complete.

    A study whose every member diverged is a result like any other: it is told, not raised.

    Raises:
        ConfigError: the run in `folder` was made with other settings than these.
    """
    from jaxvae import experiment
    from jaxvae.errors import DivergedError
    from jaxvae.processes import from_writer
    from jaxvae.resuming import own_settings

    started, done = from_writer(lambda: standing(study, folder, changes))
    if done:
        experiment.say(f"{study.name}: complete in {folder}")
        return
    experiment.say(f"{study.name}: {study.title}")
    wanted = own_settings(Flags(run=RunFlags(resume=folder))) if started else None
    wanted = wanted or replace(flags_of(study, changes), run=RunFlags(out=folder))
    wanted = replace(wanted, data=replace(wanted.data, data_dir=changes.data.data_dir))
    try:
        flags = replace(wanted, compute=compute or ComputeFlags())
        experiment.run(study.name, flags, resume_command=resume_command, printed=partial(printed_curves, study))
    except DivergedError as error:
        experiment.say(str(error))


def standing(study: Study, folder: Path, changes: Changes) -> tuple[bool, bool]:
    """Whether the run of a study in `folder` was begun, and whether it is complete.

    Raises:
        ConfigError: it was made with other settings than these.
    """
    from jaxvae.errors import ConfigError
    from jaxvae.runs import read_object

    if not (folder / "config.json").exists():
        return False, False
    saved: Any = read_object(folder / "config.json").get("flags")
    sweep = json.loads(json.dumps(asdict(flags_of(study, changes).sweep)))
    if not (same_settings(changed(study, changes), saved) and saved["sweep"] == sweep):
        raise ConfigError(f"{folder} holds a run of {study.name} with other settings; remove it or name another")
    return True, complete(folder)


def printed_curves(study: Study, flags: Flags) -> dict[str, list[dict[str, float]]]:
    """The document's loss curves by the label of the members that they belong to: label -> rows.

    Only those of a run's members, and none for a run that differs from the study in more than betas, seeds and epochs.
    """
    from jaxvae.labels import member_label

    curves: dict[str, list[dict[str, float]]] = {}
    others = [flag for name, flag in SCALARS.items() if name != "beta"]
    same = all(getattr(flags.sweep, flag) == getattr(study.sweep, flag) for flag in others)
    if same and same_settings(study, to_json(flags)):
        for row in printed_rows(study):
            if row["beta"] in flags.sweep.betas:
                curves.setdefault(member_label(row, ["beta"]), []).append(row)
    return curves


def printed_rows(study: Study) -> list[dict[str, float]]:
    """The rows of the document's loss curves: beta, epoch, loss, and reconstruction and kl where they are printed."""
    import csv

    if study.trace is None:
        return []
    with (Path(__file__).parent / "printed" / f"{study.trace}.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
