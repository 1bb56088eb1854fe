"""The plain definition."""

import jax.numpy as jnp
from jax import Array

from jaxvae.losses import cross_entropy


def bernoulli_output(features: Array, kernel: Array, bias: Array, image: Array) -> Array:
    """`-log p(image | features @ kernel + bias)` in nats: a decoder's last layer, and `losses.bernoulli` of its logits.

    Args:
        features: [..., B, H], one or more samples for each of B images.
        kernel: [H, P].
        bias: [P].
        image: [B, P] pixels in [0, 1].

    Returns:
        [..., B], float32 at least.
    """
    wide = jnp.float64 if features.dtype == jnp.float64 else jnp.float32
    logits = jnp.matmul(features, kernel, preferred_element_type=wide)
    logits += jnp.broadcast_to(bias.astype(wide), logits.shape)
    return jnp.sum(cross_entropy(logits, jnp.broadcast_to(image.astype(wide), logits.shape)), -1)
