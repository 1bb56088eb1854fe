"""What the Pallas versions of all kernels share: a version for each platform, tiles, and products of bfloat16 parts."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp
from jax import Array, lax

WARPGROUP = plgpu.CompilerParams(lowering_semantics=plgpu.LoweringSemantics.Warpgroup)
"""The compiler finds the layouts of arrays in registers."""
LANES = 128
"""Columns of a block on a TPU, and threads of a warpgroup."""
TILE = 64
"""Rows and columns of a tile on a GPU: the rows of Hopper's matrix product, and 128 bytes of bfloat16 columns."""


def by_platform(*, cuda: Callable, tpu: Callable) -> Callable:
    """A function that is lowered to `cuda` or `tpu`, and on a CPU to the latter, interpreted."""

    def function(*arguments):
        return lowered(cuda, tpu, arguments)

    return function


def lowered(cuda: Callable, tpu: Callable, arguments: tuple) -> Any:
    """What `by_platform` computes. Tests replace this to interpret the GPU's version, too."""
    return lax.platform_dependent(*arguments, cuda=cuda, tpu=tpu, cpu=partial(tpu, interpret=True))


def round_up(size: int, multiple: int) -> int:
    """The least multiple that is not smaller."""
    return -(-size // multiple) * multiple


def padded(x: Array, shape: tuple[int, ...], value: float = 0.0) -> Array:
    """`x` filled up at its ends to `shape`."""
    missing = [(0, wanted - found) for found, wanted in zip(x.shape, shape, strict=True)]
    return jnp.pad(x, missing, constant_values=jnp.asarray(value, x.dtype)) if any(n for _, n in missing) else x


def even_blocks(count: int, most: int) -> tuple[int, int]:
    """How many blocks of at most `most`, and of how many each, hold `count` with the least left over."""
    blocks = -(-count // most)
    return blocks, -(-count // blocks)


def in_shared_memory(shape: tuple[int, ...], dtype: Any) -> Any:
    """A buffer of a GPU's shared memory in the order that its matrix products and bulk copies take."""
    return plgpu.SMEM(shape, dtype, transforms=tiling(shape[-1], dtype))


def tile_of(dtype: Any) -> Any:
    """A buffer of one tile."""
    return in_shared_memory((TILE, TILE), dtype)


def tiling(columns: int, dtype: Any) -> tuple[Any, ...]:
    """The order of a tile of so many columns in shared memory."""
    swizzle = plgpu.find_swizzle(columns * jnp.dtype(dtype).itemsize * 8)
    return plgpu.TilingTransform((8, swizzle // jnp.dtype(dtype).itemsize)), plgpu.SwizzleTransform(swizzle)


def split(x: Array) -> tuple[Array, ...]:
    """bfloat16 arrays that add up to `x`: itself, or of float32 two, exact to 2**-16.

    A GPU multiplies matrices of these with sums in float32; float32 itself it rounds to 11 bits first.
    """
    if x.dtype == jnp.bfloat16:
        return (x,)
    if x.dtype != jnp.float32:
        raise TypeError(f"the kernel takes float32 or bfloat16, not {x.dtype}")
    high = lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)
    return high.astype(jnp.bfloat16), (x - high).astype(jnp.bfloat16)


def products(left: tuple, right: tuple) -> list[tuple[Any, Any]]:
    """The pairs whose matrix products add up to that of two `split` arrays; that of both rests is below rounding."""
    return [(a, b) for i, a in enumerate(left) for j, b in enumerate(right) if i + j < 2]
