from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from jaxvae.config import Config
from jaxvae.fit import build_model
from jaxvae.losses import gaussian_kl
from jaxvae.models import ARCHITECTURES, VAE, reparameterize
from jaxvae.models.layers import Conv, ConvTranspose, Dense, param_init
from jaxvae.models.mlp import MLPDecoder, MLPEncoder
from jaxvae.models.vae import sample
from jaxvae.types import Posterior

IMAGE = (28, 28, 1)


def build(name, image_shape=IMAGE, **settings):
    """A model by its architecture's name, and random parameters, biases and positions too: nothing to compile."""
    model = build_model(Config(architecture=name, **{"lowering": "gemm", **settings}), image_shape, 10)
    rng = np.random.default_rng(0)

    def draw(leaf):
        return jnp.asarray(rng.normal(size=leaf.shape) * (leaf.shape[-1] / leaf.size) ** 0.5, leaf.dtype)

    return model, jax.tree.map(draw, shapes(model, image_shape))


def shapes(model, image_shape):
    """The shapes of the parameters with which the model would start."""
    inputs = jnp.zeros(image_shape), jax.random.key(1), jnp.array(0)
    return jax.eval_shape(lambda key: model.init(key, *inputs)["params"], jax.random.key(0))


def dense(inputs, outputs):
    return inputs * outputs + outputs


def conv(inputs, outputs, k=3):
    return k * k * inputs * outputs + outputs


LEAKY_CONV = (
    *(conv(1, 32), conv(32, 64), conv(64, 128), 2 * dense(4 * 4 * 128, 20)),
    *(dense(20, 4 * 4 * 128), conv(128, 64), conv(64, 32), conv(32, 1)),
)
LEAKY_CONV_2 = (
    *(conv(1, 32), conv(32, 64), 2 * dense(7 * 7 * 64, 20)),
    *(dense(20, 7 * 7 * 64), conv(64, 32), conv(32, 1)),
)
LEAKY_CONV_4 = (
    *(conv(1, 32), conv(32, 64), conv(64, 128), conv(128, 256), 2 * dense(2 * 2 * 256, 20)),
    *(dense(20, 2 * 2 * 256), conv(256, 128), conv(128, 64), conv(64, 32), conv(32, 1)),
)
CONV_64_64 = (
    *(conv(1, 64), conv(64, 64), 2 * dense(7 * 7 * 64, 20)),
    *(dense(20, 7 * 7 * 64), conv(64, 64), conv(64, 1)),
)
LEAKY_DENSE = (
    *(dense(784, 512), dense(512, 256), 2 * dense(256, 20)),
    *(dense(20, 256), dense(256, 512), dense(512, 784)),
)


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        # document 001, layer table: 200960 + 32896 + 2 * 2580 + 2688 + 33024 + 201488
        ("dense", {}, 476_216),
        # document 001, layer table: 60 + 880 + 580 + 100480 + 2 * 2580 + 2688 + 101136 + 615440
        ("conv", {}, 826_424),
        # document 004, by hand: (784 * 400 + 400) + 2 * (400 * 20 + 20) + (20 * 400 + 400) + (400 * 784 + 784)
        ("mlp", {}, 652_824),
        # document 001's CVAE by hand
        ("mlp_200", {"conditional": True}, 794 * 200 + 200 + 2 * (200 * 20 + 20) + 30 * 200 + 200 + 200 * 784 + 784),
        # document 002, layer by layer; its sizes are 3.5 and 2.8 megabytes
        ("mlp_512", {"conditional": True, "latent_dim": 64}, 913_296),
        ("conv_32_64", {"conditional": True, "latent_dim": 64}, 708_545),
        ("leaky_conv", {}, sum(LEAKY_CONV)),
        ("leaky_conv_2", {}, sum(LEAKY_CONV_2)),
        ("leaky_conv_4", {}, sum(LEAKY_CONV_4)),
        # the positions and four Dense of 128, in encoder and decoder
        ("leaky_conv_attention", {}, sum(LEAKY_CONV) + 2 * ((4 + 4) * 128 + 4 * dense(128, 128))),
        ("leaky_dense", {}, sum(LEAKY_DENSE)),
        ("conv_64_64", {}, sum(CONV_64_64)),
    ],
)
def test_parameter_counts_are_the_documents(name, settings, expected):
    model = build_model(Config(architecture=name, **settings), IMAGE, 10)
    assert sum(x.size for x in jax.tree.leaves(shapes(model, IMAGE))) == expected


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_shapes_with_any_leading_axes(name, conditional):
    model, params = build(name, (12, 12, 3), latent_dim=5, conditional=conditional)
    for leading in ((), (3,), (2, 3)):
        label = jnp.zeros(leading, jnp.int32)
        image = jnp.zeros((*leading, 12, 12, 3))
        posterior = jax.eval_shape(partial(model.apply, method=VAE.encode), {"params": params}, image, label)
        assert posterior.mean.shape == posterior.logvar.shape == (*leading, 5)
        decode = partial(model.apply, method=VAE.decode)
        assert jax.eval_shape(decode, {"params": params}, posterior.mean, label).shape == image.shape


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_both_lowerings_and_a_batch_s_examples_are_one_model(name):
    """Both lowerings share parameters and results, and a batch, as training has it, is its examples."""
    gemm, params = build(name, (12, 12, 1), conditional=True)
    native, other = build(name, (12, 12, 1), conditional=True, lowering="native")
    jax.tree.map(np.testing.assert_array_equal, params, other)
    images, labels = jax.random.uniform(jax.random.key(2), (3, 12, 12, 1)), jnp.arange(3)

    def both(model, image, label):
        posterior = model.apply({"params": params}, image, label, method=VAE.encode)
        return posterior, model.apply({"params": params}, posterior.mean, label, method=VAE.decode)

    expected = jax.jit(partial(both, native))(images, labels)
    for way in (partial(both, gemm), jax.vmap(partial(both, gemm))):
        results = jax.jit(way)(images, labels)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=2e-5), results, expected)


