"""The member axis: K models that differ in scalars and seeds, trained as one compiled program.

Members are independent, so any function of one member becomes a function of K by `over_members`: a `lax.map` whose
`chunk` says how many run side by side. A chunk of 1 is a scan, one member after the other, the fast form on a CPU,
whose caches a single member already fills; a chunk of K is a `vmap`, the fast form on an accelerator; anything between
is what fits its memory. The numbers are the same to rounding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh

from jaxvae.batches import DeviceSplit, EpochOrder, epoch_order, to_float
from jaxvae.config import MemberAxis
from jaxvae.errors import ConfigError
from jaxvae.losses import Reconstruction
from jaxvae.metrics import Evaluation, Quality, evaluate, sampled_quality
from jaxvae.models import VAE
from jaxvae.parallel import BY_BATCH, BY_MEMBER, DATA, EVERYWHERE, data_axis, over_mesh, whole_columns
from jaxvae.train import TrainStep, init_state, train_epoch, train_steps
from jaxvae.types import Batch, Hparams, Terms, TrainState

HPARAMS = tuple(field.name for field in fields(Hparams))


@dataclass(frozen=True)
class Members:
    """K members: their hyper-parameters, a float32 NumPy array [K] each, and their seeds."""

    hparams: Hparams
    seeds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def keys(self) -> Array:
        """One key per member [K]. Members of one seed share initialization, order and noise: a paired comparison."""
        return jax.vmap(jax.random.key)(jnp.asarray(self.seeds, jnp.uint32))

    def describe(self, member: int) -> dict[str, float | int]:
        """The columns that name a member in tables."""
        scalars = {name: float(f"{float(getattr(self.hparams, name)[member]):.7g}") for name in HPARAMS}
        return {"member": member, "seed": self.seeds[member], **scalars}


def grid(*, seeds: Sequence[int] = (0,), **scalars: float | Sequence[float]) -> Members:
    """Every combination of the scalars' values and the seeds, the first scalar varying slowest and seeds fastest.

    `grid(beta=(1, 4), seeds=(0, 1))` has 4 members; scalars that are not named keep the defaults of `Hparams`.
    """
    axes = [np.atleast_1d(values) for values in scalars.values()]
    return at_points([dict(zip(scalars, point, strict=True)) for point in product(*axes)], seeds)


def at_points(points: Sequence[Mapping[str, float]], seeds: Sequence[int] = (0,)) -> Members:
    """Every point with every seed, seeds varying fastest; scalars that a point does not name keep their defaults.

    `at_points([{"beta": 1, "learning_rate": 1e-3}, {"beta": 4, "learning_rate": 5e-4}])` has 2 members.

    Raises:
        TypeError: there is no such scalar.
        ValueError: there is no point, or no seed.
    """
    if not points or not seeds:
        raise ValueError("a sweep needs at least one value of every scalar, and one seed")
    if unknown := sorted({name for point in points for name in point} - set(HPARAMS)):
        raise TypeError(f"no such hyper-parameter: {', '.join(unknown)}; there are {', '.join(HPARAMS)}")
    chosen = [Hparams(**point) for point in points for _ in seeds]
    hparams = Hparams(**{name: np.array([getattr(h, name) for h in chosen], np.float32) for name in HPARAMS})
    return Members(hparams, tuple(int(seed) for _ in points for seed in seeds))


def over_members(function: Callable, chunk: int) -> Callable:
    """`function` of one member, mapped over the leading axis [K] of its arguments, `chunk` members at a time."""

    def mapped(*arguments):
        return lax.map(lambda member: function(*member), arguments, batch_size=chunk if chunk > 1 else None)

    return mapped


class MemberBytes(NamedTuple):
    """What one member needs of the device's memory."""

    state: int  # its TrainState
    working: float  # everything temporary of its epoch or evaluation


