"""Run one sweep from its flags to its report: data, fit with checkpoints, evaluation, figures, summary."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

import jaxvae
from jaxvae import data, runs
from jaxvae.checkpoint import Checkpoints
from jaxvae.config import DatasetName
from jaxvae.data.dataset import Dataset, Split
from jaxvae.errors import ConfigError, DivergedError
from jaxvae.figures import last_rows
from jaxvae.fit import Progress, Sweep, fit
from jaxvae.flags import BATCH_SIZE, EPOCHS, DataFlags, Flags, RunFlags, from_json, to_json
from jaxvae.metrics import Evaluation, Quality
from jaxvae.parallel import Device, choose_devices, layout, to_host
from jaxvae.processes import agree, from_writer, is_writer, join, together
from jaxvae.progress import show_progress
from jaxvae.sweep import at_points
from jaxvae.sweep_report import count, layer_counts, parameter_count, write_sweep_report


@dataclass(frozen=True)
class Run:
    """A run that is ready to train: its folder, its settings with every default filled in, its data."""

    name: str
    folder: Path
    flags: Flags
    dataset: Dataset
    environments: list[dict[str, Any]]  # of the sessions before this one; empty for a new run

    @property
    def epochs(self) -> int:
        """Passes over the data."""
        assert self.flags.sweep.epochs is not None  # `begin` filled it in
        return self.flags.sweep.epochs


def run(
    name: str,
    flags: Flags,
    *,
    resume_command: str | None = None,
    printed: Callable[[Flags], Mapping[str, Sequence[Mapping]]] = lambda flags: {},
) -> Path:
    """Train the sweep that `flags` describe, fill its run folder, and return the folder.

    Args:
        name: of the experiment.
        flags: settings; `flags.run.resume` continues a run.
        resume_command: what to tell a person who interrupts the run; by default the experiment's own command.
        printed: from the settings with every default filled in, label -> rows of a document's loss curves, shown beside
            ours in the report.

    Raises:
        JaxvaeError: anything the user can mend; `DivergedError` if no member survived.
    """
    join(flags.compute)
    with together("start all of them again"):
        return run_joined(name, flags, resume_command, printed)


def run_joined(
    name: str, flags: Flags, resume_command: str | None, printed: Callable[[Flags], Mapping[str, Any]]
) -> Path:
    """`run`, where the processes have met."""
    devices = choose_devices(flags.compute.devices)
    agree({"resume": flags.run.resume is not None, "version": [jaxvae.__version__, jax.__version__]})
    this = resume(name, flags) if flags.run.resume else begin(name, flags)
    agree(what_must_agree(this))
    sweep = make_sweep(this, devices)
    say(f"{name}: {count(sweep.members)}, {this.epochs} epochs, on {layout(sweep.mesh)}; in {this.folder}")
    command = resume_command or f"python -m experiments.{name} --resume {this.folder}"
    with together(f"continue with: {command}"):
        begun = time.monotonic()
        progress = train(this, sweep, command)
        seconds = time.monotonic() - begun
        evaluation, quality = to_host(sweep.evaluate(progress.state)), to_host(sweep.sampled_quality(progress.state))
        progress = replace(progress, state=to_host(progress.state))
    runs.write_json(this.folder / "summary.json", summary(this, progress, evaluation, quality, seconds))
    if not bool(progress.state.alive.any()):
        raise DivergedError(
            f"every member became non-finite; see {this.folder / 'metrics.csv'}; "
            "try a lower learning_rate or beta, or a higher variance"
        )
    if is_writer():
        source, document = this.dataset.source, printed(this.flags)
        write_sweep_report(this.folder, name, this.flags, source, sweep, progress, evaluation, document)
    say(f"report: {this.folder / 'report.html'}")
    return this.folder


def make_sweep(this: Run, devices: Sequence[Device] | None = None) -> Sweep:
    """The members and compiled pieces of a run; on all devices unless some are given."""
    settings = this.flags.sweep
    assert settings.batch_size is not None  # `begin` filled it in
    members = at_points(settings.points, settings.seeds)
    return Sweep(
        this.flags.model,
        this.dataset,
        members,
        batch_size=settings.batch_size,
        devices=devices,
        data_on=this.flags.compute.data_on,
    )


def what_must_agree(this: Run) -> dict[str, Any]:
    """What all processes of a run must have the same of, beside its beginning and their versions."""
    settings = to_json(this.flags)
    return {
        **settings["sweep"],
        **settings["model"],
        **{name: settings["data"][name] for name in ("dataset", "limit", "rgb")},
        **{name: settings["compute"][name] for name in ("devices", "data_on", "num_processes")},
        "checksum of the data": runs.dataset_record(this.dataset)["sha256"],
        "folder": str(this.folder.absolute()),
    }


def begin(name: str, flags: Flags) -> Run:
    """Load the data, fill in the defaults that depend on it, and make the run folder."""
    dataset = load(flags.data)
    images = len(dataset.train.image)
    if flags.sweep.batch_size is not None and flags.sweep.batch_size > images:
        raise ConfigError(f"batch_size is {flags.sweep.batch_size}, but there are {images} training images")
    settings = replace(
        flags.sweep,
        epochs=flags.sweep.epochs or EPOCHS[dataset.name],
        batch_size=flags.sweep.batch_size or min(BATCH_SIZE[dataset.name], images),
    )
    data_dir = flags.data.data_dir and flags.data.data_dir.absolute()
    source = replace(flags.data, dataset=cast(DatasetName, dataset.name), data_dir=data_dir)
    flags = replace(flags, sweep=settings, data=source)
    folder = Path(from_writer(lambda: str(runs.new_folder(name, flags.run.out))))
    return Run(name, folder, flags, dataset, [])


def resume(name: str, flags: Flags) -> Run:
    """The run in `flags.run.resume` with its own settings, and more epochs where `flags` ask for them."""
    folder = flags.run.resume
    assert folder is not None
    if not (folder / "config.json").is_file():
        raise ConfigError(f"resume is {folder}, which is not a run folder: it has no config.json")
    recorded = runs.read_json(folder / "config.json")
    if not isinstance(recorded, dict) or recorded.get("experiment") != name:
        raise ConfigError(f"resume is {folder}, whose config.json is not one of {name}")
    saved: Flags = from_json(type(flags), recorded.get("flags"))
    allowed = type(flags)(compute=flags.compute, run=RunFlags(resume=folder, debug=flags.run.debug))
    if replace(flags, sweep=replace(flags.sweep, epochs=None)) != allowed:
        raise ConfigError(
            "resume continues a run with its own settings; beside it only --epochs and where to compute may be given"
        )
    epochs = flags.sweep.epochs or saved.sweep.epochs
    saved = replace(saved, sweep=replace(saved.sweep, epochs=epochs), compute=flags.compute)
    data_record, environments = recorded.get("dataset"), recorded.get("environments")
    if (
        not (isinstance(data_record, dict) and isinstance(environments, list))
        or saved.sweep.epochs is None
        or saved.sweep.batch_size is None
    ):
        raise ConfigError(f"resume is {folder}, whose config.json is incomplete")
    dataset = load(saved.data)
    if runs.dataset_record(dataset)["sha256"] != data_record.get("sha256"):
        raise ConfigError(f"resume is {folder}, whose data has other checksums than {dataset.source}")
    return Run(name, folder, saved, dataset, environments)


def reopen(folder: Path) -> tuple[Sweep, Progress]:
    """The sweep of a run folder and its newest checkpoint, to look at or to go on with.

    Raises:
        ConfigError: it is not a run folder, or its data has changed.
        CheckpointError: there is no intact checkpoint.
    """
    name = runs.read_json(folder / "config.json").get("experiment")
    this = resume(name, Flags(run=RunFlags(resume=folder)))
    sweep = make_sweep(this, jax.local_devices()[:1])
    with Checkpoints(folder / "checkpoints", alone=True) as checkpoints:
        return sweep, checkpoints.restore(sweep.abstract_state())


def load(flags: DataFlags) -> Dataset:
    """The data set, cut to `limit`; says on stderr which one it is and where it came from."""
    dataset = data.load(flags.dataset, flags.data_dir)
    say(f"data: {dataset.source}")
    train, test, source = dataset.train, dataset.test, dataset.source
    if flags.limit is not None:
        train, test = (Split(*(x[: flags.limit] for x in split)) for split in (train, test))
        source += f"; the first {flags.limit} of each split"
    if flags.rgb:
        train, test = (split._replace(image=np.repeat(split.image, 3, axis=-1)) for split in (train, test))
        source += "; grey in three channels"
    return replace(dataset, train=train, test=test, source=source)


def train(this: Run, sweep: Sweep, resume_command: str) -> Progress:
    """Fit with a progress display, `metrics.csv` after each epoch, and checkpoints."""
    if not this.environments:  # a new run: its first file says what it is
        write_config(this)
    with Checkpoints(this.folder / "checkpoints") as checkpoints:
        start = restore(this, sweep, checkpoints)
        if this.environments:  # a resumed run: a refusal leaves it as it was
            write_config(this)

        def on_epoch(progress: Progress) -> None:
            show(progress)
            if from_writer(lambda: checkpoints.due(progress.epoch, this.flags.run.checkpoint_every)):
                checkpoints.save(sweep.own(progress))
            runs.write_metrics(this.folder / "metrics.csv", progress.history)

        with show_progress(this.epochs, done=start.epoch if start else 0) as show:
            try:
                progress = fit(sweep, epochs=this.epochs, start=start, on_epoch=on_epoch)
            except KeyboardInterrupt:
                say(f"interrupted; continue with: {resume_command}")
                raise
        if from_writer(lambda: checkpoints.epoch != progress.epoch):
            checkpoints.save(progress)
    return progress


def restore(this: Run, sweep: Sweep, checkpoints: Checkpoints) -> Progress | None:
    """Where a resumed run stands; None for a run that has not finished an epoch yet."""
    if not this.environments:
        return None
    if from_writer(lambda: checkpoints.epoch is None and not (this.folder / "metrics.csv").exists()):
        return None
    start = checkpoints.restore(sweep.abstract_state())
    if start.epoch > this.epochs:
        raise ConfigError(f"epochs is {this.epochs}, but {this.folder} has {start.epoch} already")
    say(f"resuming after epoch {start.epoch}")
    return start


def write_config(this: Run) -> None:
    """`config.json`: the settings, and the environment of the run's start and of each time it was resumed."""
    config = {
        "experiment": this.name,
        "flags": to_json(this.flags),
        "dataset": runs.dataset_record(this.dataset),
        "environments": [*this.environments, runs.environment()],
    }
    runs.write_json(this.folder / "config.json", config)


