"""The variational autoencoder: any encoder, two heads, any decoder."""

from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.config import Initializer
from jaxvae.models.layers import Dense
from jaxvae.types import Posterior

LOGVAR_BOUND = 30.0
"""The log-variance is clipped to +-30 (a deviation of 3e-7 to 3e6), once, for the sampler and the KL alike: far outside
what training visits, and far inside float32, where `exp(logvar)` overflows above 88."""


class VAE(nn.Module):
    """encoder: image [..., H, W, C] -> features; decoder: z [..., Z] -> logits [..., H, W, C], never probabilities."""

    encoder: nn.Module
    decoder: nn.Module
    latent_dim: int = 20
    initializer: Initializer = "torch"

    def setup(self) -> None:
        """Make the posterior's two heads."""
        self.mean = Dense(self.latent_dim, self.initializer)
        self.logvar = Dense(self.latent_dim, self.initializer)

    def encode(self, image: Array) -> Posterior:
        """The posterior q(z|x) of an image in [0, 1]."""
        features = self.encoder(image)
        return Posterior(self.mean(features), jnp.clip(self.logvar(features), -LOGVAR_BOUND, LOGVAR_BOUND))

    def decode(self, z: Array) -> Array:
        """The logits of p(x|z); `jax.nn.sigmoid` of them is the decoded image."""
        return self.decoder(z)

    def __call__(self, image: Array, key: Array) -> tuple[Array, Posterior]:
        """Logits decoded from one sample of the posterior, and the posterior."""
        posterior = self.encode(image)
        return self.decode(reparameterize(key, posterior)), posterior


def encode(model: VAE, params: dict, image: Array) -> Posterior:
    """The posterior of images [..., H, W, C] under `params`."""
    return cast(Posterior, model.apply({"params": params}, image, method=VAE.encode))


def decode(model: VAE, params: dict, z: Array) -> Array:
    """The logits [..., H, W, C] of latents [..., Z] under `params`."""
    return cast(Array, model.apply({"params": params}, z, method=VAE.decode))


def reparameterize(key: Array, posterior: Posterior) -> Array:
    """z = mean + sigma * epsilon with epsilon ~ N(0, I) from `key`; [..., Z] (Kingma and Welling 2014, section 2.4)."""
    mean, logvar = posterior
    return mean + jnp.exp(0.5 * logvar) * jax.random.normal(key, mean.shape, mean.dtype)
