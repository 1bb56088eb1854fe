import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.models import ARCHITECTURES, VAE, reparameterize
from jaxvae.models.layers import Conv, ConvTranspose, Dense, param_init
from jaxvae.models.vae import LOGVAR_BOUND
from jaxvae.types import Posterior

IMAGE = (28, 28, 1)


def build(name, latent_dim=20, initializer="torch", lowering="gemm"):
    model = ARCHITECTURES[name](latent_dim, IMAGE, initializer, lowering)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros(IMAGE), jax.random.key(1))["params"]
    return model, params


@pytest.mark.parametrize(
    ("name", "count"),
    [
        # document 001, layer table: 200960 + 32896 + 2 * 2580 + 2688 + 33024 + 201488
        ("dense", 476_216),
        # document 001, layer table: 60 + 880 + 580 + 100480 + 2 * 2580 + 2688 + 101136 + 615440
        ("conv", 826_424),
        # document 004, by hand: (784 * 400 + 400) + 2 * (400 * 20 + 20) + (20 * 400 + 400) + (400 * 784 + 784)
        ("mlp", 652_824),
    ],
)
def test_parameter_counts_are_the_documents(name, count):
    _, params = build(name)
    assert sum(x.size for x in jax.tree.leaves(params)) == count


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
def test_shapes_with_any_leading_axes(name, leading):
    model, params = build(name, latent_dim=5)
    posterior = model.apply({"params": params}, jnp.zeros((*leading, *IMAGE)), method=VAE.encode)
    assert posterior.mean.shape == posterior.logvar.shape == (*leading, 5)
    assert model.apply({"params": params}, posterior.mean, method=VAE.decode).shape == (*leading, *IMAGE)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_batch_is_its_examples(name):
    model, params = build(name)
    images = jax.random.uniform(jax.random.key(2), (4, *IMAGE))
    batch = model.apply({"params": params}, images, method=VAE.encode)
    single = jax.vmap(lambda x: model.apply({"params": params}, x, method=VAE.encode))(images)
    np.testing.assert_allclose(batch.mean, single.mean, atol=1e-6)


def test_lowerings_share_parameters_and_results():
    gemm, params = build("conv", lowering="gemm")
    native, other = build("conv", lowering="native")
    jax.tree.map(np.testing.assert_array_equal, params, other)
    image = jax.random.uniform(jax.random.key(2), IMAGE)
    logits = [model.apply({"params": params}, image, jax.random.key(3))[0] for model in (gemm, native)]
    np.testing.assert_allclose(*logits, atol=1e-6)


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


def test_logvar_is_bounded():
    model, params = build("mlp")
    params["logvar"]["bias"] = jnp.full(20, 1e4)
    posterior = model.apply({"params": params}, jnp.zeros(IMAGE), method=VAE.encode)
    np.testing.assert_array_equal(posterior.logvar, LOGVAR_BOUND)
    assert jnp.isfinite(reparameterize(jax.random.key(0), posterior)).all()
