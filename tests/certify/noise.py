"""The reparameterization, its noise against N(0, 1), and the KL by Monte Carlo."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.random import Generator
from scipy.special import ndtr

from jaxvae import losses
from jaxvae.models import vae
from jaxvae.types import Posterior
from tests.certify import points, references
from tests.certify.latents import LATENTS, given_model
from tests.certify.lines import Line, largest, ulps


def certify(n: int, rng: Generator) -> list[Line]:
    """All lines of this module; ten draws for each point."""
    lines = reparameterize_lines(points.means(rng, n), points.logvars(rng, n))
    return lines + moment_lines(10 * n, rng) + monte_carlo_lines(10 * n, rng)


def reparameterize_lines(mean: np.ndarray, logvar: np.ndarray) -> list[Line]:
    """z = mean + sigma epsilon and its derivatives, for the epsilon of a key; and epsilon in bfloat16."""
    mean, logvar, key = mean.astype(np.float32), logvar.astype(np.float32), jax.random.key(3)
    epsilon = np.asarray(vae.standard_normal(key, mean.shape), np.float64)

    def z(mean, logvar):
        return vae.reparameterize(key, Posterior(mean, logvar))

    def slopes(mean, logvar):
        _, back = jax.vjp(z, mean, logvar)
        return back(jnp.ones_like(mean))

    found = (jax.jit(z)(mean, logvar), *jax.jit(slopes)(mean, logvar))
    noise = np.exp(0.5 * logvar.astype(np.float64)) * epsilon
    of_z = references.Number(mean + noise, np.abs(mean) + np.abs(noise))
    expected = (
        of_z,
        references.Number(np.ones_like(noise), np.ones_like(noise)),
        references.Number(noise / 2, np.abs(noise) / 2),
    )
    lines = [
        Line(f"z = mean + sigma epsilon: {what}", len(mean), "ulp of terms", ulps(x, *number), limit, why)
        for what, x, number, limit, why in zip(
            ("value", "d mean", "d logvar"),
            found,
            expected,
            (3.0, 0.0, 3.0),
            ("exp, a product, a sum", "1", "exp, two products"),
            strict=True,
        )
    ]
    narrow = np.asarray(vae.reparameterize(key, Posterior(*jnp.zeros((2, len(mean)), jnp.bfloat16))))
    own = np.asarray(jax.random.normal(key, mean.shape, jnp.bfloat16))
    once = epsilon.astype(np.float32).astype(jnp.bfloat16)
    why = "drawn in float32, then rounded"
    return [
        *lines,
        Line("epsilon of a bfloat16 posterior", len(mean), "count", int((narrow != once).sum()), 0, why),
        Line("control: epsilon drawn in bfloat16", len(mean), "count", int((own != once).sum()), 0, why, control=True),
    ]


def moment_lines(draws: int, rng: Generator) -> list[Line]:
    """The noise of one key, and of a key for each example: moments, neighbours, and the whole distribution."""
    draws -= draws % LATENTS
    key = jax.random.key(int(rng.integers(2**32)))
    keys = jax.jit(jax.vmap(jax.random.fold_in, (None, 0)))(key, jnp.arange(draws // LATENTS))
    lines = []
    for how, keys_of, shape in (
        ("one key", key, (draws,)),
        ("a key for each example", keys, (draws // LATENTS, LATENTS)),
    ):
        zero = jnp.zeros(shape)
        noise = np.asarray(
            jax.jit(lambda *x: vae.reparameterize(*x))(keys_of, Posterior(zero, zero)), np.float64
        ).ravel()
        lines += noise_lines(f"noise of {how}", noise)
    uniform = rng.uniform(-(3**0.5), 3**0.5, draws)
    return lines + noise_lines("control: uniform noise of variance 1", uniform, control=True)


def noise_lines(name: str, noise: np.ndarray, *, control: bool = False) -> list[Line]:
    """Draws against N(0, 1)."""
    n = len(noise)
    moments = {
        "mean": (noise.mean(), 1),
        "variance": ((noise**2).mean() - 1, 2),
        "third moment": ((noise**3).mean(), 15),
        "fourth moment": ((noise**4).mean() - 3, 96),
        "product of neighbours": ((noise[1:] * noise[:-1]).mean(), 1),
    }
    why = "5: one chance in two million each"
    scores = {what: abs(x) / (variance / n) ** 0.5 for what, (x, variance) in moments.items()}
    rank = np.arange(n + 1) / n
    below = ndtr(np.sort(noise))
    distance = max(largest(below - rank[1:]), largest(below - rank[:-1]))
    if control:
        scores = {"fourth moment": scores["fourth moment"]}
    return [
        *(Line(f"{name}: {what}", n, "standard errors", x, 5.0, why, control) for what, x in scores.items()),
        Line(
            f"{name}: distance of the distributions, times the root of n",
            n,
            "absolute",
            distance * n**0.5,
            2.7,
            "Kolmogorov's: exceeded once in a million",
            control,
        ),
    ]


def monte_carlo_lines(draws: int, rng: Generator) -> list[Line]:
    """The mean of log q(z|x) - log p(z) over samples of q against the closed form; document 001's head both ways."""
    heads = np.array([0.7, -1.0, 0.0, 0.3, -0.6, 0.4, 0.2, -0.2], np.float32)  # 4 means, 4 second heads
    key = jax.random.key(int(rng.integers(2**32)))

    def line(name: str, control: bool = False, **settings: Any) -> Line:
        model, params = given_model(len(heads), **settings)
        posterior = vae.encode(model, params, jnp.asarray(heads).reshape(1, 1, -1))
        many = Posterior(*(jnp.broadcast_to(x, (draws, len(x))) for x in posterior))
        z = np.asarray(vae.sample(model, key, many), np.float64)
        mean, logvar = (np.asarray(x, np.float64) for x in posterior)
        log_ratio = 0.5 * (z**2 - (z - mean) ** 2 / np.exp(logvar) - logvar).sum(1)
        error = abs(log_ratio.mean() - float(losses.gaussian_kl(posterior))) / (log_ratio.std() / draws**0.5)
        return Line(name, draws, "standard errors", float(error), 5.0, "5: one chance in two million", control)

    return [
        line("KL by Monte Carlo"),
        line("control: KL by Monte Carlo, log_std read as log-variance", control=True, noise="log_std_mixup"),
    ]
