import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.batches import DeviceSplit, epoch_order, gather, num_steps


@pytest.mark.parametrize(("examples", "batch", "steps"), [(60_000, 128, 469), (10, 5, 2), (1, 128, 1), (11, 5, 3)])
def test_number_of_steps(examples, batch, steps):
    assert num_steps(examples, batch) == steps


@pytest.mark.parametrize("key", [None, jax.random.key(0)])
@pytest.mark.parametrize(("examples", "batch"), [(10, 5), (11, 5), (3, 8)])
def test_an_epoch_visits_every_example_once(examples, batch, key):
    index, weight = map(np.asarray, epoch_order(examples, batch, key))
    assert index.shape == weight.shape == (num_steps(examples, batch), batch)
    assert sorted(index[weight == 1]) == list(range(examples))
    assert set(np.unique(weight)) <= {0.0, 1.0}
    assert (weight[:-1] == 1).all()  # only the last batch is padded


def test_order_depends_on_the_key_and_without_one_is_in_order():
    first, second, third = (epoch_order(50, 10, key).index for key in (jax.random.key(0), jax.random.key(1), None))
    assert (first != second).any()
    np.testing.assert_array_equal(third.ravel(), np.arange(50))


def test_gather_takes_and_scales():
    image = np.random.default_rng(0).integers(0, 256, (4, 2, 3, 2), np.uint8)
    split = DeviceSplit(jnp.asarray(image), jnp.array([3, 2, 1, 0], jnp.int32))
    batch = gather(split, jnp.array([3, 0]), jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(batch.image, image[[3, 0]] / np.float32(255), rtol=2e-7)
    np.testing.assert_array_equal(batch.label, [0, 3])
    np.testing.assert_array_equal(batch.weight, [1, 0])
    assert batch.image.dtype == jnp.float32