def test_a_conditional_model_needs_the_label_and_uses_it_twice():
    model, params = build("mlp_200", (4, 4, 1), conditional=True)
    image, z = jnp.ones((4, 4, 1)), jnp.ones(20)
    with pytest.raises(ValueError, match="needs a label below 10"):
        model.apply({"params": params}, image, method=VAE.encode)
    with pytest.raises(ValueError, match="needs a label below 10"):
        model.apply({"params": params}, z, method=VAE.decode)
    for x, method in ((image, VAE.encode), (z, VAE.decode)):
        one, two = (jax.tree.leaves(model.apply({"params": params}, x, jnp.array(k), method=method)) for k in (1, 2))
        assert not np.allclose(one[0], two[0], atol=1e-3)


def test_an_unconditional_model_ignores_labels():
    model, params = build("mlp_200", (4, 4, 1))
    image = jnp.ones((4, 4, 1))
    results = [model.apply({"params": params}, image, jax.random.key(0), *label) for label in ((), (jnp.array(3),))]
    jax.tree.map(np.testing.assert_array_equal, *results)


class TestNoise:
    POSTERIOR = Posterior(jnp.array([1.0, -2.0]), jnp.log(jnp.array([0.25, 4.0])))

    def samples(self, noise):
        model = VAE(MLPEncoder((2,)), MLPDecoder((2,), (2, 2, 1)), 2, noise=noise)
        return jax.vmap(lambda key: sample(model, key, self.POSTERIOR))(jax.random.split(jax.random.key(0), 100_000))

    def test_posterior_is_the_posterior_and_none_is_its_mean(self):
        np.testing.assert_allclose(self.samples("posterior").std(axis=0), [0.5, 2.0], rtol=0.02)
        np.testing.assert_array_equal(self.samples("none"), np.tile([1.0, -2.0], (100_000, 1)))

    def test_the_mix_up_samples_with_the_root_of_the_deviation(self):
        z = self.samples("log_std_mixup")
        np.testing.assert_allclose(z.mean(axis=0), [1, -2], atol=0.03)
        np.testing.assert_allclose(z.std(axis=0), [0.5**0.5, 2.0**0.5], rtol=0.02)

    def test_the_mix_up_s_kl_is_document_001_s_and_not_that_of_its_samples(self):
        model, params = build("mlp_200", (4, 4, 1), noise="log_std_mixup", latent_dim=2)
        heads = params["heads"]
        params["heads"] = {
            "kernel": heads["kernel"].at[:, 2:].set(0),
            "bias": heads["bias"].at[2:].set(jnp.array([0.3, -0.4])),
        }
        posterior = model.apply({"params": params}, jnp.zeros((4, 4, 1)), method=VAE.encode)
        s, mean = np.array([0.3, -0.4]), np.asarray(posterior.mean, np.float64)
        printed = np.sum(-0.5 * (1 + 2 * s - mean**2 - np.exp(2 * s)))
        np.testing.assert_allclose(gaussian_kl(posterior), printed, rtol=1e-5)
        deviation = np.exp(0.5 * s)  # what the sampler really uses
        z = mean + deviation * np.random.default_rng(0).normal(size=(200_000, 2))
        monte_carlo = (norm(mean, deviation).logpdf(z) - norm(0, 1).logpdf(z)).sum(axis=1).mean()
        np.testing.assert_allclose(monte_carlo, gaussian_kl(Posterior(mean, s)), atol=0.01)  # log_std read as log_var
        assert abs(monte_carlo - printed) > 0.05


