"""The variational autoencoder: any encoder, the posterior's heads, any decoder."""

from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.config import Implementation, Initializer, Noise
from jaxvae.models.layers import Dense
from jaxvae.types import Posterior


class VAE(nn.Module):
    """encoder: image [..., H, W, C] -> features; decoder: z [..., Z] -> logits [..., H, W, C], never probabilities.

    With `num_classes` above 0 it is a conditional VAE: encoder and decoder see the label as one-hot condition.
    `noise` says what the decoder gets, see `sample`.

    The log-variance is clipped to +-`logvar_bound`, once, for the sampler and the KL alike. 30, a deviation of 3e-7 to
    3e6, is far outside what a sound training visits, and far inside float32, where `exp(logvar)` overflows above 88.
    Beyond the bound the gradient is 0, so that nothing pulls a unit back that has got there.

    `implementation` is of the objective and the optimizer, for a model to say in one place what is compiled how.
    """

    encoder: nn.Module
    decoder: nn.Module
    latent_dim: int = 20
    initializer: Initializer = "torch"
    num_classes: int = 0
    noise: Noise = "posterior"
    logvar_bound: float = 30.0
    implementation: Implementation = "xla"

    def setup(self) -> None:
        """Make the posterior's two heads, one product: the means, then the log-variances."""
        self.heads = Dense(2 * self.latent_dim, self.initializer)

    def encode(self, image: Array, label: Array | None = None) -> Posterior:
        """The posterior q(z|x) of an image in [0, 1], or q(z|x, y)."""
        mean, logvar = jnp.split(self.heads(self.encoder(image, self.condition(label))), 2, axis=-1)
        if self.noise == "log_std_mixup":  # document 001's head is a log_std
            logvar = 2.0 * logvar
        return Posterior(mean, jnp.clip(logvar, -self.logvar_bound, self.logvar_bound))

    def decode(self, z: Array, label: Array | None = None) -> Array:
        """The logits of p(x|z), or p(x|z, y); `jax.nn.sigmoid` of them is the decoded image."""
        return self.decoder(z, self.condition(label))

    def decode_hidden(self, z: Array, label: Array | None = None) -> Array:
        """The features [..., H] of an `MLPDecoder` from which its last layer makes the logits."""
        return self.decoder(z, self.condition(label), output=False)

    def condition(self, label: Array | None) -> Array | None:
        """A label [...] as one-hot [..., num_classes]; None for a model without labels, which ignores them."""
        if not self.num_classes:
            return None
        if label is None:
            raise ValueError(f"this model is conditional: it needs a label below {self.num_classes}")
        return jax.nn.one_hot(label, self.num_classes)

    def __call__(self, image: Array, key: Array, label: Array | None = None) -> tuple[Array, Posterior]:
        """Logits decoded from one sample of the posterior, and the posterior."""
        posterior = self.encode(image, label)
        return self.decode(sample(self, key, posterior), label), posterior


def multiplies_patches(model: VAE) -> bool:
    """Whether the convolutions of `model` are products of patches, many times the size of an image."""
    return any(getattr(part, "lowering", None) == "gemm" for part in (model.encoder, model.decoder))


def encode(model: VAE, params: dict, image: Array, label: Array | None = None) -> Posterior:
    """The posterior of images [..., H, W, C] under `params`; a conditional model needs their labels [...]."""
    return cast(Posterior, model.apply({"params": params}, image, label, method=VAE.encode))


def decode(model: VAE, params: dict, z: Array, label: Array | None = None) -> Array:
    """The logits [..., H, W, C] of latents [..., Z] under `params`; a conditional model needs labels [...]."""
    return cast(Array, model.apply({"params": params}, z, label, method=VAE.decode))


def decode_to_output(model: VAE, params: dict, z: Array, label: Array | None = None) -> tuple[Array, Array, Array]:
    """What the last layer of an `MLPDecoder` multiplies: features [..., H], its kernel [H, P] and its bias [P]."""
    features = cast(Array, model.apply({"params": params}, z, label, method=VAE.decode_hidden))
    layer = params["decoder"][model.decoder.output_layer]
    return features, layer["kernel"], layer["bias"]


def reparameterize(key: Array, posterior: Posterior) -> Array:
    """z = mean + sigma * epsilon with epsilon ~ N(0, I) from `key`; [..., Z] (Kingma and Welling 2014, section 2.4).

    One key draws all of epsilon; keys [B] draw that of an example each, of a posterior [B, Z].

    Raises:
        ValueError: the keys are neither one nor one for each example.
    """
    mean, logvar = posterior
    if key.shape not in ((), mean.shape[:-1]):
        raise ValueError(f"expected one jax.random.key, or one for each example: {key.shape} for means {mean.shape}")

    return mean + jnp.exp(0.5 * logvar) * standard_normal(key, mean.shape).astype(mean.dtype)


def standard_normal(key: Array, shape: tuple[int, ...]) -> Array:
    """Draws from N(0, 1) with one key for all of `shape`, or with keys for its leading axes, each for its own part.

    In float32 also for a posterior of another precision: `jax.random.normal` in bfloat16 has 128 different values.
    """
    if key.ndim == 0:
        return jax.random.normal(key, shape, jnp.float32)
    return jax.vmap(lambda key: standard_normal(key, shape[1:]))(key)


def sample(model: VAE, key: Array, posterior: Posterior) -> Array:
    """What the decoder of `model` gets for a posterior; [..., Z].

    - noise `posterior`: a sample of it, the VAE.
    - `none`: its mean; with beta 0 the model is an autoencoder.
    - `log_std_mixup`: document 001's CVAE calls its head log_std, uses it as that in the KL, and as log-variance in the
      sampler, whose deviation is then the square root of the posterior's. Only its printed 29.78 comes from it.
    """
    if model.noise == "none":
        return posterior.mean
    if model.noise == "log_std_mixup":
        return reparameterize(key, Posterior(posterior.mean, 0.5 * posterior.logvar))
    return reparameterize(key, posterior)
