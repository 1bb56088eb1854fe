"""The kernels: noise is drawn where it is used, in the forward pass and again in the backward pass."""

from typing import Any

import jax
import jax.experimental.pallas as pl
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.dtypes import float0

from jaxvae.kernels.platforms import TILE, WARPGROUP, by_platform, in_shared_memory, padded, round_up
from jaxvae.kernels.reparameterize_kl.noise import standard_normal
from jaxvae.types import Posterior

SERIES = tuple(1.0 / np.prod(np.arange(1.0, power + 1)) for power in range(9, 1, -1))
"""Of exp(x) - 1 - x, highest power first."""


def reparameterize_kl(keys: Array, posterior: Posterior) -> tuple[Array, Array]:
    """`reference.reparameterize_kl` of float32, with the noise of `jax.random.normal` to 1e-5 of each number."""
    mean, logvar = posterior
    if keys.shape != mean.shape[:-1] or mean.shape != logvar.shape:
        raise ValueError(f"keys {keys.shape}, means {mean.shape}, log-variances {logvar.shape} do not match")
    if jax.random.key_impl(keys) != "threefry2x32":
        raise ValueError(f"the kernel draws from threefry2x32, not from {jax.random.key_impl(keys)}")
    if mean.dtype != jnp.float32 or logvar.dtype != jnp.float32:
        raise TypeError(f"the kernel takes float32, not {mean.dtype} and {logvar.dtype}")
    words = jax.random.key_data(keys).reshape(-1, 2)
    z, kl = _of_rows(words, *(x.reshape(-1, x.shape[-1]) for x in posterior))
    return z.reshape(mean.shape), kl.reshape(keys.shape)


@jax.custom_vjp
def _of_rows(words: Array, mean: Array, logvar: Array) -> tuple[Array, Array]:
    """Of means and log-variances [B, Z] and the two words of the keys [B, 2]: z [B, Z] and the KL [B]."""
    return by_platform(cuda=forward_on_gpu, tpu=forward_on_tpu)(words, mean, logvar)


def _forward(words: Array, mean: Array, logvar: Array) -> tuple[tuple[Array, Array], Any]:
    return _of_rows(words, mean, logvar), (words, mean, logvar)


def _backward(kept: tuple[Array, Array, Array], cotangents: tuple[Array, Array]) -> tuple[Any, Array, Array]:
    words, mean, logvar = kept
    by_mean, by_logvar = by_platform(cuda=backward_on_gpu, tpu=backward_on_tpu)(words, mean, logvar, *cotangents)
    return np.zeros(words.shape, float0), by_mean, by_logvar


_of_rows.defvjp(_forward, _backward)


# What both platforms compute of a tile: keys as two arrays, number of the latent dimension, mean, logvar; [rows, Z].


def exp_less_its_tangent(x: Array) -> Array:
    """`exp(x) - 1 - x`, near 0 by its series, which keeps its digits."""
    series = jnp.zeros_like(x)
    for coefficient in SERIES:
        series = series * x + np.float32(coefficient)
    return jnp.where(jnp.abs(x) < 0.5, series * x * x, jnp.exp(x) - 1.0 - x)


def forward(key: tuple[Array, Array], number: Array, mean: Array, logvar: Array) -> tuple[Array, Array]:
    """z and the KL of each dimension."""
    z = mean + jnp.exp(0.5 * logvar) * standard_normal(key, number)
    return z, 0.5 * (mean * mean + exp_less_its_tangent(logvar))


def backward(
    key: tuple[Array, Array], number: Array, mean: Array, logvar: Array, by_z: Array, by_kl: Array
) -> tuple[Array, Array]:
    """The gradients by mean and logvar."""
    by_logvar = by_z * jnp.exp(0.5 * logvar) * standard_normal(key, number) + by_kl * (
        exp_less_its_tangent(logvar) + logvar
    )
    return by_z + by_kl * mean, 0.5 * by_logvar


def forward_on_tpu(words: Array, mean: Array, logvar: Array, *, interpret: bool = False) -> tuple[Array, Array]:
    """z [B, Z] and the KL [B]."""

    def body(k0, k1, mean, logvar, z, kl):
        operands = key_and_number((k0[...], k1[...]), mean.shape)
        z[...], each = forward(*operands, mean[...], logvar[...])
        kl[...] = jnp.sum(each, axis=1, keepdims=True)

    z, kl = _rows_on_tpu(body, (words[:, :1], words[:, 1:], mean, logvar), (mean.shape[1], 1), interpret=interpret)
    return z, kl[:, 0]


def backward_on_tpu(
    words: Array, mean: Array, logvar: Array, by_z: Array, by_kl: Array, *, interpret: bool = False
) -> tuple[Array, Array]:
    """The gradients by mean and logvar [B, Z]."""

    def body(k0, k1, mean, logvar, by_z, by_kl, by_mean, by_logvar):
        operands = key_and_number((k0[...], k1[...]), mean.shape)
        weight = jnp.broadcast_to(by_kl[...], mean.shape)
        by_mean[...], by_logvar[...] = backward(*operands, mean[...], logvar[...], by_z[...], weight)

    operands = (words[:, :1], words[:, 1:], mean, logvar, by_z, by_kl[:, None])
    by_mean, by_logvar = _rows_on_tpu(body, operands, (mean.shape[1],) * 2, interpret=interpret)
    return by_mean, by_logvar


def key_and_number(words: tuple[Array, Array], shape: tuple[int, int]) -> tuple[tuple[Array, Array], Array]:
    """The words [rows, 1] of each row's key for each of its numbers, and which number it is; uint32 [rows, Z]."""
    first, second = (jnp.broadcast_to(word, shape) for word in words)
    return (first, second), lax.broadcasted_iota(jnp.int32, shape, 1).astype(jnp.uint32)


