"""What both platforms compute of a tile of logits: the cross-entropy of `losses`, and its gradient."""

import jax.numpy as jnp
from jax import Array

from jaxvae.losses import cross_entropy_of

__all__ = ["NOTHING", "cross_entropy_of", "gradient_by_logits"]

NOTHING = -1e4
"""The bias of a pixel that only fills a tile: where the image is 0 there, its cross-entropy and gradient are 0."""


def gradient_by_logits(logits: Array, image: Array) -> Array:
    """`sigmoid(logits) - image`."""
    small = jnp.exp(-jnp.abs(logits))
    return jnp.where(logits >= 0, 1.0, small) / (1.0 + small) - image
