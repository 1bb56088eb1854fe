"""log p(x) = ELBO + KL(q(z|x) || p(z|x)), by quadrature, with the code that trains: derivation.md as numbers.

source      experiments/derivation.md; document 001's derivation; Kingma and Welling 2014, equations 1 to 3
expected    both sides equal within 1e-9 nats, in float64; Monte Carlo ELBOs within a few of their standard errors
run time    15 s on 2 busy CPU cores; 40 s the first time, most of it compilation
command     python -m experiments.derivation
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, cast

import numpy as np

from jaxvae import cli
from jaxvae.config import check_range
from jaxvae.errors import JaxvaeError

if TYPE_CHECKING:  # jax is imported where it is used, so that `--help` does not wait for it
    from jax import Array

    from jaxvae.batches import DeviceSplit
    from jaxvae.config import ReconstructionName
    from jaxvae.models import VAE

TOLERANCE = 1e-9
DECODERS: tuple[ReconstructionName, ...] = ("bernoulli", "gaussian")
HEADER = (
    "z",
    "decoder",
    "digit",
    "log p(x)",
    "ELBO",
    "KL(q||p(z|x))",
    "sum",
    "difference",
    "Monte Carlo ELBO",
    "error",
)


@dataclass(frozen=True)
class Derivation:
    """Check log p(x) = ELBO + KL(q(z|x) || p(z|x)) by quadrature, for 1 and 2 latent dimensions and two decoders.

    Trains four small VAEs on the embedded digits, prints a table, keeps nothing. Exits with 1 if the two sides differ.
    """

    epochs: int = 5
    """Epochs of training; 0 for random parameters. Dozens make p(z|x) too narrow for the grids."""
    images: int = 2
    """Test images to check for each model."""
    samples: int = 10_000
    """Samples of the Monte Carlo ELBO."""
    seed: int = 0
    """Seed of parameters, order and noise."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_range("epochs", self.epochs, low=0, high=1000)
        check_range("images", self.images, low=1, high=297)
        check_range("samples", self.samples, low=2, high=10**7)
        check_range("seed", self.seed, low=0, high=2**32 - 1)


@dataclass(frozen=True)
class Identity:
    """The three terms for one image, in nats, each from a quadrature of its own."""

    log_evidence: float  # log p(x)
    elbo: float
    gap: float  # KL(q(z|x) || p(z|x))

    @property
    def difference(self) -> float:
        """What is left of log p(x) - ELBO - KL: the error of the quadratures, or of the code."""
        return self.log_evidence - self.elbo - self.gap


