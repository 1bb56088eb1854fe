"""What a trained member shows: reconstructions, samples and walks through its latent space, as images in [0, 1]."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxvae.models import VAE, decode, encode

QUANTILES = np.linspace(0.05, 0.95, 16)
"""Normal quantiles at which document 001 draws the latent plane."""


@partial(jax.jit, static_argnums=0)
def generate(model: VAE, params: dict, z: Array) -> Array:
    """Decoded images of latents [..., Z], one sigmoid after the logits; [..., H, W, C]."""
    return jax.nn.sigmoid(decode(model, params, z))


@partial(jax.jit, static_argnums=0)
def reconstruct(model: VAE, params: dict, image: Array) -> Array:
    """Images [N, H, W, C] decoded from their posterior means."""
    return generate(model, params, encode(model, params, image).mean)


def traverse(model: VAE, params: dict, mean: Array, dimensions: Array, values: Array) -> Array:
    """Decode `mean` [Z] with one dimension at a time set to each of `values` [S]; [D, S, H, W, C]."""

    def walk(dimension: Array) -> Array:
        return jax.vmap(lambda value: mean.at[dimension].set(value))(values)

    return generate(model, params, jax.vmap(walk)(jnp.asarray(dimensions)))


def latent_plane(model: VAE, params: dict, quantiles: np.ndarray = QUANTILES) -> Array:
    """Decode the grid of normal `quantiles` of a model with z = 2; [R, C, H, W, C].

    Row r has z_2 at quantile r, column c has z_1 at quantile c.
    """
    ticks = jax.scipy.stats.norm.ppf(jnp.asarray(quantiles, jnp.float32))
    second, first = jnp.meshgrid(ticks, ticks, indexing="ij")
    return generate(model, params, jnp.stack([first, second], axis=-1))
