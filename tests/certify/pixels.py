"""The reconstruction terms: pixel by pixel with their derivatives, and summed over an image."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from numpy.random import Generator

from jaxvae import losses
from tests.certify import points, references
from tests.certify.lines import Line, ulps

Points = tuple[np.ndarray, np.ndarray, np.ndarray]  # logits, image, variance [n]
SHAPE = (28, 28, 1)
LIMITS = {
    "value": (3.0, "sigmoid, a few products and sums, a rounding each"),
    "d logits": (4.0, "sigmoid and four products"),
    "d image": (2.0, "sigmoid, a difference, a quotient"),
    "d variance": (4.0, "sigmoid, a square, two quotients"),
}
OF_BERNOULLI = {
    "value": (3.0, "exp, log1p, two products and sums"),
    "d logits": (2.0, "sigmoid and a difference"),
    "d image": (0.5, "minus the logit"),
}


def certify(n: int, rng: Generator) -> list[Line]:
    """All lines of this module."""
    at = points.logits(rng, n), points.pixels(rng, n), points.variances(rng, n)
    lines = reference_lines(at, rng)
    for name in losses.RECONSTRUCTIONS:
        for kind in (np.float32, jnp.bfloat16, np.float64):
            lines += pixel_lines(name, getattr(losses, name), at, kind)
    for name in losses.RECONSTRUCTIONS:
        lines += image_lines(name, n, rng)
    return lines + softplus_lines(at[0], rng) + control_lines(at)


def reference_lines(at: Points, rng: Generator) -> list[Line]:
    """The references of float64 against mpmath, of some 1,000 of the points."""
    some = rng.choice(len(at[0]), min(1000, len(at[0]) // 4), replace=False)
    few = tuple(x[some].astype(np.float32).astype(np.float64) for x in at)
    return [
        Line(
            f"reference of {name} and its derivatives, against mpmath",
            len(some),
            "ulp of terms",
            references.pixel_error(name, *few),
            4.0,
            "float64's own roundings, 5e8 times finer than float32's",
        )
        for name in references.PIXEL
    ]


def pixel_lines(
    name: str,
    loss: losses.Reconstruction,
    at: Points,
    kind,
    *,
    called: str | None = None,
    only: tuple[str, ...] = tuple(LIMITS),
) -> list[Line]:
    """Values and derivatives of images of one pixel; a `called` one is a control of the loss `name`."""
    wide = np.float64 if kind is np.float64 else np.float32  # of the computation, and of the variance
    logits, image, variance = at[0].astype(kind), at[1].astype(kind), at[2].astype(wide)
    with jax.enable_x64(kind is np.float64):
        value, slopes = per_pixel(loss)(logits, image, variance)
    rounded = (x.astype(np.float64) for x in (logits, image, variance))
    expected = references.PIXEL[name](*rounded)
    tiny = 2 * float(np.finfo(wide).tiny) * (1 + np.abs(logits.astype(float)) + 1 / variance.astype(float))
    lines = []
    for what, found, number in zip(LIMITS, (value, *slopes), expected, strict=True):
        if number is None or what not in only:
            continue
        narrow = kind is jnp.bfloat16 and what in ("d logits", "d image")  # of the input's type
        limit, why = (OF_BERNOULLI if name == "bernoulli" else LIMITS)[what]
        error = ulps(
            found,
            number.value,
            number.scale,
            kind=kind if narrow else wide,
            floor=tiny / variance.astype(float) if what == "d variance" else tiny,
        )
        lines.append(
            Line(
                f"{called or name}, {np.dtype(kind).name}: {what}",
                len(logits),
                "ulp" if name == "bernoulli" and what in ("value", "d image") else "ulp of terms",
                error,
                0.6 if narrow else limit * (2 if kind is np.float64 else 1),
                "computed in float32, rounded once" if narrow else why,
                control=called is not None,
            )
        )
    return lines


def per_pixel(loss: losses.Reconstruction) -> Callable:
    """`(logits, image, variance) -> value, its three derivatives`, each [n], compiled as in training."""

    def of_one(logits, image, variance):
        return loss(logits.reshape(1, 1, 1), image.reshape(1, 1, 1), references.hparams(variance))

    return jax.jit(jax.vmap(jax.value_and_grad(of_one, (0, 1, 2))))


def image_lines(name: str, n: int, rng: Generator) -> list[Line]:
    """A loss summed over images of 784 pixels, in a batch and one by one; the reference is the sum of the pixels'."""
    count = max(1, -(-n // math.prod(SHAPE)))
    size = count * math.prod(SHAPE)
    logits, image = points.logits(rng, size).astype(np.float32), points.pixels(rng, size).astype(np.float32)
    variance = points.variances(rng, count).astype(np.float32)

    def of_one(logits, image, variance):
        return getattr(losses, name)(logits, image, references.hparams(variance))

    batch = logits.reshape(-1, *SHAPE), image.reshape(-1, *SHAPE), variance
    one_by_one = [jax.jit(of_one)(*(x[k] for x in batch)) for k in range(count)]
    each = np.repeat(variance, math.prod(SHAPE)).astype(np.float64)
    expected = references.PIXEL[name](logits.astype(np.float64), image.astype(np.float64), each)
    value, scale = (x.reshape(count, -1).sum(1) for x in expected.value)
    return [
        Line(f"{name}, float32, 784 pixels, {how}", size, "ulp of terms", ulps(found, value, scale), limit, why)
        for how, found, limit, why in (
            ("a batch", jax.jit(jax.vmap(of_one))(*batch), 8.0, "many short sums side by side, each rounding half"),
            ("one image", one_by_one, 28.0, "at worst one sum of 784, whose roundings walk at random: its root"),
        )
    ]


def softplus_lines(logits: np.ndarray, rng: Generator) -> list[Line]:
    """softplus, which is the cross-entropy of a black pixel, and the log1p within it."""
    lines = []
    for kind in (np.float32, np.float64):
        x = logits.astype(kind)
        ratio = (10 ** rng.uniform(-37, 0, len(x)) * rng.choice([0, 1], len(x), p=[0.1, 0.9])).astype(kind)
        with jax.enable_x64(kind is np.float64):
            soft = jax.jit(lambda x: losses.cross_entropy(x, jnp.zeros_like(x)))(x)
            log = jax.jit(lambda x: losses._log1p_up_to_1(x))(ratio)
        found = ulps(soft, references.softplus(x.astype(np.float64)), kind=kind)
        limit = 3.0 if kind is np.float32 else 6.0
        lines.append(Line(f"softplus, {x.dtype}", len(x), "ulp", found, limit, "exp, log1p, a sum"))
        found = ulps(log, np.log1p(ratio.astype(np.float64)), kind=kind)
        lines.append(Line(f"log1p of 0 to 1, {x.dtype}", len(x), "ulp", found, 3.0, "a quotient, a series, a product"))
    return lines


def control_lines(at: Points) -> list[Line]:
    """Losses that are wrong, or wrong in float32, held to the same limits."""

    def double_sigmoid(logits, image, hparams):
        return losses.bernoulli(jax.nn.sigmoid(logits), image, hparams)

    def textbook(logits, image, hparams):
        p = jax.nn.sigmoid(logits)
        return -jnp.sum(image * jnp.log(p) + (1 - image) * jnp.log(1 - p))

    def with_epsilon(logits, image, hparams):
        p = jax.nn.sigmoid(logits)
        return -jnp.sum(image * jnp.log(p + 1e-7) + (1 - image) * jnp.log(1 - p + 1e-7))

    def by_hand(logits, image, hparams):
        return jnp.sum(jnp.maximum(logits, 0) - logits * image + jnp.log1p(jnp.exp(-jnp.abs(logits))))

    def in_bfloat16(logits, image, hparams):
        residual = jax.nn.sigmoid(logits.astype(jnp.bfloat16)) - image.astype(jnp.bfloat16)
        return jnp.sum(jnp.square(residual)).astype(jnp.float32) / (2.0 * hparams.variance)

    def control(name, loss, called, *only):
        return pixel_lines(name, loss, at, np.float32, called=f"control: {called}", only=only)

    value, slope = "value", "d logits"
    return [
        *control("bernoulli", double_sigmoid, "document 001's second sigmoid", value, slope),
        *control("bernoulli", textbook, "log(sigmoid(logits))", value, slope),
        *control("bernoulli", with_epsilon, "log(sigmoid(logits) + 1e-7)", value, slope),
        *control("bernoulli", by_hand, "max(l, 0) - l x + log1p(exp(-abs(l)))", slope),
        *control("squared_error", in_bfloat16, "squared error in bfloat16", value),
        *control("gaussian", losses.squared_error, "Gaussian without its constant", value, "d variance"),
        *control("region_weighted", losses.squared_error, "region weights left out", value, slope),
    ]
