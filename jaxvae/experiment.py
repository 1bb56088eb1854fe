"""Run one sweep from its flags to its report: data, fit with checkpoints, evaluation, figures, summary."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

import jaxvae
from jaxvae import data, interrupt, runs
from jaxvae.checkpoint import Checkpoints
from jaxvae.config import DatasetName
from jaxvae.data.dataset import Dataset, Split
from jaxvae.errors import ConfigError, DataError, DivergedError, RunFolderError, first_line, printable
from jaxvae.fit import Progress, Sweep, fit
from jaxvae.flags import BATCH_SIZE, EPOCHS, DataFlags, Flags, RunFlags, to_json
from jaxvae.objective import kernels_of
from jaxvae.parallel import Device, choose_devices, layout, to_host
from jaxvae.processes import agree, from_writer, greatest, is_writer, join, together
from jaxvae.progress import show_progress
from jaxvae.resuming import differences, identity, own_settings, read_config, what_it_is
from jaxvae.summary import summary
from jaxvae.sweep import at_points
from jaxvae.sweep_report import count, write_sweep_report


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
    with ExitStack() as held:
        from_writer(lambda: hold(this, held))
        if not this.environments:  # a new run: its first file says what it is
            write_config(this)
        command = resume_command or f"python -m experiments.{name} --resume {this.folder}"
        try:
            train_and_report(this, devices, command, printed)
        except KeyboardInterrupt:
            say(f"interrupted; continue with: {command}")
            raise
    return this.folder


def hold(this: Run, held: ExitStack) -> None:
    """Keep other processes out of the run folder."""
    held.enter_context(runs.in_use(this.folder))
    if not this.environments and (this.folder / "config.json").exists():
        raise ConfigError(f"out is {this.folder}, in which another run has begun; name another folder")


def train_and_report(
    this: Run, devices: Sequence[Device], command: str, printed: Callable[[Flags], Mapping[str, Any]]
) -> None:
    """Train, evaluate, write down, draw; `summary.json` says that a run is complete when all of it is there."""
    sweep = make_sweep(this, devices)
    if this.flags.model.implementation == "pallas":
        say_kernels(sweep)
    say(f"{this.name}: {count(sweep.members)}, {this.epochs} epochs, on {layout(sweep.mesh)}; in {this.folder}")
    with together(f"continue with: {command}"):
        begun = time.monotonic()
        progress = train(this, sweep, command)
        seconds = time.monotonic() - begun
        evaluation, quality = to_host(sweep.evaluate(progress.state)), to_host(sweep.sampled_quality(progress.state))
        progress = replace(progress, state=to_host(progress.state))
    found = summary(this.dataset, sweep, progress, evaluation, quality, seconds)
    runs.write_json(this.folder / "summary.json", found)
    if not bool(progress.state.alive.any()):
        runs.write_json(this.folder / "summary.json", {**found, "complete": True})
        raise DivergedError(
            f"every member became non-finite; see {this.folder / 'metrics.csv'}; "
            "try a lower learning_rate or beta, or a higher variance"
        )
    if is_writer():
        source, document = this.dataset.source, printed(this.flags)
        try:
            write_sweep_report(this.folder, this.name, this.flags, source, sweep, progress, evaluation, document)
        except Exception as error:
            raise RunFolderError(
                f"{this.folder}: trained and saved, but without its report ({first_line(error)}); "
                f"to make it again: {command}"
            ) from error
        runs.write_json(this.folder / "summary.json", {**found, "complete": True})
    say(f"report: {this.folder / 'report.html'}")


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


def say_kernels(sweep: Sweep) -> None:
    """Which of a model's pieces have a hand-written kernel, and that a CPU only interprets it."""
    names = ", ".join(kernels_of(sweep.model, sweep.reconstruction))
    slow = "; a CPU interprets them, for their numbers and not for speed" if jax.default_backend() == "cpu" else ""
    say(f"kernels: {names}{slow}")


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
    """The run in `flags.run.resume`, with more epochs where `flags` ask for them.

    Raises:
        ConfigError: it is not a run of `name`, or not one of the settings in `flags`.
        DataError: its data has changed.
    """
    folder = flags.run.resume
    assert folder is not None
    saved, recorded = read_config(type(flags), folder, name)
    if found := differences(what_it_is(saved), what_it_is(flags)):
        raise ConfigError(
            f"resume continues a run with its own settings, but {'; '.join(found)}; only --epochs, --checkpoint-every, "
            "--data-dir and where to compute may change"
        )
    epochs = flags.sweep.epochs or saved.sweep.epochs
    settings = replace(saved, sweep=replace(saved.sweep, epochs=epochs), compute=flags.compute)
    every = replace(saved.run, checkpoint_every=flags.run.checkpoint_every)
    settings = replace(settings, run=every, data=replace(saved.data, data_dir=flags.data.data_dir))
    dataset = load(settings.data)
    if (found := runs.dataset_record(dataset)["sha256"]) != (expected := recorded["dataset"].get("sha256")):
        raise DataError(f"{dataset.source}: expected the run's data, sha256 {expected}, found {found}")
    return Run(name, folder, settings, dataset, recorded["environments"])


