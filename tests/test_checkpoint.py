import hashlib
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae import checkpoint
from jaxvae.checkpoint import Checkpoints
from jaxvae.config import Config
from jaxvae.errors import CheckpointError, RunFolderError
from jaxvae.fit import Progress, Sweep, fit
from jaxvae.manifest import state_sha256, text_sha256
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
        with pytest.raises(CheckpointError, match=r"/1: .* is .*\], but this run needs .*\]") as error:
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


def saved(tiny, folder, epochs=3):
    """A sweep whose last two of so many epochs are saved in `folder`, and the state of each."""
    sweep, states = make_sweep(tiny), {}
    with Checkpoints(folder) as checkpoints:

        def save(progress):
            checkpoints.save(sweep.own(progress))
            states[progress.epoch] = state_sha256(sweep.own(progress).state)

        fit(sweep, epochs=epochs, on_epoch=save)
    return sweep, states


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (lambda path: (path / "manifest.json").unlink(), "manifest.json is missing"),
        (
            lambda path: (path / "manifest.json").write_text("[1, 2"),
            "manifest.json is not as it was written: Expecting",
        ),
        (lambda path: (path / "manifest.json").write_bytes(b"\xff"), "manifest.json is not as it was written"),
        (lambda path: (path / "manifest.json").write_text("[" * 10**5), "manifest.json is not as it was written"),
        (lambda path: (path / "manifest.json").write_text("{}"), "manifest.json is not as it was written: its sha256"),
        (lambda path: (path / "state" / "more").touch(), "state/more does not belong to it"),
        (lambda path: (path / "state" / "_METADATA").unlink(), "state/_METADATA is missing"),
        (lambda path: (path / "state" / "_METADATA").write_text("{}"), "state/_METADATA is not as it was written"),
    ],
)
def test_damage_is_named_and_what_is_older_and_intact_is_offered(tiny, tmp_path, damage, finding):
    sweep, states = saved(tiny, tmp_path)
    damage(tmp_path / "3")
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(CheckpointError) as error:
            checkpoints.restore(sweep.abstract_state())
        assert str(error.value).startswith(f"{tmp_path / '3'}: damaged: {finding}")
        assert str(error.value).endswith(
            f"; epoch 2 is intact: to go on from there, remove {tmp_path / '3'} and resume"
        )
        assert "\n" not in str(error.value)
        shutil.rmtree(tmp_path / "3")  # as it says
        restored = checkpoints.restore(sweep.abstract_state())
    assert restored.epoch == 2
    assert state_sha256(restored.state) == states[2]


def test_a_history_that_was_changed_is_damage(tiny, tmp_path):
    sweep, _ = saved(tiny, tmp_path)
    path = tmp_path / "3" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["history"][0]["loss"] += 1e-9
    path.write_text(json.dumps(manifest))
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError, match="its sha256 is another"):
        checkpoints.restore(sweep.abstract_state())


@pytest.mark.parametrize(
    ("change", "finding"),
    [({"betas": [2.0]}, r"betas is \[1.0\], but this run needs \[2.0\]"), ({"data": "y"}, "data is x, but")],
)
def test_another_run_s_checkpoint_is_refused(tiny, tmp_path, change, finding):
    sweep, run = make_sweep(tiny), {"betas": [1.0], "data": "x"}
    with Checkpoints(tmp_path, run) as checkpoints:
        fit(sweep, epochs=1, on_epoch=checkpoints.save)
        assert checkpoints.restore(sweep.abstract_state()).epoch == 1
    with Checkpoints(tmp_path, {**run, **change}) as checkpoints, pytest.raises(CheckpointError, match=finding):
        checkpoints.restore(sweep.abstract_state())


def test_a_manifest_of_another_version_is_named(tiny, tmp_path):
    sweep, _ = saved(tiny, tmp_path)
    path = tmp_path / "3" / "manifest.json"
    for body in ({}, {**json.loads(path.read_text()), "files": 3}):
        body.pop("sha256", None)
        path.write_text(json.dumps({"sha256": text_sha256(body), **body}))
        with (
            Checkpoints(tmp_path) as checkpoints,
            pytest.raises(CheckpointError, match=r"is of another version; epoch 2"),
        ):
            checkpoints.restore(sweep.abstract_state())


def test_where_nothing_is_intact_nothing_is_offered(tiny, tmp_path):
    sweep, _ = saved(tiny, tmp_path)
    for epoch in (2, 3):
        (tmp_path / str(epoch) / "manifest.json").unlink()
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError, match="no older one that is intact"):
        checkpoints.restore(sweep.abstract_state())


