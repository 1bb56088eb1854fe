"""The member axis: the grid, vmap against scan, a member of a sweep against the same member alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.config import Config
from jaxvae.fit import Sweep, fit
from jaxvae.sweep import grid, member_chunk, over_members


def test_grid_is_the_product_with_seeds_fastest():
    members = grid(beta=(1, 4), learning_rate=(1e-3, 1e-2), seeds=(7, 8))
    described = [members.describe(k) for k in range(len(members))]
    assert [(d["learning_rate"], d["beta"], d["seed"]) for d in described] == [
        (rate, beta, seed) for rate in (1e-3, 1e-2) for beta in (1, 4) for seed in (7, 8)
    ]
    assert described[0] == {"member": 0, "seed": 7, "learning_rate": 1e-3, "beta": 1.0, "variance": 0.5}
    assert members.hparams.beta.dtype == jnp.float32


def test_grid_refuses_an_unknown_name():
    with pytest.raises(TypeError, match="betta"):
        grid(betta=(1,))


def test_members_of_one_seed_share_a_key_and_others_do_not():
    keys = jax.random.key_data(grid(beta=(1, 2), seeds=(0, 1)).keys)
    np.testing.assert_array_equal(keys[0], keys[2])
    assert (keys[0] != keys[1]).any()


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 9])
def test_over_members_is_a_map_whatever_the_chunk(chunk):
    a, b = jnp.arange(5.0), jnp.arange(10.0).reshape(5, 2)
    result = over_members(lambda x, y: x + y.sum(), chunk)(a, b)
    np.testing.assert_array_equal(result, a + b.sum(axis=1))


@pytest.mark.parametrize(("axis", "expected"), [("scan", 1), ("auto", 1), ("vmap", 6)])
def test_member_chunk_on_a_cpu(axis, expected):
    def never():
        raise AssertionError("a CPU reports no limit")

    assert jax.default_backend() == "cpu"
    assert member_chunk(axis, 6, never) == expected


@pytest.mark.parametrize(("memory", "expected"), [(100, 6), (250, 3), (700, 1), (5000, 1)])
def test_member_chunk_is_what_fits_the_free_memory(monkeypatch, memory, expected):
    class Device:
        def memory_stats(self):
            return {"bytes_limit": 1200, "bytes_in_use": 200}

    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    assert member_chunk("vmap", 6, lambda: memory) == expected  # of 0.8 * 1000 bytes


@pytest.mark.parametrize("architecture", ["dense", "conv"])
def test_a_member_of_a_sweep_equals_the_same_member_alone(tiny, architecture):
    """To rounding: XLA compiles a loop over three members and the only member's program differently."""
    betas = (1.0, 4.0, 16.0)
    alone = fit(Sweep(Config(architecture=architecture), tiny, grid(beta=4.0, seeds=(3,)), batch_size=32), epochs=2)
    for axis in ("scan", "vmap"):
        config = Config(architecture=architecture, member_axis=axis)
        wide = fit(Sweep(config, tiny, grid(beta=betas, seeds=(3,)), batch_size=32), epochs=2)
        rows = [row for row in wide.history if row["member"] == 1]
        for row, expected in zip(rows, alone.history, strict=True):
            assert row["beta"] == expected["beta"] == 4.0
            np.testing.assert_allclose(row["loss"], expected["loss"], rtol=1e-6)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[1], b[0], rtol=1e-4, atol=1e-6),
            wide.state.params,
            alone.state.params,
        )


@pytest.mark.parametrize("axis", ["scan", "vmap"])
def test_a_member_that_dies_leaves_the_others_as_they_were(tiny, axis):
    config = Config(architecture="dense", member_axis=axis)
    healthy = fit(Sweep(config, tiny, grid(beta=(1.0, 2.0, 4.0)), batch_size=32), epochs=2)
    sick = fit(Sweep(config, tiny, grid(beta=(1.0, np.nan, 4.0)), batch_size=32), epochs=2)
    for k in (0, 2):
        jax.tree.map(
            lambda a, b, k=k: np.testing.assert_array_equal(a[k], b[k]), sick.state.params, healthy.state.params
        )
    np.testing.assert_array_equal(sick.state.alive, [True, False, True])
    assert [row["alive"] for row in sick.history[:3]] == [True, False, True]


def test_fit_stops_when_nobody_is_alive(tiny):
    epochs = []
    sweep = Sweep(Config(architecture="dense"), tiny, grid(beta=(np.nan, np.nan), seeds=(0,)), batch_size=32)
    progress = fit(sweep, epochs=5, on_epoch=lambda p: epochs.append(p.epoch))
    assert epochs == [1]
    assert not progress.state.alive.any()


def test_memory_of_one_counts_at_least_the_parameters_twice(tiny):
    sweep = Sweep(Config(architecture="dense"), tiny, grid(), batch_size=32)
    assert sweep._memory_of_one() >= 2 * 4 * 476_216
