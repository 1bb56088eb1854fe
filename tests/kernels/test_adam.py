"""Adam's direction against Optax's and float64; `test_kernels` compares the kernels with it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvae.kernels.adam import pallas
from jaxvae.kernels.adam.reference import ADAM, B1, B2, EPS, adam, adam_direction


@pytest.mark.parametrize(("dtype", "rtol"), [(jnp.float32, 2e-5), (jnp.bfloat16, 0.02)])
@pytest.mark.parametrize("count", [0, 10_000])
def test_the_direction_is_optax_s_to_its_precision(dtype, rtol, count):
    rng = np.random.default_rng(0)
    params = {"kernel": jnp.zeros((3, 4), dtype), "bias": jnp.zeros(4, dtype), "scale": jnp.zeros((), dtype)}
    moments = ADAM.init(params)._replace(count=jnp.asarray(count, jnp.int32))
    for scale in (1e-6, 1.0, 1e3, 0.0):
        gradients = jax.tree.map(lambda p, scale=scale: jnp.asarray(scale * rng.normal(size=p.shape), dtype), params)
        direction, moments = ADAM.update(gradients, moments)
        found = jax.jit(adam_direction)(moments)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(direction), strict=True):
            assert a.dtype == dtype
            np.testing.assert_allclose(a.astype(jnp.float32), b.astype(jnp.float32), rtol=rtol)


def test_the_direction_in_float64(float64):
    params = {"kernel": jnp.zeros(5, jnp.float64)}
    gradients = {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=5))}
    direction, moments = ADAM.update(gradients, ADAM.init(params))
    np.testing.assert_allclose(adam_direction(moments)["kernel"], direction["kernel"], rtol=1e-6)
    np.testing.assert_allclose(adam_direction(moments)["kernel"], np.sign(gradients["kernel"]), rtol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 10, 1000, 100_000])
def test_the_direction_is_corrected_to_float32_s_precision(count):
    """A float32 `1 - 0.999**count` is 1e-5 off, at first and for long."""
    rng = np.random.default_rng(0)
    mu, nu = rng.normal(size=50).astype(np.float32), rng.uniform(0.1, 1, 50).astype(np.float32)
    mean, square = mu.astype(float) / (1 - B1**count), nu.astype(float) / (1 - B2**count)
    expected = mean / (np.sqrt(square) + EPS)
    found = jax.jit(adam_direction)(optax.ScaleByAdamState(jnp.asarray(count), {"kernel": mu}, {"kernel": nu}))
    np.testing.assert_allclose(found["kernel"], expected, rtol=4e-7)
    if count == 1:
        naive = mu / (1 - np.float32(B1)) / (np.sqrt(nu / (1 - np.float32(B2))) + np.float32(EPS))
        assert np.abs(naive / expected - 1).min() > 5e-6


@pytest.mark.usefixtures("interpreted")
def test_members_are_updated_where_they_are_alive():
    """From parameters of 0 at a rate of 1 they are the direction itself, to rounding; a member that is not stays."""
    rng = np.random.default_rng(0)
    params = {"kernel": jnp.zeros((2, 5, 200)), "bias": jnp.zeros((2, 3))}

    def leaves(scale):
        return jax.tree.map(lambda p: jnp.asarray(scale * rng.normal(size=p.shape), jnp.float32), params)

    moments = optax.ScaleByAdamState(jnp.array([0, 41]), leaves(1e-3), jax.tree.map(jnp.square, leaves(1e-3)))
    for alive in ([True, True], [True, False], [False, True]):
        arguments = params, moments, leaves(1e-6), jnp.ones(2), jnp.array(alive)
        found = jax.jit(jax.vmap(lambda *a: pallas.adam(*a)))(*arguments)
        expected = jax.jit(jax.vmap(adam))(*arguments)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-30)
        for k in range(2):
            for a, b in zip(jax.tree.leaves(found), jax.tree.leaves((params, moments)), strict=True):
                assert np.array_equal(a[k], b[k]) == (not alive[k])
