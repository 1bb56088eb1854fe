"""Convolution and transposed convolution, each twice: XLA's own (`native`) and as matrix products (`gemm`).

On a CPU, XLA's gradients of a convolution are many times slower inside a loop than matrix products of the same work, so
a compiled epoch needs the GEMM form there; on an accelerator the native form is expected to be the fast one, which has
not been measured. Both forms take the same arguments and agree to rounding (`tests/models/test_lowering.py`: values and
gradients in float64); `gemm` has gradients in reverse mode only.

Feature maps stand as their lowering works on them: native [N, H, W, C], gemm [C, H, W, N], whose innermost axis, the
batch, fills a CPU's vector registers however few the channels are. `enter` brings images there, `leave` back; where one
layer leaves and the next enters, XLA drops both. Kernels are [k, k, C_in, C_out]; stride `s` and padding `p` are the
same for rows and columns and mean what they mean in PyTorch.
"""

from functools import partial, reduce
from math import prod
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


def enter(image: Array, lowering: Lowering) -> Array:
    """Images [..., H, W, C] as feature maps."""
    maps = image.reshape(-1, *image.shape[-3:])
    return maps if lowering == "native" else jnp.moveaxis(maps, (0, 3), (3, 0))


def leave(maps: Array, lowering: Lowering, leading: tuple[int, ...]) -> Array:
    """Feature maps as images [*leading, H, W, C]."""
    images = maps if lowering == "native" else jnp.moveaxis(maps, (3, 0), (0, 3))
    return images.reshape(*leading, *images.shape[1:])


def per_channel(values: Array, lowering: Lowering) -> Array:
    """[C] in a shape to be added to feature maps."""
    return values.reshape((1, 1, 1, -1) if lowering == "native" else (-1, 1, 1, 1))


def conv(maps: Array, kernel: Array, *, stride: int, padding: int, lowering: Lowering) -> Array:
    """Cross-correlation of feature maps of H x W pixels; there result (H + 2p - k) // s + 1 rows, columns likewise."""
    if lowering == "native":
        return lax.conv_general_dilated(
            maps, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=_DIMENSIONS
        )
    k, _, channels_in, channels_out = kernel.shape
    if stride == 1 and channels_out < channels_in:  # multiply first, then shift and add the fewer channels
        flipped = kernel[::-1, ::-1]
        return conv_transpose(maps, flipped, stride=1, padding=k - 1 - padding, output_padding=0, lowering="gemm")
    patches: Array = im2col(maps, sliding_window(maps.shape[1:3], k, stride, padding))
    return _matmul(kernel.reshape(-1, channels_out).T, patches)


def conv_constant(
    channels: Array, kernel: Array, *, size: tuple[int, ...], stride: int, padding: int, lowering: Lowering
) -> Array:
    """`conv` of channels [N, C_in] that are constant over an image of `size`: feature maps.

    What an output position sees of a constant image is the sum of the taps that fall inside. These sums depend on the
    kernel alone, once for a whole batch, so that an image costs C_in products for each output.
    """
    k, _, channels_in, channels_out = kernel.shape
    inside: Array = im2col(jnp.ones((1, *size, 1), kernel.dtype), sliding_window(size, k, stride, padding))
    taps = kernel.reshape(k * k, channels_in, channels_out)
    sums = jnp.einsum("thwn,tio->ohwi", inside, taps)  # `inside` is 1, in the padding 0; its n has length 1
    return jnp.einsum("ohwi,ni->ohwn" if lowering == "gemm" else "ohwi,ni->nhwo", sums, channels)


