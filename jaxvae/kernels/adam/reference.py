"""The plain definition: Adam as the train step takes it."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

B1, B2, EPS = 0.9, 0.999, 1e-8
ADAM = optax.scale_by_adam(B1, B2, EPS)
"""Adam's moments with PyTorch's defaults."""


def adam(
    params: dict, moments: optax.ScaleByAdamState, gradients: dict, rate: Array, alive: Array
) -> tuple[dict, optax.ScaleByAdamState]:
    """The parameters and moments after an update at the learning rate `rate`, or as they were where not `alive`."""
    _, updated = ADAM.update(gradients, moments)
    moments = jax.tree.map(partial(jnp.where, alive), updated, moments)
    updates = jax.tree.map(lambda d: -rate.astype(d.dtype) * d, adam_direction(moments))
    params = jax.tree.map(partial(jnp.where, alive), optax.apply_updates(params, updates), params)
    return params, moments


def adam_direction(moments: optax.ScaleByAdamState) -> dict:
    """Adam's direction (Kingma and Ba 2015, algorithm 1) from the moments that a step keeps.

    `ADAM.update` also returns one, but of moments that a step that is not taken drops: with it XLA's CPU backend
    computes the moments twice and copies the old ones.
    """
    mean, square = corrections(moments.count)

    def of_leaf(m: Array, v: Array) -> Array:
        return mean.astype(m.dtype) * m / (jnp.sqrt(square.astype(v.dtype) * v) + EPS)

    return jax.tree.map(of_leaf, moments.mu, moments.nu)


def corrections(count: ArrayLike) -> tuple[Array, Array]:
    """What the moments are multiplied by after `count` updates, so that they are not biased towards 0.

    In float32 Optax's `1 - 0.999**count` is 1e-5 off, from the first step on; that of `expm1` is not.
    """
    steps = jnp.asarray(count, float)
    mean, square = (-1.0 / jnp.expm1(math.log(decay) * steps) for decay in (B1, B2))
    return mean, square
