"""Convolution and transposed convolution, each twice: XLA's own (`native`) and as matrix products (`gemm`).

On a CPU, XLA's gradients of a convolution are many times slower inside a loop than matrix products of the same work, so
a compiled epoch needs the GEMM form there; on an accelerator the native form is expected to be the fast one, which has
not been measured. Both forms take the same arguments and agree to rounding (`tests/models/test_lowering.py`: values and
gradients in float64); `gemm` has gradients in reverse mode only.

Images are [..., H, W, C], kernels [k, k, C_in, C_out]; stride `s` and padding `p` are the same for rows and columns and
mean what they mean in PyTorch.
"""

from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxvae.config import Lowering


class Window(NamedTuple):
    """How k x k patches lie on an image: patch (i, j) starts at row `stride * i - padding`, column likewise."""

    k: int
    stride: int
    padding: int
    image: tuple[int, ...]  # rows and columns of the image
    patches: tuple[int, ...]  # rows and columns of the grid of patches


def sliding_window(size: tuple[int, ...], k: int, stride: int, padding: int) -> Window:
    """The patches of a convolution over an image of `size`."""
    return Window(k, stride, padding, size, tuple((n + 2 * padding - k) // stride + 1 for n in size))


_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def default_lowering() -> Lowering:
    """The form to use on the default backend."""
    return "gemm" if jax.default_backend() == "cpu" else "native"


def conv(image: Array, kernel: Array, *, stride: int, padding: int, lowering: Lowering) -> Array:
    """Cross-correlation; [..., H, W, C_in] -> [..., (H + 2p - k) // s + 1, ..., C_out]."""
    if lowering == "native":
        return _with_batch_axis(
            lambda x: lax.conv_general_dilated(
                x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=_DIMENSIONS
            ),
            image,
        )
    k, _, channels_in, channels_out = kernel.shape
    if stride == 1 and channels_out < channels_in:  # multiply first, then shift and add the fewer channels
        flipped = kernel[::-1, ::-1]
        return conv_transpose(image, flipped, stride=1, padding=k - 1 - padding, output_padding=0, lowering="gemm")
    size = image.shape[-3:-1]
    window = sliding_window(size, k, stride, padding)
    patches: Array = im2col(image, window)
    return matmul(patches, kernel.reshape(k * k * channels_in, channels_out))


def conv_constant(channels: Array, kernel: Array, *, size: tuple[int, ...], stride: int, padding: int) -> Array:
    """`conv` of channels that are constant over an image of `size`; [..., C_in] -> [..., H', W', C_out].

    What an output position sees of a constant image is the sum of the taps that fall inside. These sums depend on the
    kernel alone, once for a whole batch, so that an image costs C_in products for each output.
    """
    k, _, channels_in, channels_out = kernel.shape
    window = sliding_window(size, k, stride, padding)
    inside: Array = im2col(jnp.ones((*size, 1), kernel.dtype), window)  # [H', W', k k] 1 inside, 0 in the padding
    sums = inside @ kernel.reshape(k * k, channels_in * channels_out)
    table = jnp.moveaxis(sums.reshape(*window.patches, channels_in, channels_out), 2, 0)
    image = channels @ table.reshape(channels_in, -1)
    return image.reshape(*channels.shape[:-1], *window.patches, channels_out)


def conv_transpose(
    image: Array, kernel: Array, *, stride: int, padding: int, output_padding: int, lowering: Lowering
) -> Array:
    """The transpose of a convolution; [..., H, W, C_in] -> [..., (H - 1) s - 2p + k + output_padding, ..., C_out].

    `kernel` is [k, k, C_in, C_out] from this layer's input to its output; tap (a, b) of an input pixel (i, j) is added
    to the output pixel (s i + a - p, s j + b - p).
    """
    k, _, channels_in, channels_out = kernel.shape
    if lowering == "native":
        before, after = k - 1 - padding, k - 1 - padding + output_padding
        return _with_batch_axis(
            lambda x: lax.conv_general_dilated(
                x,
                kernel[::-1, ::-1],
                (1, 1),
                [(before, after)] * 2,
                lhs_dilation=(stride, stride),
                dimension_numbers=_DIMENSIONS,
            ),
            image,
        )
    size = image.shape[-3:-1]
    window = Window(k, stride, padding, tuple((n - 1) * stride - 2 * padding + k + output_padding for n in size), size)
    taps: Array = matmul(image, jnp.moveaxis(kernel, 2, 0).reshape(channels_in, k * k * channels_out))
    return col2im(taps, window)


def _with_batch_axis(function, image: Array) -> Array:
    """Apply an NHWC operation to an image with any number of leading axes."""
    result = function(image.reshape(-1, *image.shape[-3:]))
    return result.reshape(*image.shape[:-3], *result.shape[1:])


@jax.custom_vjp
def matmul(x: Array, w: Array) -> Array:
    """`x @ w` with the gradient of `w` as a CPU computes it fast; [..., K], [K, O] -> [..., O].

    The gradient, `x.T @ g` for all positions of a batch, is a product of two tall matrices over their long axis. XLA
    hands that one to a slower routine than the other products. With the narrower of the two transposed in memory first,
    which the barriers keep XLA from undoing, it is a product like the others: up to twice as fast. The few rows of a
    dense layer's batch gain nothing. Give it a batch: under `vmap` each example has a weight gradient of its own.
    """
    return x @ w


def _matmul_gradients(residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, w = residuals
    rows, columns = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    barrier, narrow = lax.optimization_barrier, columns.shape[1] < rows.shape[1]
    d_w = barrier(barrier(columns.T) @ rows).T if narrow else barrier(rows.T) @ columns
    return (g @ w.T).astype(x.dtype), d_w.astype(w.dtype)


matmul.defvjp(lambda x, w: (x @ w, (x, w)), _matmul_gradients)


# im2col and col2im are linear and each other's transpose, so each is the other's gradient: no scatter, no dilated copy.


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def im2col(image: Array, window: Window) -> Array:
    """The patches of a zero-padded image; [..., H, W, C] -> [..., H', W', k k C]."""
    k, stride, padding, size, (rows, columns) = window
    reach = [stride * (n - 1) + k for n in window.patches]  # what the patches cover, from -padding on
    padded = _pad(image, *((padding, r - padding - n) for r, n in zip(reach, size, strict=True)))
    taps = [
        padded[..., a : a + stride * (rows - 1) + 1 : stride, b : b + stride * (columns - 1) + 1 : stride, :]
        for a in range(k)
        for b in range(k)
    ]
    return jnp.concatenate(taps, axis=-1)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def col2im(taps: Array, window: Window) -> Array:
    """Add patches up to an image, the transpose of `im2col`; [..., H', W', k k C] -> [..., H, W, C].

    The image's pixels of one phase (row and column modulo the stride) receive the same taps, each shifted by whole
    patches: a phase is a sum of slices, and a reshape interleaves the phases.
    """
    k, stride, padding, size, _ = window
    channels = taps.shape[-1] // (k * k)
    taps = taps.reshape(*taps.shape[:-1], k, k, channels)
    height, width = (-(-n // stride) for n in size)  # of one phase, rounded up

    def phase(row: int, column: int) -> Array:
        terms = [
            _shift(taps[..., a, b, :], (row + padding - a) // stride, (column + padding - b) // stride, height, width)
            for a in range(k)
            for b in range(k)
            if (row + padding - a) % stride == 0 and (column + padding - b) % stride == 0
        ]
        nothing = jnp.zeros((*taps.shape[:-5], height, width, channels), taps.dtype)  # where the kernel skips a phase
        return reduce(jnp.add, terms) if terms else nothing

    rows = [jnp.stack([phase(row, column) for column in range(stride)], axis=-2) for row in range(stride)]
    phases = jnp.stack(rows, axis=-4)  # [..., height, s, width, s, C]
    image = phases.reshape(*phases.shape[:-5], height * stride, width * stride, channels)
    return image[..., : size[0], : size[1], :]


im2col.defvjp(
    lambda image, window: (im2col(image, window), None),
    lambda window, _, cotangent: (col2im(cotangent, window),),
)
col2im.defvjp(
    lambda taps, window: (col2im(taps, window), None),
    lambda window, _, cotangent: (im2col(cotangent, window),),
)


def _pad(image: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    """Add zero rows and columns before and after; drop them where the number is negative."""
    edges = [(0, 0, 0)] * (image.ndim - 3) + [(*rows, 0), (*columns, 0), (0, 0, 0)]
    return lax.pad(image, jnp.zeros((), image.dtype), edges)


def _shift(image: Array, row: int, column: int, height: int, width: int) -> Array:
    """result[m, n] = image[m + row, n + column] for m < height, n < width; 0 where that is outside."""
    return _pad(image, (-row, height + row - image.shape[-3]), (-column, width + column - image.shape[-2]))
