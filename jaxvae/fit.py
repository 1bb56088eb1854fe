"""Fitting one model or a whole sweep: a compiled epoch, an evaluation on the test split, and so on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import cast

import jax
import numpy as np

from jaxvae.batches import num_steps, to_device
from jaxvae.config import Config, MemberAxis
from jaxvae.data.dataset import Dataset
from jaxvae.losses import RECONSTRUCTIONS
from jaxvae.metrics import Evaluation, Quality, summarize
from jaxvae.models import ARCHITECTURES, VAE, default_lowering
from jaxvae.sweep import (
    MemberBytes,
    Members,
    evaluate_members,
    init_members,
    member_chunk,
    sampled_quality_members,
    train_members,
)
from jaxvae.train import default_part, make_train_step
from jaxvae.types import Terms, TrainState

Row = dict[str, float | int | bool | str]
"""One line of `metrics.csv`: member, seed, scalars, epoch, split, and the split's metrics."""


@dataclass(frozen=True)
class Progress:
    """Where a fit stands after `epoch` epochs: all that a checkpoint holds and all that is needed to go on."""

    epoch: int
    state: TrainState  # leading axis [K]
    history: list[Row]


def build_model(config: Config, image_shape: tuple[int, int, int], num_classes: int) -> VAE:
    """The model that `config` names, for images of `image_shape` with labels below `num_classes`."""
    lowering = default_lowering() if config.lowering == "auto" else config.lowering
    encoder, decoder = ARCHITECTURES[config.architecture](image_shape, config.initializer, lowering)
    return VAE(
        encoder,
        decoder,
        latent_dim=config.latent_dim,
        initializer=config.initializer,
        num_classes=num_classes if config.conditional else 0,
        noise=config.noise,
        logvar_bound=config.logvar_bound,
    )


