"""Convolutional encoder (document 001)."""

import flax.linen as nn
from jax import Array

from jaxvae.config import Initializer, Lowering
from jaxvae.models.layers import Conv, Dense, flatten


class ConvEncoder(nn.Module):
    """[H, W, C] -> features [hidden]: 3x3 Conv + ReLU for each of `channels`, then flatten and Dense + ReLU."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    hidden: int
    initializer: Initializer = "torch"
    lowering: Lowering = "native"

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """Encode an image."""
        x = image
        for features, stride in zip(self.channels, self.strides, strict=True):
            x = nn.relu(Conv(features, stride=stride, initializer=self.initializer, lowering=self.lowering)(x))
        return nn.relu(Dense(self.hidden, self.initializer)(flatten(x)))
