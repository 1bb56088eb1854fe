import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from jaxvae.batches import DeviceSplit
from jaxvae.losses import bernoulli, gaussian_kl_per_dimension, squared_error
from jaxvae.metrics import (
    DEAD_VARIANCE,
    PRIOR_SAMPLES,
    Evaluation,
    active_units,
    decoder_spread,
    evaluate,
    findings,
    mean_image_mse,
    sampled_quality,
    ssim,
    summarize,
    uniform_ssim,
)
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
    return Evaluation(one, one, one, np.zeros_like(mean), mean, one / 10, one / 100, one / 4, one / 2)


def test_summary_by_hand():
    collapsed = summarize(make_evaluation(np.zeros((3, 2), np.float32)))
    assert collapsed == {
        "loss": 1.0, "reconstruction": 1.0, "kl": 1.0, "mse": pytest.approx(0.1), "ssim": pytest.approx(0.01),
        "clamped": 0.25, "decoder_spread": 0.5, "active_units": 0, "collapsed": True, "dead_decoder": False,
        "worse_than_mean_image": False,
    }  # fmt: skip
    spread = np.array([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]], np.float32)
    assert summarize(make_evaluation(spread))["active_units"] == 1
    assert not summarize(make_evaluation(spread))["collapsed"]


def test_means_are_summed_in_float64():
    n = 2_000_000
    evaluation = Evaluation(
        *[np.full(n, 0.1, np.float32)] * 3, *[np.zeros((1, 1))] * 2, *[np.full(n, 0.1, np.float32)] * 4
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


def small_model():
    """A model of 16x16 images, and its parameters."""
    model = VAE(MLPEncoder((8,)), MLPDecoder((8,), SHAPE), latent_dim=3)
    params = model.init(jax.random.key(0), jnp.zeros(SHAPE), jax.random.key(1))["params"]
    return model, params


def test_a_decoder_that_makes_the_same_of_everything_is_dead():
    model, params = small_model()
    alive = float(decoder_spread(model, params, jax.random.key(2)))
    z = jax.random.normal(jax.random.key(2), (PRIOR_SAMPLES, 3))
    images = jax.vmap(lambda z: jax.nn.sigmoid(model.apply({"params": params}, z, method=VAE.decode)))(z)
    np.testing.assert_allclose(alive, np.var(np.asarray(images, np.float64), axis=0).mean(), rtol=1e-5)
    assert alive > DEAD_VARIANCE
    dead = {**params, "decoder": jax.tree.map(jnp.zeros_like, params["decoder"])}
    assert float(decoder_spread(model, dead, jax.random.key(2))) == 0.0


def planted(params, images, model):
    split = DeviceSplit(jnp.asarray(images), jnp.zeros(len(images), jnp.int32))
    evaluation = evaluate(model, squared_error, params, Hparams(), split, jax.random.key(0))
    return {
        **summarize(jax.tree.map(np.asarray, evaluation), mean_image_mse(images, images)),
        "alive": True,
        "steps": 5,
    }


def test_degenerate_members_are_named():
    model, params = small_model()
    params = {**params, "heads": jax.tree.map(lambda x: 9.0 * x, params["heads"])}
    images = np.random.default_rng(0).integers(0, 256, (20, *SHAPE), np.uint8)
    assert findings(planted(params, images, model)) == ["worse than the mean image"]  # untrained
    zeros = jax.tree.map(jnp.zeros_like, params)
    assert findings(planted(zeros, images, model)) == [
        "collapsed",
        "with a dead decoder",
        "worse than the mean image",
    ]
    heads = params["heads"]
    far = {**params, "heads": {**heads, "bias": heads["bias"].at[3].set(100.0)}}  # one log-variance of three
    assert findings(planted(far, images, model))[-1] == "log-variance at its bound for 0.33 of the latents"
    diverged = {**planted(params, images, model), "alive": False, "steps": 37}
    assert findings(diverged) == ["diverged after 37 steps"]
    assert findings({**diverged, "steps": 1}) == ["diverged after 1 step"]


def test_the_mean_image_s_squared_error_by_hand():
    train = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1)  # mean 0.5
    test = np.array([255, 255, 51], np.uint8).reshape(3, 1, 1, 1)
    assert mean_image_mse(train, test) == pytest.approx((0.25 + 0.25 + 0.09) / 3)
