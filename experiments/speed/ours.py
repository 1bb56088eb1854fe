"""jaxvae's side of the benchmark: members of a study trained epoch by epoch, as `Sweep.epoch` does, not evaluated."""

from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.study import Study

if TYPE_CHECKING:  # `--help` imports no jax
    from jaxvae.data.dataset import Dataset


class Epoch(NamedTuple):
    """One epoch of a contestant."""

    loss: float  # mean over the epoch, nats per image
    seconds: float


class Trainer:
    """The first point of a study with so many seeds."""

    def __init__(self, study: Study, data: "Dataset", members: int = 1) -> None:
        from jaxvae.fit import Sweep
        from jaxvae.sweep import at_points

        assert study.sweep.batch_size is not None
        points = at_points(study.sweep.points[:1], range(members))
        self.sweep = Sweep(study.model, data, points, batch_size=study.sweep.batch_size)
        self.state, self.number = self.sweep.start().state, 0
        self.static: dict[str, Any] = {"batch_size": self.sweep.batch_size, "chunk": self.sweep.chunk}

    def initial_params(self) -> Any:
        """The first member's, before any epoch, as NumPy arrays."""
        import jax
        import numpy as np

        return jax.tree.map(lambda x: np.asarray(x[0]), self.sweep.start().state.params)

    def epoch(self) -> Epoch:
        """Train one; the loss is the first member's."""
        import jax
        import numpy as np

        from jaxvae.batches import num_steps
        from jaxvae.sweep import train_members

        start = perf_counter()
        self.number += 1
        keys = jax.vmap(jax.random.fold_in, (0, None))(self.sweep.train_keys, self.number)
        self.state, terms = train_members(self.sweep.train_step, self.state, self.sweep.train, keys, **self.static)
        count, size = len(self.sweep.train.image), self.sweep.batch_size
        weight = np.minimum(count - size * np.arange(num_steps(count, size)), size)
        loss = float(np.average(terms.loss[0], weights=weight))
        return Epoch(loss, perf_counter() - start)

    def again(self, run: int, epochs: int) -> list[Epoch]:
        """So many epochs from the same initial parameters, in an order and with noise of this run's own."""
        self.state, self.number = self.sweep.start().state, 1000 * run
        return [self.epoch() for _ in range(epochs)]

    def lower(self) -> Any:
        """The program of an epoch, traced and lowered."""
        from jaxvae.sweep import train_members

        return train_members.lower(
            self.sweep.train_step, self.state, self.sweep.train, self.sweep.train_keys, **self.static
        )

    def compilation(self) -> float:
        """Seconds to trace and compile an epoch."""
        start = perf_counter()
        self.lower().compile()
        return perf_counter() - start


def with_model(study: Study, **changes: Any) -> Study:
    """The study with another model configuration."""
    return replace(study, model=replace(study.model, **changes))
