"""The noise of `jax.random.normal`, number by number, in operations that every Pallas backend has.

The bits are those of `jax.random.bits(key, (Z,))`, JAX's default generator in its partitionable form. The normal
numbers are those of `jax.random.normal` up to rounding: where XLA has `log1p(-x * x)`, this has
`log((1 - x) * (1 + x))`, which keeps more digits in the tails.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
LEAST = np.nextafter(np.float32(-1), np.float32(0))
CENTRAL = (  # Giles 2010, "Approximating the erfinv function", table 5, as in XLA; highest power first
    *(2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087),
    *(-0.00125372503, -0.00417768164, 0.246640727, 1.50140941),
)
TAIL = (
    *(-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773),
    *(-0.0076224613, 0.00943887047, 1.00167406, 2.83297682),
)


def threefry(key: tuple[Array, Array], counter: tuple[Array, Array]) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011); uint32 arrays of one shape."""
    schedule = (*key, key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    x, y = counter[0] + schedule[0], counter[1] + schedule[1]
    for group in range(5):
        for distance in ROTATIONS[group % 2]:
            x = x + y
            y = x ^ ((y << np.uint32(distance)) | (y >> np.uint32(32 - distance)))
        x = x + schedule[(group + 1) % 3]
        y = y + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


def random_bits(key: tuple[Array, Array], number: Array) -> Array:
    """Number `number` of `jax.random.bits(key, (Z,))`; uint32 arrays of one shape."""
    high, low = threefry(key, (jnp.zeros_like(number), number))
    return high ^ low


def standard_normal(key: tuple[Array, Array], number: Array) -> Array:
    """Number `number` of `jax.random.normal(key, (Z,))`, to rounding; float32."""
    mantissa = (random_bits(key, number) >> np.uint32(9)) | np.uint32(0x3F800000)
    unit = lax.bitcast_convert_type(mantissa, jnp.float32) - 1.0
    return np.float32(2**0.5) * erf_inv(jnp.maximum(LEAST, unit * (np.float32(1.0) - LEAST) + LEAST))


def erf_inv(x: Array) -> Array:
    """The inverse error function of float32 numbers between -1 and 1."""
    w = -jnp.log((1.0 - x) * (1.0 + x))
    is_central = w < 5.0
    positive = jnp.maximum(w, np.float32(1e-30))
    argument = jnp.where(is_central, w - 2.5, positive * lax.rsqrt(positive) - 3.0)
    value = jnp.where(is_central, np.float32(CENTRAL[0]), np.float32(TAIL[0]))
    for central, tail in zip(CENTRAL[1:], TAIL[1:], strict=True):
        value = value * argument + jnp.where(is_central, np.float32(central), np.float32(tail))
    return value * x
