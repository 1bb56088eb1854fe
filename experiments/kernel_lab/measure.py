"""One kernel, implementation, shape and type: its time, what that is of the machine's limits, and its error."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import float0, prng_key

from experiments.kernel_lab.ceilings import Ceilings, timed
from jaxvae.config import Implementation
from jaxvae.kernels import Kernel, Sizes, Work, implemented

INTERPRETED = "interpreted"
"""What stands for the time of a hand-written kernel on a CPU: that of its interpreter says nothing."""


def is_interpreted(implementation: Implementation) -> bool:
    """Whether it is not to be timed here."""
    return implementation == "pallas" and jax.default_backend() == "cpu"


class Measurement(NamedTuple):
    """One line of the table; what was not measured is NaN."""

    kernel: str
    implementation: Implementation
    shape: str
    sizes: str
    dtype: str
    what: str  # "forward", or "with gradient"
    seconds: float
    flops: float  # the least that a call has to do
    bytes: float
    limit: float  # seconds that it takes at least, by the machine's measured ceilings
    error: float  # largest, as a share of the largest number of an array, against float64

    @property
    def share(self) -> float:
        """Of the machine's limit that is reached: 1 is as fast as copy and matrix product allow."""
        return self.limit / self.seconds

    @property
    def intensity(self) -> float:
        """FLOPs a byte."""
        return self.flops / self.bytes


def measurements(
    kernel: Kernel, implementations: tuple[Implementation, ...], ceilings: Ceilings, seconds: float
) -> Iterator[Measurement]:
    """All of a kernel."""
    for shape, sizes in kernel.shapes.items():
        for dtype in kernel.dtypes:
            for gradient in (False, True)[: 1 + bool(kernel.differentiable)]:
                arguments = inputs(kernel, sizes, dtype, gradient)
                exact = expected(kernel, arguments, sizes, gradient)
                for implementation in implementations:
                    function = call(kernel, implementation, sizes, gradient)
                    work = work_of(kernel, sizes, dtype, gradient)
                    product = work.flops / ceilings.flops_per_second[dtype] if kernel.multiplies else 0.0
                    yield Measurement(
                        kernel.name,
                        implementation,
                        shape,
                        " ".join(f"{axis}={length}" for axis, length in sizes.items()),
                        dtype,
                        "with gradient" if gradient else "forward",
                        float("nan")
                        if is_interpreted(implementation)
                        else time_of(kernel, function, arguments, seconds),
                        *work,
                        max(product, work.bytes / ceilings.bytes_per_second, ceilings.call),
                        error(jax.jit(function)(*arguments), exact),
                    )


def time_of(kernel: Kernel, function: Callable, arguments: tuple, seconds: float) -> float:
    """Seconds of a call; what a kernel updates is donated, as in training."""
    own = jax.tree.map(jnp.copy, arguments[: kernel.updates])
    donating = jax.jit(function, donate_argnums=tuple(range(kernel.updates)))
    return timed(donating, (*own, *arguments[kernel.updates :]), seconds, carry=kernel.updates)


def inputs(kernel: Kernel, sizes: Sizes, dtype: str, gradient: bool) -> tuple:
    """The arguments of `call`, of K members if the sizes say so."""

    def make(key: jax.Array) -> tuple:
        input_key, cotangent_key = jax.random.split(key)
        arguments = kernel.inputs(input_key, sizes, dtype)
        if not gradient:
            return arguments
        values = jax.eval_shape(implemented(kernel.name, "xla"), *arguments)
        leaves, tree = jax.tree.flatten(values)
        keys = jax.random.split(cotangent_key, len(leaves))
        drawn = [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(tree, drawn), *arguments

    key = jax.random.key(0)
    return jax.jit(jax.vmap(make))(jax.random.split(key, sizes["K"])) if "K" in sizes else jax.jit(make)(key)


def call(kernel: Kernel, implementation: Implementation, sizes: Sizes, gradient: bool) -> Callable:
    """`(*arguments) -> values`, or that of `with_gradient`, for all members."""
    function = implemented(kernel.name, implementation)
    of_member = with_gradient(function, kernel.differentiable) if gradient else function
    return jax.vmap(of_member) if "K" in sizes else of_member


def with_gradient(function: Callable, chosen: tuple[int, ...]) -> Callable:
    """`(cotangents, *arguments) -> (values, gradients)`, the latter by the chosen arguments."""

    def values_and_gradients(cotangents: Any, *arguments: Any) -> tuple[Any, tuple]:
        def of_chosen(*given: Any) -> Any:
            every = list(arguments)
            for k, x in zip(chosen, given, strict=True):
                every[k] = x
            return function(*every)

        values, pullback = jax.vjp(of_chosen, *(arguments[k] for k in chosen))
        return values, pullback(jax.tree.map(lambda c, v: c.astype(v.dtype), cotangents, values))

    return values_and_gradients


def work_of(kernel: Kernel, sizes: Sizes, dtype: str, gradient: bool) -> Work:
    """Of all members."""
    members = sizes.get("K", 1)
    return Work(*(members * each for each in kernel.work(sizes, jnp.dtype(dtype).itemsize, gradient)))


def expected(kernel: Kernel, arguments: tuple, sizes: Sizes, gradient: bool) -> Any:
    """What the plain definition gives in float64, as NumPy arrays."""
    with jax.enable_x64(True):
        exact = jax.jit(call(kernel, "xla", sizes, gradient))(*jax.tree.map(widened, arguments))
        return jax.tree.map(np.asarray, exact)


def widened(x: jax.Array) -> jax.Array:
    """Floating-point numbers as float64, all else as it is."""
    is_key = jnp.issubdtype(x.dtype, prng_key)
    return x.astype(jnp.float64) if not is_key and jnp.issubdtype(x.dtype, jnp.floating) else x


def error(found: Any, exact: Any) -> float:
    """The largest difference in any array, as a share of the array's largest number."""
    shares = [0.0]
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True):
        if b.dtype not in (float0, bool) and b.size:
            difference = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max()
            shares.append(float(difference / max(np.abs(b).max(), 1e-30)))
    return float(np.max(shares))  # NaN if any is