def test_the_decoder_gives_logits_not_probabilities():
    model, params = build("mlp")
    logits = model.apply({"params": params}, 100 * jnp.ones(20), method=VAE.decode)
    assert float(logits.min()) < 0
    assert float(logits.max()) > 1


def test_torch_initializer_fills_its_interval_evenly():
    kernel = param_init("torch", 100, bias=False)(jax.random.key(0), (100, 400))
    assert 0.0999 < float(jnp.abs(kernel).max()) <= 0.1
    np.testing.assert_allclose(jnp.std(kernel), 0.1 / 3**0.5, rtol=0.02)  # of a uniform on +-0.1
    np.testing.assert_allclose(jnp.mean(kernel), 0, atol=1e-3)


def test_gaussian_initializer_has_unit_gain_and_no_bias():
    kernel = param_init("gaussian", 100, bias=False)(jax.random.key(0), (100, 400))
    np.testing.assert_allclose(jnp.std(kernel), 0.1, rtol=0.02)
    assert float(jnp.abs(kernel).max()) > 0.3  # a uniform of this deviation ends at 0.17
    assert not param_init("gaussian", 100, bias=True)(jax.random.key(0), (400,)).any()


@pytest.mark.parametrize(
    ("layer", "shape", "fan_in"),
    [
        (Dense(50), (30,), 30),
        (Conv(50, kernel_size=3), (8, 8, 4), 3 * 3 * 4),
        (ConvTranspose(4, kernel_size=3), (8, 8, 50), 3 * 3 * 4),  # PyTorch counts the outputs here
    ],
)
def test_kernel_and_bias_are_scaled_by_the_fan_in(layer, shape, fan_in):
    params = layer.init(jax.random.key(0), jnp.zeros(shape))["params"]
    bound = fan_in**-0.5
    for leaf in jax.tree.leaves(params):
        assert 0.6 * bound < float(jnp.abs(leaf).max()) <= bound


def test_layers_agree_on_a_hand_computed_case():
    kernel, bias = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([0.5, -0.5])
    result = Dense(2).apply({"params": {"kernel": kernel, "bias": bias}}, jnp.array([1.0, -1.0]))
    np.testing.assert_array_equal(result, [-1.5, -2.5])


def test_reparameterize_has_the_posterior_s_moments():
    posterior = Posterior(jnp.array([1.0, -2.0]), jnp.log(jnp.array([0.25, 4.0])))
    z = jax.vmap(reparameterize, (0, None))(jax.random.split(jax.random.key(0), 200_000), posterior)
    np.testing.assert_allclose(z.mean(axis=0), [1, -2], atol=0.02)
    np.testing.assert_allclose(z.std(axis=0), [0.5, 2.0], rtol=0.01)  # log_std read as log_var would give 0.25 and 4
    np.testing.assert_allclose(np.corrcoef(np.asarray(z).T)[0, 1], 0, atol=0.01)


