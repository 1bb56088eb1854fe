"""Self-attention against flax's own module with the same weights, and its symmetries."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.models.attention import AttentionBlock, SelfAttention

ROWS, COLUMNS, CHANNELS = 3, 2, 8
assert_close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)  # JAX takes the softmax in float32, always


@pytest.fixture
def standard_promotion():
    """For what is not ours: JAX's attention promotes dtypes in float64, flax's adds biases of another rank."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def normal(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def make_params(layer):
    """Random parameters, positions and biases too, in the shapes that the layer asks for."""
    shapes = jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros((ROWS, COLUMNS, CHANNELS)))["params"]
    leaves, tree = jax.tree.flatten(shapes)
    return jax.tree.unflatten(tree, [0.5 * normal(leaf.shape, seed) for seed, leaf in enumerate(leaves)])


def as_flax(params, heads):
    """Our weights [C, C] as those of flax: [C, heads, C / heads] of the inputs, [heads, C / heads, C] of the output."""
    width = CHANNELS // heads
    inputs = {
        name: {
            "kernel": params[name]["kernel"].reshape(-1, heads, width),
            "bias": params[name]["bias"].reshape(heads, -1),
        }
        for name in ("query", "key", "value")
    }
    output = {"kernel": params["output"]["kernel"].reshape(heads, width, -1), "bias": params["output"]["bias"]}
    return {**inputs, "out": output}


@pytest.mark.usefixtures("float64", "standard_promotion")
@pytest.mark.parametrize(("heads", "leading"), [(1, (2, 3)), (4, ()), (4, (2, 3))])
def test_self_attention_is_flax_s_multi_head_attention(heads, leading):
    """Values, and gradients with respect to the feature map and every weight."""
    x, ours = normal((*leading, ROWS, COLUMNS, CHANNELS), seed=9), SelfAttention(heads)
    theirs = nn.MultiHeadDotProductAttention(heads, param_dtype=jnp.float64)

    def reference(params, x):
        positions = x.reshape(*leading, ROWS * COLUMNS, CHANNELS)
        return theirs.apply({"params": as_flax(params, heads)}, positions).reshape(x.shape)

    @partial(jax.jit, static_argnums=0)
    def values_and_gradients(function, params, x):
        value, pullback = jax.vjp(function, params, x)
        return value, pullback(jnp.cos(x))

    params = make_params(ours)
    result = values_and_gradients(lambda params, x: ours.apply({"params": params}, x), params, x)
    jax.tree.map(assert_close, result, values_and_gradients(reference, params, x))


def test_heads_are_not_the_same_function():
    """Negative control of the test above: what one head computes from these weights, four do not."""
    x, params = normal((ROWS, COLUMNS, CHANNELS), seed=9), make_params(SelfAttention())
    one, four = (jax.jit(SelfAttention(heads).apply)({"params": params}, x) for heads in (1, 4))
    assert float(jnp.abs(one - four).max()) > 0.02


def test_channels_must_split_evenly_into_heads():
    with pytest.raises(ValueError, match="8 channels cannot be split into 3 heads"):
        SelfAttention(3).init(jax.random.key(0), jnp.zeros((ROWS, COLUMNS, CHANNELS)))


def shuffled(x):
    """The same vectors at other positions."""
    order = np.random.default_rng(1).permutation(ROWS * COLUMNS)
    return x.reshape(-1, CHANNELS)[order].reshape(x.shape)


def test_attention_sees_places_only_through_the_learned_positions():
    x = normal((ROWS, COLUMNS, CHANNELS), seed=9)
    plain, block = SelfAttention(2), AttentionBlock(2)
    attention = jax.jit(partial(plain.apply, {"params": make_params(plain)}))
    np.testing.assert_allclose(attention(shuffled(x)), shuffled(attention(x)), rtol=1e-4, atol=1e-5)

    params = make_params(block)
    apply = jax.jit(lambda params, x: block.apply({"params": params}, x))
    without = {**params, "row": 0 * params["row"], "column": 0 * params["column"]}
    np.testing.assert_allclose(apply(without, shuffled(x)), shuffled(apply(without, x)), rtol=1e-4, atol=1e-5)
    for name in ("row", "column"):  # either of them breaks the symmetry
        one = {**without, name: params[name]}
        assert float(jnp.abs(apply(one, shuffled(x)) - shuffled(apply(one, x))).max()) > 0.02


def test_attention_block_by_its_formula():
    block, x = AttentionBlock(2), normal((2, ROWS, COLUMNS, CHANNELS), seed=9)
    params = make_params(block)
    position = np.zeros((ROWS, COLUMNS, CHANNELS), np.float32)
    for i in range(ROWS):
        for j in range(COLUMNS):
            position[i, j] = params["row"][i, 0] + params["column"][0, j]
    attended = SelfAttention(2).apply({"params": params["SelfAttention_0"]}, x + position[None])
    np.testing.assert_allclose(block.apply({"params": params}, x), x + attended, rtol=1e-5, atol=1e-5)


def test_positions_start_at_zero():
    params = jax.jit(AttentionBlock().init)(jax.random.key(0), jnp.ones((ROWS, COLUMNS, CHANNELS)))["params"]
    assert params["row"].shape == (ROWS, 1, CHANNELS)
    assert params["column"].shape == (1, COLUMNS, CHANNELS)
    assert not params["row"].any()
    assert not params["column"].any()
