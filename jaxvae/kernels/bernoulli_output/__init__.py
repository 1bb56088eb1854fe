"""The decoder's last layer and the Bernoulli likelihood, without the logits in memory.

    nats[s, b] = sum over p of cross_entropy(features[s, b] @ kernel[:, p] + bias[p], image[b, p])

for S samples of B images of P pixels from H features; S is 1 but for importance-weighted bounds, whose logits would be
[S, B, P]. K members of a sweep are `vmap`'s business: a leading axis of the grid.

Arithmetic of the forward pass: 2 S B H P FLOPs of the product, and some 30 a pixel of the likelihood. Least bytes: the
inputs and S B sums. The compiler's program writes logits in the product and reads them in the likelihood: 8 S B P bytes
of float32 more.

With its gradient: the compiler's program has 6 S B H P FLOPs (the product, and one for each of features and kernel) and
writes and reads logits and their gradient; this one has 8, as the layer's gradient computes the logits once more, and
keeps both in registers and shared memory. float32 is multiplied in two bfloat16 parts on a GPU, three products for one,
right to 2**-16; on a TPU and interpreted at the highest precision.

What it costs on a GPU, a Hopper (its matrix products are those of compute capability 9.0): features and kernel are
filled up to tiles of 64, split and transposed by the compiler first. For one model at a batch of 128 that is some 4 MB,
more than the 0.8 MB of the logits' traffic, and 4 to 14 blocks of threads are few for 132 processors: what it can save
it saves with many samples, large batches or many members. Not measured yet.
"""

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.kernels.kernel import Kernel, Sizes, Work


def inputs(key: Array, sizes: Sizes, dtype: str) -> tuple[Array, Array, Array, Array]:
    """Features after a ReLU, a layer as it is initialized, and pixels of which most are 0."""
    s, b, h, p = (sizes[axis] for axis in "SBHP")
    keys = jax.random.split(key, 4)
    features = jax.nn.relu(jax.random.normal(keys[0], (s, b, h)))
    kernel = jax.random.uniform(keys[1], (h, p), minval=-1, maxval=1) * h**-0.5
    bias = jax.random.uniform(keys[2], (p,), minval=-1, maxval=1) * h**-0.5
    image = jnp.maximum(0.0, 2.0 * jax.random.uniform(keys[3], (b, p)) - 1.0)
    return features.astype(dtype), kernel.astype(dtype), bias, image


def work(sizes: Sizes, itemsize: int, gradient: bool) -> Work:
    """Three times the product with its gradients, which are as large as features, kernel and bias."""
    s, b, h, p = (sizes[axis] for axis in "SBHP")
    layer, image = itemsize * (s * b * h + h * p) + 4.0 * p, 4.0 * b * p
    product, likelihood, sums = 2.0 * s * b * h * p, 30.0 * s * b * p, 4.0 * s * b
    if gradient:
        return Work(3 * product + likelihood, 2 * layer + image + 2 * sums)
    return Work(product + likelihood, layer + image + sums)


def extreme(arguments: tuple, scale: float) -> tuple:
    """Logits of up to some `scale`."""
    features, kernel, bias, image = arguments
    return features, kernel, bias * scale * features.shape[-1] ** 0.5, jnp.round(image)


KERNEL = Kernel(
    name="bernoulli_output",
    inputs=inputs,
    work=work,
    shapes={
        "mlp, document 004": {"S": 1, "B": 128, "H": 400, "P": 784},
        "conv, document 001": {"S": 1, "B": 128, "H": 784, "P": 784},
        "mlp, 50 samples of an image": {"S": 50, "B": 128, "H": 400, "P": 784},
        "mlp, 16 members": {"K": 16, "S": 1, "B": 128, "H": 400, "P": 784},
        "mlp, batch of 4096": {"S": 1, "B": 4096, "H": 400, "P": 784},
    },
    odd=(
        {"S": 1, "B": 1, "H": 1, "P": 1},
        {"S": 3, "B": 5, "H": 33, "P": 70},
        {"S": 2, "B": 67, "H": 130, "P": 129},
        {"S": 1, "B": 3, "H": 5, "P": 513},  # more pixels than a block of threads holds
        {"S": 8, "B": 60, "H": 3, "P": 2},  # more rows
    ),
    extreme=extreme,
    dtypes=("float32", "bfloat16"),
    multiplies=True,
    differentiable=(0, 1, 2),
    tolerance={"float32": 2e-5, "bfloat16": 1e-2},
)
