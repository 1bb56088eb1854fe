"""Losses against float64 NumPy, Monte Carlo and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from jaxvae.losses import (
    RECONSTRUCTIONS,
    _log1p_up_to_1,
    bernoulli,
    gaussian,
    gaussian_kl,
    gaussian_kl_per_dimension,
    region_weighted,
    squared_error,
)
from jaxvae.types import Hparams, Posterior

SHAPE = (4, 3, 2)
logit_arrays = arrays(np.float32, SHAPE, elements=st.floats(-80, 80, width=32))
image_arrays = arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32))


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


@given(logit_arrays, image_arrays)
@settings(deadline=None, max_examples=50)
def test_bernoulli_against_float64(logits, image):
    a, x = logits.astype(np.float64), image.astype(np.float64)
    expected = np.sum(x * np.logaddexp(0, -a) + (1 - x) * np.logaddexp(0, a))
    np.testing.assert_allclose(bernoulli(logits, image, Hparams()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("logit", [-80.0, -40.0, -17.0, -5.0, 0.0, 5.0, 15.0, 20.0, 80.0])
@pytest.mark.parametrize("pixel", [0.0, 1e-4, 0.3, 0.9999, 1.0])
@pytest.mark.parametrize("compiled", [False, True])
def test_bernoulli_to_the_last_digit_of_a_pixel_that_is_almost_right(logit, pixel, compiled):
    loss = jax.jit(bernoulli) if compiled else bernoulli
    pixel = np.float32(pixel)
    expected = float(pixel) * np.logaddexp(0, -logit) + (1 - float(pixel)) * np.logaddexp(0, logit)
    value = loss(jnp.full((1, 1, 1), logit), jnp.full((1, 1, 1), pixel), Hparams())
    # a subnormal float32 is 0 on most hardware, and a grey pixel's distance to 1 has its own last digit
    np.testing.assert_allclose(value, expected, rtol=3e-6, atol=1e-37)


@pytest.mark.parametrize(("kind", "tolerance"), [(np.float32, 3e-7), (np.float64, 5e-16)])
def test_log1p_up_to_1_to_the_last_digits(kind, tolerance):
    x = np.concatenate([np.logspace(-37, 0, 50_000), np.linspace(0, 1, 50_001)]).astype(kind)
    with jax.enable_x64(kind is np.float64):
        value = jax.jit(_log1p_up_to_1)(x)
    assert value.dtype == kind
    np.testing.assert_allclose(value, np.log1p(x.astype(np.float64)), rtol=tolerance)


def test_bernoulli_by_hand():
    logits, image = jnp.zeros((2, 2, 1)), jnp.ones((2, 2, 1))
    np.testing.assert_allclose(bernoulli(logits, image, Hparams()), 4 * np.log(2), rtol=1e-6)


@pytest.mark.parametrize("logit", [-1e4, -100.0, -20.0, 0.0, 17.0, 100.0, 1e4])
@pytest.mark.parametrize("pixel", [0.0, 0.3, 1.0])
def test_bernoulli_gradient_is_sigmoid_minus_pixel_even_where_the_sigmoid_saturates(logit, pixel):
    image = jnp.full((1, 1, 1), pixel)
    gradient = jax.grad(bernoulli)(jnp.full((1, 1, 1), logit), image, Hparams())
    np.testing.assert_allclose(gradient.squeeze(), sigmoid(np.float64(logit)) - pixel, atol=1e-6)


def test_negative_control_a_second_sigmoid_is_seen():
    """Document 001 applies a sigmoid to what is a probability already: the best pixel is then 0.73, not 1."""
    image, logits = jnp.ones((1, 1, 1)), jnp.full((1, 1, 1), 20.0)
    assert bernoulli(logits, image, Hparams()) < 1e-6
    assert bernoulli(jax.nn.sigmoid(logits), image, Hparams()) > 0.3


@given(logit_arrays, image_arrays, st.floats(0.01, 10))
@settings(deadline=None, max_examples=50)
def test_squared_error_and_gaussian_against_float64(logits, image, variance):
    residual = sigmoid(logits.astype(np.float64)) - image
    hparams = Hparams(variance=variance)
    np.testing.assert_allclose(
        squared_error(logits, image, hparams), np.sum(residual**2) / (2 * variance), rtol=1e-5, atol=1e-6
    )
    density = -norm.logpdf(image.astype(np.float64), sigmoid(logits.astype(np.float64)), variance**0.5).sum()
    np.testing.assert_allclose(gaussian(logits, image, hparams), density, rtol=1e-5, atol=1e-4)


def test_the_default_variance_is_document_001_s_plain_sum_of_squares():
    logits, image = jnp.zeros((2, 2, 1)), jnp.array([0.0, 1.0, 0.5, 0.25]).reshape(2, 2, 1)
    np.testing.assert_allclose(squared_error(logits, image, Hparams()), 0.25 + 0.25 + 0.0 + 0.0625)


@pytest.mark.parametrize("name", RECONSTRUCTIONS)
@pytest.mark.usefixtures("float64")
def test_reconstruction_gradients_against_finite_differences(name):
    rng = np.random.default_rng(0)
    logits, image = jnp.asarray(rng.normal(size=SHAPE)), jnp.asarray(rng.uniform(size=SHAPE))
    direction = jnp.asarray(rng.normal(size=SHAPE))

    def loss(x):
        return RECONSTRUCTIONS[name](x, image, Hparams(variance=0.3))

    numeric = (loss(logits + 1e-5 * direction) - loss(logits - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(jnp.vdot(jax.grad(loss)(logits), direction), numeric, rtol=1e-8)


@pytest.mark.parametrize("name", RECONSTRUCTIONS)
def test_a_loss_of_bfloat16_images_is_computed_in_float32(name):
    rng = np.random.default_rng(0)
    logits, image = (jnp.asarray(rng.uniform(size=(28, 28, 1)), jnp.bfloat16) for _ in range(2))
    loss = RECONSTRUCTIONS[name](logits, image, Hparams())
    assert loss.dtype == jnp.float32
    expected = RECONSTRUCTIONS[name](logits.astype(jnp.float32), image.astype(jnp.float32), Hparams())
    np.testing.assert_array_equal(loss, expected)


def test_the_kl_of_a_bfloat16_posterior_is_computed_in_float32():
    posterior = Posterior(*jnp.asarray(np.random.default_rng(0).normal(size=(2, 20)), jnp.bfloat16))
    wide = Posterior(*(x.astype(jnp.float32) for x in posterior))
    assert gaussian_kl(posterior).dtype == jnp.float32
    np.testing.assert_array_equal(gaussian_kl(posterior), gaussian_kl(wide))


@pytest.mark.parametrize("name", RECONSTRUCTIONS)
@pytest.mark.parametrize("kind", [bool, np.uint8, np.int32])
def test_binary_images_may_be_bools_or_integers(name, kind):
    logits, image = jnp.linspace(-2, 2, 8).reshape(2, 4, 1), jnp.arange(8).reshape(2, 4, 1) % 2
    loss = RECONSTRUCTIONS[name](logits, image.astype(kind), Hparams())
    np.testing.assert_array_equal(loss, RECONSTRUCTIONS[name](logits, image.astype(jnp.float32), Hparams()))


@pytest.mark.usefixtures("float64")
def test_bernoulli_derivatives_of_both_arguments_and_orders():
    rng = np.random.default_rng(0)
    logits, image = jnp.asarray(rng.normal(size=SHAPE)), jnp.asarray(rng.uniform(size=SHAPE))

    def plain(logits, image):
        return -jnp.sum(image * jax.nn.log_sigmoid(logits) + (1 - image) * jax.nn.log_sigmoid(-logits))

    def ours(logits, image):
        return bernoulli(logits, image, Hparams())

    for derivative in (jax.grad, jax.hessian):
        for ours_is, expected in zip(
            derivative(ours, (0, 1))(logits, image), derivative(plain, (0, 1))(logits, image), strict=True
        ):
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), ours_is, expected)


@pytest.mark.parametrize("name", RECONSTRUCTIONS)
@pytest.mark.parametrize(("logits", "image"), [((4, 4, 1), (4, 1, 1)), ((2, 4, 4, 1), (2, 4, 4, 1)), ((16,), (16,))])
def test_a_batch_or_a_wrong_shape_is_refused(name, logits, image):
    with pytest.raises(ValueError, match="one example"):
        RECONSTRUCTIONS[name](jnp.zeros(logits), jnp.zeros(image), Hparams())


latents = arrays(np.float32, 5, elements=st.floats(-8, 8, width=32))


@given(latents, latents)
@settings(deadline=None, max_examples=100)
def test_kl_against_float64_and_never_negative(mean, logvar):
    m, v = mean.astype(np.float64), logvar.astype(np.float64)
    kl = gaussian_kl_per_dimension(Posterior(mean, logvar))
    np.testing.assert_allclose(kl, 0.5 * (m**2 + np.expm1(v) - v), rtol=1e-5, atol=1e-7)
    assert (np.asarray(kl) >= 0).all()
    np.testing.assert_allclose(gaussian_kl(Posterior(mean, logvar)), np.sum(kl), rtol=1e-5)


def test_kl_near_zero_where_the_textbook_form_fails():
    logvar = np.float32(-1e-4)
    exact = 0.5 * (np.expm1(np.float64(logvar)) - np.float64(logvar))
    kl = gaussian_kl(Posterior(jnp.zeros(1), jnp.full(1, logvar)))
    np.testing.assert_allclose(kl, exact, rtol=1e-2)
    textbook = 0.5 * (np.exp(logvar) - np.float32(1) - logvar)  # negative control
    assert abs(textbook - exact) > 0.5 * exact


def test_kl_against_monte_carlo():
    mean, logvar = np.array([0.7, -1.0, 0.0]), np.array([-1.0, 0.5, 0.0])
    rng, std = np.random.default_rng(0), np.exp(0.5 * logvar)
    z = mean + std * rng.normal(size=(1_000_000, 3))
    estimate = (norm.logpdf(z, mean, std) - norm.logpdf(z)).mean(axis=0)
    kl = gaussian_kl_per_dimension(Posterior(jnp.asarray(mean, jnp.float32), jnp.asarray(logvar, jnp.float32)))
    np.testing.assert_allclose(kl, estimate, atol=5e-3)
    # negative control: document 001's CVAE samples with exp(log_std / 2), which its KL reads as exp(log_std)
    mixed_up = 0.5 * (mean**2 + np.exp(2 * logvar) - 2 * logvar - 1)
    assert np.abs(mixed_up - estimate).max() > 0.1


@pytest.mark.usefixtures("float64")
def test_kl_gradient_by_hand():
    mean, logvar = jnp.array([0.7, -1.0]), jnp.array([-1.0, 0.5])
    gradient = jax.grad(gaussian_kl)(Posterior(mean, logvar))
    np.testing.assert_allclose(gradient.mean, mean)
    np.testing.assert_allclose(gradient.logvar, 0.5 * (jnp.exp(logvar) - 1))


def test_region_weighted_by_hand():
    image = jnp.array([[[0.8], [0.5]], [[0.2], [1.0]]])  # a pixel at the threshold is black
    hparams = Hparams(white_threshold=0.5, white_weight=2.0, black_weight=0.1)
    expected = 2 * 0.3**2 + 0.1 * 0 + 0.1 * 0.3**2 + 2 * 0.5**2
    np.testing.assert_allclose(region_weighted(jnp.zeros((2, 2, 1)), image, hparams), expected, rtol=1e-6)


def test_region_weighted_with_equal_weights_is_the_squared_error():
    rng = np.random.default_rng(0)
    logits, image = (jnp.asarray(rng.uniform(size=SHAPE), jnp.float32) for _ in range(2))
    np.testing.assert_allclose(
        region_weighted(logits, image, Hparams()), squared_error(logits, image, Hparams()), rtol=1e-6
    )


@pytest.mark.usefixtures("float64")
def test_region_weighted_gradient_is_the_weighted_one():
    rng = np.random.default_rng(0)
    logits, image = (jnp.asarray(rng.uniform(size=SHAPE)) for _ in range(2))
    hparams = Hparams(white_threshold=0.6, white_weight=1.5, black_weight=0.3)
    gradient = jax.grad(region_weighted)(logits, image, hparams)
    p = sigmoid(np.asarray(logits))
    weight = np.where(np.asarray(image) > 0.6, 1.5, 0.3)
    np.testing.assert_allclose(gradient, 2 * weight * (p - np.asarray(image)) * p * (1 - p), rtol=1e-12)
