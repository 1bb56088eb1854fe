"""Data that stays on the host: an epoch in chunks of steps, each one compiled scan, fed while the one before trains.

The order of the examples and their noise are those of data on the device. Each process reads what its devices need.
"""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxvae.batches import DeviceSplit, EpochOrder, num_steps
from jaxvae.data.dataset import Dataset, Split
from jaxvae.parallel import BY_BATCH, DATA, EVERYWHERE, abstract, from_host, to_host, width
from jaxvae.sweep import member_orders, train_chunk
from jaxvae.train import TrainStep
from jaxvae.types import Batch, Terms, TrainState

SHARE = 0.5
"""Of a device's free memory, which data that stays there may take."""
CHUNK_BYTES = 64 * 2**20
"""Images of a chunk of all members; the devices hold two, one to train on and one that arrives."""


def fed_epoch(
    train_step: TrainStep,
    state: TrainState,
    split: Split,
    keys: jax.Array,
    *,
    batch_size: int,
    chunk: int,
    mesh: Mesh,
) -> tuple[TrainState, Terms]:
    """What `jaxvae.sweep.train_members` does, of a split on the host. A shorter last chunk is compiled on its own."""
    order: EpochOrder = to_host(member_orders(keys, count=len(split.image), batch_size=batch_size, mesh=mesh))
    members, steps, size = order.index.shape
    each = steps_of_chunk(members * size * split.image[0].nbytes)
    kept: list[Terms] = []
    for first in range(0, steps, each):
        if len(kept) > 1:
            jax.block_until_ready(kept[-2])
        part = EpochOrder(*(x[:, first : first + each] for x in order))
        batch = place_batches(split, part, mesh)
        state, terms = train_chunk(train_step, state, batch, keys, np.int32(first), chunk=chunk, mesh=mesh)
        kept.append(terms)
    return state, jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *map(to_host, kept))


def steps_of_chunk(step_bytes: int) -> int:
    """How many steps are fed at a time, whose images take so many bytes each."""
    return max(1, CHUNK_BYTES // step_bytes)


def parts_on_device(split: Split, mesh: Mesh) -> Iterator[tuple[np.int32, DeviceSplit]]:
    """A split in order, part by part on the devices, each with the number of its first example."""
    size = max(1, CHUNK_BYTES // split.image[0].nbytes)
    for first in range(0, len(split.image), size):
        yield np.int32(first), replicate(Split(*(x[first : first + size] for x in split)), mesh)


def fits(dataset: Dataset, free: float | None) -> bool:
    """Whether both splits take at most `SHARE` of the bytes that a device has free; yes where that is not known."""
    size = sum(x.nbytes for split in (dataset.train, dataset.test) for x in split)
    return free is None or size <= SHARE * free


def replicate(split: Split, mesh: Mesh) -> DeviceSplit:
    """A split copied to every device."""
    return DeviceSplit(*(from_host(x.shape, x.__getitem__, mesh, EVERYWHERE) for x in split))


def abstract_batches(split: Split, members: int, batch_size: int, mesh: Mesh) -> Batch:
    """Shapes, dtypes and places of a whole chunk of so many members."""
    size = width(batch_size, mesh.shape[DATA])
    steps = min(steps_of_chunk(members * size * split.image[0].nbytes), num_steps(len(split.image), batch_size))

    def shape(dtype: Any, *rest: int) -> Any:
        return abstract((members, steps, size, *rest), dtype, mesh, BY_BATCH)

    return Batch(shape(split.image.dtype, *split.image.shape[1:]), shape(split.label.dtype), shape(np.float32))


def place_batches(split: Split, order: EpochOrder, mesh: Mesh) -> Batch:
    """The batches [K, S, B] of some steps, pixels still uint8, each device its own members and columns."""
    index, weight = order
    shape = (*index.shape, *split.image.shape[1:])
    return Batch(
        from_host(shape, lambda at: split.image[index[at[:3]]], mesh, BY_BATCH),
        from_host(index.shape, lambda at: split.label[index[at]], mesh, BY_BATCH),
        from_host(index.shape, lambda at: weight[at], mesh, BY_BATCH),
    )
