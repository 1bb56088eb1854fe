"""experiments/derivation.md: its identities by quadrature, its table of conventions, its pointers into the code."""

import json
import re
from functools import lru_cache, partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib.mathtext import MathTextParser

from experiments.derivation import box, check_identity, check_model, log_normal, monte_carlo_elbo
from experiments.pointers import POINTER, symbols, with_lines
from jaxvae import losses
from jaxvae.config import Config
from jaxvae.fit import build_model
from jaxvae.losses import bernoulli, gaussian, gaussian_kl, region_weighted, squared_error
from jaxvae.models import VAE, decode, encode, sample
from jaxvae.models.mlp import MLPDecoder, MLPEncoder
from jaxvae.objective import negative_elbo
from jaxvae.train import init_state
from jaxvae.types import Hparams, Posterior

PAGE = Path(__file__).parents[1] / "experiments" / "derivation.md"
SHAPE = (4, 4, 1)
PIXELS, LATENTS, BATCH = 16, 2, 3  # D, Z, B of the table
IMAGES = np.random.default_rng(0).uniform(size=(BATCH, *SHAPE))
LABELS = np.arange(BATCH, dtype=np.int32)


@lru_cache
def make(latent_dim=LATENTS, scale=2.0, **settings):
    """A smooth VAE with random parameters, large enough that the latents matter, and a posterior narrower than 1."""
    parts = MLPEncoder((8,), activation=nn.tanh), MLPDecoder((8,), SHAPE, activation=nn.tanh)
    return with_params(VAE(*parts, latent_dim, **settings), scale)


def with_params(model, scale):
    """A model and its parameters, drawn by NumPy, which needs nothing compiled."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(partial(init_state, model, SHAPE), jax.random.key(0), Hparams()).params
    params = jax.tree.map(lambda x: scale * rng.uniform(-1, 1, x.shape) / x.shape[0] ** 0.5, shapes)
    params["heads"]["bias"][model.latent_dim :] -= 2.5
    return model, params


# The identities


@pytest.mark.parametrize("reconstruction", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("latent_dim", [1, 2])
def test_evidence_is_elbo_plus_gap(latent_dim, reconstruction):
    model, params = make(latent_dim)
    found = check_model(model, reconstruction, params, IMAGES[0])
    assert abs(found.difference) < 1e-9
    assert found.gap > 0.05  # else there would be little to check


def test_evidence_is_elbo_plus_gap_for_an_architecture_of_the_documents():
    model, params = with_params(build_model(Config("mlp", latent_dim=1), SHAPE, 10), scale=1.0)
    assert abs(check_model(model, "bernoulli", params, IMAGES[0]).difference) < 1e-4  # its ReLUs have kinks


def test_conditional_evidence_is_elbo_plus_gap():
    """A conditional VAE bounds log p(x|y): the identity holds for every label, with another value for each."""
    model, params = make(1, num_classes=3)
    found = [check_model(model, "gaussian", params, IMAGES[0], label) for label in (0, 2)]
    assert all(abs(one.difference) < 1e-9 and one.gap > 0 for one in found)
    assert abs(found[0].log_evidence - found[1].log_evidence) > 0.1


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_quadrature_against_a_model_with_known_evidence(latent_dim):
    """x ~ N(2 z, 0.3) for each latent: p(x) and p(z|x) are Gaussians."""
    x, weight, variance = np.array([0.7, -1.1])[:latent_dim], 2.0, 0.3
    mean, logvar = np.array([0.2, -0.5])[:latent_dim], np.array([-1.0, -2.0])[:latent_dim]

    def log_density(x, mean, variance):
        return np.sum(-0.5 * (np.log(2 * np.pi * variance) + (x - mean) ** 2 / variance), axis=-1)

    kl = 0.5 * np.sum(mean**2 + np.exp(logvar) - 1 - logvar)
    found = check_identity(lambda z: log_density(x, weight * z, variance), mean, logvar, kl)
    exact_variance = variance / (weight**2 + variance)
    exact_mean = weight * x / (weight**2 + variance)
    ratio = np.exp(logvar) / exact_variance
    gap = 0.5 * np.sum((mean - exact_mean) ** 2 / exact_variance + ratio - 1 - np.log(ratio))
    np.testing.assert_allclose(found.log_evidence, log_density(x, 0.0, weight**2 + variance), rtol=1e-11)
    np.testing.assert_allclose(found.gap, gap, rtol=1e-11)
    np.testing.assert_allclose(found.elbo, found.log_evidence - gap, rtol=1e-11)


@pytest.mark.usefixtures("float64")
def test_negative_control_one_head_with_two_readings_breaks_the_identity(monkeypatch):
    """Document 001's CVAE samples with its head as log-variance, and its KL reads the same head as log-deviation."""
    model, params = make(1)
    right = check_model(model, "gaussian", params, IMAGES[0])
    head = np.asarray(encode(model, params, IMAGES[0]).logvar)
    monkeypatch.setattr(losses, "gaussian_kl", lambda q: gaussian_kl(Posterior(q.mean, 2.0 * q.logvar)))
    wrong = check_model(model, "gaussian", params, IMAGES[0])
    assert abs(right.difference) < 1e-9
    np.testing.assert_allclose(wrong.difference, 0.5 * np.sum(np.exp(2 * head) - np.exp(head) - head), rtol=1e-8)
    assert wrong.difference > 0.1  # never negative: still a bound, a looser one


