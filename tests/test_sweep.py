"""The member axis: the grid, vmap against scan, a member of a sweep against the same member alone."""

from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.config import Config
from jaxvae.errors import ConfigError
from jaxvae.fit import Sweep, fit
from jaxvae.parallel import unpadded
from jaxvae.sweep import (
    MemberBytes,
    at_points,
    grid,
    member_chunk,
    over_members,
)
from jaxvae.types import Hparams


def test_grid_is_the_product_with_seeds_fastest():
    members = grid(beta=(1, 4), learning_rate=(1e-3, 1e-2), seeds=(7, 8))
    described = [members.describe(k) for k in range(len(members))]
    assert [(d["beta"], d["learning_rate"], d["seed"]) for d in described] == [
        (beta, rate, seed) for beta in (1, 4) for rate in (1e-3, 1e-2) for seed in (7, 8)
    ]
    assert described[0] == {"member": 0, "seed": 7, **asdict(Hparams()), "beta": 1.0}
    assert members.hparams.beta.dtype == np.float32


def test_points_are_members_side_by_side():
    members = at_points([{"beta": 2.0, "learning_rate": 1e-2}, {"variance": 0.25}], seeds=(7, 8))
    assert [members.describe(k) for k in range(4)] == [
        {"member": k, "seed": seed, **asdict(Hparams()), **point}
        for k, (point, seed) in enumerate(
            (point, seed) for point in ({"beta": 2.0, "learning_rate": 0.01}, {"variance": 0.25}) for seed in (7, 8)
        )
    ]


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("lowering", ["native", "gemm"])
def test_an_epoch_of_members_side_by_side_lowers_for_accelerators(tiny, platform, lowering):
    config = Config("conv_32_64", latent_dim=2, conditional=True, member_axis="vmap", lowering=lowering)
    sweep = Sweep(config, tiny, grid(beta=(1, 2)), batch_size=50)
    program = sweep.trace_epoch(chunk=2).lower(lowering_platforms=(platform,))
    convolutions = program.as_text().count("stablehlo.convolution")
    assert (convolutions > 0) == (lowering == "native")


def test_grid_refuses_an_unknown_name():
    with pytest.raises(TypeError, match="betta"):
        grid(betta=(1,))


@pytest.mark.parametrize("empty", [{"beta": ()}, {"seeds": ()}])
def test_no_members_is_refused(empty):
    with pytest.raises(ValueError, match="at least one"):
        grid(**empty)


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
def test_member_chunk_where_the_device_reports_no_memory(axis, expected):
    def never():
        raise AssertionError("there is no limit to keep")

    assert jax.default_backend() == "cpu"
    assert member_chunk(axis, 6, 12, never, None) == expected


@pytest.mark.parametrize(
    ("state", "working", "expected"),  # of 0.8 * 1000 bytes, 2 * 6 states are always there
    [(10, 50, 6), (10, 200, 3), (10, 130, 3), (10, 160, 2 + 1), (10, 250, 2), (40, 200, 1)],
)
def test_member_chunk_is_what_fits_the_free_memory_in_equal_chunks(state, working, expected):
    assert member_chunk("vmap", 6, 12, lambda: MemberBytes(state, working), 1000.0) == expected
    assert 2 * 6 * state + expected * (state + working) <= 800


def test_members_that_cannot_fit_are_refused():
    with pytest.raises(ConfigError, match="6 members do not fit"):
        member_chunk("vmap", 6, 12, lambda: MemberBytes(100, 1), 1000.0)


def test_the_memory_model_covers_what_the_compiler_says(tiny):
    """Arguments, results and working memory of 12 members, 4 at a time, against 2 K state + chunk (state + working)."""
    devices = jax.devices()[:1]
    sweep = Sweep(Config("dense"), tiny, grid(beta=np.linspace(1, 4, 12)), batch_size=32, devices=devices)
    one = sweep._member_bytes()
    assert one.state == 4 * 3 * 476_216 + 4 * 9 + 1  # parameters, two moments; step, count, 7 scalars; alive
    memory = sweep.trace_epoch(chunk=4).lower().compile().memory_analysis()
    needed = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
    needed -= memory.alias_size_in_bytes
    model = 2 * 12 * one.state + 4 * (one.state + one.working)
    assert needed <= 1.1 * model + sum(x.nbytes for x in sweep.train)
    assert needed >= 0.3 * model  # and it is no wild overestimate


def test_what_a_member_needs_is_what_it_needs_in_the_process_where_that_is_most(tiny, monkeypatch):
    sweep = Sweep(Config("mlp"), tiny, grid(), batch_size=32, devices=jax.devices()[:1])
    monkeypatch.setattr("jaxvae.fit.least", lambda value, mesh: min(value, -1e12))  # another has so much
    assert sweep._member_bytes().working == 1e12


