"""jaxvae's side of the benchmark: members of a study trained epoch by epoch with `Sweep.train_epoch`, not evaluated."""

from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.study import Study

if TYPE_CHECKING:  # `--help` imports no jax
    from jaxvae.data.dataset import Dataset


BEGINNING = 10
"""Steps whose losses tell whether contestants learn the same, before a network has made more of rounding."""


class Epoch(NamedTuple):
    """One epoch of a contestant; losses are nats per image."""

    loss: float  # mean over the epoch's images
    seconds: float
    beginning: tuple[float, ...]  # the losses of the first steps, at most `BEGINNING`
    stolen: float | None = None  # share of the processors' time that a virtual machine's host gave to others; if known


def epoch_of(losses: Any, seconds: float, *, images: int, batch_size: int) -> Epoch:
    """From the mean losses of all steps [S], of which the last may be of fewer images."""
    import numpy as np

    weight = np.minimum(images - batch_size * np.arange(len(losses)), batch_size)
    return Epoch(float(np.average(losses, weights=weight)), seconds, tuple(map(float, losses[:BEGINNING])))


class Draws(NamedTuple):
    """What chance decides in an epoch."""

    order: Any  # [N] int64, the images in the order that they are taken in
    noise: Any  # [N, Z] float32, standard normal, in this order


class Trainer:
    """The first point of a study with so many seeds, on one device."""

    def __init__(self, study: Study, data: "Dataset", members: int = 1) -> None:
        from jaxvae.fit import Sweep
        from jaxvae.parallel import choose_devices
        from jaxvae.sweep import at_points

        size, points = study.sweep.batch_size, at_points(study.sweep.points[:1], range(members))
        assert size is not None
        self.sweep = Sweep(study.model, data, points, batch_size=size, devices=choose_devices(1))
        self.state, self.number = self.sweep.start().state, 0

    def initial_params(self) -> Any:
        """The first member's, before any epoch, as NumPy arrays."""
        import jax
        import numpy as np

        return jax.tree.map(lambda x: np.asarray(x[0]), self.sweep.start().state.params)

    def epoch(self) -> Epoch:
        """Train one; the loss is the first member's."""
        import numpy as np

        start = perf_counter()
        self.number += 1
        self.state, terms = self.sweep.train_epoch(self.state, self.number)
        losses, seconds = np.asarray(terms.loss[0]), perf_counter() - start
        return epoch_of(losses, seconds, images=len(self.sweep.train.image), batch_size=self.sweep.batch_size)

    def draws(self, number: int) -> Draws:
        """What the first member draws in this epoch, as NumPy arrays; the first epoch is 1."""
        import jax
        import jax.numpy as jnp
        import numpy as np

        from jaxvae.batches import epoch_order
        from jaxvae.models import sample
        from jaxvae.objective import example_keys
        from jaxvae.types import Posterior

        sweep, count = self.sweep, len(self.sweep.train.image)
        order_key, noise_key = jax.random.split(jax.random.fold_in(sweep.train_keys[0], number))
        index = epoch_order(count, sweep.batch_size, order_key).index
        standard = Posterior(*(jnp.zeros((sweep.batch_size, sweep.model.latent_dim)) for _ in Posterior._fields))

        def noise(step: jax.Array) -> jax.Array:
            keys = example_keys(jax.random.fold_in(noise_key, step), jnp.arange(sweep.batch_size))
            return sample(sweep.model, keys, standard)

        noises = jax.lax.map(noise, jnp.arange(len(index)))
        rows = noises.reshape(-1, noises.shape[-1])[:count]
        return Draws(np.array(index, np.int64).ravel()[:count], np.array(rows))

    def compilation(self) -> float:
        """Seconds to trace and compile an epoch."""
        start = perf_counter()
        self.sweep.trace_epoch().lower().compile()
        return perf_counter() - start


def with_model(study: Study, **changes: Any) -> Study:
    """The study with another model configuration."""
    return replace(study, model=replace(study.model, **changes))
