"""The KL, bare and through the model's clip, and what is sampled through it."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from numpy.random import Generator

from jaxvae import losses
from jaxvae.models import VAE, vae
from jaxvae.types import Posterior
from tests.certify import points, references
from tests.certify.lines import Line, largest, ulps

OUTPUTS = ("value", "d mean", "d logvar")
LIMITS = {"value": 2.0, "d mean": 1.0, "d logvar": 2.0}
WHY = {"value": "expm1, a square, two sums", "d mean": "the mean itself", "d logvar": "exp and a difference"}
NEAR_0 = 3.0
TEXTBOOK = "control: (mean^2 + exp(logvar) - 1 - logvar) / 2"
LATENTS = 20


class Given(nn.Module):
    """An encoder whose features are the pixels; the heads below then give numbers that were chosen."""

    @nn.compact
    def __call__(self, image, condition=None):
        del condition
        return image.reshape(*image.shape[:-3], -1)


def certify(n: int, rng: Generator) -> list[Line]:
    """All lines of this module."""
    usual = points.means(rng, n), points.logvars(rng, n)
    small = points.sizes(rng, n, -12, -3), points.sizes(rng, n, -12, -3)
    still = np.zeros(n), small[1]
    lines = reference_lines((usual, small, still), rng)
    for kind in (np.float32, jnp.bfloat16, np.float64):
        lines += kl_lines("KL of a dimension", per_dimension(), usual, kind)
    for at, where in ((small, "near 0"), (still, "near 0, mean 0")):
        lines += near_0_lines(f"KL {where}", per_dimension(), at)
        lines += near_0_lines(f"{TEXTBOOK}, {where}", value_and_slopes(textbook), at, control=True)
    return lines + sum_lines(n, rng) + clip_lines(n, rng)


def reference_lines(at: tuple, rng: Generator) -> list[Line]:
    """The reference of float64 against mpmath, of some 1,000 of the points."""
    some = rng.choice(len(at[0][0]), min(333, len(at[0][0]) // 6), replace=False)
    error = max(references.kl_error(*(x[some].astype(np.float32).astype(np.float64) for x in pair)) for pair in at)
    why = "float64's own roundings, also near 0"
    return [Line("reference of the KL and its derivatives, against mpmath", 3 * len(some), "ulp", error, 4.0, why)]


def textbook(mean, logvar):
    return 0.5 * (jnp.square(mean) + jnp.exp(logvar) - 1.0 - logvar)


def per_dimension() -> Callable:
    """The package's KL of a latent dimension, as `value_and_slopes`."""
    return value_and_slopes(lambda mean, logvar: losses.gaussian_kl_per_dimension(Posterior(mean, logvar)))


def value_and_slopes(kl: Callable) -> Callable:
    """`(mean [n], logvar [n]) -> value, d mean, d logvar`, each [n]."""
    compiled = jax.jit(jax.vmap(jax.value_and_grad(kl, (0, 1))))

    def outputs(mean, logvar):
        value, slopes = compiled(mean, logvar)
        return value, *slopes

    return outputs


def kl_lines(name: str, outputs: Callable, at, kind, *, control: bool = False) -> list[Line]:
    """The KL within the model's bound."""
    wide = np.float64 if kind is np.float64 else np.float32
    mean, logvar = (x.astype(kind) for x in at)
    with jax.enable_x64(kind is np.float64):
        found = outputs(mean, logvar)
    expected = references.kl(mean.astype(np.float64), logvar.astype(np.float64))
    lines = []
    for what, value, number in zip(OUTPUTS, found, expected, strict=True):
        narrow = kind is jnp.bfloat16 and what != "value"
        lines.append(
            Line(
                f"{name}, {np.dtype(kind).name}: {what}",
                len(mean),
                "ulp" if what == "d mean" else "ulp of terms",
                ulps(value, number.value, number.scale, kind=kind if narrow else wide),
                0.6 if narrow else LIMITS[what],
                "computed in float32, rounded once" if narrow else WHY[what],
                control,
            )
        )
    return lines


def near_0_lines(name: str, outputs: Callable, at, *, control: bool = False) -> list[Line]:
    """The sign of the KL, and its error beside its terms mean^2 and |logvar|, which are far below 1."""
    mean, logvar = (x.astype(np.float32) for x in at)
    value, _, slope = (np.asarray(x, np.float64) for x in outputs(mean, logvar))
    m, v = mean.astype(np.float64), logvar.astype(np.float64)
    expected, terms = references.kl(m, v), (m**2 + np.abs(v)) / 2
    lines = [
        Line(f"{name}: negative", len(m), "count", int((value < 0).sum()), 0, "a KL never is", control),
        Line(
            f"{name}: value",
            len(m),
            "ulp of terms",
            ulps(value, expected.value.value, terms),
            NEAR_0,
            "expm1(logvar), near logvar, and a difference",
            control,
        ),
    ]
    if not control:  # the textbook's derivative is the same
        error, why = largest(slope - expected.logvar.value), "JAX has d expm1 = expm1 + 1, rounded beside 1"
        lines.append(Line(f"{name}: d logvar", len(m), "absolute", error, 2.0**-24, why))
    return lines


