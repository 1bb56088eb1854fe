import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.checkpoint import Checkpoints
from jaxvae.config import Config
from jaxvae.errors import CheckpointError
from jaxvae.fit import Progress, Sweep, fit
from jaxvae.sweep import grid


def make_sweep(tiny, latent_dim=4, betas=(1.0, 4.0), devices=None):
    config = Config(architecture="dense", latent_dim=latent_dim)
    return Sweep(config, tiny, grid(beta=betas), batch_size=32, devices=devices)


def leaves(progress):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(progress.state)]


@pytest.mark.parametrize("architecture", ["dense", pytest.param("conv", marks=pytest.mark.slow)])
def test_a_resumed_run_is_the_unbroken_run_bit_for_bit(tiny, tmp_path, architecture):
    def fresh():
        return Sweep(Config(architecture=architecture), tiny, grid(beta=(1.0, 4.0)), batch_size=32)

    unbroken = fit(fresh(), epochs=4)
    with Checkpoints(tmp_path) as checkpoints:
        fit(fresh(), epochs=2, on_epoch=checkpoints.save)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.epoch == 2
        sweep = fresh()
        start = checkpoints.restore(sweep.abstract_state())
        resumed = fit(sweep, epochs=4, start=start)
    assert resumed.history == unbroken.history
    for a, b in zip(leaves(resumed), leaves(unbroken), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_newest_two_are_kept(tiny, tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        fit(make_sweep(tiny), epochs=3, on_epoch=checkpoints.save)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.isdigit()) == ["2", "3"]


def test_nothing_to_restore(tiny, tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.epoch is None
        with pytest.raises(CheckpointError, match="no checkpoint"):
            checkpoints.restore(make_sweep(tiny).abstract_state())


@pytest.mark.parametrize("other", [{"latent_dim": 5}, {"betas": (1.0,)}], ids=["model", "members"])
def test_another_model_or_sweep_is_refused(tiny, tmp_path, other):
    with Checkpoints(tmp_path) as checkpoints:
        fit(make_sweep(tiny), epochs=1, on_epoch=checkpoints.save)
        with pytest.raises(CheckpointError, match=r"epoch 1, .* is .*\], but this run needs .*\]") as error:
            checkpoints.restore(make_sweep(tiny, **other).abstract_state())
    assert "\n" not in str(error.value)


def test_another_dtype_or_structure_is_refused_and_not_cast(tiny, tmp_path):
    sweep = make_sweep(tiny)
    with Checkpoints(tmp_path) as checkpoints:
        fit(sweep, epochs=1, on_epoch=checkpoints.save)
        wanted = sweep.abstract_state()
        half = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16), wanted.params)
        with pytest.raises(CheckpointError, match="bfloat16"):
            checkpoints.restore(wanted.replace(params=half))
        with pytest.raises(CheckpointError, match="missing"):
            checkpoints.restore(wanted.replace(params={**wanted.params, "more": wanted.step}))
        with pytest.raises(CheckpointError, match="nothing there"):
            checkpoints.restore(wanted.replace(params={}))


def test_saving_an_epoch_again_is_an_error(tiny, tmp_path):
    sweep = make_sweep(tiny)
    progress = sweep.epoch(sweep.start())
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(progress)
        with pytest.raises(CheckpointError, match="epoch 1"):
            checkpoints.save(progress)


def test_a_damaged_checkpoint_is_one_line(tiny, tmp_path):
    sweep = make_sweep(tiny)
    with Checkpoints(tmp_path) as checkpoints:
        fit(sweep, epochs=1, on_epoch=checkpoints.save)
    for path in (tmp_path / "1" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:10])
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError) as error:
        checkpoints.restore(sweep.abstract_state())
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_another_device_is_restored_here(tiny, tmp_path):
    """What Orbax notes of the device it saved from must not matter: the target says where to restore to."""
    sweep = make_sweep(tiny, devices=jax.devices()[:1])
    with Checkpoints(tmp_path) as checkpoints:
        fit(sweep, epochs=1, on_epoch=checkpoints.save)
    path = tmp_path / "1" / "state" / "_sharding"
    text = path.read_text()
    path.write_text(text.replace('\\"id\\": 0', '\\"id\\": 77'))
    assert path.read_text() != text
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(sweep.abstract_state())
    assert restored.state.step.sharding == sweep.abstract_state().step.sharding


def test_one_that_looks_at_a_run_alone_finds_what_is_there_and_makes_nothing(tiny, tmp_path):
    sweep = make_sweep(tiny)
    with Checkpoints(tmp_path / "there") as checkpoints:
        fit(sweep, epochs=1, on_epoch=checkpoints.save)
    with Checkpoints(tmp_path / "there", alone=True) as checkpoints:
        assert checkpoints.restore(sweep.abstract_state()).epoch == 1
    with Checkpoints(tmp_path / "not there", alone=True) as checkpoints:
        assert checkpoints.epoch is None
    assert not (tmp_path / "not there").exists()


def test_a_history_of_another_form_is_one_line(tiny, tmp_path):
    sweep = make_sweep(tiny)
    with Checkpoints(tmp_path) as checkpoints:
        fit(sweep, epochs=1, on_epoch=checkpoints.save)
    (path,) = [path for path in (tmp_path / "1" / "history").iterdir() if path.name == "metadata"]
    path.write_text("[1, 2]")
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError, match="epoch 1 cannot be restored"):
        checkpoints.restore(sweep.abstract_state())


def test_checkpoints_are_due_as_often_as_saving_takes_a_hundredth_of_the_time(tmp_path, monkeypatch):
    times = iter((0.0, 1.0, 2.0, 2.1, 9.0, 12.0))  # opened, asked, saved in a tenth of a second, asked, asked
    monkeypatch.setattr("jaxvae.checkpoint.monotonic", lambda: next(times))
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.due(1)
        checkpoints.save(Progress(1, {"x": np.zeros(2)}, []))
        assert not checkpoints.due(2)
        assert checkpoints.due(3)
        assert [checkpoints.due(epoch, 2) for epoch in (3, 4)] == [False, True]


def test_a_minute_after_the_last_one_a_checkpoint_is_due_whatever_it_takes(tmp_path, monkeypatch):
    times = iter((0.0, 1.0, 31.0, 90.0, 91.0))  # opened, saved in half a minute, asked, asked
    monkeypatch.setattr("jaxvae.checkpoint.monotonic", lambda: next(times))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(Progress(1, {"x": np.zeros(2)}, []))
        assert [checkpoints.due(epoch) for epoch in (2, 3)] == [False, True]