def test_monte_carlo_elbo_is_the_quadrature_s():
    model, params = make(1)
    elbo, error = monte_carlo_elbo(model, "gaussian", params, IMAGES[0], samples=16_000)
    exact = check_model(model, "gaussian", params, IMAGES[0]).elbo
    assert abs(elbo - exact) < 4 * error
    assert error < 0.02
    model = model.clone(noise="log_std_mixup")  # negative control: the samples are not the posterior's
    elbo, error = monte_carlo_elbo(model, "gaussian", params, IMAGES[0], samples=16_000)
    assert abs(elbo - check_model(model, "gaussian", params, IMAGES[0]).elbo) > 8 * error


@pytest.mark.usefixtures("float64")
def test_the_kl_of_one_dimension_line_by_line():
    mean, logvar = 0.7, -1.3
    nodes, cell = box(np.zeros(1), np.full(1, 9.0), 200)
    weight = np.exp(log_normal(nodes)) * cell
    z, variance = mean + np.exp(0.5 * logvar) * nodes[:, 0], np.exp(logvar)
    first = weight @ (-0.5 * logvar - (z - mean) ** 2 / (2 * variance) + z**2 / 2)
    second = -0.5 * logvar - 0.5 + 0.5 * (mean**2 + variance)
    third = 0.5 * (mean**2 + variance - 1 - logvar)
    log_q = log_normal((z[:, None] - mean) / variance**0.5) - 0.5 * logvar
    by_definition = weight @ (log_q - log_normal(z[:, None]))
    code = gaussian_kl(Posterior(jnp.array([mean]), jnp.array([logvar])))
    np.testing.assert_allclose([by_definition, first, second, third], float(code), rtol=1e-12)
    both = gaussian_kl(Posterior(jnp.array([mean, 0.1]), jnp.array([logvar, 0.4])))
    np.testing.assert_allclose(both, code + gaussian_kl(Posterior(jnp.array([0.1]), jnp.array([0.4]))), rtol=1e-13)


@pytest.mark.usefixtures("float64")
def test_the_gradient_of_an_expectation_passes_through_the_sample():
    """d/d(mean, logvar) of E[z^2] = mean^2 + exp(logvar), from samples alone."""
    model, posterior = make(1)[0], Posterior(jnp.array([0.6]), jnp.array([-0.8]))
    keys = jax.random.split(jax.random.key(0), 20_000)

    def average(posterior):
        return jnp.mean(jnp.square(jax.vmap(lambda key: sample(model, key, posterior))(keys)))

    gradient = jax.jit(jax.grad(average))(posterior)
    np.testing.assert_allclose(gradient.mean, 2 * posterior.mean, atol=0.05)
    np.testing.assert_allclose(gradient.logvar, jnp.exp(posterior.logvar), atol=0.05)


