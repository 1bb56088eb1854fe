"""The noise of the kernel: the bits of jax.random, and the inverse error function against SciPy's in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erfinv

from jaxvae.kernels import implemented
from jaxvae.kernels.reparameterize_kl import noise
from jaxvae.types import Posterior


def words_and_numbers(keys, count):
    data = jax.random.key_data(keys)
    shape = (len(keys), count)
    words = tuple(jnp.broadcast_to(data[:, k : k + 1], shape) for k in (0, 1))
    return words, jnp.broadcast_to(jnp.arange(count, dtype=jnp.uint32)[None], shape)


def test_the_bits_are_those_of_jax_random():
    keys = jax.random.split(jax.random.key(7), 50)
    found = noise.random_bits(*words_and_numbers(keys, 333))
    np.testing.assert_array_equal(found, jax.vmap(lambda key: jax.random.bits(key, (333,)))(keys))


def test_the_numbers_are_those_of_jax_random_to_1e_5():
    keys = jax.random.split(jax.random.key(8), 1000)
    found = np.asarray(jax.jit(noise.standard_normal)(*words_and_numbers(keys, 1000)), float)
    expected = np.asarray(jax.vmap(lambda key: jax.random.normal(key, (1000,)))(keys), float)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert abs(found.mean()) < 5e-3
    assert abs(found.var() - 1) < 1e-2


def test_the_inverse_error_function_is_right_to_float32_in_the_tails_too():
    near_1 = 1.0 - np.float32(2.0) ** np.arange(-24, -1, 0.01, dtype=np.float32)
    x = np.concatenate([np.linspace(-0.999, 0.999, 100_001, dtype=np.float32), near_1, -near_1, [noise.LEAST]])
    x = x[(np.abs(x) < 1) & (x != 0)].astype(np.float32)
    np.testing.assert_allclose(jax.jit(noise.erf_inv)(x), erfinv(x.astype(float)), rtol=2e-6)


@pytest.mark.parametrize("logvar", [-30.0, 0.0, 30.0])
def test_every_number_of_z_is_right_whatever_its_neighbours(logvar):
    keys = jax.random.split(jax.random.key(9), 64)
    mean = jnp.asarray(10.0 ** np.random.default_rng(0).uniform(-4, 6, (64, 20)), jnp.float32)
    posterior = Posterior(mean, jnp.full((64, 20), logvar))
    z, kl = jax.jit(implemented("reparameterize_kl", "pallas"))(keys, posterior)
    draws = np.asarray(jax.vmap(lambda key: jax.random.normal(key, (20,)))(keys), float)
    sigma, exact_mean = np.exp(0.5 * logvar), np.asarray(mean, float)
    np.testing.assert_allclose(z, exact_mean + sigma * draws, rtol=1e-6, atol=1e-5 * sigma)
    exact = 0.5 * (exact_mean**2 + np.expm1(logvar) - logvar).sum(1)
    np.testing.assert_allclose(kl, exact, rtol=2e-6)
