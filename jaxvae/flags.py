"""Flags that experiments share, as frozen dataclasses; `jaxvae.cli` turns them into a command line. Imports no jax."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

from jaxvae.config import Config, DataOn, DatasetName, check_range
from jaxvae.errors import ConfigError

EPOCHS = {"mnist": 10, "fashion_mnist": 10, "digits": 60}
BATCH_SIZE = {"mnist": 128, "fashion_mnist": 128, "digits": 32}
"""Defaults by data set: document 001's, and enough updates of the 1,500 images of `digits` for telling pictures."""


SCALARS = {
    "beta": "betas",
    "learning_rate": "learning_rates",
    "warmup_steps": "warmup_steps",
    "variance": "variances",
    "white_threshold": "white_thresholds",
    "white_weight": "white_weights",
    "black_weight": "black_weights",
}
"""Each hyper-parameter of `jaxvae.types.Hparams` and the flag that lists its values."""
RANGES = {"seeds": (0, 2**32 - 1), "variances": (1e-6, 1e6), "white_thresholds": (0.0, 1.0)}
"""Least and greatest value of a flag; the others' are 0 and a million."""
MOST_MEMBERS = 10_000
"""Of a sweep: all are in memory at once."""
USED_BY = {
    "variances": ("squared_error", "gaussian"),
    **dict.fromkeys(("white_thresholds", "white_weights", "black_weights"), ("region_weighted",)),
}
"""The reconstruction losses that know a scalar."""


def unset(metavar: str, default: str) -> Any:
    """How a flag whose default is None is shown: its value's name, and what happens without it."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


@dataclass(frozen=True)
class SweepFlags:
    """The members: every combination of the scalars' values, or `paired` ones, with every seed.

    `SCALARS` says which fields are scalars.
    """

    betas: tuple[float, ...] = (1.0, 3.0, 8.0, 16.0)
    """Weights of the KL term."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of initialization, order and noise; figures show the mean and the range over them."""
    learning_rates: tuple[float, ...] = (1e-3,)
    """Adam's learning rates."""
    warmup_steps: tuple[float, ...] = (0.0,)
    """Steps over which the learning rate rises linearly to its value; 0 for none."""
    variances: tuple[float, ...] = (0.5,)
    """Variances of the Gaussian decoder; 0.5 makes squared_error the plain sum of squares."""
    white_thresholds: tuple[float, ...] = (0.5,)
    """region_weighted: pixels above it are white."""
    white_weights: tuple[float, ...] = (1.0,)
    """region_weighted: weights of the white pixels."""
    black_weights: tuple[float, ...] = (1.0,)
    """region_weighted: weights of the other pixels."""
    paired: bool = False
    """Take the scalars' lists side by side, one member per place and seed, rather than in every combination; a single
    value serves all places."""
    epochs: Annotated[int | None, unset("INT", "10, on digits 60")] = None
    """Passes over the training images."""
    batch_size: Annotated[int | None, unset("INT", "128, on digits 32")] = None
    """Images per update."""

    def __post_init__(self) -> None:
        """Check every field."""
        for name in (*SCALARS.values(), "seeds"):
            values = getattr(self, name)
            if not values:
                raise ConfigError(f"{name} is empty; name at least one")
            if len(set(values)) < len(values) and not (self.paired and name != "seeds"):
                raise ConfigError(f"{name} must not repeat a value: equal members give equal results")
            for value in values:
                low, high = RANGES.get(name, (0.0, 1e6))
                check_range(name, value, low=low, high=high)
        for name in ("epochs", "batch_size"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), low=1, high=10**6)
        counts = {name: len(getattr(self, name)) for name in SCALARS.values()}
        if self.paired and len({count for count in counts.values() if count > 1}) > 1:
            found = ", ".join(f"{name} has {count} values" for name, count in counts.items() if count > 1)
            raise ConfigError(f"{found}; with paired, give as many of each, or one")
        if (members := len(self.seeds) * (max if self.paired else prod)(counts.values())) > MOST_MEMBERS:
            raise ConfigError(f"the sweep has {members} members, more than {MOST_MEMBERS}; give fewer values or seeds")
        if self.paired:
            points = [tuple(point.values()) for point in self.points]
            if len(set(points)) < len(points):
                raise ConfigError("paired lists must not repeat a member: equal members give equal results")

    @property
    def points(self) -> tuple[dict[str, float], ...]:
        """The values of `SCALARS` that are trained with every seed."""
        lists = [getattr(self, name) for name in SCALARS.values()]
        places = max(map(len, lists))
        rows = zip(*(v * places if len(v) == 1 else v for v in lists), strict=True) if self.paired else product(*lists)
        return tuple(dict(zip(SCALARS, row, strict=True)) for row in rows)

    def at_points(self, points: Sequence[Mapping[str, float]]) -> "SweepFlags":
        """The same sweep at these points; a scalar that a point does not name has this sweep's first value."""
        if unknown := sorted({name for point in points for name in point} - set(SCALARS)):
            raise TypeError(f"no such scalar: {', '.join(unknown)}; there are {', '.join(SCALARS)}")
        lists = {
            flag: tuple(point.get(name, getattr(self, flag)[0]) for point in points) for name, flag in SCALARS.items()
        }
        lists = {flag: values[:1] if len(set(values)) == 1 else values for flag, values in lists.items()}
        return replace(self, paired=True, **lists)

    def only(self, numbers: Sequence[int]) -> "SweepFlags":
        """The same sweep at those of its points, by their place in `points`."""
        if list(numbers) == list(range(len(self.points))):
            return self
        return self.at_points([self.points[number] for number in numbers])


