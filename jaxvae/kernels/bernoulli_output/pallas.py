"""The kernels: logits live tile by tile in registers, and never in memory.

Differentiated, the forward kernel also gives the gradient by the features for a cotangent of 1, so that the backward
pass has one more kernel, of the layer's own gradient, and a product of it with the cotangent.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxvae.kernels.bernoulli_output.on_gpu import layer_gradient_on_gpu, nats_and_gradient_on_gpu, nats_on_gpu
from jaxvae.kernels.bernoulli_output.on_tpu import forward_on_tpu, layer_gradient_on_tpu
from jaxvae.kernels.platforms import by_platform


def bernoulli_output(features: Array, kernel: Array, bias: Array, image: Array) -> Array:
    """`reference.bernoulli_output` of float32 or bfloat16 features and kernel."""
    if features.ndim < 2 or features.shape[-2] != len(image) or kernel.shape != (features.shape[-1], image.shape[-1]):
        raise ValueError(f"features {features.shape}, kernel {kernel.shape}, image {image.shape} do not match")
    if features.dtype != kernel.dtype:
        raise TypeError(f"features are {features.dtype}, the kernel is {kernel.dtype}; they must be of one type")
    samples = features.reshape(-1, *features.shape[-2:])
    nats = _of_samples(samples, kernel, bias.astype(jnp.float32), image.astype(jnp.float32))
    return nats.reshape(features.shape[:-1])


@jax.custom_vjp
def _of_samples(features: Array, kernel: Array, bias: Array, image: Array) -> Array:
    """Of features [S, B, H]; [S, B]."""
    return by_platform(cuda=nats_on_gpu, tpu=partial(forward_on_tpu, gradient=False))(features, kernel, bias, image)


def _forward(features: Array, kernel: Array, bias: Array, image: Array) -> tuple[Array, Any]:
    versions = by_platform(cuda=nats_and_gradient_on_gpu, tpu=partial(forward_on_tpu, gradient=True))
    nats, by_features = versions(features, kernel, bias, image)
    return nats, (features, kernel, bias, image, by_features)


def _backward(kept: Any, cotangent: Array) -> tuple[Array, Array, Array, Array]:
    features, kernel, bias, image, by_features = kept
    versions = by_platform(cuda=layer_gradient_on_gpu, tpu=layer_gradient_on_tpu)
    by_kernel, by_bias = versions(features, kernel, bias, image, cotangent)
    by_features = cotangent[..., None] * by_features
    # Not computed under `jit` where nobody asks for the image's gradient.
    logits = jnp.matmul(features, kernel, precision=lax.Precision.HIGHEST, preferred_element_type=jnp.float32)
    by_image = -jnp.sum(cotangent[..., None] * (logits + jnp.broadcast_to(bias, logits.shape)), 0)
    return by_features.astype(features.dtype), by_kernel.astype(kernel.dtype), by_bias, by_image


_of_samples.defvjp(_forward, _backward)
