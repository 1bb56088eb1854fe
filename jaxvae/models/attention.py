"""Self-attention over the positions of a feature map (document 003; Vaswani et al. 2017)."""

import flax.linen as nn
import jax
from jax import Array

from jaxvae.config import Initializer
from jaxvae.models.layers import Dense


class SelfAttention(nn.Module):
    """Multi-head self-attention; [..., H, W, C] -> [..., H, W, C], each position attending to all H W positions.

    Queries, keys and values are Dense maps of the channels, split into `heads` of C / heads channels each; the outputs
    of the heads go through one more Dense.

    Raises:
        ValueError: the channels cannot be split into so many heads.
    """

    heads: int = 1
    initializer: Initializer = "torch"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Apply the layer."""
        *leading, rows, columns, channels = x.shape
        if channels % self.heads:
            raise ValueError(f"{channels} channels cannot be split into {self.heads} heads")
        positions = x.reshape(-1, rows * columns, channels)
        query, key, value = (
            Dense(channels, self.initializer, name=name)(positions).reshape(
                -1, rows * columns, self.heads, channels // self.heads
            )
            for name in ("query", "key", "value")
        )
        attended = jax.nn.dot_product_attention(query, key, value).reshape(*leading, rows, columns, channels)
        return Dense(channels, self.initializer, name="output")(attended)


class AttentionBlock(nn.Module):
    """`x + SelfAttention(x + row + column)`: a residual block with a learned vector for each row and each column."""

    heads: int = 1
    initializer: Initializer = "torch"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Apply the block to a feature map [..., H, W, C]."""
        rows, columns, channels = x.shape[-3:]
        row = self.param("row", nn.initializers.zeros_init(), (rows, 1, channels))
        column = self.param("column", nn.initializers.zeros_init(), (1, columns, channels))
        position = (row + column).reshape((1,) * (x.ndim - 3) + (rows, columns, channels))
        return x + SelfAttention(self.heads, self.initializer)(x + position)
