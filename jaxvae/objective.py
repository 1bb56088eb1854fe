"""The objective on one screen: encode, reparameterize, decode, and the two terms of the negative ELBO."""

from math import prod

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.kernels import implemented
from jaxvae.losses import Reconstruction, bernoulli, gaussian_kl
from jaxvae.models import VAE, MLPDecoder, decode, decode_to_output, encode, sample, standard_normal
from jaxvae.types import Hparams, Posterior, Terms


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
    z, kl = sample_and_kl(model, key, posterior)
    distortion = distortion_of(model, reconstruction, params, z, image, label, hparams)
    return Terms(distortion + hparams.beta * kl, distortion, kl)


def importance_weighted(
    model: VAE, reconstruction: Reconstruction, params: dict, image: Array, label: Array, keys: Array, hparams: Hparams
) -> Array:
    """`-log (1/S) sum_s p(x|z_s) p(z_s) / q(z_s|x)` of images [..., H, W, C], estimated with S samples; nats [...].

    The bound of Burda et al. (2016, equation 8), which falls to `-log p(x)` as S grows. It has no beta, and bounds a
    likelihood only where `reconstruction` is one: Bernoulli's of binary pixels, or `gaussian`. `keys` [S, ...] are one
    for each sample of each example. Where the kernel `bernoulli_output` serves the model the logits [S, ..., H, W, C]
    are never built.

    Raises:
        ValueError: the model has no noise to sample, or as in `negative_elbo`.
    """
    if model.noise != "posterior":
        raise ValueError(f"importance weights need samples of the posterior; the model's noise is {model.noise!r}")
    mean, logvar = encode(model, params, image, label)
    shape = (*keys.shape, mean.shape[-1])
    epsilon = standard_normal(keys, shape)
    mean, logvar = (jnp.broadcast_to(x, shape) for x in (mean, logvar))
    z = mean + jnp.exp(0.5 * logvar) * epsilon
    distortion = distortion_of(model, reconstruction, params, z, image, jnp.broadcast_to(label, keys.shape), hparams)
    log_prior_over_posterior = 0.5 * jnp.sum(jnp.square(epsilon) + logvar - jnp.square(z), -1)
    return jnp.log(len(keys)) - jax.nn.logsumexp(log_prior_over_posterior - distortion, 0)


def sample_and_kl(model: VAE, key: Array, posterior: Posterior) -> tuple[Array, Array]:
    """What the decoder gets [..., Z], and the KL of the posterior in nats [...]."""
    if model.noise == "posterior":
        return implemented("reparameterize_kl", model.implementation)(key, posterior)
    return sample(model, key, posterior), gaussian_kl(posterior)


def distortion_of(
    model: VAE, reconstruction: Reconstruction, params: dict, z: Array, image: Array, label: Array, hparams: Hparams
) -> Array:
    """The reconstruction term in nats of images [..., H, W, C] decoded from z [*S, ..., Z]; [*S, ...].

    The leading axes S are samples for each image, if there are any.
    """
    if has_kernel_of_output(model, reconstruction):
        return distortion_without_logits(model, params, z, image, label)
    logits = decode(model, params, z, label)
    check_shape(logits.shape, z, image)

    def of_one(logits: Array, image: Array) -> Array:
        nats = reconstruction(logits, image, hparams)
        if nats.shape != ():
            raise ValueError(f"a reconstruction loss gives nats of one example, a scalar, not {nats.shape}")
        return nats

    return jnp.vectorize(of_one, signature="(h,w,c),(h,w,c)->()")(logits, jnp.broadcast_to(image, logits.shape))


def distortion_without_logits(model: VAE, params: dict, z: Array, image: Array, label: Array) -> Array:
    """Bernoulli's `distortion_of` by the kernel `bernoulli_output`."""
    check_shape((*z.shape[:-1], *model.decoder.image_shape), z, image)
    features, *layer = decode_to_output(model, params, z, label)
    pixels = image.reshape(-1, prod(image.shape[-3:]))
    samples = features.reshape(-1, len(pixels), features.shape[-1])
    return implemented("bernoulli_output", "pallas")(samples, *layer, pixels).reshape(z.shape[:-1])


def check_shape(shape: tuple[int, ...], z: Array, image: Array) -> None:
    """Raise ValueError unless logits of `shape` are of the images', for every sample."""
    leading = z.shape[:-1]
    if shape != (*leading, *image.shape[-3:]) or leading[z.ndim + 2 - image.ndim :] != image.shape[:-3]:
        raise ValueError(f"the decoder gives logits {shape} for images {image.shape}; they must be of one shape")


def kernels_of(model: VAE, reconstruction: Reconstruction) -> list[str]:
    """The kernels that a train step of a model with implementation `pallas` consists of, as far as there are any."""
    sampled = ["reparameterize_kl"] if model.noise == "posterior" else []
    return [*sampled, *(["bernoulli_output"] if has_kernel_of_output(model, reconstruction) else []), "adam"]


def has_kernel_of_output(model: VAE, reconstruction: Reconstruction) -> bool:
    """Whether the kernel `bernoulli_output` serves the model: Bernoulli's loss, a dense last layer without a label."""
    decoder = model.decoder
    dense = isinstance(decoder, MLPDecoder) and len(decoder.hidden) > 0
    return model.implementation == "pallas" and reconstruction is bernoulli and dense


def example_keys(key: Array, index: Array) -> Array:
    """One key per example [B], from `key` and the example's number [B] alone."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, index)