def own_identity(this: Run) -> dict[str, Any]:
    """What the run's checkpoints must agree with."""
    return identity(this.flags, runs.dataset_record(this.dataset)["sha256"])


def reopen(folder: Path) -> tuple[Sweep, Progress]:
    """The sweep of a run folder and its newest checkpoint, to look at or to go on with.

    Raises:
        ConfigError: it is not a run folder.
        DataError: its data has changed.
        CheckpointError: there is no checkpoint, or the newest one is not intact.
    """
    _, recorded = read_config(Flags, folder)
    flags = own_settings(Flags(run=RunFlags(resume=folder)))
    assert flags is not None
    this = resume(recorded["experiment"], flags)
    sweep = make_sweep(this, jax.local_devices()[:1])
    with Checkpoints(folder / "checkpoints", own_identity(this), alone=True) as checkpoints:
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
    with Checkpoints(this.folder / "checkpoints", own_identity(this)) as checkpoints:
        start = restore(this, sweep, checkpoints)
        if this.environments:  # a resumed run: a refusal leaves it as it was
            write_config(this)
            mark_incomplete(this)

        def on_epoch(progress: Progress) -> None:
            show(progress)
            every = this.flags.run.checkpoint_every
            due = from_writer(lambda: checkpoints.due(progress.epoch, every))
            signal = greatest(interrupt.asked() or 0)
            if due or signal or progress.epoch == this.epochs:
                checkpoints.save(sweep.own(progress))
            write_metrics(this, progress)
            if signal:
                raise interrupt.Interrupted(signal)

        last_words = f"interrupted; continue with: {resume_command}"
        with show_progress(this.epochs, done=start.epoch if start else 0) as show, interrupt.in_order(last_words):
            progress = fit(sweep, epochs=this.epochs, start=start, on_epoch=on_epoch)
        if from_writer(lambda: checkpoints.epoch != progress.epoch):  # nobody was left to reach the last epoch
            checkpoints.save(progress)
        write_metrics(this, progress)  # which a killed run may not have got to
    return progress


def write_metrics(this: Run, progress: Progress) -> None:
    """`metrics.csv` of all epochs so far."""
    runs.write_metrics(this.folder / "metrics.csv", progress.history)


def mark_incomplete(this: Run) -> None:
    """What `summary.json` says of a run that goes on is of before."""
    path = this.folder / "summary.json"
    if from_writer(path.exists):
        runs.write_json(path, {**runs.read_object(path), "complete": False})


def restore(this: Run, sweep: Sweep, checkpoints: Checkpoints) -> Progress | None:
    """Where a resumed run stands; None for a run that has not finished an epoch yet, which is saved first of all."""
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


def say(text: str) -> None:
    """A line for the person at the terminal; of several processes only the writer has one to tell."""
    if is_writer():
        print(printable(text), file=sys.stderr, flush=True)