def check_identity(
    log_likelihood: Callable[[np.ndarray], np.ndarray], mean: np.ndarray, logvar: np.ndarray, kl: float
) -> Identity:
    """The terms for an image with log p(x|z) = `log_likelihood(z)`, [N, Z] -> [N], and posterior N(mean, exp(logvar)).

    `kl` is KL(q(z|x) || p(z)) as the code has it. Each integral has a grid of its own, as one grid for all would turn
    the identity into mere algebra: log p(x) over the prior; p(z|x) normalized on a wider box; KL(q || p(z|x)) around q;
    the ELBO's expectation on a wider box around q. The trapezoid rule converges exponentially in the number of points
    if the decoder is smooth; the kinks of a ReLU leave about 1e-4 nats.
    """
    latent_dim, sigma = len(mean), np.exp(0.5 * logvar)
    over_prior, over_q = {1: (4000, 400), 2: (180, 80)}[latent_dim]
    zero, one = np.zeros(latent_dim), np.ones(latent_dim)
    grids = (
        box(zero, 8 * one, over_prior),
        box(zero, 9 * one, over_prior * 9 // 8),
        box(mean, 9 * sigma, over_q),
        box(mean, 10 * sigma, over_q * 10 // 9),
    )
    nodes, cells = [grid[0] for grid in grids], [grid[1] for grid in grids]
    values = np.split(log_likelihood(np.concatenate(nodes)), np.cumsum([len(z) for z in nodes])[:-1])

    log_joint = [value + log_normal(z) for value, z in zip(values, nodes, strict=True)]
    log_evidence = np.logaddexp.reduce(log_joint[0]) + np.log(cells[0])
    log_posterior = log_joint[2] - np.logaddexp.reduce(log_joint[1]) - np.log(cells[1])
    log_q = [log_normal((z - mean) / sigma) - 0.5 * logvar.sum() for z in nodes[2:]]
    gap = np.sum(np.exp(log_q[0]) * (log_q[0] - log_posterior)) * cells[2]
    elbo = np.sum(np.exp(log_q[1]) * values[3]) * cells[3] - kl
    return Identity(float(log_evidence), float(elbo), float(gap))


def log_normal(z: np.ndarray) -> np.ndarray:
    """log N(z; 0, I); [N, Z] -> [N]."""
    return -0.5 * np.sum(z**2 + np.log(2 * np.pi), axis=-1)


def box(centre: np.ndarray, half_width: np.ndarray, points: int) -> tuple[np.ndarray, float]:
    """An even grid of `points` on each axis [points ** Z, Z], and the volume of its cell."""
    axes = [np.linspace(c - w, c + w, points) for c, w in zip(centre, half_width, strict=True)]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    return nodes, float(np.prod(2 * half_width / (points - 1)))


def check_model(model: VAE, reconstruction: ReconstructionName, params: dict, image: np.ndarray, label=0) -> Identity:
    """The terms for one image [H, W, C] and its label, by the package's encoder, decoder and losses in float64."""
    import jax

    from jaxvae.losses import gaussian_kl
    from jaxvae.models import encode

    with jax.enable_x64(True):
        params, x, y = as_float64(params, image, label)
        posterior = encode(model, params, x, y)
        log_likelihood, _ = compiled(model, reconstruction)  # pyright: ignore[reportArgumentType]
        mean, logvar = (np.asarray(part) for part in posterior)
        kl = float(gaussian_kl(posterior))
        return check_identity(lambda z: np.asarray(log_likelihood(params, x, y, z)), mean, logvar, kl)


def monte_carlo_elbo(
    model: VAE, reconstruction: ReconstructionName, params: dict, image: np.ndarray, label=0, *, samples: int, seed=0
) -> tuple[float, float]:
    """Mean and standard error of the ELBO over `samples` keys, by the objective that training minimizes."""
    import jax

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(seed), samples)
        _, elbo = compiled(model, reconstruction)  # pyright: ignore[reportArgumentType]
        elbos = np.asarray(elbo(*as_float64(params, image, label), keys))
    return float(elbos.mean()), float(elbos.std(ddof=1) / samples**0.5)


def as_float64(params: dict, image: np.ndarray, label: int) -> tuple[dict, Array, Array]:
    """The same on the device, ready for arithmetic in 64 bits."""
    import jax
    import jax.numpy as jnp

    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
    return params, jnp.asarray(image, jnp.float64), jnp.asarray(label, jnp.int32)


@lru_cache
def compiled(model: VAE, reconstruction: ReconstructionName) -> tuple[Callable, Callable]:
    """log p(x|z) of (params, image, label, z [N, Z]), and one-sample ELBOs of (params, image, label, keys [N])."""
    import jax

    from jaxvae.losses import RECONSTRUCTIONS
    from jaxvae.models import decode
    from jaxvae.objective import negative_elbo
    from jaxvae.types import Hparams

    loss = RECONSTRUCTIONS[reconstruction]

    def log_likelihood(params, image, label, z):
        return jax.lax.map(lambda one: -loss(decode(model, params, one, label), image, Hparams()), z, batch_size=500)

    def elbo(params, image, label, keys):
        terms = partial(negative_elbo, model, loss, params, image, label)
        return jax.lax.map(lambda key: -terms(key, Hparams()).loss, keys, batch_size=500)

    return jax.jit(log_likelihood), jax.jit(elbo)


def train(
    split: DeviceSplit, latent_dim: int, reconstruction: ReconstructionName, *, epochs: int, seed: int
) -> tuple[VAE, dict]:
    """A small VAE and its parameters after `epochs` epochs; tanh, as a ReLU has kinks, where quadrature is slow."""
    import flax.linen as nn
    import jax

    from jaxvae.losses import RECONSTRUCTIONS
    from jaxvae.models import VAE
    from jaxvae.models.mlp import MLPDecoder, MLPEncoder
    from jaxvae.train import init_state, make_train_step, train_epoch
    from jaxvae.types import Hparams

    shape = cast(tuple[int, int, int], split.image.shape[1:])
    model = VAE(MLPEncoder((64,), activation=nn.tanh), MLPDecoder((64,), shape, activation=nn.tanh), latent_dim)
    init_key, train_key = jax.random.split(jax.random.key(seed))
    state = init_state(model, shape, init_key, Hparams(learning_rate=3e-3))
    step = make_train_step(model, RECONSTRUCTIONS[reconstruction])  # pyright: ignore[reportArgumentType]
    epoch = jax.jit(partial(train_epoch, step, batch_size=50))
    for number in range(epochs):
        state, _ = epoch(state, split, jax.random.fold_in(train_key, number))
    return model, state.params


def run(flags: Derivation) -> None:
    """Train, check, print."""
    from jaxvae.batches import to_device
    from jaxvae.data import load
    from jaxvae.tables import print_table

    digits = load("digits")
    images, labels = digits.test.image[: flags.images] / 255.0, digits.test.label
    rows, differences = [], []
    for latent_dim in (1, 2):
        for name in DECODERS:
            model, params = train(to_device(digits.train), latent_dim, name, epochs=flags.epochs, seed=flags.seed)
            for image, label in zip(images, labels, strict=False):
                found = check_model(model, name, params, image)
                elbo, error = monte_carlo_elbo(model, name, params, image, samples=flags.samples, seed=len(rows))
                terms = (found.log_evidence, found.elbo, found.gap, found.elbo + found.gap)
                numbers = (*(f"{x:.6f}" for x in terms), f"{found.difference:.0e}", f"{elbo:.3f}", f"{error:.3f}")
                rows.append((str(latent_dim), name, str(label), *numbers))
                differences.append(abs(found.difference))
    print_table(HEADER, rows, sys.stdout)
    print(f"\nlog p(x) = ELBO + KL(q(z|x) || p(z|x)) within {max(differences):.0e} nats per image")
    if not max(differences) < TOLERANCE:
        raise JaxvaeError(f"the two sides differ by {max(differences):.0e} nats; {TOLERANCE:.0e} is allowed")


if __name__ == "__main__":
    sys.exit(cli.main("derivation", Derivation, run))