def test_one_program_serves_every_epoch_and_every_sweep_of_its_shape(tiny, caplog):
    def compiled(betas):
        caplog.clear()
        with jax.log_compiles():
            fit(Sweep(Config(architecture="mlp", latent_dim=4), tiny, grid(beta=betas), batch_size=26), epochs=2)
        return [line for line in caplog.messages if line.startswith("Compiling")]

    first = compiled((1.0, 2.0))
    for name in ("init_members", "train_members", "evaluate_members"):
        assert sum(name in line for line in first) == 1, first
    assert compiled((3.0, 4.0)) == []


def test_an_epoch_takes_over_the_state_it_is_given(tiny):
    sweep = Sweep(Config(architecture="dense"), tiny, grid(beta=(1.0, 2.0)), batch_size=32)
    start = sweep.start()
    sweep.epoch(start)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(start.state))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("chunk", [1, 4])
@pytest.mark.parametrize(
    ("architecture", "conditional"), [("conv", False), ("conv_32_64", True), ("leaky_conv_attention", False)]
)
def test_the_epoch_lowers_for_accelerators_without_callbacks_or_float64(
    tiny, platform, chunk, architecture, conditional
):
    config = Config(architecture=architecture, conditional=conditional, lowering="native")
    sweep = Sweep(config, tiny, grid(beta=(1.0, 2.0, 3.0, 4.0)), batch_size=32)
    text = sweep.trace_epoch(chunk=chunk).lower(lowering_platforms=(platform,)).as_text()
    assert "callback" not in text
    assert "f64" not in text
    assert "stablehlo.convolution" in text
    assert "stablehlo.while" in text  # the scan over steps


@pytest.mark.parametrize("architecture", ["dense", pytest.param("conv", marks=pytest.mark.slow)])
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
            lambda a, b: np.testing.assert_allclose(a[1], b[0], rtol=1e-4, atol=2e-5),  # Adam's steps are 1e-3
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


BAD = [
    *({"beta": value} for value in (np.nan, np.inf, 1e6, -1e9)),
    *({"learning_rate": value} for value in (np.nan, 1e6, -1e9)),
    {"learning_rate": 0.2, "warmup_steps": 20.0},  # document 003's explosions: some steps in
]


@pytest.mark.parametrize("axis", ["scan", "vmap"])
@pytest.mark.parametrize(
    ("architecture", "epochs"),
    [("dense", 4), *(pytest.param(name, 16, marks=pytest.mark.slow) for name in ("dense", "leaky_conv_2"))],
)
def test_no_member_notices_what_becomes_of_another(tiny, architecture, epochs, axis):
    """Bit for bit, on eight devices: two rows hold a bad member and a good one."""

    def trained(bad):
        config = Config(architecture=architecture, member_axis=axis, logvar_bound=1e9)
        points = [{"beta": 1.0}, *bad, {"beta": 4.0}]
        sweep = Sweep(config, tiny, at_points(points), batch_size=8)
        state, ends = sweep.start().state, []
        for number in range(1, epochs + 1):  # of 13 steps
            state, _ = sweep.train_epoch(state, number)
            state = unpadded(state, len(points), sweep.mesh)
            ends.append(jax.tree.map(np.array, state))
        return ends

    sick, healthy = trained(BAD), trained([{"beta": 1.0 + k} for k in range(len(BAD))])
    for a, b in zip(sick, healthy, strict=True):
        for k in (0, -1):
            jax.tree.map(lambda x, y, k=k: np.testing.assert_array_equal(x[k], y[k]), a, b)
    last = sick[-1]
    assert last.step[0] == last.step[-1] == 13 * epochs
    assert not last.alive[[1, 2, 5]].any()
    for k in np.flatnonzero(~last.alive):
        assert last.step[k] < 13 * epochs
        first = next(state for state in sick if not state.alive[k])
        jax.tree.map(lambda x, y, k=k: np.testing.assert_array_equal(x[k], y[k]), last, first)  # frozen
        assert all(np.isfinite(x[k]).all() for x in jax.tree.leaves((last.params, last.opt_state)))


def test_fit_stops_when_nobody_is_alive(tiny):
    epochs = []
    sweep = Sweep(Config(architecture="dense"), tiny, grid(beta=(np.nan, np.nan), seeds=(0,)), batch_size=32)
    progress = fit(sweep, epochs=5, on_epoch=lambda p: epochs.append(p.epoch))
    assert epochs == [1]
    assert not progress.state.alive.any()