def test_a_checkpoint_under_another_epoch_s_name_is_damage(tiny, tmp_path):
    sweep, _ = saved(tiny, tmp_path)
    (tmp_path / "3").rename(tmp_path / "7")
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError, match="/7: damaged: it is of epoch 3"):
        checkpoints.restore(sweep.abstract_state())


def test_what_a_killed_save_leaves_is_not_looked_at_and_goes_with_the_next(tiny, tmp_path):
    sweep, states = saved(tiny, tmp_path)
    shutil.copytree(tmp_path / "3", tmp_path / ".4")
    (tmp_path / ".4" / "manifest.json").unlink()
    with Checkpoints(tmp_path) as checkpoints:
        start = checkpoints.restore(sweep.abstract_state())
        assert (start.epoch, state_sha256(start.state)) == (3, states[3])
        fit(sweep, epochs=4, start=start, on_epoch=checkpoints.save)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "4"]


@pytest.mark.parametrize("at", ["write_manifest", "rename"])
def test_a_save_that_fails_leaves_the_one_before(tiny, tmp_path, monkeypatch, at):
    sweep, states = saved(tiny, tmp_path, epochs=1)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with Checkpoints(tmp_path) as checkpoints:
        start = checkpoints.restore(sweep.abstract_state())
        with monkeypatch.context() as patch:
            patch.setattr(*((checkpoint, at) if at == "write_manifest" else (type(tmp_path), at)), full)
            with pytest.raises(RunFolderError, match="/2: cannot be written: No space left on device"):
                fit(sweep, epochs=2, start=start, on_epoch=checkpoints.save)
        assert [path.name for path in tmp_path.iterdir()] == ["1"]
        assert state_sha256(checkpoints.restore(sweep.abstract_state()).state) == states[1]


def test_a_disk_without_room_is_asked_before_anything_is_written(tiny, tmp_path, monkeypatch, capfd):
    sweep = make_sweep(tiny)
    room = os.statvfs(tmp_path)
    few = os.statvfs_result((room.f_bsize, room.f_frsize, room.f_blocks, 10, 10, *tuple(room)[5:]))
    monkeypatch.setattr(checkpoint.os, "statvfs", lambda folder: few)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(RunFolderError, match="No space left"):
        fit(sweep, epochs=1, on_epoch=checkpoints.save)
    assert capfd.readouterr().err == ""
    assert not list(tmp_path.iterdir())


def test_a_linked_folder_is_not_written_through(tiny, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with Checkpoints(tmp_path / "checkpoints") as checkpoints, pytest.raises(RunFolderError, match="is a link"):
        fit(make_sweep(tiny), epochs=1, on_epoch=checkpoints.save)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_state_s_sha256_sees_every_bit_name_and_dtype():
    tree = {"a": np.arange(6, dtype=np.float32), "b": np.zeros((2, 3), np.int32)}
    found = state_sha256(tree)
    assert found == state_sha256({"b": tree["b"], "a": tree["a"].copy()})
    flipped = tree["a"].copy()
    flipped.view(np.uint32)[5] ^= 1
    for other in (
        {**tree, "a": flipped},
        {"a": tree["a"], "c": tree["b"]},
        {**tree, "b": tree["b"].astype(np.uint32)},
        {**tree, "b": tree["b"].reshape(3, 2)},
    ):
        assert state_sha256(other) != found


def test_a_checkpoint_of_another_device_is_restored_here(tiny, tmp_path):
    """What Orbax notes of the device it saved from must not matter: the target says where to restore to."""
    sweep = make_sweep(tiny, devices=jax.devices()[:1])
    with Checkpoints(tmp_path) as checkpoints:
        fit(sweep, epochs=1, on_epoch=checkpoints.save)
    path, manifest = tmp_path / "1" / "state" / "_sharding", tmp_path / "1" / "manifest.json"
    text = path.read_text()
    path.write_text(text.replace('\\"id\\": 0', '\\"id\\": 77'))
    assert path.read_text() != text
    body = json.loads(manifest.read_text())
    body.pop("sha256")
    body["files"]["state/_sharding"] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.write_text(json.dumps({"sha256": text_sha256(body), **body}))
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


def test_checkpoints_are_due_as_often_as_saving_takes_a_hundredth_of_the_time(tmp_path, monkeypatch):
    times = iter((0.0, 2.0, 2.1, 9.0, 12.0))  # opened, saved in a tenth of a second, asked, asked
    monkeypatch.setattr("jaxvae.checkpoint.monotonic", lambda: next(times))
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.due(1)
        assert checkpoints.due(1, 2)  # without one there is nothing to resume from
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
