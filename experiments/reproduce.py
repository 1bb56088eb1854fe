"""Every number of the documents beside ours: train all studies that lack a result, then write experiments/README.md.

source      documents 000 to 004; each experiment names its own
run time    about 10 h on 2 idle CPU cores for all seeds at full length; `--quick` takes minutes and writes
            to another folder
command     python -m experiments.reproduce
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from experiments import (
    ae_against_vae,
    beta_sweep,
    conv_ablations,
    dense_conv,
    digit_cvae,
    fashion_cvae,
    first_steps,
    latent_plane,
    mlp_baseline,
    region_weighted,
)
from experiments.command import chosen, with_fallback
from experiments.study import Changes, Experiment, Study, changed, run_study
from jaxvae import cli
from jaxvae.config import check_range
from jaxvae.errors import ConfigError, JaxvaeError
from jaxvae.flags import SCALARS, DataFlags, unset

HERE = Path(__file__).parent
PICTURE_WIDTH = 800  # pixels
QUICK = Changes(epochs=2, seeds=(0,), data=DataFlags(limit=1000))
EXPERIMENTS: tuple[Experiment, ...] = (
    beta_sweep.EXPERIMENT,
    mlp_baseline.EXPERIMENT,
    dense_conv.EXPERIMENT,
    latent_plane.EXPERIMENT,
    digit_cvae.EXPERIMENT,
    fashion_cvae.EXPERIMENT,
    conv_ablations.EXPERIMENT,
    first_steps.EXPERIMENT,
    region_weighted.EXPERIMENT,
    ae_against_vae.EXPERIMENT,
)
STUDIES: tuple[Study, ...] = tuple(study for experiment in EXPERIMENTS for study in experiment.studies)


@dataclass(frozen=True)
class Reproduce:
    """Train the documents' studies where members are missing in experiments/results/, and write experiments/README.md.

    What is done is skipped, and what was interrupted goes on from its last checkpoint when the same command is given
    again. Runs are kept in the folder --work, records and pictures in experiments/results/.
    """

    studies: Annotated[tuple[str, ...], unset("NAME [NAME ...]", "all")] = ()
    """Which studies to train."""
    seeds: Annotated[tuple[int, ...] | None, unset("INT [INT ...]", "the study's")] = None
    """Only these seeds; with 0, every row once."""
    max_epochs: Annotated[int | None, unset("INT", "the document's")] = None
    """Stop at so many epochs; shorter runs are marked in the comparison."""
    quick: bool = False
    """Two epochs of 1,000 images and one seed of everything, compared in WORK/quick/README.md: minutes, not hours."""
    dry_run: bool = False
    """Train nothing: say what is missing, and write the comparison."""
    work: Path = Path("results/reproduce")
    """Where the run folders are."""
    data_dir: Annotated[Path | None, unset("DIR", "$JAXVAE_DATA_DIR")] = None
    """Folder with the IDX files of MNIST and Fashion-MNIST."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check every field."""
        chosen(STUDIES, self.studies)
        if self.max_epochs is not None:
            check_range("max_epochs", self.max_epochs, low=1, high=10**6)
        if self.quick and (self.max_epochs or self.seeds):
            raise ConfigError("quick has its own epochs and seeds; leave out max_epochs and seeds")


def run(flags: Reproduce) -> None:
    """Train what is missing, then compare."""
    from experiments import record
    from experiments.page import write_readme
    from jaxvae.experiment import say

    root, page = (HERE / "results", HERE / "README.md")
    work = flags.work
    if flags.quick:
        work = flags.work / "quick"
        root, page = work / "records", work / "README.md"
        root.mkdir(parents=True, exist_ok=True)
    for study in chosen(STUDIES, flags.studies):
        changes = Changes(min(study.epochs, flags.max_epochs or study.epochs), data=DataFlags(data_dir=flags.data_dir))
        if flags.quick:  # any real data will do
            changes = replace(QUICK, data=with_fallback([study], replace(QUICK.data, data_dir=flags.data_dir)))
        assert changes.epochs is not None
        as_run = changed(study, changes)
        wanted = flags.seeds or changes.seeds or study.sweep.seeds
        missing = record.missing(record.read(root, study), as_run, changes.epochs, wanted)
        if flags.dry_run:
            say(f"{study.name}: {in_words(study, missing)}")
            continue
        for points, seeds in missing:
            folder = work / study.name / folder_name(study, changes.epochs, points, seeds)
            part = replace(study, sweep=study.sweep.only(points))
            run_study(part, folder, replace(changes, seeds=seeds), resume_command="the same command again")
            record.add(root, as_run, folder)
        keep_pictures(study, work, root, every=bool(missing))
    numbers = {experiment.name: analysed(experiment, work, root, flags.dry_run) for experiment in EXPERIMENTS}
    write_readme(page, root, EXPERIMENTS, {study.name: record.read(root, study) for study in STUDIES}, numbers)
    say(f"comparison: {page}")


