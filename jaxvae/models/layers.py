"""The building blocks of every encoder and decoder: Dense, Conv, ConvTranspose, with selectable initialization.

All of them take any number of leading axes, so a model written for one example needs no batch axis. A `condition`, such
as a one-hot label, enters a Dense layer as further inputs and a convolution as further channels that are constant over
the image; both are computed without building the longer input, and share its parameters and results.

A convolution works in the type of its kernel, whatever its input's. Give it its activation rather than applying it to
the result: on a CPU this keeps the maps of consecutive layers as their lowering has them.
"""

from collections.abc import Callable
from math import prod

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.config import Initializer, Lowering
from jaxvae.models import lowering as lower

Activation = Callable[[Array], Array]


def param_init(initializer: Initializer, fan_in: int, *, bias: bool):
    """`(key, shape) -> Array` for a kernel or a bias of a layer with `fan_in` inputs.

    - `torch`: kernel and bias uniform in +-1/sqrt(fan_in), PyTorch's default, with which the documents trained.
    - `gaussian`: kernel N(0, 1/fan_in), bias 0; document 004 recommends a Gaussian.
    """
    scale = fan_in**-0.5
    if initializer == "torch":
        return lambda key, shape: jax.random.uniform(key, shape, minval=-scale, maxval=scale)
    if bias:
        return nn.initializers.zeros_init()
    return lambda key, shape: scale * jax.random.normal(key, shape)


class Dense(nn.Module):
    """An affine map of the last axis; [..., I] and condition [..., K] -> [..., features]."""

    features: int
    initializer: Initializer = "torch"

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None) -> Array:
        """Apply the layer to `x` followed by `condition`."""
        inputs = x.shape[-1]
        fan_in = inputs + width(condition)
        kernel = self.param("kernel", param_init(self.initializer, fan_in, bias=False), (fan_in, self.features))
        bias = self.param("bias", param_init(self.initializer, fan_in, bias=True), (self.features,))
        y = x @ kernel[:inputs]
        return add_bias(y if condition is None else y + condition @ kernel[inputs:], bias)


class Conv(nn.Module):
    """A square convolution and its activation.

    [..., H, W, C] and condition [..., K] -> [..., (H + 2p - k) // s + 1, ..., features].
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: int = 1
    initializer: Initializer = "torch"
    lowering: Lowering = "native"
    activation: Activation | None = None

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None) -> Array:
        """Apply the layer to the channels of `x`, followed by a constant channel for each entry of `condition`."""
        channels = x.shape[-1]
        shape = (self.kernel_size, self.kernel_size, channels + width(condition), self.features)
        fan_in = self.kernel_size**2 * shape[2]
        kernel = self.param("kernel", param_init(self.initializer, fan_in, bias=False), shape)
        bias = self.param("bias", param_init(self.initializer, fan_in, bias=True), (self.features,))
        settings = {"stride": self.stride, "padding": self.padding, "lowering": self.lowering}
        maps = lower.conv(lower.enter(x.astype(kernel.dtype), self.lowering), kernel[:, :, :channels], **settings)
        if condition is not None:
            constant = condition.reshape(-1, condition.shape[-1]).astype(kernel.dtype)
            maps = maps + lower.conv_constant(constant, kernel[:, :, channels:], size=x.shape[-3:-1], **settings)
        return finish(maps, bias, self.activation, self.lowering, x.shape[:-3])


class ConvTranspose(nn.Module):
    """A square transposed convolution and its activation.

    [..., H, W, C] -> [..., (H - 1) s - 2p + k + output_padding, ..., features]. The fan-in of its initialization is
    k * k * features, as in PyTorch.
    """

    features: int
    kernel_size: int = 4
    stride: int = 2
    padding: int = 1
    output_padding: int = 0
    initializer: Initializer = "torch"
    lowering: Lowering = "native"
    activation: Activation | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Apply the layer."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        fan_in = self.kernel_size**2 * self.features
        kernel = self.param("kernel", param_init(self.initializer, fan_in, bias=False), shape)
        bias = self.param("bias", param_init(self.initializer, fan_in, bias=True), (self.features,))
        maps = lower.conv_transpose(
            lower.enter(x.astype(kernel.dtype), self.lowering),
            kernel,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            lowering=self.lowering,
        )
        return finish(maps, bias, self.activation, self.lowering, x.shape[:-3])


def finish(
    maps: Array, bias: Array, activation: Activation | None, lowering: Lowering, leading: tuple[int, ...]
) -> Array:
    """What follows a convolution: bias, activation, and the way back to images [*leading, H, W, C]."""
    maps = maps + lower.per_channel(bias, lowering)
    return lower.leave(maps if activation is None else activation(maps), lowering, leading)


def width(condition: Array | None) -> int:
    """How many inputs or channels a condition [..., K] adds."""
    return 0 if condition is None else condition.shape[-1]


def add_bias(x: Array, bias: Array) -> Array:
    """[..., F] + [F], without relying on implicit rank promotion."""
    return x + bias.reshape((1,) * (x.ndim - 1) + bias.shape)


def flatten(image: Array) -> Array:
    """[..., H, W, C] -> [..., H W C]."""
    return jnp.reshape(image, (*image.shape[:-3], -1))


def flatten_maps(image: Array) -> Array:
    """[..., H, W, C] -> [..., C H W], PyTorch's order, for the dense layer that follows convolutions.

    On the way stand [C H W, N], the maps as their lowering has them on a CPU, and one transposition, which XLA's matrix
    products need not carry out.
    """
    maps = lower.enter(image, "gemm")
    features = prod(maps.shape[:3])
    return maps.reshape(features, maps.shape[3]).T.reshape(*image.shape[:-3], features)


def unflatten_maps(x: Array, shape: tuple[int, int, int]) -> Array:
    """[..., C H W] -> [..., H, W, C] = `shape`: the way back of `flatten_maps`."""
    rows, columns, channels = shape
    maps = x.reshape(prod(x.shape[:-1]), x.shape[-1]).T
    return lower.leave(maps.reshape(channels, rows, columns, maps.shape[1]), "gemm", x.shape[:-1])
