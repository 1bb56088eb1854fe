"""The documents' numbers beside ours: train every study below that has no result yet, then write experiments/README.md.

source      documents 001 and 004; each study names its own
run time    40 min for all studies on 2 CPU cores; a study that is done is not repeated
command     python -m experiments.reproduce
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jaxvae import cli
from jaxvae.config import Config
from jaxvae.errors import ConfigError
from jaxvae.flags import DataFlags

FOLDER = Path(__file__).parent
COLUMNS = ("seed", "beta", "epoch", "split", "loss", "reconstruction", "kl", "mse", "ssim", "active_units", "alive")


@dataclass(frozen=True)
class Number:
    """A printed figure: the mean over an epoch of a train metric, in nats per image."""

    beta: float
    epoch: int
    value: float
    tolerance: float | None  # relative; None: for information
    metric: str = "loss"


@dataclass(frozen=True)
class Study:
    """One training setting of a document, and the figures that the document prints for it."""

    name: str
    source: str
    epochs: int
    numbers: Sequence[Number]
    betas: tuple[float, ...] = (1.0,)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    model: Config = field(default_factory=Config)


MLP = Config(architecture="mlp", reconstruction="bernoulli")
STUDIES = (
    Study(
        "beta_sweep",
        "document 001, beta-VAE: conv, squared error, z = 20",
        epochs=10,
        betas=(1.0, 3.0, 8.0, 16.0),
        numbers=(
            Number(1, 1, 49.91, None),
            Number(1, 10, 29.92, 0.03),
            Number(3, 1, 53.80, None),
            Number(3, 10, 43.38, 0.03),
            Number(8, 1, 54.85, None),
            Number(8, 10, 52.42, 0.01),
            Number(16, 1, 54.87, None),
            Number(16, 10, 52.78, 0.01),
        ),
    ),
    Study(
        "conv_20_epochs",
        "document 001, conv VAE: squared error, z = 20",
        epochs=20,
        seeds=(0, 1, 2),
        numbers=(Number(1, 1, 52.38, None), Number(1, 20, 28.28, 0.03)),
    ),
    Study(
        "latent_plane_beta_1",
        "document 001, latent plane: conv, squared error, z = 2",
        epochs=20,
        seeds=(0, 1, 2),
        model=Config(latent_dim=2),
        numbers=(Number(1, 1, 54.74, None), Number(1, 20, 35.73, 0.03)),
    ),
    Study(
        "latent_plane_beta_3",
        "document 001, latent plane: conv, squared error, z = 2",
        epochs=15,
        betas=(3.0,),
        seeds=(0, 1, 2),
        model=Config(latent_dim=2),
        numbers=(Number(3, 1, 53.99, None), Number(3, 15, 45.03, 0.03)),
    ),
    Study(
        "mlp_100_epochs",
        "document 004: MLP, Bernoulli, z = 20",
        epochs=100,
        seeds=(0, 1),
        model=MLP,
        numbers=tuple(
            Number(1, epoch, value, tolerance, metric)
            for epoch, tolerance, values in (
                (1, None, (165.30, 150.13, 15.18)),
                (5, 0.01, (109.97, 85.02, 24.95)),
                (10, 0.01, (106.32, 81.02, 25.30)),
                (20, 0.01, (104.06, 78.62, 25.44)),
                (50, 0.01, (101.85, 76.42, 25.43)),
                (100, 0.01, (100.56, 75.25, 25.31)),
            )
            for metric, value in zip(("loss", "reconstruction", "kl"), values, strict=True)
        ),
    ),
)


@dataclass(frozen=True)
class Reproduce:
    """Train the documents' studies that have no result yet, and write the comparison experiments/README.md."""

    studies: tuple[str, ...] = tuple(study.name for study in STUDIES)
    """Which studies to train."""
    again: bool = False
    """Train them even where a result exists."""
    data: DataFlags = field(default_factory=lambda: DataFlags(dataset="mnist"))
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check the names."""
        names = [study.name for study in STUDIES]
        for name in self.studies:
            if name not in names:
                raise ConfigError(f"studies has {name!r}; there are {', '.join(names)}")


def run(flags: Reproduce) -> None:
    """Train what is missing, then compare."""
    from experiments.comparison import write_comparison
    from jaxvae.experiment import load, say
    from jaxvae.runs import read_json, write_text

    if flags.data.dataset != "mnist" or flags.data.limit is not None:
        raise ConfigError("dataset and limit: the documents' numbers are for all of mnist")
    paths = {study.name: FOLDER / "results" / f"{study.name}.json" for study in STUDIES}
    for study in STUDIES:
        if study.name in flags.studies and (flags.again or not paths[study.name].exists()):
            say(f"study {study.name}: {study.source}")
            write_text(paths[study.name], as_text(train(study, load(flags.data))))
    found = [(study, read_json(paths[study.name])) for study in STUDIES if paths[study.name].exists()]
    write_comparison(FOLDER / "README.md", found)
    say(f"comparison: {FOLDER / 'README.md'}")


def train(study: Study, dataset: Any) -> dict[str, Any]:
    """Train a study; its settings, every epoch's metrics, and what they were made with."""
    from jaxvae.fit import Sweep, fit
    from jaxvae.progress import show_progress
    from jaxvae.runs import environment
    from jaxvae.sweep import grid

    begun = time.monotonic()
    with show_progress(study.epochs) as show:
        sweep = Sweep(study.model, dataset, grid(beta=study.betas, seeds=study.seeds))
        progress = fit(sweep, epochs=study.epochs, on_epoch=show)
    return {
        "study": study.name,
        "model": asdict(study.model),
        "seconds": round(time.monotonic() - begun, 1),
        "sha256": dataset.sha256,
        "environment": environment(),
        "columns": COLUMNS,
        "rows": [[compact(row.get(name)) for name in COLUMNS] for row in progress.history],
    }


def compact(value: Any) -> Any:
    """Six significant digits are enough for a table."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def as_text(result: dict[str, Any]) -> str:
    """JSON with one line per row of metrics, so that a file is small and a change of it readable."""
    head = json.dumps({name: value for name, value in result.items() if name != "rows"}, indent=1)
    rows = ",\n".join("  " + json.dumps(row) for row in result["rows"])
    return f'{head[:-2]},\n "rows": [\n{rows}\n ]\n}}\n'


if __name__ == "__main__":
    sys.exit(cli.main("reproduce", Reproduce, run))
