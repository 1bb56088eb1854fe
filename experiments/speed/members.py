"""How the time of an epoch grows with the members of a sweep."""

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from experiments.speed.ours import Trainer
from experiments.study import Study

if TYPE_CHECKING:
    from jaxvae.data.dataset import Dataset

ROUNDS = 3
HEADER = ("model", "members", "side by side", "s/epoch", "s per member", "times one")


class Measured(NamedTuple):
    """A sweep of so many members."""

    members: int
    chunk: int  # of them side by side
    seconds: float  # median epoch of all of them


def measure(study: Study, data: "Dataset", counts: Sequence[int]) -> list[Measured]:
    """The median of some epochs for each number of members."""
    found = []
    for count in counts:
        trainer = Trainer(study, data, count)
        trainer.epoch()  # compiles
        seconds = median(trainer.epoch().seconds for _ in range(ROUNDS))
        found.append(Measured(count, trainer.sweep.chunk, seconds))
    return found


def rows(model: str, measured: Sequence[Measured]) -> list[tuple[str, ...]]:
    """As cells; the last compares with as many times the first row's time per member."""
    one = measured[0].seconds / measured[0].members
    return [
        (
            model,
            str(m.members),
            str(m.chunk),
            f"{m.seconds:.3f}",
            f"{m.seconds / m.members:.4f}",
            f"{m.seconds / one:.2f}",
        )
        for m in measured
    ]