@dataclass(frozen=True)
class DataFlags:
    """Where the images come from."""

    dataset: DatasetName = "auto"
    """auto is the experiment's own (MNIST, unless it says otherwise) where that is on disk or can be downloaded, else
    the embedded digits; it says which, and why."""
    data_dir: Annotated[Path | None, unset("DIR", "$JAXVAE_DATA_DIR")] = None
    """Folder with the IDX files, in it or in DIR/<name>."""
    limit: Annotated[int | None, unset("INT", "all")] = None
    """Train and test on the first so many images only, for a short look."""
    rgb: bool = False
    """Repeat grey images in three equal channels."""

    def __post_init__(self) -> None:
        """Check every field."""
        if self.limit is not None:
            check_range("limit", self.limit, low=1, high=10**9)


@dataclass(frozen=True)
class ComputeFlags:
    """Where a run is computed. Its numbers depend on it by rounding only, and it may change when a run is resumed."""

    devices: Annotated[int | None, unset("INT", "all")] = None
    """How many devices to compute on: members are spread over them, and where there are more devices than members, each
    batch. The numbers are the same to rounding."""
    data_on: DataOn = "auto"
    """Where the images wait: device is fastest; host feeds them in chunks that arrive while the one before trains; auto
    is the device's memory where it has room."""
    coordinator: Annotated[str | None, unset("HOST:PORT", "one process alone")] = None
    """Several processes train together, each started with the same flags: where process 0 listens; or auto, what the
    cluster's environment says (SLURM, Open MPI, TPU pods, Kubernetes). They share the run folder, which process 0
    writes; the numbers are those of one process, to rounding."""
    num_processes: Annotated[int | None, unset("INT", "the cluster's")] = None
    """How many processes there are."""
    process_id: Annotated[int | None, unset("INT", "the cluster's")] = None
    """Which of them this one is, from 0."""

    def __post_init__(self) -> None:
        """Check every field."""
        if self.devices is not None:
            check_range("devices", self.devices, low=1, high=10**6)
        given = [name for name in ("num_processes", "process_id") if getattr(self, name) is not None]
        if self.coordinator in (None, "auto"):
            if given:
                raise ConfigError(f"{given[0]} needs coordinator, as HOST:PORT")
            return
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise ConfigError(f"coordinator is {self.coordinator!r}; it must be HOST:PORT, or auto")
        if self.num_processes is None or self.process_id is None:
            raise ConfigError("coordinator needs num_processes and process_id, unless it is auto")
        check_range("num_processes", self.num_processes, low=1, high=10**5)
        check_range("process_id", self.process_id, low=0, high=self.num_processes - 1)


@dataclass(frozen=True)
class RunFlags:
    """Where results go."""

    out: Annotated[Path | None, unset("DIR", "results/NAME/TIME-ID")] = None
    """Run folder, new or empty."""
    resume: Annotated[Path | None, unset("DIR", "a new run")] = None
    """Continue the run in this folder with its own settings; beside it only --epochs, --checkpoint-every, --data-dir
    and what says where it is computed may be others."""
    checkpoint_every: Annotated[int | None, unset("INT", "as often as costs 1 % of the time")] = None
    """Epochs between checkpoints. By default an interruption loses less than a minute of training and an epoch; the end
    of training always has a checkpoint."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check every field."""
        if self.checkpoint_every is not None:
            check_range("checkpoint_every", self.checkpoint_every, low=1, high=10**6)
        if self.out is not None and self.resume is not None:
            raise ConfigError("out and resume exclude each other; a resumed run stays in its folder")


@dataclass(frozen=True)
class Flags:
    """All flags of a sweep; an experiment's subclass gives its own help text and defaults."""

    sweep: SweepFlags = field(default_factory=SweepFlags)
    model: Config = field(default_factory=Config)
    data: DataFlags = field(default_factory=DataFlags)
    compute: ComputeFlags = field(default_factory=ComputeFlags)
    run: RunFlags = field(default_factory=RunFlags)

    def __post_init__(self) -> None:
        """Refuse a sweep over a scalar that the loss does not know: its members would be equal."""
        for name, losses in USED_BY.items():
            if len(getattr(self.sweep, name)) > 1 and self.model.reconstruction not in losses:
                raise ConfigError(f"{name} has several values, but only {' and '.join(losses)} knows them")


def to_json(flags: Any) -> dict[str, Any]:
    """Nested flags as JSON values."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(item) for name, item in value.items()}
        return str(value) if isinstance(value, Path) else value

    return plain(asdict(flags))


def from_json(kind: type, values: Any) -> Any:
    """The flags that `to_json` wrote.

    Raises:
        ConfigError: a field is missing, unknown, of the wrong type or out of range.
    """
    hints = get_type_hints(kind)
    if not isinstance(values, dict) or values.keys() != hints.keys():
        raise ConfigError(f"{kind.__name__}: the saved settings are not those of this version of jaxvae")
    return kind(**{name: _read(name, hint, values[name]) for name, hint in hints.items()})


def _read(name: str, hint: Any, value: Any) -> Any:
    """A JSON value as the type that `hint` asks for."""
    if isinstance(hint, type) and is_dataclass(hint):
        return from_json(hint, value)
    if not _fits(hint, value):
        raise ConfigError(f"{name} is {value!r} in the saved settings, which is not {hint}")
    if isinstance(value, list):
        return tuple(value)
    return Path(value) if hint == Path | None and value is not None else value


def _fits(hint: Any, value: Any) -> bool:
    if get_origin(hint) is tuple:
        return isinstance(value, list) and all(_fits(get_args(hint)[0], item) for item in value)
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if args := get_args(hint):  # a union
        return any(_fits(each, value) for each in args)
    kinds = {float: (int, float), Path: str}.get(hint, hint)
    return isinstance(value, kinds) and isinstance(value, bool) == (hint is bool)
