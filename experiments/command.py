"""The command line of an experiment: train its studies one after the other, then one page that compares them."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from experiments.study import Changes, Experiment, Study, flags_of, run_study
from jaxvae import cli
from jaxvae.config import check_range
from jaxvae.errors import ConfigError
from jaxvae.flags import DataFlags, from_json, to_json, unset


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
    out: Annotated[Path | None, unset("DIR", "results/NAME/TIME-ID")] = None
    """Run folder, new or empty; each study has a folder in it."""
    resume: Annotated[Path | None, unset("DIR", "a new run")] = None
    """Go on with the run in this folder, with its own settings."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check every field."""
        if self.epochs is not None:
            check_range("epochs", self.epochs, low=1, high=10**6)
        if self.out is not None and self.resume is not None:
            raise ConfigError("out and resume exclude each other; a resumed run stays in its folder")

    @property
    def changes(self) -> Changes:
        """What these flags change of a study."""
        return Changes(self.epochs, self.seeds, self.data)


def main(experiment: Experiment, doc: str | None) -> int:
    """Run `experiment` from the process's command line; `doc`, its module's docstring, is the help text."""
    kind = type(experiment.name, (ExperimentFlags,), {"__doc__": doc})
    return cli.main(experiment.name, kind, lambda flags: run(experiment, flags))


def run(experiment: Experiment, flags: ExperimentFlags) -> Path:
    """Train the studies that `flags` ask for, write the page that compares them, and return the run folder."""
    from jaxvae import runs
    from jaxvae.experiment import say

    if flags.resume is None:
        studies = chosen(experiment.studies, flags.studies)
        changes = replace(flags.changes, data=with_fallback(studies, flags.data))
        for study in studies:
            flags_of(study, changes)  # refuses bad values before anything is written
        folder = runs.new_folder(experiment.name, flags.out)
        names = [study.name for study in studies]
        record = {"experiment": experiment.name, "studies": names, "changes": to_json(changes)}
        runs.write_json(folder / "experiment.json", record)
    else:
        folder = flags.resume
        if flags != type(flags)(resume=flags.resume, debug=flags.debug):
            raise ConfigError("resume goes on with a run's own settings; no other flag may be given beside it")
        studies, changes = recorded(experiment, folder)
    command = f"python -m experiments.{experiment.name} --resume {folder}"
    for study in studies:
        run_study(study, folder / study.name, changes, resume_command=command)
    write_page(experiment, studies, folder)
    say(f"report: {folder / 'report.html'}")
    return folder


def write_page(experiment: Experiment, studies: list[Study], folder: Path) -> None:
    """`report.html` over all studies, `numbers.json`, and the comparison with the document on stdout."""
    from experiments import comparison
    from experiments.record import record_of
    from jaxvae import plots, runs
    from jaxvae.report import Image, Section, Table, Text, write_report
    from jaxvae.tables import print_table

    records = {study.name: record_of(study, folder / study.name) for study in studies}
    printed = [line for study in studies for line in comparison.lines(study, records[study.name])]
    table = [line.cells for line in printed]
    final = [row for study in studies for row in comparison.final_rows(study, records[study.name])]
    sections: list[Section] = []
    if table:
        note = "Ours: mean ± deviation over the seeds. " + comparison.VERDICTS
        sections.append(Section("Beside the document", [Table(comparison.HEADER, table, note)]))
    caption = "Test split after the last epoch; mean ± deviation over the seeds."
    sections.append(Section("Results", [Table(comparison.FINAL_HEADER, final, caption)]))
    curves = comparison.curve_rows(studies, records)
    plots.save(plots.loss_curves(curves, "label"), folder / "curves.png")
    caption = "Nats per image against the epoch; lines are means over the seeds, bands their range."
    sections.append(Section("Loss, reconstruction and KL", [Image(folder / "curves.png", caption, "loss curves")]))
    if experiment.analysis is not None:
        folders = {study.name: folder / study.name for study in studies}
        found, numbers = experiment.analysis(folders, folder)
        sections += found
        runs.write_json(folder / "numbers.json", numbers)
    for study in studies:
        pictures = [folder / study.name / f"{name}.png" for name in ("reconstructions", "samples", "class_samples")]
        images = [Image(path, f"{study.title}; more in {study.name}/report.html", path.stem) for path in pictures]
        sections.append(Section(study.title, [Text(study.note), *(i for i in images if Path(i.png).exists())]))
    write_report(
        folder / "report.html",
        title=experiment.title,
        intro=f"{experiment.question}\n\nSource: {experiment.source}.",
        sections=sections,
        settings={"studies": ", ".join(study.name for study in studies), "folder": folder.absolute()},
    )
    if table:
        print_table(comparison.HEADER, table, sys.stdout)


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
    """`auto` is each study's own data set, or the embedded digits for all where one cannot be had; it says so."""
    from jaxvae.data import load
    from jaxvae.data.dataset import Unavailable
    from jaxvae.experiment import say

    if data.dataset != "auto":
        return data
    try:
        for name in {study.data.dataset for study in studies}:
            load(name, data.data_dir)
    except Unavailable as why:
        say(f"data: the embedded digits, because {why}")
        return replace(data, dataset="digits")
    return data


def recorded(experiment: Experiment, folder: Path) -> tuple[list[Study], Changes]:
    """The studies and changes of the run in `folder`."""
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
    return chosen(experiment.studies, tuple(map(str, names))), from_json(Changes, saved.get("changes"))
