"""The objective on one screen: encode, reparameterize, decode, and the two terms of the negative ELBO."""

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.losses import Reconstruction, gaussian_kl
from jaxvae.models import VAE, decode, encode, sample
from jaxvae.types import Hparams, Terms


def negative_elbo(
    model: VAE, reconstruction: Reconstruction, params: dict, image: Array, label: Array, key: Array, hparams: Hparams
) -> Terms:
    """-ELBO of images [..., H, W, C] with labels [...], each estimated with one sample of its posterior; nats [...].

    `-log p(x) <= E_q[-log p(x|z)] + KL(q(z|x) || p(z))` at beta 1 (Kingma and Welling 2014); beta weighs the KL
    (Higgins et al. 2017). A conditional model bounds `-log p(x|y)`. The terms are each example's own: reduce
    them once, over a batch. A batch [B] takes a key for each example, from `example_keys`, so that an example's
    noise is its own whatever the batch; one image takes one key.

    Raises:
        ValueError: the decoder's logits are not of the images' shape, or `reconstruction` does not give one number.
    """
    posterior = encode(model, params, image, label)
    z = sample(model, key, posterior)
    logits = decode(model, params, z, label)
    if logits.shape != image.shape:
        raise ValueError(f"the decoder gives logits {logits.shape} for images {image.shape}; they must be of one shape")

    def distortion_of_one(logits: Array, image: Array) -> Array:
        nats = reconstruction(logits, image, hparams)
        if nats.shape != ():
            raise ValueError(f"a reconstruction loss gives nats of one example, a scalar, not {nats.shape}")
        return nats

    distortion = jnp.vectorize(distortion_of_one, signature="(h,w,c),(h,w,c)->()")(logits, image)
    kl = gaussian_kl(posterior)
    return Terms(distortion + hparams.beta * kl, distortion, kl)


def example_keys(key: Array, index: Array) -> Array:
    """One key per example [B], from `key` and the example's number [B] alone."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, index)
