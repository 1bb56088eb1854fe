"""Conditional layers against the longer input that they stand for: initialization, order, plain convolution."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxvae.models.layers import Conv, ConvTranspose, Dense, flatten_maps, unflatten_maps


@pytest.mark.parametrize(
    ("layer", "inputs", "fan_in"), [(Dense(50), [(30,), (70,)], 100), (Conv(50), [(8, 8, 1), (10,)], 3 * 3 * 11)]
)
def test_a_condition_counts_in_the_fan_in(layer, inputs, fan_in):
    params = jax.jit(layer.init)(jax.random.key(0), *map(jnp.zeros, inputs))["params"]
    for leaf in jax.tree.leaves(params):
        assert 0.6 * fan_in**-0.5 < float(jnp.abs(leaf).max()) <= fan_in**-0.5


@pytest.mark.parametrize("lowering", ["native", "gemm"])
@pytest.mark.parametrize("layer", [Conv(4), ConvTranspose(4)], ids=["conv", "transposed"])
def test_a_convolution_works_in_the_type_of_its_kernel_and_takes_no_images_too(layer, lowering):
    layer, image = layer.clone(lowering=lowering), jnp.ones((2, 8, 8, 3))
    params = layer.init(jax.random.key(0), image)
    wide = layer.apply(params, image.astype(jnp.bfloat16))
    assert wide.dtype == jnp.float32
    np.testing.assert_array_equal(wide, layer.apply(params, image))
    narrow = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    assert layer.apply(narrow, image).dtype == jnp.bfloat16
    assert layer.apply(params, image[:0]).shape == (0, *wide.shape[1:])


def test_the_condition_of_dense_comes_after_the_input():
    kernel, bias = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([0.5, -0.5])
    dense = partial(Dense(2).apply, {"params": {"kernel": kernel, "bias": bias}})
    np.testing.assert_array_equal(dense(jnp.array([1.0]), jnp.array([-1.0])), [-1.5, -2.5])
    np.testing.assert_array_equal(dense(jnp.array([-1.0]), jnp.array([1.0])), [2.5, 1.5])


def with_label_planes(image, condition):
    """Document 002: the label as channels of the image's size, after the image's own."""
    planes = jnp.broadcast_to(condition[:, None, None], (*image.shape[:-1], condition.shape[-1]))
    return jnp.concatenate([image, planes], axis=-1)


def test_conditional_layers_start_with_the_parameters_of_the_longer_input():
    key, image, condition = jax.random.key(3), jnp.zeros((1, 6, 6, 2)), jnp.zeros((1, 5))
    jax.tree.map(
        np.testing.assert_array_equal,
        jax.jit(Conv(4).init)(key, image, condition),
        jax.jit(Conv(4).init)(key, with_label_planes(image, condition)),
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("lowering", "kernel_size"), [("native", 4), ("gemm", 3), ("gemm", 4)])
def test_a_condition_at_stride_1_is_constant_channels(lowering, kernel_size):
    """Against XLA's convolution; with fewer channels out than in the gemm form multiplies before it shifts and adds."""
    rng = np.random.default_rng(0)
    shapes = (kernel_size, kernel_size, 8, 2), (2,), (2, 7, 6, 3), (2, 5)
    kernel, bias, image, condition = (jnp.asarray(rng.normal(size=shape)) for shape in shapes)
    condition = condition.at[0].set(jax.nn.one_hot(3, 5))

    def layer(kernel, bias, image, condition):
        conv = Conv(2, kernel_size, stride=1, padding=1, lowering=lowering)
        return conv.apply({"params": {"kernel": kernel, "bias": bias}}, image, condition)

    def plain(kernel, bias, image, condition):
        planes, dimensions = with_label_planes(image, condition), ("NHWC", "HWIO", "NHWC")
        result = lax.conv_general_dilated(planes, kernel, (1, 1), [(1, 1), (1, 1)], dimension_numbers=dimensions)
        return result + bias.reshape(1, 1, 1, -1)

    @partial(jax.jit, static_argnums=0)
    def values_and_gradients(function, *inputs):
        value, pullback = jax.vjp(function, *inputs)
        return value, pullback(jnp.cos(jnp.arange(value.size, dtype=value.dtype)).reshape(value.shape))

    result, expected = (values_and_gradients(f, kernel, bias, image, condition) for f in (layer, plain))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-11, atol=1e-12), result, expected)


@pytest.mark.parametrize("leading", [(), (5,), (2, 3), (0,)], ids=str)
def test_maps_are_flattened_in_pytorch_s_order_and_back(leading):
    maps = jnp.asarray(np.random.default_rng(0).normal(size=(*leading, 4, 3, 2)))
    flat = flatten_maps(maps)
    np.testing.assert_array_equal(flat, np.moveaxis(maps, -1, -3).reshape(*leading, 24))
    np.testing.assert_array_equal(unflatten_maps(flat, (4, 3, 2)), maps)


@pytest.mark.usefixtures("float64")
def test_dense_layers_on_flattened_maps_have_the_plain_gradients():
    """Conv, flatten, Dense, Dense, unflatten, transposed Conv in GEMM form against native ones and plain reshapes."""
    rng = np.random.default_rng(0)
    image, kernel, there, back, transposed = (
        jnp.asarray(rng.normal(size=shape)) for shape in [(3, 6, 6, 2), (3, 3, 2, 4), (36, 5), (5, 36), (3, 3, 4, 2)]
    )

    def network(lowering, flatten, unflatten, image, kernel, there, back, transposed):
        conv, conv_transpose = Conv(4, stride=2, lowering=lowering), ConvTranspose(2, 3, lowering=lowering)
        maps = conv.apply({"params": {"kernel": kernel, "bias": jnp.ones(4)}}, image)
        maps = unflatten(jnp.tanh(flatten(maps) @ there) @ back)
        return jnp.sum(jnp.cos(conv_transpose.apply({"params": {"kernel": transposed, "bias": jnp.ones(2)}}, maps)))

    plain = (lambda x: jnp.moveaxis(x, -1, -3).reshape(3, 36)), (lambda x: jnp.moveaxis(x.reshape(3, 4, 3, 3), 1, 3))
    fast = flatten_maps, partial(unflatten_maps, shape=(3, 3, 4))
    results = [
        jax.jit(jax.value_and_grad(partial(network, *form), argnums=range(5)))(image, kernel, there, back, transposed)
        for form in [("native", *plain), ("gemm", *fast)]
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12), *results)
