"""Training with hand-written kernels, interpreted: the losses of the compiler's program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.config import Config
from jaxvae.fit import Sweep, build_model
from jaxvae.losses import RECONSTRUCTIONS, bernoulli
from jaxvae.objective import has_kernel_of_output, negative_elbo
from jaxvae.sweep import grid
from jaxvae.train import init_state
from jaxvae.types import Hparams


def losses(tiny, members, **settings):
    """Of every step of two epochs [K, S], and the parameters after them."""
    # On a GPU XLA's products would be TF32.
    with jax.default_matmul_precision("highest"):
        return trained(tiny, members, **settings)


def trained(tiny, members, **settings):
    sweep = Sweep(Config(latent_dim=3, **settings), tiny, members, batch_size=32, devices=jax.local_devices()[:1])
    state, found = sweep.start().state, []
    for number in (1, 2):
        state, terms = sweep.train_epoch(state, number)
        found.append(np.asarray(terms.loss))
    return np.concatenate(found, 1), jax.tree.map(np.asarray, state.params)


@pytest.mark.parametrize(
    "settings",
    [
        {"architecture": "mlp_200", "reconstruction": "bernoulli"},
        {"architecture": "mlp_200", "reconstruction": "bernoulli", "conditional": True, "member_axis": "vmap"},
        *(
            pytest.param(settings, marks=pytest.mark.slow)
            for settings in (
                {"architecture": "dense", "reconstruction": "bernoulli", "member_axis": "vmap"},
                {"architecture": "mlp_200", "noise": "none", "reconstruction": "bernoulli"},
                {"architecture": "mlp_200", "noise": "log_std_mixup"},
                {"architecture": "conv", "reconstruction": "bernoulli"},
                {"architecture": "conv_32_64"},
            )
        ),
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_the_losses_are_those_of_xla(tiny, settings):
    members = grid(beta=(1.0, 4.0))
    found, params = losses(tiny, members, implementation="pallas", **settings)
    expected, wanted = losses(tiny, members, implementation="xla", **settings)
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(wanted), strict=True):
        assert np.linalg.norm(a - b) < 1e-4 * np.linalg.norm(b)


def test_a_member_that_diverges_does_not_disturb_the_other(tiny):
    settings = {"architecture": "mlp_200", "reconstruction": "bernoulli", "implementation": "pallas"}
    found, params = losses(tiny, grid(beta=(np.nan, 1.0)), **settings)
    alone, wanted = losses(tiny, grid(beta=(1.0,)), **settings)
    assert np.isnan(found[0]).all()
    np.testing.assert_array_equal(found[1], alone[0])
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[1], y[0]), params, wanted)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))


@pytest.mark.parametrize("implementation", ["xla", "pallas"])
def test_images_of_another_shape_are_refused(implementation):
    """Also of as many pixels."""
    model = build_model(Config(architecture="mlp_200", implementation=implementation), (28, 28, 1), 10)
    state = init_state(model, (28, 28, 1), jax.random.key(0), Hparams())
    images, keys = jnp.zeros((4, 14, 56, 1)), jax.random.split(jax.random.key(1), 4)
    with pytest.raises(ValueError, match=r"logits \(4, 28, 28, 1\) for images \(4, 14, 56, 1\)"):
        negative_elbo(model, bernoulli, state.params, images, jnp.zeros(4, jnp.int32), keys, state.hparams)


@pytest.mark.parametrize("implementation", ["xla", "pallas"])
def test_one_image_and_more_leading_axes(implementation):
    model = build_model(Config(architecture="mlp_200", implementation=implementation), (28, 28, 1), 10)
    state = init_state(model, (28, 28, 1), jax.random.key(0), Hparams())
    images = jax.random.uniform(jax.random.key(2), (2, 3, 28, 28, 1))
    keys, labels = jax.random.split(jax.random.key(1), (2, 3)), jnp.zeros((2, 3), jnp.int32)
    every = negative_elbo(model, bernoulli, state.params, images, labels, keys, state.hparams)
    alone = negative_elbo(model, bernoulli, state.params, images[1, 2], labels[1, 2], keys[1, 2], state.hparams)
    assert every.loss.shape == (2, 3)
    np.testing.assert_allclose([term[1, 2] for term in every], alone, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"architecture": "mlp", "reconstruction": "bernoulli"}, True),
        ({"architecture": "conv", "reconstruction": "bernoulli"}, True),  # whose decoder is dense
        ({"architecture": "mlp", "reconstruction": "squared_error"}, False),
        ({"architecture": "conv_32_64", "reconstruction": "bernoulli"}, False),
    ],
)
def test_which_models_have_the_kernel_of_the_output(settings, expected):
    for implementation in ("xla", "pallas"):
        model = build_model(Config(**settings, implementation=implementation), (28, 28, 1), 10)
        reconstruction = RECONSTRUCTIONS[settings["reconstruction"]]
        assert has_kernel_of_output(model, reconstruction) == (expected and implementation == "pallas")