def test_reparameterize_gradient_is_the_pathwise_one():
    key, mean, logvar = jax.random.key(0), jnp.array([0.3]), jnp.array([-1.2])
    epsilon = jax.random.normal(key, (1,))
    d_mean, d_logvar = jax.grad(lambda *p: reparameterize(key, Posterior(*p)).sum(), argnums=(0, 1))(mean, logvar)
    np.testing.assert_allclose(d_mean, 1)
    np.testing.assert_allclose(d_logvar, 0.5 * jnp.exp(0.5 * logvar) * epsilon, rtol=1e-6)


def test_reparameterize_draws_for_each_example_with_its_key():
    keys = jax.random.split(jax.random.key(0), (2, 3))
    posterior = Posterior(jnp.arange(24.0).reshape(2, 3, 4), jnp.zeros((2, 3, 4)))
    batch = reparameterize(keys, posterior)
    for i in range(2):
        for j in range(3):
            one = Posterior(posterior.mean[i, j], posterior.logvar[i, j])
            np.testing.assert_array_equal(batch[i, j], reparameterize(keys[i, j], one))
    whole = reparameterize(keys[0, 0], posterior)
    np.testing.assert_array_equal(whole, posterior.mean + jax.random.normal(keys[0, 0], (2, 3, 4)))


@pytest.mark.parametrize("shape", [(2,), (3, 1), (3, 4), (3, 4, 5)], ids=str)
def test_reparameterize_refuses_keys_that_are_not_of_the_examples(shape):
    with pytest.raises(ValueError, match="one for each example"):
        reparameterize(jax.random.split(jax.random.key(0), shape), Posterior(jnp.zeros((3, 4)), jnp.zeros((3, 4))))


def test_noise_for_a_bfloat16_posterior_is_not_drawn_in_bfloat16():
    """In bfloat16 `jax.random.normal` has 128 different values, and a maximum below 2.9."""
    posterior = Posterior(jnp.zeros(100_000, jnp.bfloat16), jnp.zeros(100_000, jnp.bfloat16))
    z = reparameterize(jax.random.key(0), posterior)
    assert z.dtype == jnp.bfloat16
    assert len(np.unique(z.astype(np.float32))) > 1000
    assert float(jnp.abs(z).max()) > 4
    coarse = jax.random.normal(jax.random.key(0), (100_000,), jnp.bfloat16)  # negative control
    assert len(np.unique(coarse.astype(np.float32))) < 200


def test_the_settings_reach_the_model():
    settings = {"latent_dim": 3, "initializer": "gaussian", "noise": "none", "logvar_bound": 5.0, "conditional": True}
    model = build_model(Config(architecture="mlp", **settings), IMAGE, 7)
    assert {name: getattr(model, name) for name in settings if name != "conditional"} == {
        name: value for name, value in settings.items() if name != "conditional"
    }
    assert model.num_classes == 7
    assert build_model(Config(architecture="mlp"), IMAGE, 7).num_classes == 0


def test_the_heads_are_the_means_then_the_log_variances():
    model, params = build("mlp_200", (4, 4, 1), latent_dim=2)
    kernel, bias = params["heads"]["kernel"], params["heads"]["bias"]
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(4, 4, 1)), jnp.float32)
    features = model.encoder.apply({"params": params["encoder"]}, image)
    posterior = model.apply({"params": params}, image, method=VAE.encode)
    np.testing.assert_allclose(posterior.mean, features @ kernel[:, :2] + bias[:2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(posterior.logvar, features @ kernel[:, 2:] + bias[2:], rtol=1e-5, atol=1e-6)


def test_logvar_is_bounded():
    model, params = build("mlp")
    params["heads"]["bias"] = params["heads"]["bias"].at[20:].set(1e4)
    posterior = model.apply({"params": params}, jnp.zeros(IMAGE), method=VAE.encode)
    np.testing.assert_array_equal(posterior.logvar, 30.0)
    assert jnp.isfinite(reparameterize(jax.random.key(0), posterior)).all()
    free = model.clone(logvar_bound=1e9).apply({"params": params}, jnp.zeros(IMAGE), method=VAE.encode)
    np.testing.assert_allclose(free.logvar, 1e4, rtol=1e-3)
    assert not jnp.isfinite(reparameterize(jax.random.key(0), free)).any()
