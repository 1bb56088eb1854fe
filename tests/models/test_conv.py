"""The convolutional decoder's sizes, its layers one by one, and where its activations stand."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.models.conv import ConvDecoder, ConvEncoder, feature_map_sizes
from jaxvae.models.layers import ConvTranspose, Dense

leaky_relu = partial(nn.leaky_relu, negative_slope=0.01)


def test_feature_map_sizes():
    assert feature_map_sizes((28, 28), 4, 3, 2) == [(28, 28), (14, 14), (7, 7), (4, 4), (2, 2)]
    assert feature_map_sizes((28, 28), 3, 4, 2) == [(28, 28), (14, 14), (7, 7), (3, 3)]
    assert feature_map_sizes((9, 6), 1, 3, 2) == [(9, 6), (5, 3)]


@pytest.mark.parametrize("kernel_size", [3, 4])
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28, 3), (9, 9, 1)])
def test_the_decoder_s_image_has_the_encoder_s_size(kernel_size, layers, shape):
    if (feature_map_sizes(shape[:2], layers, kernel_size, 2)[-1])[0] < 1:
        pytest.skip("the image is too small for so many layers")
    decoder = ConvDecoder((4,) * layers, shape, kernel_size)
    logits = jax.eval_shape(lambda z: decoder.init_with_output(jax.random.key(0), z)[0], jnp.zeros((5, 2)))
    assert logits.shape == (5, *shape)


def test_the_decoder_layer_by_layer():
    decoder = ConvDecoder((6, 4), (8, 8, 1), kernel_size=4, activation=leaky_relu)
    z = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5)), jnp.float32)
    params = decoder.init(jax.random.key(0), z)["params"]
    x = Dense(2 * 2 * 6).apply({"params": params["Dense_0"]}, z).reshape(3, 6, 2, 2).transpose(0, 2, 3, 1)
    x = ConvTranspose(4, 4).apply({"params": params["ConvTranspose_0"]}, x)  # no activation before it
    x = ConvTranspose(1, 4).apply({"params": params["ConvTranspose_1"]}, jnp.where(x > 0, x, 0.01 * x))
    np.testing.assert_allclose(decoder.apply({"params": params}, z), x, atol=1e-6)
    assert float(x.min()) < 0  # logits


def test_rows_and_columns_must_need_the_same_output_padding():
    with pytest.raises(ValueError, match="different output padding"):
        ConvDecoder((4,), (9, 8, 1)).init(jax.random.key(0), jnp.zeros(2))


def test_the_encoder_s_activation_and_hidden_layers():
    image = jnp.asarray(np.random.default_rng(0).normal(size=(8, 8, 1)), jnp.float32)
    encoder = ConvEncoder((4, 2), strides=(2, 2), activation=leaky_relu)
    features, variables = encoder.init_with_output(jax.random.key(0), image)
    assert features.shape == (2 * 2 * 2,)
    assert float(features.min()) < 0
    hidden = ConvEncoder((4, 2), strides=(2, 2), hidden=(16, 3))
    features, variables = hidden.init_with_output(jax.random.key(0), image)
    assert features.shape == (3,)
    assert set(variables["params"]) == {"Conv_0", "Conv_1", "Dense_0", "Dense_1"}
