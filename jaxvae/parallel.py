"""How work lies over devices: the layout is in this file, and what others need to know of it.

Devices form a mesh of `member` rows and `data` columns. Members need nothing of each other, so they are spread over
rows first, with copies of the last one where they do not divide; what devices remain split every batch by columns, and
add up their gradients once a step. Every program that `jaxvae.sweep` compiles runs on such a mesh, on one device too.

An example's noise is drawn from its place in the whole batch, and means are over the whole batch, so the layout changes
no number but by the rounding of the sums.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxvae.errors import ConfigError

Device: TypeAlias = "jax.Device"  # pyright: ignore[reportInvalidTypeForm]
MEMBER, DATA = "member", "data"
BY_MEMBER, BY_BATCH, EVERYWHERE = P(MEMBER), P(MEMBER, None, DATA), P()


def choose_devices(count: int | None = None) -> list[Device]:
    """`count` devices of the default backend, all of them without a number; as many from each process.

    Raises:
        ConfigError: there are fewer, or some processes would have more than others.
    """
    devices, processes = jax.devices(), jax.process_count()
    count = len(devices) if count is None else count
    if count > len(devices):
        raise ConfigError(f"devices is {count}, but {jax.default_backend()} has {len(devices)}")
    of_each = [[d for d in devices if d.process_index == process] for process in range(processes)]
    if count % processes or count // processes > min(map(len, of_each)):
        raise ConfigError(f"devices is {count}, of which {processes} processes cannot have as many each")
    return [d for those in of_each for d in those[: count // processes]]


def make_mesh(members: int, devices: Sequence[Device]) -> Mesh:
    """As many rows as divide the devices and leave fewer copies than members; what devices remain are columns.

    Five members on eight devices have a device each, three have two each, with one copy.
    """
    count = len(devices)
    rows = max(n for n in range(1, count + 1) if count % n == 0 and -(-members // n) * n < 2 * members)
    return Mesh(np.array(devices).reshape(rows, -1), (MEMBER, DATA), axis_types=(AxisType.Auto, AxisType.Auto))


def connect(mesh: Mesh) -> None:
    """Let the processes of a mesh make the connections that its programs need, while all of them are here.

    Gloo makes those of a group of devices when they first exchange something, and waits for 30 seconds then, which one
    process may need longer than another to compile an epoch.
    """
    if len({device.process_index for device in mesh.devices.flat}) == 1:
        return
    multihost_utils.sync_global_devices("mesh")

    def sums(x: Array) -> Array:
        return lax.psum(lax.psum(x, MEMBER) + lax.psum(x, DATA), (MEMBER, DATA))

    one = from_host((mesh.size,), lambda _: np.ones(1, np.float32), mesh, P((MEMBER, DATA)))
    summed = jax.shard_map(sums, mesh=mesh, in_specs=P((MEMBER, DATA)), out_specs=P())
    jax.block_until_ready(jax.jit(summed)(one))


def data_axis(mesh: Mesh) -> str | None:
    """The axis that splits batches; None where they are whole."""
    return DATA if mesh.shape[DATA] > 1 else None


def layout(mesh: Mesh) -> str:
    """The mesh in words."""
    kind, (rows, columns) = mesh.devices.flat[0].device_kind, mesh.devices.shape
    if mesh.size == 1:
        return kind
    split = [f"members on {rows}"] * (rows > 1) + [f"batches on {columns}"] * (columns > 1)
    return f"{mesh.size} devices ({kind}; {', '.join(split)})"


def to_host(tree: Any) -> Any:
    """Every leaf whole, as a NumPy array; all processes that have a part of it must ask for it, and all get it."""

    def whole(x: Any) -> np.ndarray:
        if isinstance(x, Array) and not (x.is_fully_addressable or x.is_fully_replicated):
            return multihost_utils.process_allgather(x, tiled=True)
        return np.asarray(x)

    return jax.tree.map(whole, tree)


def from_host(shape: tuple[int, ...], values: Callable[[Any], Any], mesh: Mesh, spec: P) -> Array:
    """An array of which each device gets `values` of its own slices; a process is asked for those of its devices."""
    return jax.make_array_from_callback(shape, NamedSharding(mesh, spec), values)


def abstract(shape: tuple[int, ...], dtype: Any, mesh: Mesh, spec: P) -> jax.ShapeDtypeStruct:
    """What such an array is, without one."""
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))


def free_bytes(mesh: Mesh) -> float | None:
    """What the device with the least free memory has free; None where devices do not say. All processes must ask."""
    free = np.inf
    for device in mesh.local_devices:
        stats = device.memory_stats()
        if stats and "bytes_limit" in stats:
            free = min(free, stats["bytes_limit"] - stats["bytes_in_use"])
    free = least(free, mesh)
    return None if free == np.inf else free


def least(value: float, mesh: Mesh) -> float:
    """The least of what the processes have, to seven digits; all must ask."""
    values = from_host((mesh.size,), lambda _: np.array([value], np.float32), mesh, P((MEMBER, DATA)))
    return float(to_host(values).min())


def over_mesh(function: Callable, mesh: Mesh, *specs: P) -> Callable:
    """Each device runs `function` on its rows of the arguments that are `BY_MEMBER`, and on all of the others.

    The results are by member, and must be the same in all columns of a row: reduce them with the functions below.
    """
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=BY_MEMBER, check_vma=False)


def place(mesh: Mesh, count: int) -> NamedSharding:
    """Where arrays [K, ...] of so many members lie without copies: by member where rows divide K, else everywhere."""
    return NamedSharding(mesh, EVERYWHERE if count % mesh.shape[MEMBER] else BY_MEMBER)


def everywhere(tree: Any, mesh: Mesh) -> Any:
    """Arrays and keys that every process has the same of, on every device."""

    def put(x: Array) -> Array:
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(x)), impl=jax.random.key_impl(x))
        return jax.device_put(np.asarray(x), NamedSharding(mesh, EVERYWHERE))

    return jax.tree.map(put, tree)


def padded(tree: Any, mesh: Mesh) -> Any:
    """Arrays [K, ...] of the mesh by member, with copies of the last one up to a whole number for each row.

    What lies so already is returned as it is.
    """
    leaves, sharding = jax.tree.leaves(tree), NamedSharding(mesh, BY_MEMBER)
    count = len(leaves[0])
    missing = -count % mesh.shape[MEMBER]
    if not missing and all(x.sharding.is_equivalent_to(sharding, x.ndim) for x in leaves):
        return tree
    return resized(count + missing, sharding)(tree)


def unpadded(tree: Any, count: int, mesh: Mesh) -> Any:
    """The first `count` of arrays [K, ...], in their `place`."""
    return tree if len(jax.tree.leaves(tree)[0]) == count else resized(count, place(mesh, count))(tree)


@lru_cache
def resized(count: int, sharding: NamedSharding) -> Callable[[Any], Any]:
    """A compiled function that gives arrays [K, ...] `count` entries, the last ones again where they have fewer."""

    def change(x: Array) -> Array:
        return jnp.concatenate([x, *[x[-1:]] * (count - len(x))])[:count]

    return jax.jit(partial(jax.tree.map, change), out_shardings=sharding)


# What follows is called by each device, inside `over_mesh`, or under a user's own `pmap` or `shard_map`; an axis of
# None stands for a program without devices.


def width(size: int, columns: int) -> int:
    """`size` examples filled up to a whole number for each column."""
    return -(-size // columns) * columns


def whole_columns(x: Array, columns: int) -> Array:
    """[S, B, ...] with B filled up with zeros to its `width`."""
    return jnp.pad(x, [(0, 0), (0, width(x.shape[1], columns) - x.shape[1])] + [(0, 0)] * (x.ndim - 2))


def my_columns(x: Array, axis: str | None) -> Array:
    """Of a batch's axis, the second of [S, B, ...], a device's own part; filled up with zeros to a whole number."""
    if axis is None:
        return x
    filled = whole_columns(x, lax.axis_size(axis))
    own = filled.shape[1] // lax.axis_size(axis)
    return lax.dynamic_slice_in_dim(filled, lax.axis_index(axis) * own, own, axis=1)


def all_columns(x: Array, size: int, axis: str | None) -> Array:
    """`my_columns` of all devices put together again: [S, B, ...] with B = `size`, the same on each."""
    return x if axis is None else lax.all_gather(x, axis, axis=1, tiled=True)[:, :size]


def my_places(size: int, axis: str | None) -> Array:
    """The places in the whole batch of a device's own `size` examples."""
    first = jnp.zeros((), int) if axis is None else lax.axis_index(axis) * size
    return first + jnp.arange(size)


def own_copy(tree: Any, axis: str | None) -> Any:
    """What all devices share, as each one's own: a gradient with respect to it is then of the device's own loss.

    Without, `shard_map` would add up the gradients of all devices itself, and `sum_over` once more.
    """
    return tree if axis is None else lax.pcast(tree, axis, to="varying")


def sum_over(tree: Any, axis: str | None) -> Any:
    """The sum of every leaf over devices, the same on each."""
    return tree if axis is None else lax.psum(tree, axis)