def summary(this: Run, progress: Progress, evaluation: Evaluation, quality: Quality, seconds: float) -> dict[str, Any]:
    """The final numbers of every member, and what they took."""
    trained = {row["member"]: row for row in last_rows(progress.history, "train")}
    members = [
        {
            **row,
            "train_loss": trained[row["member"]]["loss"],
            "steps": int(progress.state.step[k]),
            **{name: float(np.mean(values[k], dtype=np.float64)) for name, values in quality._asdict().items()},
            "kl_per_dimension": np.asarray(evaluation.kl_per_dimension[k], np.float64).mean(axis=0).tolist(),
        }
        for k, row in enumerate(last_rows(progress.history, "test"))
    ]
    return {
        "epochs": progress.epoch,
        "complete": progress.epoch == this.epochs or not any(row["alive"] for row in members),
        "parameters": parameter_count(progress.state.params),
        "layers": layer_counts(progress.state.params),
        "diverged": sum(not row["alive"] for row in members),
        "collapsed": sum(bool(row["alive"] and row["collapsed"]) for row in members),
        "train_seconds": seconds,
        "members": members,
        "dataset": runs.dataset_record(this.dataset),
        "environment": runs.environment(),
    }


def say(text: str) -> None:
    """A line for the person at the terminal; of several processes only the writer has one to tell."""
    if is_writer():
        print(text, file=sys.stderr, flush=True)
