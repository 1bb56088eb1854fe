"""The command line of an experiment: train its studies one after the other, then one page that compares them."""

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from experiments.study import Changes, Experiment, Study, flags_of, run_study
from jaxvae import cli
from jaxvae.config import check_range
from jaxvae.errors import ConfigError, DivergedError
from jaxvae.flags import ComputeFlags, DataFlags, from_json, to_json, unset


@dataclass(frozen=True)
class ExperimentFlags:
    """Flags of every experiment but the main job."""

    studies: Annotated[tuple[str, ...], unset("NAME [NAME ...]", "all")] = ()
    """Which studies to train."""
    epochs: Annotated[int | None, unset("INT", "the document's")] = None
    """Passes over the training images; fewer for a short look."""
    seeds: Annotated[tuple[int, ...] | None, unset("INT [INT ...]", "the study's")] = None
    """Seeds of initialization, order and noise."""
    data: DataFlags = field(default_factory=DataFlags)
    compute: ComputeFlags = field(default_factory=ComputeFlags)
    out: Annotated[Path | None, unset("DIR", "results/NAME/TIME-ID")] = None
    """Run folder, new or empty; each study has a folder in it."""
    resume: Annotated[Path | None, unset("DIR", "a new run")] = None
    """Go on with the run in this folder, with its own settings; beside it only --data-dir and what says where it is
    computed may be others."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check every field."""
        if self.epochs is not None:
            check_range("epochs", self.epochs, low=1, high=10**6)
        if self.seeds == ():
            raise ConfigError("seeds is empty; name at least one")
        if self.out is not None and self.resume is not None:
            raise ConfigError("out and resume exclude each other; a resumed run stays in its folder")

    @property
    def changes(self) -> Changes:
        """What these flags change of a study."""
        return Changes(self.epochs, self.seeds, self.data)


def main(experiment: Experiment, doc: str | None) -> int:
    """Run `experiment` from the process's command line; `doc` is its module's docstring."""
    title = (doc or experiment.title).splitlines()[0]
    studies = ", ".join(study.name for study in experiment.studies)
    text = f"{title}\n\n{experiment.question}\n\nSource: {experiment.source}. Studies: {studies}."
    kind = type(experiment.name, (ExperimentFlags,), {"__doc__": text})
    own = partial(own_settings, experiment)
    return cli.main(experiment.name, kind, lambda flags: run(experiment, flags), resumed=own)


def run(experiment: Experiment, flags: ExperimentFlags) -> Path:
    """Train the studies that `flags` ask for, write the page that compares them, and return the run folder."""
    from jaxvae.processes import join, together

    join(flags.compute)
    with together("start all of them again"):
        return run_joined(experiment, flags)


def run_joined(experiment: Experiment, flags: ExperimentFlags) -> Path:
    """`run`, where the processes have met."""
    from jaxvae import runs
    from jaxvae.parallel import choose_devices
    from jaxvae.processes import agree, from_writer
    from jaxvae.resuming import own_place

    choose_devices(flags.compute.devices)  # refuses before anything is written
    asked = {name: getattr(flags, name) for name in ("studies", "epochs", "seeds", "out", "resume")}
    agree({name: str(value) for name, value in asked.items()})
    studies, changes = begin(experiment, flags) if flags.resume is None else resume(experiment, flags)
    folder = flags.resume or Path(from_writer(lambda: str(runs.new_folder(experiment.name, flags.out))))
    with ExitStack() as held:
        from_writer(lambda: held.enter_context(runs.in_use(folder)))
        if flags.resume is None:
            names = [study.name for study in studies]
            place = to_json(own_place(flags.compute))
            record = {"experiment": experiment.name, "studies": names, "changes": to_json(changes), "compute": place}
            runs.write_json(folder / "experiment.json", record)
        train_and_compare(experiment, studies, changes, folder, flags.compute)
    return folder