@pytest.mark.usefixtures("float64")
def test_which_decoders_are_densities():
    """exp(-loss) sums to 1 over the values of a pixel: the Gaussian's and, for 0 and 1 only, the Bernoulli's."""

    def likelihood(reconstruction, x):
        one = jnp.ones((1, 1, 1))
        loss = jax.vmap(lambda pixel: reconstruction(0.8 * one, pixel * one, Hparams(variance=0.2)))
        return np.exp(-np.asarray(jax.jit(loss)(x)))

    line, cell = box(np.zeros(1), np.full(1, 8.0), 400)
    np.testing.assert_allclose(likelihood(gaussian, line[:, 0]).sum() * cell, 1)
    np.testing.assert_allclose(likelihood(bernoulli, np.array([0.0, 1.0])).sum(), 1)
    grey = likelihood(bernoulli, np.linspace(0, 1, 1001)).mean()
    assert grey < 0.6  # the integral over grey values


@pytest.mark.usefixtures("float64")
def test_the_least_bernoulli_loss_is_the_entropy_of_the_pixels():
    x = IMAGES[0]
    best = np.log(x) - np.log1p(-x)
    entropy = -np.sum(x * np.log(x) + (1 - x) * np.log1p(-x))
    least, gradient = jax.jit(jax.value_and_grad(bernoulli))(best, x, Hparams())
    np.testing.assert_allclose(least, entropy)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)
    assert entropy > 0.3 * PIXELS


LINE = {"x": 1.5, "weight": 2.0, "variance": 0.7}  # a model of one pixel and one latent, p(x|z) = N(weight z, variance)


def distortion_and_rate(beta):
    """At the posterior that is best for `beta`, which is p(z) p(x|z)^(1/beta), normalized."""
    x, weight, variance = LINE.values()
    logvar = np.log(beta * variance / (weight**2 + beta * variance))
    mean = weight * x / (weight**2 + beta * variance)
    distortion = ((x - weight * mean) ** 2 + weight**2 * np.exp(logvar)) / (2 * variance)
    return distortion, float(gaussian_kl(Posterior(jnp.array([mean]), jnp.array([logvar]))))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_beta_is_the_price_of_the_rate(beta):
    """The constraint's multiplier: at the optimum distortion falls by beta for each nat of rate."""
    (d_less, r_less), (d_more, r_more) = distortion_and_rate(beta * 1.0001), distortion_and_rate(beta / 1.0001)
    np.testing.assert_allclose((d_more - d_less) / (r_more - r_less), -beta, rtol=1e-6)
    assert r_more > r_less


@pytest.mark.usefixtures("float64")
def test_beta_above_1_is_still_a_bound_and_below_1_it_is_none():
    x, weight, variance = LINE.values()
    evidence = -0.5 * x**2 / (weight**2 + variance) - 0.5 * np.log(1 + weight**2 / variance)  # without log(2 pi v) / 2
    bound = {}
    for beta in (0.5, 1.0, 2.0, 8.0):
        distortion, rate = distortion_and_rate(beta)
        bound[beta] = -distortion - beta * rate
    np.testing.assert_allclose(bound[1.0], evidence)  # here the best posterior is the true one: the bound is tight
    assert bound[8.0] < bound[2.0] < evidence
    assert bound[0.5] > evidence  # negative control
    found, model_and_params = [], make(1)
    for beta in (1.0, 4.0):
        model, params = model_and_params
        identity = check_model(model, "gaussian", params, IMAGES[0])
        rate = float(gaussian_kl(encode(model, jax.tree.map(jnp.float64, params), jnp.asarray(IMAGES[0]))))
        found.append(identity.elbo - (beta - 1) * rate)
        assert found[-1] < identity.log_evidence
    assert found[1] < found[0]


# The table of conventions: every row of other people's losses, in NumPy, against `negative_elbo`


