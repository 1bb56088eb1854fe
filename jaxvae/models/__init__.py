"""Models by name: the architectures of the documents, made of the same few blocks.

To add one, write a function `(image_shape, initializer, lowering) -> (encoder, decoder)`, name it in `ARCHITECTURES`,
and add the name to `jaxvae.config.Architecture`, which the command line offers.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn

from jaxvae.config import Initializer, Lowering
from jaxvae.models.conv import ConvDecoder, ConvEncoder
from jaxvae.models.layers import Activation
from jaxvae.models.lowering import default_lowering
from jaxvae.models.mlp import MLPDecoder, MLPEncoder
from jaxvae.models.vae import (
    VAE,
    decode,
    decode_to_output,
    encode,
    multiplies_patches,
    reparameterize,
    sample,
    standard_normal,
)

ImageShape = tuple[int, int, int]
Parts = tuple[nn.Module, nn.Module]
leaky_relu = partial(nn.leaky_relu, negative_slope=0.01)


def mlp(
    image_shape: ImageShape,
    initializer: Initializer,
    lowering: Lowering,
    *,
    hidden: tuple[int, ...],
    activation: Activation = nn.relu,
) -> Parts:
    """Fully connected, `hidden` from the image to the latents, and back in reverse."""
    del lowering
    return (
        MLPEncoder(hidden, initializer, activation),
        MLPDecoder(hidden[::-1], image_shape, initializer, activation),
    )


def conv(image_shape: ImageShape, initializer: Initializer, lowering: Lowering) -> Parts:
    """Document 001's conv VAE: 3x3 convolutions 1-6-16-4, dense 784-128-20; dense decoder 20-128-784-784: 826,424.

    The strides are 1, 2, 1: the document's code says 1, 2, 2 but its layer table, its comments and its parameter count
    need the third to be 1.
    """
    encoder = ConvEncoder((6, 16, 4), strides=(1, 2, 1), hidden=(128,), initializer=initializer, lowering=lowering)
    return encoder, MLPDecoder((128, 784), image_shape, initializer)


def strided_conv(
    image_shape: ImageShape,
    initializer: Initializer,
    lowering: Lowering,
    *,
    channels: tuple[int, ...],
    kernel_size: int,
    activation: Activation = nn.relu,
    attention_heads: int = 0,
) -> Parts:
    """Convolutions of stride 2 with `channels`, straight to the latents; transposed convolutions back in reverse."""
    settings = {
        "kernel_size": kernel_size,
        "attention_heads": attention_heads,
        "activation": activation,
        "initializer": initializer,
        "lowering": lowering,
    }
    encoder = ConvEncoder(channels, strides=(2,) * len(channels), **settings)
    return encoder, ConvDecoder(channels[::-1], image_shape, **settings)


# Document 003 gives channels, activation and latents; kernel 3, stride 2 and the map sizes 28, 14, 7, 4 are ours, the
# usual ones, and so are the fourth layer, the widths of its fully connected VAE, and the place of the attention.
leaky_conv = partial(strided_conv, kernel_size=3, activation=leaky_relu)

ARCHITECTURES: dict[str, Callable[[ImageShape, Initializer, Lowering], Parts]] = {
    "conv": conv,
    "dense": partial(mlp, hidden=(256, 128)),  # document 001, 784-256-128-20 and back: 476,216 parameters
    "mlp": partial(mlp, hidden=(400,)),  # document 004, 784-400-20 and back: 652,824 parameters
    "mlp_200": partial(mlp, hidden=(200,)),  # document 001's CVAE, 794-200-20 and 30-200-784
    "mlp_512": partial(mlp, hidden=(512,)),  # document 002's CVAE, 794-512-64 and 74-512-784: 913,296 parameters
    "conv_32_64": partial(strided_conv, channels=(32, 64), kernel_size=4),  # document 002's CVAE: 708,545 parameters
    "leaky_conv": partial(leaky_conv, channels=(32, 64, 128)),  # document 003
    "leaky_conv_2": partial(leaky_conv, channels=(32, 64)),
    "leaky_conv_4": partial(leaky_conv, channels=(32, 64, 128, 256)),
    "leaky_conv_attention": partial(leaky_conv, channels=(32, 64, 128), attention_heads=1),
    "leaky_dense": partial(mlp, hidden=(512, 256), activation=leaky_relu),
    "conv_64_64": partial(strided_conv, channels=(64, 64), kernel_size=3),  # document 000, base width 64
}

__all__ = [
    "ARCHITECTURES",
    "VAE",
    "MLPDecoder",
    "decode",
    "decode_to_output",
    "default_lowering",
    "encode",
    "multiplies_patches",
    "reparameterize",
    "sample",
    "standard_normal",
]
