"""The plain definition."""

from jax import Array

from jaxvae.losses import gaussian_kl
from jaxvae.models import reparameterize
from jaxvae.types import Posterior


def reparameterize_kl(keys: Array, posterior: Posterior) -> tuple[Array, Array]:
    """A sample z of each posterior and its KL from N(0, I) in nats: `models.reparameterize` and `losses.gaussian_kl`.

    Args:
        keys: one for each example [...].
        posterior: of [..., Z].

    Returns:
        z [..., Z] and the KL [...].
    """
    return reparameterize(keys, posterior), gaussian_kl(posterior)