class Point:
    """Squared error, cross-entropy and KL of each image [B], and our loss for any hyper-parameters, at some parameters.

    Two losses with the same ratio at every point have the same minimizer.
    """

    def __init__(self, scale):
        self.model, params = make(scale=scale)
        self.params = jax.tree.map(jnp.asarray, params)
        self.images, self.keys = jnp.asarray(IMAGES), jax.random.split(jax.random.key(1), BATCH)
        posterior = encode(self.model, self.params, self.images)
        logits = decode(self.model, self.params, sample(self.model, self.keys, posterior))
        self.mean, self.head = (np.asarray(part) for part in posterior)
        self.decoded = x = 1 / (1 + np.exp(-np.asarray(logits)))
        self.squared = np.sum((x - IMAGES) ** 2, axis=(1, 2, 3))
        self.cross_entropy = -np.sum(IMAGES * np.log(x) + (1 - IMAGES) * np.log(1 - x), axis=(1, 2, 3))
        self.compiled = {}
        self.kl = 0.5 * np.sum(self.mean**2 + np.exp(self.head) - 1 - self.head, axis=1)

    def ours(self, reconstruction=squared_error, **hparams):
        if reconstruction not in self.compiled:
            self.compiled[reconstruction] = jax.jit(partial(negative_elbo, self.model, reconstruction))
        terms = self.compiled[reconstruction](self.params, self.images, LABELS, self.keys, Hparams(**hparams))
        return float(terms.loss.mean())


point = lru_cache(Point)


@pytest.fixture(params=[1.0, 2.0], ids=["parameters", "other parameters"])
def batch(request, float64):
    return point(request.param)


def test_row_plain_squared_error(batch):
    np.testing.assert_allclose(np.mean(batch.squared + 3.0 * batch.kl), batch.ours(variance=0.5, beta=3.0))


@pytest.mark.parametrize("variance", [0.5, 0.25, 0.22])
def test_row_variance_for_beta(batch, variance):
    theirs = np.mean(batch.squared / (2 * variance) + batch.kl)
    np.testing.assert_allclose(theirs, batch.ours(variance=variance, beta=1.0))
    np.testing.assert_allclose(theirs, batch.ours(variance=0.5, beta=2 * variance) / (2 * variance))


def test_row_any_variance_for_another(batch):
    variance, beta, other = 0.3, 4.0, 0.9
    ours = batch.ours(variance=other, beta=beta * variance / other)
    np.testing.assert_allclose(batch.ours(variance=variance, beta=beta), other / variance * ours)


@pytest.mark.parametrize("variance", [0.5, 0.2])
def test_row_mean_over_pixels(batch, variance):
    weight = 0.01
    theirs = np.mean((batch.decoded - IMAGES) ** 2) + weight * batch.kl.mean()
    ours = batch.ours(variance=variance, beta=weight * PIXELS / (2 * variance))
    np.testing.assert_allclose(theirs, 2 * variance / PIXELS * ours)


def test_row_mean_over_pixels_and_latents(batch):
    weight = 0.4
    theirs = np.mean((batch.decoded - IMAGES) ** 2) + weight * np.mean(batch.kl / LATENTS)
    np.testing.assert_allclose(theirs, batch.ours(beta=weight * PIXELS / LATENTS) / PIXELS)


def test_row_mean_cross_entropy(batch):
    weight = 0.01
    theirs = np.mean(batch.cross_entropy / PIXELS + weight * batch.kl)
    np.testing.assert_allclose(theirs, batch.ours(bernoulli, beta=weight * PIXELS) / PIXELS)


def test_row_one_term_averaged_over_images_and_the_other_summed(batch):
    """Document 001's text: its (1/n) sum of log p(x_i|z_i) is an average over images, and needs that of the KL."""
    weight = 0.3
    theirs = np.mean(batch.squared) + weight * np.sum(batch.kl)
    np.testing.assert_allclose(theirs, batch.ours(beta=weight * BATCH))
    theirs = np.mean((batch.decoded - IMAGES) ** 2) + weight * np.sum(batch.kl)
    np.testing.assert_allclose(theirs, batch.ours(beta=weight * BATCH * PIXELS) / PIXELS)


