"""On a TPU, and interpreted: blocks of all features, in an order of the grid that lets sums stay in their block."""

import jax
import jax.experimental.pallas as pl
import jax.numpy as jnp
from jax import Array, lax

from jaxvae.kernels.bernoulli_output import likelihood
from jaxvae.kernels.platforms import LANES, padded, round_up


def _dot(a: Array, b: Array, contract: tuple[int, int]) -> Array:
    precision = lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    dimensions = (((contract[0],), (contract[1],)), ((), ()))
    return lax.dot_general(a, b, dimensions, precision=precision, preferred_element_type=jnp.float32)


def _tpu_blocks(features: Array, kernel: Array, bias: Array, image: Array):
    """The operands filled up to whole tiles, and the sizes: samples, rows and pixels in tiles, rows of a tile."""
    samples, batch, width = features.shape
    rows = min(128, round_up(batch, 16))
    batch, pixels, width = round_up(batch, rows), round_up(kernel.shape[1], LANES), round_up(width, 16)
    operands = (
        padded(features, (samples, batch, width)),
        padded(kernel, (width, pixels)),
        padded(bias[None], (1, pixels), likelihood.NOTHING),
        padded(image, (batch, pixels)),
    )
    return operands, (samples, batch // rows, pixels // LANES), rows


def forward_on_tpu(
    features: Array, kernel: Array, bias: Array, image: Array, *, gradient: bool, interpret: bool = False
) -> Array | tuple[Array, Array]:
    """Nats [S, B], and with `gradient` their gradient by the features [S, B, H]."""
    operands, grid, rows = _tpu_blocks(features, kernel, bias, image)
    samples, batch, width = operands[0].shape

    def body(h, w, b, x, nats, *by_features):
        @pl.when(pl.program_id(2) == 0)
        def _():
            for out in (nats, *by_features):
                out[...] = jnp.zeros_like(out)

        logits = _dot(h[0], w[...], (1, 0)) + b[...]
        nats[0] += jnp.sum(likelihood.cross_entropy_of(logits, x[...]), axis=1, keepdims=True)
        for out in by_features:
            out[0] += _dot(likelihood.gradient_by_logits(logits, x[...]).astype(w.dtype), w[...], (1, 1))

    by_row = pl.BlockSpec((1, rows, 1), lambda s, m, n: (s, m, 0))
    of_features = pl.BlockSpec((1, rows, width), lambda s, m, n: (s, m, 0))
    shapes = (
        jax.ShapeDtypeStruct((samples, batch, 1), jnp.float32),
        jax.ShapeDtypeStruct(operands[0].shape, jnp.float32),
    )
    found = pl.pallas_call(
        body,
        grid=grid,
        in_specs=[
            of_features,
            pl.BlockSpec((width, LANES), lambda s, m, n: (0, n)),
            pl.BlockSpec((1, LANES), lambda s, m, n: (0, n)),
            pl.BlockSpec((rows, LANES), lambda s, m, n: (m, n)),
        ],
        out_specs=[by_row, of_features][: 1 + gradient],
        out_shape=shapes[: 1 + gradient],
        interpret=interpret,
        name="bernoulli_output",
    )(*operands)
    nats = found[0][:, : features.shape[1], 0]
    return (nats, found[1][:, : features.shape[1], : features.shape[2]]) if gradient else nats


def layer_gradient_on_tpu(
    features: Array, kernel: Array, bias: Array, image: Array, cotangent: Array, *, interpret: bool = False
) -> tuple[Array, Array]:
    """The gradient of `sum(cotangent * nats)` by the kernel [H, P] and the bias [P]."""
    operands, (samples, batches, tiles), rows = _tpu_blocks(features, kernel, bias, image)
    weights = padded(cotangent[..., None], (samples, batches * rows, 1))
    width, pixels = operands[1].shape

    def body(h, w, b, x, weight, by_kernel, by_bias):
        @pl.when((pl.program_id(1) == 0) & (pl.program_id(2) == 0))
        def _():
            by_kernel[...], by_bias[...] = jnp.zeros_like(by_kernel), jnp.zeros_like(by_bias)

        by_logits = weight[0] * likelihood.gradient_by_logits(_dot(h[0], w[...], (1, 0)) + b[...], x[...])
        by_kernel[...] += _dot(h[0], by_logits.astype(h.dtype), (0, 0))
        by_bias[...] += jnp.sum(by_logits, axis=0, keepdims=True)

    of_kernel = pl.BlockSpec((width, LANES), lambda n, s, m: (0, n))
    of_bias = pl.BlockSpec((1, LANES), lambda n, s, m: (0, n))
    by_kernel, by_bias = pl.pallas_call(
        body,
        grid=(tiles, samples, batches),
        in_specs=[
            pl.BlockSpec((1, rows, width), lambda n, s, m: (s, m, 0)),
            of_kernel,
            of_bias,
            pl.BlockSpec((rows, LANES), lambda n, s, m: (m, n)),
            pl.BlockSpec((1, rows, 1), lambda n, s, m: (s, m, 0)),
        ],
        out_specs=[of_kernel, of_bias],
        out_shape=[jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((width, pixels), (1, pixels))],
        interpret=interpret,
        name="bernoulli_output_layer_gradient",
    )(*operands, weights)
    return by_kernel[: kernel.shape[0], : kernel.shape[1]], by_bias[0, : kernel.shape[1]]