def begin(experiment: Experiment, flags: ExperimentFlags) -> tuple[list[Study], Changes]:
    """The studies of a new run, and what it changes of them."""
    studies = chosen(experiment.studies, flags.studies)
    changes = replace(flags.changes, data=with_fallback(studies, flags.data))
    for study in studies:
        flags_of(study, changes)  # refuses bad values before anything is written
    return studies, changes


def resume(experiment: Experiment, flags: ExperimentFlags) -> tuple[list[Study], Changes]:
    """The studies of the run in `flags.resume`, and what it changes of them.

    Raises:
        ConfigError: it is not a run of `experiment`, or `flags` ask for other settings than it has.
    """
    from jaxvae.resuming import differences

    own = own_settings(experiment, flags)
    assert flags.resume is not None
    assert own is not None
    if found := differences(what_it_is(own), what_it_is(flags)):
        raise ConfigError(
            f"resume goes on with a run's own settings, but {'; '.join(found)}; only --data-dir and where to compute "
            "may change"
        )
    studies, changes, _ = recorded(experiment, flags.resume)
    return studies, replace(changes, data=flags.data)


def own_settings(experiment: Experiment, flags: ExperimentFlags) -> ExperimentFlags | None:
    """What flags that are not given stand for: in a run that is resumed, its own; None for a new one."""
    if flags.resume is None:
        return None
    studies, changes, place = recorded(experiment, flags.resume)
    names = tuple(study.name for study in studies)
    settings = {"epochs": changes.epochs, "seeds": changes.seeds, "data": changes.data, "resume": flags.resume}
    return type(flags)(studies=names, compute=place, **settings)


def what_it_is(flags: ExperimentFlags) -> dict[str, Any]:
    """The settings that make a run what it is: all but where its data is and where it is computed."""
    settings = to_json(flags)
    data = {name: value for name, value in settings["data"].items() if name != "data_dir"}
    return {**data, **{name: settings[name] for name in ("studies", "epochs", "seeds")}}


def train_and_compare(
    experiment: Experiment, studies: list[Study], changes: Changes, folder: Path, compute: ComputeFlags
) -> None:
    """Every study that is not complete, then the page."""
    from jaxvae.errors import CheckpointError, RunFolderError, first_line
    from jaxvae.experiment import say
    from jaxvae.processes import from_writer, is_writer

    command = f"python -m experiments.{experiment.name} --resume {folder}"
    for study in studies:
        run_study(study, folder / study.name, changes, resume_command=command, compute=compute)
    diverged = from_writer(lambda: all_diverged([folder / study.name for study in studies]))
    if is_writer():
        try:
            write_page(experiment, studies, folder)
        except CheckpointError:
            raise
        except Exception as error:
            raise RunFolderError(
                f"{folder}: trained and saved, but without its page ({first_line(error)}); to make it again: {command}"
            ) from error
    say(f"report: {folder / 'report.html'}")
    if diverged:
        from_writer(lambda: None)  # none ends with an error while the page is written
        raise DivergedError("every member of every study became non-finite")


def all_diverged(folders: list[Path]) -> bool:
    """Whether no member of any run is left."""
    from jaxvae.runs import read_object

    summaries = [read_object(folder / "summary.json") for folder in folders]
    return all(summary["diverged"] == len(summary["members"]) for summary in summaries)


def write_page(experiment: Experiment, studies: list[Study], folder: Path) -> None:
    """`report.html` over all studies, `numbers.json` of an analysis, and the comparison with the document on stdout."""
    from experiments import comparison
    from experiments.record import record_of
    from jaxvae import runs
    from jaxvae.report import Section, write_report
    from jaxvae.tables import print_table

    records = {study.name: record_of(study, folder / study.name) for study in studies}
    printed = [line.cells for study in studies for line in comparison.lines(study, records[study.name])]
    sections: list[Section] = [*tables(experiment, studies, records, printed), curves(studies, records, folder)]
    if experiment.analysis is not None:
        found, numbers = experiment.analysis({study.name: [folder / study.name] for study in studies}, folder)
        sections += found
        runs.write_json(folder / "numbers.json", numbers)
    sections += [pictures(study, folder / study.name) for study in studies]
    write_report(
        folder / "report.html",
        title=experiment.title,
        intro=f"{experiment.question}\n\nSource: {experiment.source}.",
        sections=sections,
        settings={"studies": ", ".join(study.name for study in studies), "folder": folder.absolute()},
    )
    if printed:
        print_table(comparison.HEADER, printed, sys.stdout)


