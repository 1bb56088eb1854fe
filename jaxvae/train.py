"""Training one member: its first state, one step, one epoch. `jaxvae.sweep` adds the member axis around these."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxvae.batches import DeviceSplit, EpochOrder, epoch_order, gather
from jaxvae.kernels import implemented
from jaxvae.kernels.adam.reference import ADAM
from jaxvae.losses import Reconstruction
from jaxvae.models import VAE, multiplies_patches
from jaxvae.objective import example_keys, negative_elbo
from jaxvae.parallel import my_columns, my_places, own_copy, sum_over
from jaxvae.types import Batch, Hparams, Terms, TrainState

Inputs = TypeVar("Inputs")
TrainStep = Callable[[TrainState, Batch, Array], tuple[TrainState, Terms]]


@partial(jax.jit, static_argnames=("model", "image_shape"))
def init_state(model: VAE, image_shape: tuple[int, int, int], key: Array, hparams: Hparams) -> TrainState:
    """Parameters drawn with `key`, a fresh optimizer, step 0."""
    params_key, sample_key = jax.random.split(key)
    label = jnp.zeros((), jnp.int32)
    params = dict(model.init(params_key, jnp.zeros(image_shape), sample_key, label)["params"])
    hparams = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), hparams)
    return TrainState(jnp.zeros((), jnp.int32), params, ADAM.init(params), hparams, jnp.array(True))


@lru_cache
def make_train_step(
    model: VAE, reconstruction: Reconstruction, *, part: int | None = None, axis_name: str | None = None
) -> TrainStep:
    """`(state, batch, key) -> (state, terms)`, pure: `jit` it, `scan` over it, `vmap` it over members.

    The gradient is that of the mean over the batch's real examples; `terms` are those means, in nats per image. A step
    whose terms or rate are not finite, or whose gradient is not, or too large to be squared or summed (`scaled_sum`),
    is not taken: the state stays as it was and `alive` turns False for good.

    A batch of more than `part` examples is worked through in parts of at most that size, whose gradients add up: the
    same numbers to rounding, from intermediate results small enough for a CPU's caches. See `default_part`.

    With `axis_name`, an axis of `pmap` or `shard_map`, a batch is a device's own part of the step's examples, and state
    and key are the same on all devices, `P()` under `shard_map`: so are the new state and the terms, of all examples.
    """

    def weighted_terms(params: dict, batch: Batch, keys: Array, hparams: Hparams) -> tuple[Array, Terms]:
        terms = negative_elbo(model, reconstruction, params, batch.image, batch.label, keys, hparams)
        sums = Terms(*(jnp.sum(batch.weight * term) for term in terms))
        return sums.loss, sums

    adam = implemented("adam", model.implementation)
    gradient = jax.grad(weighted_terms, has_aux=True)

    def mean_gradient(params: dict, batch: Batch, key: Array, hparams: Hparams) -> tuple[dict, Terms]:
        keys = example_keys(key, my_places(len(batch.weight), axis_name))
        batch = batch._replace(weight=batch.weight / sum_over(jnp.sum(batch.weight), axis_name))
        return sum_over(gradient_in_parts(own_copy(params, axis_name), batch, keys, hparams), axis_name)

    def gradient_in_parts(params: dict, batch: Batch, keys: Array, hparams: Hparams) -> tuple[dict, Terms]:
        size = len(batch.weight)
        if part is None or size <= part:
            return gradient(params, batch, keys, hparams)
        even = -(-size // -(-size // part))  # as many parts, of one size
        parts = jax.tree.map(lambda x: in_parts(x, even), (batch, keys))

        def add(total: tuple[dict, Terms], one_part: tuple[Batch, Array]) -> tuple[tuple[dict, Terms], None]:
            return jax.tree.map(jnp.add, total, gradient(params, *one_part, hparams)), None

        nothing = own_copy(Terms(*(jnp.zeros(()) for _ in Terms._fields)), axis_name)
        return lax.scan(add, (jax.tree.map(jnp.zeros_like, params), nothing), parts)[0]

    def train_step(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Terms]:
        gradients, terms = mean_gradient(state.params, batch, key, state.hparams)
        rate = learning_rate(state.hparams, state.step)
        # Adam's direction is bounded, so from a finite state nothing else can overflow at any sensible rate.
        alive = state.alive & all_finite((terms, scaled_sum(gradients), rate))
        params, moments = adam(state.params, state.opt_state, gradients, rate, alive)
        step = jnp.where(alive, state.step + 1, state.step)
        return TrainState(step, params, moments, state.hparams, alive), terms

    return train_step


def default_part(model: VAE) -> int | None:
    """How many examples to work through at a time: 64 where convolutions are matrix products on a CPU, else all (None).

    The patches that are multiplied are many times a feature map; those of 64 images stay near a core. A dense layer
    has none, and weights that are better read once.
    """
    return 64 if multiplies_patches(model) and jax.default_backend() == "cpu" else None


def in_parts(x: Array, part: int) -> Array:
    """[B, ...] -> [P, part, ...]; what is missing in the last part is filled up with weight 0."""
    missing = -len(x) % part
    filler = jnp.zeros_like(x[:missing]) if jnp.issubdtype(x.dtype, jnp.floating) else x[:missing]
    return jnp.concatenate([x, filler]).reshape(-1, part, *x.shape[1:])


def learning_rate(hparams: Hparams, step: Array) -> Array:
    """The rate of update number `step` (from 0): a line up to `hparams.learning_rate` over its warm-up, then that."""
    rate = jnp.asarray(hparams.learning_rate)
    progress = (step.astype(rate.dtype) + 1.0) / jnp.maximum(hparams.warmup_steps, 1.0)
    return rate * jnp.minimum(progress, 1.0)


def scaled_sum(tree) -> Array:
    """Of all float32 numbers in all leaves, each times 2**65: not finite where a number or its square is not.

    A square overflows from 2**64 on, whose multiple is at least 2**129, so that no other number of at most 2**128 can
    hide it. Sums too large for the scale are refused with them: from 2**63 on. The sum is a product with a vector,
    which XLA's CPU backend computes in one pass over the numbers, and a sum of squares in two.
    """
    rows = [leaf.reshape(-1, *leaf.shape[-1:]) for leaf in jax.tree.leaves(tree)]
    sums = [jnp.sum(row @ jnp.full(row.shape[-1], 2.0**65, row.dtype)) for row in rows]
    return jnp.stack([x.astype(jnp.float32) for x in sums]).sum()


def all_finite(tree) -> Array:
    """Whether no leaf holds a NaN or an infinity; a scalar bool."""
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]).all()


def train_epoch(
    train_step: TrainStep,
    state: TrainState,
    split: DeviceSplit,
    key: Array,
    *,
    batch_size: int,
    axis_name: str | None = None,
) -> tuple[TrainState, Terms]:
    """Every example of `split` once, in an order and with noise drawn from `key`: one `lax.scan` over the steps.

    Returns the new state and the terms of each step [S] (means over the step's examples, nats per image). With
    `axis_name`, that of `train_step`, a device takes its part of each batch.
    """
    order_key, noise_key = jax.random.split(key)
    order = epoch_order(len(split.image), batch_size, order_key)
    order = EpochOrder(*(my_columns(x, axis_name) for x in order))

    def batch_of(order: EpochOrder) -> Batch:
        return gather(split, order.index, order.weight)

    return train_steps(train_step, state, order, batch_of, noise_key)


def train_steps(
    train_step: TrainStep,
    state: TrainState,
    inputs: Inputs,
    batch_of: Callable[[Inputs], Batch],
    noise_key: Array,
    first: Array | int = 0,
) -> tuple[TrainState, Terms]:
    """One `lax.scan` over steps `first`, `first + 1`, ... of an epoch, each with the batch of its `inputs` [S, ...]."""

    def step(state: TrainState, numbered: tuple[Array, Inputs]) -> tuple[TrainState, Terms]:
        number, inputs = numbered
        return train_step(state, batch_of(inputs), jax.random.fold_in(noise_key, number))

    numbers = first + jnp.arange(len(jax.tree.leaves(inputs)[0]))
    return lax.scan(step, state, (numbers, inputs))
