"""The work of a step, against counts by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from experiments.speed.counts import matrix_flops, work_of_step
from jaxvae.config import Config
from jaxvae.fit import Sweep
from jaxvae.sweep import grid


def flops(function, *shapes):
    return matrix_flops(jax.make_jaxpr(function)(*(jnp.zeros(shape) for shape in shapes)).jaxpr)


def test_a_product_and_a_batch_of_products():
    assert flops(jnp.matmul, (3, 5), (5, 7)) == 2 * 3 * 5 * 7
    assert flops(jnp.matmul, (2, 3, 5), (2, 5, 7)) == 2 * 2 * 3 * 5 * 7


def test_a_product_with_a_vector_is_a_sum():
    assert flops(jnp.matmul, (3, 5), (5,)) == 0
    assert flops(jnp.matmul, (3, 5), (5, 1)) == 2 * 3 * 5


def test_products_in_a_scan_and_in_a_jitted_function_count_each_time():
    def repeated(x, w):
        return lax.scan(lambda carry, _: (jax.jit(jnp.matmul)(carry, w), None), x, length=4)[0]

    assert flops(repeated, (3, 5), (5, 5)) == 4 * 2 * 3 * 5 * 5


def test_a_native_convolution_is_refused():
    with pytest.raises(ValueError, match="gemm"):
        flops(lambda x, w: lax.conv(x, w, (1, 1), "SAME"), (1, 1, 4, 4), (1, 1, 3, 3))


def test_a_step_of_the_mlp(tiny):
    sweep = Sweep(Config(architecture="mlp"), tiny, grid(), batch_size=10)
    forward = 784 * 400 + 2 * 400 * 20 + 20 * 400 + 400 * 784
    gradients = 2 * forward - 784 * 400  # of weights and inputs, but not of the images
    work = work_of_step(sweep)
    assert work.flops == 2 * (forward + gradients)
    parameters = 784 * 400 + 400 + 2 * (400 * 20 + 20) + 20 * 400 + 400 + 400 * 784 + 784
    update = 6 * 4 * parameters / 10  # they and two moments, read and written; a step does more
    assert update < work.bytes < 10 * update


def test_a_step_of_document_001_s_conv_net(tiny):
    """Convolutions 1-6-16-4 of 3 x 3 on 28, 14 and 14 rows; the second has stride 2."""
    sweep = Sweep(Config(architecture="conv", lowering="gemm"), tiny, grid(), batch_size=10)
    first = 28 * 28 * 9 * 6
    others = 14 * 14 * 9 * (6 * 16 + 16 * 4) + 784 * 128 + 2 * 128 * 20 + 20 * 128 + 128 * 784 + 784 * 784
    assert work_of_step(sweep).flops == 2 * (2 * first + 3 * others)
