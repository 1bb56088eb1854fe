"""The label as inputs and as planes, written out as document 002 does, against the form that builds neither."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.models.layers import Conv, Dense
from jaxvae.models.lowering import conv_constant


def check_same(function, reference, *arguments):
    """Values and gradients of two functions of the same arguments."""
    rng = np.random.default_rng(1)
    cotangent = jnp.asarray(rng.normal(size=jax.eval_shape(reference, *arguments).shape))

    @partial(jax.jit, static_argnums=0)
    def value_and_gradients(function, *arguments):
        value, pullback = jax.vjp(function, *arguments)
        return value, pullback(cotangent)

    result, expected = (value_and_gradients(f, *arguments) for f in (function, reference))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-11, atol=1e-11), result, expected)


def params_of(layer, *inputs):
    shapes = jax.eval_shape(layer.init, jax.random.key(0), *inputs)["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), shapes)


CONDITIONS = [[0.0, 0.0, 1.0], [0.4, -2.0, 1.3]]  # a one-hot label, and anything else


@pytest.mark.usefixtures("float64")
def test_dense_is_dense_of_the_concatenation():
    x, condition = jnp.asarray(np.random.default_rng(3).normal(size=(2, 5))), jnp.array(CONDITIONS)
    layer = Dense(4)
    params = params_of(layer, x, condition)
    assert params["kernel"].shape == (8, 4)
    check_same(
        lambda params, x, c: layer.apply({"params": params}, x, c),
        lambda params, x, c: layer.apply({"params": params}, jnp.concatenate([x, c], axis=-1)),
        *(params, x, condition),
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("lowering", ["native", "gemm"])
@pytest.mark.parametrize(("kernel_size", "stride", "size"), [(4, 2, (8, 6)), (3, 2, (7, 7)), (3, 1, (5, 4))])
def test_conv_is_the_convolution_of_image_and_label_planes(lowering, kernel_size, stride, size):
    image = jnp.asarray(np.random.default_rng(3).normal(size=(2, *size, 2)))
    condition = jnp.array(CONDITIONS)
    layer = Conv(4, kernel_size, stride, padding=1, lowering=lowering)
    params = params_of(layer, image, condition)
    assert params["kernel"].shape == (kernel_size, kernel_size, 5, 4)

    def planes(params, image, condition):
        spread = jnp.broadcast_to(condition[:, None, None], (*image.shape[:3], 3))
        return layer.apply({"params": params}, jnp.concatenate([image, spread], axis=-1))

    check_same(lambda params, image, c: layer.apply({"params": params}, image, c), planes, params, image, condition)


def test_the_border_sees_fewer_taps():
    """A 3x3 kernel of ones over a constant channel: 9 taps inside, 6 at an edge, 4 in a corner."""
    geometry = {"size": (4, 4), "stride": 1, "padding": 1}
    image = conv_constant(jnp.array([[2.0]]), jnp.ones((3, 3, 1, 1)), **geometry, lowering="native")[0]
    np.testing.assert_array_equal(image[..., 0], 2 * np.outer([2, 3, 3, 2], [2, 3, 3, 2]))
