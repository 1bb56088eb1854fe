"""Models by name: the architectures of the documents, made of the same few blocks.

To add one, write a function `(latent_dim, image_shape, initializer, lowering) -> VAE`, name it in `ARCHITECTURES`, and
add the name to `jaxvae.config.Architecture`, which the command line offers.
"""

from collections.abc import Callable

from jaxvae.config import Initializer, Lowering
from jaxvae.models.conv import ConvEncoder
from jaxvae.models.lowering import default_lowering
from jaxvae.models.mlp import MLPDecoder, MLPEncoder
from jaxvae.models.vae import VAE, decode, encode, reparameterize

ImageShape = tuple[int, int, int]


def dense(latent_dim: int, image_shape: ImageShape, initializer: Initializer, lowering: Lowering) -> VAE:
    """Document 001's dense VAE, 784-256-128-20 and back: 476,216 parameters."""
    del lowering
    encoder = MLPEncoder((256, 128), initializer)
    return VAE(encoder, MLPDecoder((128, 256), image_shape, initializer), latent_dim, initializer)


def conv(latent_dim: int, image_shape: ImageShape, initializer: Initializer, lowering: Lowering) -> VAE:
    """Document 001's conv VAE: 3x3 convolutions 1-6-16-4, dense 784-128-20; dense decoder 20-128-784-784: 826,424.

    The strides are 1, 2, 1: the document's code says 1, 2, 2 but its layer table, its comments and its parameter count
    need the third to be 1.
    """
    encoder = ConvEncoder((6, 16, 4), strides=(1, 2, 1), hidden=128, initializer=initializer, lowering=lowering)
    return VAE(encoder, MLPDecoder((128, 784), image_shape, initializer), latent_dim, initializer)


def mlp(latent_dim: int, image_shape: ImageShape, initializer: Initializer, lowering: Lowering) -> VAE:
    """Document 004's MLP, 784-400-20 and back: 652,824 parameters."""
    del lowering
    return VAE(MLPEncoder((400,), initializer), MLPDecoder((400,), image_shape, initializer), latent_dim, initializer)


ARCHITECTURES: dict[str, Callable[[int, ImageShape, Initializer, Lowering], VAE]] = {
    "conv": conv,
    "dense": dense,
    "mlp": mlp,
}

__all__ = ["ARCHITECTURES", "VAE", "decode", "default_lowering", "encode", "reparameterize"]
