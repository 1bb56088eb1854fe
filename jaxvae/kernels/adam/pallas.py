"""The kernels: parameters, moments and gradients are read once, and what is new of them written once.

On a GPU all leaves of the parameters are one kernel's, whose blocks of threads take a piece of one leaf each. A leaf
whose size is no multiple of 128 is copied to one that is.
"""

from math import gcd
from typing import Any

import jax
import jax.experimental.pallas as pl
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp
import optax
from jax import Array, lax

from jaxvae.kernels.adam.reference import B1, B2, EPS, corrections
from jaxvae.kernels.platforms import LANES, by_platform, padded, round_up

ROWS = 256  # of `LANES` numbers, of a block on a TPU
Leaf = tuple[Array, Array, Array, Array]  # flat: parameters, both moments, gradient
NewLeaf = tuple[Array, Array, Array]


def adam(
    params: dict, moments: optax.ScaleByAdamState, gradients: dict, rate: Array, alive: Array
) -> tuple[dict, optax.ScaleByAdamState]:
    """`reference.adam` of float32 parameters."""
    leaves, tree = jax.tree.flatten(params)
    if other := {str(leaf.dtype) for leaf in leaves} - {"float32"}:
        raise TypeError(f"the kernel takes float32 parameters, not {', '.join(sorted(other))}")
    count = jnp.where(alive, optax.safe_increment(moments.count), moments.count)
    scalars = jnp.stack([x.astype(jnp.float32) for x in (rate, *corrections(jnp.maximum(count, 1)), alive)])
    columns = ([flat_leaf(x) for x in jax.tree.leaves(t)] for t in (params, moments.mu, moments.nu, gradients))
    flat = zip(*columns, strict=True)
    found = by_platform(cuda=update_on_gpu, tpu=update_on_tpu)(scalars, [*flat])
    cut = [[x[: leaf.size].reshape(leaf.shape) for x in new] for leaf, new in zip(leaves, found, strict=True)]
    params, mu, nu = (jax.tree.unflatten(tree, each) for each in zip(*cut, strict=True))
    return params, optax.ScaleByAdamState(count, mu, nu)


def flat_leaf(x: Array) -> Array:
    """In one axis, filled up to whole `LANES`."""
    return padded(x.ravel(), (round_up(x.size, LANES),))


def update(scalars: Any, p: Array, m: Array, v: Array, g: Array) -> NewLeaf:
    """New parameters and moments; scalars: the rate, both corrections, 1 or 0 for alive."""
    rate, mean, square, alive = scalars
    new_m = (1.0 - B1) * g + B1 * m
    new_v = (1.0 - B2) * (g * g) + B2 * v
    scaled = square * new_v
    root = scaled * lax.rsqrt(jnp.maximum(scaled, 1e-37))  # Mosaic GPU has no square root
    new_p = p - rate * (mean * new_m / (root + EPS))
    taken = jnp.broadcast_to(alive, p.shape) > 0.0
    return jnp.where(taken, new_p, p), jnp.where(taken, new_m, m), jnp.where(taken, new_v, v)


def update_on_tpu(scalars: Array, leaves: list[Leaf], *, interpret: bool = False) -> list[NewLeaf]:
    """A kernel for each leaf."""

    def body(scalars, p, m, v, g, *outs):
        new = update([scalars[0, i] for i in range(4)], p[...], m[...], v[...], g[...])
        for out, value in zip(outs, new, strict=True):
            out[...] = value

    def of_leaf(leaf: Leaf) -> NewLeaf:
        rows = leaf[0].size // LANES
        block = pl.BlockSpec((min(ROWS, rows), LANES), lambda i: (i, 0))
        new = pl.pallas_call(
            body,
            grid=(pl.cdiv(rows, ROWS),),
            in_specs=[pl.BlockSpec((1, 4), lambda i: (0, 0)), *[block] * 4],
            out_specs=[block] * 3,
            out_shape=[jax.ShapeDtypeStruct((rows, LANES), jnp.float32)] * 3,
            interpret=interpret,
            name="adam",
        )(scalars[None], *(x.reshape(rows, LANES) for x in leaf))
        p, m, v = (x.ravel() for x in new)
        return p, m, v

    return [of_leaf(leaf) for leaf in leaves]


def update_on_gpu(scalars: Array, leaves: list[Leaf], *, interpret: Any = None) -> list[NewLeaf]:
    """One kernel for all leaves.

    Its pieces are whole, and of about a thousand numbers where a leaf can be divided so.
    """
    sizes = [LANES * max(gcd(leaf[0].size // LANES, most) for most in (8, 10, 12, 14)) for leaf in leaves]
    counts = [leaf[0].size // size for leaf, size in zip(leaves, sizes, strict=True)]

    def body(scalars, leaves, *outs):
        block = lax.axis_index("blocks")
        values = [scalars[i] for i in range(4)]
        for k, (leaf, new, size) in enumerate(zip(leaves, outs, sizes, strict=True)):
            first = sum(counts[:k])

            @pl.when((block >= first) & (block < first + counts[k]))
            def _(leaf=leaf, new=new, size=size, first=first):
                piece = pl.ds((block - first) * size, size)
                for out, value in zip(new, update(values, *(ref[piece] for ref in leaf)), strict=True):
                    out[piece] = value

    return plgpu.kernel(
        body,
        out_type=[tuple(jax.ShapeDtypeStruct(leaf[0].shape, jnp.float32) for _ in range(3)) for leaf in leaves],
        grid=(sum(counts),),
        grid_names=("blocks",),
        interpret=interpret,
    )(scalars, leaves)
