"""Convolutional encoder and decoder (documents 000 to 003)."""

import flax.linen as nn
from jax import Array

from jaxvae.config import Initializer, Lowering
from jaxvae.models.attention import AttentionBlock
from jaxvae.models.layers import Activation, Conv, ConvTranspose, Dense, flatten_maps, unflatten_maps

PADDING = 1


class ConvEncoder(nn.Module):
    """[H, W, C] -> features: Conv and activation for each of `channels`, flatten, Dense and activation for `hidden`."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    kernel_size: int = 3
    hidden: tuple[int, ...] = ()
    attention_heads: int = 0  # self-attention on the last feature map; 0 for none
    activation: Activation = nn.relu
    initializer: Initializer = "torch"
    lowering: Lowering = "native"

    @nn.compact
    def __call__(self, image: Array, condition: Array | None = None) -> Array:
        """Encode an image; a condition [K] joins its channels, constant over the image."""
        x = image
        for features, stride in zip(self.channels, self.strides, strict=True):
            layer = Conv(
                features,
                kernel_size=self.kernel_size,
                stride=stride,
                padding=PADDING,
                initializer=self.initializer,
                lowering=self.lowering,
                activation=self.activation,
            )
            x = layer(x, condition)
            condition = None
        if self.attention_heads:
            x = AttentionBlock(self.attention_heads, self.initializer)(x)
        x = flatten_maps(x)
        for width in self.hidden:
            x = self.activation(Dense(width, self.initializer)(x))
        return x


class ConvDecoder(nn.Module):
    """z [Z] -> logits [H, W, C]: Dense to a feature map, then transposed convolutions of stride 2 up to the image.

    The maps have the sizes of an encoder of as many convolutions of stride 2, such as 4, 7, 14 for images of 28. The
    activation stands between the transposed convolutions, as in document 002.
    """

    channels: tuple[int, ...]  # of the feature maps, the smallest map first
    image_shape: tuple[int, int, int]
    kernel_size: int = 3
    attention_heads: int = 0  # self-attention on the first feature map; 0 for none
    activation: Activation = nn.relu
    initializer: Initializer = "torch"
    lowering: Lowering = "native"

    @nn.compact
    def __call__(self, z: Array, condition: Array | None = None) -> Array:
        """Decode a latent vector; a condition [K] joins it."""
        stride, k = 2, self.kernel_size
        (rows, columns), *larger = feature_map_sizes(self.image_shape[:2], len(self.channels), k, stride)[::-1]
        x = Dense(rows * columns * self.channels[0], self.initializer)(z, condition)
        x = unflatten_maps(x, (rows, columns, self.channels[0]))
        if self.attention_heads:
            x = AttentionBlock(self.attention_heads, self.initializer)(x)
        for layer, features, size in zip(
            range(len(larger)), (*self.channels[1:], self.image_shape[-1]), larger, strict=True
        ):
            missing = [n - ((m - 1) * stride - 2 * PADDING + k) for n, m in zip(size, x.shape[-3:-1], strict=True)]
            if len(set(missing)) > 1:
                raise ValueError(f"rows and columns of {self.image_shape} need different output padding: {missing}")
            transposed = ConvTranspose(
                features,
                kernel_size=k,
                stride=stride,
                padding=PADDING,
                output_padding=missing[0],
                initializer=self.initializer,
                lowering=self.lowering,
                activation=self.activation if layer < len(larger) - 1 else None,
            )
            x = transposed(x)
        return x


def feature_map_sizes(size: tuple[int, int], layers: int, kernel_size: int, stride: int) -> list[tuple[int, int]]:
    """Rows and columns of the image and of each of `layers` feature maps, the image first."""
    sizes = [size]
    for _ in range(layers):
        rows, columns = ((n + 2 * PADDING - kernel_size) // stride + 1 for n in sizes[-1])
        sizes.append((rows, columns))
    return sizes