@pytest.mark.parametrize(("scale", "shift"), [(255.0, 0.0), (2.0, -1.0)])
def test_row_other_pixel_ranges(batch, scale, shift):
    variance, beta = 0.3, 2.0
    residual = (scale * batch.decoded + shift) - (scale * IMAGES + shift)
    squared = np.sum(residual**2, axis=(1, 2, 3)) / (2 * scale**2 * variance)
    np.testing.assert_allclose(np.mean(squared + beta * batch.kl), batch.ours(variance=variance, beta=beta))
    density = squared + PIXELS / 2 * np.log(2 * np.pi * scale**2 * variance)
    ours = batch.ours(gaussian, variance=variance, beta=beta)
    np.testing.assert_allclose(np.mean(density + beta * batch.kl), ours + PIXELS * np.log(scale))


def test_row_deviation_of_the_decoder(batch):
    deviation = 0.4
    theirs = np.mean(0.5 * batch.squared / deviation**2 + batch.kl)
    np.testing.assert_allclose(theirs, batch.ours(variance=deviation**2))


def test_row_a_head_of_log_deviations(batch):
    log_std = 0.5 * batch.head
    kl = 0.5 * np.sum(batch.mean**2 + np.exp(2 * log_std) - 1 - 2 * log_std, axis=1)
    np.testing.assert_allclose(np.mean(batch.squared + kl), batch.ours())


def test_row_weights_of_regions(batch):
    white, black, threshold = 1.0, 0.3, 0.5
    variance = np.where(threshold < IMAGES, 1 / (2 * white), 1 / (2 * black))
    theirs = np.sum((batch.decoded - IMAGES) ** 2 / (2 * variance), axis=(1, 2, 3)) + batch.kl
    ours = batch.ours(region_weighted, white_weight=white, black_weight=black, white_threshold=threshold)
    np.testing.assert_allclose(theirs.mean(), ours)
    np.testing.assert_allclose(
        batch.ours(region_weighted, white_weight=0.8, black_weight=0.8), batch.ours(variance=1 / (2 * 0.8))
    )


def test_row_bits_per_pixel(batch):
    """A density of pixels in [0, 1] per nat and image, as one of pixels in [0, 255] per bit and pixel."""
    variance = 0.01
    each = np.log2(2 * np.pi * 256**2 * variance) / 2 + batch.squared / PIXELS / (2 * variance) / np.log(2)
    theirs = np.mean(each + batch.kl / PIXELS / np.log(2))
    np.testing.assert_allclose(theirs, batch.ours(gaussian, variance=variance) / (PIXELS * np.log(2)) + 8)


def test_row_learned_variance(batch):
    best = batch.squared.mean() / PIXELS
    value = PIXELS / 2 * (1 + np.log(2 * np.pi * best))
    np.testing.assert_allclose(value + batch.kl.mean(), batch.ours(gaussian, variance=best))
    assert min(batch.ours(gaussian, variance=best * factor) for factor in (0.9, 1.1)) > batch.ours(
        gaussian, variance=best
    )


def test_row_sum_over_the_batch(float64):
    """Adam's learning rate stays as it is, its epsilon is B times larger; SGD's learning rate is B times smaller."""
    at, labels, eps = point(1.0), jnp.asarray(LABELS), 1e-3  # an epsilon large enough to be seen

    @jax.jit
    def gradient_of_sum(params):
        terms = partial(negative_elbo, at.model, squared_error)
        return jax.grad(lambda p: jnp.sum(terms(p, at.images, labels, at.keys, Hparams()).loss))(params)

    def steps(factor, optimizer):
        params, state = at.params, optimizer.init(at.params)
        for _ in range(3):
            gradient = jax.tree.map(lambda g: factor * g, gradient_of_sum(params))
            updates, state = optimizer.update(gradient, state)
            params = optax.apply_updates(params, updates)
        return np.concatenate([np.ravel(p) for p in jax.tree.leaves(params)])

    adam, sgd, total, mean = optax.adam, optax.sgd, 1.0, 1.0 / BATCH
    np.testing.assert_allclose(steps(total, adam(0.01, eps=BATCH * eps)), steps(mean, adam(0.01, eps=eps)))
    np.testing.assert_allclose(steps(total, adam(0.01)), steps(mean, adam(0.01)), atol=1e-3)
    np.testing.assert_allclose(steps(total, sgd(0.1 / BATCH)), steps(mean, sgd(0.1)))
    assert np.abs(steps(total, sgd(0.1)) - steps(mean, sgd(0.1))).max() > 0.01  # negative control


