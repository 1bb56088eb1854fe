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
def generate(model: VAE, params: dict, z: Array, label: Array | None = None) -> Array:
    """Decoded images of latents [..., Z], one sigmoid after the logits; [..., H, W, C].

    A conditional model needs labels [...], here and below.
    """
    return jax.nn.sigmoid(decode(model, params, z, label))


@partial(jax.jit, static_argnums=0)
def reconstruct(model: VAE, params: dict, image: Array, label: Array | None = None) -> Array:
    """Images [N, H, W, C] decoded from their posterior means."""
    return generate(model, params, encode(model, params, image, label).mean, label)


def generate_classes(model: VAE, params: dict, z: Array, num_classes: int) -> Array:
    """Decode the same latents [S, Z] with every label; [num_classes, S, H, W, C]."""
    label = jnp.repeat(jnp.arange(num_classes)[:, None], len(z), axis=1)
    return generate(model, params, jnp.broadcast_to(z, (num_classes, *z.shape)), label)


def interpolate(model: VAE, params: dict, start: Array, end: Array, steps: int, label: Array | None = None) -> Array:
    """Decode points on the straight lines between latents [N, Z], ends included; [N, S, H, W, C]."""
    weight = jnp.linspace(0.0, 1.0, steps)[None, :, None]
    z = (1.0 - weight) * start[:, None] + weight * end[:, None]
    return generate(model, params, z, None if label is None else jnp.repeat(label[:, None], steps, axis=1))


def traverse(
    model: VAE, params: dict, mean: Array, dimensions: Array, values: Array, label: Array | None = None
) -> Array:
    """Decode `mean` [Z] with one dimension at a time set to each of `values` [S]; [D, S, H, W, C]."""

    def walk(dimension: Array) -> Array:
        return jax.vmap(lambda value: mean.at[dimension].set(value))(values)

    z = jax.vmap(walk)(jnp.asarray(dimensions))
    return generate(model, params, z, None if label is None else jnp.full(z.shape[:-1], label))


def latent_plane(model: VAE, params: dict, quantiles: np.ndarray = QUANTILES) -> Array:
    """Decode the grid of normal `quantiles` of a model with z = 2; [R, C, H, W, C].

    Row r has z_2 at quantile r, column c has z_1 at quantile c.
    """
    ticks = jax.scipy.stats.norm.ppf(jnp.asarray(quantiles, jnp.float32))
    second, first = jnp.meshgrid(ticks, ticks, indexing="ij")
    return generate(model, params, jnp.stack([first, second], axis=-1))
