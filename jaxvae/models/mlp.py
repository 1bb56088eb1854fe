"""Fully connected encoder and decoder (documents 001 and 004)."""

from math import prod

import flax.linen as nn
from jax import Array

from jaxvae.config import Initializer
from jaxvae.models.layers import Dense, flatten


class MLPEncoder(nn.Module):
    """[H, W, C] -> features [hidden[-1]]: flatten, then Dense + ReLU for each width of `hidden`."""

    hidden: tuple[int, ...]
    initializer: Initializer = "torch"

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """Encode an image."""
        x = flatten(image)
        for width in self.hidden:
            x = nn.relu(Dense(width, self.initializer)(x))
        return x


class MLPDecoder(nn.Module):
    """z [Z] -> logits [H, W, C]: Dense + ReLU for each width of `hidden`, then Dense to the pixels."""

    hidden: tuple[int, ...]
    image_shape: tuple[int, int, int]
    initializer: Initializer = "torch"

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Decode a latent vector."""
        x = z
        for width in self.hidden:
            x = nn.relu(Dense(width, self.initializer)(x))
        logits = Dense(prod(self.image_shape), self.initializer)(x)
        return logits.reshape(*logits.shape[:-1], *self.image_shape)