def tables(
    experiment: Experiment, studies: list[Study], records: dict[str, Any], printed: list[tuple[str, ...]]
) -> list[Any]:
    """The document's numbers beside ours, and our results."""
    from experiments import comparison
    from experiments.page import results
    from jaxvae.report import Section, Table

    found = results(studies, records, experiment.results)
    sections = [Section("Results", [Table(header, rows, caption) for caption, header, rows in found])]
    if printed:
        note = "Ours: mean ± deviation over the seeds. " + comparison.VERDICTS
        sections.insert(0, Section("Beside the document", [Table(comparison.HEADER, printed, note)]))
    return sections


def curves(studies: list[Study], records: dict[str, Any], folder: Path) -> Any:
    """The loss curves of all studies in one figure."""
    from experiments.comparison import curve_rows
    from jaxvae import plots
    from jaxvae.report import Image, Section

    plots.save(plots.loss_curves(curve_rows(studies, records), "label"), folder / "curves.png")
    caption = "Nats per image against the epoch; lines are means over the seeds, bands their range."
    return Section("Loss, reconstruction and KL", [Image(folder / "curves.png", caption, "loss curves")])


def pictures(study: Study, folder: Path) -> Any:
    """The pictures of a study that say most; its own report has all."""
    from jaxvae.report import Image, Section, Text

    paths = [folder / f"{name}.png" for name in ("reconstructions", "samples", "class_samples")]
    images = [
        Image(path, f"{study.title}; more in {study.name}/report.html", path.stem) for path in paths if path.exists()
    ]
    return Section(study.title, [Text(study.note), *images])


def chosen(studies: Any, names: tuple[str, ...]) -> list[Study]:
    """The studies named, or all.

    Raises:
        ConfigError: there is no study of a name.
    """
    known = {study.name: study for study in studies}
    for name in names:
        if name not in known:
            raise ConfigError(f"studies has {name!r}; there are {', '.join(known)}")
    return [known[name] for name in names or known]


def with_fallback(studies: list[Study], data: DataFlags) -> DataFlags:
    """`auto` is each study's own data set, or the embedded digits for all where one cannot be had; it says so.

    Raises:
        DataError: the data cannot be had, or is damaged; nothing has been written then.
    """
    from jaxvae.data import load
    from jaxvae.data.dataset import Unavailable
    from jaxvae.experiment import say

    data = replace(data, data_dir=data.data_dir and data.data_dir.absolute())
    names = {study.data.dataset for study in studies} if data.dataset == "auto" else {data.dataset}
    try:
        for name in names:
            load(name, data.data_dir)
    except Unavailable as why:
        if data.dataset != "auto":
            raise
        say(f"data: the embedded digits, because {why}")
        return replace(data, dataset="digits")
    return data


def recorded(experiment: Experiment, folder: Path) -> tuple[list[Study], Changes, ComputeFlags]:
    """The studies and changes of the run in `folder`, and where it was computed."""
    from jaxvae.resuming import own_place
    from jaxvae.runs import read_json

    path = folder / "experiment.json"
    if not path.is_file():
        raise ConfigError(f"resume is {folder}, which is not a run folder: it has no experiment.json")
    saved = read_json(path)
    if not isinstance(saved, dict) or saved.get("experiment") != experiment.name:
        raise ConfigError(f"resume is {folder}, whose experiment.json is not one of {experiment.name}")
    names = saved.get("studies")
    if not isinstance(names, list):
        raise ConfigError(f"resume is {folder}, whose experiment.json is incomplete")
    changes, place = from_json(Changes, saved.get("changes")), from_json(ComputeFlags, saved.get("compute"))
    return chosen(experiment.studies, tuple(map(str, names))), changes, own_place(place)
