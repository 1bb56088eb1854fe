"""What the machine can do at most, as measured: a copy, a product of two matrices, and a call of nothing."""

from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

COPIED = {"cpu": 2**26}  # numbers of float32; other platforms 2**28
SIDES = {"cpu": (512, 1024, 2048)}  # of the matrices; other platforms 2048, 4096, 8192
LOOK = 0.02  # about the seconds of calls between two looks at the clock


class Ceilings(NamedTuple):
    """Of one device."""

    bytes_per_second: float  # read and written by a copy
    flops_per_second: dict[str, float]  # of a matrix product with float32 sums, the fastest, by its operands' type
    call: float  # seconds of a program that does next to nothing


def ceilings(dtypes: Sequence[str], seconds: float) -> Ceilings:
    """Measure them, for `seconds` each."""
    platform = jax.default_backend()
    count, sides = COPIED.get(platform, 2**28), SIDES.get(platform, (2048, 4096, 8192))
    add_one = jax.jit(lambda x: (x + 1.0,), donate_argnums=0)  # in place: new pages cost a CPU more than the copy
    copied = 2 * 4 * count / timed(add_one, (jnp.zeros(count, jnp.float32),), seconds, carry=1)
    product = jax.jit(partial(jnp.matmul, preferred_element_type=jnp.float32))
    flops = {}
    for dtype in dtypes:
        found = []
        for side in sides:
            matrix = jax.random.normal(jax.random.key(0), (side, side), dtype)
            found.append(2.0 * side**3 / timed(product, (matrix, matrix), seconds))
        flops[dtype] = max(found)
    return Ceilings(copied, flops, timed(add_one, (jnp.zeros(8, jnp.float32),), seconds, carry=1))


def timed(function: Callable, arguments: tuple[Any, ...], seconds: float, *, carry: int = 0) -> float:
    """Seconds of a call, the median of looks for so many seconds, after two calls that do not count.

    Calls follow each other without waiting, about `LOOK` seconds of them, and the last is waited for: on a device
    that works while the host goes on, the time of starting one is hidden where it is shorter.

    Args:
        function: what is timed.
        arguments: of the first call, and of every other but for those that are carried.
        seconds: how long.
        carry: how many of a call's results are the next one's first arguments, which may be donated.
    """
    result = jax.block_until_ready(function(*arguments))
    calls, found, end = 1, [], None
    while end is None or perf_counter() < end or len(found) < 3:
        begun = perf_counter()
        for _ in range(calls):
            result = function(*result[:carry], *arguments[carry:]) if carry else function(*arguments)
        jax.block_until_ready(result)
        each = (perf_counter() - begun) / calls
        if end is None:
            calls = max(1, int(LOOK / each))
            end = perf_counter() + seconds
        else:
            found.append(each)
    return float(np.median(found))