def conv_transpose(
    maps: Array, kernel: Array, *, stride: int, padding: int, output_padding: int, lowering: Lowering
) -> Array:
    """The transpose of a convolution; the result has (H - 1) s - 2p + k + output_padding rows, columns likewise.

    `kernel` is [k, k, C_in, C_out] from this layer's input to its output; tap (a, b) of an input pixel (i, j) is added
    to the output pixel (s i + a - p, s j + b - p).
    """
    k, _, channels_in, _ = kernel.shape
    if lowering == "native":
        before, after = k - 1 - padding, k - 1 - padding + output_padding
        return lax.conv_general_dilated(
            maps,
            kernel[::-1, ::-1],
            (1, 1),
            [(before, after)] * 2,
            lhs_dilation=(stride, stride),
            dimension_numbers=_DIMENSIONS,
        )
    size = maps.shape[1:3]
    window = Window(k, stride, padding, tuple((n - 1) * stride - 2 * padding + k + output_padding for n in size), size)
    taps = _matmul(jnp.moveaxis(kernel, 2, 3).reshape(-1, channels_in), maps)
    return col2im(taps, window)


def _matmul(weights: Array, maps: Array) -> Array:
    """[O, C] times maps [C, H, W, N] -> [O, H, W, N]."""
    pixels = maps.shape[1:]
    return (weights @ maps.reshape(len(maps), prod(pixels))).reshape(len(weights), *pixels)


# im2col and col2im are linear and each other's transpose, so each is the other's gradient: no scatter, no dilated copy.


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def im2col(maps: Array, window: Window) -> Array:
    """The patches of zero-padded maps; [C, H, W, N] -> [k k C, H', W', N]."""
    k, stride, padding, size, (rows, columns) = window
    reach = [stride * (n - 1) + k for n in window.patches]  # what the patches cover, from -padding on
    padded = _pad(maps, *((padding, r - padding - n) for r, n in zip(reach, size, strict=True)))
    taps = [
        padded[:, a : a + stride * (rows - 1) + 1 : stride, b : b + stride * (columns - 1) + 1 : stride]
        for a in range(k)
        for b in range(k)
    ]
    return jnp.concatenate(taps)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def col2im(taps: Array, window: Window) -> Array:
    """Add patches up to maps, the transpose of `im2col`; [k k C, H', W', N] -> [C, H, W, N].

    The pixels of one phase (row and column modulo the stride) receive the same taps, each shifted by whole patches: a
    phase is a sum of slices, and a reshape interleaves the phases.
    """
    k, stride, padding, size, _ = window
    taps = taps.reshape(k, k, len(taps) // k**2, *taps.shape[1:])
    height, width = (-(-n // stride) for n in size)  # of one phase, rounded up

    def phase(row: int, column: int) -> Array:
        terms = [
            _shift(taps[a, b], (row + padding - a) // stride, (column + padding - b) // stride, height, width)
            for a in range(k)
            for b in range(k)
            if (row + padding - a) % stride == 0 and (column + padding - b) % stride == 0
        ]
        nothing = jnp.zeros((taps.shape[2], height, width, taps.shape[-1]), taps.dtype)  # the kernel skips this phase
        return reduce(jnp.add, terms) if terms else nothing

    rows = [jnp.stack([phase(row, column) for column in range(stride)], axis=3) for row in range(stride)]
    phases = jnp.stack(rows, axis=2)  # [C, h, s, w, s, N]
    maps = phases.reshape(phases.shape[0], height * stride, width * stride, phases.shape[-1])
    return maps[:, : size[0], : size[1]]


im2col.defvjp(
    lambda maps, window: (im2col(maps, window), None),
    lambda window, _, cotangent: (col2im(cotangent, window),),
)
col2im.defvjp(
    lambda taps, window: (col2im(taps, window), None),
    lambda window, _, cotangent: (im2col(cotangent, window),),
)


def _pad(maps: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    """Add zero rows and columns before and after; drop them where the number is negative."""
    return lax.pad(maps, jnp.zeros((), maps.dtype), [(0, 0, 0), (*rows, 0), (*columns, 0), (0, 0, 0)])


def _shift(maps: Array, row: int, column: int, height: int, width: int) -> Array:
    """result[m, n] = maps[m + row, n + column] for m < height, n < width; 0 where that is outside."""
    return _pad(maps, (-row, height + row - maps.shape[1]), (-column, width + column - maps.shape[2]))
