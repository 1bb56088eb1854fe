"""What is done with the terms: sums and means, Adam, the detection of what is not finite, the warm-up."""

import math
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
from numpy.random import Generator

from jaxvae import losses, metrics, train
from jaxvae.fit import Sweep
from jaxvae.kernels.adam import reference as adam
from jaxvae.models import VAE
from jaxvae.types import Batch, Hparams, Terms
from tests.certify import points, references
from tests.certify.latents import given_model
from tests.certify.lines import Line, ulps

TEST_SET = 60_000
STEPS = 50
BATCH, FEATURES = 128, 40


def certify(n: int, rng: Generator) -> list[Line]:
    """All lines of this module."""
    lines = sum_lines(n, rng) + mean_lines(n, rng) + step_lines(n, rng)
    return lines + adam_lines(n, rng) + detection_lines(n, rng) + [rate_line(n), *logsumexp_lines(n, rng)]


def exact_sum(values: np.ndarray) -> np.ndarray:
    """Over the last axis, rounded once."""
    return np.array([math.fsum(row) for row in values.astype(np.float64).reshape(-1, values.shape[-1])])


def sum_lines(n: int, rng: Generator) -> list[Line]:
    """`losses._sum` of images of MNIST's and of 32 x 32 x 3 pixels."""
    lines = []
    for shape in ((28, 28, 1), (32, 32, 3)):
        size = math.prod(shape)
        count = -(-n // size)
        values = points.mixed(rng, rng.uniform(0, 1, count * size), points.sizes(rng, count * size, -8, 0))
        values = values.astype(np.float32).reshape(count, size)
        expected, scale = exact_sum(values), exact_sum(np.abs(values))
        images = values.reshape(count, *shape)
        one = jax.jit(lambda x: losses._sum(x))
        name = f"losses._sum of {size} numbers, float32"
        for how, found, limit, why in (
            ("a batch", jax.jit(jax.vmap(lambda x: losses._sum(x)))(images), 8.0, "many short sums side by side"),
            ("one image", [one(x) for x in images], size**0.5, "one sum, whose roundings walk at random: the root"),
        ):
            error = ulps(found, expected, scale)
            lines.append(Line(f"{name}, {how}", count * size, "ulp of terms", error, limit, why))
    return lines


def mean_lines(n: int, rng: Generator) -> list[Line]:
    """Means over a split, which are taken in float64 on the host."""
    lines = []
    for count in sorted({TEST_SET, n}):
        nats = rng.gamma(20.0, 5.0, count).astype(np.float32)
        expected = math.fsum(nats.astype(np.float64)) / count
        latents = dict.fromkeys(("mean", "kl_per_dimension"), np.zeros((1, 1), np.float32))
        found = metrics.summarize(metrics.Evaluation(**{**dict.fromkeys(metrics.Evaluation._fields, nats), **latents}))
        error = max(
            ulps(found[name], expected, kind=np.float64) for name in ("loss", "reconstruction", "kl", "mse", "ssim")
        )
        lines.append(Line(f"metrics.summarize of {count:,} images", count, "ulp", error, 2.0, "float64: nearly exact"))
    images, size = 100 * n + 7, 100  # the last batch has 7
    terms = rng.gamma(20.0, 5.0, (1, n + 1)).astype(np.float32)
    weight = np.append(np.full(n, size), 7)
    expected = math.fsum(terms[0].astype(np.float64) * weight) / images
    sweep = SimpleNamespace(train=SimpleNamespace(image=range(images)), batch_size=size, members=OneMember())
    row = Sweep._train_rows(sweep, Terms(*[terms] * 3))[0]  # pyright: ignore[reportArgumentType]
    error = max(ulps(row[name], expected, kind=np.float64) for name in Terms._fields)
    lines.append(Line("train row of an epoch's steps", n + 1, "ulp", error, 2.0, "float64: nearly exact"))
    running = np.cumsum(nats)[-1] / np.float32(len(nats))
    error = ulps(running, math.fsum(nats.astype(np.float64)) / len(nats), kind=np.float64)
    why = "float64: nearly exact"
    return [*lines, Line("control: running sum in float32", len(nats), "ulp", error, 2.0, why, control=True)]


class Twice(nn.Module):
    """A decoder that gives each latent as the logit of two pixels."""

    @nn.compact
    def __call__(self, z, condition=None):
        del condition
        return jnp.concatenate([z, z], -1).reshape(*z.shape[:-1], 1, 1, -1)


class OneMember:
    """Members of a sweep, as far as a row asks."""

    def __len__(self) -> int:
        return 1

    def describe(self, member: int) -> dict:
        return {"member": member}


def step_lines(n: int, rng: Generator) -> list[Line]:
    """Terms that a training step returns, weighted means over its batch, of a model whose heads are known.

    The heads are 8 (pixel - 1/2), the decoder gives the mean twice, which is what reconstruction is taken of.
    """
    model, params = given_model(FEATURES, noise="none")
    params = jax.tree.map(lambda x: 8 * x if x.ndim == 2 else x - 4, params)
    model = VAE(model.encoder, Twice(), FEATURES // 2, noise="none")
    step = jax.jit(train.make_train_step(model, losses.bernoulli))  # pyright: ignore[reportArgumentType]
    hparams, errors = Hparams(beta=jnp.float32(3.0)), []
    state = train.TrainState(jnp.int32(0), params, adam.ADAM.init(params), hparams, jnp.array(True))
    batches = -(-n // (BATCH * FEATURES))
    for number in range(batches):
        image = rng.integers(0, 257, (BATCH, 1, 1, FEATURES)).astype(np.float32) / 256  # so that heads are exact
        weight = (np.arange(BATCH) < BATCH - 28 * (number % 2)).astype(np.float32)
        batch = Batch(*(jnp.asarray(x) for x in (image, np.zeros(BATCH, np.int32), weight)))
        _, terms = step(state, batch, jax.random.key(0))
        pixels = image[weight > 0].reshape(-1, FEATURES).astype(np.float64)
        mean, logvar = np.split(8 * pixels - 4, 2, axis=-1)
        kl = references.kl(mean, logvar).value.value.sum(-1).mean()
        logits = np.concatenate([mean, mean], -1)
        nats = references.bernoulli(logits, pixels, logits).value.value.sum(-1).mean()
        errors.append([ulps(x, y) for x, y in zip(terms, (nats + 3 * kl, nats, kl), strict=True)])
    why = f"the terms', and a sum of {BATCH}"
    return [
        Line(f"a step's mean {name}", batches * BATCH * FEATURES, "ulp", max(error), 4.0, why)
        for name, error in zip(Terms._fields, zip(*errors, strict=True), strict=True)
    ]


def adam_lines(n: int, rng: Generator) -> list[Line]:
    """Directions of 50 steps for gradients of all sizes, against Adam in float64; and the correction of many steps."""
    size = points.mixed(rng, 10 ** rng.uniform(-25, 15, n), np.zeros(n), np.ones(n))
    gradients = (size * rng.normal(0.3, 1, (STEPS, n))).astype(np.float32)
    update = jax.jit(lambda g, state: adam.ADAM.update({"w": g}, state))
    direction = jax.jit(lambda state: adam.adam_direction(state))
    state = adam.ADAM.init({"w": jnp.zeros(n)})
    m, v, terms = np.zeros(n), np.zeros(n), np.zeros(n)
    ours, optaxs = [], []
    for count, g in enumerate(gradients, start=1):
        theirs, state = update(g, state)
        wide = g.astype(np.float64)
        m, v, terms = 0.9 * m + 0.1 * wide, 0.999 * v + 0.001 * wide**2, 0.9 * terms + 0.1 * np.abs(wide)
        root = np.sqrt(v / (1 - 0.999**count)) + 1e-8
        expected, scale = (x / (1 - 0.9**count) / root for x in (m, terms))
        ours.append(ulps(direction(state)["w"], expected, scale))
        optaxs.append(ulps(theirs["w"], expected, scale))
    counts = np.arange(1, n + 1, dtype=np.int32)
    one = {"w": np.float32(1)}
    found = jax.jit(jax.vmap(lambda count: adam.adam_direction(optax.ScaleByAdamState(count, one, one))["w"]))(counts)
    exact = 1 / -np.expm1(counts * math.log(0.9)) / (np.sqrt(1 / -np.expm1(counts * math.log(0.999))) + 1e-8)
    why = "moments of 50 steps, two corrections, a root, a quotient"
    return [
        Line(f"Adam's direction, {STEPS} steps", STEPS * n, "ulp of terms", max(ours), 10.0, why),
        Line(f"Adam's corrections, steps 1 to {n:,}", n, "ulp", ulps(found, exact), 4.0, "expm1, a root, quotients"),
        Line(
            "control: optax's direction, 1 - 0.999^t", STEPS * n, "ulp of terms", max(optaxs), 10.0, why, control=True
        ),
    ]


def detection_lines(n: int, rng: Generator) -> list[Line]:
    """`scaled_sum` and `all_finite` of n trees each, in half of which something was planted."""
    shapes = {"a": (3, 4), "b": (7,), "c": ()}
    flat = points.sizes(rng, n * 20, -30, 17).astype(np.float32).reshape(n, 20)
    plants = np.array([np.nan, np.inf, -np.inf, 2.0**64, -(2.0**64), 3e38, -3e38], np.float32)
    planted, rows = rng.integers(0, 2 * len(plants), n), np.arange(n)
    bad = planted < len(plants)
    flat[rows[bad], rng.integers(0, 20, bad.sum())] = plants[planted[bad]]
    twice = bad & (planted >= 3) & (rng.random(n) < 0.5)  # and the opposite beside it, so that a sum might hide both
    flat[rows[twice], rng.integers(0, 20, twice.sum())] = -plants[planted[twice]]
    leaves = np.split(flat, [12, 19], axis=1)
    tree = {name: leaf.reshape(n, *shape) for (name, shape), leaf in zip(shapes.items(), leaves, strict=True)}
    refused = ~np.isfinite(jax.jit(jax.vmap(lambda tree: train.scaled_sum(tree)))(tree))
    finite = np.asarray(jax.jit(jax.vmap(lambda tree: train.all_finite(tree)))(tree))
    squares = np.square(flat.astype(np.float64)).max(1)
    wrong = refused != ~(squares < 2.0**128)
    plain = ~np.isfinite(flat.sum(1))
    why = "all are seen, and nothing else"
    return [
        Line("scaled_sum of trees with NaN, infinities, from 2^64", n, "count", int(wrong.sum()), 0, why),
        Line("all_finite of the same", n, "count", int((finite != np.isfinite(flat).all(1)).sum()), 0, why),
        Line("control: a plain sum", n, "count", int((plain != ~(squares < 2.0**128)).sum()), 0, why, control=True),
    ]


def rate_line(n: int) -> Line:
    """The warm-up of the learning rate."""
    steps = np.arange(n, dtype=np.int32)
    hparams = Hparams(learning_rate=np.float32(1e-3), warmup_steps=np.float32(n / 2))
    found = jax.jit(jax.vmap(lambda step: train.learning_rate(hparams, step)))(steps)
    expected = float(np.float32(1e-3)) * np.minimum((steps + 1.0) / (n / 2), 1)
    return Line("learning rate over its warm-up", n, "ulp", ulps(found, expected), 1.5, "a quotient, a product")


def logsumexp_lines(n: int, rng: Generator) -> list[Line]:
    """The only logsumexp, NumPy's in `experiments.derivation`, in float64; and the softmax of the attention block."""
    terms = rng.uniform(-50, 0, n) + 1e4 * rng.choice([-1, 0, 1])
    with mpmath.workdps(40):
        exact = mpmath.log(mpmath.fsum(mpmath.exp(mpmath.mpf(x)) for x in terms.tolist()))
    error = ulps(np.logaddexp.reduce(terms), float(exact), 1 + abs(float(exact)), kind=np.float64)
    why = "one by one: a rounding of each, which mostly have one sign"
    lines = [Line("derivation's logsumexp, float64", n, "ulp of terms", error, 16.0 + n / 100, why)]
    keys, channels = 49, 8
    queries = -(-n // keys)
    query, key, value = (
        rng.normal(0, s, (c, channels)).astype(np.float32) for s, c in ((9, queries), (9, keys), (1, keys))
    )
    found = jax.jit(jax.nn.dot_product_attention)(*(x[None, :, None] for x in (query, key, value)))
    q, k, v = (x.astype(np.float64) for x in (query, key, value))
    scores = q @ k.T / channels**0.5
    weight = np.exp(scores - scores.max(1, keepdims=True))
    weight /= weight.sum(1, keepdims=True)
    sizes = np.abs(q) @ np.abs(k).T / channels**0.5
    scale = (weight * (1 + sizes + sizes.max(1, keepdims=True))) @ np.abs(v)
    error = ulps(np.asarray(found)[0, :, 0], weight @ v, scale)
    return [
        *lines,
        Line("softmax of attention, float32", queries * keys, "ulp of terms", error, 4.0, "scores, exp, two sums"),
    ]