def _rows_on_tpu(body: Any, operands: tuple, columns: tuple[int, ...], *, interpret: bool) -> list[Array]:
    """Outputs [B, column] in float32, of operands [B, ...], in blocks of rows."""
    batch = len(operands[0])
    rows = min(128, round_up(batch, 8), max(8, 2**16 // max(x.shape[1] for x in operands) // 8 * 8))
    whole = round_up(batch, rows)

    def block(width: int) -> pl.BlockSpec:
        return pl.BlockSpec((rows, width), lambda m: (m, 0))

    found = pl.pallas_call(
        body,
        grid=(whole // rows,),
        in_specs=[block(x.shape[1]) for x in operands],
        out_specs=[block(width) for width in columns],
        out_shape=[jax.ShapeDtypeStruct((whole, width), jnp.float32) for width in columns],
        interpret=interpret,
        name="reparameterize_kl",
    )(*(padded(x, (whole, x.shape[1])) for x in operands))
    return [x[:batch] for x in found]


def forward_on_gpu(words: Array, mean: Array, logvar: Array, *, interpret: Any = None) -> tuple[Array, Array]:
    """z [B, Z] and the KL [B]."""

    def body(first, vectors, matrices, outs):
        mean, logvar = matrices
        z, kl = outs
        k0, k1 = vectors
        z[...], each = forward(*key_and_number_on_gpu(k0, k1, mean, first), mean[...], logvar[...])
        kl[...] = jnp.sum(each, axis=1)

    z, kl = _tiles_on_gpu(body, (words[:, 0], words[:, 1]), (mean, logvar), (2, 1), interpret=interpret)
    return z, jnp.sum(kl, 0)


def backward_on_gpu(
    words: Array, mean: Array, logvar: Array, by_z: Array, by_kl: Array, *, interpret: Any = None
) -> tuple[Array, Array]:
    """The gradients by mean and logvar [B, Z]."""

    def body(first, vectors, matrices, outs):
        k0, k1, by_kl = vectors
        mean, logvar, by_z = matrices
        weight = lax.broadcast_in_dim(by_kl[...], mean.shape, (0,))
        operands = key_and_number_on_gpu(k0, k1, mean, first)
        outs[0][...], outs[1][...] = backward(*operands, mean[...], logvar[...], by_z[...], weight)

    vectors = (words[:, 0], words[:, 1], by_kl)
    by_mean, by_logvar = _tiles_on_gpu(body, vectors, (mean, logvar, by_z), (2, 2), interpret=interpret)
    return by_mean, by_logvar


def key_and_number_on_gpu(k0: Any, k1: Any, like: Any, first: Array) -> tuple[tuple[Array, Array], Array]:
    """`key_and_number` of words [rows], for columns from `first` on."""
    words = tuple(lax.broadcast_in_dim(word[...], like.shape, (0,)) for word in (k0, k1))
    return (words[0], words[1]), lax.broadcasted_iota(jnp.uint32, like.shape, 1) + first.astype(jnp.uint32)


def _tiles_on_gpu(body: Any, vectors: tuple, matrices: tuple, ranks: tuple[int, ...], *, interpret: Any) -> list[Array]:
    """Outputs of vectors [B] and matrices [B, Z]: of rank 2 [B, Z], of rank 1 a sum by each tile of columns [T, B].

    A block of threads takes `TILE` rows and at most as many columns.
    """
    batch, width = matrices[0].shape
    tiles = -(-width // TILE)
    columns = round_up(-(-width // tiles), 8)
    rows, whole_width = round_up(batch, TILE), tiles * columns
    operands = (*(padded(x, (rows,)) for x in vectors), *(padded(x, (rows, whole_width)) for x in matrices))
    shapes = [(rows, whole_width) if rank == 2 else (tiles, rows) for rank in ranks]

    def buffer(rank: int, dtype: Any) -> Any:
        return plgpu.SMEM((TILE,), dtype) if rank == 1 else in_shared_memory((TILE, columns), dtype)

    def one_tile(*refs):
        inputs, outputs, buffers = refs[: len(operands)], refs[len(operands) : -2], refs[-2]
        m, n = lax.axis_index("rows"), lax.axis_index("columns")
        row, column = pl.ds(m * TILE, TILE), pl.ds(n * columns, columns)
        loaded, made = buffers[: len(operands)], buffers[len(operands) :]
        for ref, place in zip(inputs, loaded, strict=True):
            plgpu.copy_gmem_to_smem(ref.at[row] if len(ref.shape) == 1 else ref.at[row, column], place, refs[-1])
        plgpu.barrier_wait(refs[-1])
        body(n * columns, loaded[: len(vectors)], loaded[len(vectors) :], made)
        plgpu.commit_smem()
        for place, ref in zip(made, outputs, strict=True):
            plgpu.copy_smem_to_gmem(place, ref.at[n, row] if len(place.shape) == 1 else ref.at[row, column])
        plgpu.wait_smem_to_gmem(0)

    found = plgpu.kernel(
        one_tile,
        out_type=[jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes],
        grid=(rows // TILE, tiles),
        grid_names=("rows", "columns"),
        scratch_types=[
            (*(buffer(x.ndim, x.dtype) for x in operands), *(buffer(rank, jnp.float32) for rank in ranks)),
            plgpu.Barrier(num_arrivals=len(operands)),
        ],
        compiler_params=WARPGROUP,
        interpret=interpret,
    )(*operands)
    return [x[:batch, :width] if rank == 2 else x[:, :batch] for x, rank in zip(found, ranks, strict=True)]
