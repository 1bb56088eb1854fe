"""Fitting one model or a whole sweep: a compiled epoch, an evaluation on the test split, and so on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, cast

import jax
import numpy as np
from jax import Array

from jaxvae.batches import DeviceSplit, num_steps
from jaxvae.config import Config, DataOn, MemberAxis
from jaxvae.data.dataset import Dataset
from jaxvae.feeding import abstract_batches, fed_epoch, fits, parts_on_device, replicate
from jaxvae.kernels import check_device
from jaxvae.losses import RECONSTRUCTIONS
from jaxvae.metrics import Evaluation, Quality, mean_image_mse, summarize
from jaxvae.models import ARCHITECTURES, VAE, default_lowering
from jaxvae.parallel import (
    BY_MEMBER,
    MEMBER,
    Device,
    abstract,
    choose_devices,
    connect,
    data_axis,
    everywhere,
    free_bytes,
    least,
    make_mesh,
    padded,
    place,
    to_host,
    unpadded,
)
from jaxvae.sweep import (
    MemberBytes,
    Members,
    epoch_keys,
    evaluate_members,
    init_members,
    member_chunk,
    sampled_quality_members,
    train_chunk,
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
    state: TrainState  # leading axis [K]; within a fit on several devices with copies of the last, see `Sweep.own`
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
        implementation=config.implementation,
    )


class Sweep:
    """The compiled pieces of one fit: everything that stays the same from epoch to epoch.

    Attributes:
        model: the VAE, static.
        members: hyper-parameters and seeds.
        mesh: the devices, all by default; see `jaxvae.parallel`.
        mean_image_mse: squared error of the mean training image on the test split: what is worse has learned nothing.
        train, test: the data, on the devices where it fits them; see `jaxvae.feeding`.
    """

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        members: Members,
        *,
        batch_size: int = 128,
        devices: Sequence[Device] | None = None,
        data_on: DataOn = "auto",
    ) -> None:
        self.members = members
        devices = choose_devices() if devices is None else devices
        check_device(config.implementation, devices[0])
        self.mesh = make_mesh(len(members), devices)
        connect(self.mesh)
        self.class_names = dataset.class_names
        self.mean_image_mse = mean_image_mse(dataset.train.image, dataset.test.image)
        self.batch_size = batch_size
        on_device = data_on == "device" or (data_on == "auto" and fits(dataset, free_bytes(self.mesh)))
        self.train, self.test = (
            replicate(split, self.mesh) if on_device else split for split in (dataset.train, dataset.test)
        )
        self._free_bytes = free_bytes(self.mesh)  # before there are states, fresh ones or restored
        self.image_shape = cast(tuple[int, int, int], self.train.image.shape[1:])
        self.model = build_model(config, self.image_shape, dataset.num_classes)
        self.reconstruction = RECONSTRUCTIONS[config.reconstruction]
        self.train_step = make_train_step(
            self.model,  # pyright: ignore[reportArgumentType]
            self.reconstruction,
            part=default_part(self.model),
            axis_name=data_axis(self.mesh),
        )
        three = jax.vmap(lambda key: jax.random.split(key, 3))(members.keys)
        keys = three[:, 0], three[:, 1], three[:, 2]
        self.init_keys, self.train_keys, self.test_keys = everywhere(keys, self.mesh)
        self.hparams = everywhere(members.hparams, self.mesh)
        self.member_axis: MemberAxis = config.member_axis

    @cached_property
    def chunk(self) -> int:
        """How many members a device runs side by side; asks the compiler on an accelerator."""
        count, each = len(self.members), self._members_each
        held = each + place(self.mesh, count).shard_shape((count,))[0]  # with the epoch's result, or what is saved
        return member_chunk(self.member_axis, each, held, self._member_bytes, self._free_bytes)

    def start(self) -> Progress:
        """Fresh members, before the first epoch."""
        return Progress(0, self._init(chunk=self.chunk), [])

    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and place of the state, without making one; what a checkpoint is restored to."""
        count, shapes = len(self.members), jax.eval_shape(partial(self._init, chunk=1))
        here = place(self.mesh, count)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype, sharding=here), shapes)

    def train_epoch(self, state: TrainState, number: int) -> tuple[TrainState, Terms]:
        """Epoch `number`, from 1, of every member: the new state and each step's terms [K, S]; `state` is donated."""
        states = padded(state, self.mesh)
        keys = padded(epoch_keys(self.train_keys, np.int32(number)), self.mesh)
        if isinstance(self.train, DeviceSplit):
            state, terms = train_members(self.train_step, states, self.train, keys, **self._static)
        else:
            state, terms = fed_epoch(self.train_step, states, self.train, keys, **self._static)
        return state, self._cut(terms)

    def epoch(self, progress: Progress) -> Progress:
        """Train one epoch, then evaluate on the test split. `progress.state` is donated: do not use it again."""
        number = progress.epoch + 1
        state, terms = self.train_epoch(progress.state, number)
        marks = to_host({"steps": state.step, "alive": state.alive})
        rows = self._train_rows(terms) + self._test_rows(self.evaluate(state))
        rows = [{**row, **{name: mark[row["member"]].item() for name, mark in marks.items()}} for row in rows]
        return Progress(number, state, progress.history + [{**row, "epoch": number} for row in rows])

    def own(self, progress: Progress) -> Progress:
        """Without the copies that fill up the rows of devices: what is saved, and looked at."""
        return replace(progress, state=self._cut(progress.state))

    def evaluate(self, state: TrainState) -> Evaluation:
        """Per-example results of every member on the test split, leading axis [K]."""
        return self._on_test(partial(evaluate_members, self.model, self.reconstruction), state)

    def sampled_quality(self, state: TrainState) -> Quality:
        """Per-example likeness of decoded posterior samples on the test split, leading axis [K]."""
        return self._on_test(partial(sampled_quality_members, self.model), state.params)

    def trace_epoch(self, *, chunk: int | None = None) -> jax.stages.Traced:
        """The program of an epoch, to be lowered and compiled: to look at it, or to see what that takes.

        Of data on the host it is that of a chunk of steps.
        """
        return self._trace(self._members_each, chunk or self.chunk)

    def _on_test(self, program: Callable[..., Any], trees: Any) -> Any:
        """`program` of every member on the test split: at once where that is on the devices, else part by part."""
        trees, keys = padded(trees, self.mesh), padded(self.test_keys, self.mesh)

        def results(first: np.int32, part: DeviceSplit) -> Any:
            return self._cut(program(trees, part, keys, first, chunk=self.chunk, mesh=self.mesh))

        if isinstance(self.test, DeviceSplit):
            return results(np.int32(0), self.test)
        found = [to_host(results(first, part)) for first, part in parts_on_device(self.test, self.mesh)]
        return jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *found)

    def _init(self, chunk: int) -> TrainState:
        keys, hparams = padded(self.init_keys, self.mesh), padded(self.hparams, self.mesh)
        settings = {"image_shape": self.image_shape, "chunk": chunk, "mesh": self.mesh}
        return init_members(self.model, keys, hparams, **settings)

    @property
    def _static(self) -> dict[str, Any]:
        """What an epoch is compiled for."""
        return {"batch_size": self.batch_size, "chunk": self.chunk, "mesh": self.mesh}

    def _cut(self, tree: Any) -> Any:
        """Arrays of the members that there are."""
        return unpadded(tree, len(self.members), self.mesh)

    def _train_rows(self, terms: Terms) -> list[Row]:
        """Means over the epoch, weighted by examples, in float64; the model changes while they are taken."""
        count = len(self.train.image)
        weight = np.full(num_steps(count, self.batch_size), self.batch_size, np.float64)
        weight[-1] -= weight.sum() - count
        means = {name: to_host(term).astype(np.float64) @ weight / count for name, term in terms._asdict().items()}
        return [
            {
                **self.members.describe(k),
                "split": "train",
                **{name: float(mean[k]) for name, mean in means.items()},
            }
            for k in range(len(self.members))
        ]

    def _test_rows(self, evaluation: Evaluation) -> list[Row]:
        evaluation = to_host(evaluation)
        return [
            {
                **self.members.describe(k),
                "split": "test",
                **summarize(jax.tree.map(lambda x, k=k: x[k], evaluation), self.mean_image_mse),
            }
            for k in range(len(self.members))
        ]

    def _member_bytes(self) -> MemberBytes:
        """By the compiler's own account of the epoch and the evaluation of one member on each device, the same in all
        processes, as they must compile the same program."""
        states, keys = self._abstract(1)
        static = {"chunk": 1, "mesh": self.mesh}
        epoch = self._trace(1, 1).lower()
        some = self.test if isinstance(self.test, DeviceSplit) else next(parts_on_device(self.test, self.mesh))[1]
        evaluation = evaluate_members.lower(self.model, self.reconstruction, states, some, keys, np.int32(0), **static)
        analyses = [lowered.compile().memory_analysis() for lowered in (epoch, evaluation)]
        working = max((analysis.temp_size_in_bytes for analysis in analyses if analysis is not None), default=0)
        state = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(states)) // self.mesh.shape[MEMBER]
        return MemberBytes(state, -least(-working, self.mesh))

    def _trace(self, members_each: int, chunk: int) -> jax.stages.Traced:
        """The program of an epoch, or of a chunk of its steps, of so many members on each row of devices."""
        states, keys = self._abstract(members_each)
        static = {"chunk": chunk, "mesh": self.mesh}
        if isinstance(self.train, DeviceSplit):
            return train_members.trace(self.train_step, states, self.train, keys, batch_size=self.batch_size, **static)
        batches = abstract_batches(self.train, len(keys), self.batch_size, self.mesh)
        return train_chunk.trace(self.train_step, states, batches, keys, np.int32(0), **static)

    @property
    def _members_each(self) -> int:
        """How many members a row of devices has."""
        return -(-len(self.members) // self.mesh.shape[MEMBER])

    def _abstract(self, members_each: int) -> tuple[TrainState, Array]:
        """Shapes of the states and keys of so many members on each row of devices."""
        count = members_each * self.mesh.shape[MEMBER]

        def shape(x: Any) -> jax.ShapeDtypeStruct:
            return abstract((count, *x.shape[1:]), x.dtype, self.mesh, BY_MEMBER)

        return jax.tree.map(shape, (self.abstract_state(), self.train_keys))


def fit(
    sweep: Sweep,
    *,
    epochs: int,
    start: Progress | None = None,
    on_epoch: Callable[[Progress], None] | None = None,
) -> Progress:
    """Train every member until `epochs` epochs are done, from the beginning or from `start`, whose state is donated.

    `on_epoch` is called after each epoch, for progress, files and checkpoints; the state it sees is donated to the next
    epoch, so it must copy what it keeps, `Sweep.own` of it. Nothing is printed or written here. Ends early only if no
    member is alive.

    >>> progress = fit(Sweep(Config(), load("digits"), grid(beta=(1, 4))), epochs=2)
    >>> progress.history[-1]["loss"]
    """
    progress = sweep.start() if start is None else replace(start, state=padded(start.state, sweep.mesh))
    if start is not None and progress.state is not start.state:
        jax.tree.map(lambda x: x.delete(), start.state)
    while progress.epoch < epochs and to_host(progress.state.alive).any():
        progress = sweep.epoch(progress)
        if on_epoch is not None:
            on_epoch(progress)
    return sweep.own(progress)
