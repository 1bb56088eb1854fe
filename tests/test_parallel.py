"""The layout over devices: on any number of them the numbers of one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxvae.checkpoint import Checkpoints
from jaxvae.config import Config
from jaxvae.errors import ConfigError
from jaxvae.fit import Sweep, build_model, fit
from jaxvae.losses import bernoulli
from jaxvae.parallel import choose_devices, make_mesh, padded, unpadded
from jaxvae.sweep import grid
from jaxvae.train import init_state, make_train_step
from jaxvae.types import Batch, Hparams

COUNTS = (2, 4, 8)
MLP, ONE = Config("mlp", latent_dim=3), grid()
SHAPE = (28, 28, 1)
MODEL = build_model(Config("mlp", latent_dim=3), SHAPE, 4)


def sweep_on(count, dataset, *, config=MLP, members=ONE, batch_size=30):
    return Sweep(config, dataset, members, batch_size=batch_size, devices=jax.devices()[:count])


@pytest.mark.parametrize(
    ("members", "devices", "rows", "columns"),
    [(1, 1, 1, 1), (1, 8, 1, 8), (2, 8, 2, 4), (3, 8, 2, 4), (6, 8, 4, 2), (12, 8, 8, 1), (3, 3, 3, 1), (2, 3, 1, 3)],
)
def test_members_are_spread_first_and_what_remains_splits_the_batch(members, devices, rows, columns):
    mesh = make_mesh(members, jax.devices()[:devices])
    assert dict(mesh.shape) == {"member": rows, "data": columns}


def test_devices_that_are_not_there_are_refused():
    there = len(jax.devices())
    assert choose_devices() == jax.devices()
    assert choose_devices(2) == jax.devices()[:2]
    with pytest.raises(ConfigError, match=f"devices is {there + 1}, but cpu has {there}"):
        choose_devices(there + 1)


@pytest.mark.parametrize("members", [1, 3, 4, 5])
def test_members_are_filled_up_with_the_last_and_cut_again(members):
    mesh = make_mesh(4, jax.devices()[:4])
    x = jnp.arange(2.0 * members).reshape(members, 2)
    filled = padded({"x": x}, mesh)["x"]
    assert len(filled) == -(-members // 4) * 4
    np.testing.assert_array_equal(filled[members:], jnp.broadcast_to(x[-1], filled[members:].shape))
    np.testing.assert_array_equal(unpadded(filled, members, mesh), x)


def make_batch(size, real):
    rng = np.random.default_rng(0)
    weight = np.arange(size) < real
    image = rng.uniform(size=(size, *SHAPE)).astype(np.float32)
    return Batch(jnp.asarray(image), jnp.zeros(size, jnp.int32), jnp.asarray(weight, jnp.float32))


def gradient(state):
    """The gradient of a first step, from the first moment that it leaves: a wrong scale is not hidden by Adam."""
    return jax.tree.map(lambda x: 10 * x, state.opt_state.mu)


def largest_difference(tree, expected):
    scale = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(expected))
    differences = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), tree, expected)
    return max(jax.tree.leaves(differences)) / scale


@pytest.mark.parametrize("real", [16, 11, 1])
@pytest.mark.parametrize("count", COUNTS)
def test_a_users_pmap_of_the_step_has_the_gradient_of_one_device(count, real):
    state, batch, key = init_state(MODEL, SHAPE, jax.random.key(0), Hparams()), make_batch(16, real), jax.random.key(1)
    expected, terms = jax.jit(make_train_step(MODEL, bernoulli))(state, batch, key)
    split = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), batch)
    step = jax.pmap(
        make_train_step(MODEL, bernoulli, axis_name="data"),
        axis_name="data",
        in_axes=(None, 0, None),
        devices=jax.devices()[:count],
    )
    found, found_terms = step(state, split, key)
    for device in range(count):
        one = jax.tree.map(lambda x, device=device: x[device], found)
        assert largest_difference(gradient(one), gradient(expected)) < 1e-6
        assert int(one.step) == 1
        np.testing.assert_allclose([x[device] for x in found_terms], terms, rtol=1e-6)


@pytest.mark.parametrize("count", COUNTS)
def test_a_gradient_that_is_added_up_twice_would_be_seen(count):
    """`shard_map` that checks what varies adds up the gradients of shared parameters itself; the step does it too."""
    state, batch, key = init_state(MODEL, SHAPE, jax.random.key(0), Hparams()), make_batch(16, 16), jax.random.key(1)
    expected, terms = jax.jit(make_train_step(MODEL, bernoulli))(state, batch, key)
    mesh = make_mesh(1, jax.devices()[:count])
    step = make_train_step(MODEL, bernoulli, axis_name="data")

    def on(check):
        specs = {"in_specs": (P(), P("data"), P()), "out_specs": P()}
        return jax.jit(jax.shard_map(step, mesh=mesh, check_vma=check, **specs))(state, batch, key)

    right, _ = on(False)
    assert largest_difference(gradient(right), gradient(expected)) < 1e-6
    wrong, wrong_terms = on(True)
    assert largest_difference(gradient(wrong), gradient(expected)) > 0.9 * (count - 1)
    np.testing.assert_allclose(wrong_terms, terms, rtol=1e-6)  # the losses do not show it


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_fifty_steps_have_the_losses_of_one_device(tiny, count, architecture):
    """Batches of 23, which no number of devices divides, the last of 8."""

    def losses(devices):
        sweep = sweep_on(devices, tiny, config=Config(architecture, latent_dim=3), batch_size=23)
        state, found = sweep.start().state, []
        for epoch in range(1, 11):
            state, terms = sweep.train_epoch(state, epoch)
            found.append(np.asarray(terms.loss[0]))
        return np.concatenate(found)

    expected = losses(1)
    assert len(expected) == 50
    np.testing.assert_allclose(losses(count), expected, rtol=1e-5)


@pytest.mark.parametrize("count", COUNTS)
def test_a_sweep_has_the_numbers_of_one_device(tiny, count):
    """Three members: on two rows with a copy, on eight devices also split by batch."""
    members = grid(beta=(1.0, 4.0), seeds=(0,), learning_rate=1e-3)
    three = grid(beta=(1.0, 2.0, 4.0))
    for chosen in (members, three):
        one, several = (fit(sweep_on(devices, tiny, members=chosen), epochs=2) for devices in (1, count))
        assert len(several.state.step) == len(chosen)
        assert [row["member"] for row in several.history] == [row["member"] for row in one.history]
        for row, expected in zip(several.history, one.history, strict=True):
            for name in ("loss", "reconstruction", "kl") + ("mse", "ssim") * (row["split"] == "test"):
                assert row[name] == pytest.approx(expected[name], rel=1e-5)


@pytest.mark.parametrize("count", COUNTS)
def test_evaluation_is_in_order_and_of_all_examples(tiny, count):
    one, several = (sweep_on(devices, tiny, members=grid(beta=(1.0, 4.0))) for devices in (1, count))
    state = one.start().state
    expected = one.evaluate(state), one.sampled_quality(state)
    found = several.evaluate(several.start().state), several.sampled_quality(several.start().state)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("saved_on", "restored_on"), [(1, 8), (8, 1), (4, 2)])
def test_a_checkpoint_of_any_number_of_devices_restores_on_any(tiny, tmp_path, saved_on, restored_on):
    members = grid(beta=(1.0, 2.0, 4.0))
    begun = fit(sweep_on(saved_on, tiny, members=members), epochs=1)
    kept = jax.tree.map(np.asarray, begun.state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(begun)
    other = sweep_on(restored_on, tiny, members=members)
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(other.abstract_state())
    for a, b in zip(jax.tree.leaves(restored.state), jax.tree.leaves(kept), strict=True):
        np.testing.assert_array_equal(a, b)
    finished = fit(other, epochs=2, start=restored)
    straight = fit(sweep_on(1, tiny, members=members), epochs=2)
    assert finished.history[-1]["loss"] == pytest.approx(straight.history[-1]["loss"], rel=1e-5)
