"""The importance-weighted bound against its formula, the evidence by quadrature, and the ELBO."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.derivation import check_model
from jaxvae.config import Config
from jaxvae.fit import build_model
from jaxvae.losses import bernoulli, gaussian
from jaxvae.models import decode, encode
from jaxvae.objective import importance_weighted, negative_elbo
from jaxvae.train import init_state
from jaxvae.types import Hparams
from tests.test_derivation import IMAGES, make

SHAPE = (4, 4, 1)


def in_float32(params):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)


def test_it_is_its_formula():
    """NumPy in float64, from the noise that the keys draw."""
    model, params = make(2)
    params, images = in_float32(params), jnp.asarray(IMAGES, jnp.float32)
    keys = jax.random.split(jax.random.key(0), (5, 3))
    labels = jnp.zeros(3, jnp.int32)
    found = jax.jit(lambda p: importance_weighted(model, bernoulli, p, images, labels, keys, Hparams()))(params)
    mean, logvar = (np.asarray(x, float) for x in encode(model, params, images))
    for b in range(3):
        weights = []
        for s in range(5):
            epsilon = np.asarray(jax.random.normal(keys[s, b], (2,)), float)
            z = mean[b] + np.exp(0.5 * logvar[b]) * epsilon
            logits = np.asarray(decode(model, params, jnp.asarray(z, jnp.float32)), float)
            x = np.asarray(images[b], float)
            likelihood = (x * logits - np.logaddexp(0, logits)).sum()
            prior, posterior = -0.5 * (z**2).sum(), -0.5 * (epsilon**2 + logvar[b]).sum()
            weights.append(likelihood + prior - posterior)
        np.testing.assert_allclose(found[b], np.log(5) - np.logaddexp.reduce(weights), rtol=2e-6)


@pytest.mark.parametrize(("name", "reconstruction"), [("bernoulli", bernoulli), ("gaussian", gaussian)])
def test_it_falls_from_the_elbo_to_the_evidence(name, reconstruction):
    model, params = make(2)
    wide = params["heads"]["bias"] + np.array([0.0, 0.0, 4.0, 4.0])  # wider than the prior: no weight is an outlier
    params = {**params, "heads": {**params["heads"], "bias": wide}}
    exact = check_model(model, name, params, IMAGES[0])
    params, image, label = in_float32(params), jnp.asarray(IMAGES[0], jnp.float32), jnp.zeros((), jnp.int32)

    def bound(samples, repeats):
        """The mean of so many estimates."""
        keys = jax.random.split(jax.random.key(samples), (repeats, samples))
        each = jax.vmap(lambda k: importance_weighted(model, reconstruction, params, image, label, k, Hparams()))
        return float(jnp.mean(jax.jit(each)(keys)))

    one, ten, many = bound(1, 20_000), bound(10, 2_000), bound(20_000, 4)
    assert one == pytest.approx(-exact.elbo, abs=0.03)
    assert many == pytest.approx(-exact.log_evidence, abs=0.02)
    assert many < ten < one


@pytest.mark.parametrize("conditional", [False, True])
def test_the_kernel_gives_the_same_and_no_logits(conditional):
    images = jax.random.uniform(jax.random.key(2), (3, 28, 28, 1))
    labels, keys = jnp.arange(3), jax.random.split(jax.random.key(1), (7, 3))
    found = {}
    for implementation in ("xla", "pallas"):
        config = Config(architecture="mlp_200", conditional=conditional, implementation=implementation)
        model = build_model(config, (28, 28, 1), 10)
        state = init_state(model, (28, 28, 1), jax.random.key(0), Hparams())

        def loss(params, model=model):
            return importance_weighted(model, bernoulli, params, images, labels, keys, Hparams()).sum()

        with jax.default_matmul_precision("highest"):  # on a GPU XLA's products would be TF32
            found[implementation] = jax.jit(jax.value_and_grad(loss))(state.params)
        lowered = jax.jit(jax.value_and_grad(loss)).trace(state.params).lower(lowering_platforms=("cuda",)).as_text()
        logits = ("tensor<7x3x784xf32>", "tensor<7x3x28x28x1xf32>")
        assert any(shape in lowered for shape in logits) == (implementation == "xla")
    np.testing.assert_allclose(found["pallas"][0], found["xla"][0], rtol=1e-6)
    for a, b in zip(*(jax.tree.leaves(found[name][1]) for name in found), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4 * float(jnp.abs(b).max()))  # weights are exp of nats


def test_a_sample_of_one_is_one_estimate_of_the_elbo_without_noise_in_the_kl():
    """With a posterior that is the prior, weights are likelihoods: S = 1 is the distortion, as the KL is 0."""
    model, params = make(2)
    params = in_float32(params)
    params["heads"] = jax.tree.map(jnp.zeros_like, params["heads"])
    image, label, key = jnp.asarray(IMAGES[0], jnp.float32), jnp.zeros((), jnp.int32), jax.random.key(4)
    terms = negative_elbo(model, bernoulli, params, image, label, key, Hparams())
    found = importance_weighted(model, bernoulli, params, image, label, key[None], Hparams())
    np.testing.assert_allclose(found, terms.reconstruction, rtol=1e-6)
    np.testing.assert_allclose(found, terms.loss, rtol=1e-6)


@pytest.mark.parametrize("noise", ["none", "log_std_mixup"])
def test_a_model_without_samples_of_its_posterior_is_refused(noise):
    model, params = make(2, noise=noise)
    image, keys = jnp.asarray(IMAGES[0], jnp.float32), jax.random.split(jax.random.key(0), 2)
    with pytest.raises(ValueError, match=noise):
        importance_weighted(model, bernoulli, in_float32(params), image, jnp.zeros((), jnp.int32), keys, Hparams())