def member_chunk(
    axis: MemberAxis,
    count: int,
    held: int,
    member_bytes: Callable[[], MemberBytes],
    free_bytes: float | None,
) -> int:
    """How many of a device's `count` members run side by side: 1 for a scan, else as many as fit its free memory.

    There must be room for `held` states, and each member of a chunk needs its working memory and its state once more.
    Chunks are made equal, as an odd one at the end would be compiled on its own. `free_bytes`, None where the device
    does not say, is what is free before there are states; `member_bytes` is asked only where it decides.

    Raises:
        ConfigError: the states alone do not fit.
    """
    if axis == "scan" or (axis == "auto" and jax.default_backend() == "cpu"):
        return 1
    if free_bytes is None:
        return count
    needed = member_bytes()
    fitting = int((0.8 * free_bytes - held * needed.state) // (needed.working + needed.state))
    if fitting < 1:
        raise ConfigError(f"{count} members do not fit the device's memory; train fewer at a time")
    chunks = -(-count // fitting)
    return -(-count // chunks)


@partial(jax.jit, static_argnames=("model", "image_shape", "chunk", "mesh"))
def init_members(
    model: VAE, keys: Array, hparams: Hparams, *, image_shape: tuple[int, int, int], chunk: int, mesh: Mesh
) -> TrainState:
    """The first state of K members, each from its own key; leading axis [K]."""
    members = over_members(partial(init_state, model, image_shape), chunk)
    return over_mesh(members, mesh, BY_MEMBER, BY_MEMBER)(keys, hparams)


@jax.jit
def epoch_keys(keys: Array, number: Array) -> Array:
    """The key of each member [K] for epoch `number`."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


@partial(jax.jit, static_argnames=("train_step", "batch_size", "chunk", "mesh"), donate_argnames="state")
def train_members(
    train_step: TrainStep,
    state: TrainState,
    split: DeviceSplit,
    keys: Array,
    *,
    batch_size: int,
    chunk: int,
    mesh: Mesh,
) -> tuple[TrainState, Terms]:
    """One epoch of K members: the new states (the old ones are donated) and the terms of every step [K, S].

    `train_step` is made for the mesh's `data_axis`.
    """

    def members(state: TrainState, split: DeviceSplit, keys: Array) -> tuple[TrainState, Terms]:
        def one_member(state: TrainState, key: Array) -> tuple[TrainState, Terms]:
            return train_epoch(train_step, state, split, key, batch_size=batch_size, axis_name=data_axis(mesh))

        return over_members(one_member, chunk)(state, keys)

    return over_mesh(members, mesh, BY_MEMBER, EVERYWHERE, BY_MEMBER)(state, split, keys)


@partial(jax.jit, static_argnames=("count", "batch_size", "mesh"))
def member_orders(keys: Array, *, count: int, batch_size: int, mesh: Mesh) -> EpochOrder:
    """The order of each member's epoch as `train_members` takes it: [K, S, B], with B filled up for the columns."""

    def one_member(key: Array) -> EpochOrder:
        order_key, _ = jax.random.split(key)
        order = epoch_order(count, batch_size, order_key)
        return EpochOrder(*(whole_columns(x, mesh.shape[DATA]) for x in order))

    return jax.vmap(one_member)(keys)


@partial(jax.jit, static_argnames=("train_step", "chunk", "mesh"), donate_argnames="state")
def train_chunk(
    train_step: TrainStep, state: TrainState, batches: Batch, keys: Array, first: Array, *, chunk: int, mesh: Mesh
) -> tuple[TrainState, Terms]:
    """Some steps of the epoch of `train_members`, from `first` on, of batches [K, S, B] whose images are uint8."""

    def members(state: TrainState, batches: Batch, keys: Array, first: Array) -> tuple[TrainState, Terms]:
        def one_member(state: TrainState, batches: Batch, key: Array) -> tuple[TrainState, Terms]:
            _, noise_key = jax.random.split(key)

            def batch_of(batch: Batch) -> Batch:
                return batch._replace(image=to_float(batch.image))

            return train_steps(train_step, state, batches, batch_of, noise_key, first)

        return over_members(one_member, chunk)(state, batches, keys)

    return over_mesh(members, mesh, BY_MEMBER, BY_BATCH, BY_MEMBER, EVERYWHERE)(state, batches, keys, first)


@partial(jax.jit, static_argnames=("model", "reconstruction", "chunk", "mesh"))
def evaluate_members(
    model: VAE,
    reconstruction: Reconstruction,
    state: TrainState,
    split: DeviceSplit,
    keys: Array,
    first: Array,
    *,
    chunk: int,
    mesh: Mesh,
) -> Evaluation:
    """Evaluate K members on `split`, whose first example is number `first`; leading axis [K]."""

    def members(state: TrainState, split: DeviceSplit, keys: Array, first: Array) -> Evaluation:
        def one_member(state: TrainState, key: Array) -> Evaluation:
            params, hparams = state.params, state.hparams
            return evaluate(model, reconstruction, params, hparams, split, key, first=first, axis_name=data_axis(mesh))

        return over_members(one_member, chunk)(state, keys)

    return over_mesh(members, mesh, BY_MEMBER, EVERYWHERE, BY_MEMBER, EVERYWHERE)(state, split, keys, first)


@partial(jax.jit, static_argnames=("model", "chunk", "mesh"))
def sampled_quality_members(
    model: VAE, params: dict, split: DeviceSplit, keys: Array, first: Array, *, chunk: int, mesh: Mesh
) -> Quality:
    """`sampled_quality` of K members on `split`, whose first example is number `first`; leading axis [K]."""

    def members(params: dict, split: DeviceSplit, keys: Array, first: Array) -> Quality:
        def one_member(params: dict, key: Array) -> Quality:
            return sampled_quality(model, params, split, key, first=first, axis_name=data_axis(mesh))

        return over_members(one_member, chunk)(params, keys)

    return over_mesh(members, mesh, BY_MEMBER, EVERYWHERE, BY_MEMBER, EVERYWHERE)(params, split, keys, first)
