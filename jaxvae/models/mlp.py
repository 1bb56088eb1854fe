"""Fully connected encoder and decoder (documents 001, 002 and 004)."""

from math import prod

import flax.linen as nn
from jax import Array

from jaxvae.config import Initializer
from jaxvae.models.layers import Activation, Dense, flatten


class MLPEncoder(nn.Module):
    """[H, W, C] -> features [hidden[-1]]: flatten, then Dense and activation for each width of `hidden`."""

    hidden: tuple[int, ...]
    initializer: Initializer = "torch"
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, image: Array, condition: Array | None = None) -> Array:
        """Encode an image; a condition [K] joins the pixels."""
        x = flatten(image)
        for width in self.hidden:
            x = self.activation(Dense(width, self.initializer)(x, condition))
            condition = None
        return x


class MLPDecoder(nn.Module):
    """z [Z] -> logits [H, W, C]: Dense and activation for each width of `hidden`, then Dense to the pixels."""

    hidden: tuple[int, ...]
    image_shape: tuple[int, int, int]
    initializer: Initializer = "torch"
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, z: Array, condition: Array | None = None, *, output: bool = True) -> Array:
        """Decode a latent vector, which a condition [K] joins; without `output` up to what the last layer gets."""
        x = z
        for width in self.hidden:
            x = self.activation(Dense(width, self.initializer)(x, condition))
            condition = None
        if not output:
            return x
        logits = Dense(prod(self.image_shape), self.initializer)(x, condition)
        return logits.reshape(*logits.shape[:-1], *self.image_shape)

    @property
    def output_layer(self) -> str:
        """The name of the last layer's parameters."""
        return f"Dense_{len(self.hidden)}"
