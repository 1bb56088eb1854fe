"""What the machine can do at most, as measured: a copy, a product of two matrices, and a call of nothing."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

COPIED = {"cpu": 2**26}  # numbers of float32; other platforms 2**28
SIDE = {"cpu": 2048}  # of the matrices; other platforms 8192
LOOK = 0.02  # seconds at least of the calls between two looks at the clock


class Ceilings(NamedTuple):
    """Of one device."""

    bytes_per_second: float  # read and written by a copy
    flops_per_second: dict[str, float]  # of a matrix product, by the type of its operands
    call: float  # seconds of a program that does next to nothing


def ceilings(dtypes: Sequence[str], seconds: float) -> Ceilings:
    """Measure them, for `seconds` each."""
    platform = jax.default_backend()
    count, side = COPIED.get(platform, 2**28), SIDE.get(platform, 8192)
    add_one = jax.jit(lambda x: x + 1.0, donate_argnums=0)  # in place: new pages cost a CPU more than the copy
    copied = 2 * 4 * count / timed(add_one, (jnp.zeros(count, jnp.float32),), seconds, carry=as_it_is)
    product = jax.jit(jnp.matmul)
    flops = {}
    for dtype in dtypes:
        matrix = jax.random.normal(jax.random.key(0), (side, side), dtype)
        flops[dtype] = 2.0 * side**3 / timed(product, (matrix, matrix), seconds)
    return Ceilings(copied, flops, timed(add_one, (jnp.zeros(8, jnp.float32),), seconds, carry=as_it_is))


def as_it_is(result: Any) -> Any:
    """All of a result is the next call's first argument."""
    return result


def timed(
    function: Callable, arguments: tuple[Any, ...], seconds: float, *, carry: Callable[[Any], Any] | None = None
) -> float:
    """Seconds of a call, the median of looks for so many seconds, after two calls that do not count.

    Calls follow each other without waiting, `LOOK` seconds of them at least, and the last is waited for: on a device
    that works while the host goes on, the time of starting one is hidden where it is shorter.

    Args:
        function: what is timed.
        arguments: of every call, but for the first one with `carry`.
        seconds: how long.
        carry: what of a call's result is the next one's first argument, which may be donated.
    """
    result = jax.block_until_ready(function(*arguments))
    calls, found, end = 1, [], None
    while end is None or perf_counter() < end or len(found) < 3:
        begun = perf_counter()
        for _ in range(calls):
            result = function(*arguments) if carry is None else function(carry(result), *arguments[1:])
        jax.block_until_ready(result)
        each = (perf_counter() - begun) / calls
        if end is None:
            calls = max(1, int(LOOK / each))
            end = perf_counter() + seconds
        else:
            found.append(each)
    return float(np.median(found))
