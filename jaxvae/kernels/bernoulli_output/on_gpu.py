"""On a GPU: tiles in shared memory, products of one warpgroup, sums in its registers."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.experimental.pallas as pl
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp
from jax import Array, lax

from jaxvae.kernels.bernoulli_output import likelihood
from jaxvae.kernels.platforms import (
    TILE,
    WARPGROUP,
    even_blocks,
    in_shared_memory,
    padded,
    products,
    round_up,
    split,
    tile_of,
    tiling,
)

HELD = 112 * 1024  # bytes of shared memory for the gradient by the logits


class _Tiles:
    """The operands filled up to whole tiles of `TILE` by `TILE` and split into bfloat16 parts, and how many there are.

    The pixels are cut into blocks whose gradient by the logits `HELD` has room for.
    """

    def __init__(self, features: Array, kernel: Array, bias: Array, image: Array) -> None:
        self.samples, batch, self.width = features.shape
        self.parts = 1 if features.dtype == jnp.bfloat16 else 2
        self.held = HELD // (2 * self.parts * TILE**2)  # tiles
        self.blocks, self.pixel_tiles = even_blocks(round_up(kernel.shape[1], TILE) // TILE, self.held)
        self.batch, self.pixels = round_up(batch, TILE), self.blocks * self.pixel_tiles * TILE
        self.features = round_up(self.width, TILE)
        self.h = split(padded(features, (self.samples, self.batch, self.features)).reshape(-1, self.features))
        self.w = split(padded(kernel, (self.features, self.pixels)))
        self.b = padded(bias, (self.pixels,), likelihood.NOTHING)
        self.x = padded(image, (self.batch, self.pixels))

    @property
    def row_tiles(self) -> int:
        """Of all samples."""
        return self.samples * self.batch // TILE

    def image_rows(self, tile: Array) -> Any:
        """The images that a tile of rows is of."""
        return pl.ds(lax.rem(tile.astype(jnp.int32), jnp.int32(self.batch // TILE)) * TILE, TILE)

    def buffers(self) -> list[Any]:
        """Shared memory for the image and bias of a tile, and a barrier for both."""
        return [tile_of(jnp.float32), plgpu.SMEM((TILE,), jnp.float32), plgpu.Barrier(num_arrivals=2)]

    def logits_and_image(self, refs: Any, row_tile: Array, pixel_tile: Array, buffers: Any) -> tuple[Array, Array]:
        """Of one tile, in registers; [TILE, TILE]."""
        h, w, b, x = refs
        x_tile, b_tile, arrived = buffers
        pixels = pl.ds(pixel_tile * TILE, TILE)
        plgpu.copy_gmem_to_smem(x.at[self.image_rows(row_tile), pixels], x_tile, arrived)
        plgpu.copy_gmem_to_smem(b.at[pixels], b_tile, arrived)
        left = [(ref, lambda k: (row_tile, k)) for ref in h]
        right = [(ref, lambda k: (k, pixel_tile)) for ref in w]

        def operands(k, *blocks):
            return blocks[: len(h)], blocks[len(h) :]

        logits = matrix_product(self.features // TILE, [*left, *right], operands)
        plgpu.barrier_wait(arrived)
        return logits + lax.broadcast_in_dim(b_tile[...], logits.shape, (1,)), x_tile[...]


def matrix_product(steps: int, streamed: list, operands: Callable) -> Array:
    """A tile of a product of matrices in bfloat16 parts, summed over `steps` tiles of what they have in common.

    `streamed` are `(ref, index map)`, whose tiles are brought to shared memory one ahead; `operands` makes of
    the number of a step and those tiles the parts of the left and of the right.
    """

    def summed(total) -> Array:
        def step(indices, *blocks) -> None:
            for a, b in products(*operands(indices[0], *blocks)):
                plgpu.wgmma(total, a, b)
            plgpu.wgmma_wait(0)

        specs = [plgpu.BlockSpec((TILE, TILE), index, transforms=tiling(TILE, ref.dtype)) for ref, index in streamed]
        pipeline = plgpu.emit_pipeline(step, grid=(steps,), in_specs=specs, max_concurrent_steps=min(2, steps))
        pipeline(*(ref for ref, _ in streamed))
        return total[...]

    return pl.run_scoped(summed, plgpu.WGMMAAccumulatorRef((TILE, TILE), jnp.float32))


def in_parts(value: Array, count: int) -> list[Array]:
    """As `platforms.split`, of registers, where no compiler leaves out a rounding."""
    high = value.astype(jnp.bfloat16)
    return [high, (value - high.astype(jnp.float32)).astype(jnp.bfloat16)][:count]


def write(value: Array, buffer: Any, out: Any) -> None:
    """Registers to memory, by way of shared memory; done when this returns."""
    buffer[...] = value
    plgpu.commit_smem()
    plgpu.copy_smem_to_gmem(buffer, out)
    plgpu.wait_smem_to_gmem(0)


def nats_on_gpu(features: Array, kernel: Array, bias: Array, image: Array, *, interpret: Any = None) -> Array:
    """Nats [S, B]: a block for each tile of logits, whose sums are added up outside."""
    tiles = _Tiles(features, kernel, bias, image)

    def body(h, w, b, x, nats, sums, *buffers):
        m, n = lax.axis_index("rows"), lax.axis_index("pixels")
        logits, image = tiles.logits_and_image((h, w, b, x), m, n, buffers)
        write(jnp.sum(likelihood.cross_entropy_of(logits, image), axis=1), sums, nats.at[n, pl.ds(m * TILE, TILE)])

    nats = plgpu.kernel(
        body,
        out_type=jax.ShapeDtypeStruct((tiles.blocks * tiles.pixel_tiles, tiles.row_tiles * TILE), jnp.float32),
        grid=(tiles.row_tiles, tiles.blocks * tiles.pixel_tiles),
        grid_names=("rows", "pixels"),
        scratch_types=[plgpu.SMEM((TILE,), jnp.float32), *tiles.buffers()],
        compiler_params=WARPGROUP,
        interpret=interpret,
    )(tiles.h, tiles.w, tiles.b, tiles.x)
    return jnp.sum(nats, 0).reshape(tiles.samples, tiles.batch)[:, : features.shape[1]]


def nats_and_gradient_on_gpu(
    features: Array, kernel: Array, bias: Array, image: Array, *, interpret: Any = None
) -> tuple[Array, Array]:
    """Nats [S, B] and their gradient by the features [S, B, H].

    A block of threads takes `TILE` rows and as many pixels as shared memory holds their gradient of, and multiplies
    that with the kernel. What blocks of pixels give is added up outside.
    """
    tiles = _Tiles(features, kernel, bias, image)
    transposed = tuple(w.T for w in tiles.w)

    def body(h, w, w_transposed, b, x, nats, by_features, sums, out, by_logits, *buffers):
        m, block = lax.axis_index("rows"), lax.axis_index("blocks")
        rows = pl.ds(m * TILE, TILE)

        def tile(number: Array, total: Array) -> Array:
            logits, image = tiles.logits_and_image((h, w, b, x), m, block * tiles.pixel_tiles + number, buffers)
            value = likelihood.gradient_by_logits(logits, image)
            for part, half in zip(by_logits, in_parts(value, tiles.parts), strict=True):
                part[:, pl.ds(number * TILE, TILE)] = half
            return total + jnp.sum(likelihood.cross_entropy_of(logits, image), axis=1)

        write(lax.fori_loop(0, tiles.pixel_tiles, tile, jnp.zeros(TILE, jnp.float32)), sums, nats.at[block, rows])
        plgpu.commit_smem()

        @pl.loop(0, tiles.features // TILE)
        def _(number):
            streamed = [(ref, lambda k: (block * tiles.pixel_tiles + k, number)) for ref in w_transposed]

            def operands(k, *blocks):
                return [part.at[:, pl.ds(k * TILE, TILE)] for part in by_logits], blocks

            product = matrix_product(tiles.pixel_tiles, streamed, operands)
            write(product, out, by_features.at[block, rows, pl.ds(number * TILE, TILE)])

    held = tuple(in_shared_memory((TILE, tiles.pixel_tiles * TILE), jnp.bfloat16) for _ in range(tiles.parts))
    nats, by_features = plgpu.kernel(
        body,
        out_type=(
            jax.ShapeDtypeStruct((tiles.blocks, tiles.row_tiles * TILE), jnp.float32),
            jax.ShapeDtypeStruct((tiles.blocks, tiles.row_tiles * TILE, tiles.features), jnp.float32),
        ),
        grid=(tiles.row_tiles, tiles.blocks),
        grid_names=("rows", "blocks"),
        scratch_types=[
            plgpu.SMEM((TILE,), jnp.float32),
            tile_of(jnp.float32),
            held,
            *tiles.buffers(),
        ],
        compiler_params=WARPGROUP,
        interpret=interpret,
    )(tiles.h, tiles.w, transposed, tiles.b, tiles.x)
    nats = jnp.sum(nats, 0).reshape(tiles.samples, tiles.batch)
    by_features = jnp.sum(by_features, 0).reshape(tiles.samples, tiles.batch, tiles.features)
    return nats[:, : features.shape[1]], by_features[:, : features.shape[1], : tiles.width]


def layer_gradient_on_gpu(
    features: Array, kernel: Array, bias: Array, image: Array, cotangent: Array, *, interpret: Any = None
) -> tuple[Array, Array]:
    """The gradient of `sum(cotangent * nats)` by the kernel [H, P] and the bias [P].

    A block of threads takes one tile of pixels and all rows, as many at a time as shared memory holds the gradient of.
    A feature that is always 1 makes the bias a row of the kernel.
    """
    tiles = _Tiles(features, kernel, bias, image)
    blocks, held_tiles = even_blocks(tiles.row_tiles, tiles.held)
    rows, width = blocks * held_tiles * TILE, round_up(tiles.width + 1, TILE)
    flat = tuple(padded(part, (rows, tiles.features)) for part in tiles.h)
    ones = jnp.ones((rows, 1), jnp.bfloat16)
    constant = [ones, jnp.zeros_like(ones)][: tiles.parts]
    beside = [jnp.concatenate([part[:, : tiles.width], one], 1) for part, one in zip(flat, constant, strict=True)]
    transposed = tuple(padded(part, (rows, width)).T for part in beside)
    weight = padded(padded(cotangent, (tiles.samples, tiles.batch)).reshape(-1), (rows,))

    def body(h, h_transposed, w, b, x, weight, by_kernel, out, by_logits, of_rows, arrived, *buffers):
        n = lax.axis_index("pixels")
        pixels = pl.ds(n * TILE, TILE)

        def of_block(block: Array | int, *, add: bool) -> None:
            @pl.loop(0, held_tiles)
            def _(number):
                m = block * held_tiles + number
                plgpu.copy_gmem_to_smem(weight.at[pl.ds(m * TILE, TILE)], of_rows, arrived)
                logits, image = tiles.logits_and_image((h, w, b, x), m, n, buffers)
                plgpu.barrier_wait(arrived)
                value = likelihood.gradient_by_logits(logits, image) * lax.broadcast_in_dim(
                    of_rows[...], logits.shape, (0,)
                )
                for part, half in zip(by_logits, in_parts(value, tiles.parts), strict=True):
                    part[pl.ds(number * TILE, TILE)] = half

            plgpu.commit_smem()

            @pl.loop(0, width // TILE)
            def _(number):
                streamed = [(ref, lambda k: (number, block * held_tiles + k)) for ref in h_transposed]

                def operands(k, *blocks):
                    return blocks, [part.at[pl.ds(k * TILE, TILE)] for part in by_logits]

                product = matrix_product(held_tiles, streamed, operands)
                target = by_kernel.at[pl.ds(number * TILE, TILE), pixels]
                if add:
                    plgpu.copy_gmem_to_smem(target, out, arrived)
                    plgpu.barrier_wait(arrived)
                    product = product + out[...]
                write(product, out, target)

        of_block(0, add=False)
        pl.loop(1, blocks)(partial(of_block, add=True))

    by_kernel = plgpu.kernel(
        body,
        out_type=jax.ShapeDtypeStruct((width, tiles.pixels), jnp.float32),
        grid=(tiles.blocks * tiles.pixel_tiles,),
        grid_names=("pixels",),
        scratch_types=[
            tile_of(jnp.float32),
            tuple(in_shared_memory((held_tiles * TILE, TILE), jnp.bfloat16) for _ in range(tiles.parts)),
            plgpu.SMEM((TILE,), jnp.float32),
            plgpu.Barrier(),
            *tiles.buffers(),
        ],
        compiler_params=WARPGROUP,
        interpret=interpret,
    )(flat, transposed, tiles.w, tiles.b, tiles.x, weight)
    by_kernel = by_kernel[:, : kernel.shape[1]]
    return by_kernel[: tiles.width], by_kernel[tiles.width]