class Sweep:
    """The compiled pieces of one fit: everything that stays the same from epoch to epoch.

    Attributes:
        model: the VAE, static.
        members: hyper-parameters and seeds.
    """

    def __init__(self, config: Config, dataset: Dataset, members: Members, *, batch_size: int = 128) -> None:
        self.members = members
        self.class_names = dataset.class_names
        self.batch_size = batch_size
        self.train, self.test = to_device(dataset.train), to_device(dataset.test)
        self.image_shape = cast(tuple[int, int, int], self.train.image.shape[1:])
        self.model = build_model(config, self.image_shape, dataset.num_classes)
        self.reconstruction = RECONSTRUCTIONS[config.reconstruction]
        self.train_step = make_train_step(self.model, self.reconstruction, part=default_part(self.model))  # pyright: ignore[reportArgumentType]
        three = jax.vmap(lambda key: jax.random.split(key, 3))(members.keys)
        self.init_keys, self.train_keys, self.test_keys = three[:, 0], three[:, 1], three[:, 2]
        self.member_axis: MemberAxis = config.member_axis

    @cached_property
    def chunk(self) -> int:
        """How many members run side by side; asks the compiler on an accelerator."""
        return member_chunk(self.member_axis, len(self.members), self._member_bytes)

    def start(self) -> Progress:
        """Fresh members, before the first epoch."""
        return Progress(0, self._init(chunk=self.chunk), [])

    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and place of the state, without making one; what a checkpoint is restored to."""
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shapes = jax.eval_shape(partial(self._init, chunk=1))
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), shapes)

    def train_epoch(self, state: TrainState, number: int) -> tuple[TrainState, Terms]:
        """Epoch `number`, from 1, of every member: the new state and each step's terms [K, S]; `state` is donated."""
        keys = jax.vmap(jax.random.fold_in, (0, None))(self.train_keys, number)
        return train_members(self.train_step, state, self.train, keys, batch_size=self.batch_size, chunk=self.chunk)

    def trace_epoch(self) -> jax.stages.Traced:
        """The program of an epoch, to be lowered and compiled: to look at it, or to see what that takes."""
        state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), self.abstract_state())
        return train_members.trace(
            self.train_step,
            state,
            self.train,
            self.train_keys,
            batch_size=self.batch_size,
            chunk=self.chunk,
        )

    def epoch(self, progress: Progress) -> Progress:
        """Train one epoch, then evaluate on the test split. `progress.state` is donated: do not use it again."""
        number = progress.epoch + 1
        state, terms = self.train_epoch(progress.state, number)
        alive = np.asarray(state.alive)
        rows = self._train_rows(terms, alive) + self._test_rows(self.evaluate(state), alive)
        return Progress(number, state, progress.history + [{**row, "epoch": number} for row in rows])

    def evaluate(self, state: TrainState) -> Evaluation:
        """Per-example results of every member on the test split, leading axis [K]."""
        return evaluate_members(self.model, self.reconstruction, state, self.test, self.test_keys, chunk=self.chunk)

    def sampled_quality(self, state: TrainState) -> Quality:
        """Per-example likeness of decoded posterior samples on the test split, leading axis [K]."""
        return sampled_quality_members(self.model, state.params, self.test, self.test_keys, chunk=self.chunk)

    def _init(self, chunk: int) -> TrainState:
        return init_members(self.model, self.init_keys, self.members.hparams, image_shape=self.image_shape, chunk=chunk)

    def _train_rows(self, terms: Terms, alive: np.ndarray) -> list[Row]:
        """Means over the epoch, weighted by examples, in float64; the model changes while they are taken."""
        count = len(self.train.image)
        weight = np.full(num_steps(count, self.batch_size), self.batch_size, np.float64)
        weight[-1] -= weight.sum() - count
        means = {name: np.asarray(term, np.float64) @ weight / count for name, term in terms._asdict().items()}
        return [
            {
                **self.members.describe(k),
                "split": "train",
                **{name: float(mean[k]) for name, mean in means.items()},
                "alive": bool(alive[k]),
            }
            for k in range(len(self.members))
        ]

    def _test_rows(self, evaluation: Evaluation, alive: np.ndarray) -> list[Row]:
        evaluation = jax.tree.map(np.asarray, evaluation)
        return [
            {
                **self.members.describe(k),
                "split": "test",
                **summarize(jax.tree.map(lambda x, k=k: x[k], evaluation)),
                "alive": bool(alive[k]),
            }
            for k in range(len(self.members))
        ]

    def _member_bytes(self) -> MemberBytes:
        """By the compiler's own account of one member's epoch and evaluation."""
        state = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), self.abstract_state())
        key = self.train_keys[:1]
        epoch = train_members.lower(self.train_step, state, self.train, key, batch_size=self.batch_size, chunk=1)
        evaluation = evaluate_members.lower(self.model, self.reconstruction, state, self.test, key, chunk=1)
        analyses = [lowered.compile().memory_analysis() for lowered in (epoch, evaluation)]
        working = max(analysis.temp_size_in_bytes for analysis in analyses if analysis is not None)
        return MemberBytes(sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)), working)


def fit(
    sweep: Sweep,
    *,
    epochs: int,
    start: Progress | None = None,
    on_epoch: Callable[[Progress], None] | None = None,
) -> Progress:
    """Train every member until `epochs` epochs are done, from the beginning or from `start`, whose state is donated.

    `on_epoch` is called after each epoch, for progress, files and checkpoints; the state it sees is donated to the next
    epoch, so it must copy what it keeps. Nothing is printed or written here. Ends early only if no member is alive.

    >>> progress = fit(Sweep(Config(), load("digits"), grid(beta=(1, 4))), epochs=2)
    >>> progress.history[-1]["loss"]
    """
    progress = start or sweep.start()
    while progress.epoch < epochs and bool(progress.state.alive.any()):
        progress = sweep.epoch(progress)
        if on_epoch is not None:
            on_epoch(progress)
    return progress
