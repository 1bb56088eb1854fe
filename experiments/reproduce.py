"""Every number of the documents beside ours: train all studies that lack a result, then write experiments/README.md.

source      documents 000 to 004; each experiment names its own
run time    a day on 2 CPU cores for all seeds at full length; `--quick` takes minutes and writes to another folder
command     python -m experiments.reproduce
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from experiments import (
    ae_against_vae,
    beta_sweep,
    conv_ablations,
    dense_conv,
    digit_cvae,
    fashion_cvae,
    latent_plane,
    mlp_baseline,
    region_weighted,
)
from experiments.command import chosen
from experiments.study import Changes, Experiment, Study, run_study
from jaxvae import cli
from jaxvae.config import check_range
from jaxvae.errors import ConfigError
from jaxvae.flags import DataFlags, unset

HERE = Path(__file__).parent
PICTURE_WIDTH = 900  # pixels
QUICK = Changes(epochs=2, seeds=(0,), data=DataFlags(limit=1000))
EXPERIMENTS: tuple[Experiment, ...] = (
    beta_sweep.EXPERIMENT,
    mlp_baseline.EXPERIMENT,
    dense_conv.EXPERIMENT,
    latent_plane.EXPERIMENT,
    digit_cvae.EXPERIMENT,
    fashion_cvae.EXPERIMENT,
    conv_ablations.EXPERIMENT,
    region_weighted.EXPERIMENT,
    ae_against_vae.EXPERIMENT,
)
STUDIES: tuple[Study, ...] = tuple(study for experiment in EXPERIMENTS for study in experiment.studies)


@dataclass(frozen=True)
class Reproduce:
    """Train the documents' studies where members are missing in experiments/results/, and write experiments/README.md.

    What is done is skipped, and what was interrupted goes on from its last checkpoint. Runs are kept in the folder
    --work, a study each; without it, what is done stays done, but an interrupted study starts again.
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
    from experiments.comparison import write_readme
    from jaxvae.experiment import say

    root, page = (HERE / "results", HERE / "README.md")
    work = flags.work
    if flags.quick:
        work = flags.work / "quick"
        root, page = work / "records", work / "README.md"
        root.mkdir(parents=True, exist_ok=True)
    for study in chosen(STUDIES, flags.studies):
        epochs = QUICK.epochs if flags.quick else min(study.epochs, flags.max_epochs or study.epochs)
        assert epochs is not None
        wanted = flags.seeds or (QUICK.seeds if flags.quick else None) or study.sweep.seeds
        missing = record.missing_seeds(record.read(root, study), study, epochs)
        seeds = tuple(seed for seed in wanted if seed in missing)
        if flags.dry_run:
            say(f"{study.name}: " + (f"seeds {', '.join(map(str, seeds))} are missing" if seeds else "complete"))
        elif seeds:
            limit = QUICK.data.limit if flags.quick else None
            changes = Changes(epochs, seeds, DataFlags(data_dir=flags.data_dir, limit=limit))
            folder = work / study.name / f"{epochs}_epochs_seeds_{'_'.join(map(str, seeds))}"
            run_study(study, folder, changes, resume_command="the same command again")
            keep(study, folder, root)
    numbers = {experiment.name: analysed(experiment, work, root, flags.dry_run) for experiment in EXPERIMENTS}
    write_readme(page, root, EXPERIMENTS, {study.name: record.read(root, study) for study in STUDIES}, numbers)
    say(f"comparison: {page}")


def keep(study: Study, folder: Path, root: Path) -> None:
    """The record of a finished run, and the pictures of it that the comparison shows."""
    from experiments import record
    from jaxvae import plots

    record.add(root, study, folder)
    for picture in (p for e in EXPERIMENTS for p in e.pictures if p.study == study.name):
        source = folder / f"{picture.figure}.png"
        if source.exists():
            small = plots.shrink(source.read_bytes(), PICTURE_WIDTH)
            (root / f"{study.name}_{picture.figure}.png").write_bytes(small)


def analysed(experiment: Experiment, work: Path, root: Path, dry_run: bool) -> dict[str, Any]:
    """The numbers of an experiment's analysis: kept ones, or new ones where all its runs are at hand."""
    from jaxvae import plots
    from jaxvae.experiment import say
    from jaxvae.runs import read_json, write_json

    path = root / f"{experiment.name}_numbers.json"
    if experiment.analysis is None:
        return {}
    if path.exists():
        return read_json(path)
    folders = {study.name: newest(work / study.name) for study in experiment.studies}
    if dry_run or not all(folders.values()):
        return {}
    say(f"{experiment.name}: analysis")
    out = work / experiment.name
    out.mkdir(exist_ok=True)
    _, numbers = experiment.analysis({name: folder for name, folder in folders.items() if folder}, out)
    write_json(path, numbers)
    for picture in out.glob("*.png"):
        (root / f"{experiment.name}_{picture.name}").write_bytes(plots.shrink(picture.read_bytes(), PICTURE_WIDTH))
    return numbers


def newest(folder: Path) -> Path | None:
    """The complete run with the most seeds in a study's folder."""
    from experiments.study import complete

    runs: Sequence[Path] = [path for path in folder.glob("*_seeds_*") if complete(path)]
    return max(runs, key=lambda path: len(path.name), default=None)


if __name__ == "__main__":
    sys.exit(cli.main("reproduce", Reproduce, run))
