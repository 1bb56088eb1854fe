"""A sample of the posterior and its KL in one pass, with the noise drawn inside.

    z = mean + exp(logvar / 2) * epsilon        kl = sum over Z of (mean^2 + exp(logvar) - 1 - logvar) / 2

for B posteriors of Z dimensions. Noise is counter-based: number i of an example is Threefry-2x32 of its key and i, bit
for bit that of `jax.random.bits(key, (Z,))`, and a normal number is `jax.random.normal`'s up to rounding. It is never
in memory; the backward pass draws it again.

Arithmetic: some 60 FLOPs, most of the inverse error function, and 80 integer operations of Threefry, for each of B Z
numbers. Least bytes: 8 B of keys, mean, logvar and z of 4 B Z each, and 4 B. A plain program may write epsilon and read
it in both passes: 12 B Z bytes more.
"""

import jax
from jax import Array

from jaxvae.kernels.kernel import Kernel, Sizes, Work
from jaxvae.types import Posterior


def inputs(key: Array, sizes: Sizes, dtype: str) -> tuple[Array, Posterior]:
    """Keys, and posteriors near the prior."""
    keys = jax.random.split(key, 3)
    shape = (sizes["B"], sizes["Z"])
    mean, logvar = (jax.random.normal(k, shape, dtype) for k in keys[:2])
    return jax.random.split(keys[2], sizes["B"]), Posterior(mean, logvar - 1.0)


def work(sizes: Sizes, itemsize: int, gradient: bool) -> Work:
    """With its gradients those of z and the KL are read, and two written."""
    b, z = sizes["B"], sizes["Z"]
    forward = Work(60.0 * b * z, 8.0 * b + 3.0 * itemsize * b * z + 4.0 * b)
    return Work(forward.flops + 10.0 * b * z, forward.bytes + 3.0 * itemsize * b * z + 4.0 * b) if gradient else forward


def extreme(arguments: tuple, scale: float) -> tuple:
    """Means of up to some `scale`, log-variances up to 30, where a model bounds them."""
    keys, posterior = arguments
    return keys, Posterior(posterior.mean * scale, (posterior.logvar * scale).clip(-30.0, 30.0))


KERNEL = Kernel(
    name="reparameterize_kl",
    inputs=inputs,
    work=work,
    shapes={
        "mlp, document 004": {"B": 128, "Z": 20},
        "mlp_512, document 002": {"B": 128, "Z": 64},
        "mlp, 16 members": {"K": 16, "B": 128, "Z": 20},
        "batch of 65536": {"B": 65536, "Z": 64},
    },
    odd=({"B": 1, "Z": 1}, {"B": 5, "Z": 2}, {"B": 67, "Z": 33}, {"B": 3, "Z": 200}),
    extreme=extreme,
    differentiable=(1,),
    tolerance={"float32": 1e-5},
)
