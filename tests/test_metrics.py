import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from jaxvae.batches import DeviceSplit
from jaxvae.losses import bernoulli, gaussian_kl_per_dimension, squared_error
from jaxvae.metrics import Evaluation, active_units, evaluate, sampled_quality, ssim, summarize, uniform_ssim
from jaxvae.models import VAE
from jaxvae.models.mlp import MLPDecoder, MLPEncoder
from jaxvae.types import Hparams, Posterior

SHAPE = (16, 16, 1)


def test_ssim_against_scikit_image(tiny):
    rng = np.random.default_rng(0)
    image = tiny.test.image[0].astype(np.float32) / 255
    for noise in (0.0, 0.05, 0.3):
        other = np.clip(image + noise * rng.normal(size=image.shape), 0, 1).astype(np.float32)
        expected = structural_similarity(
            image[..., 0], other[..., 0], data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        np.testing.assert_allclose(ssim(jnp.asarray(other), jnp.asarray(image)), expected, atol=1e-4)


def test_uniform_ssim_is_scikit_image_s_default(tiny):
    rng = np.random.default_rng(0)
    image = tiny.test.image[0].astype(np.float32) / 255
    for noise in (0.05, 0.3):
        other = np.clip(image + noise * rng.normal(size=image.shape), 0, 1).astype(np.float32)
        expected = structural_similarity(image[..., 0], other[..., 0], data_range=1.0)
        np.testing.assert_allclose(uniform_ssim(jnp.asarray(other), jnp.asarray(image)), expected, atol=2e-3)
        assert abs(float(ssim(jnp.asarray(other), jnp.asarray(image))) - expected) > 4e-3  # the windows differ


def test_active_units_by_hand():
    mean = np.array([[0.0, 0.0, 5.0], [0.3, 0.1, 5.0]], np.float32)  # variances 0.0225, 0.0025, 0
    np.testing.assert_array_equal(active_units(mean), [True, False, False])
    assert not active_units(np.full((4, 2), np.nan)).any()


def make_evaluation(mean):
    n = len(mean)
    one = np.arange(n, dtype=np.float32)
    return Evaluation(one, one, one, np.zeros_like(mean), mean, one / 10, one / 100)


def test_summary_by_hand():
    collapsed = summarize(make_evaluation(np.zeros((3, 2), np.float32)))
    assert collapsed == {
        "loss": 1.0, "reconstruction": 1.0, "kl": 1.0, "mse": pytest.approx(0.1), "ssim": pytest.approx(0.01),
        "active_units": 0, "collapsed": True,
    }  # fmt: skip
    spread = np.array([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]], np.float32)
    assert summarize(make_evaluation(spread))["active_units"] == 1
    assert not summarize(make_evaluation(spread))["collapsed"]


def test_means_are_summed_in_float64():
    n = 2_000_000
    evaluation = Evaluation(
        *[np.full(n, 0.1, np.float32)] * 3, *[np.zeros((1, 1))] * 2, *[np.full(n, 0.1, np.float32)] * 2
    )
    np.testing.assert_allclose(summarize(evaluation)["loss"], np.float32(0.1), rtol=1e-12)
    running = np.cumsum(np.full(n, 0.1, np.float32))[-1] / n  # negative control: float32, one by one
    assert abs(running / np.float32(0.1) - 1) > 1e-3


def make_model(**settings):
    """A conditional model, its parameters, and 7 images of 3 classes."""
    model = VAE(MLPEncoder((8,)), MLPDecoder((8,), SHAPE), latent_dim=3, num_classes=3, **settings)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros(SHAPE), jax.random.key(1), jnp.array(0))["params"]
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (7, *SHAPE), np.uint8))
    return model, params, DeviceSplit(images, jnp.arange(7, dtype=jnp.int32) % 3)


def test_evaluate_is_in_order_whatever_the_batch_size_and_by_hand():
    model, params, split = make_model()
    hparams = Hparams(beta=3.0)
    result = evaluate(model, bernoulli, params, hparams, split, jax.random.key(2), batch_size=3)
    assert all(len(x) == 7 for x in result)

    scaled = split.image.astype(jnp.float32) / 255
    posterior: Posterior = model.apply({"params": params}, scaled, split.label, method=VAE.encode)
    decoded = jax.nn.sigmoid(model.apply({"params": params}, posterior.mean, split.label, method=VAE.decode))
    np.testing.assert_allclose(result.mean, posterior.mean, atol=1e-6)
    np.testing.assert_allclose(result.kl_per_dimension, gaussian_kl_per_dimension(posterior), atol=1e-6)
    np.testing.assert_allclose(result.kl, result.kl_per_dimension.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(result.loss, result.reconstruction + 3 * result.kl, rtol=1e-5)
    np.testing.assert_allclose(result.mse, jnp.mean((decoded - scaled) ** 2, axis=(1, 2, 3)), rtol=1e-4)
    other = evaluate(model, bernoulli, params, hparams, split, jax.random.key(2), batch_size=7)
    for name in ("loss", "mse", "ssim"):  # the noise too belongs to the example
        np.testing.assert_allclose(getattr(result, name), getattr(other, name), rtol=1e-5)


@pytest.mark.parametrize("noise", ["posterior", "none"])
def test_sampled_quality_is_that_of_the_sample_in_the_loss(noise):
    (model, params, split), key = make_model(noise=noise), jax.random.key(2)
    result = evaluate(model, squared_error, params, Hparams(variance=0.1), split, key, batch_size=3)
    sampled = sampled_quality(model, params, split, key, batch_size=4)
    np.testing.assert_allclose(sampled.sampled_mse, result.reconstruction * 0.2 / 256, rtol=1e-5)
    same = np.allclose(sampled.sampled_mse, result.mse, rtol=1e-5), np.allclose(sampled.sampled_ssim, result.ssim)
    assert same == ((True, True) if noise == "none" else (False, False))