def test_the_variance_of_document_003_is_a_gaussian_variance():
    """Its validation loss 39.4 is 20.9 of squared error / (2 variance), from its MSE 0.01335, and 18.5 nats of KL.

    Our net of the same setting has a KL of 19.4. Other readings leave less than nothing for it, or over 100 nats.
    """
    error, black, loss, var = np.full((28, 28, 1), 0.01335**0.5), np.full((28, 28, 1), -1e4), 39.4, 0.25
    ours = json.loads((PAGE.parent / "results" / "leaky_conv.json").read_text())["members"]
    kl = [m["test"]["kl"][-1] for m in ours if np.isclose(m["hparams"]["variance"], var)]
    np.testing.assert_allclose(loss - squared_error(black, error, Hparams(variance=var)), kl, atol=1.2)
    squared = squared_error(black, error, Hparams())
    assert loss - squared / var < 0  # a weight 1 / var
    assert loss - squared_error(black, error, Hparams(variance=var**2)) < 0  # a deviation
    assert loss - gaussian(black, error, Hparams(variance=var)) < 0  # with the constant
    assert (loss - squared) / var > 100  # a weight of the KL


# The page


def test_every_pointer_leads_to_its_line():
    text = PAGE.read_text()
    pointers = POINTER.findall(text)
    assert len(pointers) > 40
    assert len(pointers) == text.count("::")
    for path, _, link in pointers:
        assert (PAGE.parent / link).resolve() == PAGE.parents[1] / path, f"{link} is not {path}"
    assert text == with_lines(text), "python -m experiments.pointers sets the lines anew"


def test_the_lines_of_symbols():
    source = "A = 1\nclass B:\n    c: int\n    def d(self): ...\ndef e(): ...\n"
    assert dict(symbols(source)) == {"A": 1, "B": 2, "B.c": 3, "B.d": 4, "e": 5}


def test_a_pointer_to_nothing_is_refused():
    with pytest.raises(KeyError, match="no_such"):
        with_lines("[`jaxvae/losses.py::no_such`](../jaxvae/losses.py)")


def test_every_row_of_the_table_has_its_test_and_every_test_its_row():
    rows = re.findall(r"^\|.*::(test_row_\w+)`", PAGE.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(name for name in globals() if name.startswith("test_row_"))


def test_every_equation_is_followed_by_its_code_and_its_test():
    blocks = re.split(r"\n\n", PAGE.read_text())
    for k, block in enumerate(blocks):
        if block.startswith("$$") and not blocks[k + 1].startswith("$$"):
            assert re.match(r"code: \[.*; *\s?test: \[", blocks[k + 1], re.DOTALL), block


def test_every_formula_is_valid():
    """Read by matplotlib's parser; GitHub's Markdown eats a backslash before punctuation and splits cells at bars."""
    text = re.sub(r"`[^`]*`", "", PAGE.read_text())
    formulas = re.findall(r"^\$\$([^$\n]+)\$\$$|\$([^$\n]+)\$", text, re.MULTILINE)
    assert len(formulas) > 30
    assert text.count("$") == sum(4 if display else 2 for display, _ in formulas)
    parser = MathTextParser("path")
    for formula in (display or inline for display, inline in formulas):
        assert not re.search(r"\\[^A-Za-z]|\|", formula), formula
        parser.parse(f"${formula}$")