def sum_lines(n: int, rng: Generator) -> list[Line]:
    """The KL of an image, summed over its latent dimensions; and what an omitted 1/2 does."""
    shape = (n // LATENTS, LATENTS)
    mean, logvar = (
        f(rng, shape[0] * LATENTS).astype(np.float32).reshape(shape) for f in (points.means, points.logvars)
    )
    expected = references.kl(mean.astype(np.float64), logvar.astype(np.float64))
    value, scale = (x.sum(-1) for x in expected.value)
    found = np.asarray(jax.jit(lambda *x: losses.gaussian_kl(Posterior(*x)))(mean, logvar))
    why = "its terms', and 20 sums"
    return [
        Line("KL of 20 dimensions, float32", n, "ulp of terms", ulps(found, value, scale), 4.0, why),
        Line("control: KL without the 1/2", n, "ulp of terms", ulps(2 * found, value, scale), 4.0, why, control=True),
    ]


def given_model(features: int, **settings) -> tuple[VAE, dict]:
    """A model whose heads give the pixels [..., 1, 1, features]: first the means, then the log-variances."""
    model = VAE(Given(), Given(), features // 2, **settings)
    return model, {"heads": {"kernel": np.eye(features, dtype=np.float32), "bias": np.zeros(features, np.float32)}}


def clip_lines(n: int, rng: Generator) -> list[Line]:
    """The KL of what the heads give, up to 1e4, through `VAE.encode`'s clip; and without it."""
    mean = points.means(rng, n).astype(np.float32)
    wild = points.mixed(rng, points.sizes(rng, n, -12, 4), rng.uniform(-60, 60, n), rng.choice([1e4, -1e4], n))
    wild = wild.astype(np.float32)
    expected = {}
    for scale in (1, 2):  # of the log_std mix-up's head
        logvar = scale * wild.astype(np.float64)
        inside = np.abs(logvar) <= points.BOUND
        kl = references.kl(mean.astype(np.float64), np.clip(logvar, -points.BOUND, points.BOUND))
        expected[scale] = kl._replace(logvar=references.Number(*(np.where(inside, scale * x, 0) for x in kl.logvar)))

    def lines(name: str, scale: int, control: bool = False, **settings) -> list[Line]:
        model, params = given_model(2, **settings)

        def through(mean, wild):
            return losses.gaussian_kl(vae.encode(model, params, jnp.stack([mean, wild]).reshape(1, 1, 2)))

        found = value_and_slopes(through)(mean, wild)
        return [
            Line(
                f"{name}: KL, {what}",
                n,
                "ulp of terms",
                ulps(value, number.value, number.scale),
                LIMITS[what],
                "as without the clip; beyond it the derivative is 0" if what == "d logvar" else "as without the clip",
                control,
            )
            for what, value, number in zip(OUTPUTS, found, expected[scale], strict=True)
            if not (control and what == "d mean")
        ]

    def z_line(name: str, scale: int, control: bool = False, **settings) -> Line:
        model, params = given_model(2, **settings)
        image, key = np.stack([mean, wild], -1).reshape(n, 1, 1, 2), jax.random.key(5)
        z = vae.sample(model, key, vae.encode(model, params, jnp.asarray(image)))
        clipped = np.clip(scale * wild.astype(np.float64), -points.BOUND, points.BOUND)
        noise = np.exp(0.5 * clipped / scale) * np.asarray(vae.standard_normal(key, (n, 1)), np.float64)[:, 0]
        error = ulps(z[:, 0], mean + noise, np.abs(mean) + np.abs(noise))
        return Line(f"{name}: z", n, "ulp of terms", error, 3.0, "exp, a product, a sum", control)

    def both(*kind: Any, **settings: Any) -> list[Line]:
        return [*lines(*kind, **settings), z_line(*kind, **settings)]

    return [
        *both("heads to 1e4, clipped", 1),
        *both("log_std heads to 1e4, clipped", 2, noise="log_std_mixup"),
        *both("control: heads to 1e4, no clip", 1, True, logvar_bound=1e9),
    ]
