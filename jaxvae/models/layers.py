"""The building blocks of every encoder and decoder: Dense, Conv, ConvTranspose, with selectable initialization.

All of them take any number of leading axes, so a model written for one example needs no batch axis.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.config import Initializer, Lowering
from jaxvae.models import lowering as lower


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
    """An affine map of the last axis; [..., I] -> [..., features]."""

    features: int
    initializer: Initializer = "torch"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Apply the layer."""
        fan_in = x.shape[-1]
        kernel = self.param("kernel", param_init(self.initializer, fan_in, bias=False), (fan_in, self.features))
        bias = self.param("bias", param_init(self.initializer, fan_in, bias=True), (self.features,))
        return add_bias(x @ kernel, bias)


class Conv(nn.Module):
    """A square convolution; [..., H, W, C] -> [..., (H + 2p - k) // s + 1, ..., features]."""

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: int = 1
    initializer: Initializer = "torch"
    lowering: Lowering = "native"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Apply the layer."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        fan_in = self.kernel_size**2 * x.shape[-1]
        kernel = self.param("kernel", param_init(self.initializer, fan_in, bias=False), shape)
        bias = self.param("bias", param_init(self.initializer, fan_in, bias=True), (self.features,))
        image = lower.conv(x, kernel, stride=self.stride, padding=self.padding, lowering=self.lowering)
        return add_bias(image, bias)


class ConvTranspose(nn.Module):
    """A square transposed convolution; [..., H, W, C] -> [..., (H - 1) s - 2p + k + output_padding, ..., features].

    The fan-in of its initialization is k * k * features, as in PyTorch.
    """

    features: int
    kernel_size: int = 4
    stride: int = 2
    padding: int = 1
    output_padding: int = 0
    initializer: Initializer = "torch"
    lowering: Lowering = "native"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Apply the layer."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        fan_in = self.kernel_size**2 * self.features
        kernel = self.param("kernel", param_init(self.initializer, fan_in, bias=False), shape)
        bias = self.param("bias", param_init(self.initializer, fan_in, bias=True), (self.features,))
        image = lower.conv_transpose(
            x,
            kernel,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            lowering=self.lowering,
        )
        return add_bias(image, bias)


def add_bias(x: Array, bias: Array) -> Array:
    """[..., F] + [F], without relying on implicit rank promotion."""
    return x + bias.reshape((1,) * (x.ndim - 1) + bias.shape)


def flatten(image: Array) -> Array:
    """[..., H, W, C] -> [..., H W C]."""
    return jnp.reshape(image, (*image.shape[:-3], -1))
