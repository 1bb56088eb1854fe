"""The layout over devices: on any number of them the numbers of one."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxvae import parallel, train
from jaxvae.checkpoint import Checkpoints
from jaxvae.config import Config
from jaxvae.errors import ConfigError
from jaxvae.fit import Sweep, build_model, fit
from jaxvae.losses import bernoulli
from jaxvae.parallel import choose_devices, everywhere, free_bytes, make_mesh, padded, unpadded
from jaxvae.sweep import MemberBytes, grid
from jaxvae.train import init_state, make_train_step
from jaxvae.types import Batch, Hparams

MLP, ONE, BETAS = Config("mlp", latent_dim=3, conditional=True), grid(), (1.0, 2.0, 4.0)
SHAPE = (28, 28, 1)
MODEL = build_model(Config("mlp", latent_dim=3), SHAPE, 4)


def sweep_on(count, dataset, *, config=MLP, members=ONE):
    return Sweep(config, dataset, members, batch_size=23, devices=jax.devices()[:count])


@pytest.mark.parametrize(
    ("members", "devices", "rows", "columns"),
    [
        *((1, 1, 1, 1), (1, 8, 1, 8), (2, 8, 2, 4), (3, 8, 4, 2), (4, 8, 4, 2), (5, 8, 8, 1), (12, 8, 8, 1)),
        *((3, 4, 4, 1), (3, 3, 3, 1), (2, 3, 3, 1), (1, 3, 1, 3), (4, 5, 5, 1)),
    ],
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


@pytest.mark.parametrize(("members", "devices"), [(1, 1), (4, 4), (3, 4), (1, 2)])
def test_an_epoch_takes_over_the_state_on_any_mesh(tiny, members, devices):
    sweep = sweep_on(devices, tiny, members=grid(beta=range(1, 1 + members)))
    start = sweep.start().state
    assert padded(start, sweep.mesh) is start
    sweep.train_epoch(start, 1)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(start))


@pytest.mark.parametrize(("members", "devices", "held"), [(3, 8, 4), (5, 4, 7)])
def test_the_states_that_a_device_holds_at_a_checkpoint_are_counted(tiny, monkeypatch, members, devices, held):
    """Its own, with a copy of the last, and those of all members, which rows do not divide."""
    counted = []
    monkeypatch.setattr("jaxvae.fit.member_chunk", lambda axis, count, held, *_: counted.append(held) or 1)
    sweep = sweep_on(devices, tiny, members=grid(beta=range(1, 1 + members)))
    state = padded(sweep.start().state, sweep.mesh)
    saved = unpadded(state, members, sweep.mesh)
    assert counted == [held]
    on_a_device = sum(len(each.alive.addressable_shards[0].data) for each in (state, saved))
    assert on_a_device == held


def test_a_restored_state_is_not_taken_for_another_s(tiny, monkeypatch):
    free = [1000.0]
    monkeypatch.setattr("jaxvae.fit.free_bytes", lambda mesh: free[0])
    monkeypatch.setattr(Sweep, "_member_bytes", lambda self: MemberBytes(state=100, working=100))
    sweep = sweep_on(1, tiny, config=Config("mlp", latent_dim=3, member_axis="vmap"), members=grid(beta=(1.0, 2.0)))
    free[0] = 800.0  # with two states there
    assert sweep.chunk == 2


@pytest.mark.parametrize("members", [1, 3, 4, 5])
def test_members_are_filled_up_with_the_last_and_cut_again(members):
    mesh = make_mesh(4, jax.devices()[:4])
    x = np.arange(2.0 * members, dtype=np.float32).reshape(members, 2)
    filled = padded(everywhere({"x": x}, mesh), mesh)["x"]
    assert len(filled) == -(-members // 4) * 4
    np.testing.assert_array_equal(filled[members:], jnp.broadcast_to(x[-1], filled[members:].shape))
    np.testing.assert_array_equal(unpadded(filled, members, mesh), x)


def test_free_memory_is_that_of_the_fullest_device():
    def mesh_of(*stats):
        devices = [SimpleNamespace(memory_stats=lambda s=s: s) for s in stats]
        return SimpleNamespace(local_devices=devices, size=1)

    def free(*stats):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(parallel, "from_host", lambda shape, values, mesh, spec: values(...))
            return free_bytes(mesh_of(*stats))

    gibi = 2.0**30
    assert (
        free({"bytes_limit": 3 * gibi, "bytes_in_use": gibi}, {"bytes_limit": 3 * gibi, "bytes_in_use": 0}) == 2 * gibi
    )
    assert free(None, {}) is None
    assert free_bytes(make_mesh(1, jax.devices())) is None  # a CPU does not say


def make_batch(size, real):
    rng = np.random.default_rng(0)
    weight = np.arange(size) < real
    image = rng.uniform(size=(size, *SHAPE)).astype(np.float32)
    return Batch(jnp.asarray(image), jnp.zeros(size, jnp.int32), jnp.asarray(weight, jnp.float32))


def gradient(state):
    """The gradient of a first step, from the first moment that it leaves: a wrong scale is not hidden by Adam."""
    return jax.tree.map(lambda x: 10 * np.asarray(x), state.opt_state.mu)


def largest_difference(tree, expected):
    scale = max(np.abs(x).max() for x in jax.tree.leaves(expected))
    differences = jax.tree.map(lambda a, b: np.abs(a - b).max(), tree, expected)
    return max(jax.tree.leaves(differences)) / scale


@pytest.mark.parametrize("real", [16, 11, 1])
@pytest.mark.parametrize("count", [2, 8])
def test_a_users_pmap_of_the_step_has_the_gradient_of_one_device(count, real):
    state, batch, key = init_state(MODEL, SHAPE, jax.random.key(0), Hparams()), make_batch(16, real), jax.random.key(1)
    expected, terms = jax.jit(make_train_step(MODEL, bernoulli))(state, batch, key)
    split = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), batch)
    step = jax.pmap(
        make_train_step(MODEL, bernoulli, axis_name="data"),
        axis_name="data",
        in_axes=(0, 0, None),
        devices=jax.devices()[:count],
    )
    on_each = jax.tree.map(lambda x: np.broadcast_to(x, (count, *x.shape)), state)
    found, found_terms = step(on_each, split, key)
    for device in range(count):
        one = jax.tree.map(lambda x, device=device: np.asarray(x)[device], found)
        assert largest_difference(gradient(one), gradient(expected)) < 1e-6
        assert int(one.step) == 1
        np.testing.assert_allclose([np.asarray(x)[device] for x in found_terms], terms, rtol=1e-6)


@pytest.mark.parametrize("count", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_a_gradient_that_is_added_up_twice_would_be_seen(count, monkeypatch):
    """`shard_map` that checks what varies adds up the gradients of what all share itself, unless each has its copy."""
    state, batch, key = init_state(MODEL, SHAPE, jax.random.key(0), Hparams()), make_batch(16, 16), jax.random.key(1)
    expected, terms = jax.jit(make_train_step(MODEL, bernoulli))(state, batch, key)
    mesh = make_mesh(1, jax.devices()[:count])

    def found(check, part=None):
        step = make_train_step.__wrapped__(MODEL, bernoulli, part=part, axis_name="data")
        specs = {"in_specs": (P(), P("data"), P()), "out_specs": P()}
        return jax.jit(jax.shard_map(step, mesh=mesh, check_vma=check, **specs))(state, batch, key)

    for check in (False, True):
        for part in (None, 3):
            assert largest_difference(gradient(found(check, part)[0]), gradient(expected)) < 1e-6
    monkeypatch.setattr(train, "own_copy", lambda tree, axis: tree)
    wrong, wrong_terms = found(True)
    assert largest_difference(gradient(wrong), gradient(expected)) > 0.9 * (count - 1)
    np.testing.assert_allclose(wrong_terms, terms, rtol=1e-6)  # the losses do not show it


def losses(sweep):
    """Of 50 steps [K, 50]: ten epochs of batches of 23, which no number of devices divides, the last of 8."""
    state, found = sweep.start().state, []
    for epoch in range(1, 11):
        state, terms = sweep.train_epoch(state, epoch)
        found.append(np.asarray(terms.loss))
    return np.concatenate(found, axis=1)


QUICK = [("mlp", 1, 8)]
SLOW = [
    ("mlp", 3, 8),
    ("mlp", 1, 2),
    ("mlp", 1, 4),
    ("mlp", 3, 2),
    ("mlp", 3, 4),
    ("conv", 1, 2),
    ("conv", 1, 8),
    ("conv", 3, 8),
]


@pytest.mark.parametrize(
    ("architecture", "members", "count"), [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]
)
def test_fifty_steps_have_the_losses_of_one_device(tiny, architecture, members, count):
    config = Config(architecture, latent_dim=3)
    expected, found = (
        losses(sweep_on(devices, tiny, config=config, members=grid(beta=BETAS[:members]))) for devices in (1, count)
    )
    assert expected.shape == (members, 50)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("count", [pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow), 8])
def test_a_sweep_has_the_numbers_of_one_device(tiny, count):
    """Three members: on rows with a copy, on eight devices also split by batch."""
    members = grid(beta=BETAS)
    one, several = (sweep_on(devices, tiny, members=members) for devices in (1, count))
    state, other = one.start().state, several.start().state
    found, expected = ((s.evaluate(x), s.sampled_quality(x)) for s, x in ((several, other), (one, state)))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    ours, theirs = fit(several, epochs=2), fit(one, epochs=2)
    assert len(ours.state.step) == 3
    for row, wanted in zip(ours.history, theirs.history, strict=True):
        assert row["member"] == wanted["member"]
        for name in ("loss", "reconstruction", "kl") + ("mse", "ssim") * (row["split"] == "test"):
            assert row[name] == pytest.approx(wanted[name], rel=1e-5)


@pytest.mark.parametrize(
    ("saved_on", "restored_on"),
    [(8, 1), pytest.param(1, 8, marks=pytest.mark.slow), pytest.param(4, 2, marks=pytest.mark.slow)],
)
def test_a_checkpoint_of_any_number_of_devices_restores_on_any(tiny, tmp_path, saved_on, restored_on):
    members = grid(beta=BETAS)
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