def in_words(study: Study, missing: Sequence[tuple[Sequence[int], Sequence[int]]]) -> str:
    """What there is to train."""
    every = len(study.sweep.points)
    parts = []
    for points, seeds in missing:
        text = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))} missing"
        parts.append(text if len(points) == every else f"{text} at {len(points)} of {every} points")
    return "; ".join(parts) or "complete"


def folder_name(study: Study, epochs: int, points: Sequence[int], seeds: Sequence[int]) -> str:
    """The same for the same members, so that an interrupted run is found again."""
    name = f"{epochs}_epochs_seeds_{'_'.join(map(str, seeds))}"
    return name if len(points) == len(study.sweep.points) else f"{name}_points_{'_'.join(map(str, points))}"


def keep_pictures(study: Study, work: Path, root: Path, *, every: bool) -> None:
    """Shrink the comparison's pictures of a study: every one, or those that are missing.

    Curves are drawn from the record, which has all seeds, but where the document's stand beside them; other pictures
    are of the study's fullest run, if that is here.
    """
    from experiments import record
    from experiments.comparison import curve_rows
    from jaxvae import plots

    folder, found = fullest(study, work / study.name), record.read(root, study)
    for picture in (p for e in EXPERIMENTS for p in e.pictures if p.study == study.name):
        source = folder / f"{picture.figure}.png" if folder else None
        target = root / f"{study.name}_{picture.figure}.png"
        if target.exists() and not every:
            continue
        if picture.figure == "curves" and study.trace is None and found:
            source = work / study.name / "curves.png"
            source.parent.mkdir(parents=True, exist_ok=True)
            plots.save(plots.loss_curves(curve_rows([study], {study.name: found}), "label"), source)
        if source and source.exists():
            target.write_bytes(plots.shrink(source.read_bytes(), PICTURE_WIDTH))


def analysed(experiment: Experiment, work: Path, root: Path, dry_run: bool) -> dict[str, Any]:
    """The tables of an experiment's analysis: kept ones, or new ones where there are other runs, of as many members.

    They are kept in `NAME_numbers.json` beside the records; remove it to have an analysis that has changed made anew.
    """
    from jaxvae import plots
    from jaxvae.experiment import say
    from jaxvae.runs import read_json, write_json

    if experiment.analysis is None:
        return {}
    path = root / f"{experiment.name}_numbers.json"
    kept = read_json(path) if path.exists() else {"members": 0, "runs": {}, "tables": {}}
    folders = {study.name: longest(work / study.name) for study in experiment.studies}
    runs = {name: [folder.name for folder in found] for name, found in folders.items()}
    members = sum(sum(found.values()) for found in folders.values())
    if dry_run or not all(runs.values()) or runs == kept["runs"] or members < kept["members"]:
        if not kept["tables"]:
            say(f"{experiment.name}: no analysis yet; it needs a finished run of each study in {work}")
        return kept["tables"]
    say(f"{experiment.name}: analysis")
    out = work / experiment.name
    out.mkdir(exist_ok=True)
    try:
        _, tables = experiment.analysis({name: list(found) for name, found in folders.items()}, out)
    except JaxvaeError as error:  # a run of an earlier version; the comparison is written all the same
        say(f"{experiment.name}: no analysis: {error}")
        return kept["tables"]
    write_json(path, {"members": members, "runs": runs, "tables": tables})
    for picture in out.glob("*.png"):
        (root / f"{experiment.name}_{picture.name}").write_bytes(plots.shrink(picture.read_bytes(), PICTURE_WIDTH))
    return tables


def finished(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The finished runs of a study and their summaries, those with the most members first."""
    from experiments.study import complete
    from jaxvae.runs import read_json

    runs = [(run, read_json(run / "summary.json")) for run in sorted(folder.glob("*_seeds_*")) if complete(run)]
    return sorted(runs, key=lambda run: -len(run[1]["members"]))


def longest(folder: Path) -> dict[Path, int]:
    """The finished runs of a study with the most epochs, and how many members they have.

    A run whose members are all in others is left out.
    """
    runs, found, seen = finished(folder), {}, set()
    for run, summary in runs:
        members = {tuple(member[name] for name in ("seed", *SCALARS)) for member in summary["members"]}
        if summary["epochs"] == max(summary["epochs"] for _, summary in runs) and not members <= seen:
            found[run] = len(members)
            seen |= members
    return dict(sorted(found.items()))


def fullest(study: Study, folder: Path) -> Path | None:
    """Of the finished runs that have all of a study's points, that with the most epochs, and of those most members."""
    from experiments.record import is_at

    def has_all(members: Sequence[dict[str, Any]]) -> bool:
        return all(any(is_at({"hparams": member}, point) for member in members) for point in study.sweep.points)

    whole = [(run, summary) for run, summary in finished(folder) if has_all(summary["members"])]
    return max(whole, key=lambda run: run[1]["epochs"])[0] if whole else None


if __name__ == "__main__":
    sys.exit(cli.main("reproduce", Reproduce, run))
