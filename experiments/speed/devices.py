"""What an epoch takes on several devices: members spread over them, batches split, `pmap`, data on the host."""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.speed.rounds import Rounds, in_turns
from experiments.study import Study

if TYPE_CHECKING:
    from jaxvae.data.dataset import Dataset
    from jaxvae.fit import Sweep
    from jaxvae.parallel import Device

COUNTS = (1, 2, 4, 8)
"""Devices; on a CPU so many are made of it."""
MEMBERS = 8
"""Of a sweep that is spread over them."""
ROUNDS, LIMIT = 3, 600.0


class Way(NamedTuple):
    """One way to train an epoch."""

    members: int
    devices: int
    how: str

    @property
    def on_one(self) -> "Way":
        """What it is compared with."""
        return Way(self.members, 1, MESH)


MESH, PMAP, FED = "mesh", "pmap", "mesh, data on the host"


def ways(available: int) -> list[Way]:
    """All that so many devices allow."""
    counts = [count for count in COUNTS if count <= available]
    return [
        *(Way(1, count, how) for count in counts for how in (MESH, PMAP)),
        Way(1, 1, FED),
        *(Way(MEMBERS, count, MESH) for count in counts),
    ]


def measure(study: Study, data: "Dataset") -> tuple[list[Way], Rounds]:
    """Epochs of all ways, in turns."""
    import jax

    devices = jax.devices()
    found = ways(len(devices))
    epochs = [epoch_of(way, study, data, devices[: way.devices]) for way in found]
    for epoch in 2 * epochs:
        epoch()  # compiles; `pmap` a second time, for the state that it returns
    return found, in_turns(epochs, ROUNDS, limit=LIMIT)


def epoch_of(way: Way, study: Study, data: "Dataset", devices: "Sequence[Device]") -> Callable[[], None]:
    """A function that trains one epoch more."""
    import jax

    from jaxvae.fit import Sweep
    from jaxvae.sweep import at_points

    members = at_points(study.sweep.points[:1], range(way.members))
    assert study.sweep.batch_size is not None
    where = "host" if way.how == FED else "device"
    sweep = Sweep(study.model, data, members, batch_size=study.sweep.batch_size, devices=devices, data_on=where)
    if way.how == PMAP:
        return by_pmap(sweep, devices)
    state = sweep.start().state

    def epoch() -> None:
        nonlocal state
        state, _ = sweep.train_epoch(state, 1)
        jax.block_until_ready(state)

    return epoch


def by_pmap(sweep: "Sweep", devices: "Sequence[Device]") -> Callable[[], None]:
    """An epoch of the first member, with the same step, by a user's own `pmap`."""
    import jax
    import numpy as np

    from jaxvae.train import train_epoch

    epoch_on_each = jax.pmap(
        partial(train_epoch, sweep.train_step, batch_size=sweep.batch_size, axis_name="data"),
        axis_name="data",
        donate_argnums=0,
        devices=devices,
    )

    def on_each(tree: Any) -> Any:
        copies = jax.tree.map(lambda x: np.broadcast_to(np.asarray(x), (len(devices), *x.shape)), tree)
        return jax.pmap(lambda x: x, devices=devices)(copies)

    state = on_each(jax.tree.map(lambda x: x[0], sweep.start().state))
    split = on_each(sweep.train)
    keys = jax.random.wrap_key_data(on_each(jax.random.key_data(sweep.train_keys[0])))

    def epoch() -> None:
        nonlocal state
        state, _ = epoch_on_each(state, split, keys)
        jax.block_until_ready(state)

    return epoch


HEADER = ("model", "members", "devices", "how", "s/epoch", "times one device", "stolen", "rounds that count")
NOTES = """Medians over the rounds that count, the smallest and the largest; in each round every way took a turn. Times
one device: beside as many members on one device of the mesh, with data on it, in the same round. CPU devices are made
of one processor and share its cores.
"""


def rows(model: str, found: tuple[Sequence[Way], Rounds]) -> list[tuple[str, ...]]:
    """As cells."""
    names, rounds = found
    stolen = [each.stolen for each in rounds.counted if each.stolen is not None]
    cells = []
    for at, way in enumerate(names):
        base = names.index(way.on_one)
        seconds = [each.seconds[at] for each in rounds.counted]
        ratios = sorted(each.seconds[at] / each.seconds[base] for each in rounds.counted)
        cells.append(
            (
                *(model, str(way.members), str(way.devices), way.how),
                f"{median(seconds):.2f}",
                "" if at == base else f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                f"{max(stolen):.0%}" if stolen else "not known",
                f"{len(rounds.counted)} of {len(rounds.tried)}",
            )
        )
    return cells
