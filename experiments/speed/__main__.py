"""How fast jaxvae trains, beside PyTorch in the documents' loop and tuned, and beside the machine's GEMM peak.

source      the models of documents 001 to 004, at their batch sizes
run time    --parts training --epochs 3: 36 min on 2 cores of a Xeon whose host disturbed B; 13 min on an idle EPYC
command     pip install -e '.[bench]' && python -m experiments.speed
"""

import os
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from experiments.command import with_fallback
from experiments.page import markdown
from experiments.reproduce import STUDIES
from experiments.speed.contestants import Contestant, Task
from experiments.study import Study, first_member
from jaxvae import cli
from jaxvae.config import check_range
from jaxvae.errors import ConfigError
from jaxvae.flags import DataFlags, unset

MODELS = {
    "A": ("mlp_baseline", "document 004's MLP"),
    "B": ("leaky_conv", "document 003's conv VAE"),
    "C": ("conv_squared_error", "document 001's conv VAE"),
    "D": ("fashion_cvae_conv", "document 002's conv CVAE"),
}
Part = Literal["training", "costs", "members", "devices", "variants", "profile"]


@dataclass(frozen=True)
class Speed:
    """Train four models with jaxvae and with PyTorch, in turns, from the same weights, and compare their speed.

    A: document 004's MLP. B: document 003's conv VAE. C: document 001's. D: document 002's conditional one. Leave the
    machine alone while it measures. Every figure is of this run; speed.csv has all epochs.
    """

    models: Annotated[tuple[str, ...], unset("A|B|C|D ...", "all")] = ()
    """Which models to train."""
    parts: tuple[Part, ...] = ("training", "costs")
    """training: epochs of each library, in turns (needs PyTorch; everything then runs on the CPU). costs: evaluation,
    files, a sweep, the compiler. members: how an epoch grows with the members of a sweep. devices: one model and a
    sweep on 1 to 8 devices, pmap, data on the host. variants: both lowerings at each precision of matrix products; on a
    CPU native convolutions take up to 600 s an epoch, so add --limit. profile: what an epoch's time goes to, operation
    by operation."""
    epochs: int = 5
    """Epochs that are timed, after one that is not. On a virtual machine a round does not count from which the host
    took much of the processors' time; up to three times as many are trained then."""
    members: tuple[int, ...] = (1, 4, 16, 64, 256)
    """Numbers of members, for the part of this name."""
    data: DataFlags = field(default_factory=DataFlags)
    out: Annotated[Path | None, unset("DIR", "results/speed/TIME-ID")] = None
    """Folder for the tables and the picture, new or empty."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check every field."""
        for model in self.models:
            if model not in MODELS:
                raise ConfigError(f"models has {model!r}; there are {', '.join(MODELS)}")
        check_range("epochs", self.epochs, low=1, high=1000)
        if not self.members:
            raise ConfigError("members needs a number")
        if self.data.rgb:
            raise ConfigError("rgb: the documents' networks that are compared take one channel")
        for count in self.members:
            check_range("members", count, low=1, high=10**5)
        if "training" in self.parts and not find_spec("torch"):
            raise ConfigError(
                "the part `training` needs PyTorch: pip install -e '.[bench]', or leave it out of --parts"
            )


def run(flags: Speed) -> Path:
    """Measure, print, and write the files."""
    from experiments.speed import costs, devices, members, profile, tables, training, variants
    from jaxvae import runs
    from jaxvae.experiment import say

    folder = runs.new_folder("speed", flags.out)
    results, costs_rows, member_rows, device_rows, variant_rows = [], [], [], [], []
    environments: dict[str, dict[str, Any]] = {}
    models = flags.models or tuple(MODELS)
    if "training" in flags.parts:
        os.environ["JAX_PLATFORMS"] = "cpu"  # of the processes that measure
    data = with_fallback([named(model) for model in models], flags.data)
    for model in models:
        study = study_of(model, data)
        say(f"{model}: {MODELS[model][1]}")
        if "training" in flags.parts:
            results.append(training.measure(model, study, flags.epochs, say))
            tables.write(results, folder)
        found: dict[str, Any] = {}
        for part in (part for part in flags.parts if part != "training"):
            found[part], environment = ask(study, part, *([flags.members] if part == "members" else []))
            environments.setdefault(part, {})[model] = environment
            runs.write_json(folder / f"environment_{part}.json", environments[part])
        if "costs" in found:
            costs_rows.append(costs.row(model, found["costs"]))
            runs.write_text(folder / "costs.md", f"{markdown(costs.HEADER, costs_rows)}\n\n{costs.NOTES}")
        if "members" in found:
            member_rows += members.rows(model, found["members"])
            runs.write_text(folder / "members.md", markdown(members.HEADER, member_rows) + "\n")
        if "devices" in found:
            device_rows += devices.rows(model, found["devices"])
            runs.write_text(folder / "devices.md", f"{markdown(devices.HEADER, device_rows)}\n\n{devices.NOTES}")
        if "variants" in found:
            variant_rows += variants.rows(model, found["variants"])
            runs.write_text(folder / "variants.md", markdown(variants.HEADER, variant_rows) + "\n")
        if "profile" in found:
            runs.write_text(folder / f"profile_{model}.md", profile.page(found["profile"]))
    for path in sorted(folder.glob("*.md")):
        print(f"{path.name}\n\n{path.read_text()}")
    say(f"tables: {folder}")
    return folder


def named(model: str) -> Study:
    """The study that has a model."""
    (study,) = (study for study in STUDIES if study.name == MODELS[model][0])
    return study


def study_of(model: str, data: DataFlags) -> Study:
    """The study of a model at its first point and seed, on the data that the flags ask for."""
    return first_member(named(model), data)


def ask(study: Study, what: str, *arguments: Any) -> tuple[Any, dict[str, Any]]:
    """What jaxvae answers in a new process, with nothing beside it, and what that depends on: machine, commit, data."""
    from experiments.speed.devices import COUNTS

    count = max(COUNTS) if what == "devices" else 1
    with TemporaryDirectory() as cache, Contestant("jaxvae", Task(study, Path(cache), cpu_devices=count)) as ours:
        return ours.ask(what, *arguments), ours.ask("environment")


if __name__ == "__main__":
    sys.exit(cli.main("speed", Speed, run))
