"""The terms of the negative ELBO, in nats, float32 at least.

A reconstruction term is `-log p(x|z)` of ONE example, up to what its docstring says: `(logits, image, hparams) ->
scalar`; `negative_elbo` maps it over a batch. To add one, write the function, name it in `RECONSTRUCTIONS`, and add the
name to `jaxvae.config.ReconstructionName`, which the command line offers. The KL takes any leading axes.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.types import Hparams, Posterior

Reconstruction = Callable[[Array, Array, Hparams], Array]


def bernoulli(logits: Array, image: Array, hparams: Hparams) -> Array:
    """Binary cross-entropy of pixels in [0, 1], summed over the image, computed from logits [H, W, C].

    Exact for binary pixels; for grey ones it is the usual cross-entropy (documents 001 and 004), whose least value is
    the entropy of the pixels, not 0. Finite, with the right gradient, for every finite logit.
    """
    del hparams
    logits, image = _checked(logits, image)
    return _sum(cross_entropy(logits, image))


def squared_error(logits: Array, image: Array, hparams: Hparams) -> Array:
    """`||x - sigmoid(logits)||^2 / (2 variance)`: a Gaussian decoder without its constant.

    The default variance 0.5 gives the plain sum of squares of document 001; document 003 calls the variance `var`.
    """
    logits, image = _checked(logits, image)
    return _sum(jnp.square(jax.nn.sigmoid(logits) - image)) / (2.0 * hparams.variance)


def gaussian(logits: Array, image: Array, hparams: Hparams) -> Array:
    """`-log N(x; sigmoid(logits), variance)`: the squared error with its constant, a true density in nats."""
    constant = 0.5 * image.size * jnp.log(2.0 * jnp.pi * hparams.variance)
    return squared_error(logits, image, hparams) + constant


def region_weighted(logits: Array, image: Array, hparams: Hparams) -> Array:
    """Squared error with a weight by region: `white_weight` where the image exceeds `white_threshold`, elsewhere
    `black_weight`; summed over pixels and channels (document 000)."""
    logits, image = _checked(logits, image)
    weight = jnp.where(image > hparams.white_threshold, hparams.white_weight, hparams.black_weight)
    return _sum(weight * jnp.square(jax.nn.sigmoid(logits) - image))


RECONSTRUCTIONS: dict[str, Reconstruction] = {
    "bernoulli": bernoulli,
    "squared_error": squared_error,
    "gaussian": gaussian,
    "region_weighted": region_weighted,
}


def gaussian_kl_per_dimension(posterior: Posterior) -> Array:
    """`KL(q(z|x) || N(0, I))` of each latent dimension, in nats; [..., Z] (Kingma and Welling 2014, appendix B).

    `expm1` keeps it above 0, and its error within a rounding of `logvar`, where `exp(logvar) - 1 - logvar` loses every
    digit and can turn negative.
    """
    mean, logvar = map(_float32, posterior)
    return 0.5 * (jnp.square(mean) + jnp.expm1(logvar) - logvar)


def gaussian_kl(posterior: Posterior) -> Array:
    """`KL(q(z|x) || N(0, I))` in nats, summed over the latent dimensions; [..., Z] -> [...]."""
    return jnp.sum(gaussian_kl_per_dimension(posterior), -1)


def cross_entropy_of(logits: Array, image: Array) -> Array:
    """`-x log p - (1 - x) log (1 - p)` of each pixel, p = sigmoid(logits), exact also where that is nearly 0."""
    missed = jnp.where(logits > 0, 1.0 - image, image)
    return jnp.abs(logits) * missed + _log1p_up_to_1(jnp.exp(-jnp.abs(logits)))


cross_entropy = jax.custom_jvp(cross_entropy_of)
"""`cross_entropy_of` with its exact derivative."""


@cross_entropy.defjvp
def _cross_entropy_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (logits, image), (d_logits, d_image) = primals, tangents
    return cross_entropy(logits, image), (jax.nn.sigmoid(logits) - image) * d_logits - logits * d_image


def _log1p_up_to_1(x: Array) -> Array:
    """`log(1 + x)` of numbers from 0 to 1, to the last digits: `2 artanh(x / (2 + x))` by its power series.

    The argument of artanh is at most 1/3, so each term gives a digit. XLA's CPU backend computes `log1p` number by
    number once it is fused with what it is applied to, three times as slow; this is vector arithmetic everywhere.
    """
    terms = 9 if x.dtype == jnp.float32 else 18
    ratio = x / (2.0 + x)
    square = jnp.square(ratio)
    series = jnp.zeros_like(x)
    for power in range(2 * terms - 1, 0, -2):
        series = series * square + 1.0 / power
    return 2.0 * ratio * series


def _sum(values: Array) -> Array:
    """The sum over an image; [H, W, C] -> scalar.

    A product with ones: XLA's CPU backend fuses `jnp.sum` with what is summed into a loop over single numbers, up to 20
    times as slow. What that costs on an accelerator has not been measured.
    """
    return jnp.matmul(values.ravel(), jnp.ones(values.size, values.dtype), precision=jax.lax.Precision.HIGHEST)


def _checked(logits: Array, image: Array) -> tuple[Array, Array]:
    """Logits and image of one example, in float32 at least."""
    if image.ndim != 3 or logits.shape != image.shape:
        raise ValueError(
            f"expected one example [H, W, C]: logits {logits.shape}, image {image.shape}; vmap over a batch"
        )
    return _float32(logits), _float32(image)


def _float32(x: Array) -> Array:
    """`x` in float32 at least; pixels may be bools or integers."""
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)
