import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from jaxvae import latent
from jaxvae.models import VAE, encode
from jaxvae.models.mlp import MLPDecoder, MLPEncoder

SHAPE = (4, 4, 1)
MODEL = VAE(MLPEncoder((8,)), MLPDecoder((8,), SHAPE), latent_dim=2)
PARAMS = jax.jit(MODEL.init)(jax.random.key(0), jnp.zeros(SHAPE), jax.random.key(1))["params"]


def logits(z):
    return MODEL.apply({"params": PARAMS}, jnp.asarray(z, jnp.float32), method=VAE.decode)


def test_generate_applies_one_sigmoid():
    z = jnp.array([0.3, -2.0])
    np.testing.assert_allclose(latent.generate(MODEL, PARAMS, z), 1 / (1 + np.exp(-logits(z))), rtol=1e-5)


def test_reconstruct_decodes_the_posterior_mean():
    images = jax.random.uniform(jax.random.key(2), (3, *SHAPE))
    mean = encode(MODEL, PARAMS, images).mean
    np.testing.assert_allclose(latent.reconstruct(MODEL, PARAMS, images), jax.nn.sigmoid(logits(mean)), rtol=1e-5)


def test_traverse_moves_one_dimension_and_holds_the_others():
    walk = latent.traverse(MODEL, PARAMS, jnp.array([0.5, -0.5]), jnp.array([1, 0]), jnp.array([-3.0, 0.0, 3.0]))
    assert walk.shape == (2, 3, *SHAPE)
    np.testing.assert_allclose(walk[0, 2], jax.nn.sigmoid(logits([0.5, 3.0])), rtol=1e-5)
    np.testing.assert_allclose(walk[1, 0], jax.nn.sigmoid(logits([-3.0, -0.5])), rtol=1e-5)


def test_latent_plane_has_z1_to_the_right_and_z2_down_the_rows():
    plane = latent.latent_plane(MODEL, PARAMS)
    assert plane.shape == (16, 16, *SHAPE)
    z = [norm.ppf(latent.QUANTILES[5]), norm.ppf(latent.QUANTILES[12])]
    np.testing.assert_allclose(plane[12, 5], jax.nn.sigmoid(logits(z)), rtol=1e-5)
    assert (latent.QUANTILES[0], latent.QUANTILES[-1]) == (0.05, 0.95)


CONDITIONAL = VAE(MLPEncoder((8,)), MLPDecoder((8,), SHAPE), latent_dim=2, num_classes=3)
LABELLED = jnp.zeros(SHAPE), jax.random.key(1), jnp.array(0)
CONDITIONAL_PARAMS = jax.jit(CONDITIONAL.init)(jax.random.key(0), *LABELLED)["params"]


def test_generate_classes_has_a_row_per_label_and_a_column_per_latent():
    z = jax.random.normal(jax.random.key(3), (4, 2))
    images = latent.generate_classes(CONDITIONAL, CONDITIONAL_PARAMS, z, 3)
    assert images.shape == (3, 4, *SHAPE)
    for label in range(3):
        expected = latent.generate(CONDITIONAL, CONDITIONAL_PARAMS, z, jnp.full(4, label))
        np.testing.assert_allclose(images[label], expected, rtol=1e-6)
    assert not np.allclose(images[0], images[1], atol=1e-3)


def test_interpolate_starts_and_ends_where_it_should_and_is_straight():
    start, end = jnp.array([[0.0, 1.0], [2.0, 2.0]]), jnp.array([[4.0, -1.0], [0.0, 0.0]])
    lines = latent.interpolate(MODEL, PARAMS, start, end, 5)
    assert lines.shape == (2, 5, *SHAPE)
    np.testing.assert_allclose(lines[:, 0], jax.nn.sigmoid(logits(start)), rtol=1e-5)
    np.testing.assert_allclose(lines[:, -1], jax.nn.sigmoid(logits(end)), rtol=1e-5)
    np.testing.assert_allclose(lines[0, 1], jax.nn.sigmoid(logits([1.0, 0.5])), rtol=1e-5)


def test_labels_go_along_a_line_and_a_walk():
    label, z = jnp.array([2, 0]), jnp.array([[0.5, -0.5], [1.0, 1.0]])
    lines = latent.interpolate(CONDITIONAL, CONDITIONAL_PARAMS, z, z, 3, label)
    for k in range(2):
        expected = latent.generate(CONDITIONAL, CONDITIONAL_PARAMS, z[k], label[k])
        np.testing.assert_allclose(lines[k, 1], expected, rtol=1e-6)
    walk = latent.traverse(CONDITIONAL, CONDITIONAL_PARAMS, z[0], jnp.array([1]), jnp.array([-0.5]), label[0])
    np.testing.assert_allclose(walk[0, 0], lines[0, 0], rtol=1e-6)
