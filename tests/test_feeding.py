"""Data on the host, fed in chunks: the numbers of data on the device."""

from dataclasses import replace
from itertools import chain, repeat

import jax
import numpy as np
import pytest

from jaxvae import feeding
from jaxvae.batches import DeviceSplit
from jaxvae.config import Config
from jaxvae.data.dataset import Split
from jaxvae.feeding import fits, parts_on_device, place_batches
from jaxvae.fit import Sweep, fit
from jaxvae.parallel import make_mesh
from jaxvae.sweep import grid

MLP, ONE = Config("mlp", latent_dim=3, conditional=True), grid()
IMAGE = 28 * 28


def sweep_of(dataset, where, *, config=MLP, members=ONE, devices=1):
    return Sweep(config, dataset, members, batch_size=23, devices=jax.devices()[:devices], data_on=where)


def losses(sweep, epochs):
    state, found = sweep.start().state, []
    for epoch in range(1, epochs + 1):
        state, terms = sweep.train_epoch(state, epoch)
        found.append(np.asarray(terms.loss))
    return np.concatenate(found, axis=1)


@pytest.mark.parametrize("steps", [2, pytest.param(9, marks=pytest.mark.slow)])
def test_chunks_of_any_length_have_the_losses_of_data_on_the_device(tiny, monkeypatch, steps):
    """Five batches of 23, the last of 8; chunks that divide them and chunks that do not."""
    monkeypatch.setattr(feeding, "CHUNK_BYTES", steps * 23 * IMAGE)
    np.testing.assert_allclose(losses(sweep_of(tiny, "host"), 2), losses(sweep_of(tiny, "device"), 2), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
def test_members_get_their_own_batches(tiny, monkeypatch, devices):
    members = grid(beta=(1.0, 4.0), seeds=(0, 1, 2))
    monkeypatch.setattr(feeding, "CHUNK_BYTES", 2 * 6 * 23 * IMAGE)
    fed = losses(sweep_of(tiny, "host", members=members, devices=devices), 2)
    resident = losses(sweep_of(tiny, "device", members=members), 2)
    assert fed.shape == (6, 10)
    np.testing.assert_allclose(fed, resident, rtol=1e-5)


@pytest.mark.parametrize(("count", "devices"), [(3, 8), *(pytest.param(1, n, marks=pytest.mark.slow) for n in (2, 8))])
def test_the_columns_of_a_batch_are_fed_to_their_devices(tiny, monkeypatch, count, devices):
    """Batches of 23 and the last of 8, filled up with nothing for two or eight columns; in chunks of two steps."""
    members = grid(seeds=range(count))
    monkeypatch.setattr(feeding, "CHUNK_BYTES", 2 * count * 24 * IMAGE)
    fed = sweep_of(tiny, "host", members=members, devices=devices)
    assert fed.mesh.shape["data"] > 1
    np.testing.assert_allclose(losses(fed, 2), losses(sweep_of(tiny, "device", members=members), 2), rtol=1e-5)


@pytest.mark.slow
def test_a_conv_net_is_fed_too(tiny):
    conv = Config("conv", latent_dim=3)
    fed, resident = (losses(sweep_of(tiny, where, config=conv), 1) for where in ("host", "device"))
    np.testing.assert_allclose(fed, resident, rtol=1e-5)


def test_another_order_would_be_seen(tiny):
    fed, resident = sweep_of(tiny, "host"), sweep_of(tiny, "device")
    fed.train = Split(*(x[::-1] for x in fed.train))
    assert np.abs(losses(fed, 1) / losses(resident, 1) - 1).max() > 1e-3


@pytest.mark.slow
def test_test_images_are_evaluated_part_by_part(tiny, monkeypatch):
    monkeypatch.setattr(feeding, "CHUNK_BYTES", 15 * IMAGE)  # 40 images in parts of 15, 15 and 10
    whole, parts = (sweep_of(tiny, where, members=grid(beta=(1.0, 4.0))) for where in ("device", "host"))
    state = whole.start().state
    for found, expected in zip(
        jax.tree.leaves((parts.evaluate(state), parts.sampled_quality(state))),
        jax.tree.leaves((whole.evaluate(state), whole.sampled_quality(state))),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert [(int(first), len(part.image)) for first, part in parts_on_device(parts.test, parts.mesh)] == [
        *((0, 15), (15, 15), (30, 10)),
    ]


def test_a_device_reads_its_own_members_and_columns():
    """Four devices, two members: of a batch of four each reads two examples of one member."""
    reads = []

    class Images:
        def __init__(self, array):
            self.array, self.shape = array, array.shape

        def __getitem__(self, index):
            reads.append(np.asarray(index))
            return self.array[index]

    images = np.arange(8, dtype=np.uint8).reshape(8, 1, 1, 1)
    index = np.array([[[0, 1, 2, 3]], [[4, 5, 6, 7]]])
    order = feeding.EpochOrder(index, np.ones_like(index, np.float32))
    batch = place_batches(Split(Images(images), np.arange(8)), order, make_mesh(2, jax.devices()[:4]))
    np.testing.assert_array_equal(batch.image[..., 0, 0, 0], index)
    assert sorted(read.ravel().tolist() for read in reads) == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_devices_hold_two_chunks_at_most(tiny, monkeypatch):
    """A third is not begun before the first has been trained."""
    events = []
    monkeypatch.setattr(feeding, "CHUNK_BYTES", 23 * IMAGE)
    placing, waiting = feeding.place_batches, jax.block_until_ready
    monkeypatch.setattr(feeding, "place_batches", lambda *a: events.append("place") or placing(*a))
    monkeypatch.setattr(jax, "block_until_ready", lambda x: events.append("wait") or waiting(x))
    sweep = sweep_of(tiny, "host")
    sweep.train_epoch(sweep.start().state, 1)
    assert events == ["place", "place", "wait", "place", "wait", "place", "wait", "place"]


def test_data_stays_on_the_host_where_it_does_not_fit(tiny, monkeypatch):
    size = 140 * (IMAGE + 4)
    assert fits(tiny, None)
    assert fits(tiny, 2 * size)
    assert not fits(tiny, 2 * size - 2)
    free = chain([size], repeat(1e9))  # for the data, then for members side by side
    monkeypatch.setattr("jaxvae.fit.free_bytes", lambda mesh: next(free))
    config = replace(MLP, member_axis="vmap")
    sweep = Sweep(config, tiny, grid(), batch_size=23, devices=jax.devices()[:1])
    assert isinstance(sweep.train, Split)
    assert isinstance(sweep_of(tiny, "device").train, DeviceSplit)
    progress = fit(sweep, epochs=2)
    expected = fit(sweep_of(tiny, "device"), epochs=2)
    assert progress.history[-1]["loss"] == pytest.approx(expected.history[-1]["loss"], rel=1e-6)
