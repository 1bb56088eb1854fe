import jax
import numpy as np
import pytest

from jaxvae.config import Config
from jaxvae.fit import Sweep, fit
from jaxvae.parallel import padded
from jaxvae.sweep import grid, train_members


@pytest.fixture(scope="module")
def progress(tiny):
    return fit(Sweep(Config(architecture="dense"), tiny, grid(beta=(0.0, 1.0), seeds=(0, 1)), batch_size=32), epochs=3)


def test_history_has_a_row_per_member_epoch_and_split(progress):
    keys = [(row["epoch"], row["split"], row["member"]) for row in progress.history]
    assert keys == [(e, s, m) for e in (1, 2, 3) for s in ("train", "test") for m in range(4)]
    assert progress.epoch == 3


def test_rows_are_consistent(progress):
    for row in progress.history:
        np.testing.assert_allclose(row["loss"], row["reconstruction"] + row["beta"] * row["kl"], rtol=1e-5)
        assert row["alive"]


def test_it_learns(progress):
    for member in range(4):
        losses = [r["loss"] for r in progress.history if r["member"] == member and r["split"] == "test"]
        assert losses[-1] < losses[0]


def test_seeds_differ_and_repeat(tiny, progress):
    again = fit(Sweep(Config(architecture="dense"), tiny, grid(beta=(0.0, 1.0), seeds=(0, 1)), batch_size=32), epochs=3)
    assert again.history == progress.history
    assert progress.history[0]["loss"] != progress.history[1]["loss"]


def test_the_train_row_weighs_the_short_last_batch_by_its_examples(tiny):
    """100 images at batch 32 make steps of 32, 32, 32 and 4; with learning rate 0 every image counts once."""
    sweep = Sweep(Config(architecture="dense"), tiny, grid(learning_rate=0.0), batch_size=32)
    kl = fit(sweep, epochs=1).history[0]["kl"]  # does not depend on noise or order
    whole = Sweep(Config(architecture="dense"), tiny, grid(learning_rate=0.0), batch_size=100)
    np.testing.assert_allclose(kl, fit(whole, epochs=1).history[0]["kl"], rtol=1e-6)


def test_nothing_is_printed(tiny, capfd):
    fit(Sweep(Config(architecture="dense"), tiny, grid(), batch_size=32), epochs=1)
    assert capfd.readouterr() == ("", "")


def test_evaluation_does_not_train(tiny):
    def make():
        return Sweep(Config(architecture="dense"), tiny, grid(), batch_size=32)

    plain, evaluated = make(), make()
    first = evaluated.start()
    evaluated.evaluate(first.state)
    states = [sweep.epoch(start).state for sweep, start in ((plain, plain.start()), (evaluated, first))]
    jax.tree.map(np.testing.assert_array_equal, states[0].params, states[1].params)


def test_the_traced_epoch_is_the_program_that_runs(tiny):
    sweep = Sweep(Config(architecture="dense"), tiny, grid(beta=(1.0, 2.0)), batch_size=32)
    states, keys = padded(sweep.start().state, sweep.mesh), padded(sweep.train_keys, sweep.mesh)
    static = {"batch_size": 32, "chunk": sweep.chunk, "mesh": sweep.mesh}
    runs = train_members.lower(sweep.train_step, states, sweep.train, keys, **static)
    assert sweep.trace_epoch().lower().as_text() == runs.as_text()


def test_an_epoch_is_named_by_its_number(tiny):
    sweep = Sweep(Config(architecture="dense"), tiny, grid(), batch_size=32)
    _, first = sweep.train_epoch(sweep.start().state, 1)
    _, again = sweep.train_epoch(sweep.start().state, 1)
    _, second = sweep.train_epoch(sweep.start().state, 2)
    np.testing.assert_array_equal(first.loss, again.loss)
    assert not np.array_equal(first.loss, second.loss)
    expected = sweep.epoch(sweep.start()).history[0]
    assert expected["loss"] == pytest.approx(np.average(first.loss[0], weights=[32, 32, 32, 4]), rel=1e-6)
