"""The objective on one screen: encode, reparameterize, decode, and the two terms of the negative ELBO."""

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.kernels import implemented
from jaxvae.losses import Reconstruction, bernoulli, gaussian_kl
from jaxvae.models import VAE, MLPDecoder, decode, decode_to_output, encode, sample
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


def sample_and_kl(model: VAE, key: Array, posterior: Posterior) -> tuple[Array, Array]:
    """What the decoder gets [..., Z], and the KL of the posterior in nats [...]."""
    if model.noise == "posterior":
        return implemented("reparameterize_kl", model.implementation)(key, posterior)
    return sample(model, key, posterior), gaussian_kl(posterior)


def distortion_of(
    model: VAE, reconstruction: Reconstruction, params: dict, z: Array, image: Array, label: Array, hparams: Hparams
) -> Array:
    """The reconstruction term in nats of images [..., H, W, C] decoded from z [..., Z]; [...]."""
    if has_kernel_of_output(model, reconstruction):
        return distortion_without_logits(model, params, z, image, label)
    logits = decode(model, params, z, label)
    check_shape(logits.shape, image)

    def of_one(logits: Array, image: Array) -> Array:
        nats = reconstruction(logits, image, hparams)
        if nats.shape != ():
            raise ValueError(f"a reconstruction loss gives nats of one example, a scalar, not {nats.shape}")
        return nats

    return jnp.vectorize(of_one, signature="(h,w,c),(h,w,c)->()")(logits, image)


def distortion_without_logits(model: VAE, params: dict, z: Array, image: Array, label: Array) -> Array:
    """Bernoulli's `distortion_of` by the kernel `bernoulli_output`."""
    features, *layer = decode_to_output(model, params, z, label)
    check_shape((*z.shape[:-1], *model.decoder.image_shape), image)
    rows = features.reshape(-1, features.shape[-1])
    return implemented("bernoulli_output", "pallas")(rows, *layer, image.reshape(len(rows), -1)).reshape(z.shape[:-1])


def check_shape(shape: tuple[int, ...], image: Array) -> None:
    """Raise ValueError unless logits of `shape` are of the images'."""
    if shape != image.shape:
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
