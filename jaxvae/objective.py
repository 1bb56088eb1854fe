"""The objective on one screen: encode, reparameterize, decode, and the two terms of the negative ELBO."""

import jax
from jax import Array

from jaxvae.losses import Reconstruction, gaussian_kl
from jaxvae.models import VAE, decode, encode, reparameterize
from jaxvae.types import Hparams, Terms


def negative_elbo(
    model: VAE, reconstruction: Reconstruction, params: dict, image: Array, key: Array, hparams: Hparams
) -> Terms:
    """-ELBO of ONE image [H, W, C], estimated with one sample of the posterior; nats.

    `-log p(x) <= E_q[-log p(x|z)] + KL(q(z|x) || p(z))` at beta 1 (Kingma and Welling 2014); beta weighs the KL
    (Higgins et al. 2017). `vmap` over images and keys, then reduce.
    """
    posterior = encode(model, params, image)
    z = reparameterize(key, posterior)
    logits = decode(model, params, z)
    distortion = reconstruction(logits, image, hparams)
    kl = gaussian_kl(posterior)
    return Terms(distortion + hparams.beta * kl, distortion, kl)


def example_keys(key: Array, index: Array) -> Array:
    """One key per example [B], from `key` and the example's number [B] alone."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, index)
