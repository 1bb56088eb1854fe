"""What an experiment declares: studies, each one training setting, and the figures that a document prints for it.

A study trains one sweep in a run folder of its own, so all of it is resumable and makes its report; members that differ
in scalars and seeds are one compiled program. Imports no jax, so that `--help` answers at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from jaxvae.config import Config
from jaxvae.flags import DataFlags, Flags, RunFlags, SweepFlags

LOWER = ("loss", "reconstruction", "mse", "sampled_mse")
"""Metrics that are better when lower."""


@dataclass(frozen=True)
class Number:
    """A figure that a document prints, and where ours is found."""

    value: float
    metric: str = "loss"
    epoch: int | None = None  # None: the last
    split: Literal["train", "test"] = "train"
    at: Mapping[str, float] = field(default_factory=dict)  # which members: {"beta": 3.0}; empty for all
    tolerance: float | None = 0.03  # relative; None: for information, such as a first epoch, which depends on the seed
    note: str = ""  # what the reader must know, such as why it cannot be as printed
    impossible: bool = False  # as printed, for the reason in the note


@dataclass(frozen=True)
class Study:
    """One training setting of a document: a sweep over scalars and seeds."""

    name: str  # of its result file and run folder
    title: str
    sweep: SweepFlags
    model: Config
    data: DataFlags = field(default_factory=lambda: DataFlags(dataset="mnist"))
    numbers: Sequence[Number] = ()
    note: str = ""  # what the document leaves open, and what was chosen
    trace: str | None = None  # file in experiments/printed with the document's loss curves

    @property
    def epochs(self) -> int:
        """The document's length."""
        assert self.sweep.epochs is not None
        return self.sweep.epochs


@dataclass(frozen=True)
class Changes:
    """What a run may change of a study: for a short look, or another machine."""

    epochs: int | None = None
    seeds: tuple[int, ...] | None = None
    data: DataFlags = field(default_factory=DataFlags)  # `auto`: the study's own data set


def flags_of(study: Study, changes: Changes) -> Flags:
    """The flags of one sweep."""
    sweep = replace(study.sweep, epochs=changes.epochs or study.sweep.epochs, seeds=changes.seeds or study.sweep.seeds)
    limits = [limit for limit in (study.data.limit, changes.data.limit) if limit is not None]
    data = replace(
        study.data,
        dataset=study.data.dataset if changes.data.dataset == "auto" else changes.data.dataset,
        data_dir=changes.data.data_dir,
        limit=min(limits, default=None),
    )
    if data.limit is not None and sweep.batch_size is not None:
        sweep = replace(sweep, batch_size=min(sweep.batch_size, data.limit))
    return Flags(sweep=sweep, model=study.model, data=data)


def run_study(study: Study, folder: Path, changes: Changes, *, resume_command: str) -> None:
    """Train a study in `folder`; go on where it stands, or do nothing where it is complete."""
    from jaxvae import experiment, runs

    if (folder / "summary.json").exists() and runs.read_json(folder / "summary.json").get("complete"):
        experiment.say(f"{study.name}: complete in {folder}")
        return
    experiment.say(f"{study.name}: {study.title}")
    if (folder / "config.json").exists():
        flags = Flags(run=RunFlags(resume=folder))
    else:
        flags = replace(flags_of(study, changes), run=RunFlags(out=folder))
    experiment.run(study.name, flags, resume_command=resume_command, printed=None)
