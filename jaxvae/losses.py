"""The terms of the negative ELBO for ONE example, in nats: `negative_elbo` maps them over a batch, reduce once.

A reconstruction term is `-log p(x|z)` up to what its docstring says: `(logits, image, hparams) -> scalar`. To add one,
write the function, name it in `RECONSTRUCTIONS`, and add the name to `jaxvae.config.ReconstructionName`, which the
command line offers.
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
    _check_image(logits, image)
    return over_pixels(softplus(logits) - logits * image)


def squared_error(logits: Array, image: Array, hparams: Hparams) -> Array:
    """`||x - sigmoid(logits)||^2 / (2 variance)`: a Gaussian decoder without its constant.

    The default variance 0.5 gives the plain sum of squares of document 001; document 003 calls the variance `var`.
    """
    _check_image(logits, image)
    return over_pixels(jnp.square(jax.nn.sigmoid(logits) - image)) / (2.0 * hparams.variance)


def gaussian(logits: Array, image: Array, hparams: Hparams) -> Array:
    """`-log N(x; sigmoid(logits), variance)`: the squared error with its constant, a true density in nats."""
    constant = 0.5 * image.size * jnp.log(2.0 * jnp.pi * hparams.variance)
    return squared_error(logits, image, hparams) + constant


def region_weighted(logits: Array, image: Array, hparams: Hparams) -> Array:
    """Squared error with a weight by region: `white_weight` where the image exceeds `white_threshold`, elsewhere
    `black_weight`; summed over pixels and channels (document 000)."""
    _check_image(logits, image)
    weight = jnp.where(image > hparams.white_threshold, hparams.white_weight, hparams.black_weight)
    return over_pixels(weight * jnp.square(jax.nn.sigmoid(logits) - image))


RECONSTRUCTIONS: dict[str, Reconstruction] = {
    "bernoulli": bernoulli,
    "squared_error": squared_error,
    "gaussian": gaussian,
    "region_weighted": region_weighted,
}


def gaussian_kl_per_dimension(posterior: Posterior) -> Array:
    """`KL(q(z|x) || N(0, I))` of each latent dimension, in nats; [..., Z] (Kingma and Welling 2014, appendix B).

    `expm1` keeps it exact near 0, where `exp(logvar) - 1 - logvar` loses every digit and can turn negative.
    """
    mean, logvar = posterior
    return 0.5 * (jnp.square(mean) + jnp.expm1(logvar) - logvar)


def gaussian_kl(posterior: Posterior) -> Array:
    """`KL(q(z|x) || N(0, I))` in nats, summed over the latent dimensions; [..., Z] -> [...]."""
    return jnp.sum(gaussian_kl_per_dimension(posterior), -1)


def over_pixels(values: Array) -> Array:
    """The sum over an image; [H, W, C] -> scalar.

    A product with ones: what a sum adds up XLA's CPU backend computes inside of it, up to 20 times as slowly.
    """
    return jnp.matmul(values.ravel(), jnp.ones(values.size, values.dtype), precision=jax.lax.Precision.HIGHEST)


@jax.custom_jvp
def softplus(x: Array) -> Array:
    """`log(1 + exp(x))` of finite x, never overflowing; that of `jax.nn` minds infinities too, and takes longer."""
    return jnp.maximum(x, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@softplus.defjvp
def _softplus_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    return softplus(x), jax.nn.sigmoid(x) * tangent


def _check_image(logits: Array, image: Array) -> None:
    if image.ndim != 3 or logits.shape != image.shape:
        raise ValueError(
            f"expected one example [H, W, C]: logits {logits.shape}, image {image.shape}; vmap over a batch"
        )
